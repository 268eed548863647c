/** Endpoints: where a webhook leads, and one request to there. */

import { X509Certificate } from "node:crypto";
import { lookup } from "node:dns/promises";
import http, { type ClientRequest } from "node:http";
import https from "node:https";
import { isIP, isIPv4, isIPv6 } from "node:net";
import type { Duplex } from "node:stream";
import type { SecureContext } from "node:tls";
import { tlsContext } from "../auth/provider.ts";
import { parseAddress } from "../http/addresses.ts";
import type { Settings } from "../settings.ts";
import { LABEL } from "../users/schemas.ts";
import { mayCall } from "./networks.ts";

// RFC 3986 without user and fragment; how the host looks inside, `isHost` tells.
const URL_PARTS =
  /^(https?):\/\/((?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]+))(?::([1-9][0-9]{0,4}))?)(\/[!$-;=?-[\]_a-z~]*)?$/;
const DOTTED = /^[0-9]+(?:\.[0-9]+){3}$/;
const NAME = new RegExp(`^(?:${LABEL}\\.)*(?=[A-Za-z])${LABEL}$`);
const MAX_NAME = 253;
const MAX_PORT = 65535;
const MAX_HEAD = 16384;
// One at a time: libuv has two at most, and those of the database and the provider need one, too.
const LOOKUPS = 1;

/** An attempt has failed; the message is its outcome, as clients see it. */
export class AttemptError extends Error {}

/** The parts of a webhook's URL. */
export type Endpoint = Readonly<{
  isSecure: boolean;
  /** A name or an address. */
  host: string;
  port: number;
  /** As `Host` has it. */
  authority: string;
  target: string;
}>;

/** The endpoint that the URL leads to; null if it hasn't the required form. @clauses HOOK-04 */
export function parseUrl(url: string): Endpoint | null {
  const [matched, scheme, authority = "", ipv6, other = "", port, target = "/"] =
    URL_PARTS.exec(url) ?? [];
  if (matched === undefined || !isHost(ipv6, other) || Number(port ?? 0) > MAX_PORT) {
    return null;
  }
  const isSecure = scheme === "https";
  const number = Number(port ?? (isSecure ? 443 : 80));
  return { isSecure, host: ipv6 ?? other, port: number, authority, target };
}

function isHost(ipv6: string | undefined, other: string): boolean {
  if (ipv6 !== undefined) {
    return isIPv6(ipv6);
  }
  return DOTTED.test(other) ? isIPv4(other) : other.length <= MAX_NAME && NAME.test(other);
}

/** A client of endpoints, which looks up where they are. */
export class Client {
  readonly #settings: Settings;
  readonly #lookups = new Map<string, Promise<string[]>>();
  #context: SecureContext | null = null;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /**
   * Where to call the endpoint. Throws AttemptError.
   *
   * @clauses HOOK-13, HOOK-22, HOOK-23
   */
  async findAddress({ host, isSecure }: Endpoint, signal: AbortSignal): Promise<string> {
    const found = parseAddress(host) ? [host] : await this.#lookUp(host, signal);
    const networks = this.#settings.webhooksNetworks;
    const allowed = found.filter((one) => mayCall(one, isSecure, networks));
    const [first] = allowed;
    if (first === undefined) {
      throw new AttemptError("forbidden-address");
    }
    return allowed.find((one) => isIPv4(parseAddress(one) ?? "")) ?? first;
  }

  /**
   * The addresses of a name. Throws AttemptError.
   *
   * Nothing ends a lookup that has begun: it keeps its turn until it is over, and whoever asks for
   * the same name meanwhile hears of it, too.
   */
  async #lookUp(name: string, signal: AbortSignal): Promise<string[]> {
    const late = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(new AttemptError("timeout")));
    });
    while (this.#lookups.size >= LOOKUPS && !this.#lookups.has(name)) {
      await Promise.race([...this.#lookups.values(), late]);
    }
    const found = await Promise.race([this.#lookups.get(name) ?? this.#ask(name), late]);
    if (found.length === 0) {
      throw new AttemptError("unreachable");
    }
    return found;
  }

  async #ask(name: string): Promise<string[]> {
    const asking = lookup(name, { all: true, order: "verbatim" })
      .then((found) => found.map(({ address }) => address))
      .catch(() => [])
      .finally(() => this.#lookups.delete(name));
    this.#lookups.set(name, asking);
    return await asking;
  }

  /**
   * Post this to the endpoint at this address; gives the status. Throws AttemptError.
   *
   * Nothing else than the address is connected to, and no more than the answer's head is read.
   *
   * @clauses HOOK-10, HOOK-13, HOOK-23, HOOK-24, HOOK-28
   */
  async post(
    { isSecure, host, port, authority, target }: Endpoint,
    address: string,
    fields: Readonly<Record<string, string>>,
    body: string,
    signal: AbortSignal,
  ): Promise<number> {
    const request = (isSecure ? https : http).request({
      host: address,
      // RFC 6066, 3: an address isn't told.
      servername: isIP(host) ? "" : host,
      checkServerIdentity: (_, { raw }) => checkIdentity(host, raw),
      port,
      method: "POST",
      path: target,
      headers: { Host: authority, ...fields },
      agent: this.#agent(isSecure),
      maxHeaderSize: MAX_HEAD,
      signal,
    });
    try {
      request.end(body);
      return await status(request);
    } catch {
      throw new AttemptError(signal.aborted ? "timeout" : "unreachable");
    } finally {
      request.destroy();
    }
  }

  /**
   * An agent for one request: the global one heeds the environment, and one that lasts remembers
   * what endpoints have said of TLS.
   */
  #agent(isSecure: boolean): http.Agent {
    if (!isSecure) {
      return new http.Agent();
    }
    this.#context ??= tlsContext(this.#settings.webhooksCa);
    return new https.Agent({ secureContext: this.#context, rejectUnauthorized: true });
  }
}

/**
 * An error where the certificate isn't the host's (RFC 9525): Node by itself takes `a*.example.com`,
 * too, and the name of the subject.
 *
 * @clauses HOOK-24
 */
function checkIdentity(host: string, raw: Buffer): Error | undefined {
  const certificate = new X509Certificate(raw);
  const found = isIP(host)
    ? certificate.checkIP(host)
    : certificate.checkHost(host, { subject: "never", partialWildcards: false });
  return found === undefined ? new Error(`no certificate for ${host}`) : undefined;
}

/** The status that the request is answered with, from 100 on. */
function status(request: ClientRequest): Promise<number> {
  return new Promise((resolve, reject) => {
    request.on("response", ({ statusCode = 0 }) => {
      if (statusCode >= 100) {
        resolve(statusCode);
      } else {
        reject(new Error(`${statusCode} is no status`));
      }
    });
    request.on("upgrade", (_, socket: Duplex) => {
      socket.destroy();
      resolve(101);
    });
    request.on("error", reject);
    request.on("close", () => reject(new Error("the connection ended too early")));
  });
}
