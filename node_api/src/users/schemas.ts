/** What comes in and goes out: the fields' rules, and the user as clients see it. */

import { z } from "zod";
import type { Rule } from "../http/problems.ts";
import { trim } from "../http/requests.ts";

// The languages' own trims differ in what they take for white space (NAME-01).
export const TRIMMED = " \t\r\n";
// With the u flag, a surrogate in a class is an unpaired one (NAME-04, NAME-05).
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
export const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/u;

// Lengths, in code points.
const MAX_TEXT = 100;
export const MAX_EMAIL = 254;
const MAX_LOCAL = 64;
const MIN_PASSWORD = 12;
const MAX_PASSWORD = 128;

// What may stand before the @: the HTML Living Standard's `input type=email` (EMAIL-01).
const LOCAL = "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]";
// No hyphen at its ends, 63 characters at most (EMAIL-04).
export const LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
// At least one dot in the domain (EMAIL-01, EMAIL-02, EMAIL-03).
const EMAIL = new RegExp(`^${LOCAL}+@${LABEL}(\\.${LABEL})+$`);
const SURROGATE = /[\ud800-\udfff]/u;
export const TIMESTAMP = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;

// All the roles there are (ROLE-01).
const ROLES = ["admin", "member"] as const;
export type Role = (typeof ROLES)[number];

/**
 * How many code points a text has; its length counts UTF-16 units.
 *
 * @clauses EMAIL-06, EMAIL-07, NAME-03, PASSWORD-02, PASSWORD-03
 */
export function codePoints(text: string): number {
  return [...text].length;
}

/**
 * The rule that a trimmed name or search text breaks, if any. Lengths are in code points.
 *
 * @clauses NAME-02, NAME-03, NAME-04, NAME-05, NAME-06, USR-LIST-15
 */
export function textRule(text: string): Rule | null {
  if (text === "") {
    return "too-short";
  }
  if (codePoints(text) > MAX_TEXT) {
    return "too-long";
  }
  return FORBIDDEN.test(text) ? "malformed" : null;
}

/**
 * The rule that an email breaks, if any: its length is judged before its form.
 *
 * @clauses EMAIL-02, EMAIL-05, EMAIL-06, EMAIL-07, EMAIL-08, EMAIL-09
 */
export function emailRule(email: string): Rule | null {
  const local = email.slice(0, Math.max(email.lastIndexOf("@"), 0));
  if (codePoints(email) > MAX_EMAIL || codePoints(local) > MAX_LOCAL) {
    return "too-long";
  }
  return EMAIL.test(email) ? null : "malformed";
}

/**
 * The rule that a password breaks, if any. Lengths are in code points.
 *
 * @clauses PASSWORD-01, PASSWORD-02, PASSWORD-03, PASSWORD-04, PASSWORD-05
 */
export function passwordRule(password: string): Rule | null {
  if (codePoints(password) < MIN_PASSWORD) {
    return "too-short";
  }
  if (codePoints(password) > MAX_PASSWORD) {
    return "too-long";
  }
  return SURROGATE.test(password) ? "malformed" : null;
}

/**
 * A check that tells the broken rule as the issue's message; zod's own texts are never shown.
 *
 * @clauses PROB-04, PROB-06
 */
function checkRule(rule: (text: string) => Rule | null): z.core.CheckFn<string> {
  return (payload) => {
    const broken = rule(payload.value);
    if (broken) {
      payload.issues.push({ code: "custom", message: broken, input: payload.value });
    }
  };
}

// Nothing is made into a text (JSON-15, USR-CREATE-04, USR-PATCH-04, PASSWORD-06).
const string = z.string({
  error: ({ input }): Rule => (input === undefined ? "missing" : "wrong-type"),
});

// What `textRule` lets through, before trimming, as a pattern of JSON Schema.
export const TEXT_PATTERN =
  "^[\\t\\n\\r ]*[^\\u0000-\\u0020\\u007f-\\u009f]" +
  `([^\\u0000-\\u001f\\u007f-\\u009f]{0,${MAX_TEXT - 2}}[^\\u0000-\\u0020\\u007f-\\u009f])?[\\t\\n\\r ]*$`;
const NAME_SCHEMA = {
  pattern: TEXT_PATTERN,
  description: `1 to ${MAX_TEXT} code points after trimming of space, tab, CR and LF; no control characters.`,
  examples: ["Ada Lovelace"],
};
const EMAIL_SCHEMA = {
  maxLength: MAX_EMAIL,
  pattern: `^${LOCAL}{1,${MAX_LOCAL}}@${LABEL}(\\.${LABEL})+$`,
  description:
    "As in HTML's input type=email, with a dot in the domain; unique among users; kept in lower case.",
  examples: ["ada@example.com"],
};
const ROLE_SCHEMA = { description: "A new user without one is a `member`." };
const PASSWORD_SCHEMA = {
  minLength: MIN_PASSWORD,
  maxLength: MAX_PASSWORD,
  writeOnly: true,
  description: `${MIN_PASSWORD} to ${MAX_PASSWORD} code points, whatever they are; in no answer.`,
  examples: ["correct horse battery staple"],
};
const PASSWORD_OR_NULL_SCHEMA = { description: "null takes the password away." };

// Trimmed, then judged (NAME-01, NAME-06, NAME-07, NAME-08).
const nameField = string
  .overwrite((text) => trim(text, TRIMMED))
  .check(checkRule(textRule))
  .meta(NAME_SCHEMA);
const emailField = string
  .check(checkRule(emailRule))
  // Only now: it turns some letters into ASCII ones, U+212A into k (EMAIL-05, EMAIL-10).
  .overwrite((text) => text.toLowerCase())
  .meta(EMAIL_SCHEMA);
// Another text is malformed, anything else has the wrong type (ROLE-01, ROLE-02).
const roleField = z
  .enum(ROLES, {
    error: ({ input }): Rule => (typeof input === "string" ? "malformed" : "wrong-type"),
  })
  .meta(ROLE_SCHEMA);
// Judged as it was sent (PASSWORD-05, PASSWORD-06).
const passwordField = string.check(checkRule(passwordRule)).meta(PASSWORD_SCHEMA);

/**
 * The body of a creation or a replacement.
 *
 * @clauses PASSWORD-08, ROLE-04, USR-CREATE-04, USR-REPLACE-02
 */
export const NewUser = z.strictObject({
  name: nameField,
  email: emailField,
  role: roleField.optional(),
  password: passwordField.optional(),
});
export type NewUser = z.infer<typeof NewUser>;

/**
 * The body of a change: a JSON Merge Patch (RFC 7396).
 *
 * @clauses PASSWORD-07, USR-PATCH-01, USR-PATCH-04
 */
export const UserChanges = z.strictObject({
  ...NewUser.partial().shape,
  password: passwordField.nullable().meta(PASSWORD_OR_NULL_SCHEMA).optional(),
});
export type UserChanges = z.infer<typeof UserChanges>;

/** A `NewUser` or `UserChanges` as it is stored: in place of a password its hash, null for none. */
export type Stored<Sent> = Omit<Sent, "password"> & { password_hash?: string | null };

/** A user as clients see it; its members stand in this order. @clauses PASSWORD-10 */
export const User = z.strictObject({
  id: z.int().min(1),
  name: z.string(),
  email: z.string(),
  role: z.enum(ROLES),
  created_at: z.string().regex(TIMESTAMP),
  updated_at: z.string().regex(TIMESTAMP),
  version: z.int().min(1),
});
export type User = z.infer<typeof User>;

/**
 * The strong entity tag of this version of the user (RFC 9110, 8.8.3).
 *
 * @clauses COND-01, USR-CREATE-03
 */
export function etag(user: User): string {
  return `"${user.version}"`;
}
