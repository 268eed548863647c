"""Many HTTP requests at once, and what becomes of the others when one fails."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import httpx

from benchmarks.article.case import Case, Given, Work

DELAY = 50


async def fetch_json(client: httpx.AsyncClient, url: str) -> Any:
    response = await client.get(url)
    return response.raise_for_status().json()


async def fetch_all(client: httpx.AsyncClient, urls: Sequence[str]) -> list[Any]:
    """What the URLs answer, in their order.

    If one fails, the others are cancelled and waited for; then this raises an ExceptionGroup.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(fetch_json(client, url)) for url in urls]
    return [task.result() for task in tasks]


async def _failures(answers: Awaitable[object]) -> list[str]:
    """What made the answers fail."""
    try:
        await answers
    except ExceptionGroup as group:
        responses = [e.response for e in group.exceptions if isinstance(e, httpx.HTTPStatusError)]
        return [f"{response.status_code} {response.reason_phrase}" for response in responses]
    return []


def _waiting(given: Given) -> list[str]:
    return [f"{given.url}/users?id={id_}&delay={DELAY}" for id_ in range(given.size)]


def _failing(given: Given) -> list[str]:
    """The first fails while the others still wait."""
    others = [f"{given.url}/users?id={id_}&delay=300" for id_ in range(given.size - 1)]
    return [f"{given.url}/fail?delay={DELAY}", *others]


async def _client(given: Given) -> httpx.AsyncClient:
    # As many connections at once as fetch takes. None is kept: with every one that is idle, each
    # request takes httpx longer.
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    return await given.stack.enter_async_context(httpx.AsyncClient(limits=limits, timeout=60))


async def _all(given: Given) -> Work:
    client = await _client(given)
    return lambda: fetch_all(client, _waiting(given))


async def _failure(given: Given) -> Work:
    client = await _client(given)
    return lambda: _failures(fetch_all(client, _failing(given)))


CASES: dict[str, Case] = {"TaskGroup": _all, "a failure, TaskGroup": _failure}
