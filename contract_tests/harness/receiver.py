"""An endpoint of webhooks as a test needs it: it keeps what comes in, and says just what it is told to."""

import contextlib
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

WAIT = 10.0
# What TLS begins with.
_HANDSHAKE = b"\x16"


@dataclass(eq=False)
class Attempt:
    """A request as it came in."""

    raw: bytes
    """All of it, head and body."""
    sni: str | None
    """The name that was asked for in TLS."""
    at: float = field(default_factory=time.monotonic)
    """When it was there."""
    time: float = field(default_factory=time.time)
    """The same, in seconds of the clock."""
    ended: float | None = None
    """When it was answered, or given up."""
    answered: bytes = b""
    """The status line of the answer."""

    @property
    def line(self) -> str:
        """The request line."""
        return self.raw.partition(b"\r\n")[0].decode("latin-1")

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def fields(self) -> list[tuple[str, str]]:
        """The header fields as they stand there, in order."""
        head = self.raw.partition(b"\r\n\r\n")[0].decode("latin-1")
        return [
            (name, value)
            for line in head.split("\r\n")[1:]
            for name, _, value in [line.partition(": ")]
        ]

    @property
    def event(self) -> str:
        """The position of the event that it tells of."""
        return dict(self.fields)["webhook-id"]

    @property
    def body(self) -> bytes:
        return self.raw.partition(b"\r\n\r\n")[2]

    def end(self, data: bytes) -> None:
        """It is about to be answered with this."""
        self.answered = data.partition(b"\r\n")[0]
        self.ended = time.monotonic()


# What happens on the connection once a request is there.
Behaviour = Callable[[socket.socket, Attempt], None]


def answer(status: str = "204 No Content", *fields: str, body: bytes = b"") -> bytes:
    """An ordinary answer."""
    return "\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode("latin-1") + body


OK = answer()
FAILED = answer("500 Internal Server Error", "Content-Length: 0")


def hang(before: bytes = b"", drop: bytes = b"", every: float = 0.1) -> Behaviour:
    """Say this, then something more every now and then, for ever."""

    def talk(connection: socket.socket, attempt: Attempt) -> None:
        if before:
            attempt.end(before)
        connection.sendall(before)
        connection.settimeout(every)
        while True:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(65536):
                    return
            connection.sendall(drop)

    return talk


def hold(gate: threading.Event, then: bytes = OK) -> Behaviour:
    """Say this as soon as the gate is open."""

    def talk(connection: socket.socket, attempt: Attempt) -> None:
        gate.wait()
        attempt.end(then)
        _say(connection, then)

    return talk


def choose(decide: Callable[[Attempt], bytes]) -> Behaviour:
    """Say what the function makes of what came in."""

    def talk(connection: socket.socket, attempt: Attempt) -> None:
        said = decide(attempt)
        attempt.end(said)
        _say(connection, said)

    return talk


class Pour:
    """Says this, and then the other as fast as it is taken, for ever."""

    def __init__(self, before: bytes, more: bytes) -> None:
        self._before, self._more = before, more
        self.taken = 0
        """How many bytes of the latter have gone: into buffers, or to whom they are for."""
        self.over = threading.Event()
        """Set once nobody takes any more."""

    def __call__(self, connection: socket.socket, attempt: Attempt) -> None:
        attempt.end(self._before)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        try:
            connection.sendall(self._before)
            while True:
                self.taken += connection.send(self._more)
        finally:
            self.over.set()


class Receiver:
    """A server of bytes: it keeps each request, and answers each target as it is told to.

    Nothing said, it answers 204.
    """

    def __init__(
        self, host: str = "127.0.0.1", context: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=128)
        self.port: int = self._listener.getsockname()[1]
        self.origin = f"{'https' if context else 'http'}://{bracketed(host)}:{self.port}"
        self.connections = 0
        """How many there have been, whatever came in."""
        self._attempts: list[Attempt] = []
        self._answers: dict[str, list[bytes | Behaviour]] = {}
        self._open: set[socket.socket] = set()
        self._context = context
        self._sni: dict[int, str] = {}
        if context:
            context.sni_callback = self._hear
        self._changed = threading.Condition()
        threading.Thread(target=self._serve, daemon=True).start()

    def url(self, target: str = "/") -> str:
        return self.origin + target

    def say(self, target: str, *answers: bytes | Behaviour) -> None:
        """Answer the next requests for this target so, one after the other; all further as the last."""
        with self._changed:
            self._answers[target] = [*answers]

    def attempts(self, target: str) -> list[Attempt]:
        """Those that have come in so far."""
        with self._changed:
            return [one for one in self._attempts if one.target == target]

    def wait(self, target: str, count: int = 1, seconds: float = WAIT) -> list[Attempt]:
        """The attempts, once there are as many; AssertionError if there are not in time."""

        def enough() -> bool:
            return sum(one.target == target for one in self._attempts) >= count

        with self._changed:
            came = self._changed.wait_for(enough, seconds)
        found = self.attempts(target)
        assert came, f"{len(found)} of {count} at {target}: {[one.event for one in found]}"
        return found

    def quiet(self, target: str, count: int, seconds: float = 0.5) -> None:
        """There are no more than so many for a while: that is what this waits for."""
        with contextlib.suppress(AssertionError):
            self.wait(target, count + 1, seconds)
        found = self.attempts(target)
        assert len(found) == count, [(one.event, one.answered) for one in found]

    def close(self) -> None:
        # Whoever waits for a socket hears of its end, and not of its being closed.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._changed:
            still = [*self._open]
        for connection in still:
            with contextlib.suppress(OSError):
                # Not TLS's own, which would pull the rug from under whoever still speaks it.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)

    def _hear(self, secured: ssl.SSLObject, name: str, _context: ssl.SSLContext) -> None:
        if name:  # there may be none
            self._sni[id(secured)] = name

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._changed:
                self.connections += 1
                self._open.add(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, plain: socket.socket) -> None:
        connection, attempt, sni = plain, None, None
        try:
            if self._context:
                secured = self._context.wrap_socket(
                    plain, server_side=True, do_handshake_on_connect=False
                )
                with self._changed:
                    self._open ^= {plain, secured}
                connection = secured
                secured.do_handshake()
                sni = self._sni.pop(id(secured), None)
            if raw := _request(connection):
                attempt = Attempt(raw, sni)
                self._answer(connection, attempt)
        except OSError:
            pass  # the other end is gone, or speaks no TLS
        finally:
            if attempt and attempt.ended is None:
                attempt.ended = time.monotonic()
            with self._changed:
                self._open.discard(connection)
            connection.close()

    def _answer(self, connection: socket.socket, attempt: Attempt) -> None:
        with self._changed:
            self._attempts.append(attempt)
            told = self._answers.get(attempt.target, [OK])
            said = told.pop(0) if len(told) > 1 else told[0]
            self._changed.notify_all()
        if callable(said):
            said(connection, attempt)
        else:
            attempt.end(said)
            _say(connection, said)


def _request(connection: socket.socket) -> bytes:
    """A request, whole; nothing if it ends before, or if this is TLS."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        if not (data := connection.recv(65536)):
            return b""
        raw += data
        if raw.startswith(_HANDSHAKE):
            connection.sendall(answer("400 Bad Request", "Content-Length: 0"))
            return b""
    head, _, body = raw.partition(b"\r\n\r\n")
    lengths = [
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    ]
    while lengths and len(body) < lengths[0]:
        if not (data := connection.recv(65536)):
            return b""
        raw, body = raw + data, body + data
    return raw


def _say(connection: socket.socket, data: bytes) -> None:
    connection.sendall(data)
    if isinstance(connection, ssl.SSLSocket):
        connection.settimeout(1)
        connection.unwrap()
    connection.shutdown(socket.SHUT_WR)
    # Else what it still wants to say would be answered with a reset.
    connection.settimeout(1)
    connection.recv(65536)


def bracketed(host: str) -> str:
    """The host as a URL has it."""
    return f"[{host}]" if ":" in host else host


@contextlib.contextmanager
def receiving(*hosts: str) -> Iterator[list[Receiver]]:
    """Receivers at these addresses, all on one port."""
    receivers: list[Receiver] = []
    while not receivers:
        receivers = [Receiver(hosts[0])]
        try:
            receivers += [Receiver(host, port=receivers[0].port) for host in hosts[1:]]
        except OSError:  # somebody has that port there
            for one in receivers:
                one.close()
            receivers = []
    try:
        yield receivers
    finally:
        for one in receivers:
            one.close()


class Authority:
    """A private certificate authority; `file` is its certificate, in PEM."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        self.file = directory / "ca.pem"
        own = self._sign(self._name, self._key.public_key(), [], days=1, is_authority=True)
        self.file.write_bytes(own.public_bytes(Encoding.PEM))

    def context(
        self, *hosts: str, name: str = "server", days: int = 1, suite: str = ""
    ) -> ssl.SSLContext:
        """That of a server with a certificate for these hosts, which ends in so many days.

        With a `suite` it speaks nothing else, by TLS 1.2.
        """
        key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
        if suite and "ECDSA" not in suite:
            key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        else:
            key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(name), key.public_key(), [*hosts], days=days)
        both = self._directory / f"{certificate.serial_number}.pem"
        both.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(both)
        if suite:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(f"{suite}:@SECLEVEL=0")
        return context

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
        hosts: list[str],
        *,
        days: int,
        is_authority: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self._name)
        builder = builder.public_key(key).serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(3))
        builder = builder.not_valid_after(now + timedelta(days))
        basic = x509.BasicConstraints(ca=is_authority, path_length=None)
        builder = builder.add_extension(basic, critical=True)
        if hosts:
            names = x509.SubjectAlternativeName([_alternative(host) for host in hosts])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, SHA256())


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
