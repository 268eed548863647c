"""What the pages of every list have in common: their size, and parameters that stand once."""

from collections.abc import Mapping, Sequence
from typing import Any

from python_api.http.problems import Problem, issue
from python_api.http.requests import integer_rule

MAX_LIMIT = 100
DEFAULT_LIMIT = 50


def limit_rule(limit: str) -> str | None:
    """The rule that the size of a page breaks, if any. Clauses: EVENT-07, USR-LIST-04."""
    return integer_rule(limit, MAX_LIMIT)


def limit_parameter(of_what: str) -> dict[str, Any]:
    """The parameter `limit` in the OpenAPI document."""
    return {
        "name": "limit",
        "in": "query",
        "description": f"How many {of_what} a page has at most.",
        "schema": {
            "type": "integer",
            "minimum": 1,
            "maximum": MAX_LIMIT,
            "default": DEFAULT_LIMIT,
        },
    }


def named_values(
    parameters: Sequence[tuple[str, str]], names: Sequence[str]
) -> dict[str, list[str]]:
    """The values of each of these parameters; others are ignored. Clauses: QUERY-07."""
    return {name: [value for key, value in parameters if key == name] for name in names}


def repeated(sent: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The rule that each parameter breaks that stands twice. Clauses: QUERY-08."""
    return {name: "malformed" for name, values in sent.items() if len(values) > 1}


def check_parameters(rules: Mapping[str, str | None]) -> None:
    """Raise validation with the rules that parameters break. Clauses: PROB-06."""
    issues = [issue("parameter", name, rule) for name, rule in rules.items() if rule]
    if issues:
        raise Problem("validation", issues)
