"""PAIR: the two services are file for file twins. Nothing here asks a target."""

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from contract_tests.harness import services
from contract_tests.harness.services import Kind

PYTHON = services.ROOT / "python_api"
NODE = services.ROOT / "node_api" / "src"

# Public functions without a twin, in camelCase, and why the other side has no need of one.
ALONE = {
    "app.answerProblem": "FastAPI calls one handler an exception class, Hono one for all",
    "storage/database.parameter": "SQLAlchemy's bindparam",
    "storage/database.prepared": "SQLAlchemy's statements have no connection, and are what is compiled",
    "http/docs.docsRoutes": "FastAPI's requests know their application",
    "http/openapi.describe": "Hono's routes are described by a middleware, FastAPI's by their class",
    "http/openapi.operation": "FastAPI's decorators have words of their own for OpenAPI's",
    "http/readers.fromApp": "Hono's c.get",
    "http/readers.reader": "a class in Python: a parameter is annotated with it",
    "http/requests.header": "Hono's c.req.header",
    "http/requests.readToEnd": "on Node the server's (`Below`): a stream of the web's would cost too much",
    "http/requests.splitUrl": "ASGI gives a URL's parts apart",
    "http/addresses.networksAgain": "Python's settings are pickled for another process",
    "operation/workers.givenSettings": "Python's workers are called with the settings",
    "storage/database.whyNotOpened": "on Node in main, which its workers run, too",
    "http/server.answering": "uvicorn calls an ASGI application by itself",
    "http/server.refuse": "on Node a method of the connection",
    "http/server.toTheEnd": "`end` in Node's main: its workers run that, too",
    "storage/database.hold": "a method of Python's connections",
    "storage/tables.isPostgres": "SQLAlchemy's connections know their dialect's name",
    "users/schemas.codePoints": "the length of a Python string",
    "users/schemas.etag": "a method of Python's class; in TypeScript a user is plain data",
    "http/requests.trim": "Python's strip takes the characters to trim",
}


def modules(directory: Path, suffix: str) -> dict[str, Path]:
    """Modules by their path without the suffix; those that only make a package are none.

    `python -m` asks for `__main__.py`; Node runs its `main.ts` itself.
    """
    return {
        file.relative_to(directory).with_suffix("").as_posix(): file
        for file in directory.rglob(f"*{suffix}")
        if file.name not in {"__init__.py", "__main__.py"}
    }


def camel_case(name: str) -> str:
    first, *others = name.strip("_").split("_")
    return first + "".join(word.title() for word in others)


def python_functions(file: Path) -> dict[str, bool]:
    """The functions of a module, in camelCase, and whether they are public.

    Without handlers: Hono's have no names. PAIR-05 finds the routes of both to be the same.
    """
    return {
        camel_case(node.name): not node.name.startswith("_")
        for node in ast.parse(file.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if not any(ast.unparse(one).startswith("router.") for one in node.decorator_list)
    }


def node_functions(file: Path) -> dict[str, bool]:
    """The functions of a module and whether they are exported."""
    function = re.compile(r"^(export )?(?:async )?function\*? (\w+)", re.MULTILINE)
    return {name: export != "" for export, name in function.findall(file.read_text("utf-8"))}


@pytest.mark.clause("PAIR-01")
def test_both_sides_have_the_same_modules() -> None:
    assert sorted(modules(PYTHON, ".py")) == sorted(modules(NODE, ".ts"))


@pytest.mark.clause("PAIR-21")
@pytest.mark.parametrize("folder", ["http", "storage", "operation"])
def test_nothing_that_features_share_knows_one(folder: str) -> None:
    for directory, imports in (
        (PYTHON, r"python_api\.(?:auth|users)\b|from python_api import (?:auth|users)\b"),
        (NODE, r'"(?:\.\./)+(?:auth|users)/'),
    ):
        sources = [*(directory / folder).rglob("*.*s"), *(directory / folder).rglob("*.py")]
        assert sources
        for source in sources:
            assert not re.search(imports, source.read_text("utf-8")), source


@pytest.mark.clause("PAIR-02")
def test_every_public_function_has_a_twin() -> None:
    node = modules(NODE, ".ts")
    alone = set()
    for name, file in modules(PYTHON, ".py").items():
        if name.startswith("storage/migrations/"):
            continue  # the tools call them, each by its own name; OPS-13 compares what they make
        ours, theirs = python_functions(file), node_functions(node[name])
        for these, those in ((ours, theirs), (theirs, ours)):
            alone |= {
                f"{name}.{function}"
                for function, public in these.items()
                if public and function not in those
            }
    assert alone == set(ALONE)


# What comes of an environment: the settings, names in snake_case, or the line that ends the start.
READ_SETTINGS: dict[Kind, str] = {
    "python": """
import dataclasses, json, sys
from python_api.settings import SettingsError, read_settings

for environment in json.loads(sys.argv[1]):
    try:
        settings = dataclasses.asdict(read_settings(environment))
        for name in ("trusted_proxies", "webhooks_networks"):
            settings[name] = len(settings[name])
        print(json.dumps(settings))
    except SettingsError as error:
        print(json.dumps(str(error)))
""",
    "node": """
import { readSettings, SettingsError } from "./src/settings.ts";

for (const environment of JSON.parse(process.argv[1])) {
  let result;
  try {
    const entries = Object.entries(readSettings(environment));
    const snakeCase = (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    result = Object.fromEntries(entries.map(([name, value]) => [snakeCase(name), value]));
    for (const name of ["trusted_proxies", "webhooks_networks"]) {
      result[name] = result[name]?.rules.length ?? 0;
    }
  } catch (error) {
    if (!(error instanceof SettingsError)) throw error;
    result = error.message;
  }
  console.log(JSON.stringify(result));
}
""",
}

INTEGERS = [
    *["0", "1", "00", "01", "59", "60", "61", "65535", "65536", "31536000", "31536001"],
    *["-1", "+1", "1.0", "1e3", "0x1", "1_0", " 1", "1 ", "1\n", "\n", " ", "a", "٣", "1" * 30],
]
URLS = [
    *["sqlite:///users.db", "sqlite:////var/lib/users.db", "sqlite:///a b.db", "sqlite:///é.db"],
    *["sqlite:///", "sqlite://users.db", "sqlite:users.db", "sqlite://", "users.db", "/users.db"],
    *["SQLITE:///users.db", " sqlite:///users.db", "sqlite:///users.db\n", "sqlite:///a\nb"],
    *["mysql://localhost/users", "file:///users.db", "sqlite:///a?b"],
    *["postgresql://localhost/users", "postgresql://a:b@localhost:5432/users"],
    *["postgresql:///users", "postgresql:///users?host=/run", "postgresql://a@[::1]:5432/u"],
    *["postgresql://a:@localhost/u", "postgresql://a:%40%2F@db_1.example/u-1?sslmode=require"],
    *["postgres://localhost/users", "postgresql+asyncpg://localhost/users", "postgresql://"],
    *["postgresql://localhost", "postgresql://localhost/", "postgresql://a:b:c@localhost/u"],
    *["postgresql://@localhost/users", "postgresql://:b@localhost/users"],
    *["postgresql://a b@localhost/users", "postgresql://a%4@localhost/users"],
    *["postgresql://localhost/a b", "postgresql://localhost/users?a b", "postgresql://é/users"],
    *["postgresql://localhost:123456/users", "postgresql://localhost/users\n"],
    *[
        "sqlite:///:memory:",
        "sqlite:///a\r",
        "sqlite:///a\u2028b",
        "sqlite:///a%20b",
        "sqlite:///a#b",
    ],
]
ORIGINS = [
    *["https://a.example", "http://localhost:5173", "https://a,https://b", "https://a, https://b"],
    *[
        " https://a ",
        "https://a,,https://b",
        ",",
        "https://a,",
        "*",
        "null",
        "a.example",
        "https://",
    ],
    *[
        "https://a/",
        "https://a/b",
        "https://A",
        "HTTPS://a",
        "https://a:123456",
        "https://a:",
        "ftp://a",
    ],
    *["https://[::1]:80", "https://é", "https://a\thttps://b", "https://a\n", "https://a\u00a0"],
    *["https://user@a", "https://a?b", "https://a#b", "https://a_b", "\t", "https://a;https://b"],
]
HOSTS = ["0.0.0.0", "::1", "localhost", " ", "a b"]
INTEGER_SETTINGS = [
    *["PORT", "WEB_CONCURRENCY", "DATABASE_POOL_SIZE", "DATABASE_TIMEOUT"],
    *["DATABASE_STATEMENT_TIMEOUT", "IDEMPOTENCY_TTL", "REQUEST_TIMEOUT"],
    *["KEEP_ALIVE_TIMEOUT", "SHUTDOWN_TIMEOUT"],
    *["ARGON2_MEMORY", "ARGON2_ITERATIONS", "ARGON2_PARALLELISM"],
    *["AUTH_TOKEN_TTL", "LOGIN_FAILURES_PER_EMAIL", "LOGIN_FAILURES_PER_ADDRESS"],
    *["LOGIN_FAILURES_WINDOW", "REGISTRATIONS_PER_ADDRESS", "REGISTRATIONS_WINDOW", "HASH_QUEUE"],
    *["WEBHOOKS_TIMEOUT", "WEBHOOKS_RETRY"],
]
SECRETS = ["s" * 31, "s" * 32, "s" * 1024, "s" * 1025, "s" * 31 + " ", "s" * 31 + "\n", "\xe4" * 32]
WORDS = ["https://issuer.example/", "a b", "a" * 255, "a" * 256, "\xe4", "a\n"]
KEYS = [
    *["https://a.example/keys", "http://localhost:8080/", "http://[::1]:1/k?a=b", "http://a"],
    *["http://a:65535/", "http://a:65536/", "http://a:/", "ftp://a/", "http://", "a.example/keys"],
    *[
        "https://a b/",
        "https://u:p@a/",
        "HTTPS://a/",
        "https://a/\n",
        "https://a/\xe4",
        "https://[::g]/",
    ],
]
CERTIFICATES = ["/nowhere", "/", "/dev/null", "README.md", "pyproject.toml", " "]
PROXIES = [
    *[
        "10.0.0.1",
        "10.0.0.0/8",
        "10.0.0.1/8",
        "0.0.0.0/0",
        "10.0.0.1/32",
        "10.0.0.1/33",
        "10.0.0.1/",
    ],
    *[
        "::1",
        "fd00::/8",
        "FD00::1",
        "::/0",
        "::1/128",
        "::1/129",
        "::ffff:10.0.0.1",
        "fe80::1%eth0",
    ],
    *["10.0.0.1,::1", "10.0.0.1, ::1", " 10.0.0.1 ", "10.0.0.1,", ",", "x", "10.0.0", "010.0.0.1"],
    *["10.0.0.0/255.0.0.0", "10.0.0.256", "10.0.0.1/08", "10.0.0.1/-1", "gateway", "1"],
]
TIMES = [
    *["1,2", "01,002", "604800", "604801", "1,0", "1,", ",1", ",", "1,,2", "1, 2", "1;2", "1,2\n"],
    *[",".join(["1"] * count) for count in (20, 21)],
]
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"port": "1", "HOSTNAME": "a", "Port": "2"},
    *({name: ""} for name in ("HOST", "PORT", "DATABASE_URL", "CORS_ORIGINS", "IDEMPOTENCY_TTL")),
    *({name: value} for name in INTEGER_SETTINGS for value in INTEGERS),
    *({"DATABASE_URL": value} for value in URLS),
    *({"CORS_ORIGINS": value} for value in ORIGINS),
    *({"HOST": value} for value in HOSTS),
    *(
        {"AUTH": auth, "AUTH_SECRET": secret, "HOST": host}
        for auth in ["on", "off", "", "On", "true", "off "]
        for secret in ["", "s" * 32]
        for host in ["127.0.0.1", "127.1.2.3", "::1", "localhost", "0.0.0.0", "::", "127.0.0.1.x"]
    ),
    *({"AUTH_SECRET": value} for value in SECRETS),
    *({"AUTH_SECRET": "s" * 32, "AUTH_SECRET_PREVIOUS": value} for value in SECRETS),
    *({name: value} for name in ("AUTH_ISSUER", "AUTH_AUDIENCE") for value in WORDS),
    *({"AUTH_JWKS_URL": value} for value in KEYS),
    {"AUTH_JWKS_URL": KEYS[0], "AUTH_SECRET": "s" * 32},
    {"AUTH_JWKS_URL": KEYS[0], "AUTH": "off", "HOST": "0.0.0.0"},
    *({name: value} for name in ("AUTH_JWKS_CA", "WEBHOOKS_CA") for value in CERTIFICATES),
    *({"REGISTRATION": value} for value in ["open", "closed", "Closed", "shut"]),
    *(
        {"ADMIN_EMAIL": email, "ADMIN_PASSWORD": password}
        for email in ["", "a@b.example", "A@B.example", "a@b", "x"]
        for password in ["", "p" * 12, "p" * 11, "p" * 129, "\U0001f511" * 12]
    ),
    *({name: value} for name in ("TRUSTED_PROXIES", "WEBHOOKS_NETWORKS") for value in PROXIES),
    *({"WEBHOOKS_RETRY": value} for value in TIMES),
    *({"ARGON2_MEMORY": value} for value in ["7", "8", "1048576", "1048577", ""]),
    *(
        {"ARGON2_MEMORY": memory, "ARGON2_PARALLELISM": lanes}
        for memory, lanes in [("8", "1"), ("15", "2"), ("16", "2"), ("127", "16"), ("128", "16")]
    ),
    *({"ARGON2_ITERATIONS": value} for value in ["100", "101", "2"]),
    *({"ARGON2_PARALLELISM": value} for value in ["16", "17", "2"]),
    # The first that is wrong is named.
    {"ARGON2_MEMORY": "7", "ARGON2_PARALLELISM": "17", "ARGON2_ITERATIONS": "0"},
    {"ARGON2_MEMORY": "8", "ARGON2_PARALLELISM": "17", "ARGON2_ITERATIONS": "0"},
    {"PORT": "a", "DATABASE_URL": "a", "DATABASE_TIMEOUT": "a"},
    {"SHUTDOWN_TIMEOUT": "a", "CORS_ORIGINS": "a", "IDEMPOTENCY_TTL": "a"},
    {"DATABASE_TIMEOUT": "a", "DATABASE_URL": "a"},
]


def settings(kind: Kind, environments: list[dict[str, str]]) -> list[Any]:
    printed = services.run_code(READ_SETTINGS, kind, json.dumps(environments))
    return [json.loads(line) for line in printed.split("\n")[:-1]]


@pytest.mark.clause("PAIR-03", "OPS-02", "OPS-03")
def test_both_sides_read_the_same_settings() -> None:
    python, node = (settings(kind, ENVIRONMENTS) for kind in services.KINDS)
    assert (python[0]["port"], node[0]["port"]) == (8000, 3000)
    for environment, ours, theirs in zip(ENVIRONMENTS, python, node, strict=True):
        if isinstance(ours, dict) and isinstance(theirs, dict) and not environment.get("PORT"):
            assert ours.pop("port") == 8000
            assert theirs.pop("port") == 3000
        assert ours == theirs, environment
        if isinstance(ours, str):
            assert re.fullmatch(r"[A-Z0-9_]+ must be [^\n]+", ours)


IN_FILES = {
    "DATABASE_URL": "sqlite:///a b.db",
    "AUTH_SECRET": "s" * 32,
    "AUTH_SECRET_PREVIOUS": "t" * 32,
    "ADMIN_PASSWORD": "\U0001f511" * 12,
}


@pytest.mark.clause("OPS-55", "PAIR-03")
def test_both_sides_read_the_same_files(tmp_path: Path) -> None:
    def file(content: bytes) -> str:
        path = tmp_path / f"{len([*tmp_path.iterdir()])}"
        path.write_bytes(content)
        return str(path)

    admin = {"ADMIN_EMAIL": "a@b.example"}
    refused = {name: f"{name} must be empty where {name}_FILE is set" for name in IN_FILES}
    bad = {
        name: f"{name}_FILE must be a file that can be read and is not empty" for name in IN_FILES
    }
    cases: list[tuple[dict[str, str], dict[str, str] | str]] = []
    for name, value in IN_FILES.items():
        others = admin if name == "ADMIN_PASSWORD" else {}
        cases += [
            (others | {f"{name}_FILE": file(f"{value}{end}".encode())}, {name: value})
            for end in ("", "\n", "\r\n")
        ]
        here = file(value.encode())
        cases.append((others | {f"{name}_FILE": here, name: value}, refused[name]))
        cases.append((others | {f"{name}_FILE": "", name: value}, {name: value}))
        cases.append((others | {f"{name}_FILE": here, name: ""}, {name: value}))
        missing, folder = str(tmp_path / "none"), str(tmp_path)
        empty, line, latin = file(b""), file(b"\r\n"), file(b"\xe4" * 40)
        cases += [
            (others | {f"{name}_FILE": wrong}, bad[name])
            for wrong in (missing, folder, empty, line, latin, f"{here}/", f"{here}/.")
        ]
    # What is wrong in a file is wrong as in the environment.
    short = "AUTH_SECRET must be 32 or more visible ASCII characters"
    for content in (b"s" * 31, b"s" * 32 + b"\n\n", b"s" * 32 + b"\r", b"\xef\xbb\xbf" + b"s" * 32):
        cases.append(({"AUTH_SECRET_FILE": file(content)}, short))
    for kind in services.KINDS:
        found = settings(kind, [environment for environment, _ in cases])
        for (environment, expected), result in zip(cases, found, strict=True):
            if isinstance(expected, str):
                assert result == expected, environment
            else:
                assert isinstance(result, dict), (environment, result)
                ((name, value),) = expected.items()
                read = {"path": value.removeprefix("sqlite:///")} if "URL" in name else value
                assert result[name.lower()] == read, environment
    secured = {"AUTH": "on", "AUTH_SECRET_FILE": file(b"s" * 32), "HOST": "0.0.0.0"}
    assert [settings(kind, [secured])[0]["auth"] for kind in services.KINDS] == [True, True]


@pytest.mark.clause("PAIR-03")
def test_both_sides_read_the_same_variables() -> None:
    name = re.compile(r"[\"'](?:environment\.)?([A-Z][A-Z0-9_]+)[\"']")
    python, node = (
        set(name.findall(file.read_text("utf-8")))
        for file in (PYTHON / "settings.py", NODE / "settings.ts")
    )
    assert python == node
    assert python >= {"HOST", "PORT", "DATABASE_URL", "CORS_ORIGINS"}


@pytest.mark.clause("PAIR-03")
@pytest.mark.parametrize("kind", services.KINDS)
def test_nobody_else_reads_the_environment(kind: Kind) -> None:
    read, files = {
        "python": (r"\benviron\b(?!\[.*\] = )|\bgetenv\b", modules(PYTHON, ".py")),
        "node": (r"\bprocess\.env\b", modules(NODE, ".ts")),
    }[kind]
    readers = {name for name, file in files.items() if re.search(read, file.read_text("utf-8"))}
    assert readers <= {"environment", "settings"}
