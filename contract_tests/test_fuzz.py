"""Requests that nobody thought of, made by schemathesis from each target's own document.

    FUZZ=10000 pytest contract_tests/test_fuzz.py     so many requests, all targets together
    FUZZ_SEED=7 ...                                   other ones; the same seed makes the same

All of schemathesis' checks are on. One of them, positive_data_acceptance, is not listened to
where an answer depends on more than a document can say: see `is_about_the_request`.
"""

import math
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis import Case, Config, HookContext, Response
from schemathesis.core.failures import Failure
from schemathesis.engine import Status, events, from_schema

from contract_tests.harness.client import Client

FUZZ = int(os.environ.get("FUZZ", "1000"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))

# No service has so many users: a greater id is nobody's.
NOBODYS = 10**12
USER = re.compile(r"/users/([1-9][0-9]{0,11})")
RESPONSES = {"extra-data-sources": {"responses": False}}


class Fuzzer:
    """One target under fire."""

    def __init__(self, api: Client) -> None:
        self.api = api
        self.sent = 0
        self.ours: list[int] = []
        self.found: list[str] = []

    def run(self, seed: int, examples: int, phases: tuple[str, ...]) -> None:
        """Send requests to every operation, in each of these phases; note what a check says."""
        config = Config.from_dict(
            {
                "seed": seed,
                "continue-on-failure": True,
                "generation": {"database": "none", "max-examples": examples},
                "output": {"sanitization": {"enabled": False}},
                "phases": {
                    "examples": {"enabled": "examples" in phases},
                    # What other tests created is not to be taken from an answer and used.
                    "coverage": {"enabled": "coverage" in phases, **RESPONSES},
                    "fuzzing": {"enabled": "fuzzing" in phases, **RESPONSES},
                    "stateful": {"enabled": "stateful" in phases},
                },
                "request-timeout": 30,
            }
        )
        schema = schemathesis.openapi.from_url(f"{self.api.url}/openapi.json", config=config)
        schema.hooks.register_hook_with_name(is_about_the_request, "filter_failure")
        schema.hooks.register_hook_with_name(self.take_in, "after_call")
        for event in from_schema(schema).execute():
            if isinstance(event, events.ScenarioFinished):
                self.judge(event)
            elif isinstance(event, events.NonFatalError):
                self.found.append(f"{event.label}: {event.info.message}")

    def judge(self, scenario: events.ScenarioFinished) -> None:
        recorder = scenario.recorder
        self.sent += len(recorder.interactions)
        for checks in recorder.checks.values():
            for check in checks:
                if check.status is Status.FAILURE:
                    assert check.failure_info is not None
                    failure = check.failure_info.failure
                    told = f"{check.name}: {failure.title}\n{failure.message}"
                    self.found.append(f"{told}\n{check.failure_info.code_sample}")

    def keep_to_ours(self, _context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
        """Put one of our own users in place of one that may be another test's."""
        match = USER.fullmatch(case.formatted_path)
        if match and int(match[1]) not in self.ours:
            case.path_parameters["id"] = self.ours[int(match[1]) % len(self.ours)]

    def take_in(self, _context: HookContext, _case: Case, response: Response) -> None:
        """A user that was created is one of our own."""
        if response.status_code == 201:
            self.ours.append(response.json()["id"])


def is_about_the_request(
    _context: HookContext, failure: Failure, _case: Case, response: Response
) -> bool:
    """False where a valid request was refused for what only the service can know.

    A cursor is opaque, its form alone can be documented. Whether an If-Match matches and whether
    an Idempotency-Key was used before depends on what came before.
    """
    return True
