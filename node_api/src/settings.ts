/**
 * Settings: the only reader of the environment.
 *
 * An unset or empty variable means the default; a wrong value throws `SettingsError`, whose one
 * line ends the start.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const SQLITE_URL = /^sqlite:\/\/\/[^\x00-\x1f]+$/;
const PART = "(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})";
const POSTGRES_URL = new RegExp(
  `^postgresql://(?:${PART}+(?::(?<password>${PART}*))?@)?` +
    `(?:(?:\\[[0-9A-Fa-f:.]+\\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?)?/${PART}+(?:\\?[!-~]*)?$`,
);
// The password in docker-compose.yml, which everybody knows.
const EXAMPLE_PASSWORD = "not-a-secret";
const ORIGIN = /^https?:\/\/(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?$/;
const DIGITS = /^[0-9]{1,9}$/;
const SPACES = /^ +| +$/g;

/** A setting has a value that it must not have. */
export class SettingsError extends Error {}

/** The service's settings; the README's table says what each does. */
export type Settings = Readonly<{
  host: string;
  port: number;
  /** Processes. */
  webConcurrency: number;
  databaseUrl: string;
  allowExamplePassword: boolean;
  /** Connections of each process; SQLite has one. */
  databasePoolSize: number;
  /** Seconds. */
  databaseTimeout: number;
  /** Seconds. */
  databaseStatementTimeout: number;
  /** Seconds. */
  idempotencyTtl: number;
  /** KiB. */
  argon2Memory: number;
  argon2Iterations: number;
  /** Lanes. */
  argon2Parallelism: number;
  corsOrigins: readonly string[];
  /** Seconds. */
  requestTimeout: number;
  /** Seconds. */
  keepAliveTimeout: number;
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
    // OPS-02
    host: environment["HOST"] || "127.0.0.1",
    // OPS-02
    port: integer(environment, "PORT", 3000, 0, 65535),
    webConcurrency: integer(environment, "WEB_CONCURRENCY", 1, 1, 64),
    databaseUrl: databaseUrl(environment),
    allowExamplePassword: flag(environment, "ALLOW_EXAMPLE_PASSWORD"),
    databasePoolSize: integer(environment, "DATABASE_POOL_SIZE", 10, 1, 100),
    databaseTimeout: integer(environment, "DATABASE_TIMEOUT", 5, 1, 60),
    databaseStatementTimeout: integer(environment, "DATABASE_STATEMENT_TIMEOUT", 5, 1, 60),
    idempotencyTtl: integer(environment, "IDEMPOTENCY_TTL", 86400, 1, 31536000),
    // PASSWORD-12
    argon2Memory: argon2Memory(environment),
    argon2Iterations: integer(environment, "ARGON2_ITERATIONS", 2, 1, 100),
    argon2Parallelism: integer(environment, "ARGON2_PARALLELISM", 1, 1, 16),
    corsOrigins: origins(environment),
    requestTimeout: integer(environment, "REQUEST_TIMEOUT", 60, 1, 3600),
    keepAliveTimeout: integer(environment, "KEEP_ALIVE_TIMEOUT", 65, 1, 3600),
    shutdownTimeout: integer(environment, "SHUTDOWN_TIMEOUT", 5, 1, 60),
  };
}

// OPS-03
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

function flag(environment: Environment, name: string): boolean {
  const text = environment[name] || "false";
  if (text !== "true" && text !== "false") {
    throw new SettingsError(`${name} must be true or false`);
  }
  return text === "true";
}

function databaseUrl(environment: Environment): string {
  const url = environment["DATABASE_URL"] || "sqlite:///users.db";
  const postgres = POSTGRES_URL.exec(url);
  if (!(SQLITE_URL.test(url) || postgres)) {
    throw new SettingsError(
      "DATABASE_URL must be a URL such as sqlite:///users.db " +
        "or postgresql://user:password@host/users",
    );
  }
  const known = postgres?.groups?.["password"] === EXAMPLE_PASSWORD;
  if (known && !flag(environment, "ALLOW_EXAMPLE_PASSWORD")) {
    throw new SettingsError(
      "DATABASE_URL must be a URL with a password of its own, not the example's",
    );
  }
  return url;
}

function argon2Memory(environment: Environment): number {
  const memory = integer(environment, "ARGON2_MEMORY", 19456, 8, 1048576);
  // RFC 9106, 3.1
  if (memory < 8 * integer(environment, "ARGON2_PARALLELISM", 1, 1, 16)) {
    throw new SettingsError("ARGON2_MEMORY must be at least 8 for each of ARGON2_PARALLELISM");
  }
  return memory;
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
