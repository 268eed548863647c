"""A proxy between a service and PostgreSQL, for what happens between the two."""

import contextlib
import socket
import threading
from urllib.parse import urlsplit


class Proxy:
    """Hands on what either side says; what a subclass makes of it is what a network might do.

    `url` leads through it to the database of the URL that it was given.
    """

    def __init__(self, url: str) -> None:
        """In front of the server at the URL, on a free port."""
        behind = urlsplit(url)
        self._server = (behind.hostname or "", behind.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        user = behind.netloc.rpartition("@")[0]
        here = f"{user}@127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = behind._replace(netloc=here).geturl()
        threading.Thread(target=self._accept, daemon=True).start()

    def answered(self, data: bytes) -> tuple[bytes, bool]:
        """What is to be handed on of what the server said, and whether the connection goes on."""
        return data, True

    def cut(self) -> None:
        """End the connections that there are."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections, and end those that there are."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                self._connections += [client, server]
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        goes_on = True
        with contextlib.suppress(OSError):
            from_server = source.getpeername() == self._server
            while goes_on and (data := source.recv(65536)):
                if from_server:
                    data, goes_on = self.answered(data)
                to.sendall(data)
        with contextlib.suppress(OSError):
            to.shutdown(socket.SHUT_RDWR)
