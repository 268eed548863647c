/** JSON, parsed and written by the language itself. */

import type { Case } from "./case.ts";

export function parse(text: string): unknown {
  return JSON.parse(text);
}

export function write(value: unknown): string {
  return JSON.stringify(value);
}

export function users(count: number): unknown[] {
  return Array.from({ length: count }, (_, id) => ({
    id,
    name: `Zoë Ångström ${id}`,
    email: `zoe.${id}@example.com`,
    role: id % 10 === 0 ? "admin" : "member",
    score: id + 0.5,
    active: id % 3 !== 0,
    manager: null,
    tags: ["first", "second", "日本語"],
    created_at: "2025-01-31T12:00:00.000Z",
  }));
}

/** Arrays within objects, so many levels of each. */
export function nested(depth: number): unknown {
  let value: unknown = "the innermost";
  for (let level = 0; level < depth; level++) {
    value = { level, within: [value] };
  }
  return value;
}

export const CASES: Record<string, Case> = {
  "parse users": ({ size }) => {
    const text = write(users(size));
    return () => parse(text);
  },
  "write users": ({ size }) => {
    const value = users(size);
    return () => write(value);
  },
  "parse nested": ({ size }) => {
    const text = write(nested(size));
    return () => parse(text);
  },
  "write nested": ({ size }) => {
    const value = nested(size);
    return () => write(value);
  },
};
