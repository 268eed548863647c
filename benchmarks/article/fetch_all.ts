/** Many HTTP requests at once, and what becomes of the others when one fails. */

import type { Case, Given } from "./case.ts";

const DELAY = 50;

export async function fetchJson(url: string, signal: AbortSignal | null = null): Promise<unknown> {
  const response = await fetch(url, { signal });
  if (!response.ok) {
    throw new Error(`${response.status} ${response.statusText}`);
  }
  return response.json();
}

/**
 * What the URLs answer, in their order.
 *
 * If one fails, this rejects at once; the others run on, and nobody looks at their answers.
 */
export function fetchAll(urls: readonly string[]): Promise<unknown[]> {
  return Promise.all(urls.map((url) => fetchJson(url)));
}

/** As `fetchAll`; but if one fails, the others are cancelled. */
export async function fetchAllOrNone(urls: readonly string[]): Promise<unknown[]> {
  const controller = new AbortController();
  try {
    return await Promise.all(urls.map((url) => fetchJson(url, controller.signal)));
  } finally {
    controller.abort();
  }
}

/** What made the answers fail. */
async function failures(answers: Promise<unknown>): Promise<string[]> {
  try {
    await answers;
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

function waiting({ url, size }: Given): string[] {
  return Array.from({ length: size }, (_, id) => `${url}/users?id=${id}&delay=${DELAY}`);
}

/** The first fails while the others still wait. */
function failing({ url, size }: Given): string[] {
  const others = Array.from({ length: size - 1 }, (_, id) => `${url}/users?id=${id}&delay=300`);
  return [`${url}/fail?delay=${DELAY}`, ...others];
}

export const CASES: Record<string, Case> = {
  "Promise.all": (given) => () => fetchAll(waiting(given)),
  "a failure, Promise.all": (given) => () => failures(fetchAll(failing(given))),
  "a failure, AbortController": (given) => () => failures(fetchAllOrNone(failing(given))),
};
