/**
 * What comes in, read strictly: the target, media types, bodies, JSON, queries, conditions.
 *
 * Each function takes what was sent and gives what it means, or throws the `Problem` that says why
 * it can't. Frameworks' own readers are lenient, each in its own way, so none is used here.
 */

import type { z } from "zod";
import { issue, MAX_ERRORS, Problem, type Rule } from "./problems.ts";

export const MAX_BODY = 65536;
export const MAX_NESTING = 32;
export const MAX_INTEGER = Number.MAX_SAFE_INTEGER;

// RFC 3986, 3.3: the characters of a path, but for `%` (ROUTE-06, ROUTE-08).
const PLAIN_PATH = /^\/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*$/;
const DOT_SEGMENT = /\/\.\.?(?:\/|$)/;

// RFC 9110, 5.6.2, 5.6.4, 5.6.6
export const TOKEN = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
// Without a comma: of several fields the values are one, with commas between.
const QUOTED = '"(?:[\\t !#-+\\--\\[\\]-~\\x80-\\xff]|\\\\[\\t -+\\--~\\x80-\\xff])*"';
// One parameter, with or without white space around it (CTYPE-03).
const PARAMETER = new RegExp(`[ \\t]*;(?:[ \\t]*(${TOKEN})=(${TOKEN}|${QUOTED}))?`, "g");
// A type, and its parameters (CTYPE-03, CTYPE-04, CTYPE-10).
const MEDIA_TYPE = new RegExp(`^(${TOKEN}/${TOKEN})((?:${PARAMETER.source})*)[ \\t]*$`);
const QUOTED_PAIR = /\\(.)/g;

// RFC 9110, 8.8.3 and 5.6.1 (COND-08)
const ENTITY_TAG = /(?:W\/)?"[!#-~\x80-\xff]*"/g;
// No part of it can match in two ways, so thousands of tags take no time (COND-08, COND-09,
// COND-18).
const ENTITY_TAGS = new RegExp(
  `^[ \\t,]*${ENTITY_TAG.source}(?:[ \\t]*,(?:[ \\t]*${ENTITY_TAG.source})?)*[ \\t]*$`,
);

// Throws for what is not UTF-8, and keeps a byte-order mark (JSON-05, JSON-07).
export const UTF_8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const NATURAL = /^[1-9][0-9]*$/;
const PLUS = /\+/g;
const NOT_BRACKETS = /"(?:[^"\\]|\\.)*"?|[^[\]{}"]+/gs;
// What encodeURIComponent leaves although RFC 3986 reserves it.
const RESERVED = /[!'()*]/g;

// What the body of a creation or a replacement may be (CTYPE-07, CTYPE-08).
export const JSON_ONLY: ReadonlySet<string> = new Set(["application/json"]);
// What the body of a change may be (CTYPE-08).
export const MERGE_PATCH: ReadonlySet<string> = new Set([
  "application/json",
  "application/merge-patch+json",
]);
export const ACCEPT_PATCH = [...MERGE_PATCH].sort().join(", ");
// What the body of a login has to be (LOGIN-09).
export const FORM: ReadonlySet<string> = new Set(["application/x-www-form-urlencoded"]);

/**
 * A request's header fields: of each the values of its lines, with commas between (RFC 9110, 5.3).
 *
 * White space at its ends is none of it, so an empty last line leaves a comma there.
 */
export type Fields = { header(name: string): string | undefined };

/** The client has gone before its request was read, as Starlette's ClientDisconnect tells it. */
export class ClientGone extends Error {}

/**
 * The path to match against the routes; empty, which matches none, if it isn't plain.
 *
 * Nothing is decoded or resolved: `/%75sers` and `/./users` are not other names of `/users`.
 *
 * @clauses ROUTE-06, ROUTE-07, ROUTE-08
 */
export function routePath(path: string): string {
  return PLAIN_PATH.test(path) && !DOT_SEGMENT.test(path) ? path : "";
}

/** The path and the query of a request's URL, neither decoded. @clauses ROUTE-14 */
export function splitUrl(url: string): [path: string, query: string] {
  const start = url.indexOf("/", url.indexOf("://") + 3);
  // A fragment is the client's own. A server sees none, `app.request` does.
  const hash = url.indexOf("#", start);
  const target = hash < 0 ? url.slice(start) : url.slice(start, hash);
  const mark = target.indexOf("?");
  return mark < 0 ? [target, ""] : [target.slice(0, mark), target.slice(mark + 1)];
}

/**
 * The body, if its media type is one of `accepted`; `read` gives it, of a larger one what shows that.
 *
 * Throws unsupported-media-type and, at 65,537 bytes or as soon as Content-Length promises as
 * much, body-too-large; the server below reads the rest and forgets it, or throws ClientGone.
 *
 * @clauses BODY-01, BODY-02, BODY-03, BODY-05, PROB-12, PROB-13
 */
export async function readBody(
  request: Fields,
  accepted: ReadonlySet<string>,
  read: () => Promise<Uint8Array>,
): Promise<Uint8Array> {
  if (!hasMediaType(request, accepted)) {
    throw unsupportedMediaType(accepted);
  }
  if (Number(request.header("content-length") ?? 0) > MAX_BODY) {
    throw new Problem("body-too-large");
  }
  const body = await read();
  if (body.byteLength > MAX_BODY) {
    throw new Problem("body-too-large");
  }
  return body;
}

/** 415, with the types that a `PATCH` may have (RFC 5789, 2.2). @clauses ROUTE-17 */
export function unsupportedMediaType(accepted: ReadonlySet<string>): Problem {
  const headers = accepted.has("application/merge-patch+json")
    ? { "Accept-Patch": ACCEPT_PATCH }
    : {};
  return new Problem("unsupported-media-type", [], headers);
}

/**
 * Whether there is one Content-Type, one of these, in UTF-8 and not encoded.
 *
 * @clauses CTYPE-01, CTYPE-02, CTYPE-04, CTYPE-05, CTYPE-06, CTYPE-07, CTYPE-09
 */
function hasMediaType(request: Fields, accepted: ReadonlySet<string>): boolean {
  const match = MEDIA_TYPE.exec(request.header("content-type") ?? "");
  const [, type = "", parameters = ""] = match ?? [];
  if (!accepted.has(type.toLowerCase()) || request.header("content-encoding") !== undefined) {
    return false;
  }
  return [...parameters.matchAll(PARAMETER)].every(
    ([, name = "", value = ""]) =>
      name.toLowerCase() !== "charset" || unquote(value).toLowerCase() === "utf-8",
  );
}

/** The value of a parameter, a quoted string or a token. @clauses CTYPE-03 */
function unquote(value: string): string {
  return value.startsWith('"') ? value.slice(1, -1).replace(QUOTED_PAIR, "$1") : value;
}

/**
 * The value that the body is JSON of (RFC 8259). Throws malformed-json.
 *
 * Of members with one name the last counts; `number` makes something of a number as it is written.
 *
 * @clauses JSON-01, JSON-02, JSON-03, JSON-04, JSON-05, JSON-06, JSON-07, JSON-08, JSON-09,
 * JSON-10, JSON-12, JSON-13, JSON-17
 */
export function parseJson(body: Uint8Array, number?: (source: string) => unknown): unknown {
  try {
    const text = UTF_8.decode(body);
    if (nesting(text) > MAX_NESTING) {
      throw new Problem("malformed-json");
    }
    return JSON.parse(text, number && reviver(number));
  } catch {
    throw new Problem("malformed-json");
  }
}

/** What JSON.parse asks about each value: of a number it gets what `number` makes of it. */
function reviver(number: (source: string) => unknown) {
  // TypeScript doesn't know yet that there is a third argument.
  return (_: string, value: unknown, context?: { source: string }) =>
    typeof value === "number" && context ? number(context.source) : value;
}

/**
 * How deep arrays and objects go, counted before parsing: a parser may run out of stack.
 *
 * @clauses JSON-10, JSON-11, LIMIT-11
 */
function nesting(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (const bracket of text.replace(NOT_BRACKETS, "")) {
    depth += bracket === "[" || bracket === "{" ? 1 : -1;
    deepest = Math.max(deepest, depth);
  }
  return deepest;
}

/**
 * The bytes that the text stands for (RFC 4648, 5), if it is the one that does: without padding
 * and unused bits. Throws RangeError.
 *
 * @clauses AUTH-24, AUTH-26
 */
export function parseBase64Url(text: string): Buffer {
  const data = Buffer.from(text, "base64url");
  // Node skips what isn't in the alphabet.
  if (data.toString("base64url") !== text) {
    throw new RangeError(text);
  }
  return data;
}

/**
 * The document as `model` has it. Throws validation.
 *
 * @clauses JSON-14, JSON-16, PROB-06, PROB-07
 */
export function parseBody<Shape extends z.ZodRawShape>(
  model: z.ZodObject<Shape>,
  document: unknown,
): z.infer<z.ZodObject<Shape>> {
  if (typeof document !== "object" || document === null || Array.isArray(document)) {
    throw new Problem("validation", [issue("pointer", "#", "wrong-type")]);
  }
  // Unknown members are found here, as on the other side.
  const members = document as Record<string, unknown>;
  const names = Object.keys(model.shape).filter((name) => Object.hasOwn(document, name));
  const known = Object.fromEntries(names.map((name) => [name, members[name]]));
  const unknown = Object.keys(document).filter((name) => !Object.hasOwn(model.shape, name));
  const shown = unknown.sort(byCodePoint).slice(0, MAX_ERRORS);
  const broken = shown.map((name) => issue("pointer", pointer(name), "unknown"));
  const result = model.safeParse(known);
  if (!result.success) {
    const rules = result.error.issues.map((one) =>
      issue("pointer", `#/${String(one.path[0])}`, one.message as Rule),
    );
    throw new Problem("validation", [...rules, ...broken]);
  }
  if (broken.length > 0) {
    throw new Problem("validation", broken);
  }
  return result.data;
}

/** Compares as Python does; `<` would compare UTF-16 units. @clauses PROB-07 */
function byCodePoint(left: string, right: string): number {
  let index = 0;
  while (index < left.length && left.charCodeAt(index) === right.charCodeAt(index)) {
    index += 1;
  }
  // Where the second halves of two pairs differ, the code points begin one unit before.
  for (const place of [Math.max(index - 1, 0), index]) {
    const differs = (left.codePointAt(place) ?? -1) - (right.codePointAt(place) ?? -1);
    if (differs !== 0) {
      return differs;
    }
  }
  return 0;
}

/** The member's JSON Pointer as a URI fragment (RFC 6901, 6). @clauses PROB-05 */
function pointer(name: string): string {
  const token = name.replaceAll("~", "~0").replaceAll("/", "~1");
  return `#/${percentEncode(token.toWellFormed())}`;
}

/**
 * The text with everything but RFC 3986's unreserved characters percent-encoded.
 *
 * @clauses PROB-05, USR-LIST-17
 */
export function percentEncode(text: string): string {
  return encodeURIComponent(text).replace(
    RESERVED,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

/**
 * The id that a path has as `name`, in canonical decimal, 1 to 2^53-1. Throws validation.
 *
 * @clauses ID-01, ID-02, ID-03, ID-04
 */
export function pathId(text: string, name = "id"): number {
  const code = integerRule(text, MAX_INTEGER);
  if (code) {
    throw new Problem("validation", [issue("parameter", name, code)]);
  }
  return Number(text);
}

/**
 * Which rule of a canonical decimal from 1 to `highest` the text breaks, if any.
 *
 * @clauses ID-01, ID-02, ID-03, USR-LIST-04
 */
export function integerRule(text: string, highest: number): Rule | null {
  if (text === "0") {
    return "too-small";
  }
  if (!NATURAL.test(text)) {
    return "malformed";
  }
  const tooLarge = text.length > String(highest).length || Number(text) > highest;
  return tooLarge ? "too-large" : null;
}

/** The request's query, parsed. Throws malformed-query. */
export function readQuery({ url }: Readonly<{ url: string }>): [name: string, value: string][] {
  const [, query] = splitUrl(url);
  return parseQuery(query);
}

/**
 * The query's parameters in the order sent, `+` being a space. Throws malformed-query.
 *
 * @clauses LIMIT-11, QUERY-02, QUERY-06
 */
export function parseQuery(query: string): [name: string, value: string][] {
  return query
    .split("&")
    .filter((piece) => piece !== "")
    .map((piece) => {
      const [name = "", ...value] = piece.split("=");
      return [decode(name), decode(value.join("="))];
    });
}

/**
 * The text without its percent-encoding. Throws malformed-query.
 *
 * @clauses QUERY-03, QUERY-04, QUERY-05, QUERY-10
 */
function decode(text: string): string {
  try {
    return decodeURIComponent(text.replace(PLUS, " "));
  } catch {
    throw new Problem("malformed-query");
  }
}

/** The text without these characters at both ends; a pattern would try each run of them inside. */
export function trim(text: string, characters: string): string {
  let [start, end] = [0, text.length];
  while (start < end && characters.includes(text.charAt(start))) {
    start += 1;
  }
  while (end > start && characters.includes(text.charAt(end - 1))) {
    end -= 1;
  }
  return text.slice(start, end);
}

/** The value of `If-Match` or `If-None-Match` (RFC 9110, 13.1.1 and 13.1.2). */
export class EntityTags {
  /** The tags as sent, the weak ones with their `W/`; null stands for `*`. */
  readonly tags: ReadonlySet<string> | null;

  constructor(tags: ReadonlySet<string> | null) {
    this.tags = tags;
  }

  /**
   * Strong comparison: whether a tag that isn't weak is `etag`.
   *
   * @clauses COND-03, COND-04, COND-05, COND-06
   */
  match(etag: string): boolean {
    return this.tags === null || this.tags.has(etag);
  }

  /** Weak comparison: whether a tag, weak or not, is `etag`. @clauses COND-11 */
  matchWeakly(etag: string): boolean {
    return this.match(etag) || this.match(`W/${etag}`);
  }

  /** The versions that match strongly; null stands for all. @clauses COND-04, COND-05, COND-06 */
  get versions(): number[] | null {
    if (this.tags === null) {
      return null;
    }
    const strong = [...this.tags].filter((tag) => !tag.startsWith("W/"));
    const texts = strong.map((tag) => tag.slice(1, -1));
    return texts.filter((text) => integerRule(text, MAX_INTEGER) === null).map(Number);
  }
}

/**
 * The condition in the header field `name`, if there is one. Throws malformed-header.
 *
 * @clauses COND-03, COND-04, COND-07, COND-09, COND-10
 */
export function entityTags(request: Fields, name: string): EntityTags | null {
  const value = request.header(name);
  if (value === undefined) {
    return null;
  }
  if (value === "*") {
    return new EntityTags(null);
  }
  if (!ENTITY_TAGS.test(value)) {
    throw malformedHeader(name);
  }
  return new EntityTags(new Set(value.match(ENTITY_TAG)));
}

/** 400 for this header field. */
export function malformedHeader(name: string): Problem {
  return new Problem("malformed-header", [issue("header", name, "malformed")]);
}
