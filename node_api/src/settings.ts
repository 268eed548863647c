/**
 * Settings: the only reader of the environment.
 *
 * An unset or empty variable means the default; a wrong value throws `SettingsError`, whose one
 * line ends the start.
 */

import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type Networks, parseNetworks } from "./http/addresses.ts";
import { trim } from "./http/requests.ts";
import { emailRule, passwordRule } from "./users/schemas.ts";

// better-sqlite3 takes white space off a path's end, so no path has any there; and a variable that is
// not UTF-8 is none.
const SQLITE_URL =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
  /^sqlite:\/\/\/([^\x00-\x1f\ud800-\udfff\ufffd]*[^\s\x1c-\x1f\x85\ud800-\udfff\ufffd])$/u;
const PART = "(?:[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})";
const POSTGRES_URL = new RegExp(
  `^postgresql://(${PART}+)(?::(${PART}*))?@(?:\\[([0-9A-Fa-f:.]+)\\]|([A-Za-z0-9._-]+))` +
    `(?::([0-9]{1,5}))?/(${PART}+)(?:\\?([!-~]*))?$`,
);
const OPTION = /^(sslmode|sslrootcert)=((?:[A-Za-z0-9._~!$'()*+,;:@/?-]|%[0-9A-Fa-f]{2})+)$/;
const SSLMODES = ["disable", "prefer", "require", "verify-ca", "verify-full"];
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is refused
const CONTROLS = /[\x00-\x1f]/;
const NOT_UTF_8 = /[\ud800-\udfff\ufffd]/u;
// Long enough that nobody guesses it (AUTH-12).
const SECRET = /^[!-~]{32,1024}$/;
const WORD = /^[!-~]{1,255}$/;
// Where only the machine itself can ask (AUTH-14).
const LOOPBACK = /^(?:localhost|127(?:\.[0-9]{1,3}){3}|::1)$/;
const JWKS_URL =
  /^https?:\/\/(?:\[([0-9a-f:.]+)\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?(?:\/[!-~]*)?$/;
const CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\r\n\t ]+-----END CERTIFICATE-----/g;
const ORIGIN = /^https?:\/\/(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?$/;
const DIGITS = /^[0-9]{1,9}$/;
const RETRY = /^[0-9]{1,6}(?:,[0-9]{1,6}){0,19}$/;
const LINE_BREAK = /\r?\n$/;
const UTF_8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const SECRETS = ["DATABASE_URL", "AUTH_SECRET", "AUTH_SECRET_PREVIOUS", "ADMIN_PASSWORD"] as const;

/** A setting has a value that is not allowed. */
export class SettingsError extends Error {}

/** A database in a file. */
export type SqliteUrl = Readonly<{ path: string }>;

/** A database on a server. The fields have libpq's names, and its meanings. */
export type PostgresUrl = Readonly<{
  user: string;
  password: string;
  host: string;
  port: number;
  database: string;
  sslmode: string;
  /** A file of certificates; empty for none. */
  sslrootcert: string;
}>;

/**
 * The service's settings; python_api/README.md's table says what each does. Times are in seconds.
 */
export type Settings = Readonly<{
  host: string;
  port: number;
  webConcurrency: number;
  databaseUrl: SqliteUrl | PostgresUrl;
  /** Connections to PostgreSQL, of each process. */
  databasePoolSize: number;
  databaseTimeout: number;
  databaseStatementTimeout: number;
  idempotencyTtl: number;
  eventsTtl: number;
  eventsHeartbeat: number;
  eventsStreams: number;
  /** Where webhooks may lead although those there aren't public. */
  webhooksNetworks: Networks;
  /** How long to wait after each failed attempt but the last. */
  webhooksRetry: readonly number[];
  webhooksTimeout: number;
  /** Certificates (PEM). */
  webhooksCa: string;
  argon2Memory: number;
  argon2Iterations: number;
  argon2Parallelism: number;
  hashQueue: number;
  /** Whether a request has to say who sends it. */
  auth: boolean;
  authSecret: string;
  authSecretPrevious: string;
  authIssuer: string;
  authAudience: string;
  authTokenTtl: number;
  authJwksUrl: string;
  /** Certificates (PEM). */
  authJwksCa: string;
  /** Whether anybody may create a user. */
  registration: boolean;
  adminEmail: string;
  adminPassword: string;
  loginFailuresPerEmail: number;
  loginFailuresPerAddress: number;
  loginFailuresWindow: number;
  registrationsPerAddress: number;
  registrationsWindow: number;
  trustedProxies: Networks;
  corsOrigins: readonly string[];
  maxConnections: number;
  requestTimeout: number;
  keepAliveTimeout: number;
  shutdownTimeout: number;
}>;

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The settings that the environment's variables give.
 *
 * Throws SettingsError for the first that is wrong.
 *
 * @clauses AUTH-02, AUTH-33, HOOK-13, LIMIT-01, LIMIT-02, LIMIT-08, LIMIT-12, OPS-02, PASSWORD-12,
 * PASSWORD-17, RIGHT-09, RIGHT-11
 */
export function readSettings(given: Environment): Settings {
  const environment = withFiles(given);
  return {
    host: host(environment),
    port: integer(environment, "PORT", 3000, 0, 65535),
    webConcurrency: integer(environment, "WEB_CONCURRENCY", 1, 1, 64),
    databaseUrl: databaseUrl(environment),
    databasePoolSize: integer(environment, "DATABASE_POOL_SIZE", 10, 1, 100),
    databaseTimeout: integer(environment, "DATABASE_TIMEOUT", 5, 1, 60),
    databaseStatementTimeout: integer(environment, "DATABASE_STATEMENT_TIMEOUT", 5, 1, 60),
    idempotencyTtl: integer(environment, "IDEMPOTENCY_TTL", 86400, 1, 31536000),
    eventsTtl: integer(environment, "EVENTS_TTL", 604800, 1, 31536000),
    eventsHeartbeat: integer(environment, "EVENTS_HEARTBEAT", 10, 1, 3600),
    eventsStreams: integer(environment, "EVENTS_STREAMS", 500, 1, 100000),
    webhooksNetworks: networks(environment, "WEBHOOKS_NETWORKS"),
    webhooksRetry: retry(environment),
    webhooksTimeout: integer(environment, "WEBHOOKS_TIMEOUT", 15, 1, 60),
    webhooksCa: certificates(environment, "WEBHOOKS_CA"),
    argon2Memory: argon2Memory(environment),
    argon2Iterations: integer(environment, "ARGON2_ITERATIONS", 2, 1, 100),
    argon2Parallelism: integer(environment, "ARGON2_PARALLELISM", 1, 1, 16),
    hashQueue: integer(environment, "HASH_QUEUE", 64, 1, 10000),
    auth: auth(environment),
    authSecret: secret(environment, "AUTH_SECRET"),
    authSecretPrevious: secret(environment, "AUTH_SECRET_PREVIOUS"),
    authIssuer: word(environment, "AUTH_ISSUER", "users"),
    authAudience: word(environment, "AUTH_AUDIENCE", "users"),
    authTokenTtl: integer(environment, "AUTH_TOKEN_TTL", 900, 1, 86400),
    authJwksUrl: jwksUrl(environment),
    authJwksCa: certificates(environment, "AUTH_JWKS_CA"),
    registration: choice(environment, "REGISTRATION", "open", "closed") !== "closed",
    adminEmail: admin(environment, "ADMIN_EMAIL", "an email", emailRule).toLowerCase(),
    adminPassword: admin(
      environment,
      "ADMIN_PASSWORD",
      "a password of 12 to 128 characters",
      passwordRule,
    ),
    loginFailuresPerEmail: integer(environment, "LOGIN_FAILURES_PER_EMAIL", 10, 1, 1000),
    loginFailuresPerAddress: integer(environment, "LOGIN_FAILURES_PER_ADDRESS", 10, 1, 1000000),
    loginFailuresWindow: integer(environment, "LOGIN_FAILURES_WINDOW", 900, 1, 86400),
    registrationsPerAddress: integer(environment, "REGISTRATIONS_PER_ADDRESS", 20, 1, 1000000),
    registrationsWindow: integer(environment, "REGISTRATIONS_WINDOW", 3600, 1, 86400),
    trustedProxies: networks(environment, "TRUSTED_PROXIES"),
    corsOrigins: origins(environment),
    maxConnections: integer(environment, "MAX_CONNECTIONS", 1000, 1, 100000),
    requestTimeout: integer(environment, "REQUEST_TIMEOUT", 60, 1, 3600),
    keepAliveTimeout: integer(environment, "KEEP_ALIVE_TIMEOUT", 65, 1, 3600),
    shutdownTimeout: integer(environment, "SHUTDOWN_TIMEOUT", 5, 1, 60),
  };
}

/** The environment, with what stands in the files that it names for a secret. @clauses OPS-55 */
function withFiles(environment: Environment): Environment {
  const read = { ...environment };
  for (const name of SECRETS) {
    const file = environment[`${name}_FILE`];
    if (file) {
      if (environment[name]) {
        throw new SettingsError(`${name} must be empty where ${name}_FILE is set`);
      }
      read[name] = content(`${name}_FILE`, file);
    }
  }
  return read;
}

function content(name: string, file: string): string {
  let text: string;
  try {
    text = NOT_UTF_8.test(file) ? "" : UTF_8.decode(readFileSync(file));
  } catch {
    text = "";
  }
  text = text.replace(LINE_BREAK, "");
  // An empty one would be as none at all: without AUTH_SECRET nobody is asked for a token.
  if (!text) {
    throw new SettingsError(`${name} must be a file that can be read and is not empty`);
  }
  return text;
}

/** The setting as an integer, from `lowest` to `highest`. Throws SettingsError. @clauses OPS-03 */
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

/**
 * How long to wait after each failed attempt (Standard Webhooks' own times by default).
 *
 * Throws SettingsError.
 *
 * @clauses HOOK-14
 */
function retry(environment: Environment): readonly number[] {
  const text = environment["WEBHOOKS_RETRY"] || "5,300,1800,7200,18000,36000,50400,72000,86400";
  const times = RETRY.test(text) ? text.split(",").map(Number) : [];
  if (times.length === 0 || !times.every((time) => time >= 1 && time <= 604800)) {
    throw new SettingsError(
      "WEBHOOKS_RETRY must be 1 to 20 integers from 1 to 604800, with commas",
    );
  }
  return times;
}

/** Where to listen. Throws SettingsError. @clauses OPS-02, OPS-03 */
function host(environment: Environment): string {
  const text = environment["HOST"] || "127.0.0.1";
  if (NOT_UTF_8.test(text)) {
    throw new SettingsError("HOST must be a name or an address");
  }
  return text;
}

/** Where the database is. Throws SettingsError. @clauses OPS-30 */
function databaseUrl(environment: Environment): SqliteUrl | PostgresUrl {
  const url = environment["DATABASE_URL"] || "sqlite:///users.db";
  const path = SQLITE_URL.exec(url)?.[1];
  const found = path ? { path } : postgresUrl(url);
  if (!found) {
    throw new SettingsError(
      "DATABASE_URL must be a URL such as sqlite:///users.db " +
        "or postgresql://user:password@host/users",
    );
  }
  return found;
}

/** The parts of PostgreSQL's URL; null if it isn't one. @clauses OPS-30 */
function postgresUrl(url: string): PostgresUrl | null {
  const match = POSTGRES_URL.exec(url);
  if (!match) {
    return null;
  }
  const [, user = "", password = "", ipv6, name = "", port = "5432", database = ""] = match;
  if (!isPlace(ipv6, port)) {
    return null;
  }
  const { sslmode = "prefer", sslrootcert = "" } = match[7] === undefined ? {} : options(match[7]);
  try {
    return {
      user: decoded(user),
      password: decoded(password),
      host: ipv6 ?? name,
      port: Number(port),
      database: decoded(database),
      sslmode,
      sslrootcert: decoded(sslrootcert),
    };
  } catch (error) {
    if (error instanceof URIError) {
      return null;
    }
    throw error;
  }
}

/** Whether these are an address and a port, as far as the URL has them. @clauses AUTH-19, OPS-30 */
function isPlace(ipv6 = "::", port = "443"): boolean {
  return isIPv6(ipv6) && Number(port) >= 1 && Number(port) <= 65535;
}

/**
 * What stands behind the URL's `?`. Throws SettingsError where that is not known, or not allowed.
 *
 * @clauses OPS-30, OPS-31
 */
function options(query: string): { sslmode?: string; sslrootcert?: string } {
  const matches = query.split("&").map((part) => OPTION.exec(part)?.slice(1) ?? []);
  const found = new Map(matches.flatMap(([name, value]) => (name ? [[name, value]] : [])));
  if (found.size < matches.length) {
    throw new SettingsError(
      "DATABASE_URL must be without options but sslmode and sslrootcert, each at most once",
    );
  }
  const mode = found.get("sslmode") ?? "prefer";
  const file = found.get("sslrootcert");
  if (!SSLMODES.includes(mode)) {
    throw new SettingsError(`DATABASE_URL must be with a sslmode of ${SSLMODES.join(", ")}`);
  }
  const verified = mode.startsWith("verify-");
  // libpq takes the word `system` for the machine's certificates, of which each runtime has its own.
  if (
    file === "system" ||
    (verified && !file) ||
    (file && (mode === "disable" || mode === "prefer"))
  ) {
    throw new SettingsError(
      "DATABASE_URL must be with a file as its sslrootcert where sslmode is verify-ca or " +
        "verify-full, and without one where it is disable or prefer",
    );
  }
  return Object.fromEntries(found);
}

function decoded(part: string): string {
  const text = decodeURIComponent(part);
  if (CONTROLS.test(text)) {
    throw new URIError(part);
  }
  return text;
}

function argon2Memory(environment: Environment): number {
  const memory = integer(environment, "ARGON2_MEMORY", 19456, 8, 1048576);
  // RFC 9106, 3.1
  if (memory < 8 * integer(environment, "ARGON2_PARALLELISM", 1, 1, 16)) {
    throw new SettingsError("ARGON2_MEMORY must be at least 8 for each of ARGON2_PARALLELISM");
  }
  return memory;
}

/** Whether callers have to say who they are. Throws SettingsError. @clauses AUTH-13, AUTH-14 */
function auth(environment: Environment): boolean {
  const secured = Boolean(environment["AUTH_SECRET"] || environment["AUTH_JWKS_URL"]);
  const chosen = choice(environment, "AUTH", "on", "off");
  if (chosen === "on" && !secured) {
    throw new SettingsError("AUTH_SECRET must be set where AUTH is on");
  }
  if (!(chosen || secured || LOOPBACK.test(host(environment)))) {
    throw new SettingsError("AUTH_SECRET must be set, or AUTH be off, where HOST is no loopback");
  }
  return secured && chosen !== "off";
}

/**
 * Whether the service is open on a loopback address, so meant for this machine alone.
 *
 * @clauses AUTH-40
 */
export function isLocal(settings: Settings): boolean {
  return !settings.auth && LOOPBACK.test(settings.host);
}

function choice(environment: Environment, name: string, one: string, other: string): string {
  const text = environment[name] || "";
  if (!["", one, other].includes(text)) {
    throw new SettingsError(`${name} must be ${one} or ${other}`);
  }
  return text;
}

/** A secret; empty if it is not set. Throws SettingsError. @clauses AUTH-12 */
function secret(environment: Environment, name: string): string {
  const text = environment[name] || "";
  if (text && !SECRET.test(text)) {
    throw new SettingsError(`${name} must be 32 or more visible ASCII characters`);
  }
  return text;
}

function word(environment: Environment, name: string, preset: string): string {
  const text = environment[name] || preset;
  if (!WORD.test(text)) {
    throw new SettingsError(`${name} must be visible ASCII characters`);
  }
  return text;
}

/** Where the provider's keys are; empty if there is none. Throws SettingsError. @clauses AUTH-19 */
function jwksUrl(environment: Environment): string {
  const url = environment["AUTH_JWKS_URL"] || "";
  const match = JWKS_URL.exec(url);
  if (url && !(match && isPlace(match[1], match[2]))) {
    throw new SettingsError("AUTH_JWKS_URL must be a URL such as https://example.com/keys");
  }
  if (url && environment["AUTH_SECRET"]) {
    throw new SettingsError("AUTH_JWKS_URL must be empty where AUTH_SECRET is set");
  }
  return url;
}

/**
 * The certificates that another one is judged by. Throws SettingsError.
 *
 * @clauses AUTH-33, HOOK-24, OPS-03
 */
function certificates(environment: Environment, name: string): string {
  const path = environment[name] || "";
  if (!path) {
    return "";
  }
  const found = certificatesIn(path);
  if (!found) {
    throw new SettingsError(`${name} must be the path of a file of certificates in PEM`);
  }
  return found;
}

/** The certificates in a file (PEM); none where one isn't, or where it can't be read. */
export function certificatesIn(path: string): string {
  try {
    const text = NOT_UTF_8.test(path) ? "" : readFileSync(path, "latin1");
    const found = text.match(CERTIFICATE) ?? [];
    // What isn't one TLS would pass over.
    return found.map((one) => new X509Certificate(one).toString()).join("\n");
  } catch {
    return "";
  }
}

function admin(
  environment: Environment,
  name: string,
  what: string,
  rule: (text: string) => string | null,
): string {
  const text = environment[name] || "";
  const both = Boolean(environment["ADMIN_EMAIL"]) === Boolean(environment["ADMIN_PASSWORD"]);
  if ((text && rule(text)) || NOT_UTF_8.test(text) || !both) {
    throw new SettingsError(`${name} must be ${what}, and not alone`);
  }
  return text;
}

/** The networks that the setting names. Throws SettingsError. @clauses HOOK-22, LIMIT-08 */
function networks(environment: Environment, name: string): Networks {
  const text = environment[name] || "";
  try {
    return parseNetworks(text ? text.split(",").map((part) => trim(part, " ")) : []);
  } catch {
    throw new SettingsError(
      `${name} must be addresses or networks such as 10.0.0.0/8, with commas`,
    );
  }
}

function origins(environment: Environment): readonly string[] {
  const text = environment["CORS_ORIGINS"] || "";
  const parts = text ? text.split(",").map((part) => trim(part, " ")) : [];
  if (!parts.every((origin) => ORIGIN.test(origin))) {
    throw new SettingsError(
      "CORS_ORIGINS must be origins such as https://example.com, with commas",
    );
  }
  return parts;
}
