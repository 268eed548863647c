/** The first admin, without whom nobody could make another one. */

import { userCreated } from "../events/schemas.ts";
import { writeEvent } from "../events/store.ts";
import { Problem } from "../http/problems.ts";
import { log } from "../operation/observability.ts";
import type { Settings } from "../settings.ts";
import type { Database } from "../storage/database.ts";
import { createUser } from "../users/store.ts";
import { hashPassword } from "./passwords.ts";
import { findByEmail } from "./store.ts";

const NAME = "Admin";

/** The first admin can't be created. */
export class AdminError extends Error {}

/**
 * Create the user of `ADMIN_EMAIL` where there is no admin yet.
 *
 * Throws AdminError if the email is somebody's who is none: whoever came first may have set the
 * password.
 *
 * @clauses EVENT-01, RIGHT-11, RIGHT-12
 */
export async function createFirstAdmin(database: Database, settings: Settings): Promise<void> {
  if (!settings.adminEmail || (await hasAdmin(database))) {
    return;
  }
  const fields = {
    name: NAME,
    email: settings.adminEmail,
    role: "admin" as const,
    password_hash: await hashPassword(settings.adminPassword, settings),
  };
  try {
    const now = new Date();
    await database.transaction(async (connection) => {
      const user = await createUser(connection, fields, now);
      await writeEvent(connection, userCreated(user), now, settings.eventsTtl);
    });
  } catch (error) {
    if (!(error instanceof Problem)) {
      throw error;
    }
    // Another service may have been faster.
    const user = await findByEmail(database.connection, settings.adminEmail);
    if (user?.role !== "admin") {
      throw new AdminError("ADMIN_EMAIL is the email of a user who is no admin");
    }
    return;
  }
  log("info", "first admin created", {});
}

async function hasAdmin(database: Database): Promise<boolean> {
  const admin = await database.connection
    .selectFrom("users")
    .select((eb) => eb.lit(1).as("one"))
    .where("role", "=", "admin")
    .limit(1)
    .executeTakeFirst();
  return admin !== undefined;
}
