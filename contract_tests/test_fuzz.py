"""Requests that nobody thought of: schemathesis makes them from each target's own document.

    FUZZ=10000 pytest contract_tests/test_fuzz.py     so many, all targets together
    FUZZ_SEED=7 pytest contract_tests/test_fuzz.py    others; the same seed makes the same ones

All of schemathesis' checks are on. One of them is not listened to where an answer depends on more
than a document can say: see `is_about_the_request`.
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
from schemathesis.engine import events, from_schema
from schemathesis.hooks import GLOBAL_HOOK_DISPATCHER
from schemathesis.openapi.checks import RejectedPositiveData
from schemathesis.specs.openapi.schemas import OpenApiSchema

from contract_tests.harness import expect
from contract_tests.harness.client import Client

FUZZ = os.environ.get("FUZZ")
SHARE = 150  # for each target, where nothing else is said
SEED = int(os.environ.get("FUZZ_SEED", "1"))

# What a document can show is tried once, what is drawn at random as often as is asked for.
ONCE = ("examples", "coverage")
AGAIN = ("fuzzing", "stateful")
# What is answered to requests that are as documented.
OF_OTHER_REASONS = {
    "/problems/version-mismatch",
    "/problems/idempotency-key-reused",
    "/problems/too-many-failures",
    "/problems/upgrade-required",
    "invalid_grant",
    "unsupported_grant_type",
}
# The path of a user who may be another test's; no service has so many that a longer id is taken.
SOMEBODYS = re.compile(r"/users/([1-9][0-9]{0,11})")


class Fuzzer:
    """Fires at one target; counts the requests that it made and keeps what the checks found."""

    def __init__(self, api: Client) -> None:
        self.sent = 0
        self.found: list[str] = []
        self._api = api
        self._ours = [api.create()["id"]]

    def fire(self, seed: int, examples: int, *phases: str) -> None:
        """Go through these phases; a random one makes up to so many cases of each operation."""
        settings = {
            "seed": seed,
            "continue-on-failure": True,
            "generation": {"database": "none", "max-examples": examples},
            "output": {"sanitization": {"enabled": False}},
            "phases": {
                **{phase: {"enabled": phase in phases} for phase in (*ONCE, "fuzzing")},
                # From a creation to its user, not from the list to whatever is in it.
                "stateful": {
                    "enabled": "stateful" in phases,
                    "inference": {"algorithms": ["location-headers"]},
                },
            },
        }
        document = self._api.get("/openapi.json").json()
        if self._api.authorization:
            settings["headers"] = {"Authorization": self._api.authorization}
        config = Config.from_dict(settings | {"base-url": self._api.url})
        schema = schemathesis.openapi.from_dict(document, config=config)
        schema.hooks.register_hook_with_name(is_about_the_request, "filter_failure")
        schema.hooks.register_hook_with_name(self._take_in, "after_call")
        # A stream has no end.
        bounded = schema.exclude(path="/events/stream")
        # What happens here isn't to be sent to whatever host comes up, and other tests have webhooks.
        bounded = bounded.exclude(path="/webhooks", method="POST")
        bounded = bounded.exclude(path="/webhooks/{id}", method="DELETE")
        for event in from_schema(bounded).execute():
            if isinstance(event, events.ScenarioFinished):
                self._judge(event)
            elif isinstance(event, events.NonFatalError):
                self.found.append(f"{event.label}: {event.info.title}: {event.info.message}")

    def put_ours(self, _context: HookContext, case: Case[Any], _kwargs: dict[str, Any]) -> None:
        """Have the request be about a user that was created here, if it is about a user at all."""
        match = SOMEBODYS.fullmatch(case.formatted_path)
        if case.formatted_path == "/users/me" and case.method != "GET":  # the admin of all tests
            case.path_parameters["id"] = self._ours[0]
        elif match and int(match[1]) not in self._ours:
            case.path_parameters["id"] = self._ours[int(match[1]) % len(self._ours)]

    def _take_in(self, _context: HookContext, _case: Case[Any], response: Response) -> None:
        if response.status_code == 201:
            self._ours.append(response.json()["id"])

    def _judge(self, scenario: events.ScenarioFinished) -> None:
        self.sent += len(scenario.recorder.interactions)
        for checks in scenario.recorder.checks.values():
            for check in checks:
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    self.found.append(
                        f"{check.name}: {failure.title}\n{failure.message}\n"
                        f"{check.failure_info.code_sample}"
                    )


def is_about_the_request(
    _context: HookContext, failure: Failure, _case: Case[Any], response: Response
) -> bool:
    """False where positive_data_acceptance complains of what no document can say.

    Whether an If-Match matches and whether an Idempotency-Key was used with another body depends
    on earlier requests, and a cursor is opaque: only its alphabet is documented. Nor is it known
    whose password is which, or said that a request asks for an upgrade.
    """
    if not isinstance(failure, RejectedPositiveData):
        return True
    problem = response.json()
    cursor = [expect.error("malformed", parameter="cursor")]
    return (
        problem.get("type", problem.get("error")) not in OF_OTHER_REASONS
        and problem.get("errors") != cursor
    )


@pytest.fixture
def fuzzer(api: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fuzzer]:
    """A fuzzer that leaves other tests' users alone and takes nothing from answers that show them."""
    monkeypatch.setattr(OpenApiSchema, "create_extra_data_source", lambda _: None)
    fuzzer = Fuzzer(api)
    hook = fuzzer.put_ours
    GLOBAL_HOOK_DISPATCHER.register_hook_with_name(hook, "before_call")
    yield fuzzer
    GLOBAL_HOOK_DISPATCHER.unregister(hook)


@pytest.fixture
def share(_clients: dict[str, Client]) -> int:
    """How many of the requests are for each target."""
    return math.ceil(int(FUZZ) / len(_clients)) if FUZZ else SHARE


@pytest.mark.clause("DOC-04", "OPS-11")
def test_whatever_is_asked_the_answer_is_documented(fuzzer: Fuzzer, share: int) -> None:
    fuzzer.fire(SEED, max(share // 32, 1), *ONCE, *AGAIN)
    seed, before = SEED, 0
    while before < fuzzer.sent < share and not fuzzer.found:
        seed, before = seed + 1, fuzzer.sent
        fuzzer.fire(seed, max((share - fuzzer.sent) // 8, 5), *AGAIN)
    print(f"{fuzzer.sent} requests, FUZZ_SEED={SEED}")
    found = [*dict.fromkeys(fuzzer.found)]
    assert not found, "\n\n".join([f"{len(found)} found with FUZZ_SEED={SEED}", *found[:20]])
    assert fuzzer.sent >= share
