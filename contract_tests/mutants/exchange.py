"""A request and its answer, as a fault may see and change them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Fields = list[tuple[str, str]]


class _Headed:
    """What has header fields; names are compared in any letter case."""

    fields: Fields

    def all(self, name: str) -> list[str]:
        """The values of the fields of this name."""
        return [value for known, value in self.fields if known.lower() == name.lower()]

    def get(self, name: str) -> str:
        """The value of the first field of this name; empty without one."""
        return next(iter(self.all(name)), "")

    def drop(self, name: str) -> None:
        """Remove the fields of this name."""
        self.fields = [pair for pair in self.fields if pair[0].lower() != name.lower()]

    def set(self, name: str, value: str) -> None:
        """Have one field of this name, in the place of the first."""
        names = [known.lower() for known, _ in self.fields]
        place = names.index(name.lower()) if name.lower() in names else len(names)
        self.drop(name)
        self.fields.insert(place, (name, value))


@dataclass
class Request(_Headed):
    """The head of a request."""

    method: str
    target: str
    version: str
    fields: Fields

    @property
    def path(self) -> str:
        """The target up to the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The target's query."""
        return self.target.partition("?")[2]

    def head(self) -> bytes:
        """Its bytes."""
        lines = [f"{self.method} {self.target} HTTP/{self.version}"]
        lines += [f"{name}: {value}" for name, value in self.fields]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


@dataclass
class Answer(_Headed):
    """An answer; without a body where it answers HEAD."""

    status: int
    fields: Fields
    body: bytes
    chunked: bool = False

    def json(self) -> Any:
        """The body, decoded; None where it is not JSON."""
        kind = self.get("content-type")
        return json.loads(self.body) if "json" in kind and self.body else None

    def write(self, value: Any, **style: Any) -> None:
        """Have this as the body, in the contract's form unless another is asked for."""
        style = {"ensure_ascii": False, "separators": (",", ":"), **style}
        self.body = json.dumps(value, **style).encode()

    def bytes(self, *, head: bool = False) -> bytes:
        """Its bytes; Content-Length follows the body, but for an answer to HEAD."""
        if self.all("content-length") and not head:
            self.set("Content-Length", str(len(self.body)))
        body = self.body
        if self.chunked and not head:
            self.drop("content-length")
            self.set("Transfer-Encoding", "chunked")
            body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        lines = [f"HTTP/1.1 {self.status} Mutant", *(f"{name}: {v}" for name, v in self.fields)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if head else body)


@dataclass
class Exchange:
    """A request, its answer, and what the fault remembers from one exchange to the next."""

    request: Request
    answer: Answer
    memory: dict[Any, Any]
    pending: int
    """How many requests the client has sent meanwhile on this connection."""
    ask: Callable[[str], Answer]
    """The service's answer to a further GET of this target."""
    hold: bool = field(default=False)
    """Whether to give the answer only after the next one."""
