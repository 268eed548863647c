/** What happened to a user, and how clients see it: CloudEvents 1.0 in JSON. */

import { timestamp } from "../operation/observability.ts";
import type { User } from "../users/schemas.ts";

// All the types there are (EVENT-05).
export const TYPES = ["user.created", "user.changed", "user.deleted"] as const;

/** What happened to a user, in an order yet to be given. */
export type Change = Readonly<{
  type: string;
  user_id: number;
  time: string;
  /** JSON. */
  data: string;
}>;

/** A change at its place in the log. */
export type Event = Change & Readonly<{ position: number }>;

/** The event as clients see it (CloudEvents 1.0.2, JSON format). @clauses EVENT-05 */
export function toJson({ position, type, user_id, time, data }: Event): string {
  return (
    `{"specversion":"1.0","id":"${position}","source":"/users"` +
    `,"type":"${type}","subject":"/users/${user_id}"` +
    `,"time":"${time}","data":${data}}`
  );
}

/** The creation of this user. @clauses EVENT-06 */
export function userCreated(user: User): Change {
  const data = JSON.stringify(user);
  return { type: "user.created", user_id: user.id, time: user.created_at, data };
}

/** The change that led to this user. @clauses EVENT-06 */
export function userChanged(user: User): Change {
  const data = JSON.stringify(user);
  return { type: "user.changed", user_id: user.id, time: user.updated_at, data };
}

/** The deletion of a user in this version. @clauses EVENT-06 */
export function userDeleted(id: number, version: number, now: Date): Change {
  const data = JSON.stringify({ id, version });
  return { type: "user.deleted", user_id: id, time: timestamp(now), data };
}
