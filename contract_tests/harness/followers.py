"""Somebody who follows events by whatever way there is, from whichever service."""

import random
import time
from typing import Any

import httpx

from contract_tests.harness import expect
from contract_tests.harness.load import Clients
from contract_tests.harness.sockets import CLOSE, PING, PONG, closing, framed, opened
from contract_tests.harness.streams import streamed


class Follower(Clients):
    """Somebody who follows what happens, in a thread, while the `with` block runs.

    Moves at random between the services, and between the three ways to read: some events of a
    stream, or of a socket, or a page of the list, always from where the last one ended. What it has seen is in
    `seen`: each position once, or it fails.
    """

    def __init__(self, urls: list[str]) -> None:
        """Follow these services from the first event on."""
        super().__init__(urls, 1)
        self.seen: list[dict[str, Any]] = []

    def await_position(self, position: int, seconds: float = 10.0) -> None:
        """Wait until it has seen as many."""
        self._await(lambda: len(self.seen) >= position, seconds, f"position {position} not seen")

    def _work(self) -> None:
        while not self._end.is_set():
            try:
                random.choice((self._stream, self._socket, self._list))()
            except (OSError, httpx.TransportError):
                time.sleep(0.02)

    def _stream(self) -> None:
        """Some events of a stream, unless it ends before or has nothing to tell for a while."""
        enough = len(self.seen) + random.randint(1, 200)
        with streamed(self._client, last=len(self.seen), timeout=1.0) as stream:
            while len(self.seen) < enough and not self._end.is_set() and (block := stream.block()):
                if event := stream.told(block):
                    self._see(event)

    def _socket(self) -> None:
        """As of a stream, of a socket."""
        enough = len(self.seen) + random.randint(1, 200)
        with opened(self._client, timeout=1.0) as socket:
            socket.send(f'{{"after":"{len(self.seen)}"}}')
            while len(self.seen) < enough and not self._end.is_set():
                opcode, data = socket.read_frame()
                if opcode == CLOSE:
                    assert data in (closing(1001), closing(4503, "unavailable")), data
                    return
                if opcode == PING:
                    socket.put(framed(PONG))
                elif isinstance(event := socket.told(data), dict):
                    self._see(event)

    def _list(self) -> None:
        answer = self._client.get(f"/events?after={len(self.seen)}&limit={random.randint(1, 100)}")
        if answer.status == 503:
            expect.problem(answer, "unavailable")
        else:
            page, _ = expect.events(answer)
            for event in page:
                self._see(event)

    def _see(self, event: dict[str, Any]) -> None:
        assert int(event["id"]) == len(self.seen) + 1, f"{event} after {len(self.seen)} others"
        self.seen.append(event)
