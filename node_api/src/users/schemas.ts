/** What comes in and goes out: the fields' rules, and the user as clients see it. */

import { z } from "zod";
import type { Rule } from "../http/problems.ts";
import { trim } from "../http/requests.ts";

// NAME-01
// The languages' own trims differ in what they take for white space.
export const TRIMMED = " \t\r\n";
// NAME-04, NAME-05
// With the u flag, a surrogate in a class is an unpaired one.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
export const FORBIDDEN = /[\u0000-\u001f\u007f-\u009f\ud800-\udfff]/u;

// EMAIL-01
// The HTML Living Standard's pattern for `input type=email`, with at least one dot in the domain.
const LOCAL = "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]";
// EMAIL-04
const LABEL = "[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?";
// EMAIL-01, EMAIL-02, EMAIL-03
const EMAIL = new RegExp(`^${LOCAL}+@${LABEL}(\\.${LABEL})+$`);
const TIMESTAMP = /^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$/;

// PASSWORD-04
const SURROGATE = /[\ud800-\udfff]/u;

// ROLE-01
const ROLES = ["admin", "member"] as const;
export type Role = (typeof ROLES)[number];

// NAME-03, EMAIL-06, EMAIL-07, PASSWORD-02, PASSWORD-03
/** How many code points a text has; its length counts UTF-16 units. */
export function codePoints(text: string): number {
  return [...text].length;
}

// NAME-06, USR-LIST-15
/** The rule that a trimmed name or search text breaks, if any. Lengths are in code points. */
export function textRule(text: string): Rule | null {
  // NAME-02
  if (text === "") {
    return "too-short";
  }
  // NAME-03
  if (codePoints(text) > 100) {
    return "too-long";
  }
  // NAME-04, NAME-05
  return FORBIDDEN.test(text) ? "malformed" : null;
}

/** The rule that an email breaks, if any: its length is judged before its form. */
export function emailRule(email: string): Rule | null {
  const local = email.slice(0, Math.max(email.lastIndexOf("@"), 0));
  // EMAIL-06, EMAIL-07
  if (codePoints(email) > 254 || codePoints(local) > 64) {
    return "too-long";
  }
  // EMAIL-02, EMAIL-05, EMAIL-08, EMAIL-09
  return EMAIL.test(email) ? null : "malformed";
}

// PASSWORD-05
/** The rule that a password breaks, if any. Lengths are in code points. */
export function passwordRule(password: string): Rule | null {
  // PASSWORD-01, PASSWORD-02
  if (codePoints(password) < 12) {
    return "too-short";
  }
  // PASSWORD-03
  if (codePoints(password) > 128) {
    return "too-long";
  }
  // PASSWORD-04
  return SURROGATE.test(password) ? "malformed" : null;
}

// PROB-04, PROB-06
/** A check that tells the broken rule as the issue's message; zod's own texts are never shown. */
function checkRule(rule: (text: string) => Rule | null): z.core.CheckFn<string> {
  return (payload) => {
    const broken = rule(payload.value);
    if (broken) {
      payload.issues.push({ code: "custom", message: broken, input: payload.value });
    }
  };
}

// JSON-15, USR-CREATE-04, USR-PATCH-04, PASSWORD-06
const string = z.string({
  error: ({ input }): Rule => (input === undefined ? "missing" : "wrong-type"),
});

// What `textRule` lets through, before trimming, as a pattern of JSON Schema.
export const TEXT_PATTERN =
  "^[\\t\\n\\r ]*[^\\u0000-\\u0020\\u007f-\\u009f]" +
  "([^\\u0000-\\u001f\\u007f-\\u009f]{0,98}[^\\u0000-\\u0020\\u007f-\\u009f])?[\\t\\n\\r ]*$";
const NAME_SCHEMA = {
  pattern: TEXT_PATTERN,
  description:
    "1 to 100 code points after trimming of space, tab, CR and LF; no control characters.",
  examples: ["Ada Lovelace"],
};
const EMAIL_SCHEMA = {
  maxLength: 254,
  pattern: `^${LOCAL}{1,64}@${LABEL}(\\.${LABEL})+$`,
  description:
    "As in HTML's input type=email, with a dot in the domain; unique among users; kept in lower case.",
  examples: ["ada@example.com"],
};
const ROLE_SCHEMA = {
  description: "A new user without one is a `member`.",
};
const PASSWORD_SCHEMA = {
  minLength: 12,
  maxLength: 128,
  writeOnly: true,
  description: "12 to 128 code points, whatever they are; in no answer.",
  examples: ["correct horse battery staple"],
};
const PASSWORD_OR_NULL_SCHEMA = {
  description: "null takes the password away.",
};

// NAME-01, NAME-06, NAME-07, NAME-08
const nameField = string
  .overwrite((text) => trim(text, TRIMMED))
  .check(checkRule(textRule))
  .meta(NAME_SCHEMA);
const emailField = string
  .check(checkRule(emailRule))
  // EMAIL-05, EMAIL-10
  // Only now: of what isn't ASCII, this makes letters that are (U+212A becomes a k).
  .overwrite((text) => text.toLowerCase())
  .meta(EMAIL_SCHEMA);
// ROLE-01, ROLE-02
const roleField = z
  .enum(ROLES, {
    error: ({ input }): Rule => (typeof input === "string" ? "malformed" : "wrong-type"),
  })
  .meta(ROLE_SCHEMA);
// PASSWORD-05, PASSWORD-06
const passwordField = string.check(checkRule(passwordRule)).meta(PASSWORD_SCHEMA);

// USR-CREATE-04, USR-REPLACE-02
/** The body of a creation or a replacement. */
export const NewUser = z.strictObject({
  name: nameField,
  email: emailField,
  // ROLE-04, PASSWORD-08
  role: roleField.optional(),
  password: passwordField.optional(),
});
export type NewUser = z.infer<typeof NewUser>;

// USR-PATCH-01, USR-PATCH-04
/** The body of a change: a JSON Merge Patch (RFC 7396). */
export const UserChanges = z.strictObject({
  ...NewUser.partial().shape,
  // PASSWORD-07
  password: passwordField.nullable().meta(PASSWORD_OR_NULL_SCHEMA).optional(),
});
export type UserChanges = z.infer<typeof UserChanges>;

/** What is kept of either: in place of a password its hash, null for none. */
export type Stored<Sent> = Omit<Sent, "password"> & { password_hash?: string | null };

// PASSWORD-10
/** A user as clients see it; its members stand in this order. */
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

// USR-CREATE-03, COND-01
/** The strong entity tag of this version of the user (RFC 9110, 8.8.3). */
export function etag(user: User): string {
  return `"${user.version}"`;
}
