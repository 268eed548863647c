/** Pages of the log: which events to list, and the link to the next page. */

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
import { integerRule, MAX_INTEGER, malformedHeader, readQuery } from "../http/requests.ts";

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
    limit: integerRule(limit, MAX_LIMIT),
    sort: SORTS.includes(sort) ? null : "malformed",
    after: after === null ? null : positionRule(after),
    ...repeated(sent),
  });
  return {
    limit: Number(limit),
    sort,
    after: after === null ? null : Number(after),
    descending: sort === "-id",
  };
}

/** The rule that a position breaks, if any. @clauses EVENT-09 */
export function positionRule(position: string): Rule | null {
  return position === "0" ? null : integerRule(position, MAX_INTEGER);
}

/** The parameter `after` in the OpenAPI document. */
export function afterParameter(description: string) {
  return {
    name: "after",
    in: "query" as const,
    description,
    schema: { type: "integer" as const, minimum: 0, maximum: MAX_INTEGER },
  };
}

/**
 * The page that the query asks for, as `page`. Throws malformed-query and validation.
 *
 * @clauses PROB-14, PROB-16, QUERY-01
 */
export const eventPageQuery: Reading<"page", EventPage, { query: EventPageParameters }> = reader(
  "page",
  (c: Context<Env>) => parseEventPage(readQuery(c.req)),
  {
    parameters: [
      limitParameter("events"),
      {
        name: "sort",
        in: "query",
        description: "The oldest first, or with `-id` the newest.",
        schema: { type: "string", enum: SORTS, default: DEFAULT_SORT },
      },
      afterParameter("The position behind which the page begins, in its order."),
    ],
    "x-problems": queryProblems("limit"),
  },
);

/**
 * The position behind which a stream begins, as `after`; null where it begins with what comes next.
 *
 * Throws malformed-header, malformed-query and validation.
 *
 * @clauses PROB-14, QUERY-01, STREAM-03
 */
export const streamStart: Reading<"after", number | null, { query: { after?: string } }> = reader(
  "after",
  (c: Context<Env>) => {
    const sentLast = c.req.header("last-event-id");
    if (sentLast !== undefined && positionRule(sentLast)) {
      throw malformedHeader("Last-Event-ID");
    }
    const sent = namedValues(readQuery(c.req), ["after"]);
    const after = sent.after[0] ?? null;
    checkParameters({ after: after === null ? null : positionRule(after), ...repeated(sent) });
    const start = sentLast ?? after;
    return start === null ? null : Number(start);
  },
  {
    parameters: [
      {
        name: "Last-Event-ID",
        in: "header",
        description: "The position that was reached, in place of `after`.",
        schema: { type: "string", pattern: "^(0|[1-9][0-9]*)$" },
        example: "41",
      },
      afterParameter("The position behind which the stream begins; else what comes next."),
    ],
    "x-problems": [malformedHeader("Last-Event-ID"), ...queryProblems("after")],
  },
);

/** The `Link` (RFC 8288) to the page behind the position `last`. @clauses EVENT-10 */
export function nextLink(page: EventPage, last: number): string {
  return `</events?limit=${page.limit}&sort=${page.sort}&after=${last}>; rel="next"`;
}
