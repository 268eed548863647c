/** The server that requests are sent to; lives until its standard input ends. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";

const counts = { finished: 0, aborted: 0 };
const lists = new Map<number, string>();

/** The user of this number; the same each time. */
function user(id: number) {
  return { id, name: `Zoë ${id}`, email: `zoe.${id}@example.com` };
}

/** JSON of this many users, written once: a server must not be what is measured. */
function users(count: number): string {
  const list = lists.get(count) ?? JSON.stringify(Array.from({ length: count }, (_, n) => user(n)));
  lists.set(count, list);
  return list;
}

const server = createServer(async (request, response) => {
  const { pathname, searchParams } = new URL(request.url ?? "", "http://localhost");
  const number = (name: string) => Number(searchParams.get(name));
  response.setHeader("Content-Type", "application/json");
  if (pathname === "/counts") {
    response.end(JSON.stringify(counts));
    return;
  }
  response.once("close", () => {
    counts[response.writableFinished ? "finished" : "aborted"] += 1;
  });
  if (searchParams.has("delay")) {
    await sleep(number("delay"));
  }
  if (pathname === "/fail") {
    response.statusCode = 500;
    response.end("{}");
  } else if (searchParams.has("id")) {
    response.end(JSON.stringify(user(number("id"))));
  } else {
    response.end(users(number("count")));
  }
});

server.listen({ host: "127.0.0.1", port: 0, backlog: 2048 });
await once(server, "listening");
process.stdout.write(`http://127.0.0.1:${(server.address() as AddressInfo).port}\n`);
process.stdin.resume().once("end", () => process.exit());
