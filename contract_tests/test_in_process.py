"""The applications without a server: asked in process, they answer what the served ones answer."""

import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from contract_tests.harness import clauses, differential, expect, services
from contract_tests.harness.client import Client
from contract_tests.harness.databases import sqlite_url
from contract_tests.harness.differential import Difference, Request, Seen
from contract_tests.harness.in_process import InProcess
from contract_tests.harness.services import Kind

PLACE = re.compile(rb"\{(?:%s|cursor [^{}]*)\}" % "|".join(differential.PLACES).encode())

# What an HTTP library can say as it stands: its URLs are percent-encoded, and have no dot segments
# (RFC 3986, 6.2.2); no field has a control character (RFC 9110, 5.5); `fetch` has no CONNECT, TRACE and
# TRACK, and no body of GET and HEAD.
TARGET = rb"(?:[A-Za-z0-9\-._~!$&()*+,;=:@/?]|%[0-9A-Fa-f]{2})*"
SAYABLE = re.compile(
    rb"(?!CONNECT |TRACE |TRACK )[A-Z-]+ /(?!/)%s HTTP/1\.1\r\n"
    rb"(?:[!#$%%&'*+.^_`|~0-9A-Za-z-]+:[\t -~\x80-\xff]*\r\n)*" % TARGET
)
DOT_SEGMENT = re.compile(rb"/(?:\.|%2[Ee]){1,2}[/? ]")
# Fields that are the connection's, and which the library or the server sets or reads.
CONNECTIONS = re.compile(
    rb"^(?:(?:proxy-)?connection|content-length|expect|host|te|trailer|transfer-encoding|upgrade):",
    re.IGNORECASE | re.MULTILINE,
)

# What only the server below can know, so that no application can answer for it: the clause, or all
# of a group, and why.
SERVERS = {
    "HTTP": "how requests are told apart on a connection, and which are refused before they are one",
    "HDR-04": "what such a refusal says",
    "HDR-09": "Content-Length: an application gives a body, and the server counts its bytes",
    "ROUTE-06": "a target that is no URL as it stands: a library encodes it",
    "ROUTE-07": "a library resolves dot segments itself",
    "ROUTE-08": "as ROUTE-06",
    "BODY-03": "chunks: an application is given a body",
    "BODY-04": "a client that still sends when it is answered",
    "BODY-06": "`fetch` has no body of GET and HEAD",
    "LIMIT-07": "who is at the other end of the connection",
}


def is_sayable(request: Request) -> bool:
    """Whether an HTTP library can say it."""
    head = PLACE.sub(b"1", request.head)
    bodiless = head.startswith((b"GET ", b"HEAD "))
    return not (
        request.exact
        or request.cut
        or request.half_closed
        or (bodiless and request.body is not None)
        or not SAYABLE.fullmatch(head)
        or DOT_SEGMENT.search(head.partition(b"\r\n")[0])
        or CONNECTIONS.search(head)
    )


@pytest.fixture(scope="module", params=services.KINDS)
def both(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[Client]]:
    """The application of one side, served and in process, each on a database of its own."""
    kind: Kind = request.param
    directory = tmp_path_factory.mktemp(f"in-process-{kind}")
    served = services.launch(kind, directory=directory)
    with closing(InProcess(kind, sqlite_url(directory / "in-process.db"))) as in_process:
        try:
            yield [served.api, in_process]
        finally:
            served.kill()


def without_length(seen: Seen) -> None:
    seen.fields = [(name, value) for name, value in seen.fields if name != "content-length"]


@pytest.mark.clause("PAIR-20")
@pytest.mark.parametrize("corpus", differential.kinds())
def test_in_process_as_over_a_socket(
    both: list[Client], corpus: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (length,) = (one for one in differential.NORMALISATIONS if "Content-Length" in one.what)
    of_the_server = replace(length, apply=without_length)
    monkeypatch.setattr(
        differential, "NORMALISATIONS", (*differential.NORMALISATIONS, of_the_server)
    )
    found = []
    for entry in differential.entries(corpus):
        if all(map(is_sayable, entry.steps)):
            try:
                differential.converse(both, entry.steps)
            except Difference as difference:
                found.append(f"{entry.place}\n{difference}")
    if found:
        pytest.fail("\n\n".join([f"{len(found)} differ", *found[:20]]), pytrace=False)


@pytest.mark.clause("PAIR-20")
def test_what_only_a_server_knows_is_named_by_clause() -> None:
    groups = {clause.rpartition("-")[0] for clause in clauses.clauses()}
    assert {*SERVERS} <= {*clauses.clauses(), *groups}


@pytest.mark.clause("PAIR-20")
def test_most_of_the_corpus_can_be_said_by_a_library() -> None:
    steps = [
        step
        for corpus in differential.kinds()
        for entry in differential.entries(corpus)
        if all(map(is_sayable, entry.steps))
        for step in entry.steps
    ]
    assert len(steps) >= 1500


# What an ASGI server may leave out of a scope, and what it sends beside requests.
BARE = """
import asyncio, sys
from fastapi.testclient import TestClient
from python_api.app import create_app
from python_api.storage.database import open_database
from python_api.settings import read_settings

class Bare:
    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        scope.pop("raw_path", None)
        await self.app(scope, receive, send)

async def main():
    async with open_database(read_settings({"DATABASE_URL": sys.argv[1]})) as database:
        with TestClient(Bare(create_app(read_settings({}), database))) as client:
            print([client.get(path).status_code for path in ("/users", "/users/1", "/nowhere")])
asyncio.run(main())
"""


@pytest.mark.clause("PAIR-20")
def test_a_server_may_send_lifespan_and_no_raw_path(tmp_path: Path) -> None:
    printed = services.run_code({"python": BARE}, "python", sqlite_url(tmp_path / "users.db"))
    assert "[200, 404, 404]" in printed


# What FastAPI's own people would try of the routes.
ROUTES = """
from fastapi import APIRouter, Response
from python_api.app import create_app
from python_api.http.readers import ReadingRoute
from python_api.settings import read_settings

app = create_app(read_settings({}), None)
print(app.url_path_for("get_user", id="7"))

async def nothing_reads_it(name: str) -> Response: ...
try:
    APIRouter(route_class=ReadingRoute).get("/x", openapi_extra={})(nothing_reads_it)
except TypeError as error:
    print(error)
"""


@pytest.mark.clause("PAIR-20")
def test_routes_have_names_and_parameters_a_reader() -> None:
    printed = services.run_code({"python": ROUTES}, "python")
    assert printed.splitlines() == ["/users/7", "nothing_reads_it: name needs one Reader"]


# The guide's snippets, each behind what it takes for granted.

GUIDE = (services.ROOT / "python_api" / "README.md").read_text("utf-8")
PYTHON = """
import asyncio, httpx, sys
from fastapi.testclient import TestClient
from python_api.app import create_app
from python_api.storage.database import open_database
from python_api.settings import read_settings

settings = read_settings({"DATABASE_URL": sys.argv[1]})
async def main():
"""
TYPESCRIPT = """
import { hc } from "hono/client";
import { type App, createApp } from "./src/app.ts";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const settings = readSettings({ DATABASE_URL: process.argv[2] ?? "" });
"""


def with_ada(kind: Kind, folder: Path) -> str:
    """The URL of a database with one user, Ada."""
    url = sqlite_url(folder / "users.db")
    with closing(InProcess(kind, url)) as app:
        fields, body = (
            [["Content-Type", "application/json"]],
            expect.render(expect.somebody() | {"name": "Ada"}),
        )
        assert app.answer("POST", "/users", fields, body).status == 201
    return url


@pytest.mark.clause("PAIR-20", "PAIR-15")
def test_python_snippets_print_the_users(tmp_path: Path) -> None:
    url = with_ada("python", tmp_path)
    snippets = re.findall(r"```py\n(.*?)```", GUIDE, re.DOTALL)
    assert len(snippets) == 2
    for snippet in snippets:
        code = f"{PYTHON}{textwrap.indent(snippet, '    ')}asyncio.run(main())"
        assert "'name': 'Ada'" in services.run_code({"python": code}, "python", url)


@pytest.fixture
def node_folder(tmp_path: Path) -> Path:
    """A folder that a script can be in as if it were in `node_api`."""
    for name in ("node_modules", "src", "package.json"):
        (tmp_path / name).symlink_to(services.ROOT / "node_api" / name)
    return tmp_path


def compiled(folder: Path, code: str) -> str:
    """What TypeScript's compiler complains of."""
    (folder / "snippet.ts").write_text(code, "utf-8")
    config = {
        "extends": str(services.ROOT / "node_api" / "tsconfig.json"),
        "compilerOptions": {"preserveSymlinks": True, "noUnusedLocals": False},
        "include": ["snippet.ts"],
    }
    (folder / "tsconfig.json").write_text(json.dumps(config), "utf-8")
    tsc = [services.node(), "node_modules/typescript/bin/tsc", "--project", "tsconfig.json"]
    return subprocess.run(tsc, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.clause("PAIR-20", "PAIR-15")
def test_typescript_snippets_compile_and_print_the_users(node_folder: Path) -> None:
    url = with_ada("node", node_folder)
    snippets = re.findall(r"```ts\n(.*?)```", GUIDE, re.DOTALL)
    assert len(snippets) == 2
    for snippet, expected in zip(snippets, ("name: 'Ada'", "\nAda\n"), strict=True):
        code = TYPESCRIPT + snippet
        assert compiled(node_folder, code) == ""
        run = [services.node(), "--preserve-symlinks-main", "snippet.ts", url]
        printed = subprocess.run(
            run, cwd=node_folder, capture_output=True, text=True, check=True
        ).stdout
        assert expected in f"\n{printed}"


# What there is for the typed client, what it may send, and what its compiler has to complain of.
SENDS = """
const client = hc<App>("http://localhost");
const ada = { name: "Ada", email: "ada@example.com" };
const one = { param: { id: "1" } };
await client.users.$post({ json: ada, header: { "Idempotency-Key": "one" } });
await client.users.$get({ query: { limit: "5" } });
await client.users[":id"].$get({ ...one, header: { "If-None-Match": "*" } });
await client.users[":id"].$put({ ...one, json: ada, header: { "If-Match": "*" } });
await client.users[":id"].$patch({ ...one, json: { password: null }, header: {} });
await client.users[":id"].$delete({ ...one, header: {} });
const form = { grant_type: "password" as const, username: ada.email, password: ada.name };
await client.auth.token.$post({ form });
// @ts-expect-error: a name is a text
await client.users.$post({ json: { ...ada, name: 5 }, header: {} });
// @ts-expect-error: an email is needed
await client.users[":id"].$put({ ...one, json: { name: "Ada" }, header: {} });
// @ts-expect-error: there is no such parameter
await client.users.$get({ query: { size: "5" } });
// @ts-expect-error: a GET looks at If-None-Match
await client.users[":id"].$get({ ...one, header: { "If-Match": "*" } });
for (const user of await (await client.users.$get({ query: {} })).json()) {
  // @ts-expect-error: a user has no such member
  user.nome;
}
// @ts-expect-error: there is no such path
client.user;
// @ts-expect-error: the path has no such method
client.users.$put;
"""


@pytest.mark.clause("PAIR-20")
def test_the_typed_client_knows_what_there_is_and_what_is_sent(node_folder: Path) -> None:
    assert compiled(node_folder, TYPESCRIPT + SENDS) == ""


# A body without end, clients that have gone before theirs was read, bodies that were read before.
NO_END = """
import { Hono } from "hono";
import { createApp } from "./src/app.ts";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const settings = readSettings({ DATABASE_URL: process.argv[1] });
const database = await openDatabase(settings);
const app = createApp(settings, database);
const chunk = new Uint8Array(4096);
const endless = () => new ReadableStream({ pull: (controller) => controller.enqueue(chunk) });
const gone = () => new ReadableStream({ pull: (controller) => controller.error(new Error("gone")) });
const headers = { "Content-Type": "application/json" };
const ask = (method, target, body) =>
  app.request(target, { method, headers, body, duplex: "half" });
const refused = await ask("POST", "/users", endless());
console.log("answer", refused.status, (await refused.json()).type);
await ask("POST", "/users", gone());
await ask("DELETE", "/users/1", gone());
console.log("kept", (await (await app.request("/users")).json()).length);
const read = new Request("http://localhost/users/1", { method: "DELETE", body: "ignored" });
await read.text();
console.log("deleted", (await app.request(read)).status);
const outer = new Hono().use(async (c, next) => {
  await c.req.text();
  await next();
});
const body = JSON.stringify({ name: "Ada", email: "ada@example.org" });
const created = await outer.route("/", app).request("/users", { method: "POST", headers, body });
console.log("created", created.status);
console.log("listed", (await (await app.request("/users?limit=1#top")).json()).length);
await database.close();
"""


@pytest.mark.clause("PAIR-20", "BODY-01", "HTTP-26", "LIMIT-11")
def test_no_body_is_read_without_end(tmp_path: Path) -> None:
    url = with_ada("node", tmp_path)
    printed = services.run_code({"node": NO_END}, "node", url)
    assert "answer 413 /problems/body-too-large" in printed
    assert "kept 1" in printed
    assert "deleted 204" in printed
    assert "created 201" in printed
    assert "listed 1" in printed
    assert "request failed" not in printed
