"""HTTP requests, one after the other: a new connection for each, or one of one's own."""

import httpx

from benchmarks.article.case import Case, Given, Work


def names(url: str) -> list[str]:
    """The names of the users at the URL; `httpx.get` makes all that it needs anew each time."""
    users = httpx.get(url).json()
    return [user["name"] for user in users]


def names_kept_alive(client: httpx.Client, url: str) -> list[str]:
    users = client.get(url).json()
    return [user["name"] for user in users]


def _target(given: Given) -> str:
    return f"{given.url}/users?count={given.size}"


def _client(given: Given) -> Work:
    client = given.stack.enter_context(httpx.Client())
    return lambda: names_kept_alive(client, _target(given))


CASES: dict[str, Case] = {
    "httpx.get": lambda given: lambda: names(_target(given)),
    "httpx.Client": _client,
}
