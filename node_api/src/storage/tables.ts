/** The tables, as statements need them; `migrations` makes them. Text sorts by code point. */

import { type Generated, type Kysely, PostgresAdapter } from "kysely";

export interface Tables {
  users: {
    id: Generated<number>;
    name: string;
    /** The name as `q` is compared with it, in the application's lower case. */
    name_lower: string;
    email: string;
    /** RFC 3339 text in UTC, which SQLite keeps as it is and PostgreSQL as a moment. */
    created_at: string;
    updated_at: string;
    version: number;
    role: Generated<"admin" | "member">;
    /** A PHC string; null where there is no password. */
    password_hash: string | null;
    /** How often the password or the role has changed, from 1. */
    token_epoch: Generated<number>;
  };
  login_failures: {
    /** Of an email or an address. */
    key_hash: string;
    /** JSON: the moments of the last failures, in milliseconds. */
    failed_at: string;
    expires_at: string;
  };
  idempotency_keys: {
    key_hash: string;
    body_hash: string;
    /** The user as it was answered; empty only inside the transaction that creates it. */
    response: string;
    expires_at: string;
  };
  /** What happened to users. An event is written without a position and gets it when it is read. */
  events: {
    /** In the order in which they were written; where writes failed, numbers are missing. */
    number: Generated<number>;
    /** In the order in which they are read, without a gap; null as long as nobody has. */
    position: number | null;
    type: string;
    user_id: number;
    time: string;
    /** JSON, as clients see it. */
    data: string;
  };
  webhooks: {
    id: Generated<number>;
    url: string;
    /** JSON: the types of events that are sent. */
    types: string;
    secret: string;
    /** Up to where events have deliveries. */
    position: number;
    created_at: string;
    /** Null until the endpoint wants no more. */
    ended_at: string | null;
  };
  /** What is still to be sent. */
  deliveries: {
    webhook_id: number;
    /** Of the event. */
    position: number;
    user_id: number;
    attempts: number;
    /** Of the last attempt; null before its end. */
    outcome: string | null;
    /** When the next attempt may begin, or the one under way is given up; null when it is dead. */
    due_at: string | null;
  };
  /** One row, whose lock whoever gives positions holds. */
  event_positions: {
    /** The highest that was given, whether or not that event is still kept. */
    last: number;
  };
}

/** Whether the connection leads to PostgreSQL: Kysely leaves it to us to know the dialect. */
export function isPostgres<T>(connection: Kysely<T>): boolean {
  return connection.getExecutor().adapter instanceof PostgresAdapter;
}
