"""What a good team writes in FastAPI: its documentation's SQL tutorial, with SQLAlchemy's ORM.

An asyncio session for each request, from a dependency with `yield`, made by a sessionmaker that
doesn't expire on commit (SQLAlchemy, "Asynchronous I/O"); models in and out (FastAPI, "Response
Model"); pragmas by an event (SQLAlchemy, "SQLite").
"""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar

from fastapi import Depends, FastAPI, Header, HTTPException, Response
from pydantic import BaseModel, ConfigDict, PlainSerializer, StringConstraints
from sqlalchemy import BigInteger, DateTime, Dialect, Text, TypeDecorator, event, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from benchmarks.peers.server import serve

DRIVERS = {"postgresql": "postgresql+asyncpg", "sqlite": "sqlite+aiosqlite"}


def timestamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextMoment(TypeDecorator[datetime]):
    """A moment, which SQLite has no type for."""

    impl = Text  # type: ignore[mutable-override]
    cache_ok = True  # type: ignore[mutable-override]

    def process_bind_param(self, value: datetime | None, _: Dialect) -> str | None:
        return timestamp(value) if value else None

    def process_result_value(self, value: str | None, _: Dialect) -> datetime | None:
        return datetime.fromisoformat(value) if value else None


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        int: BigInteger,
        str: Text,
        datetime: DateTime(timezone=True).with_variant(TextMoment, "sqlite"),
    }


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    name_lower: Mapped[str]
    email: Mapped[str] = mapped_column(unique=True)
    role: Mapped[str] = mapped_column(default="member")
    password_hash: Mapped[str | None]
    token_epoch: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    version: Mapped[int] = mapped_column(default=1)

    @property
    def etag(self) -> str:
        return f'"{self.version}"'


class UserCreate(BaseModel):
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
    email: Annotated[
        str, StringConstraints(pattern=r"^\S+@\S+\.\S+$", max_length=254, to_lower=True)
    ]


Timestamp = Annotated[datetime, PlainSerializer(timestamp)]


class UserPublic(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    name: str
    email: str
    role: str
    created_at: Timestamp
    updated_at: Timestamp
    version: int


scheme, _, rest = os.environ["DATABASE_URL"].partition(":")
engine = create_async_engine(
    f"{DRIVERS[scheme]}:{rest}",
    pool_size=int(os.environ.get("DATABASE_POOL_SIZE", "10")),
    max_overflow=0,
)
new_session = async_sessionmaker(engine, expire_on_commit=False)

if scheme == "sqlite":

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.close()


async def get_session() -> AsyncIterator[AsyncSession]:
    async with new_session() as session:
        yield session


Session = Annotated[AsyncSession, Depends(get_session)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/users/{user_id}", response_model=UserPublic)
async def read_user(
    user_id: int,
    response: Response,
    session: Session,
    if_none_match: Annotated[str | None, Header()] = None,
) -> User | Response:
    user = await session.get(User, user_id)
    if user is None:
        raise HTTPException(404, "User not found")
    if if_none_match == user.etag:
        return Response(status_code=304, headers={"ETag": user.etag})
    response.headers["ETag"] = user.etag
    return user


@app.get("/users", response_model=list[UserPublic])
async def list_users(session: Session) -> Sequence[User]:
    users = await session.scalars(select(User).order_by(User.id).limit(50))
    return users.all()


@app.post("/users", response_model=UserPublic, status_code=201)
async def create_user(new: UserCreate, response: Response, session: Session) -> User:
    now = datetime.now(UTC)
    # What PostgreSQL keeps of it.
    now = now.replace(microsecond=now.microsecond // 1000 * 1000)
    user = User(**new.model_dump(), name_lower=new.name.lower(), created_at=now, updated_at=now)
    session.add(user)
    try:
        await session.commit()
    except IntegrityError as error:
        raise HTTPException(409, "Email taken") from error
    response.headers["ETag"] = user.etag
    return user


if __name__ == "__main__":
    serve(app)
