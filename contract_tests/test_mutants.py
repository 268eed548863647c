"""PAIR: a handful of the mutants, and what holds of all of them; `make mutants` runs them all."""

import re
from pathlib import Path

import pytest

from contract_tests.harness import clauses, services
from contract_tests.harness.services import Kind
from contract_tests.mutants import __main__ as mutants
from contract_tests.mutants.inside import INSIDE, SOURCES, Patch
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
    "USR-REPLACE USR-PATCH USR-DELETE COND IDEM UNIQ PROB CORS HEALTH HOOK DOC OPS LOG METRICS PAIR "
    "AUTH RIGHT LOGIN LIMIT EVENT STREAM SOCK"
)

# A method as it is, and as another formatter would write it: its body begins at the ¶, and in »«
# stands what is replaced. What is beside it has the same words.
PYTHON = '''\
LIMIT = 50


class Users:
    twice = 1
    twice = 2

    @cached
    def find(self, name: str) -> User | None:
        """Of one user."""
        ¶return »one(name, 1)« if name else None

    def lose(self, name: str) -> User:
        return one(name, 1)


def find(name: str) -> User:
    return one(name, 1)
'''
PYTHON_AGAIN = '''\
LIMIT = 50

class Users:
  twice = 1
  twice = 2

  @cached
  def find(
    self,
    name: str,
  ) -> User | None:
    """Of one user."""
    ¶return (
      »one(
        name,
        1,
      )«
      if name
      else None
    )

  def lose(self, name: str) -> User:
    return one(name, 1)
'''
TYPESCRIPT = """\
const LIMIT = 50;

export class Users {
  twice = 1;
  twice = 2;

  /** Of one user. */
  async find(name: string): Promise<User | null> {
    ¶return name ? »one(name, 1)« : null;
  }

  async #lose(name: string): Promise<User> {
    return one(name, 1);
  }
}

async function find(name: string): Promise<User> {
  return one(name, 1);
}
"""
TYPESCRIPT_AGAIN = """\
const LIMIT = 50;
export class Users {
    twice = 1;
    twice = 2;

    /** Of one user. */
    async find(
        name: string,
    ): Promise<User | null> {
        ¶return name
            ? »one(
                  name,
                  1,
              )«
            : null;
    }

    async #lose(name: string): Promise<User> {
        return one(name, 1);
    }
}
"""
WRITTEN = [
    ("users.py", PYTHON),
    ("users.py", PYTHON_AGAIN),
    ("users.ts", TYPESCRIPT),
    ("users.ts", TYPESCRIPT_AGAIN),
]


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
@pytest.mark.parametrize("written", WRITTEN)
def test_a_patch_applies_however_its_definition_is_written(
    written: tuple[str, str], tmp_path: Path
) -> None:
    file, text = written
    (tmp_path / file).write_text(re.sub("[¶»«]", "", text), "utf-8")
    other = Patch(file, "Users.find", "one(name, 1)", "two()").changed(tmp_path)
    assert other == re.sub("»[^«]*«", "two()", text.replace("¶", ""))
    more = Patch(file, "Users.find", "", "if x:\n  y").changed(tmp_path)
    assert more == re.sub("( *)¶", r"\1if x:\n\1  y\n\1", re.sub("[»«]", "", text))


@pytest.mark.clause("PAIR-11")
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize(
    ("where", "old", "words"),
    [
        ("Users.found", "one", "{file} has 0 definitions of Users.found, not one"),
        ("Users.twice", "one", "{file} has 2 definitions of Users.twice, not one"),
        ("Users.find", "ame", "Users.find in {file} has 0 times 'ame', not once"),
        ("Users.find", "name", "Users.find in {file} has 3 times 'name', not once"),
        ("LIMIT", "", "LIMIT in {file} has no body"),
    ],
)
def test_a_patch_that_does_not_apply_says_why(
    written: tuple[str, str], where: str, old: str, words: str, tmp_path: Path
) -> None:
    file, text = written
    (tmp_path / file).write_text(re.sub("[¶»«]", "", text), "utf-8")
    with pytest.raises(AssertionError) as refused:
        Patch(file, where, old, "two").changed(tmp_path)
    assert str(refused.value) == words.format(file=file)


@pytest.mark.clause("PAIR-11")
def test_some_are_killed_and_what_is_shipped_is_not() -> None:
    reports = mutants.run_both(SOME, "--stop-early")
    for kind, report in reports.items():
        assert (report.code, report.control) == (0, {}), (kind, report.control, report.errors)
        assert {name for name in SOME if report.killers(name)} == {*SOME}, kind
