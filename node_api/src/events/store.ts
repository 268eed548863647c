/**
 * All SQL of events: functions that take the connection first.
 *
 * A write only adds its event, so writers don't wait for each other. Positions are given to what has
 * been committed, by whoever reads next, one reader at a time; none can be filled in later (decision
 * 0009).
 */

import { sql } from "kysely";
import { timestamp } from "../operation/observability.ts";
import { type Connection, parameter, prepared } from "../storage/database.ts";
import { isPostgres } from "../storage/tables.ts";
import type { Change, Event } from "./schemas.ts";

// A writer whose event's number is a multiple of this gives positions, in case nobody reads
// (EVENT-14).
const MAX_WAITING = 64;
// How many are forgotten at a time, so that no list and no write waits for the rest.
const MAX_FORGOTTEN = 1000;

const WRITE = prepared((connection) =>
  connection
    .insertInto("events")
    .values({
      type: parameter("type"),
      user_id: parameter("user_id"),
      time: parameter("time"),
      data: parameter("data"),
    })
    .returning("number"),
);
// What the streams ask again and again.
const WAITING = prepared((connection) =>
  connection
    .selectFrom("events")
    .select((eb) => eb.lit(1).as("one"))
    .where("position", "is", null)
    .limit(1),
);
const BEHIND = prepared((connection) =>
  listed(connection)
    .where("position", ">", parameter<number>("after"))
    .orderBy("position", "asc")
    .limit(parameter<number>("limit")),
);

/**
 * Write the event of this change, in the change's own transaction.
 *
 * Now and then it also gives positions and forgets what is older than `ttl` seconds.
 *
 * @clauses EVENT-01, EVENT-14
 */
export async function writeEvent(
  connection: Connection,
  change: Change,
  now: Date,
  ttl: number,
): Promise<void> {
  const [written] = await WRITE(connection, change);
  if (written && written.number % MAX_WAITING === 0) {
    await givePositions(connection, now, ttl);
  }
}

/** Whether an event has no position yet. */
export async function isAnyWaiting(connection: Connection): Promise<boolean> {
  const { length } = await WAITING(connection, {});
  return length > 0;
}

/**
 * Give positions to the events that have none, and forget those older than `ttl` seconds.
 *
 * Whoever holds the row of the last position sees all that was committed before they got it. Events
 * of one user are written one after the other, as each change holds the user's row.
 *
 * @clauses EVENT-03, EVENT-04, EVENT-14
 */
export async function givePositions(connection: Connection, now: Date, ttl: number): Promise<void> {
  const held = await connection
    .selectFrom("event_positions")
    .select("last")
    .$if(isPostgres(connection), (query) => query.forUpdate())
    .executeTakeFirstOrThrow();
  const { numUpdatedRows } = await connection
    .updateTable("events")
    .from((eb) =>
      eb
        .selectFrom("events")
        .select([
          "number",
          sql<number>`${held.last} + row_number() over (order by number)`.as("position"),
        ])
        .where("position", "is", null)
        .as("numbered"),
    )
    .set((eb) => ({ position: eb.ref("numbered.position") }))
    .whereRef("events.number", "=", "numbered.number")
    .executeTakeFirst();
  const given = Number(numUpdatedRows);
  // Else somebody else came first.
  if (given === 0) {
    return;
  }
  const last = held.last + given;
  await connection.updateTable("event_positions").set({ last }).execute();
  const expired = timestamp(new Date(now.getTime() - ttl * 1000));
  // The end of what is forgotten at a time.
  const beyond = connection
    .selectFrom("events")
    .select((eb) => sql<number>`${eb.fn.min("position")} + ${sql.lit(MAX_FORGOTTEN)}`.as("beyond"));
  const oldestKept = connection
    .selectFrom("events")
    .select((eb) => eb.fn.min("position").as("oldest"))
    .where("time", ">", expired)
    .where("position", "<", beyond);
  await connection
    .deleteFrom("events")
    .where("position", "<", (eb) => eb.fn.coalesce(oldestKept, eb.val(last)))
    .where("position", "<", beyond)
    .execute();
}

/** Which events to list. */
type Listed = Readonly<{
  limit: number;
  after: number | null;
  descending?: boolean;
  userId?: number | null;
}>;

/**
 * Events behind the position `after` in their order, of this user if one is named.
 *
 * @clauses EVENT-07, EVENT-08, EVENT-09, EVENT-10, RIGHT-16
 */
export async function listEvents(
  connection: Connection,
  { limit, after, descending = false, userId = null }: Listed,
): Promise<Event[]> {
  if (after !== null && !descending && userId === null) {
    return await BEHIND(connection, { after, limit });
  }
  return await listed(connection)
    .$if(after !== null, (query) => query.where("position", descending ? "<" : ">", after))
    .$if(userId !== null, (query) => query.where("user_id", "=", userId as number))
    .orderBy("position", descending ? "desc" : "asc")
    .limit(limit)
    .execute();
}

function listed(connection: Connection) {
  return connection
    .selectFrom("events")
    .select(["position", "type", "user_id", "time", "data"])
    .where("position", "is not", null)
    .$narrowType<{ position: number }>();
}

/** The highest position that was given; 0 if none was. */
export async function lastPosition(connection: Connection): Promise<number> {
  const { last } = await connection
    .selectFrom("event_positions")
    .select("last")
    .executeTakeFirstOrThrow();
  return last;
}

/** The position of the last event that was forgotten; 0 if none was. */
export async function forgotten(connection: Connection): Promise<number> {
  const { position } = await connection
    .selectFrom("event_positions")
    .select((eb) =>
      eb.fn
        .coalesce(
          eb
            .selectFrom("events")
            .select((one) => sql<number>`${one.fn.min("position")} - 1`.as("before")),
          "last",
        )
        .as("position"),
    )
    .executeTakeFirstOrThrow();
  return Number(position);
}
