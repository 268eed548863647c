"""An identity provider as a test needs it: keys, and a server that says just what it is told to."""

import base64
import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256


class RsaKey:
    """A key for RS256."""

    def __init__(self, bits: int = 2048, exponent: int = 65537) -> None:
        self.private = rsa.generate_private_key(exponent, bits)

    def public_key(self) -> rsa.RSAPublicKey:
        return self.private.public_key()

    def sign(self, data: bytes) -> bytes:
        return self.private.sign(data, padding.PKCS1v15(), SHA256())

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public half, with these members too."""
        numbers = self.public_key().public_numbers()
        return {"kty": "RSA", "n": base64url(numbers.n), "e": base64url(numbers.e), **members}


class EcKey:
    """A key for ES256, unless it is one of another curve."""

    def __init__(self, curve: ec.EllipticCurve | None = None) -> None:
        self.private = ec.generate_private_key(curve or ec.SECP256R1())

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self.private.public_key()

    def sign_der(self, data: bytes) -> bytes:
        return self.private.sign(data, ec.ECDSA(SHA256()))

    def sign(self, data: bytes) -> bytes:
        size = (self.private.key_size + 7) // 8
        return b"".join(
            one.to_bytes(size, "big") for one in decode_dss_signature(self.sign_der(data))
        )

    def jwk(self, **members: Any) -> dict[str, Any]:
        """The public half, with these members too."""
        numbers, size = self.public_key().public_numbers(), (self.private.key_size + 7) // 8
        x, y = (base64url(number, size) for number in (numbers.x, numbers.y))
        return {"kty": "EC", "crv": "P-256", "x": x, "y": y, **members}


# Making one takes a while.
rsa_key = cache(RsaKey)
ec_key = cache(EcKey)


def base64url(number: int, size: int | None = None) -> str:
    octets = number.to_bytes(size or (number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def answer(body: bytes, status: str = "200 OK", *fields: str) -> bytes:
    """An ordinary answer with this body."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *fields]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Provider:
    """A server of bytes: what it answers to each path, and what it was asked."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.requests: list[bytes] = []
        self.hanging = threading.Event()
        """Set while it has been asked and doesn't answer."""
        self._answers: dict[str, bytes | Callable[[socket.socket], None]] = {}
        self._scheme = "https" if context else "http"
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._done = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, path: str) -> str:
        return f"{self._scheme}://127.0.0.1:{self._listener.getsockname()[1]}{path}"

    def say(self, path: str, body: bytes) -> None:
        """Answer with this body."""
        self.say_raw(path, answer(body))

    def say_raw(self, path: str, data: bytes) -> None:
        """Answer with these bytes, and close."""
        self._answers[path] = data

    def hang(self, path: str, before: bytes = b"", drip: bytes = b"") -> None:
        """Send no more than these bytes, or one after the other for ever, and don't close."""

        def send(connection: socket.socket) -> None:
            connection.sendall(before)
            self.hanging.set()
            with contextlib.suppress(OSError):
                while not self._done.wait(0.05):
                    connection.sendall(drip)

        self._answers[path] = send

    def asked(self, path: str) -> int:
        """How often it was asked for this."""
        return sum(request.startswith(f"GET {path} ".encode()) for request in self.requests)

    def close(self) -> None:
        self._done.set()
        # Whoever waits for a socket hears of its end, and not of its being closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(connection)
            if self._context:
                connection = self._context.wrap_socket(connection, server_side=True)
                stack.enter_context(connection)
            request = b""
            while b"\r\n\r\n" not in request:
                data = connection.recv(65536)
                if not data:
                    return
                request += data
            self.requests.append(request)
            said = self._answers.get(request.split(b" ")[1].decode(), b"")
            if callable(said):
                said(connection)
            else:
                connection.sendall(said)
                connection.shutdown(socket.SHUT_WR)
                # Else what it still wants to say would be answered with a reset.
                connection.settimeout(1)
                with contextlib.suppress(OSError):
                    connection.recv(65536)
