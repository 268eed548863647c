/** What comes in and goes out: a webhook, and its deliveries as clients see them. */

import { z } from "zod";
import { TYPES } from "../events/schemas.ts";
import type { Rule } from "../http/problems.ts";
import { codePoints, TIMESTAMP } from "../users/schemas.ts";
import { parseUrl } from "./endpoints.ts";

// In code points.
const MAX_URL = 2000;
const NATURAL = /^[1-9][0-9]*$/;
// 32 bytes, as Standard Webhooks has them (HOOK-02).
const SECRET = /^whsec_[A-Za-z0-9+/]{43}=$/;
// A status, or why there was none (HOOK-13).
const OUTCOME = /^([1-9][0-9]{2}|timeout|forbidden-address|unreachable)$/;

const URL_SCHEMA = {
  type: "string",
  maxLength: MAX_URL,
  pattern: "^https?://",
  description:
    "`https` and a public address, but for what the service's settings allow; " +
    "no user and no fragment.",
  examples: ["https://example.com/hooks/users"],
} as const;
const TYPES_SCHEMA = {
  type: "array",
  minItems: 1,
  uniqueItems: true,
  items: { type: "string", enum: TYPES },
  description: "Without it, all of them.",
} as const;

/** The rule that a URL breaks, if any. @clauses HOOK-03, HOOK-04 */
function urlRule(value: unknown): Rule | null {
  if (typeof value !== "string") {
    return value === undefined ? "missing" : "wrong-type";
  }
  if (codePoints(value) > MAX_URL) {
    return "too-long";
  }
  return parseUrl(value) ? null : "malformed";
}

/** The rule that types of events break, if any. @clauses HOOK-05 */
function typesRule(value: unknown): Rule | null {
  if (!(Array.isArray(value) && value.every((each) => typeof each === "string"))) {
    return "wrong-type";
  }
  const isEachOnce = value.length > 0 && new Set(value).size === value.length;
  const names: readonly string[] = TYPES;
  return isEachOnce && value.every((each) => names.includes(each)) ? null : "malformed";
}

/** A member that `rule` alone judges: zod would tell of each entry of an array. */
function field<Value>(rule: (value: unknown) => Rule | null, schema: Record<string, unknown>) {
  const judged = z
    .unknown()
    .check((payload) => {
      const broken = rule(payload.value);
      if (broken) {
        payload.issues.push({ code: "custom", message: broken, input: payload.value });
      }
    })
    .meta(schema);
  return judged as unknown as z.ZodType<Value, Value>;
}

/** The body of a creation. @clauses HOOK-03 */
export const NewWebhook = z.strictObject({
  url: field<string>(urlRule, URL_SCHEMA),
  types: field<(typeof TYPES)[number][]>(typesRule, TYPES_SCHEMA).optional(),
});
export type NewWebhook = z.infer<typeof NewWebhook>;

const moment = z.string().regex(TIMESTAMP);

/** A webhook as clients see it; its members stand in this order. @clauses HOOK-01, HOOK-07 */
export const Webhook = z.strictObject({
  id: z.int().min(1),
  url: z.string(),
  types: z.array(z.enum(TYPES)),
  created_at: moment,
  ended_at: moment.nullable(),
});
export type Webhook = z.infer<typeof Webhook>;

/** A webhook as it is shown once, to whoever creates it. @clauses HOOK-01 */
export const CreatedWebhook = Webhook.extend({
  secret: z.string().regex(SECRET),
});
export type CreatedWebhook = z.infer<typeof CreatedWebhook>;

/** What is still to be done to have an event at an endpoint. @clauses HOOK-20 */
export const Delivery = z.strictObject({
  /** The event's position. */
  event: z.string().regex(NATURAL),
  status: z.enum(["waiting", "dead"]),
  attempts: z.int().min(0),
  outcome: z.string().regex(OUTCOME).nullable(),
  due_at: moment.nullable(),
});
export type Delivery = z.infer<typeof Delivery>;
