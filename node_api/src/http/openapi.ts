/**
 * The OpenAPI document (3.1): made from the routes that the application serves.
 *
 * A route brings its operation along; what several operations share stands here.
 */

import type { Env, Hono, MiddlewareHandler } from "hono";
import { type DescribeRouteOptions, describeRoute, generateSpecs } from "hono-openapi";
import { z } from "zod";
import { REQUEST_ID } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import { CATALOGUE, type Code, MAX_ERRORS, Problem, RULES } from "./problems.ts";
import { ACCEPT_PATCH } from "./requests.ts";

const INFO = {
  title: "Users",
  version: "1.0.0",
  description:
    "A users service of two implementations that no client can tell apart. " +
    "`HEAD` works wherever `GET` does, `OPTIONS` tells the methods of a path.",
};

const HEADERS = {
  "Accept-Patch": {
    description: "The media types of a `PATCH` (RFC 5789, 3.1).",
    required: true,
    schema: { type: "string", enum: [ACCEPT_PATCH] },
  },
  "Cache-Control": {
    description: "`no-cache` with an `ETag`, else `no-store`.",
    required: true,
    schema: { type: "string", enum: ["no-cache", "no-store"] },
  },
  ETag: {
    description: "The user's version, quoted (RFC 9110, 8.8.3).",
    required: true,
    schema: { type: "string", pattern: '^"[1-9][0-9]*"$' },
    example: '"1"',
  },
  "Idempotency-Replayed": {
    description: "There when an earlier answer to the same `Idempotency-Key` is given again.",
    schema: { type: "string", enum: ["true"] },
  },
  Link: {
    description: 'The next page, with `rel="next"` (RFC 8288); absent on the last one.',
    schema: { type: "string" },
    example: '</users?limit=2&sort=id&cursor=WyJpZCIsbnVsbCwyLDJd>; rel="next"',
  },
  Location: {
    description: "The path of what was created.",
    required: true,
    schema: { type: "string", pattern: "^/(users|webhooks)/[1-9][0-9]*$" },
    example: "/users/1",
  },
  "Retry-After": {
    description: "Seconds to wait before another try.",
    required: true,
    schema: { type: "string", pattern: "^[1-9][0-9]*$" },
    example: "1",
  },
  "Sec-WebSocket-Version": {
    description: "The version of the protocol (RFC 6455, 4.4).",
    required: true,
    schema: { type: "string", enum: ["13"] },
  },
  Upgrade: {
    description: "The protocol to ask for (RFC 9110, 15.5.22).",
    required: true,
    schema: { type: "string", enum: ["websocket"] },
  },
  "WWW-Authenticate": {
    description: "What is asked for, and what is wrong with what was sent (RFC 6750, 3).",
    required: true,
    schema: { type: "string", pattern: '^Bearer realm="users"' },
    example: 'Bearer realm="users", error="invalid_token"',
  },
  "X-Accel-Buffering": {
    description: "Has a gateway pass on at once what comes.",
    required: true,
    schema: { type: "string", enum: ["no"] },
  },
  "X-Content-Type-Options": {
    description: "The body is what its Content-Type says.",
    required: true,
    schema: { type: "string", enum: ["nosniff"] },
  },
  "X-Request-Id": {
    description: "The request's own `X-Request-Id`, if it was valid, or a new UUID.",
    required: true,
    schema: { type: "string", pattern: REQUEST_ID.source },
    example: "3f0e7c1a-6a55-4c39-9d4b-0d6b1f8f3c52",
  },
} as const;
type HeaderName = keyof typeof HEADERS;
const COMMON = ["Cache-Control", "X-Content-Type-Options", "X-Request-Id"] as const;

const SENT_REQUEST_ID = {
  name: "X-Request-Id",
  in: "header" as const,
  description: "Given back with the answer, if it is 1 to 128 of `A-Za-z0-9._-`.",
  schema: { type: "string" as const },
  example: "3f0e7c1a-6a55-4c39-9d4b-0d6b1f8f3c52",
};

const BEARER = {
  type: "http" as const,
  scheme: "bearer",
  bearerFormat: "JWT",
  description: "A token of `POST /auth/token`, or of the provider that gives them in its place.",
};
// Of an operation that needs a token, and of one that may have one.
export const SECURED = [{ bearer: [] }];
export const OPTIONAL = [{}, { bearer: [] }];

const CODES = Object.keys(CATALOGUE) as Code[];

// biome-ignore lint/suspicious/noExplicitAny: as JSON, it is of no type of ours
type Json = any;

const PROBLEM_SCHEMA = {
  type: "object",
  description: "A problem (RFC 9457).",
  properties: {
    type: { type: "string", enum: CODES.map((code) => `/problems/${code}`) },
    title: { type: "string" },
    status: { type: "integer" },
    detail: { type: "string" },
    errors: {
      type: "array",
      maxItems: MAX_ERRORS,
      items: { $ref: "#/components/schemas/Error" },
    },
  },
  required: ["type", "title", "status", "detail"],
  additionalProperties: false,
};
const ERROR_SCHEMA = {
  type: "object",
  description: "One broken rule: at a member (pointer), a parameter or a header field.",
  properties: {
    pointer: { type: "string" },
    parameter: { type: "string" },
    header: { type: "string" },
    code: { type: "string", enum: Object.keys(RULES) },
    detail: { type: "string" },
  },
  required: ["code", "detail"],
  additionalProperties: false,
};
const STATUS_SCHEMA = {
  type: "object",
  properties: { status: { type: "string", enum: ["ok"] } },
  required: ["status"],
  additionalProperties: false,
};

// Problems that any request may be answered with.
const ALWAYS: readonly Code[] = ["bad-request", "headers-too-large", "internal"];

/** A part of an OpenAPI operation; `x-problems` become responses. */
export type Piece = DescribeRouteOptions & { "x-problems"?: readonly (Code | Problem)[] };
type Described = Extract<
  NonNullable<DescribeRouteOptions["responses"]>[string],
  { description: string }
>;

/** The model's JSON Schema. @clauses DOC-02 */
export function modelSchema(model: z.ZodType): object {
  const { $schema, ...schema } = z.toJSONSchema(model, { io: "input" });
  return schema;
}

/** The header fields of a response: those of every response, and those named. */
export function headers(...names: HeaderName[]): Record<string, { $ref: string }> {
  return Object.fromEntries(
    [...COMMON, ...names].map((name) => [name, { $ref: `#/components/headers/${name}` }]),
  );
}

/** The content of a body, by default JSON: its schema and an example. */
export function content<Schema extends object>(
  schema: Schema,
  example: unknown,
  ...mediaTypes: string[]
): Record<string, { schema: Schema; example: unknown }> {
  const names = mediaTypes.length > 0 ? mediaTypes.sort() : ["application/json"];
  return Object.fromEntries(names.map((name) => [name, { schema, example }]));
}

/**
 * The responses, by status, that tell of these problems or of those that are always possible.
 *
 * A problem is given by its code, or with issues for the example and with header fields.
 *
 * @clauses DOC-04
 */
function problems(possible: readonly (Code | Problem)[]): Record<string, Described> {
  const responses: Record<string, Described> = {};
  const given = [...ALWAYS, ...possible].map((each) =>
    each instanceof Problem ? each : new Problem(each),
  );
  const byCode = new Map(given.map((problem) => [problem.code, problem]));
  for (const problem of CODES.flatMap((code) => byCode.get(code) ?? [])) {
    const { code, issues } = problem;
    const [status, title, detail] = CATALOGUE[code];
    const before = responses[status];
    const examples = before?.content?.["application/problem+json"]?.examples;
    const errors = issues.length > 0 ? { errors: issues } : {};
    const example = { type: `/problems/${code}`, title, status, detail, ...errors };
    const fields = headers(...(Object.keys(problem.headers) as HeaderName[]));
    const others = before?.headers ?? fields;
    responses[status] = {
      description: "A problem.",
      // Those that all of them have.
      headers: Object.fromEntries(Object.entries(fields).filter(([name]) => name in others)),
      content: {
        "application/problem+json": {
          schema: { $ref: "#/components/schemas/Problem" },
          examples: { ...examples, [code]: { summary: title, value: example } },
        },
      },
    };
  }
  return responses;
}

/** Describes what no reader of the chain says of the operation. @clauses DOC-05 */
export function describe(operation: Piece): MiddlewareHandler {
  return describeRoute({
    ...operation,
    parameters: [...(operation.parameters ?? []), SENT_REQUEST_ID],
  });
}

/**
 * The document of the routes that `app` serves now, with the features' `schemas`.
 *
 * @clauses DOC-02, DOC-03, DOC-05
 */
export async function openapiDocument<E extends Env>(
  app: Hono<E>,
  schemas: Record<string, object>,
): Promise<object> {
  const document = await generateSpecs(app, { documentation: { openapi: "3.1.0", info: INFO } });
  for (const described of Object.values<Json>(document.paths).flatMap(Object.values<Json>)) {
    described.responses = withProblems(described.responses, described["x-problems"] ?? []);
    delete described["x-problems"];
  }
  const shared = { Error: ERROR_SCHEMA, Problem: PROBLEM_SCHEMA, Status: STATUS_SCHEMA };
  return {
    ...document,
    components: {
      schemas: { ...shared, ...schemas },
      headers: HEADERS,
      securitySchemes: { bearer: BEARER },
    },
  };
}

/** The responses, joined with those that tell of these problems. */
function withProblems(
  responses: Record<string, Described>,
  possible: readonly (Code | Problem)[],
): Record<string, Described> {
  const all = problems(possible);
  for (const [status, response] of Object.entries(responses)) {
    // One that isn't a problem, beside those that are.
    const both = { ...response.content, ...all[status]?.content };
    all[status] = { ...all[status], ...response, ...(response.content && { content: both }) };
  }
  return all;
}

/**
 * The document without what only a service of other settings answers or asks for.
 *
 * @clauses AUTH-15, DOC-11, DOC-12, RIGHT-09
 */
export function asItRuns(document: object, settings: Settings): object {
  // The routes' own descriptions are in it, and they stay as they are.
  const copy: Json = structuredClone(document);
  const ofProvider = settings.auth && settings.authJwksUrl !== "";
  const ofTokens: Code[] = ["unauthorized", "forbidden", "too-many-registrations"];
  const leftOut: Code[] = settings.auth ? [] : ofTokens;
  leftOut.push(...(ofProvider ? [] : (["provider-unavailable"] as const)));
  for (const methods of Object.values<Json>(copy.paths)) {
    for (const described of Object.values<Json>(methods)) {
      leaveOut(described.responses, leftOut);
      if (!settings.auth) {
        delete described.security;
        leaveOutMe(described.parameters ?? []);
      }
    }
  }
  if (!settings.auth) {
    delete copy.components.securitySchemes;
    delete copy.components.headers["WWW-Authenticate"];
  } else if (!settings.registration) {
    copy.paths["/users"].post.security = SECURED;
  }
  if (ofProvider || !settings.auth) {
    const described = copy.paths["/auth/token"].post;
    described.description = "This service gives no tokens.";
    leaveOut(described.responses, ["too-many-failures", "unavailable", "overloaded"]);
    delete described.responses["200"];
  }
  return copy;
}

/** Without these problems, and the responses that tell of nothing else. */
function leaveOut(responses: Json, codes: readonly Code[]): void {
  for (const [status, response] of Object.entries<Json>(responses)) {
    const examples = response.content?.["application/problem+json"]?.examples ?? {};
    for (const code of codes.filter((one) => one in examples)) {
      delete examples[code];
      if (Object.keys(examples).length === 0) {
        delete responses[status];
      }
    }
  }
}

/** Without `me` for an id: there is no caller (AUTH-16). */
function leaveOutMe(parameters: Json[]): void {
  for (const parameter of parameters) {
    if (parameter.schema.anyOf) {
      [parameter.schema] = parameter.schema.anyOf;
    }
  }
}
