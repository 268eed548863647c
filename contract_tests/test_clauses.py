"""PAIR: contract, tests and services speak of the same things."""

import itertools
import json
import re
from collections import Counter

import pytest

from contract_tests.harness import clauses, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind
from contract_tests.report import source

ROUTES = clauses.routes()


@pytest.mark.clause("PAIR-04")
def test_every_clause_has_a_test() -> None:
    proved = {clause for test in clauses.tests() for clause in test.clauses}
    assert [clause for clause in clauses.clauses() if clause not in proved] == []


@pytest.mark.clause("PAIR-04")
def test_every_test_names_clauses_that_there_are() -> None:
    assert clauses.complaints() == []


@pytest.mark.clause("PAIR-04")
def test_no_clause_and_no_test_stands_twice() -> None:
    for names in (clauses.clauses(), [test.id for test in clauses.tests()]):
        assert [name for name, count in Counter(names).items() if count > 1] == []


@pytest.mark.clause("PAIR-04")
def test_every_clause_that_no_gateway_keeps_says_why() -> None:
    assert clauses.marked_direct() == set(clauses.direct())


@pytest.mark.clause("PAIR-05")
def test_every_row_of_the_routes_names_clauses_that_there_are() -> None:
    ids = set(clauses.clauses())
    known = ids | {clause.rpartition("-")[0] for clause in ids}
    for governed in ROUTES.values():
        assert set(governed) <= known


@pytest.mark.storeless
@pytest.mark.clause("PAIR-05", "DOC-04")
def test_every_documented_route_has_a_row_and_every_row_is_documented(api: Client) -> None:
    paths = api.get("/openapi.json").json()["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    assert documented == {
        (method, path)
        for method, path in ROUTES
        if method not in ("HEAD", "OPTIONS") and not path.startswith(("/docs", "/openapi.json"))
    }


@pytest.mark.clause("PAIR-05")
def test_every_row_is_served(api: Client) -> None:
    """Without anything: what is there answers with any problem but `not-found` and 405."""
    for method, path in ROUTES:
        answer = api.request(method, path.format(id=expect.MAX_ID, event=1))
        assert answer.status != 405, (method, path)
        if answer.status == 404 and method != "HEAD":
            what = "webhook" if path.startswith("/webhooks") else "user"
            expect.problem(answer, f"{what}-not-found")


# What each service has registered with its framework, `{id}` for a parameter.
REGISTERED: dict[Kind, str] = {
    "python": """
import json
from fastapi.routing import iter_route_contexts
from python_api.app import create_app
from python_api.settings import read_settings

routes = iter_route_contexts(create_app(read_settings({}), None).routes)
# A WebSocket's begins with a GET.
methods = [[method, route.path] for route in routes for method in route.methods or ["GET"]]
print(json.dumps(methods))
""",
    "node": """
import { createApp } from "./src/app.ts";
import { readSettings } from "./src/settings.ts";

const routes = createApp(readSettings({}), null).routes.filter(({ method }) => method !== "ALL");
const path = (route) => route.path.replace(/:(\\w+)/g, "{$1}");
console.log(JSON.stringify(routes.map((route) => [route.method, path(route)])));
""",
}


@pytest.mark.clause("PAIR-05")
@pytest.mark.parametrize("kind", services.KINDS)
def test_every_registered_route_has_a_row(kind: Kind) -> None:
    registered = {
        (method, path) for method, path in json.loads(services.run_code(REGISTERED, kind))
    }
    ours = {(method, path) for method, path in ROUTES if method not in ("HEAD", "OPTIONS")}
    assert {(method, path) for method, path in registered if method != "HEAD"} == ours


@pytest.mark.clause("PAIR-06", "PROB-01")
def test_the_problems_are_those_of_the_contract() -> None:
    ours = {
        code: (problem.status, problem.title, problem.detail)
        for code, problem in expect.PROBLEMS.items()
    }
    assert ours == clauses.problems()
    assert clauses.details() == expect.DETAILS


@pytest.mark.clause("PAIR-12")
def test_every_clause_is_named_at_the_code_that_keeps_it() -> None:
    known, named = clauses.clauses(), source.named()
    assert named.keys() <= set(known)
    for clause in known:
        match clause.rpartition("-")[0]:
            case "PAIR":
                assert clause not in named
            case "COMPOSE":
                assert set(named[clause]) == {"common"}
            case _:
                assert {"python", "node"} <= set(named[clause]), clause


@pytest.mark.clause("PAIR-12")
@pytest.mark.parametrize("side", source.SIDES)
def test_no_clause_is_named_without_a_word(side: str) -> None:
    bare = re.compile(r"[^\w`]*(?:Clauses:|@clauses)?[^\w`]*(?:[A-Z]+(?:-[A-Z]+)*-\d\d[,. ]*)+")
    for file in source.files(side):
        lines = file.read_text("utf-8").splitlines()
        for before, line in itertools.pairwise(lines):
            is_comment = line.strip().startswith(("#", "//", '"""', "/**"))
            goes_on = before.strip().startswith(("#", "//", "/*", "*"))
            assert goes_on or not is_comment or not bare.fullmatch(line), f"{file.name}: {line}"


@pytest.mark.clause("PAIR-12")
@pytest.mark.parametrize("side", source.SIDES)
def test_the_clauses_of_a_definition_stand_in_order(side: str) -> None:
    clause = r"[A-Z]+(?:-[A-Z]+)*-\d\d"
    listed = re.compile(rf"(?:Clauses:|@clauses) {clause}(?:,(?: |\n[ *]+){clause})*")
    found = [
        re.findall(clause, names)
        for file in source.files(side)
        for names in listed.findall(file.read_text("utf-8"))
    ]
    assert len(found) > 100
    for names in found:
        assert names == sorted(set(names), key=lambda name: name.rpartition("-"))


@pytest.mark.clause("PAIR-12")
def test_what_keeps_a_clause_is_shown_in_few_lines() -> None:
    blocks = {
        block for sides in source.named().values() for some in sides.values() for block in some
    }
    sizes = sorted(block.last - block.first + 1 for block in blocks)
    assert sizes[len(sizes) // 2] <= 20
    assert sizes[-1] <= 120
