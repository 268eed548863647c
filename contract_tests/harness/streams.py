"""A stream of Server-Sent Events, read block by block from a raw connection."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from contract_tests.harness import expect
from contract_tests.harness.client import Client
from contract_tests.harness.wire import Connection

EVENT_TIMEOUT = 5.0

_BEGIN = re.compile(r"retry: 1000\nid: (0|[1-9][0-9]*)\n\n")
_HEARTBEAT = re.compile(r":\nid: (0|[1-9][0-9]*)\n\n")
_BLOCK = re.compile(
    r"event: (user\.(?:created|changed|deleted))\ndata: ([^\n]*)\nid: ([1-9][0-9]*)\n\n"
)


class Stream:
    """A stream that a target has begun; its head and its first block are checked."""

    def __init__(self, connection: Connection) -> None:
        """Read the beginning of what the connection was asked for.

        Raises ConnectionRefusedError for a 503, and else as `Connection` does.
        """
        self._connection = connection
        self._text = b""
        head = connection.read_head()
        if head.status == 503:
            raise ConnectionRefusedError(head)
        expect.stream(head)
        begin = _BEGIN.fullmatch(self.block())
        assert begin
        self.position = int(begin[1])
        """The one that it has told of last."""

    def block(self) -> str:
        """The next block; nothing at the stream's end, which is a body's. Raises as `Connection`."""
        while b"\n\n" not in self._text:
            chunk = self._connection.read_chunk()
            if not chunk:
                assert not self._text, self._text
                return ""
            self._text += chunk
        block, _, self._text = self._text.partition(b"\n\n")
        return block.decode() + "\n\n"

    def heartbeat(self) -> None:
        """The next block, which is a heartbeat."""
        block = self._block_in_time()
        assert self.told(block) is None, block

    def _block_in_time(self) -> str:
        try:
            return self.block()
        except OSError as error:
            raise AssertionError(f"nothing more: {error!r}") from None

    def event(self) -> dict[str, Any]:
        """The next event, whatever heartbeats come before it."""
        deadline = time.monotonic() + EVENT_TIMEOUT
        while (event := self.told(self._block_in_time())) is None:
            assert time.monotonic() < deadline, "nothing but heartbeats"
        return event

    def rest(self, seconds: float = 5.0) -> list[dict[str, Any]]:
        """The events up to the stream's end; AssertionError where it doesn't come in time."""
        deadline = time.monotonic() + seconds
        events = []
        while block := self._block_in_time():
            if event := self.told(block):
                events.append(event)
            assert time.monotonic() < deadline, f"the stream has not ended within {seconds:g} s"
        return events

    def told(self, block: str) -> dict[str, Any] | None:
        """The event of this block, none of a heartbeat; its form is checked, and its position kept."""
        if beat := _HEARTBEAT.fullmatch(block):
            assert int(beat[1]) >= self.position, block
            self.position = int(beat[1])
            return None
        found = _BLOCK.fullmatch(block)
        assert found, block
        event: dict[str, Any] = json.loads(found[2])
        assert (found[1], found[3]) == (event["type"], event["id"]), block
        assert found[2].encode() == expect.render(event), block
        expect.event(event)
        assert int(event["id"]) > self.position, block
        self.position = int(event["id"])
        return event


@contextmanager
def streamed(
    api: Client, query: str = "", last: int | None = None, timeout: float = 5.0
) -> Iterator[Stream]:
    """A stream that a target gives; `timeout` bounds each wait for more, in seconds.

    `last` is a position for `Last-Event-ID`.
    """
    fields: Mapping[str, str] = {} if last is None else {"Last-Event-ID": str(last)}
    with api.connect(timeout) as connection:
        connection.send(api.message("GET", f"/events/stream{query}", fields.items()))
        yield Stream(connection)
