"""An application asked in process: no server, no socket, no HTTP on a wire.

Python's is asked through `httpx.ASGITransport`, TypeScript's through `app.request`, as each
community tests its own; a process of the service's language does it, and is told by lines of JSON.
"""

import base64
import json
from collections.abc import Mapping

from contract_tests.harness import services
from contract_tests.harness.client import Client
from contract_tests.harness.services import Kind
from contract_tests.harness.wire import Answer, Connection

ASKED: Mapping[Kind, str] = {
    "python": """
import asyncio, base64, json, sys
import httpx
from python_api.app import create_app
from python_api.storage.database import open_database
from python_api.settings import read_settings

async def main(url):
    settings = read_settings({"DATABASE_URL": url})
    async with open_database(settings) as database:
        transport = httpx.ASGITransport(create_app(settings, database))
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            request = httpx.Request(
                asked["method"],
                "http://localhost" + asked["target"],
                headers=[(name, value.encode("latin-1")) for name, value in asked["headers"]],
                content=base64.b64decode(asked["body"]),
            )
            answer = await transport.handle_async_request(request)
            await answer.aread()
            told = {
                "status": answer.status_code,
                "headers": [[n.decode(), v.decode("latin-1")] for n, v in answer.headers.raw],
                "body": base64.b64encode(answer.content).decode(),
            }
            print("answer " + json.dumps(told), flush=True)

asyncio.run(main(sys.argv[1]))
""",
    "node": """
import { createInterface } from "node:readline";
import { createApp } from "./src/app.ts";
import { openDatabase } from "./src/storage/database.ts";
import { readSettings } from "./src/settings.ts";

const settings = readSettings({ DATABASE_URL: process.argv[1] });
const database = await openDatabase(settings);
const app = createApp(settings, database);
for await (const line of createInterface({ input: process.stdin })) {
  const { method, target, headers, body } = JSON.parse(line);
  const sent = body === "" ? undefined : Buffer.from(body, "base64");
  const answer = await app.request(target, { method, headers, body: sent });
  const content = Buffer.from(await answer.arrayBuffer()).toString("base64");
  const told = { status: answer.status, headers: [...answer.headers], body: content };
  process.stdout.write(`answer ${JSON.stringify(told)}\\n`);
}
await database.close();
""",
}


class InProcess(Client):
    """The application of one side in a process that serves nothing."""

    def __init__(self, kind: Kind, database_url: str) -> None:
        super().__init__("http://localhost", f"{kind} in process")
        self._process = services.start_code(ASKED, kind, database_url)

    def connect(self, timeout: float = 5.0) -> Connection:  # noqa: ARG002 (none is needed)
        """What takes the bytes of requests, and gives the application's answers to them."""
        return _Line(self)

    def answer(self, method: str, target: str, headers: list[list[str]], body: bytes) -> Answer:
        """What the application answers."""
        assert self._process.stdin
        assert self._process.stdout
        asked = {"method": method, "target": target, "headers": headers}
        asked["body"] = base64.b64encode(body).decode()
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        for line in self._process.stdout:
            # The others are the log's.
            if line.startswith("answer "):
                told = json.loads(line.removeprefix("answer "))
                fields = [(name.lower(), value) for name, value in told["headers"]]
                return Answer(told["status"], fields, base64.b64decode(told["body"]))
        raise ConnectionError("The process has ended.")

    def close(self) -> None:
        """End the process."""
        super().close()
        self._process.communicate()


class _Line(Connection):
    """In place of a connection: requests as bytes, of which each is answered when it is read."""

    def __init__(self, target: InProcess) -> None:
        self._target = target
        self._waiting = b""
        self._received = b""

    def send(self, data: bytes) -> None:
        self._waiting += data

    def read(self, method: str = "GET") -> Answer:
        if not self._waiting:
            raise ConnectionError
        head, _, rest = self._waiting.partition(b"\r\n\r\n")
        line, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = line.split(" ")
        headers = []
        length = 0
        for field in lines:
            name, _, value = field.partition(":")
            if name.lower() == "content-length":
                length = int(value)
            headers.append([name, value.strip(" \t")])
        self._waiting = rest[length:]
        return self._target.answer(method, target, headers, rest[:length])

    def closed(self, *, ignore_rest: bool = False) -> bool:  # noqa: ARG002 (there is none)
        return True

    def close(self) -> None:
        pass
