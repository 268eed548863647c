"""The same request to all targets at once, and their answers held against each other to the byte.

A `Request` may hold what differs from target to target, or from one example to the next, as a word
in braces; see `PLACES`. Whoever has to be there for it is created first, the same at each target.
What a service is free to choose goes through `NORMALISATIONS`, and nothing else does.

`entries` reads the corpus, `contract_tests/differential/*.txt`; its README tells the notation.
"""

import base64
import contextlib
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Answer, Connection

CORPUS = Path(__file__).parents[1] / "differential"

# What stands in braces in a request, and for what. Whatever else stands in braces is itself.
PLACES = {
    "unique": "a token of this example: 12 letters and digits, the same at every target",
    "id": "the id of a user who is there, in version 1: `Ada {unique}`, {email}",
    "email": "that user's email, {unique}@example.com",
    "taken": "the email of another user who is there, taken-{unique}@example.com",
    "gone": "the id of a user who was deleted",
    "new": "the id that the last 201 gave",
    "next": "the target of the last `Link`",
}
_PLACE = re.compile(rb"\{(%s)\}" % "|".join(PLACES).encode())
_CURSOR = re.compile(rb"\{cursor ([^{}]*)\}")

TIMEOUT = 20.0
# What is said of bytes that are no HTTP.
CUT = "4xx; closed"
OF_THE_CONNECTION = {"date", "connection", "keep-alive"}  # CONTRACT.md, Outside the contract


@dataclass(frozen=True)
class Request:
    """Request line and fields, each line with its CRLF, and the body, None without one.

    `Host` and `Content-Length` are added but for `exact` bytes. Of what is not HTTP (`cut`) the
    contract promises a 4xx and the end of the connection only. To see whether a connection goes
    on, and where the request ended for the service, one more request follows on it, unless this
    one is to stay `alone` or the client has nothing more to say (`half_closed`).
    """

    head: bytes
    body: bytes | None = None
    exact: bool = False
    cut: bool = False
    alone: bool = False
    half_closed: bool = False

    def message(self, places: Mapping[str, bytes]) -> bytes:
        """The bytes to send."""
        head, body = _filled(self.head, places), self.body and _filled(self.body, places)
        if self.exact:
            return head + (body or b"")
        line, _, fields = head.partition(b"\r\n")
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(body)
        return b"%s\r\nHost: localhost\r\n%s%s\r\n%s" % (line, fields, length, body or b"")


@dataclass(frozen=True)
class Entry:
    """What a line of the corpus stands for: a request, or several one after the other."""

    place: str
    steps: tuple[Request, ...]
    expected: str | None
    """What an open service answers, as `converse` gives it; None where that isn't said."""


class Difference(AssertionError):
    """The targets answered one and the same request differently."""


# Normalisations


@dataclass
class Seen:
    """An answer on its way to be compared: what the normalisations have left of it so far."""

    request: bytes
    answer: Answer
    ids: dict[str, str]
    fields: list[tuple[str, str]] = field(init=False)
    body: bytes = field(init=False)

    def __post_init__(self) -> None:
        self.body = self.answer.body
        self.fields = sorted(
            (name, value) for name, value in self.answer.headers if name not in OF_THE_CONNECTION
        )

    def change(self, name: str, change: Callable[[str], str]) -> None:
        """Put the result in place of the value of every field with this name."""
        self.fields = [(n, change(value) if n == name else value) for n, value in self.fields]

    def id(self, digits: str) -> str:
        """What stands for this id of this target: its number in the order of appearance."""
        assert 1 <= int(digits) <= expect.MAX_ID, f"not an id: {digits}"
        return self.ids.setdefault(digits, f"<id {len(self.ids) + 1}>")


@dataclass(frozen=True)
class Normalisation:
    """What is not compared, why, and the function that checks its form and puts it aside."""

    what: str
    why: str
    apply: Callable[[Seen], None]


_ID = re.compile(rb'(?<=\{"id":)([1-9][0-9]*)(?=,"(?:name|url)":")')
_MOMENTS = re.compile(rb'"created_at":"([^"]*)","updated_at":"([^"]*)","version":([0-9]+)\}')
_CREATED = re.compile(rb'"created_at":"([^"]*)","ended_at":null')
_SECRET = re.compile(rb'"secret":"whsec_[A-Za-z0-9+/]{43}="')
_BEGUN = datetime.now(UTC)
_SLACK = timedelta(minutes=5)
_LOCATION = re.compile(r"(?<=/)([1-9][0-9]*)$")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
_NEXT = re.compile(r"(?<=&cursor=)([A-Za-z0-9_-]+)(?=>; rel=\"next\"$)")


def _ids(seen: Seen) -> None:
    seen.body = _ID.sub(lambda match: seen.id(match[1].decode()).encode(), seen.body)
    seen.change("location", lambda value: _LOCATION.sub(lambda match: seen.id(match[1]), value))


def _moments(seen: Seen) -> None:
    def check(match: re.Match[bytes]) -> bytes:
        created, updated = (_moment(match[n].decode()) for n in (1, 2))
        assert created == updated if match[3] == b"1" else created <= updated, match[0]
        # The tests' own user, `me`, may be much older than the run; the others are new.
        assert b" /users/me" in seen.request or updated > _BEGUN - _SLACK, match[0]
        assert updated < datetime.now(UTC) + _SLACK, match[0]
        return b'"created_at":<moment>,"updated_at":<moment>,"version":%s}' % match[3]

    def check_created(match: re.Match[bytes]) -> bytes:
        assert abs(datetime.now(UTC) - _moment(match[1].decode())) < _SLACK, match[0]
        return b'"created_at":<moment>,"ended_at":null'

    seen.body = _MOMENTS.sub(check, seen.body)
    seen.body = _CREATED.sub(check_created, seen.body)


def _random(seen: Seen) -> None:
    def check(value: str) -> str:
        if value and value.encode("latin-1") in seen.request:
            return value
        assert expect.is_uuid(value), f"X-Request-Id is {value!r}"
        return "<uuid>"

    seen.change("x-request-id", check)
    seen.body = _SECRET.sub(b'"secret":<secret>', seen.body)


def _cursor(seen: Seen) -> None:
    def check(match: re.Match[str]) -> str:
        text = base64.urlsafe_b64decode(match[1] + "=" * (-len(match[1]) % 4)).decode()
        sort, q, key, last = json.loads(text)
        assert expect.render([sort, q, key, last]) == text.encode(), text
        assert base64.urlsafe_b64encode(text.encode()).decode().rstrip("=") == match[1], match[1]
        if sort.endswith("created_at"):
            _moment(key)
            key = "<moment>"
        if sort.endswith("id"):
            key = seen.id(str(key))
        return str([sort, q, key, seen.id(str(last))])

    seen.change("link", lambda value: _NEXT.sub(check, value))


def _length(seen: Seen) -> None:
    head = seen.request.startswith(b"HEAD /users") and seen.answer.status == 200
    for name, value in seen.fields:
        if name == "content-length" and not seen.request.startswith(b"HEAD "):
            assert value == str(len(seen.answer.body)), f"{value} is not the body's length"
    if head or seen.body != seen.answer.body:
        seen.change("content-length", lambda _: "<length>")


# All that may differ, in the order in which it is put aside. At most five.
NORMALISATIONS = (
    Normalisation(
        "the id of a user or a webhook, in a body and in Location",
        "each database counts for itself; the same one has the same number within an example",
        _ids,
    ),
    Normalisation(
        "created_at and updated_at",
        "targets are asked one after the other, and have clocks of their own",
        _moments,
    ),
    Normalisation(
        "an X-Request-Id that the client did not send, and a webhook's secret",
        "they are random",
        _random,
    ),
    Normalisation("id and created_at in the cursor of a Link", "as in the body", _cursor),
    Normalisation(
        "Content-Length of a body that holds one of these, or would but for HEAD",
        "ids have as many digits as they have",
        _length,
    ),
)


def _moment(text: str) -> datetime:
    assert _MOMENT.fullmatch(text), f"not a timestamp of the contract: {text!r}"
    return datetime.fromisoformat(text)


# Asking


@dataclass
class _Side:
    """A target within one example."""

    client: Client
    places: dict[str, bytes]
    ids: dict[str, str] = field(default_factory=dict)
    sent: bytes = b""

    def learn(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if answer.status == 201:
                self.places["new"] = (answer.header("location") or "").split("/")[-1].encode()
            if link := answer.header("link"):
                self.places["next"] = link[1:].partition(">")[0].encode()


@dataclass(frozen=True)
class _Outcome:
    """What a target did with a request, normalised; equal outcomes are equal to the byte."""

    answers: tuple[tuple[int, tuple[tuple[str, str], ...], bytes], ...]
    end: str

    def verdict(self) -> str:
        """What was answered, as the corpus says it: `422 validation #/name missing; closed`."""
        said = [_verdict(status, body) for status, _, body in self.answers]
        end = ["closed"] if self.end.startswith("closed") else []
        return "; ".join([" | ".join(said), *end])

    def is_cut(self) -> bool:
        """A 4xx, whatever it says, and the end of the connection."""
        statuses = [status for status, _, _ in self.answers]
        return statuses != [] and 400 <= statuses[-1] < 500 and self.end.startswith("closed")

    def lines(self) -> list[str]:
        shown = []
        for status, fields, body in self.answers:
            text = body.decode("utf-8", "backslashreplace")
            shown += [str(status), *(f"{name}: {value}" for name, value in fields), "", text]
        return [*shown, f"[the connection: {self.end}]"]


def _verdict(status: int, body: bytes) -> str:
    """The status; of a problem also its code, and what is wrong where."""
    if not body.startswith(b'{"type":"/problems/'):
        return str(status)
    problem = json.loads(body)
    code = problem["type"].removeprefix("/problems/")
    errors = [f"{_where(error)} {error['code']}" for error in problem.get("errors", ())]
    return f"{status} {code} {', '.join(errors)}".rstrip()


def _where(error: Mapping[str, str]) -> str:
    if "pointer" in error:
        return error["pointer"]
    return f"?{error['parameter']}" if "parameter" in error else f"{error['header']}:"


_CREATE = b"POST /users HTTP/1.1\r\nContent-Type: application/json\r\n"
_SETUP: dict[str, tuple[Request, ...]] = {
    "id": (Request(_CREATE, b'{"name":"Ada {unique}","email":"{unique}@example.com"}'),),
    "taken": (Request(_CREATE, b'{"name":"Bob {unique}","email":"taken-{unique}@example.com"}'),),
    "gone": (
        Request(_CREATE, b'{"name":"Eve {unique}","email":"gone-{unique}@example.com"}'),
        Request(b"DELETE /users/{new} HTTP/1.1\r\n"),
    ),
}


def converse(targets: Sequence[Client], steps: Sequence[Request]) -> str:
    """Ask all targets for each of these, one after the other; `Difference` where they differ.

    Gives what they answered, in the corpus' notation.
    """
    token = expect.unique().encode()
    places = {
        "unique": token,
        "email": b"%s@example.com" % token,
        "taken": b"taken-%s@example.com" % token,
    }
    sides = [_Side(target, dict(places)) for target in targets]
    needed = {place.decode() for step in steps for place in _places(step)}
    for place, setup in _SETUP.items():
        if place in needed or (place == "id" and "email" in needed):
            for request in setup:
                _compare(sides, request)
            if place != "taken":
                for side in sides:
                    side.places[place] = side.places["new"]
    return " | ".join(_compare(sides, request) for request in steps)


def _places(request: Request) -> list[bytes]:
    return _PLACE.findall(request.head + (request.body or b""))


def _compare(sides: Sequence[_Side], request: Request) -> str:
    if "new" in sides[0].places and request.head.startswith(b"POST "):
        time.sleep(0.002)  # no two users of an example are created in the same millisecond
    outcomes = _ask(sides, request)
    if request.cut and all(one.is_cut() for one in outcomes):
        return CUT
    if any(outcome != outcomes[0] for outcome in outcomes):
        raise Difference(_report(sides, outcomes))
    if request.cut and not request.half_closed:
        raise Difference(f"Not cut, as was expected:\n{_report(sides, outcomes)}")
    return outcomes[0].verdict()


def _ask(sides: Sequence[_Side], request: Request) -> list[_Outcome]:
    """Send it to each before the first answer is read."""
    probe = b"probe-%s" % sides[0].places["unique"]
    follower = (
        b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: %s\r\nConnection: close\r\n\r\n"
        % probe
    )
    with contextlib.ExitStack() as stack:
        connections = [stack.enter_context(side.client.connect(TIMEOUT)) for side in sides]
        for side, connection in zip(sides, connections, strict=True):
            side.sent = request.message(side.places)
            silent = request.alone or request.half_closed
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.send(side.sent if silent else side.sent + follower)
                if request.half_closed:
                    connection.half_close()
        outcomes = []
        for side, connection in zip(sides, connections, strict=True):
            try:
                answers, end = _read(connection, request, side.sent, probe.decode())
                side.learn(answers)
                seen = tuple(_normalised(Seen(side.sent, answer, side.ids)) for answer in answers)
            except (AssertionError, TimeoutError, ValueError) as error:
                raise Difference(f"{side.client.name}: {error}\n{_shown(side.sent)}") from error
            outcomes.append(_Outcome(seen, end))
        return outcomes


def _read(
    connection: Connection, request: Request, sent: bytes, probe: str
) -> tuple[list[Answer], str]:
    """All answers but the follower's, and how the connection ended."""
    answers: list[Answer] = []
    method = sent.partition(b" ")[0].decode("latin-1")
    while True:
        try:
            answer = connection.read("GET" if answers else method)
        except ConnectionError:
            connection.closed(ignore_rest=True)
            rest = connection._received
            return answers, f"closed after {rest!r}" if rest else "closed"
        if answer.header("x-request-id") == probe:
            return answers, "goes on"
        answers.append(answer)
        if request.alone:
            return answers, "not looked at"


def _normalised(seen: Seen) -> tuple[int, tuple[tuple[str, str], ...], bytes]:
    for normalisation in NORMALISATIONS:
        normalisation.apply(seen)
    return seen.answer.status, tuple(seen.fields), seen.body


def _filled(data: bytes, places: Mapping[str, bytes]) -> bytes:
    data = _PLACE.sub(lambda match: places.get(match[1].decode(), match[0]), data)
    return _CURSOR.sub(lambda match: base64.urlsafe_b64encode(match[1]).rstrip(b"="), data)


# Telling


_COLUMN = 60


def _report(sides: Sequence[_Side], outcomes: Sequence[_Outcome]) -> str:
    """The request, and what came of it side by side, a column for targets that agree."""
    columns: dict[_Outcome, list[_Side]] = {}
    for side, outcome in zip(sides, outcomes, strict=True):
        columns.setdefault(outcome, []).append(side)
    texts = [outcome.lines() for outcome in columns]
    height = max(map(len, texts))
    rows = []
    for cells in zip(*(text + [""] * (height - len(text)) for text in texts), strict=True):
        mark = " " if len(set(cells)) == 1 else "!"
        folded = [[cell[n : n + _COLUMN] for n in range(0, len(cell), _COLUMN)] for cell in cells]
        for n in range(max(1, *map(len, folded))):
            parts = [(cell[n] if n < len(cell) else "").ljust(_COLUMN) for cell in folded]
            rows.append(f"{mark} {' | '.join(parts)}".rstrip())
    names = [", ".join(side.client.name for side in some) for some in columns.values()]
    title = "  " + " | ".join(name.ljust(_COLUMN) for name in names)
    return "\n".join([_shown(sides[0].sent), title, *rows])


def _shown(data: bytes) -> str:
    """The request as bytes."""
    shorter = len(data) <= 4000
    return f"{data!r}" if shorter else f"{data[:2000]!r} ... {data[-500:]!r}, {len(data)} bytes"


# The corpus

FLAGS = ("exact", "cut", "alone", "half_closed")


def kinds() -> list[str]:
    """The names of the corpus' files."""
    return sorted(file.stem for file in CORPUS.glob("*.txt"))


def entries(kind: str) -> Iterator[Entry]:
    """The requests of a file of the corpus."""
    file = CORPUS / f"{kind}.txt"
    return parsed(file.read_text("utf-8"), file.name)


def parsed(text: str, source: str) -> Iterator[Entry]:
    """The requests of a text in the corpus' notation."""
    template: list[str] = []
    options, begun = "", 0
    expected: str | None = None
    for n, line in enumerate([*text.split("\n"), ""], 1):
        if line.startswith(">"):
            if not begun:
                template, begun, expected = [], n, None
            template.append(line[1:].removeprefix(" "))
            continue
        if line.startswith("< "):
            expected = line[2:]
            continue
        if begun and not any("{line}" in part for part in template):
            yield _entry(f"{source}:{begun}", template, options, "", expected)
        begun = 0
        if line.startswith("@"):
            options, expected = line[1:], None
        elif not line:
            expected = None
        elif not line.startswith("#"):
            yield _entry(f"{source}:{n}", template, options, line, expected)


def as_text(steps: Sequence[Request]) -> str:
    """The requests as an entry of the corpus; of their flags only the first one's are told."""
    flags = [flag for flag in FLAGS if getattr(steps[0], flag)]
    parts = []
    for step in steps:
        if step.exact:
            parts.append([_escaped(step.head + (step.body or b""))])
            continue
        first, *fields = step.head.removesuffix(b"\r\n").split(b"\r\n")
        lines = [_escaped(line) for line in (first.removesuffix(b" HTTP/1.1"), *fields)]
        parts.append(lines if step.body is None else [*lines, "", _escaped(step.body)])
    requests = ["\n".join(f"> {line}".rstrip() for line in lines) for lines in parts]
    first_line = f"@ {' '.join(flags)}\n" if flags else ""
    return first_line + "\n> ---\n".join(requests)


_UNPLAIN = re.compile(rb"[^ -~]|\\(?=x)|\{(?=line\}|empty\})|^-(?=--\Z)| \Z")


def _escaped(data: bytes) -> str:
    """What `_unescaped` makes these bytes of."""
    lines = [
        _UNPLAIN.sub(lambda match: b"\\x%02x" % ord(match[0]), line) for line in data.split(b"\r\n")
    ]
    return b"\r\n".join(lines).decode().replace("\r\n", "↵")


def _entry(
    place: str, template: Sequence[str], options: str, line: str, expected: str | None
) -> Entry:
    flags = frozenset(options.split())
    assert flags <= {*FLAGS}, f"{place}: {options}"
    steps: list[list[str]] = [[]]
    for part in template:
        if part == "---":
            steps.append([])
        else:
            steps[-1].append(part.replace("{line}", line.replace("{empty}", "")))
    return Entry(place, tuple(_request(lines, flags) for lines in steps), expected)


def _request(lines: list[str], flags: frozenset[str]) -> Request:
    if "exact" in flags and ("" not in lines or lines == [""]):
        return _flagged(_unescaped("\r\n".join(lines)), None, flags)
    end = lines.index("") if "" in lines else len(lines)
    first, *fields = lines[:end]
    if "exact" not in flags:
        first += " HTTP/1.1"
    head = "".join(f"{part}\r\n" for part in [first, *fields])
    body = _unescaped("\r\n".join(lines[end + 1 :])) if end < len(lines) else None
    if "exact" in flags:
        head += "\r\n"
    return _flagged(_unescaped(head), body, flags)


def _flagged(head: bytes, body: bytes | None, flags: frozenset[str]) -> Request:
    return Request(head, body, **{flag: flag in flags for flag in FLAGS})


def _unescaped(text: str) -> bytes:
    r"""`«a*3»` is aaa, `↵` CR and LF, `\x80` a byte."""
    text = re.sub(r"«(.+?)\*(\d+)»", lambda match: match[1] * int(match[2]), text)
    data = text.replace("↵", "\r\n").encode()
    return re.sub(rb"\\x([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), data)
