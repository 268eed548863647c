/**
 * Pages of the list: its parameters, the cursor, and the link to the next page.
 *
 * Pages are by key, not by offset: a page begins after the last user of the one before it, so a
 * user that doesn't change is seen exactly once, whatever is created or deleted in between.
 */

import type { Context } from "hono";
import {
  checkParameters,
  DEFAULT_LIMIT,
  limitParameter,
  MAX_LIMIT,
  namedValues,
  queryProblems,
  repeated,
} from "../http/pages.ts";
import type { Rule } from "../http/problems.ts";
import { type Env, type Reading, reader } from "../http/readers.ts";
import {
  integerRule,
  MAX_INTEGER,
  percentEncode,
  readQuery,
  trim,
  UTF_8,
} from "../http/requests.ts";
import { timestamp } from "../operation/observability.ts";
import {
  codePoints,
  FORBIDDEN,
  MAX_EMAIL,
  TEXT_PATTERN,
  TRIMMED,
  textRule,
  type User,
} from "./schemas.ts";

export const SORTS = ["id", "name", "email", "created_at"] as const;
const DEFAULT_SORT = "id";

const MINUS = /^-/;

/** Where a page ends: the list's order and search text, and the last user's place in it. */
export type Cursor = Readonly<{
  sort: string;
  q: string | null;
  /** The user's value of the column that the list is sorted by. */
  key: string | number;
  id: number;
}>;

/** The list's parameters, as `hc` sends them. */
type PageParameters = { limit?: string; sort?: string; q?: string; cursor?: string };

/** Which users to list. */
export type Page = Readonly<{
  limit: number;
  sort: string;
  /** The column that the list is sorted by. */
  column: (typeof SORTS)[number];
  /** Whether it goes from high to low; ties go by ascending id all the same. */
  descending: boolean;
  q: string | null;
  after: Cursor | null;
}>;

function column(sort: string): string {
  return sort.replace(MINUS, "");
}

/**
 * The page that the query asks for; unknown parameters are ignored. Throws validation.
 *
 * @clauses QUERY-09, USR-LIST-03, USR-LIST-04, USR-LIST-05, USR-LIST-06, USR-LIST-09, USR-LIST-14,
 * USR-LIST-15, USR-LIST-20
 */
export function parsePage(parameters: readonly (readonly [string, string])[]): Page {
  const sent = namedValues(parameters, ["limit", "sort", "q", "cursor"]);
  const limit = sent.limit[0] ?? String(DEFAULT_LIMIT);
  const sort = sent.sort[0] ?? DEFAULT_SORT;
  const q = sent.q[0] === undefined ? null : trim(sent.q[0], TRIMMED);
  const after = sent.cursor[0] === undefined ? null : decodeCursor(sent.cursor[0]);

  const rules: Record<keyof typeof sent, Rule | null> = {
    limit: integerRule(limit, MAX_LIMIT),
    sort: SORTS.some((name) => name === column(sort)) ? null : "malformed",
    q: q === null ? null : textRule(q),
    cursor: sent.cursor.length > 0 && !after ? "malformed" : null,
    ...repeated(sent),
  };
  // A cursor belongs to the list that it was made for (CURSOR-05, CURSOR-06, CURSOR-07, CURSOR-11).
  if (after && !rules.sort && !rules.q && (after.sort !== sort || after.q !== q)) {
    rules.cursor = "malformed";
  }
  checkParameters(rules);
  return {
    limit: Number(limit),
    sort,
    column: column(sort) as Page["column"],
    descending: sort.startsWith("-"),
    q,
    after,
  };
}

/**
 * The page that the query asks for, as `page`. Throws malformed-query and validation.
 *
 * @clauses PROB-14, PROB-16, QUERY-01
 */
export const pageQuery: Reading<"page", Page, { query: PageParameters }> = reader(
  "page",
  (c: Context<Env>) => parsePage(readQuery(c.req)),
  {
    parameters: [
      limitParameter("users"),
      {
        name: "sort",
        in: "query",
        description: "The order, `-` for descending; text by code point, ties by ascending id.",
        schema: {
          type: "string",
          enum: [...SORTS, ...SORTS.map((sort) => `-${sort}`)],
          default: DEFAULT_SORT,
        },
      },
      {
        name: "q",
        in: "query",
        description: "Only users whose name or email contains this, compared in lower case.",
        schema: { type: "string", pattern: TEXT_PATTERN },
        example: "ada",
      },
      {
        name: "cursor",
        in: "query",
        description: "Where the page begins: opaque, from the `Link` of the page before.",
        schema: { type: "string", pattern: "^[A-Za-z0-9_-]+$" },
      },
    ],
    "x-problems": queryProblems("limit"),
  },
);

/**
 * The `Link` (RFC 8288) to the page after the one that ends with the user `last`.
 *
 * @clauses CURSOR-01, USR-LIST-16, USR-LIST-17
 */
export function nextLink(page: Page, last: User): string {
  const cursor = { sort: page.sort, q: page.q, key: last[page.column], id: last.id };
  const parameters = Object.entries({
    limit: String(page.limit),
    sort: page.sort,
    ...(page.q !== null && { q: page.q }),
    cursor: encodeCursor(cursor),
  });
  const query = parameters.map(([name, value]) => `${name}=${percentEncode(value)}`).join("&");
  return `</users?${query}>; rel="next"`;
}

/** The cursor as it is given out: JSON in base64url. @clauses CURSOR-01 */
function encodeCursor({ sort, q, key, id }: Cursor): string {
  return Buffer.from(JSON.stringify([sort, q, key, id])).toString("base64url");
}

/**
 * The cursor; null if it isn't, to the letter, one that could have been given out.
 *
 * @clauses CURSOR-02, CURSOR-08, CURSOR-09
 */
function decodeCursor(text: string): Cursor | null {
  try {
    const value: unknown = JSON.parse(UTF_8.decode(Buffer.from(text, "base64url")));
    if (!Array.isArray(value) || value.length !== 4) {
      return null;
    }
    const [sort, q, key, id] = value;
    const cursor = { sort, q, key, id };
    return isPlace(cursor) && encodeCursor(cursor) === text ? cursor : null;
  } catch {
    return null;
  }
}

const KEYS = new Map([
  ["id", isId],
  ["created_at", isMoment],
]);

/** Whether there could be a user at this place of the list. @clauses CURSOR-10 */
function isPlace(cursor: Record<keyof Cursor, unknown>): cursor is Cursor {
  const { sort, q, key, id } = cursor;
  // JSON.stringify would give an unpaired surrogate back, as the escape that it came as.
  const words = [sort, q ?? ""];
  if (!words.every((word) => typeof word === "string" && word.isWellFormed())) {
    return false;
  }
  const isKey = KEYS.get(column(String(sort))) ?? isText;
  return isKey(key) && isId(id);
}

function isId(value: unknown): boolean {
  return Number.isInteger(value) && Number(value) >= 1 && Number(value) <= MAX_INTEGER;
}

/**
 * Whether it is a timestamp as users have them, of a day that there is from the year 1 on.
 *
 * @clauses CURSOR-10
 */
function isMoment(value: unknown): boolean {
  const moment = new Date(typeof value === "string" ? value : Number.NaN);
  return !Number.isNaN(moment.getTime()) && timestamp(moment) === value && value >= "0001";
}

/** Whether it is what a name or an email could be. @clauses CURSOR-10 */
function isText(value: unknown): boolean {
  return typeof value === "string" && codePoints(value) <= MAX_EMAIL && !FORBIDDEN.test(value);
}
