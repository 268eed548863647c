/**
 * Settings: the only reader of the environment.
 *
 * An unset or empty variable means the default; a wrong value throws `SettingsError`, whose one
 * line ends the start.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const SQLITE_URL = /^sqlite:\/\/\/[^\x00-\x1f]+$/;
const ORIGIN = /^https?:\/\/(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?$/;
const DIGITS = /^[0-9]{1,9}$/;
const SPACES = /^ +| +$/g;

/** A setting has a value that it must not have. */
export class SettingsError extends Error {}

/** The service's settings; the README's table says what each does. */
export type Settings = Readonly<{
  host: string;
  port: number;
  databaseUrl: string;
  /** Seconds. */
  databaseTimeout: number;
  /** Seconds. */
  idempotencyTtl: number;
  corsOrigins: readonly string[];
  /** Seconds. */
  shutdownTimeout: number;
}>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that the environment's variables give.
 *
 * Throws SettingsError for the first that is wrong.
 */
export function readSettings(environment: Environment): Settings {
  return {
    host: environment["HOST"] || "127.0.0.1",
    port: integer(environment, "PORT", 3000, 0, 65535),
    databaseUrl: databaseUrl(environment),
    databaseTimeout: integer(environment, "DATABASE_TIMEOUT", 5, 1, 60),
    idempotencyTtl: integer(environment, "IDEMPOTENCY_TTL", 86400, 1, 31536000),
    corsOrigins: origins(environment),
    shutdownTimeout: integer(environment, "SHUTDOWN_TIMEOUT", 5, 1, 60),
  };
}

function integer(
  environment: Environment,
  name: string,
  preset: number,
  lowest: number,
  highest: number,
): number {
  const text = environment[name] || String(preset);
  if (!DIGITS.test(text) || Number(text) < lowest || Number(text) > highest) {
    throw new SettingsError(`${name} must be an integer from ${lowest} to ${highest}`);
  }
  return Number(text);
}

function databaseUrl(environment: Environment): string {
  const url = environment["DATABASE_URL"] || "sqlite:///users.db";
  if (!SQLITE_URL.test(url)) {
    throw new SettingsError("DATABASE_URL must be a URL such as sqlite:///users.db");
  }
  return url;
}

function origins(environment: Environment): readonly string[] {
  const text = environment["CORS_ORIGINS"] || "";
  const parts = text ? text.split(",").map((part) => part.replace(SPACES, "")) : [];
  if (!parts.every((origin) => ORIGIN.test(origin))) {
    throw new SettingsError(
      "CORS_ORIGINS must be origins such as https://example.com, with commas",
    );
  }
  return parts;
}
