"""What the pages of every list have in common: their size, and parameters that stand once."""

from collections.abc import Mapping, Sequence
from typing import Any

from python_api.http.problems import Problem, issue

MAX_LIMIT = 100
DEFAULT_LIMIT = 50


def limit_parameter(of_what: str) -> dict[str, Any]:
    """The parameter `limit` in the OpenAPI document."""
    return {
        "name": "limit",
        "in": "query",
        "description": f"How many {of_what} a page has at most.",
        "schema": {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
    }


def named_values(
    parameters: Sequence[tuple[str, str]], names: Sequence[str]
) -> dict[str, list[str]]:
    """The values of each of these parameters; others are ignored. Clauses: QUERY-07."""
    return {name: [value for key, value in parameters if key == name] for name in names}


def repeated(sent: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The rule that each parameter breaks that stands twice. Clauses: QUERY-08."""
    return {name: "malformed" for name, values in sent.items() if len(values) > 1}


def query_problems(parameter: str) -> list[str | Problem]:
    """What a query is refused with; the example of a parameter that breaks a rule is this one."""
    return ["malformed-query", Problem("validation", [issue("parameter", parameter, "malformed")])]


def check_parameters(rules: Mapping[str, str | None]) -> None:
    """Raise validation with the rules that parameters break. Clauses: PROB-06."""
    issues = [issue("parameter", name, rule) for name, rule in rules.items() if rule]
    if issues:
        raise Problem("validation", issues)
