/** What an operator sees: request ids and the log, one JSON object a line. */

import { randomUUID } from "node:crypto";

const REQUEST_ID = /^[A-Za-z0-9._-]{1,128}$/;

/** The id of a request: the one in its `X-Request-Id`, when it is alone and valid, or a UUID. */
export function requestId(sent: readonly string[]): string {
  const [first] = sent;
  return first !== undefined && sent.length === 1 && REQUEST_ID.test(first) ? first : randomUUID();
}

/** A moment as RFC 3339 text with three fraction digits and `Z`. */
export function timestamp(moment: Date): string {
  return moment.toISOString();
}

/** Write one line to the log. */
export function log(level: string, message: string, fields: Record<string, string> = {}): void {
  const line = { time: timestamp(new Date()), level, message, ...fields };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
