"""`plain`, and a stream of the users that it creates, by FastAPI's own `EventSourceResponse`.

As its documentation has it ("Server-Sent Events"), with a queue in memory for each client: who loses
a connection misses what happens meanwhile, and of another process's users nobody hears.
"""

import asyncio
from collections.abc import AsyncIterable

from fastapi import FastAPI, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent

from benchmarks.peers import plain
from benchmarks.peers.server import serve

queues: set[asyncio.Queue[plain.UserPublic]] = set()
app = FastAPI(lifespan=plain.lifespan)


@app.post("/users", response_model=plain.UserPublic, status_code=201)
async def create_user(
    new: plain.UserCreate, response: Response, session: plain.Session
) -> plain.UserPublic:
    created = await plain.create_user(new, response, session)
    user = plain.UserPublic.model_validate(created)
    for queue in queues:
        queue.put_nowait(user)
    return user


@app.get("/events/stream", response_class=EventSourceResponse)
async def stream() -> AsyncIterable[ServerSentEvent]:
    queue: asyncio.Queue[plain.UserPublic] = asyncio.Queue()
    queues.add(queue)
    try:
        while True:
            user = await queue.get()
            yield ServerSentEvent(data=user, event="user.created", id=str(user.id))
    finally:
        queues.remove(queue)


if __name__ == "__main__":
    serve(app)
