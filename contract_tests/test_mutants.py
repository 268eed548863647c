"""PAIR: a handful of the mutants, and what holds of all of them; `make mutants` runs them all."""

import pytest

from contract_tests.harness import clauses, services
from contract_tests.harness.services import Kind
from contract_tests.mutants import __main__ as mutants
from contract_tests.mutants.inside import INSIDE, SOURCES
from contract_tests.mutants.wire import WIRE

# One of each sort: an answer, one that remembers, a request, a body, a service of a test's own,
# a patch.
SOME = [
    "problem_without_title",
    "entry_twice",
    "lost_update",
    "byte_order_mark_is_skipped",
    "star_for_an_origin",
    "unordered_ties",
]
GROUPS = (
    "HTTP ROUTE HDR REP JSON CTYPE BODY NAME EMAIL ROLE PASSWORD ID USR-CREATE USR-READ USR-LIST CURSOR QUERY "
    "USR-REPLACE USR-PATCH USR-DELETE COND IDEM UNIQ PROB CORS HEALTH DOC OPS LOG METRICS PAIR "
    "AUTH RIGHT LOGIN LIMIT"
)


@pytest.mark.clause("PAIR-11")
def test_there_are_enough_of_every_group() -> None:
    assert not WIRE.keys() & INSIDE.keys()
    planted = {mutants.clause_of(name) for name in (*WIRE, *INSIDE)}
    assert len(WIRE) + len(INSIDE) >= 60
    assert planted <= set(clauses.clauses())
    assert {clause.rpartition("-")[0] for clause in planted} == set(GROUPS.split())
    assert all(mutants.what(name) for name in (*WIRE, *INSIDE))


@pytest.mark.clause("PAIR-11")
@pytest.mark.parametrize("kind", services.KINDS)
def test_every_patch_still_applies(kind: Kind) -> None:
    for mutant in INSIDE.values():
        patches = mutant.patches(kind)
        assert patches, mutant.name
        for patch in patches:
            assert patch.changed(services.ROOT / SOURCES[kind]), patch


@pytest.mark.clause("PAIR-11")
def test_some_are_killed_and_what_is_shipped_is_not() -> None:
    reports = mutants.run_both(SOME, "--stop-early")
    for kind, report in reports.items():
        assert (report.code, report.control) == (0, {}), (kind, report.control, report.errors)
        assert {name for name in SOME if report.killers(name)} == {*SOME}, kind
