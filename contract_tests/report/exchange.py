"""What was said on the wire, target beside target, with the differences marked.

A cell is HTML. `<i>` marks what may differ: what CONTRACT.md leaves open, and in a test that passed
whatever else does, such as who came first. `<b>` marks all that is left where a test failed.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import zip_longest

from contract_tests.harness.differential import OF_THE_CONNECTION
from contract_tests.report.record import Exchange

# Generated values, and the tests' own tokens, which are new for every target.
GENERATED = re.compile(
    r"""(?x)
    \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z
    | [0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}
    | (?<="id":)\d+ | (?<=/users/)\d+ | (?<=cursor=)[\w-]+ | [uU][0-9a-fA-F]{11}
    """
)
# Of these the bytes of the body, and so its length, are the service's own.
FREE_BODIES = re.compile(r"(?:GET|HEAD) /(?:docs|openapi\.json|metrics)\b")

# The kinds of rows: a request's first line and the rest of it, and the parts of an answer.
REQUEST, FIELD, STATUS, HEADER, BODY = "q", "f", "s", "h", "b"
Row = tuple[str, list[str | None]]


def rows(said: Mapping[str, Sequence[Exchange]], *, failed: bool) -> Iterator[Row]:
    """The exchanges of all targets, one below the other: of each row its kind and the cells.

    `failed` says whether the test did, on any of the targets.
    """
    for exchanges in zip_longest(*said.values()):
        yield from _request(exchanges)
        yield from _answer(exchanges, failed=failed)


def _request(exchanges: Sequence[Exchange | None]) -> Iterator[Row]:
    texts = [exchange.request.rstrip("\r\n") if exchange else "" for exchange in exchanges]
    lines = [text.replace("\r\n", "\n").split("\n") for text in texts]
    for number, cells in enumerate(zip_longest(*lines)):
        yield REQUEST if number == 0 else FIELD, marked(cells, may_differ=True)


def _answer(exchanges: Sequence[Exchange | None], *, failed: bool) -> Iterator[Row]:
    def of_each(part: str) -> list[str | None]:
        return [str(getattr(exchange, part)) if exchange else None for exchange in exchanges]

    bodies = of_each("body")
    free = any(exchange and FREE_BODIES.match(exchange.request) for exchange in exchanges)
    alike = len({_plain(body) for body in bodies if body is not None}) == 1
    yield STATUS, marked(of_each("status"), may_differ=not failed)
    for name in sorted(
        {name for exchange in exchanges if exchange for name, _ in exchange.headers}
    ):
        cells = [
            "\n".join(f"{name}: {value}" for known, value in exchange.headers if known == name)
            if exchange
            else None
            for exchange in exchanges
        ]
        of_its_own = name in OF_THE_CONNECTION or name == "transfer-encoding"
        of_the_body = name == "content-length" and (free or alike)
        may_differ = of_its_own or of_the_body or not failed
        yield HEADER, marked([cell or None for cell in cells], may_differ=may_differ)
    if any(bodies):
        yield BODY, marked([body or None for body in bodies], may_differ=free or not failed)


def marked(cells: Sequence[str | None], *, may_differ: bool) -> list[str | None]:
    """The cells as HTML, what differs in them marked; what is generated may always differ."""
    there = [cell for cell in cells if cell is not None]
    if len({_plain(cell) for cell in there}) == 1 and len(there) == len(cells):
        spans = [GENERATED.findall(cell) for cell in there]
        differs = [len(set(column)) > 1 for column in zip(*spans, strict=True)]
        return [cell and _with_spans(cell, differs) for cell in cells]
    whole = len(there) < len(cells)
    start = 0 if whole else _in_common(there)
    rest = 0 if whole else _in_common([cell[start:][::-1] for cell in there])
    tag = "i" if may_differ else "b"
    return [cell and _with_mark(cell, start, len(cell) - rest, tag) for cell in cells]


def _plain(text: str) -> str:
    return GENERATED.sub("\0", text)


def _in_common(texts: Sequence[str]) -> int:
    """With how many characters all of them begin."""
    columns = enumerate(zip(*texts, strict=False))
    shortest = min(map(len, texts))
    return next((n for n, characters in columns if len(set(characters)) > 1), shortest)


def _with_spans(text: str, differs: Sequence[bool]) -> str:
    html, end = "", 0
    for match, unlike in zip(GENERATED.finditer(text), differs, strict=True):
        html += escape(text[end : match.start()], quote=False)
        html += f"<i>{match[0]}</i>" if unlike else match[0]
        end = match.end()
    return html + escape(text[end:], quote=False)


def _with_mark(text: str, start: int, end: int, tag: str) -> str:
    begin, middle, rest = (
        escape(part, quote=False) for part in (text[:start], text[start:end], text[end:])
    )
    return f"{begin}<{tag}>{middle}</{tag}>{rest}"
