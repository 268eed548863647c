"""The same request to all targets at once, and their answers compared to the byte.

    DIFFERENTIAL=50000 pytest contract_tests/test_differential.py    so many generated requests
    DIFFERENTIAL_SEED=7 pytest contract_tests/test_differential.py   others; a seed makes the same
    DIFFERENTIAL_ENTRY="> GET /users" pytest ... -k entry            that, in the corpus' notation

Two sources: the corpus in `contract_tests/differential/`, and Hypothesis, from valid to garbage.
What is not compared is a short list, `harness.differential.NORMALISATIONS`. What the corpus says of
an entry is also asked of a single target.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st

from contract_tests.harness import differential, expect, progress
from contract_tests.harness.client import Client
from contract_tests.harness.differential import Difference, Request
from contract_tests.harness.wire import Answer

DIFFERENTIAL = int(os.environ.get("DIFFERENTIAL", "700"))
SEED = int(os.environ.get("DIFFERENTIAL_SEED", "1"))
ENTRY = os.environ.get("DIFFERENTIAL_ENTRY")
# Of ours a short run compares one target of each language; `make prove`, or an entry, all of them.
FEW = {"python-sqlite", "node-postgres"}

T = TypeVar("T")


@pytest.fixture(scope="module")
def apart(pytestconfig: pytest.Config, _clients: dict[str, Client]) -> list[Client]:
    """The targets with users of their own: of those that share a database only the first.

    Gateways are left out: they answer some requests themselves. So is what is secured, where
    others are not.
    """
    gateways = {named.partition("=")[0] for named in pytestconfig.getoption("--gateway")}
    email = expect.unique_email()
    fields = {"name": "Ada", "email": email}
    given = pytestconfig.getoption("--target") or gateways
    few = not (given or ENTRY or "DIFFERENTIAL" in os.environ)
    return [
        client
        for name, client in _clients.items()
        if name not in gateways
        and (name in FEW or not few)
        and client.login == next(iter(_clients.values())).login
        and client.post("/users", json=fields).status == 201
    ]


@pytest.fixture
def targets(apart: list[Client]) -> list[Client]:
    """All targets that can be compared."""
    if len(apart) < 2:
        pytest.skip("no two targets with databases of their own")
    return apart


@pytest.fixture
def ask(
    request: pytest.FixtureRequest, pytestconfig: pytest.Config, apart: list[Client]
) -> Callable[[Sequence[Request]], str]:
    """A function that asks all targets; a Difference also tells how to ask the same again."""
    for client in apart:
        client.begin(request.node.nodeid)
    given = [*pytestconfig.getoption("--target"), *pytestconfig.getoption("--gateway")]
    make = f"make contract TARGETS={shlex.quote(' '.join(given))}" if given else "make test"
    again = f"{make} ARGS='contract_tests/test_differential.py -k entry -p no:randomly'"

    def ask_all(steps: Sequence[Request]) -> str:
        try:
            return differential.converse(apart, steps)
        except Difference as difference:
            entry = shlex.quote(differential.as_text(steps))
            raise Difference(f"{difference}\n\nDIFFERENTIAL_ENTRY={entry} \\\n{again}") from None

    return ask_all


# The corpus


@pytest.mark.clause("PAIR-10")
@pytest.mark.parametrize("kind", ["entry"] if ENTRY else differential.kinds())
def test_the_corpus_is_answered_alike_and_as_it_says(
    apart: list[Client], ask: Callable[[Sequence[Request]], str], kind: str
) -> None:
    if not apart:
        pytest.skip("no target that can be compared")
    # What it says is about services that ask nobody for a token.
    is_open = not any(client.login for client in apart)
    found = []
    entries = differential.parsed(ENTRY, kind) if ENTRY else differential.entries(kind)
    for entry in entries:
        try:
            answered = ask(entry.steps)
            if is_open and answered != (entry.expected or answered):
                found.append(f"{entry.place} says {entry.expected}, but was answered {answered}")
        except Difference as difference:
            found.append(f"{entry.place}\n{difference}")
        progress.advance("corpus")
    if found:
        pytest.fail("\n\n".join([f"{len(found)} differ", *found[:20]]), pytrace=False)


@pytest.mark.clause("PAIR-10")
def test_the_corpus_is_large_says_of_each_what_is_answered_and_holds_nothing_twice() -> None:
    places: dict[object, list[str]] = {}
    for kind in differential.kinds():
        for entry in differential.entries(kind):
            assert entry.expected, f"{entry.place}: what is answered?"
            places.setdefault((kind, entry.steps), []).append(entry.place)
    assert [some for some in places.values() if len(some) > 1] == []
    assert len(places) >= 500


@pytest.mark.clause("PAIR-10")
def test_only_the_tests_own_user_may_be_older_than_the_run() -> None:
    (moments,) = (
        one for one in differential.NORMALISATIONS if one.what == "created_at and updated_at"
    )
    old = b'"created_at":"2020-01-01T00:00:00.000Z","updated_at":"2020-01-01T00:00:00.000Z"'
    answer = Answer(200, [], b'{"id":1,' + old + b',"version":1}')
    me, other = (
        differential.Seen(b"GET /users/%b HTTP/1.1\r\n" % name, answer, {})
        for name in (b"me", b"1")
    )
    moments.apply(me)
    assert me.body == b'{"id":1,"created_at":<moment>,"updated_at":<moment>,"version":1}'
    with pytest.raises(AssertionError):
        moments.apply(other)


@pytest.mark.clause("PAIR-10")
def test_the_normalisations_are_few_and_have_a_reason() -> None:
    assert len(differential.NORMALISATIONS) <= 5
    assert all(normalisation.why for normalisation in differential.NORMALISATIONS)


# What Hypothesis makes. Emails, names to search for and keys hold the example's token, so that no
# other test's user is in the answer, and no path leads to a user who is not the example's.


def same(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T]:
    return strategy


def mostly(
    usual: st.SearchStrategy[bytes], unusual: st.SearchStrategy[bytes]
) -> st.SearchStrategy[bytes]:
    """Three times of four the usual."""
    return st.sampled_from([usual, usual, usual, unusual]).flatmap(same)


def joined(pieces: Sequence[bytes], most: int = 8) -> st.SearchStrategy[bytes]:
    """Any of these, one after the other."""
    return st.lists(st.sampled_from(pieces), max_size=most).map(b"".join)


TEXTS = st.text(st.characters(codec=None), max_size=12) | st.sampled_from(
    ["", " ", "\t a \n", "\x00", "\x7f", "\x85", "\ufeff", "\ud800", "\U0001f600" * 100, "é" * 101]
)
LOCAL = st.text("ab.!#$%&'*+/=?^_`{|}~-@\" é\u212a", max_size=6)
EMAILS = st.one_of(
    LOCAL.map(lambda local: f"{local}{{unique}}@example.com"),
    st.text("abC0-._@ é\n", max_size=8).map(lambda domain: f"{{unique}}@{domain}"),
    st.integers(48, 56).map(lambda length: f"{'a' * length}{{unique}}@example.com"),
    st.integers(60, 66).map(lambda length: f"{{unique}}@{'a' * length}.com"),
    st.sampled_from(["{email}", "{taken}", "TAKEN-{unique}@EXAMPLE.COM", "", "{unique}"]),
)
ROLES = st.sampled_from(["admin", "member", "Admin", " member", "", "\ud800"])
PASSWORDS = st.one_of(
    st.text(st.characters(codec=None), min_size=10, max_size=14),
    st.integers(126, 130).map(lambda length: "é" * length),
    st.integers(10, 13).map(lambda length: "\U0001f600" * length),
    st.sampled_from(["", " " * 12, "\x00" * 12, "\ud800" * 12, "correct horse battery staple"]),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXTS | VALUES,
        # A text that no strategy of emails made could be somebody's.
        "email": EMAILS | VALUES.filter(lambda value: not isinstance(value, str)),
        "role": ROLES | VALUES,
        "password": PASSWORDS | VALUES,
        "id": VALUES,
        "~/é\ud800 %": VALUES,
        "__proto__": VALUES,
    },
)
PROPER = st.fixed_dictionaries(
    {"name": TEXTS, "email": EMAILS}, optional={"role": ROLES, "password": PASSWORDS}
)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), ("\r\n,\t", " : ")])
SCRAPS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b",",
        b":",
        b'"name"',
        b'"email"',
        b'"role"',
        b'"\\u00e9\\ud800"',
    ),
    *(b"1", b"-", b"0", b".5", b"e9", b"NaN", b"true", b"null", b"\\", b"\xef\xbb\xbf", b"\xff"),
    *(b" ", b"\x0b", b"\xc2\xa0", b"\xed\xa0\x80", b"{unique}@example.com", b"//", b"\x00"),
)


@st.composite
def rendered(draw: st.DrawFn, values: st.SearchStrategy[object]) -> bytes:
    """As JSON, in one of the ways to write it; surrogates make some of it no UTF-8."""
    separators, ascii_only = draw(SEPARATORS), draw(st.booleans())
    text = json.dumps(draw(values), ensure_ascii=ascii_only, separators=separators)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """With a byte or a few lost, added or exchanged; the words in braces stay."""
    data = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        words = [set(range(*word.span())) for word in re.finditer(rb"\{[a-z]+\}", data)]
        spots = sorted(set(range(len(data))).difference(*words))
        where = draw(st.sampled_from(spots)) if spots else 0
        extra = draw(st.binary(max_size=2) | st.sampled_from([b'"', b" ", b"\r\n", b"%", b":"]))
        data = data[:where] + extra + data[where + draw(st.integers(0, 1)) :]
    return data


GOOD = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["Ada", " É 😀\n", '"\\/{unique}', "a" * 100]),
        "email": st.sampled_from(
            ["new-{unique}@example.com", "{unique}@EXAMPLE.com", ".{unique}@a.b"]
        ),
    },
    optional={
        "role": st.sampled_from(["admin", "member"]),
        "password": st.sampled_from([" " * 12, "\x00 é 😀 {unique}", "x" * 128]),
    },
)
BODIES = mostly(
    rendered(GOOD),
    st.one_of(
        rendered(PROPER),
        rendered(MEMBERS),
        damaged(rendered(PROPER)),
        rendered(VALUES),
        joined(SCRAPS, 12),
        st.binary(max_size=40),
    ),
)
MEDIA_TYPES = mostly(
    st.just(b"application/json"),
    st.sampled_from([b"application/merge-patch+json", b"APPLICATION/JSON;charset=UTF-8", b""])
    | joined(
        (
            *(b"application/json", b"text/json", b";", b" ", b"charset", b"=", b"utf-8", b'"'),
            *(b"\\", b"a", b",", b"\t", b"\xe9", b"utf8", b"/"),
        )
    ),
)
ONE_TYPE = st.just([b"application/json"])
CONDITIONS = mostly(
    st.sampled_from([b'"1"', b"*", b'"2", "1"', b'W/"1"', b'"2"']),
    joined([b'"1"', b'"2"', b"W/", b"w/", b"*", b",", b" ", b"\t", b'"', b"1", b"\xe9"]),
)
KEYS = mostly(
    st.just(b"{unique}"),
    joined([b" ", b"a", b"\xe9", b"\t", b",", b'"']).map(b"{unique}%s".__mod__),
)
REQUEST_IDS = joined([b"a", b"Z9", b"._-", b" ", b"\xe9", b"a" * 120, b"aaaaaaa", b","])
ANY_VALUE = joined([b"a", b" ", b",", b"\xff", b"\t", b"*", b"1", b'"', b"bytes=0-1", b"gzip"])
METHODS = (
    *(b"GET", b"HEAD", b"OPTIONS", b"POST", b"PUT", b"PATCH", b"DELETE", b"TRACE"),
    *(b"PROPFIND", b"M-SEARCH", b"LOCK", b"PURGE", b"REPORT", b"LINK"),
)
OTHER_FIELDS = (
    *(b"Accept", b"Accept-Encoding", b"Range", b"If-Range", b"If-Modified-Since", b"Origin"),
    *(b"Access-Control-Request-Method", b"X-HTTP-Method-Override", b"X-Forwarded-Prefix"),
    *(b"Cookie", b"Authorization", b"X-Unknown", b"__proto__", b"constructor", b"x!#$%&'*+.^_`|~"),
)
FIELDS = {
    b"If-Match": CONDITIONS,
    b"If-None-Match": CONDITIONS,
    b"Idempotency-Key": KEYS,
    b"X-Request-Id": REQUEST_IDS,
    b"Content-Encoding": st.sampled_from([b"gzip", b"identity", b""]),
    **dict.fromkeys(OTHER_FIELDS, ANY_VALUE),
}


@st.composite
def fields(draw: st.DrawFn, *usual: bytes) -> bytes:
    """None or a few fields, those that matter here more often, now and then one of them twice."""
    names = st.sampled_from([*usual, *usual, *usual, *FIELDS])
    chosen = draw(st.lists(names, max_size=3))
    return b"".join(b"%s: %s\r\n" % (name, draw(FIELDS[name])) for name in chosen)


@st.composite
def writes(
    draw: st.DrawFn, methods: Sequence[bytes], paths: st.SearchStrategy[bytes], *usual: bytes
) -> Request:
    """A request with a body."""
    method, path = draw(st.sampled_from(methods)), draw(paths)
    types = draw(
        st.sampled_from([ONE_TYPE] * 9 + [st.lists(MEDIA_TYPES, max_size=2)]).flatmap(same)
    )
    head = b"%s %s HTTP/1.1\r\n%s" % (method, path, draw(fields(*usual)))
    head += b"".join(b"Content-Type: %s\r\n" % media_type for media_type in types)
    return Request(head, draw(BODIES))


@st.composite
def reads(
    draw: st.DrawFn, methods: Sequence[bytes], targets: st.SearchStrategy[bytes], *usual: bytes
) -> Request:
    """A request that needs no body and may have one."""
    method, target = draw(st.sampled_from(methods)), draw(targets)
    body = draw(st.none() | st.none() | st.none() | st.binary(max_size=30))
    return Request(b"%s %s HTTP/1.1\r\n%s" % (method, target, draw(fields(*usual))), body)


IDS = st.sampled_from([b"0", b"00", b"-1", b"+1", b"1.0", b"1e3", b"abc", b"", b"\\", b"%31"]) | (
    st.sampled_from([b"9007199254740991", b"9007199254740992", b"1" * 60, b"01", b"1;a=b", b"1_0"])
)
USERS = mostly(
    st.just(b"/users/{id}"),
    st.just(b"/users/{gone}") | st.just(b"/users/{id}?limit=%&x") | IDS.map(b"/users/%s".__mod__),
)
PRINTABLE = st.text([chr(code) for code in range(33, 127)], max_size=8).map(str.encode)
# Nothing of this is the path of a document, whose bytes are the service's own.
PATHS = joined(
    (
        *(b"/users", b"/users", b"/", b"/healthz", b"/readyz", b"/{id}", b".", b"..", b"%75"),
        *(b"%2F", b"%", b"/Users", b";a", b"[", b"\\", b"|", b"/x", b"#", b"?", b"?a=%ff"),
    ),
    4,
) | PRINTABLE.map(b"/%s".__mod__)


def own(target: bytes) -> bytes:
    """The target, or if it is the list, the list of the example's own users."""
    path, mark, query = target.partition(b"?")
    return b"/users?q={unique}&" + query if path == b"/users" else (path + mark + query or b"/")


ENCODED = joined(
    (
        *(b"a", b"+", b"%20", b"%C3%89", b"%c3", b"%ff", b"%", b"%2", b"%00", b"%E2%84%AA"),
        *(b"%ED%A0%80", b"%F0%9F%98%80", b"=", b";", b"?", b"/", b'"', b"[", b"%5c", b"_"),
        *(b"%25", b"A" * 80),
    ),
    5,
)
LIMITS = joined([b"1", b"0", b"5", b"00", b"-", b"+", b".", b"%31", b"e1", b"%D9%A3", b"9" * 20], 3)
SORTS = mostly(
    st.sampled_from([b"id", b"-id", b"name", b"-name", b"email", b"-email", b"created_at"]),
    joined([b"-", b"id", b"name", b"+", b"created_at", b",", b"Name", b"version", b"%2D"], 3),
)
CURSOR_PARTS = [
    b'"id"',
    b'"name"',
    b"null",
    b'"{unique}"',
    b"1",
    b"0",
    b"{id}",
    b"9007199254740991",
]
CURSORS = st.one_of(
    st.lists(
        st.sampled_from([*CURSOR_PARTS, b"1.0", b"true", b'"-id"', b'"\\u0061"', b" 1", b'"\xff"']),
        min_size=3,
        max_size=5,
    ).map(lambda parts: b"{cursor [%s]}" % b",".join(parts)),
    st.sampled_from([b'"id"', b'"-id"']).map(
        lambda sort: b'{cursor [%s,"{unique}",{id},{id}]}' % sort
    ),
    joined([b"WyJpZCIs", b"AAAA", b"=", b"-_", b"A", b"+", b"%0A", b"bnVsbA"], 4),
)


@st.composite
def lists(draw: st.DrawFn) -> Request:
    """A list of what the example made; `q` always holds its token."""
    names = {
        b"limit": LIMITS,
        b"sort": SORTS,
        b"cursor": CURSORS,
        b"q": ENCODED.map(b"%s{unique}".__mod__),
    }
    q = draw(mostly(st.just(b"{unique}"), ENCODED.map(b"{unique}%s".__mod__)))
    pieces = [b"q=" + q]
    chosen = draw(st.lists(st.sampled_from([b"limit", b"sort", b"cursor", *names]), max_size=3))
    pieces += [b"%s=%s" % (name, draw(names[name])) for name in chosen]
    pieces += draw(mostly(st.just(b""), ENCODED).map(lambda text: [text] if text else []))
    query = b"&".join(draw(st.permutations(pieces)))
    method = draw(st.sampled_from([b"GET", b"GET", b"GET", b"HEAD"]))
    # A path that names a user, who is there then to be found.
    head = b"%s /users?%s HTTP/1.1\r\nX-Unknown: {id}\r\n%s"
    return Request(head % (method, query, draw(fields(b"If-None-Match"))))


# Whatever a byte or two make of these, nobody else's user is meant.
PLAIN = (
    b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: a\r\n\r\n",
    b"HEAD /nowhere HTTP/1.0\r\nHost: localhost\r\n\r\n",
    b"GET /users?limit=0&sort=!&cursor=!&q={unique} HTTP/1.1\r\nhost: a:80\r\n\r\n",
    b"DELETE /users/9007199254740991 HTTP/1.1\r\nHost: [::1]\r\nIf-Match: *\r\n\r\n",
    b"OPTIONS /users HTTP/1.1\r\nHost: localhost\r\nOrigin: https://a.example\r\n\r\n",
    (
        b"POST /users HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b'Content-Length: 60\r\n\r\n{"name":"Ada","email":"differential-{unique}@a.example"}'
    ),
    (
        b"PATCH /users/9007199254740991 HTTP/1.1\r\nHost: localhost\r\n"
        b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\n{}\r\n0\r\n\r\n"
    ),
)
_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_HEAD = re.compile(
    rb"(?:%s) /[!-~]* HTTP/1\.[01]\r\n((?:%s:[\t -~\x80-\xff]*\r\n)*)\r\n"
    % (b"|".join(METHODS), _TOKEN)
)
_FRAMING = re.compile(
    rb"^(transfer-encoding|upgrade|connection|expect) *:", re.IGNORECASE | re.MULTILINE
)
_LENGTH = re.compile(rb"^content-length:[\t ]*([0-9]{1,9})[\t ]*\r$", re.IGNORECASE | re.MULTILINE)


def is_http(data: bytes) -> bool:
    """Whether it is one whole request, beyond doubt: then nothing about its answer is left open."""
    head = _HEAD.match(data)
    if not head or _FRAMING.search(head[1]):
        return False
    mentioned, lengths = head[1].lower().count(b"content-length"), _LENGTH.findall(head[1])
    size = sum(map(int, lengths))
    return mentioned == len(lengths) <= 1 and len(data) - head.end() == size


@st.composite
def bytes_at_all(draw: st.DrawFn) -> Request:
    """A request with a few wrong bytes, or nothing like a request."""
    data = draw(mostly(damaged(st.sampled_from(PLAIN)), st.binary(max_size=60)))
    cut = not is_http(data.replace(b"{unique}", b"u" * 12))
    return Request(data, exact=True, cut=cut, half_closed=True)


OPERATIONS: dict[str, st.SearchStrategy[Sequence[Request]]] = {
    "create": st.tuples(writes([b"POST"], st.just(b"/users"), b"Idempotency-Key")),
    "change": st.tuples(writes([b"PUT", b"PATCH"], USERS, b"If-Match")),
    "read": st.tuples(reads([b"GET", b"HEAD"], USERS, b"If-None-Match")),
    "delete": st.tuples(reads([b"DELETE"], USERS, b"If-Match")),
    "list": st.tuples(lists()),
    "anywhere": st.tuples(reads(METHODS, PATHS.map(own), b"Origin", b"X-Request-Id")),
    "bytes": st.tuples(bytes_at_all()),
    "sequence": st.lists(
        writes([b"POST"], st.just(b"/users"), b"Idempotency-Key", b"Idempotency-Key")
        | writes([b"PUT", b"PATCH"], st.just(b"/users/{id}"), b"If-Match")
        | reads([b"GET", b"HEAD", b"DELETE"], st.just(b"/users/{id}"), b"If-Match")
        | st.just(Request(b"GET /users?q={unique}&sort=name HTTP/1.1\r\n")),
        min_size=2,
        max_size=5,
    ),
}


@pytest.mark.clause("PAIR-10")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_whatever_is_asked_is_answered_alike(
    targets: list[Client], ask: Callable[[Sequence[Request]], str], operation: str
) -> None:
    asked = 0

    @seed(SEED)
    @settings(
        max_examples=-(-DIFFERENTIAL // len(OPERATIONS)),
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
        print_blob=False,
    )
    @given(OPERATIONS[operation])
    def ask_whatever(steps: Sequence[Request]) -> None:
        nonlocal asked
        for target in targets:
            target.begin(repr(steps))
        ask(steps)
        asked += len(steps)
        progress.advance("examples")
        progress.advance("requests", len(steps))

    found = ""
    try:
        ask_whatever()
    except Difference as difference:
        found = "\n".join([str(difference), *getattr(difference, "__notes__", [])])
    if found:  # told without the source lines of all that led to it
        pytest.fail(f"DIFFERENTIAL_SEED={SEED}\n{found}", pytrace=False)
    print(f"{asked} requests, DIFFERENTIAL_SEED={SEED}")
    assert asked >= DIFFERENTIAL // len(OPERATIONS)


@pytest.mark.clause("PAIR-10")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_what_is_printed_asks_the_same_again(operation: str) -> None:
    @seed(SEED)
    @settings(max_examples=100, database=None, deadline=None, suppress_health_check=[*HealthCheck])
    @given(OPERATIONS[operation])
    def check(steps: Sequence[Request]) -> None:
        (entry,) = differential.parsed(differential.as_text(steps), "printed")
        places = {"id": b"7", "unique": b"u" * 12}
        printed, asked = (
            [replace(step, head=step.message(places), body=None, exact=True) for step in some]
            for some in (entry.steps, steps)
        )
        assert printed == asked

    check()
