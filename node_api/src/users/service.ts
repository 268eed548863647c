/**
 * What the users' operations do: each write is one transaction, committed before it is answered.
 *
 * Each begins with a second look at the caller: the body may have come long after the token was
 * checked (RIGHT-15).
 */

import { countFailure, refuseLocked, registrant, type Suspect } from "../auth/failures.ts";
import type { Caller, Guard, Target } from "../auth/guard.ts";
import { hashPassword } from "../auth/passwords.ts";
import { type Change, userChanged, userCreated, userDeleted } from "../events/schemas.ts";
import { writeEvent } from "../events/store.ts";
import { Problem } from "../http/problems.ts";
import type { Sent } from "../http/readers.ts";
import type { EntityTags } from "../http/requests.ts";
import type { Settings } from "../settings.ts";
import type { Connection, Database } from "../storage/database.ts";
import { claimKey, isKept, keepResponse, scopedKey } from "./idempotency.ts";
import type { Page } from "./pages.ts";
import type { NewUser, Stored, User, UserChanges } from "./schemas.ts";
import * as store from "./store.ts";

/** The users of a database. */
export class Users {
  readonly #settings: Settings;
  readonly #database: Database;
  readonly #guard: Guard;

  constructor(settings: Settings, database: Database, guard: Guard) {
    this.#settings = settings;
    this.#database = database;
    this.#guard = guard;
  }

  /**
   * Create a user; gives it, and whether it was created before, under the same key.
   *
   * `address` is where the request comes from. Throws unauthorized, forbidden,
   * idempotency-key-reused, too-many-registrations, overloaded and email-taken.
   *
   * @clauses IDEM-01, IDEM-02, IDEM-08, IDEM-10, IDEM-14, LIMIT-13, OPS-19, PROB-17, PROB-22,
   * REP-05, REP-06, USR-CREATE-05, USR-CREATE-06
   */
  async create(
    caller: Caller | null,
    sentKey: string | null,
    sent: Sent<NewUser>,
    address: string,
  ): Promise<[user: User, replayed: boolean]> {
    this.#guard.checkRole(caller, sent.fields.role);
    const isCounted = this.#settings.auth && !caller;
    const whom = isCounted ? [registrant(address, this.#settings)] : [];
    const key = scopedKey(sentKey, caller);
    await this.#refuseCrowd(whom, key);
    const fields = await this.#stored(sent.fields);
    const now = new Date();
    return await this.#counted(whom, now, async (connection) => {
      await this.#guard.confirm(connection, caller);
      if (key) {
        const ttl = this.#settings.idempotencyTtl;
        const kept = await claimKey(connection, key, sent.raw, now, ttl);
        if (kept) {
          return [kept, true];
        }
      }
      if (whom.length > 0) {
        await countFailure(connection, whom, now);
      }
      const user = await store.createUser(connection, fields, now);
      await this.#writeEvent(connection, userCreated(user), now);
      if (key) {
        await keepResponse(connection, key, user);
      }
      return [user, false];
    });
  }

  /** The users of a page, and one more if there is another page. @clauses USR-LIST-19 */
  listPage(page: Page): Promise<User[]> {
    return store.listUsers(this.#database.connection, page);
  }

  /** The user. Throws user-not-found. @clauses COND-15, USR-READ-04 */
  read(id: number): Promise<User> {
    return store.readUser(this.#database.connection, id);
  }

  /**
   * Change the members that were sent; gives the user as it is then.
   *
   * Throws unauthorized, forbidden, user-not-found, version-mismatch, email-taken and overloaded.
   *
   * @clauses PROB-22, USR-PATCH-07, USR-PATCH-09, USR-REPLACE-06, USR-REPLACE-07
   */
  async change(
    target: Target,
    condition: EntityTags | null,
    sent: NewUser | UserChanges,
  ): Promise<User> {
    this.#guard.checkRole(target.caller, sent.role);
    const changes = await this.#stored(sent);
    const now = new Date();
    return await this.#database.transaction(async (connection) => {
      await this.#guard.confirm(connection, target.caller, target.id);
      const [user, isNew] = await store.changeUser(connection, target.id, changes, condition, now);
      if (isNew) {
        await this.#writeEvent(connection, userChanged(user), now);
      }
      return user;
    });
  }

  /**
   * Delete the user. Throws unauthorized, forbidden, user-not-found and version-mismatch.
   *
   * @clauses USR-DELETE-03
   */
  async delete(target: Target, condition: EntityTags | null): Promise<void> {
    const now = new Date();
    await this.#database.transaction(async (connection) => {
      await this.#guard.confirm(connection, target.caller, target.id);
      const version = await store.deleteUser(connection, target.id, condition);
      await this.#writeEvent(connection, userDeleted(target.id, version, now), now);
    });
  }

  /** Write the event of a change, in one commit with it. @clauses EVENT-01, EVENT-02 */
  #writeEvent(connection: Connection, change: Change, now: Date): Promise<void> {
    return writeEvent(connection, change, now, this.#settings.eventsTtl);
  }

  /**
   * Throw too-many-registrations before there is work, unless there is an answer already.
   *
   * @clauses LIMIT-15
   */
  async #refuseCrowd(whom: readonly Suspect[], key: string | null): Promise<void> {
    if (whom.length === 0) {
      return;
    }
    const { connection } = this.#database;
    const now = new Date();
    if (!(key && (await isKept(connection, key, now)))) {
      await refuseLocked(connection, whom, now);
    }
  }

  /**
   * Run `work` in a transaction; where it ends with email-taken, count that in a second one.
   *
   * Whoever is told that an email is taken has learned who has an account.
   *
   * @clauses LIMIT-12, LIMIT-14
   */
  async #counted<Result>(
    whom: readonly Suspect[],
    now: Date,
    work: (connection: Connection) => Promise<Result>,
  ): Promise<Result> {
    try {
      return await this.#database.transaction(work);
    } catch (error) {
      if (whom.length > 0 && error instanceof Problem && error.code === "email-taken") {
        await this.#database.transaction((connection) => countFailure(connection, whom, now));
      }
      throw error;
    }
  }

  /**
   * The members that were sent, as they are kept: in place of a password its hash.
   *
   * Comes before the transaction, which would hold a connection, or SQLite's only writer,
   * meanwhile.
   *
   * @clauses PASSWORD-07, PASSWORD-08, PASSWORD-15, ROLE-04, USR-PATCH-01
   */
  async #stored<Fields extends UserChanges>(sent: Fields): Promise<Stored<Fields>> {
    const { password, ...fields } = sent;
    if (password === undefined) {
      return fields;
    }
    const hash = password && (await hashPassword(password, this.#settings));
    return { ...fields, password_hash: hash };
  }
}
