"""A proxy between a service and PostgreSQL, for what happens between the two."""

import contextlib
import select
import socket
import ssl
import struct
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
        # Whoever waits for a socket hears of its end, and not of its being closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for connection in self._connections:
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._begin, args=(client,), daemon=True).start()

    def _begin(self, client: socket.socket) -> None:
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


class Forgetful(Proxy):
    """After `forget` nothing is handed on of the connections that there are, nor are they ended.

    As a firewall does that has forgotten them.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._forgotten: set[socket.socket] = set()

    def forget(self) -> int:
        """Forget the connections that there are; returns how many."""
        self._forgotten |= set(self._connections)
        return len(self._forgotten) // 2

    def _pass_on(self, source: socket.socket, to: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source not in self._forgotten:
                    to.sendall(data)
        if source not in self._forgotten:
            with contextlib.suppress(OSError):
                to.shutdown(socket.SHUT_RDWR)


class CutsOff(Proxy):
    """Ends a connection as soon as the server says these bytes, which it keeps."""

    def __init__(self, url: str, at: bytes) -> None:
        super().__init__(url)
        self._at = at

    def answered(self, data: bytes) -> tuple[bytes, bool]:
        return (b"", False) if self._at in data else (data, True)


class TlsProxy(Proxy):
    """Speaks TLS with whoever asks for it, as PostgreSQL does that has this certificate.

    The tests' own PostgreSQL is built without.
    """

    SSL_REQUEST = struct.pack(">ii", 8, 80877103)

    def __init__(self, url: str, certificate: str | None) -> None:
        """`certificate` is a file with the key in it; without one it promises TLS and has none."""
        super().__init__(url)
        self.secured = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if certificate else None
        if self._context and certificate:
            # Whether a key is long enough is for the client to say.
            self._context.set_ciphers("DEFAULT:@SECLEVEL=0")
            self._context.load_cert_chain(certificate)

    def _begin(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            first = client.recv(8, socket.MSG_WAITALL)
            if first != self.SSL_REQUEST:
                self._talk(client, first)
                return
            client.sendall(b"S")
            if self._context:
                with self._context.wrap_socket(client, server_side=True) as secured:
                    self.secured += 1
                    self._talk(secured, b"")

    def _talk(self, client: socket.socket, first: bytes) -> None:
        with socket.create_connection(self._server) as server:
            self._connections += [client, server]
            server.sendall(first)
            while True:
                pending = isinstance(client, ssl.SSLSocket) and client.pending()
                for source in [client] if pending else select.select([client, server], [], [])[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    (server if source is client else client).sendall(data)
