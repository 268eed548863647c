"""JSON, parsed and written by the standard library."""

import json
from typing import Any

from benchmarks.article.case import Case, Given, Work


def parse(text: str) -> Any:
    return json.loads(text)


def write(value: Any) -> str:
    # Without these two it escapes what isn't ASCII and puts in spaces, as no other library does.
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def users(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": id_,
            "name": f"Zoë Ångström {id_}",
            "email": f"zoe.{id_}@example.com",
            "role": "admin" if id_ % 10 == 0 else "member",
            "score": id_ + 0.5,
            "active": id_ % 3 != 0,
            "manager": None,
            "tags": ["first", "second", "日本語"],
            "created_at": "2025-01-31T12:00:00.000Z",
        }
        for id_ in range(count)
    ]


def nested(depth: int) -> Any:
    """Lists within objects, so many levels of each."""
    value: Any = "the innermost"
    for level in range(depth):
        value = {"level": level, "within": [value]}
    return value


def _parse_users(given: Given) -> Work:
    text = write(users(given.size))
    return lambda: parse(text)


def _write_users(given: Given) -> Work:
    value = users(given.size)
    return lambda: write(value)


def _parse_nested(given: Given) -> Work:
    text = write(nested(given.size))
    return lambda: parse(text)


def _write_nested(given: Given) -> Work:
    value = nested(given.size)
    return lambda: write(value)


CASES: dict[str, Case] = {
    "parse users": _parse_users,
    "write users": _write_users,
    "parse nested": _parse_nested,
    "write nested": _write_nested,
}
