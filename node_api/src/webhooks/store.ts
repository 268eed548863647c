/**
 * All SQL of webhooks: functions that take the connection first.
 *
 * Whoever works on a delivery holds its row and passes over those that others hold (`SKIP LOCKED`),
 * so all processes share the work; and before that they hold the webhook's number, so that nobody
 * waits in a circle (decision 0011). SQLite, which has one writer at a time, has no words for it and
 * needs none.
 */

import { expressionBuilder } from "kysely";
import type { Event } from "../events/schemas.ts";
import { timestamp } from "../operation/observability.ts";
import { type Connection, hold, parameter, prepared } from "../storage/database.ts";
import { isPostgres, type Tables } from "../storage/tables.ts";
import type { Delivery, Webhook } from "./schemas.ts";

// How many events get their deliveries in one transaction.
const MAX_ADDED = 1000;
// How many deliveries of forgotten events go in one transaction.
const MAX_FORGOTTEN = 5000;

const COLUMNS = ["id", "url", "types", "created_at", "ended_at"] as const;
const SHOWN = ["position", "attempts", "outcome", "due_at"] as const;

// The position of the oldest event that is kept.
const OLDEST = expressionBuilder<Tables, never>()
  .selectFrom("events")
  .select((eb) => eb.fn.min("events.position").as("oldest"));

// What every process asks again and again.
const LIST_ACTIVE = prepared((connection) =>
  connection
    .selectFrom("webhooks")
    .select(["id", "url", "secret", "position"])
    .where("ended_at", "is", null)
    .orderBy("id"),
);
// Each webhook's own: an index leads to it, however many others wait.
const LIST_DUE = prepared((connection) =>
  connection
    .selectFrom("webhooks")
    .select("id")
    .where((eb) =>
      eb.exists(
        eb
          .selectFrom("deliveries")
          .select(eb.lit(1).as("one"))
          .whereRef("webhook_id", "=", "webhooks.id")
          .where("due_at", "<=", parameter<string>("now")),
      ),
    ),
);

const IS_ANY_FORGOTTEN = prepared((connection) =>
  connection.selectNoFrom((eb) =>
    eb
      .exists(
        eb.selectFrom("deliveries").select(eb.lit(1).as("one")).where("position", "<", OLDEST),
      )
      .as("is_any"),
  ),
);

/** A webhook that has not ended, as whoever delivers needs it. */
export type ActiveWebhook = Readonly<{
  id: number;
  url: string;
  secret: string;
  /** Up to where events have deliveries. */
  position: number;
}>;

/** An attempt that begins. */
export type Attempt = Readonly<{
  /** Its number, from 1. */
  number: number;
  /** When it counts as given up. */
  until: Date;
  event: Event;
}>;

/** How many there are, with those that have ended. */
export async function countWebhooks(connection: Connection): Promise<number> {
  const { count } = await connection
    .selectFrom("webhooks")
    .select((eb) => eb.fn.countAll<number>().as("count"))
    .executeTakeFirstOrThrow();
  return count;
}

/** Create a webhook of the events behind the last position. @clauses HOOK-01, HOOK-09 */
export async function createWebhook(
  connection: Connection,
  url: string,
  types: readonly string[],
  secret: string,
  now: Date,
): Promise<Webhook> {
  const row = await connection
    .insertInto("webhooks")
    .values({
      url,
      types: JSON.stringify(types),
      secret,
      position: (eb) => eb.selectFrom("event_positions").select("last"),
      created_at: timestamp(now),
    })
    .returning(COLUMNS)
    .executeTakeFirstOrThrow();
  return asWebhook(row);
}

/** All webhooks. @clauses HOOK-07 */
export async function listWebhooks(connection: Connection): Promise<Webhook[]> {
  const rows = await connection.selectFrom("webhooks").select(COLUMNS).orderBy("id").execute();
  return rows.map(asWebhook);
}

/** The webhook with this id, if there is one. */
export async function readWebhook(connection: Connection, id: number): Promise<Webhook | null> {
  const row = await connection
    .selectFrom("webhooks")
    .select(COLUMNS)
    .where("id", "=", id)
    .executeTakeFirst();
  return row ? asWebhook(row) : null;
}

/**
 * As `readWebhook`; nobody else does anything with it until the transaction ends.
 *
 * @clauses HOOK-29
 */
export async function holdWebhook(connection: Connection, id: number): Promise<Webhook | null> {
  await hold(connection, -id);
  const row = await connection
    .selectFrom("webhooks")
    .select(COLUMNS)
    .where("id", "=", id)
    .$if(isPostgres(connection), (query) => query.forUpdate())
    .executeTakeFirst();
  return row ? asWebhook(row) : null;
}

/**
 * Delete the webhook, and with it its deliveries; whether there was one.
 *
 * @clauses HOOK-08, HOOK-29
 */
export async function deleteWebhook(connection: Connection, id: number): Promise<boolean> {
  await hold(connection, -id);
  const { numDeletedRows } = await connection
    .deleteFrom("webhooks")
    .where("id", "=", id)
    .executeTakeFirst();
  return numDeletedRows > 0;
}

/** The webhooks that have not ended. */
export function listActive(connection: Connection): Promise<ActiveWebhook[]> {
  return LIST_ACTIVE(connection, {});
}

/**
 * Give the next events, up to the position `last`, their deliveries, unless somebody else does.
 *
 * @clauses HOOK-09
 */
export async function addDeliveries(
  connection: Connection,
  webhookId: number,
  last: number,
  now: Date,
): Promise<void> {
  const held = await connection
    .selectFrom("webhooks")
    .select(["position", "types"])
    .where("id", "=", webhookId)
    .where("ended_at", "is", null)
    .$if(isPostgres(connection), (query) => query.forUpdate().skipLocked())
    .executeTakeFirst();
  // Else somebody else does, or has done.
  if (!held || held.position >= last) {
    return;
  }
  const position = Math.min(last, held.position + MAX_ADDED);
  await connection
    .insertInto("deliveries")
    .columns(["webhook_id", "position", "user_id", "attempts", "due_at"])
    .expression((eb) =>
      eb
        .selectFrom("events")
        .select(({ val, lit, ref, fn, selectFrom }) => [
          val(webhookId).as("webhook_id"),
          ref("position").as("position"),
          ref("events.user_id").as("user_id"),
          lit(0).as("attempts"),
          // Not before what it has to wait for anyway: an event of the user that is to be tried
          // again.
          fn
            .coalesce(
              selectFrom("deliveries")
                .select((one) => one.fn.max("due_at").as("latest"))
                .where("webhook_id", "=", webhookId)
                .whereRef("deliveries.user_id", "=", "events.user_id")
                .where("deliveries.position", ">=", OLDEST)
                .where("outcome", "is not", null)
                .where("due_at", ">", timestamp(now)),
              val(timestamp(now)),
            )
            .as("due_at"),
        ])
        .where("position", ">", held.position)
        .where("position", "<=", position)
        .where("type", "in", JSON.parse(held.types) as string[]),
    )
    .execute();
  await connection.updateTable("webhooks").set({ position }).where("id", "=", webhookId).execute();
}

/** Whether there are deliveries of events that were forgotten. */
export async function isAnyForgotten(connection: Connection): Promise<boolean> {
  const [row] = await IS_ANY_FORGOTTEN(connection, {});
  return Boolean(row?.is_any);
}

/** Forget some of the deliveries whose events were forgotten. @clauses HOOK-25, HOOK-29 */
export async function forgetDeliveries(connection: Connection): Promise<void> {
  await connection
    .deleteFrom("deliveries")
    .where(({ eb, refTuple, selectFrom }) =>
      eb(
        refTuple("webhook_id", "position"),
        "in",
        selectFrom("deliveries as gone")
          .select(["gone.webhook_id", "gone.position"])
          .where("gone.position", "<", OLDEST)
          .limit(MAX_FORGOTTEN)
          .$if(isPostgres(connection), (query) => query.forUpdate("gone").skipLocked())
          .$asTuple("webhook_id", "position"),
      ),
    )
    .execute();
}

/** The ids of webhooks that have a delivery due. */
export async function listDue(connection: Connection, now: Date): Promise<Set<number>> {
  const rows = await LIST_DUE(connection, { now: timestamp(now) });
  return new Set(rows.map(({ id }) => id));
}

/**
 * Begin attempts of what is due, at most `limit`; nobody else begins them before `until`.
 *
 * @clauses HOOK-15, HOOK-16, HOOK-18, HOOK-29
 */
export async function claim(
  connection: Connection,
  webhookId: number,
  limit: number,
  now: Date,
  until: Date,
): Promise<Attempt[]> {
  // Whoever ends it, or makes an earlier one of a user due, has done so by then, or does so later.
  await hold(connection, -webhookId, true);
  const rows = await connection
    .selectFrom("deliveries")
    .innerJoin("events", "events.position", "deliveries.position")
    .select(["deliveries.position", "attempts", "type", "events.user_id", "time", "data"])
    .where("webhook_id", "=", webhookId)
    .where("due_at", "<=", timestamp(now))
    .where(({ not, exists, selectFrom, lit }) =>
      not(
        exists(
          selectFrom("deliveries as earlier")
            .select(lit(1).as("one"))
            .whereRef("earlier.webhook_id", "=", "deliveries.webhook_id")
            .whereRef("earlier.user_id", "=", "deliveries.user_id")
            .whereRef("earlier.position", "<", "deliveries.position")
            .where("earlier.position", ">=", OLDEST)
            .where("earlier.due_at", "is not", null),
        ),
      ),
    )
    .orderBy("due_at")
    .orderBy("deliveries.position")
    .limit(limit)
    .$if(isPostgres(connection), (query) => query.forUpdate("deliveries").skipLocked())
    .execute();
  if (rows.length > 0) {
    const positions = rows.map(({ position }) => position);
    await connection
      .updateTable("deliveries")
      .set((eb) => ({
        attempts: eb("attempts", "+", 1),
        outcome: null,
        due_at: timestamp(until),
      }))
      .where("webhook_id", "=", webhookId)
      .where("position", "in", positions)
      .execute();
  }
  return rows.map(({ attempts, ...event }) => ({ number: attempts + 1, until, event }));
}

/** The event has arrived, and the user's next one is due. @clauses HOOK-13, HOOK-15 */
export async function finish(
  connection: Connection,
  webhookId: number,
  attempt: Attempt,
  now: Date,
): Promise<void> {
  await hold(connection, -webhookId, true);
  await connection
    .deleteFrom("deliveries")
    .where("webhook_id", "=", webhookId)
    .where("position", "=", attempt.event.position)
    // Else the time for the attempt is over, and another one has begun.
    .where("attempts", "=", attempt.number)
    .execute();
  await letGo(connection, webhookId, attempt, now);
}

/**
 * The attempt has failed; the next one is due then, and so are the user's later events.
 *
 * @clauses HOOK-14, HOOK-15
 */
export async function postpone(
  connection: Connection,
  webhookId: number,
  attempt: Attempt,
  outcome: string,
  dueAt: Date,
): Promise<void> {
  const then = timestamp(dueAt);
  if (await fail(connection, webhookId, attempt, { outcome, due_at: then })) {
    await later(connection, webhookId, attempt)
      .where("due_at", "<", then)
      .set({ due_at: then })
      .execute();
  }
}

/**
 * The last attempt has failed, and the user's next event is due. Whether it was the last.
 *
 * @clauses HOOK-14, HOOK-15
 */
export async function letDie(
  connection: Connection,
  webhookId: number,
  attempt: Attempt,
  outcome: string,
  now: Date,
): Promise<boolean> {
  const isDead = await fail(connection, webhookId, attempt, { outcome, due_at: null });
  if (isDead) {
    await letGo(connection, webhookId, attempt, now);
  }
  return isDead;
}

/** Changes nothing where the time for the attempt is over, and another one has begun. */
async function fail(
  connection: Connection,
  webhookId: number,
  { number, event }: Attempt,
  failed: { outcome: string; due_at: string | null },
): Promise<boolean> {
  await hold(connection, -webhookId, true);
  const { numUpdatedRows } = await connection
    .updateTable("deliveries")
    .set(failed)
    .where("webhook_id", "=", webhookId)
    .where("position", "=", event.position)
    .where("attempts", "=", number)
    .executeTakeFirst();
  return numUpdatedRows > 0;
}

async function letGo(
  connection: Connection,
  webhookId: number,
  attempt: Attempt,
  now: Date,
): Promise<void> {
  const then = timestamp(now);
  await later(connection, webhookId, attempt)
    .where("due_at", ">", then)
    .set({ due_at: then })
    .execute();
}

/**
 * The user's later ones, which have to wait anyway. Were they due meanwhile, each look would find
 * them.
 */
function later(connection: Connection, webhookId: number, { event }: Attempt) {
  return connection
    .updateTable("deliveries")
    .where("webhook_id", "=", webhookId)
    .where("user_id", "=", event.user_id)
    .where("position", ">", event.position)
    .where("attempts", "=", 0);
}

/**
 * End the webhook, and drop its deliveries; whether it had not ended yet.
 *
 * @clauses HOOK-17
 */
export async function endWebhook(connection: Connection, id: number, now: Date): Promise<boolean> {
  await hold(connection, -id);
  const { numUpdatedRows } = await connection
    .updateTable("webhooks")
    .set({ ended_at: timestamp(now) })
    .where("id", "=", id)
    .where("ended_at", "is", null)
    .executeTakeFirst();
  await connection.deleteFrom("deliveries").where("webhook_id", "=", id).execute();
  return numUpdatedRows > 0;
}

/** The webhook's deliveries behind the position `after`. @clauses HOOK-19 */
export async function listDeliveries(
  connection: Connection,
  webhookId: number,
  limit: number,
  after: number,
): Promise<Delivery[]> {
  const rows = await connection
    .selectFrom("deliveries")
    .select(SHOWN)
    .where("webhook_id", "=", webhookId)
    .where("position", ">", after)
    .orderBy("position")
    .limit(limit)
    .execute();
  return rows.map(asDelivery);
}

/**
 * Make this event's delivery due, if there is one and no attempt is under way; gives it.
 *
 * @clauses HOOK-21
 */
export async function makeDue(
  connection: Connection,
  webhookId: number,
  event: number,
  now: Date,
): Promise<Delivery | null> {
  await connection
    .updateTable("deliveries")
    .set({ due_at: timestamp(now) })
    .where("webhook_id", "=", webhookId)
    .where("position", "=", event)
    // One that has begun, and has no outcome, is under way.
    .where((eb) =>
      eb.or([eb("due_at", "is", null), eb("attempts", "=", 0), eb("outcome", "is not", null)]),
    )
    .execute();
  const row = await connection
    .selectFrom("deliveries")
    .select(SHOWN)
    .where("webhook_id", "=", webhookId)
    .where("position", "=", event)
    .executeTakeFirst();
  return row ? asDelivery(row) : null;
}

type WebhookRow = Omit<Webhook, "types"> & { types: string };

function asWebhook({ id, url, types, created_at, ended_at }: WebhookRow): Webhook {
  return { id, url, types: JSON.parse(types), created_at, ended_at };
}

type DeliveryRow = Pick<Tables["deliveries"], (typeof SHOWN)[number]>;

function asDelivery({ position, attempts, outcome, due_at }: DeliveryRow): Delivery {
  const status = due_at === null ? "dead" : "waiting";
  return { event: String(position), status, attempts, outcome, due_at };
}
