"""PAIR, OPS: whatever their surroundings are, both services start and answer alike, or end alike.

A row says what is odd and what comes of it. `GRAMMAR` is judged by the settings alone, `STARTS` by
opening the database as a start does, one process a side for all rows; the rows of `SESSIONS` are
put into the database while both services run on it. What else is odd is a test of its own.
"""

import json
import os
import secrets
import shutil
import socket
import sqlite3
import ssl
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from contract_tests.harness import expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import OwnPostgres, Session, locked
from contract_tests.harness.network import CutsOff, Forgetful, TlsProxy
from contract_tests.harness.services import Kind, Service

NewPostgres = Callable[[], str]


@pytest.fixture(scope="module")
def new_postgres() -> Iterator[NewPostgres]:
    """A function that gives the URL of a new database, on a server of these tests' own.

    They make roles on it, and databases that are not in UTF8.
    """
    with closing(OwnPostgres()) as server:
        server.start()
        yield server.create


# The frame


def whole_round(api: Client) -> None:
    """All that can be done with a user, and every answer whole."""
    fields = expect.somebody()
    user = expect.user(api.post("/users", json=fields), 201, **fields)
    path = f"/users/{user['id']}"
    expect.user(api.get(path), 200, **user)
    expect.users(api.get(f"/users?q={fields['email']}"), [user], next=False)
    changed = user | {"name": "Ada", "version": 2, "updated_at": None}
    changed = expect.user(api.patch(path, json={"name": "Ada"}), 200, **changed)
    expect.problem(api.post("/users", json=fields), "email-taken")
    expect.empty(api.delete(path))
    expect.body(api.get("/readyz"), 200, b'{"status":"ok"}')


def all_at_once(api: Client) -> None:
    """Changes of one user at the same time, none of which is refused for the others."""
    path = f"/users/{api.create()['id']}"
    json_type = ("Content-Type", "application/json")
    change = api.message("PATCH", path, [json_type], b'{"name":"Ada"}')
    assert [answer.status for answer in api.at_once([change] * 16)] == [200] * 16


def reads_only(api: Client) -> None:
    """What is there can be read, and nothing is written."""
    (user,) = api.get("/users").json()
    path = f"/users/{user['id']}"
    expect.user(api.get(path), 200, **user)
    expect.users(api.get("/users"), [user], next=False)
    expect.body(api.get("/readyz"), 200, b'{"status":"ok"}')
    expect.problem(api.post("/users", json=expect.somebody()), "unavailable")
    expect.problem(api.patch(path, json={"name": "Ada"}), "unavailable")
    expect.problem(api.delete(path), "unavailable")
    expect.user(api.get(path), 200, **user)


@contextmanager
def both_on(
    urls: Mapping[Kind, str], directory: Path, **env: str
) -> Iterator[Callable[[Callable[[Client], None]], None]]:
    """Both services, side by side, each on its database; gives a function that asks both."""
    both = [Service(kind, directory / kind, env, urls[kind]) for kind in services.KINDS]
    try:
        for service in both:
            service.start()
        for service in both:
            service.await_ready()

        def ask(round_of: Callable[[Client], None]) -> None:
            for service in both:
                round_of(service.api)

        yield ask
    finally:
        for service in both:
            service.kill()


# Opens each database in turn, and prints the reason where it can't be opened.
OPEN: dict[Kind, str] = {
    "python": """
import asyncio, json, sys
from python_api.storage.database import DATABASE_ERRORS, open_database
from python_api.settings import read_settings

async def open(environment):
    try:
        async with open_database(read_settings(environment)) as database:
            await database.ping()
            return "opened"
    except DATABASE_ERRORS as error:
        return error.args[0]

async def main():
    for environment in json.loads(sys.argv[1]):
        print(json.dumps(await open(environment)))

asyncio.run(main())
""",
    "node": """
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

for (const environment of JSON.parse(process.argv[1])) {
  let result = "opened";
  try {
    const database = await openDatabase(readSettings(environment));
    await database.ping();
    await database.close();
  } catch (error) {
    result = error.message;
  }
  console.log(JSON.stringify(result));
}
""",
}
OPENED = "opened"


def opened(kind: Kind, urls: list[str], **env: str) -> list[str]:
    """What comes of opening each of these databases: `opened`, or the reason why not."""
    short = {"DATABASE_TIMEOUT": "2", **env}
    environments = [{"DATABASE_URL": url, **short} for url in urls]
    printed = services.run_code(OPEN, kind, json.dumps(environments))
    return [json.loads(line) for line in printed.split("\n")[:-1]]


def assert_both_open(rows: Mapping[str, str], cases: Mapping[str, str]) -> None:
    """For both services: of each URL comes what is expected."""
    with ThreadPoolExecutor(2) as threads:
        found = threads.map(lambda kind: opened(kind, [*rows.values()]), services.KINDS)
        for kind, results in zip(services.KINDS, found, strict=True):
            assert dict(zip(rows, results, strict=True)) == dict(cases), kind


# What DATABASE_URL may be

URLS = (
    "DATABASE_URL must be a URL such as sqlite:///users.db or postgresql://user:password@host/users"
)
OPTIONS = "DATABASE_URL must be without options but sslmode and sslrootcert, each at most once"
MODES = "DATABASE_URL must be with a sslmode of disable, prefer, require, verify-ca, verify-full"
FILE = (
    "DATABASE_URL must be with a file as its sslrootcert where sslmode is verify-ca or "
    "verify-full, and without one where it is disable or prefer"
)
PLAIN = {
    "user": "ada",
    "password": "",
    "host": "db",
    "port": 5432,
    "database": "users",
    "sslmode": "prefer",
    "sslrootcert": "",
}
READ_URL: dict[Kind, str] = {
    "python": """
import dataclasses, json, sys
from python_api.settings import SettingsError, read_settings

for url in json.loads(sys.argv[1]):
    try:
        settings = read_settings({"DATABASE_URL": url})
        print(json.dumps(dataclasses.asdict(settings.database_url)))
    except SettingsError as error:
        print(json.dumps(str(error)))
""",
    "node": """
import { readSettings } from "./src/settings.ts";

for (const url of JSON.parse(process.argv[1])) {
  try {
    console.log(JSON.stringify(readSettings({ DATABASE_URL: url }).databaseUrl));
  } catch (error) {
    console.log(JSON.stringify(error.message));
  }
}
""",
}


def with_password(password: str) -> str:
    return "postgresql://ada:" + password + "@db/users"


# A URL, and the line that ends the start or what it differs in from PLAIN; of SQLite the path.
GRAMMAR: dict[str, str | dict[str, str | int]] = {
    "postgresql://ada@db/users": {},
    "postgresql://ada:@db/users": {},
    "postgresql://ada:password@db:6432/users": {"password": "password", "port": 6432},
    "postgresql://a%40b@db/we%40ird": {"user": "a@b", "database": "we@ird"},
    "postgresql://%C3%A9@db/a%20b+c": {"user": "é", "database": "a b+c"},
    with_password("c%3Ad%2F%25"): {"password": "c:d/%"},
    with_password("a+b"): {"password": "a+b"},
    with_password("%F0%9F%94%91"): {"password": "\U0001f511"},
    "postgresql://ada@[::1]/users": {"host": "::1"},
    "postgresql://ada@[::ffff:127.0.0.1]:1/users": {"host": "::ffff:127.0.0.1", "port": 1},
    "postgresql://ada@db:65535/users": {"port": 65535},
    "postgresql://ada@db:00001/users": {"port": 1},
    "postgresql://ada@db/users?sslmode=disable": {"sslmode": "disable"},
    "postgresql://ada@db/users?sslmode=require": {"sslmode": "require"},
    "postgresql://ada@db/users?sslmode=require&sslrootcert=ca.pem": {
        "sslmode": "require",
        "sslrootcert": "ca.pem",
    },
    "postgresql://ada@db/users?sslrootcert=/a%20b/c%26d.pem&sslmode=verify-ca": {
        "sslmode": "verify-ca",
        "sslrootcert": "/a b/c&d.pem",
    },
    "postgresql://ada@db/users?sslmode=verify-full&sslrootcert=/ca.pem": {
        "sslmode": "verify-full",
        "sslrootcert": "/ca.pem",
    },
    # No user, no host, no database, no port, no address.
    "postgresql://db/users": URLS,
    "postgresql://@db/users": URLS,
    "postgresql://:password@db/users": URLS,
    "postgresql://ada@/users": URLS,
    "postgresql:///users": URLS,
    "postgresql:///users?host=/run/postgresql": URLS,
    "postgresql://ada@%2Frun%2Fpostgresql/users": URLS,
    "postgresql://ada@db": URLS,
    "postgresql://ada@db/": URLS,
    "postgresql://ada@db/users/more": URLS,
    "postgresql://ada@db:0/users": URLS,
    "postgresql://ada@db:65536/users": URLS,
    "postgresql://ada@db:/users": URLS,
    "postgresql://ada@one,two/users": URLS,
    "postgresql://ada@[::g]/users": URLS,
    "postgresql://ada@[1::2::3]/users": URLS,
    "postgresql://ada@[fe80::1%25eth0]/users": URLS,
    "postgresql://ada@::1/users": URLS,
    "postgres://ada@db/users": URLS,
    "POSTGRESQL://ada@db/users": URLS,
    # What is no text.
    with_password("%00"): URLS,
    "postgresql://ada@db/a%0Ab": URLS,
    with_password("%FF"): URLS,
    with_password("%ED%A0%80"): URLS,
    with_password("%4"): URLS,
    with_password("a:b"): URLS,
    with_password("a/b"): URLS,
    "postgresql://ada@db/users#here": URLS,
    # Options.
    "postgresql://ada@db/users?": OPTIONS,
    "postgresql://ada@db/users?sslmode": OPTIONS,
    "postgresql://ada@db/users?sslmode=": OPTIONS,
    "postgresql://ada@db/users?sslmode=require&": OPTIONS,
    "postgresql://ada@db/users?sslmode=require&sslmode=require": OPTIONS,
    "postgresql://ada@db/users?SSLMODE=require": OPTIONS,
    "postgresql://ada@db/users?connect_timeout=5": OPTIONS,
    "postgresql://ada@db/users?channel_binding=require": OPTIONS,
    "postgresql://ada@db/users?search_path=tenant": OPTIONS,
    "postgresql://ada@db/users?options=-csearch_path%3Dtenant": OPTIONS,
    "postgresql://ada@db/users?application_name=a": OPTIONS,
    "postgresql://ada@db/users?user=eve": OPTIONS,
    "postgresql://ada@db/users?sslcert=a.pem": OPTIONS,
    "postgresql://ada@db/users?ssl=true": OPTIONS,
    "postgresql://ada@db/users?sslmode=allow": MODES,
    "postgresql://ada@db/users?sslmode=no-verify": MODES,
    "postgresql://ada@db/users?sslmode=Require": MODES,
    "postgresql://ada@db/users?sslmode=verify-ca": FILE,
    "postgresql://ada@db/users?sslmode=verify-full": FILE,
    "postgresql://ada@db/users?sslmode=verify-full&sslrootcert=system": FILE,
    "postgresql://ada@db/users?sslrootcert=ca.pem": FILE,
    "postgresql://ada@db/users?sslmode=disable&sslrootcert=ca.pem": FILE,
    # SQLite's paths are as they are.
    "sqlite:///users.db": {"path": "users.db"},
    "sqlite:////var/users.db": {"path": "/var/users.db"},
    "sqlite:///a%20b?c#d": {"path": "a%20b?c#d"},
    "sqlite:///:memory:": {"path": ":memory:"},
    "sqlite:///file:x.db?mode=memory": {"path": "file:x.db?mode=memory"},
    "sqlite:/// a": {"path": " a"},
    "sqlite:///é\U0001f511": {"path": "é\U0001f511"},
    "sqlite:///": URLS,
    "sqlite:///users.db ": URLS,
    "sqlite:///users.db\u00a0": URLS,
    "sqlite:///users.db\u0085": URLS,
    "sqlite:///users.db\ufeff": URLS,
    "sqlite:///a\ufffdb": URLS,
}


@pytest.mark.clause("PAIR-14", "OPS-30", "OPS-31", "OPS-38")
def test_database_url_has_one_grammar() -> None:
    for kind in services.KINDS:
        printed = services.run_code(READ_URL, kind, json.dumps([*GRAMMAR]))
        read = [json.loads(line) for line in printed.split("\n")[:-1]]
        for (url, expected), found in zip(GRAMMAR.items(), read, strict=True):
            if isinstance(expected, dict) and "path" not in expected:
                assert found == PLAIN | expected, (kind, url)
            else:
                assert found == expected, (kind, url)


# What AUTH_JWKS_URL may be

KEYS = "AUTH_JWKS_URL must be a URL such as https://example.com/keys"
READ_KEYS: dict[Kind, str] = {
    "python": """
import json, sys
from python_api.settings import SettingsError, read_settings

for url in json.loads(sys.argv[1]):
    try:
        print(json.dumps(read_settings({"AUTH_JWKS_URL": url}).auth_jwks_url))
    except SettingsError as error:
        print(json.dumps(str(error)))
""",
    "node": """
import { readSettings } from "./src/settings.ts";

for (const url of JSON.parse(process.argv[1])) {
  try {
    console.log(JSON.stringify(readSettings({ AUTH_JWKS_URL: url }).authJwksUrl));
  } catch (error) {
    console.log(JSON.stringify(error.message));
  }
}
""",
}
TAKEN_KEYS = [
    *["http://a", "https://a.example/keys?a=b#c", "http://A_b-c.example:1/", "http://a:65535"],
    *["http://a:00080/", "http://a/[", "http://a/:0", "http://[::1]/", "https://[fd00::1]:8443/k"],
    *["http://[::ffff:1.2.3.4]/", "http://1.2.3.4/"],
    # Names that no host has.
    *["http://256.1.1.1/", "http://1.2.3.4.5/", "http://a.0x/", "http://xn--/", "http://."],
    *["http://xn--a-ecp.ru/", "http://a..b/", f"http://{'a' * 300}/"],
]
REFUSED_KEYS = [
    *["ftp://x/", "http://", "x", "http://a b", "http://a:70000/", "http://ä/"],
    *["http://a:0/", "http://a:65536/", "http://a:/", "http://[::1]:0/", "http://[::1]:99999/"],
    *["http://[::::]/", "http://[1.2.3.4]/", "http://[.]/", "http://[]/", "http://[::1/"],
    *["http://[1::2::3]/", "http://[::01.2.3.4]/", "http://[::1%lo]/", "http://[::1%25lo]/"],
    *["http://::1/", "http://[::1]a/", "http://a:b/", "http://a?b", "http://a%41/", "http://é/"],
    *["http:///", "http://@a/", "http://a\ufffd/", "http://a\n"],
]


@pytest.mark.clause("PAIR-03", "AUTH-19", "OPS-03")
@pytest.mark.parametrize("kind", services.KINDS)
def test_auth_jwks_url_has_one_grammar(kind: Kind) -> None:
    cases = {url: url for url in TAKEN_KEYS} | dict.fromkeys(REFUSED_KEYS, KEYS)
    printed = services.run_code(READ_KEYS, kind, json.dumps([*cases]))
    read = [json.loads(line) for line in printed.split("\n")[:-1]]
    assert dict(zip(cases, read, strict=True)) == cases


# What is not UTF-8

# As Python has a byte that is no UTF-8, in the environment and in a file's name.
BYTE = "\udcff"
NO_FILE = "must be a file that can be read and is not empty"
NO_PASSWORD = "ADMIN_PASSWORD must be a password of 12 to 128 characters, and not alone"
ADMIN = {"ADMIN_EMAIL": "a@b.example"}
# The variables, and the line that ends the start; {file} is one that is there and will do.
NOT_UTF_8: list[tuple[dict[str, str], str]] = [
    ({"HOST": BYTE}, "HOST must be a name or an address"),
    ({"HOST": "a\ufffd"}, "HOST must be a name or an address"),
    ({"PORT": BYTE}, "PORT must be an integer from 0 to 65535"),
    ({"DATABASE_URL": f"sqlite:///{BYTE}.db"}, URLS),
    ({"AUTH": BYTE}, "AUTH must be on or off"),
    ({"AUTH_SECRET": BYTE * 32}, "AUTH_SECRET must be 32 or more visible ASCII characters"),
    ({"AUTH_ISSUER": BYTE}, "AUTH_ISSUER must be visible ASCII characters"),
    ({"AUTH_JWKS_URL": f"http://{BYTE}/"}, KEYS),
    ({"AUTH_JWKS_CA": "{file}"}, "AUTH_JWKS_CA must be the path of a file of certificates in PEM"),
    (
        {"ADMIN_EMAIL": f"{BYTE}@b.example", "ADMIN_PASSWORD": "p" * 12},
        "ADMIN_EMAIL must be an email, and not alone",
    ),
    (ADMIN | {"ADMIN_PASSWORD": f"correct horse {BYTE} battery"}, NO_PASSWORD),
    (ADMIN | {"ADMIN_PASSWORD": "correct horse \ufffd battery"}, NO_PASSWORD),
    ({"DATABASE_URL_FILE": "{file}", "DATABASE_URL": ""}, f"DATABASE_URL_FILE {NO_FILE}"),
    ({"AUTH_SECRET_FILE": "{file}"}, f"AUTH_SECRET_FILE {NO_FILE}"),
    ({"AUTH_SECRET_PREVIOUS_FILE": "{file}"}, f"AUTH_SECRET_PREVIOUS_FILE {NO_FILE}"),
    (ADMIN | {"ADMIN_PASSWORD_FILE": "{file}"}, f"ADMIN_PASSWORD_FILE {NO_FILE}"),
    (
        {"TRUSTED_PROXIES": BYTE},
        "TRUSTED_PROXIES must be addresses or networks such as 10.0.0.0/8, with commas",
    ),
    (
        {"CORS_ORIGINS": f"https://{BYTE}"},
        "CORS_ORIGINS must be origins such as https://example.com, with commas",
    ),
]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a file's name may have to be UTF-8")
@pytest.mark.clause("PAIR-03", "OPS-03", "OPS-55")
@pytest.mark.parametrize("kind", services.KINDS)
def test_what_is_not_utf_8_is_no_setting(
    kind: Kind, tmp_path: Path, authority: "Authority"
) -> None:
    # Node would look for this one.
    for name in (BYTE, "\ufffd"):
        shutil.copyfile(authority.file, tmp_path / name)
    cases = [
        ({key: value.replace("{file}", f"{tmp_path}/{name}") for key, value in given.items()}, line)
        for given, line in NOT_UTF_8
        for name in (BYTE, "\ufffd")
    ]
    said = services.refusals(kind, [env for env, _ in cases])
    assert said == [line for _, line in cases]


# What the environment and the home directory have for PostgreSQL's own programs

FOREIGN = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGDATABASE": "nowhere",
    "PGUSER": "nobody",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "{home}/.pgpass",
    "PGSERVICE": "nowhere",
    "PGSERVICEFILE": "{home}/.pg_service.conf",
    "PGOPTIONS": "-c search_path=nowhere -c default_transaction_read_only=on",
    "PGAPPNAME": "nobody",
    "PGREPLICATION": "database",
    "PGBINARY": "1",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "{home}/nowhere.crt",
    "PGSSLCERT": "{home}/nowhere.crt",
    "PGSSLKEY": "{home}/nowhere.key",
    "PGSSLCRL": "{home}/nowhere.crl",
    "PGSSLMINPROTOCOLVERSION": "SSLv3",
    "PGREQUIRESSL": "1",
    "PGGSSLIB": "none",
    "PGKRBSRVNAME": "nobody",
    "PGTARGETSESSIONATTRS": "none",
    "PGCONNECT_TIMEOUT": "1",
    "PGCLIENTENCODING": "LATIN1",
    "PGDATESTYLE": "German",
    "PGTZ": "Asia/Kathmandu",
    "HOME": "{home}",
}
HOME = {
    ".pgpass": "*:*:*:*:wrong\n",
    ".pg_service.conf": "[nowhere]\nhost=nowhere.invalid\n",
    ".postgresql/root.crt": "none\n",
    ".postgresql/postgresql.crt": "none\n",
    ".postgresql/root.crl": "none\n",
}


@pytest.mark.clause("PAIR-14", "OPS-30")
@pytest.mark.parametrize("tls", [False, True], ids=["without TLS", "with TLS"])
def test_nothing_but_the_settings_says_how_to_connect(
    new_postgres: NewPostgres, tmp_path: Path, authority: "Authority", tls: bool
) -> None:
    for name, content in HOME.items():
        file = tmp_path / "home" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        file.chmod(0o600)
    env = {name: value.replace("{home}", f"{tmp_path}/home") for name, value in FOREIGN.items()}
    url = new_postgres()
    with closing(TlsProxy(url, authority.certificate("127.0.0.1"))) as proxy:
        urls = dict.fromkeys(services.KINDS, f"{proxy.url}?sslmode=require" if tls else url)
        with both_on(urls, tmp_path, **env) as ask:
            ask(whole_round)


# TLS


Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Certificates in files, from an authority of the tests' own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "the tests")])
        self.file = self._write("authority", self._signed(self._key, self._name, None))

    def certificate(self, host: str, *, signed: bool = True, key: Key | None = None) -> str:
        """The file of a certificate for this host, with its key; signed by us or by itself."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
        return self._write(
            f"{host}-{signed}-{key.key_size}", self._signed(key, name, host, signed=signed), key
        )

    def _signed(
        self,
        key: Key,
        name: x509.Name,
        host: str | None,
        *,
        signed: bool = True,
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name if signed else name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        )
        if host is not None:
            numeric = host.replace(".", "").isdigit()
            general = x509.IPAddress(ip_address(host)) if numeric else x509.DNSName(host)
            builder = builder.add_extension(x509.SubjectAlternativeName([general]), critical=False)
        return builder.sign(self._key if signed else key, hashes.SHA256())

    def _write(
        self,
        name: str,
        certificate: x509.Certificate,
        key: Key | None = None,
    ) -> str:
        file = self._directory / f"{name}.pem"
        content = certificate.public_bytes(serialization.Encoding.PEM)
        if key is not None:
            content += key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        file.write_bytes(content)
        return str(file)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


def no_tls(mode: str) -> str:
    return f"The server offers no TLS, which sslmode={mode} asks for."


UNTRUSTED = "The server's certificate is not trusted."
OTHER_HOST = "The server's certificate is not for 127.0.0.1."
# By server and options what comes of them; {file} is the authority's.
TLS: dict[str, dict[str, str]] = {
    "plain": {
        "": OPENED,
        "?sslmode=disable": OPENED,
        "?sslmode=prefer": OPENED,
        "?sslmode=require": no_tls("require"),
        "?sslmode=verify-full&sslrootcert={file}": no_tls("verify-full"),
    },
    "signed": {
        "": OPENED,
        "?sslmode=disable": OPENED,
        "?sslmode=prefer": OPENED,
        "?sslmode=require": OPENED,
        "?sslmode=require&sslrootcert={file}": OPENED,
        "?sslmode=verify-ca&sslrootcert={file}": OPENED,
        "?sslmode=verify-full&sslrootcert={file}": OPENED,
        "?sslmode=verify-full&sslrootcert={nowhere}": "{nowhere} is no file of certificates.",
        "?sslmode=verify-full&sslrootcert={empty}": "{empty} is no file of certificates.",
        "?sslmode=verify-full&sslrootcert={broken}": "{broken} is no file of certificates.",
        "?sslmode=verify-full&sslrootcert={der}": "{der} is no file of certificates.",
        "?sslmode=verify-full&sslrootcert={crl}": "{crl} is no file of certificates.",
        "?sslmode=verify-full&sslrootcert={both}": OPENED,
    },
    "other host": {
        "?sslmode=require&sslrootcert={file}": OPENED,
        "?sslmode=verify-ca&sslrootcert={file}": OPENED,
        "?sslmode=verify-full&sslrootcert={file}": OTHER_HOST,
    },
    "self-signed": {
        "": OPENED,
        "?sslmode=require": OPENED,
        "?sslmode=require&sslrootcert={file}": UNTRUSTED,
        "?sslmode=verify-ca&sslrootcert={file}": UNTRUSTED,
        "?sslmode=verify-full&sslrootcert={file}": UNTRUSTED,
    },
    "small key": {
        "?sslmode=verify-full&sslrootcert={file}": UNTRUSTED,
    },
    "broken": {
        "": OPENED,
        "?sslmode=require": no_tls("require"),
    },
}


@pytest.mark.clause("PAIR-14", "OPS-31", "OPS-17")
def test_sslmode_means_what_it_means_to_libpq(
    new_postgres: NewPostgres, tmp_path: Path, authority: Authority
) -> None:
    url = new_postgres()
    good = Path(authority.file).read_text("ascii")
    contents = {
        "empty": b"",
        "broken": f"{good}{good.replace('MII', 'MMM', 1)}".encode(),
        "der": ssl.PEM_cert_to_DER_cert(good),
        "crl": good.replace("CERTIFICATE", "X509 CRL").encode(),
        "both": f"one\n{good}and another one\n{good}".encode(),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    small = rsa.generate_private_key(65537, 1024)
    files = {
        "file": authority.file,
        "nowhere": f"{tmp_path}/nowhere.pem",
    } | {name: f"{tmp_path}/{name}" for name in contents}
    proxies = {
        "signed": TlsProxy(url, authority.certificate("127.0.0.1")),
        "other host": TlsProxy(url, authority.certificate("db.example")),
        "self-signed": TlsProxy(url, authority.certificate("127.0.0.1", signed=False)),
        "small key": TlsProxy(url, authority.certificate("127.0.0.1", key=small)),
        "broken": TlsProxy(url, None),
    }
    rows, cases = {}, {}
    for server, modes in TLS.items():
        behind = url if server == "plain" else proxies[server].url
        for options, result in modes.items():
            rows[f"{server} {options}"] = behind + options.format_map(files)
            cases[f"{server} {options}"] = result.format_map(files)
    try:
        assert_both_open(rows, cases)
        # Two services, each with two connections for each row that is by TLS.
        tls = [options for options in TLS["self-signed"].items() if options[1] == OPENED]
        assert proxies["self-signed"].secured >= 2 * 2 * len(tls)
    finally:
        for proxy in proxies.values():
            proxy.close()


# What is no PostgreSQL

SSL_REQUEST = TlsProxy.SSL_REQUEST
HTTP = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


def hang_up(_client: socket.socket) -> None:
    """Close at once."""


def hang_up_later(client: socket.socket) -> None:
    """Close when it has asked for TLS, or begun."""
    client.recv(65536)


def speak_http(client: socket.socket) -> None:
    """Answer as another kind of server."""
    client.recv(65536)
    client.sendall(HTTP)


def talk_nonsense(client: socket.socket) -> None:
    """Send what has the form of a message, and isn't any."""
    client.recv(65536)
    client.sendall(b"x\0\0\0\x08abcd")


def asking_for(proof: int) -> Callable[[socket.socket], None]:
    """Ask for a proof of this kind, such as Kerberos' (PostgreSQL, 54.7, AuthenticationGSS)."""

    def ask(client: socket.socket) -> None:
        client.recv(65536)
        client.sendall(b"R" + struct.pack(">ii", 8, proof))
        client.recv(65536)

    ask.__name__ = f"ask_for_{proof}"
    return ask


def know_other_proofs(client: socket.socket) -> None:
    """Ask for a proof by SASL, in a way that neither knows."""
    client.recv(65536)
    client.sendall(b"R" + struct.pack(">ii", 8 + 13, 10) + b"OAUTHBEARER\0\0")
    client.recv(65536)


def speak_no_tls(client: socket.socket) -> None:
    """Agree to TLS, and close while it is made up."""
    if client.recv(8) == SSL_REQUEST:
        client.sendall(b"S")
        client.recv(65536)


def refuse_tls(client: socket.socket) -> None:
    """Refuse TLS, and close when it has begun without."""
    if client.recv(8) == SSL_REQUEST:
        client.sendall(b"N")
    client.recv(65536)


def refusing(message: bytes) -> Callable[[socket.socket], None]:
    """Refuse whoever comes, with this message."""

    def answer(client: socket.socket) -> None:
        client.recv(65536)
        fields = b"SFATAL\0C28P01\0M" + message + b"\0\0"
        client.sendall(b"E" + struct.pack(">i", len(fields) + 4) + fields)

    return answer


@contextmanager
def server_of(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does so with each connection, and closes it."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError):
            while True:
                client = listener.accept()[0]
                with client, suppress(OSError):
                    client.settimeout(10)
                    answer(client)

    Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


# By what is there and sslmode the reason; {nobody} is that nobody answers.
OTHERS: list[tuple[Callable[[socket.socket], None], dict[str, str]]] = [
    (hang_up, {"prefer": "{nobody}", "disable": "{nobody}"}),
    (hang_up_later, {"prefer": "{nobody}", "disable": "{nobody}", "require": "{nobody}"}),
    (speak_http, {"prefer": "{nobody}", "disable": "{nobody}", "require": no_tls("require")}),
    (talk_nonsense, {"prefer": "{nobody}", "disable": "{nobody}", "require": no_tls("require")}),
    (speak_no_tls, {"prefer": "{nobody}", "disable": "{nobody}", "require": no_tls("require")}),
    (refuse_tls, {"prefer": "{nobody}", "disable": "{nobody}", "require": no_tls("require")}),
    *((asking_for(proof), {"disable": "{nobody}"}) for proof in (2, 6, 7, 9, 99)),
    (know_other_proofs, {"disable": "{nobody}"}),
]

SAID = {
    b"one line": "one line",
    b"one line\nand another": "one line",
    "\u00e4\r\nb".encode(): "\u00e4",
    b"": "The server refuses, and says nothing.",
    b"\nb": "The server refuses, and says nothing.",
}


@pytest.mark.clause("PAIR-14", "OPS-17", "OPS-39")
def test_the_first_line_of_a_refusal_is_told() -> None:
    rows, cases = {}, {}
    with ExitStack() as stack:
        for message, reason in SAID.items():
            port = stack.enter_context(server_of(refusing(message)))
            rows[repr(message)] = f"postgresql://ada@127.0.0.1:{port}/users?sslmode=disable"
            cases[repr(message)] = reason
        assert_both_open(rows, cases)


@pytest.mark.clause("PAIR-14", "OPS-17", "OPS-39", "OPS-31")
def test_what_is_no_postgresql_does_not_answer() -> None:
    rows, cases = {}, {}
    whom = "ada:pw"  # without a password it would be judged by that
    with ExitStack() as stack:
        for answer, modes in OTHERS:
            port = stack.enter_context(server_of(answer))
            for mode, reason in modes.items():
                name = f"{answer.__name__} {mode}"
                rows[name] = f"postgresql://{whom}@127.0.0.1:{port}/users?sslmode={mode}"
                cases[name] = reason.format(nobody=f"Nobody answers at port {port} of 127.0.0.1.")
        assert_both_open(rows, cases)


@pytest.mark.clause("PAIR-14", "OPS-17", "OPS-39")
def test_who_hangs_up_while_the_schema_is_prepared_does_not_answer(
    new_postgres: NewPostgres,
) -> None:
    rows, cases = {}, {}
    with ExitStack() as stack:
        for said in (b"BEGIN\0", b"CREATE TABLE\0", b"COMMIT\0"):
            proxy = stack.enter_context(closing(CutsOff(new_postgres(), said)))
            rows[repr(said)] = proxy.url
            cases[repr(said)] = f"Nobody answers at port {urlsplit(proxy.url).port} of 127.0.0.1."
        assert_both_open(rows, cases)


# What a database cannot be


@pytest.mark.clause("PAIR-14", "OPS-17", "OPS-34", "OPS-39", "OPS-38")
def test_a_database_that_will_not_do_is_told_in_one_line(
    new_postgres: NewPostgres, tmp_path: Path
) -> None:
    url = new_postgres()
    rows, cases = {}, {}
    with Session(url) as session:
        for encoding in ("LATIN1", "SQL_ASCII"):
            name = f"contract_{secrets.token_hex(8)}"
            session.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING {encoding} LOCALE 'C'"
            )
            rows[encoding] = urlsplit(url)._replace(path=f"/{name}").geturl()
            cases[encoding] = f"Its encoding is {encoding}, and must be UTF8."
        try:
            (tmp_path / "directory").mkdir()
            (tmp_path / "file").touch()
            (tmp_path / "noise").write_bytes(b"noise " * 1000)
            for name, place, code in (
                ("nowhere", "nowhere/users.db", "ENOENT"),
                ("a directory", "directory", "EISDIR"),
                ("a file for a directory", "file/users.db", "ENOTDIR"),
                ("too long", "a" * 300, "ENAMETOOLONG"),
            ):
                rows[name] = f"sqlite:///{tmp_path}/{place}"
                cases[name] = f"{code} at the file {tmp_path}/{place}"
            with closing(sqlite3.connect(tmp_path / "utf-16")) as utf_16:
                utf_16.executescript("PRAGMA encoding = 'UTF-16le'; CREATE TABLE a (b)")
            rows["UTF-16le"] = f"sqlite:///{tmp_path}/utf-16"
            cases["UTF-16le"] = "Its encoding is UTF-16le, and must be UTF-8."
            rows["no database"] = f"sqlite:///{tmp_path}/noise"
            cases["no database"] = "file is not a database"
            rows["nobody there"] = "postgresql://ada@127.0.0.1:1/users"
            cases["nobody there"] = "Nobody answers at port 1 of 127.0.0.1."
            for host in ("nowhere.invalid", "a..b", ".", "256.1.1.1", "a" * 300):
                rows[host] = f"postgresql://ada@{host}:1/users"
                cases[host] = f"There is no host {host}."
            rows["no such database"] = urlsplit(url)._replace(path="/nowhere").geturl()
            cases["no such database"] = 'database "nowhere" does not exist'
            assert_both_open(rows, cases)
        finally:
            for encoding in ("LATIN1", "SQL_ASCII"):
                name = urlsplit(rows[encoding]).path[1:]
                session.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.clause("OPS-17", "OPS-34", "PAIR-14")
@pytest.mark.parametrize("kind", services.KINDS)
def test_the_line_is_all_that_it_says(kind: Kind, tmp_path: Path) -> None:
    service = Service(kind, tmp_path, None, f"sqlite:///{tmp_path}/nowhere/users.db")
    service.start()
    assert service.wait(services.START_TIMEOUT) == 1
    reason = f"ENOENT at the file {tmp_path}/nowhere/users.db"
    assert service.log() == f"The database cannot be opened: {reason}\n"


# What a session is set to

# What somebody sets in the database or for the role, which changes nothing.
SESSIONS = {
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "datestyle": "German, DMY",
    "DateStyle": "SQL, MDY",
    "default_transaction_deferrable": "on",
    "default_transaction_isolation": "repeatable read",
    "Default_transaction_isolation": "serializable",
    "enable_indexscan": "off",
    "escape_string_warning": "off",
    "extra_float_digits": "-15",
    "gin_fuzzy_search_limit": "1",
    "idle_in_transaction_session_timeout": "1",
    "idle_session_timeout": "1",
    "intervalstyle": "sql_standard",
    "lc_messages": "C",
    "lc_time": "C",
    "lock_timeout": "1",
    "plan_cache_mode": "force_generic_plan",
    "quote_all_identifiers": "on",
    "row_security": "off",
    "search_path": "nowhere",
    "standard_conforming_strings": "off",
    "statement_timeout": "1",
    "synchronous_commit": "off",
    "timezone": "Asia/Kolkata",
    "transaction_timeout": "1",
    "transform_null_equals": "on",
    "work_mem": "64",
    "xmloption": "document",
}


@dataclass
class Running:
    """Both services on one database, and our own connection to it."""

    url: str
    session: Session
    services: list[Service]

    def set(self, statement: str) -> None:
        """Have it hold for connections made from now on, and end those that there are."""
        self.session.execute(statement)
        self.session.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def await_ready(self) -> None:
        """Until both have found out that their connections are gone."""
        for service in self.services:
            deadline = time.monotonic() + 10
            # Of each connection that it may have.
            while {service.api.get("/readyz").status for _ in range(5)} != {200}:
                assert time.monotonic() < deadline, service.log()[-3000:]


@pytest.fixture(scope="module")
def running(
    new_postgres: NewPostgres, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    directory = tmp_path_factory.mktemp("running")
    url = new_postgres()
    both = [Service(kind, directory / kind, None, url) for kind in services.KINDS]
    try:
        for service in both:
            service.start()
        for service in both:
            service.await_ready()
        with Session(url) as session:
            yield Running(url, session, both)
    finally:
        for service in both:
            service.kill()


@pytest.mark.clause("PAIR-14", "OPS-32", "OPS-15")
@pytest.mark.parametrize("name", SESSIONS)
def test_what_a_database_is_set_to_changes_nothing(running: Running, name: str) -> None:
    known = running.session.execute(f"SELECT 1 FROM pg_settings WHERE name ILIKE '{name}'")
    if not known:
        pytest.skip("this server doesn't know it")
    ((database,),) = running.session.execute("SELECT current_database()")
    running.set(f"ALTER DATABASE {database} SET {name} = {literal(SESSIONS[name])}")
    try:
        running.await_ready()
        for service in running.services:
            whole_round(service.api)
            all_at_once(service.api)
    finally:
        running.session.execute(f"ALTER DATABASE {database} RESET ALL")


def literal(value: str) -> str:
    """As SQL has it: a list's members apart."""
    return ", ".join(f"'{part.strip()}'" for part in value.split(","))


@pytest.mark.clause("PAIR-14", "OPS-32", "OPS-05", "OPS-08")
def test_both_start_on_a_database_with_everything_set_wrong(
    new_postgres: NewPostgres, tmp_path: Path
) -> None:
    url = new_postgres()
    with Session(url) as session:
        ((database,),) = session.execute("SELECT current_database()")
        for name, value in SESSIONS.items():
            if session.execute(f"SELECT 1 FROM pg_settings WHERE name = '{name}'"):
                session.execute(f"ALTER DATABASE {database} SET {name} = {literal(value)}")
        with both_on(dict.fromkeys(services.KINDS, url), tmp_path) as ask:
            ask(whole_round)
        tables = "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'users'"
        assert session.execute(tables) == [("public",)]


# What the sessions of a service are set to, as it asks them.
SHOWN: dict[Kind, str] = {
    "python": """
import asyncio, json, sys
from sqlalchemy import text
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def main(url, *names):
    async with open_database(read_settings({"DATABASE_URL": url})) as database:
        async with database.connection() as connection:
            for name in names:
                ((value,),) = await connection.fetch(text(f"SELECT current_setting('{name}')"))
                print(value)

asyncio.run(main(*sys.argv[1:]))
""",
    "node": """
import { sql } from "kysely";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const [url, ...names] = process.argv.slice(1);
const database = await openDatabase(readSettings({ DATABASE_URL: url }));
for (const name of names) {
  const { rows } = await sql`SELECT current_setting(${name}) AS value`.execute(database.connection);
  console.log(rows[0].value);
}
await database.close();
""",
}


@pytest.mark.clause("OPS-32", "OPS-08")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_session_waits_for_the_disk_and_is_read_committed(running: Running, kind: Kind) -> None:
    ((database,),) = running.session.execute("SELECT current_database()")
    hostile = {
        "synchronous_commit": "off",
        "default_transaction_isolation": "serializable",
        "search_path": "nowhere",
        "datestyle": "German",
        "lock_timeout": "1",
        "idle_session_timeout": "1",
    }
    for name, value in hostile.items():
        running.session.execute(f"ALTER DATABASE {database} SET {name} = '{value}'")
    try:
        printed = services.run_code(SHOWN, kind, running.url, *hostile).splitlines()
    finally:
        running.session.execute(f"ALTER DATABASE {database} RESET ALL")
    assert printed[3].startswith("ISO, ")
    del printed[3]
    assert printed == ["on", "read committed", "public", "0", "0"]


# What happens to the tables while they run

CHANGES = [
    "ALTER TABLE users ALTER COLUMN name TYPE varchar(200)",
    "ALTER TABLE users ALTER COLUMN name TYPE text",
    "ALTER TABLE users ADD COLUMN more text",
    "ALTER TABLE users DROP COLUMN more",
    "DROP INDEX ix_users_name",
    "CREATE INDEX ix_users_name ON users (name, id)",
    "ANALYZE users",
    "ALTER TABLE events ALTER COLUMN data TYPE varchar",
    "ALTER TABLE events ALTER COLUMN data TYPE text",
    "ALTER TABLE event_positions ALTER COLUMN last TYPE numeric",
    "ALTER TABLE event_positions ALTER COLUMN last TYPE bigint",
]


@pytest.mark.clause("PAIR-14", "OPS-35")
def test_a_table_that_changes_costs_no_read_and_at_most_one_write(running: Running) -> None:
    paths = [f"/users/{service.api.create()['id']}" for service in running.services]
    both = [*zip(running.services, paths, strict=True)]
    for statement in CHANGES:
        users = []
        for service, path in both:
            # Every connection has prepared what it will be asked.
            service.api.at_once([service.api.message("GET", path)] * 20)
            answers = [service.api.patch(path, json={"name": "Ada"}) for _ in range(3)]
            users.append(answers[-1].json())
        running.session.execute(statement)
        for (service, path), user in zip(both, users, strict=True):
            for _ in range(6):
                expect.user(service.api.get(path), 200, **user)
            found = []
            for n in range(6):
                found.append(service.api.patch(path, json={"name": f"Ada {n}"}).status)
                # It gives the new event its position, which is a write.
                found.append(service.api.get("/events?sort=-id").status)
            assert sorted(found)[:-1] == [200] * 11, statement
            assert found.count(200) == 12 or found.index(503) < 2, statement


# A network that forgets


@pytest.mark.clause("PAIR-14", "OPS-36")
@pytest.mark.parametrize("kind", services.KINDS)
def test_connections_that_died_silently_cost_one_request(
    new_postgres: NewPostgres, kind: Kind, tmp_path: Path
) -> None:
    url = new_postgres()
    brisk = {"DATABASE_STATEMENT_TIMEOUT": "1", "DATABASE_POOL_SIZE": "10"}
    with closing(Forgetful(url)) as firewall:
        service = services.launch(kind, env=brisk, directory=tmp_path, database_url=firewall.url)
        try:
            user = service.api.create()
            path = f"/users/{user['id']}"
            service.api.at_once([service.api.message("GET", path)] * 60)
            assert firewall.forget() > 3
            expect.problem(service.api.get(path), "unavailable")
            for _ in range(12):
                expect.user(service.api.get(path), 200, **user)
            # Nor does it wait for them at its end.
            firewall.forget()
            assert service.stop() == 0
        finally:
            service.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a socket's timers so")
@pytest.mark.clause("OPS-36")
def test_the_other_end_of_an_idle_connection_is_asked(running: Running) -> None:
    port = f"{urlsplit(running.url).port or 5432:04X}"
    for service in running.services:
        service.api.get("/readyz")
        sockets = {
            str(file.readlink())
            for file in Path(f"/proc/{service.process.pid}/fd").iterdir()
            if file.is_symlink()
        }
        rows = [
            line.split()
            for line in Path(f"/proc/{service.process.pid}/net/tcp").read_text().splitlines()[1:]
        ]
        # Established, to the server; its timer is that of keepalive (2).
        timers = [
            row[5].partition(":")[0]
            for row in rows
            if row[2].endswith(port) and row[3] == "01" and f"socket:[{row[9]}]" in sockets
        ]
        assert timers
        assert set(timers) == {"02"}


# Roles


@dataclass(frozen=True)
class Role:
    """A role of the test's own, and the URL as which it comes."""

    name: str
    url: str
    owner: str
    """The URL as which the database's owner comes."""


@pytest.fixture
def role(new_postgres: NewPostgres, tmp_path: Path) -> Iterator[Role]:
    """A role that may do nothing yet, on a database whose schema is there, with one user in it."""
    url = new_postgres()
    service = services.launch("python", directory=tmp_path / "first", database_url=url)
    service.api.create()
    service.kill()
    name, password = f"contract_{secrets.token_hex(8)}", secrets.token_hex(8)
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    with Session(url) as session:
        session.execute("REVOKE CREATE ON SCHEMA public FROM public")
        session.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
        try:
            as_role = parts._replace(netloc=f"{name}:{password}@{host}").geturl()
            yield Role(name, as_role, url)
        finally:
            session.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                f" WHERE usename = '{name}'"
            )
            session.execute(f"DROP OWNED BY {name}")
            session.execute(f"DROP ROLE {name}")


ALL = "SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public"


@pytest.mark.clause("PAIR-14", "OPS-37")
def test_a_role_that_may_make_no_tables_serves(role: Role, tmp_path: Path) -> None:
    grant(role, f"GRANT {ALL} TO {role.name}")
    with both_on(dict.fromkeys(services.KINDS, role.url), tmp_path) as ask:
        ask(whole_round)


READ_ONLY = {
    "may only read": "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
    "is set to read": f"GRANT {ALL} TO {{role}}; "
    "ALTER ROLE {role} SET default_transaction_read_only = on",
}


@pytest.mark.clause("PAIR-14", "OPS-37")
@pytest.mark.parametrize("sort", READ_ONLY)
def test_who_may_only_read_serves_reads(role: Role, tmp_path: Path, sort: str) -> None:
    grant(role, READ_ONLY[sort].format(role=role.name))
    with both_on(dict.fromkeys(services.KINDS, role.url), tmp_path) as ask:
        ask(reads_only)


@pytest.mark.clause("PAIR-14", "OPS-17", "OPS-37")
def test_a_role_that_may_not_prepare_it_is_told_so(role: Role) -> None:
    grant(role, "DROP TABLE users, idempotency_keys, login_failures, schema_version")
    said = "permission denied for schema public"
    assert_both_open({"empty": role.url}, {"empty": said})


def grant(role: Role, statements: str) -> None:
    """Run them as the owner of the database."""
    with Session(role.owner) as session:
        for statement in statements.split("; "):
            session.execute(statement)


# A pooler in between

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
POOLER = "DATABASE_URL must lead to PostgreSQL itself, and this is a pooler such as PgBouncer."
IGNORED = (
    "datestyle,default_transaction_isolation,gin_fuzzy_search_limit,idle_session_timeout,"
    "idle_in_transaction_session_timeout,lock_timeout,options,search_path,"
    "standard_conforming_strings,statement_timeout,synchronous_commit,timezone"
)


@contextmanager
def pgbouncer(url: str, **settings: str) -> Iterator[str]:
    """The URL through a PgBouncer that was set up so."""
    parts = urlsplit(url)
    name = parts.path[1:]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    lines = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", **settings}
    databases = f"host={parts.hostname} port={parts.port or 5432} dbname={name}"
    login = f"user={parts.username}" + (f" password={parts.password}" if parts.password else "")
    said = [f"{setting} = {value}" for setting, value in lines.items()]
    config = ["[databases]", f"{name} = {databases} {login}", "[pgbouncer]", *said]
    # It refuses to run as root, and nobody else gets into pytest's directories.
    user = ["--user", "nobody"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        file = Path(directory, "pgbouncer.ini")
        file.write_text("\n".join([*config, "unix_socket_dir =", ""]))
        process = subprocess.Popen(
            [PGBOUNCER or "", *user, str(file)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with process:
            try:
                await_listener(process, port)
                yield f"postgresql://{parts.username}@127.0.0.1:{port}/{name}"
            finally:
                process.kill()


def await_listener(process: subprocess.Popen[bytes], port: int) -> None:
    """Until somebody listens on the port."""
    deadline = time.monotonic() + 10
    while True:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(process.communicate()[0])
        time.sleep(0.02)


@pytest.mark.skipif(not PGBOUNCER, reason="there is no PgBouncer")
@pytest.mark.clause("PAIR-14", "OPS-33", "OPS-17")
@pytest.mark.parametrize("mode", ["session", "transaction", "statement"])
@pytest.mark.parametrize("ignored", ["", IGNORED], ids=["by default", "ignoring all"])
def test_a_pooler_is_told_in_one_line(new_postgres: NewPostgres, mode: str, ignored: str) -> None:
    settings = {"pool_mode": mode, "ignore_startup_parameters": ignored}
    with pgbouncer(new_postgres(), **settings) as url:
        assert_both_open({"pooler": url}, {"pooler": POOLER})


# SQLite's file

PATHS = [":memory:", "file:x.db", "file:x.db?mode=memory", "a b", " a", "100%", "%41", "#a?b", "\\"]


@pytest.mark.clause("PAIR-14", "OPS-38", "OPS-40")
@pytest.mark.parametrize("kind", services.KINDS)
def test_the_path_is_the_file_and_it_is_for_its_owner_alone(
    kind: Kind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = [f"sqlite:///{tmp_path}/{path}" for path in PATHS]
    monkeypatch.chdir(tmp_path)
    assert opened(kind, urls) == [OPENED] * len(urls)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(PATHS)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}


RELATIVE = [":memory:", "file:x.db"]


@pytest.mark.clause("PAIR-14", "OPS-38")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_path_from_here_is_no_word_of_sqlite(kind: Kind, tmp_path: Path) -> None:
    here = services.ROOT if kind == "python" else services.ROOT / "node_api"
    place = os.path.relpath(tmp_path, here)
    code = {"python": IN.replace("HERE", place), "node": IN_NODE.replace("HERE", place)}
    printed = services.run_code({"python": "", "node": "", kind: code[kind]}, kind, *RELATIVE)
    assert printed == ""
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(RELATIVE)


IN = """
import asyncio, os, sys
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def main():
    os.chdir("HERE")
    for path in sys.argv[1:]:
        async with open_database(read_settings({"DATABASE_URL": f"sqlite:///{path}"})):
            pass

asyncio.run(main())
"""
IN_NODE = """
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

process.chdir("HERE");
for (const path of process.argv.slice(1)) {
  const database = await openDatabase(readSettings({ DATABASE_URL: `sqlite:///${path}` }));
  await database.close();
}
"""


@pytest.mark.engine("sqlite")
@pytest.mark.clause("OPS-40")
def test_the_files_beside_it_have_its_mode(spawned: Callable[..., Service]) -> None:
    service = spawned()
    service.await_ready()
    service.api.create()
    files = [service.file.with_name(f"users.db{suffix}") for suffix in ("", "-wal", "-shm")]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600] * 3
    assert service.stop() == 0
    service.file.chmod(0o640)
    service.restart()
    service.api.create()
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o640] * 3


def to_a_file(here: Path) -> None:
    (here / "file").touch(0o640)
    (here / "link").symlink_to(here / "file")


def to_another_link(here: Path) -> None:
    to_a_file(here)
    (here / "link").rename(here / "other")
    (here / "link").symlink_to("other")


def of_a_directory(here: Path) -> None:
    # Without the link `x/..` would be the directory it begins in.
    (here / "link" / "x").mkdir(parents=True)
    (here / "x").symlink_to(here / "link" / "x")
    (here / "link" / "file").symlink_to(here / "file")


# What makes the links, the path to open, and the mode of the file that is opened.
LINKS: dict[str, tuple[Callable[[Path], object], str, int]] = {
    "to a file": (to_a_file, "link", 0o640),
    "to none yet": (lambda here: (here / "link").symlink_to("file"), "link", 0o600),
    "to another link": (to_another_link, "link", 0o640),
    "of a directory": (of_a_directory, "x/../file", 0o600),
}


@pytest.mark.clause("PAIR-14", "OPS-38", "OPS-40", "OPS-41")
@pytest.mark.parametrize("kind", services.KINDS)
@pytest.mark.parametrize("sort", LINKS)
def test_a_link_leads_to_the_file(kind: Kind, sort: str, tmp_path: Path) -> None:
    link, path, mode = LINKS[sort]
    here = tmp_path / "here"
    here.mkdir()
    link(here)
    url = f"sqlite:///{here}/{path}"
    service = services.launch(kind, directory=tmp_path, database_url=url)
    try:
        whole_round(service.api)
        user = service.api.create()
        assert sorted(here.glob("*-*")) == [here / "file-shm", here / "file-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in here.glob("file*")} == {mode}
        with closing(sqlite3.connect(here / "file")) as connection:
            assert connection.execute(
                "SELECT email FROM users WHERE id = ?", [user["id"]]
            ).fetchall() == [(user["email"],)]
        (here / "file").rename(here / "elsewhere")
        expect.problem(service.api.post("/users", json=expect.somebody()), "unavailable")
        (here / "elsewhere").rename(here / "file")
        (here / "file-wal").unlink()
        expect.problem(service.api.post("/users", json=expect.somebody()), "unavailable")
        assert service.stop() == 0
    finally:
        service.kill()


GONE_WORDS: dict[Kind, str] = {
    "python": """
import asyncio, pathlib, sys
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def main(path):
    async with open_database(read_settings({"DATABASE_URL": f"sqlite:///{path}"})) as database:
        for suffix in ("-shm", "-wal", ""):
            pathlib.Path(path + suffix).unlink()
            try:
                await database.ping()
            except Exception as error:
                print(error)

asyncio.run(main(sys.argv[1]))
""",
    "node": """
import { unlinkSync } from "node:fs";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const [path] = process.argv.slice(1);
const database = await openDatabase(readSettings({ DATABASE_URL: `sqlite:///${path}` }));
for (const suffix of ["-shm", "-wal", ""]) {
  unlinkSync(path + suffix);
  await database.ping().catch((error) => console.log(error.message));
}
""",
}


@pytest.mark.clause("PAIR-14", "OPS-39")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_file_that_is_gone_is_named(kind: Kind, tmp_path: Path) -> None:
    file = tmp_path / "file"
    assert services.run_code(GONE_WORDS, kind, str(file)).splitlines() == [
        f"The database's file is not where it was: ENOENT at the file {file}{suffix}"
        for suffix in ("-shm", "-wal", "")
    ]


def delete(file: Path) -> None:
    for one in file.parent.glob("users.db*"):
        one.unlink()


def replace(file: Path) -> None:
    other = file.with_name("other")
    shutil.copyfile(file, other)
    other.replace(file)


GONE: dict[str, Callable[[Path], object]] = {
    "deleted": delete,
    "the file alone": Path.unlink,
    "the log alone": lambda file: file.with_name("users.db-wal").unlink(),
    "replaced": replace,
    "moved": lambda file: file.rename(file.with_name("elsewhere")),
    "with its directory": lambda file: file.parent.rename(file.parent.with_name("elsewhere")),
}


@pytest.mark.clause("PAIR-14", "OPS-41", "HEALTH-03")
@pytest.mark.parametrize("kind", services.KINDS)
def test_what_no_disk_would_keep_is_503(kind: Kind, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    for sort, change in GONE.items():
        file = tmp_path / sort / "here" / "users.db"
        file.parent.mkdir(parents=True)
        service = services.launch(kind, directory=logs, database_url=f"sqlite:///{file}")
        try:
            user = service.api.create()
            path = f"/users/{user['id']}"
            change(file)
            for answer in (
                service.api.post("/users", json=expect.somebody()),
                service.api.patch(path, json={"name": "Ada"}),
                service.api.delete(path),
                service.api.get("/readyz"),
            ):
                expect.problem(answer, "unavailable")
            expect.body(service.api.get("/healthz"), 200, b'{"status":"ok"}')
            assert service.stop() == 0
        finally:
            service.kill()


@pytest.mark.clause("OPS-41")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_file_may_go_while_a_write_waits_for_its_turn(kind: Kind, tmp_path: Path) -> None:
    service = services.launch(kind, directory=tmp_path)
    api = service.api
    try:
        with api.connect(20.0) as connection, locked(service.database_url) as unlock:
            json = ("Content-Type", "application/json")
            message = api.message("POST", "/users", [json], expect.render(expect.somebody()))
            connection.send(message)
            assert not connection.readable(0.5)
            service.file.rename(tmp_path / "away")
            unlock()
            expect.problem(connection.read("POST"), "unavailable")
    finally:
        service.kill()


@pytest.mark.clause("OPS-41")
@pytest.mark.parametrize("kind", services.KINDS)
def test_a_file_that_comes_back_is_written_again(kind: Kind, tmp_path: Path) -> None:
    service = services.launch(kind, directory=tmp_path)
    try:
        away = service.file.rename(tmp_path / "away")
        expect.problem(service.api.post("/users", json=expect.somebody()), "unavailable")
        away.rename(service.file)
        whole_round(service.api)
    finally:
        service.kill()
