/** Pages of the log: which events to list, and the link to the next page. */

import type { Context } from "hono";
import {
  checkParameters,
  DEFAULT_LIMIT,
  limitParameter,
  limitRule,
  namedValues,
  repeated,
} from "../http/pages.ts";
import { issue, Problem } from "../http/problems.ts";
import { type Env, type Reading, reader } from "../http/readers.ts";
import { integerRule, MAX_INTEGER, parseQuery, splitUrl } from "../http/requests.ts";

const SORTS = ["id", "-id"];
const DEFAULT_SORT = "id";

/** The log's parameters, as `hc` sends them. */
type EventPageParameters = { limit?: string; sort?: string; after?: string };

/** Which events to list. */
export type EventPage = Readonly<{
  limit: number;
  sort: string;
  /** The position behind which it begins, in the list's order. */
  after: number | null;
  /** Whether the newest come first. */
  descending: boolean;
}>;

/**
 * The page that the query asks for; unknown parameters are ignored. Throws validation.
 *
 * @clauses EVENT-07, EVENT-08, EVENT-09, EVENT-11, QUERY-09
 */
export function parseEventPage(parameters: readonly (readonly [string, string])[]): EventPage {
  const sent = namedValues(parameters, ["limit", "sort", "after"]);
  const limit = sent.limit[0] ?? String(DEFAULT_LIMIT);
  const sort = sent.sort[0] ?? DEFAULT_SORT;
  const after = sent.after[0] ?? null;
  checkParameters({
    limit: limitRule(limit),
    sort: SORTS.includes(sort) ? null : "malformed",
    after: after === null || after === "0" ? null : integerRule(after, MAX_INTEGER),
    ...repeated(sent),
  });
  return {
    limit: Number(limit),
    sort,
    after: after === null ? null : Number(after),
    descending: sort === "-id",
  };
}

/**
 * The page that the query asks for, as `page`. Throws malformed-query and validation.
 *
 * @clauses PROB-14, PROB-16, QUERY-01
 */
export const eventPageQuery: Reading<"page", EventPage, { query: EventPageParameters }> = reader(
  "page",
  (c: Context<Env>) => {
    const [, query] = splitUrl(c.req.url);
    return parseEventPage(parseQuery(query));
  },
  {
    parameters: [
      limitParameter("events"),
      {
        name: "sort",
        in: "query",
        description: "The oldest first, or with `-id` the newest.",
        schema: { type: "string", enum: SORTS, default: DEFAULT_SORT },
      },
      {
        name: "after",
        in: "query",
        description: "The position behind which the page begins, in its order.",
        schema: { type: "integer", minimum: 0, maximum: MAX_INTEGER },
      },
    ],
    "x-problems": [
      "malformed-query",
      new Problem("validation", [issue("parameter", "limit", "malformed")]),
    ],
  },
);

/** The `Link` (RFC 8288) to the page behind the position `last`. @clauses EVENT-10 */
export function nextLink(page: EventPage, last: number): string {
  return `</events?limit=${page.limit}&sort=${page.sort}&after=${last}>; rel="next"`;
}
