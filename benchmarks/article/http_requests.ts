/** HTTP requests, one after the other: with fetch, or on a connection of one's own. */

import { once } from "node:events";
import { Agent, get } from "node:http";
import { json } from "node:stream/consumers";
import type { Case, Given } from "./case.ts";

type User = { id: number; name: string; email: string };

/**
 * The names of the users at the URL.
 *
 * fetch keeps connections alive by itself; but that of Node 24.19 waits a millisecond before it
 * uses one again (https://github.com/nodejs/undici/issues/5493).
 */
export async function names(url: string): Promise<string[]> {
  const response = await fetch(url);
  const users = (await response.json()) as User[];
  return users.map((user) => user.name);
}

export async function namesKeptAlive(agent: Agent, url: string): Promise<string[]> {
  const [response] = await once(get(url, { agent }), "response");
  const users = (await json(response)) as User[];
  return users.map((user) => user.name);
}

function target({ url, size }: Given): string {
  return `${url}/users?count=${size}`;
}

export const CASES: Record<string, Case> = {
  fetch: (given) => () => names(target(given)),
  "http.Agent": (given) => {
    const agent = given.stack.adopt(new Agent({ keepAlive: true }), (own) => own.destroy());
    return () => namesKeptAlive(agent, target(given));
  },
};
