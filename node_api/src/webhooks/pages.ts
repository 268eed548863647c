/** Pages of a webhook's deliveries: which to list, and the link to the next page. */

import type { Context } from "hono";
import { afterParameter, positionRule } from "../events/pages.ts";
import {
  checkParameters,
  DEFAULT_LIMIT,
  limitParameter,
  MAX_LIMIT,
  namedValues,
  queryProblems,
  repeated,
} from "../http/pages.ts";
import { type Env, type Reading, reader } from "../http/readers.ts";
import { integerRule, readQuery } from "../http/requests.ts";

/** The list's parameters, as `hc` sends them. */
type DeliveryPageParameters = { limit?: string; after?: string };

/** Which deliveries to list. */
export type DeliveryPage = Readonly<{
  limit: number;
  /** The position behind which it begins. */
  after: number;
}>;

/**
 * The page that the query asks for; unknown parameters are ignored. Throws validation.
 *
 * @clauses HOOK-19, QUERY-09
 */
export function parseDeliveryPage(
  parameters: readonly (readonly [string, string])[],
): DeliveryPage {
  const sent = namedValues(parameters, ["limit", "after"]);
  const limit = sent.limit[0] ?? String(DEFAULT_LIMIT);
  const after = sent.after[0] ?? "0";
  checkParameters({
    limit: integerRule(limit, MAX_LIMIT),
    after: positionRule(after),
    ...repeated(sent),
  });
  return { limit: Number(limit), after: Number(after) };
}

/**
 * The page that the query asks for, as `page`. Throws malformed-query and validation.
 *
 * @clauses PROB-14, PROB-16, QUERY-01
 */
export const deliveryPageQuery: Reading<"page", DeliveryPage, { query: DeliveryPageParameters }> =
  reader("page", (c: Context<Env>) => parseDeliveryPage(readQuery(c.req)), {
    parameters: [
      limitParameter("deliveries"),
      afterParameter("The position behind which the page begins."),
    ],
    "x-problems": queryProblems("limit"),
  });

/** The `Link` (RFC 8288) to the page behind the position `last`. @clauses HOOK-19 */
export function nextLink(webhookId: number, page: DeliveryPage, last: string): string {
  return `</webhooks/${webhookId}/deliveries?limit=${page.limit}&after=${last}>; rel="next"`;
}
