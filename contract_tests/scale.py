"""Does a million users cost more than ten thousand? `make scale` measures it, on PostgreSQL.

Both services run on two databases each, a small one and a large one. Every round asks the two in
turn, so that whatever else the machine does slows both; of a round the ratio counts. The plans
are those of the statements that the services send (the same on both), on the large database.

PostgreSQL is the one of TEST_DATABASE_URL, else one from the wheel, which has no `pg_trgm`.
"""

import argparse
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import OwnPostgres, Postgres, Session
from contract_tests.harness.services import Service

LIMIT = 1.5

FILL = """
INSERT INTO users (name, name_lower, email, created_at, updated_at, version)
SELECT name, lower(name), md5(name) || '@example.com', moment, moment, 1
FROM (
  SELECT 'User ' || md5(n::text) AS name, timestamptz '2020-01-01' + n * interval '1 min' AS moment
  FROM generate_series(1, {users}) AS n
) AS made
"""

COLUMNS = "id, name, email, role, created_at, updated_at, version"
STATEMENTS = {
    "get": f"SELECT {COLUMNS} FROM users WHERE id = 5000",
    "first page": f"SELECT {COLUMNS} FROM users ORDER BY id LIMIT 51",
    "page by name": f"SELECT {COLUMNS} FROM users WHERE name >= 'User 8' AND"
    " (name > 'User 8' OR id > 5000) ORDER BY name, id LIMIT 51",
    "page by email": f"SELECT {COLUMNS} FROM users WHERE email >= '8' AND"
    " (email > '8' OR id > 5000) ORDER BY email, id LIMIT 51",
    "page by -created_at": f"SELECT {COLUMNS} FROM users WHERE created_at <= '2020-01-04' AND"
    " (created_at < '2020-01-04' OR id > 5000) ORDER BY created_at DESC, id LIMIT 51",
    "q, found nowhere": f"SELECT {COLUMNS} FROM users WHERE name_lower LIKE '%nobody%' ESCAPE '/'"
    " OR email LIKE '%nobody%' ESCAPE '/' ORDER BY id LIMIT 51",
}


def second_page(sort: str) -> Callable[[Client], None]:
    """Asks for a page that begins behind another one."""
    links: dict[str, str] = {}

    def ask(api: Client) -> None:
        if api.name not in links:
            answer = api.get(f"/users?limit=50&sort={sort}")
            links[api.name] = expect.users(answer, answer.json(), next=True) or ""
        answer = api.get(links[api.name])
        assert len(answer.json()) == 50

    return ask


def create(api: Client) -> None:
    """Asks for a new user, under a key."""
    fields = expect.somebody()
    answer = api.post("/users", json=fields, headers={"Idempotency-Key": fields["name"]})
    assert answer.status == 201


def get(target: str) -> Callable[[Client], None]:
    """Asks for this."""

    def ask(api: Client) -> None:
        assert api.get(target).status == 200

    return ask


OPERATIONS: dict[str, tuple[Callable[[Client], None], int]] = {
    "get": (get("/users/5000"), 40),
    "create": (create, 40),
    "first page": (get("/users"), 20),
    **{
        f"page by {sort}": (second_page(sort), 20)
        for sort in ("id", "-id", "name", "-name", "email", "-email", "created_at", "-created_at")
    },
}
SEARCHES: dict[str, tuple[Callable[[Client], None], int]] = {
    "q, found at once": (get("/users?q=user&limit=50"), 10),
    "q, found nowhere": (get("/users?q=nobody"), 1),
}


def seconds(ask: Callable[[Client], None], api: Client, times: int) -> float:
    """How long it takes to ask so often."""
    start = time.perf_counter()
    for _ in range(times):
        ask(api)
    return time.perf_counter() - start


def compare(small: Client, large: Client, rounds: int) -> bool:
    """Print the table of one service; whether all but the searches stay within the limit."""
    print("| operation | small, ms | large, ms | large / small: median (lowest to highest) |")
    print("| --- | --- | --- | --- |")
    within = True
    for name, (ask, times) in (OPERATIONS | SEARCHES).items():
        for api in (small, large):
            seconds(ask, api, times)
        pairs = []
        for n in range(rounds):
            order = (small, large) if n % 2 else (large, small)
            taken = {api.name: seconds(ask, api, times) / times for api in order}
            pairs.append((taken["small"], taken["large"]))
        ratios = sorted(b / a for a, b in pairs)
        median = statistics.median(ratios)
        ours = [f"{1000 * statistics.median(column):.2f}" for column in zip(*pairs, strict=True)]
        print(
            f"| {name} | {' | '.join(ours)} | {median:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )
        within &= name in SEARCHES or median <= LIMIT
    return within


def main() -> int:
    """Measure; the exit code is 1 if something takes more than LIMIT times as long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", type=int, default=10_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    sizes = parser.parse_args()
    within = True
    with contextlib.ExitStack() as stack:
        room = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if given := os.environ.get("TEST_DATABASE_URL"):
            server = Postgres(given)
        else:
            server = own = stack.enter_context(contextlib.closing(OwnPostgres()))
            own.start()
        apis: dict[tuple[str, str], Client] = {}
        urls = {"small": server.create(), "large": server.create()}
        for size, url in urls.items():
            stack.callback(server.drop, url)
            for kind in services.KINDS:
                service = Service(kind, room / f"{kind}-{size}", None, url)
                service.start()
                stack.callback(service.kill)
                service.await_ready()
                apis[kind, size] = Client(service.url, size)
            with Session(url) as session:
                session.execute(FILL.format(users=getattr(sizes, size)))
                session.execute("VACUUM ANALYZE users")
        with Session(urls["large"]) as session:
            ((version,),) = session.execute("SHOW server_version")
            trigrams = session.execute("SELECT 1 FROM pg_indexes WHERE indexname = 'ix_users_q'")
            print(f"PostgreSQL {version}, {'with' if trigrams else 'without'} pg_trgm:", end=" ")
            print(f"{sizes.large} users against {sizes.small}, {sizes.rounds} rounds")
            for kind in services.KINDS:
                print(f"\n## {kind}\n")
                within &= compare(apis[kind, "small"], apis[kind, "large"], sizes.rounds)
            print("\n## Plans, on the large database\n")
            for name, statement in STATEMENTS.items():
                print(f"{name}: {statement}")
                for (line,) in session.execute(f"EXPLAIN (ANALYZE, COSTS OFF) {statement}"):
                    print(f"    {line}")
    return 0 if within else 1


if __name__ == "__main__":
    sys.exit(main())
