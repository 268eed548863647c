/**
 * The HTTP server below the application: Node's, and what it takes to behave as uvicorn does.
 *
 * Refuses what no application should see, hands requests over with their raw target and one after
 * the other, ignores upgrades but those to WebSockets, lets no client hold much of it for long, lets
 * a client read its answer before the connection goes, and stops gracefully.
 */

import { lookup } from "node:dns/promises";
import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type Server,
  ServerResponse,
  STATUS_CODES,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { finished } from "node:stream/promises";
import { setImmediate as immediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { getRequestListener } from "@hono/node-server";
import { getConnInfo } from "@hono/node-server/conninfo";
import type { App } from "../app.ts";
import { log, NO_ROUTE, Observation, OTHER_METHOD, requestId } from "../operation/observability.ts";
import { isLocal, type Settings } from "../settings.ts";
import { type Code, Problem, renderProblem } from "./problems.ts";
import type { Below } from "./readers.ts";
import { ClientGone, MAX_BODY, routePath } from "./requests.ts";
import { asksForSocket, Handshake } from "./sockets.ts";

const MAX_HEADERS = 100;
const MAX_HEADER_BYTES = 16384;
// A head of this size isn't even read to its end.
const MAX_HEAD_BYTES = 131072;
// Node parses all that has come at once; a request beyond these is left unparsed for the time being.
const MAX_WAITING = 16;
const LINGER_SECONDS = 2;
// How often the server looks for clients that keep it waiting.
const LOOK_SECONDS = 0.5;
// What a process has open besides connections: its libraries, its log, its port.
const OTHER_FILES = 40;

const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?$/;
const LOCAL_HOST =
  /^(?:(?:[a-z0-9._-]+\.)?localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?$/i;
const NO_HOST = /[<%\u0080-\uffff]/;
// RFC 9112, 3.2.2 (HTTP-20)
const ABSOLUTE_FORM = /^http:\/\/([^/?]*)(.*)$/is;

const TOO_LARGE = new Set(["HPE_HEADER_OVERFLOW", "HPE_CHUNK_EXTENSIONS_OVERFLOW"]);

/** What answers a request: a framework's own function for `node:http`. */
type Answer = (incoming: IncomingMessage, outgoing: ServerResponse) => Promise<void>;
// HTTPParser.kOnMessageBegin
const ON_MESSAGE_BEGIN = 0;
/** Node's parser of a connection: where it tells that a request begins, and that its head is there. */
type Parser = {
  [ON_MESSAGE_BEGIN]: (() => void) | null;
  onIncoming: (incoming: IncomingMessage & { upgrade: boolean }, keepAlive: boolean) => number;
};
/** What `Socket` doesn't declare: its parser, and how much the system has not taken of a write. */
type Inner = { parser: Parser; _handle: { writeQueueSize: number } | null };

/**
 * Node's answer, with header fields to send beside those in the record that `writeHead` is given,
 * which win where the name is the same.
 *
 * Set on Hono's answer, or one by one on Node's, they would take a tenth of a request's CPU.
 */
class Outgoing<Incoming extends IncomingMessage> extends ServerResponse<Incoming> {
  fields: Readonly<Record<string, string>> = {};
  /** The request, where it is one for a WebSocket. */
  handshake: Handshake | null = null;

  override writeHead(status: number, given?: unknown): this {
    return super.writeHead(status, { ...this.fields, ...(given as OutgoingHttpHeaders) });
  }
}

const stopping = new AbortController();

/** What Node's server does for an application beside serving it. */
export const NODE_SERVER: Below = {
  getConnInfo,
  addFields: ({ env: { outgoing } }, fields) => {
    outgoing.fields = fields;
  },
  readBody: async ({ env: { incoming } }) => {
    const size = Math.min(bodySize(incoming), MAX_BODY);
    return size > 0 ? await readBounded(incoming, size) : new Uint8Array();
  },
  readToEnd: async ({ env: { incoming } }) => {
    incoming.resume();
    await finished(incoming).catch(() => {
      throw new ClientGone();
    });
  },
  socketOpener: ({ env: { outgoing } }) => outgoing.handshake?.accept ?? null,
  stopping: stopping.signal,
};

/**
 * A server that listens where the settings say. Rejects if the port is taken.
 *
 * @clauses HDR-07, HDR-08, HTTP-01, HTTP-09, HTTP-17, HTTP-18
 */
export async function listen(settings: Settings): Promise<Server> {
  const server = createServer({
    ServerResponse: Outgoing,
    maxHeaderSize: MAX_HEAD_BYTES,
    // Node's clocks don't stand still while it is we who don't read; `look` has its own (OPS-25,
    // OPS-26).
    headersTimeout: 0,
    requestTimeout: 0,
    keepAliveTimeout: 0,
    requireHostHeader: false,
  });
  // Of the trailers as well: `refusal` counts those of the head (BODY-05).
  server.maxHeadersCount = 0;
  // Words of Python's own, zones, and what each would make another name of (OPS-02, OPS-29).
  if (NO_HOST.test(settings.host)) {
    throw new Error(`${settings.host} can't be the name of a host`);
  }
  // Of a name the IPv4 address; `::` is all addresses of both families.
  const { address } = await lookup(settings.host, settings.host.includes(":") ? 6 : 4);
  server.listen({ host: address, port: settings.port, backlog: 2048 });
  await once(server, "listening");
  return server;
}

/** Tell the log where the socket listens, and whether to anybody. @clauses AUTH-13, OPS-01 */
export function logListening(
  { address, port }: Pick<AddressInfo, "address" | "port">,
  settings: Settings,
): void {
  const host = address.includes(":") ? `[${address}]` : address;
  log("info", "listening", { url: `http://${host}:${port}` });
  if (!settings.auth) {
    log("warning", "open to everybody: AUTH_SECRET is not set, or AUTH is off", {});
  }
}

/** What has this application answer, by Hono's adapter. */
export function answering(app: App): Answer {
  return getRequestListener((request, env) => app.fetch(request, env), {
    autoCleanupIncoming: false,
  });
}

/**
 * Serve until SIGTERM or SIGINT; then let the requests under way end, and return.
 *
 * `sockets` are the paths that the application has WebSockets at.
 *
 * @clauses BODY-04, BODY-06, BODY-07, HDR-09, HTTP-04, HTTP-08, HTTP-09, HTTP-12, HTTP-19, HTTP-22,
 * HTTP-28, OPS-06, OPS-25, OPS-26, OPS-27, OPS-28
 */
export async function serve(
  answer: Answer,
  settings: Settings,
  server: Server,
  sockets: ReadonlySet<string>,
): Promise<void> {
  // V8 comes to take rows for objects that last, and has the collector look at them time and again:
  // that would stop everything else.
  setFlagsFromString("--no-allocation-site-pretenuring");
  // A client that sends no more may still wait for answers (HTTP-11).
  Object.assign(server, { httpAllowHalfOpen: true });
  const connections = new Map<Duplex, Connection>();
  const waiting = new Set<Connection>();
  server.on("connection", (socket: Socket) => {
    const known = connections.get(socket);
    if (!known && connections.size >= settings.maxConnections && !makeRoom(waiting)) {
      socket.destroy();
      return;
    }
    const connection = known ?? new Connection(socket, answer, settings, waiting);
    connection.watchParser();
    if (!known) {
      connections.set(socket, connection);
      socket.once("close", () => {
        connections.delete(socket);
        waiting.delete(connection);
      });
    }
  });
  // An expectation that Node doesn't know is not met with a 417, but ignored (HTTP-14, HTTP-15,
  // HTTP-25).
  for (const event of ["request", "checkExpectation"]) {
    server.on(event, (incoming: IncomingMessage, outgoing: Outgoing<IncomingMessage>) =>
      connections.get(incoming.socket)?.take(incoming, outgoing),
    );
  }
  server.on("upgrade", (incoming, socket, rest) => {
    const [path = ""] = splitTarget(incoming.url ?? "")[1].split("?", 1);
    const connection = connections.get(socket);
    if (asksForSocket(incoming, path, sockets)) {
      connection?.takeSocket(incoming, rest);
    } else {
      void connection?.parseAgain(incoming, rest, server);
    }
  });
  server.on("connect", (_, socket) => connections.get(socket.resume())?.refuse("bad-request"));
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    const tooLarge = TOO_LARGE.has(error.code ?? "");
    void connections.get(socket)?.refuse(tooLarge ? "headers-too-large" : "bad-request");
  });
  const looking = setInterval(() => {
    const now = performance.now();
    for (const connection of connections.values()) {
      connection.look(now);
    }
  }, LOOK_SECONDS * 1000);
  await new Promise<void>((resolve) => onSignal(resolve));
  clearInterval(looking);
  stopping.abort();
  await shutdown(server, connections, settings.shutdownTimeout);
}

/**
 * The settings, with no more connections than the process may have files open.
 *
 * A third of what there is is left to the attempts of webhooks, half as many as connections.
 *
 * @clauses HOOK-16, OPS-28
 */
export function withinOpenFiles(settings: Settings): Settings {
  // Nothing else of Node knows the limit. Names of addresses would be looked up for the report.
  const report = Object.assign(process.report, { excludeNetwork: true }).getReport();
  const { userLimits } = report as { userLimits: { open_files: { soft: number | "unlimited" } } };
  const files = Number(userLimits.open_files.soft);
  if (Number.isNaN(files)) {
    return settings;
  }
  const left = Math.floor(((files - OTHER_FILES - settings.databasePoolSize) * 2) / 3);
  return { ...settings, maxConnections: Math.max(1, Math.min(settings.maxConnections, left)) };
}

/**
 * Close the connection that has waited longest for a request; whether there is one.
 *
 * @clauses OPS-28
 */
function makeRoom(waiting: Set<Connection>): boolean {
  const [first] = waiting;
  if (first) {
    waiting.delete(first);
    first.cut();
  }
  return first !== undefined;
}

/** Exit with status 0 on a signal during start-up. @clauses OPS-07 */
export function endWellOnSignals(): void {
  onSignal(() => process.exit(0));
}

/**
 * On SIGTERM or SIGINT do this, in place of what was done before; a second one may come.
 *
 * @clauses OPS-06
 */
export function onSignal(act: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const before = process.listeners(signal);
    // The new one comes first: without any, a signal ends the process at once.
    process.on(signal, act);
    for (const listener of before) {
      process.off(signal, listener);
    }
  }
}

/**
 * Close the port, let the requests under way end, cut off those that don't in time.
 *
 * @clauses OPS-06, OPS-07, OPS-23
 */
async function shutdown(
  server: Server,
  connections: ReadonlyMap<Duplex, Connection>,
  timeout: number,
): Promise<void> {
  const closed = once(server, "close");
  server.close();
  for (const connection of connections.values()) {
    connection.shutdown();
  }
  const cut = setTimeout(() => {
    for (const socket of connections.keys()) {
      socket.destroy();
    }
  }, timeout * 1000);
  await closed;
  clearTimeout(cut);
}

/**
 * The code of the problem that this request is refused with before any route; none if it isn't.
 *
 * @clauses AUTH-40, HTTP-01, HTTP-02, HTTP-04, HTTP-05, HTTP-20, HTTP-23, HTTP-24
 */
function refusal(incoming: IncomingMessage, settings: Settings): Code | null {
  const { size, hosts, codings } = readHead(incoming);
  if (size > MAX_HEADER_BYTES || incoming.rawHeaders.length / 2 > MAX_HEADERS) {
    return "headers-too-large";
  }
  const [host] = hosts;
  const [authority, target] = splitTarget(incoming.url ?? "");
  if (host === undefined || hosts.length > 1 || !HOST.test(host)) {
    return "bad-request";
  }
  if (authority !== null && !HOST.test(authority)) {
    return "bad-request";
  }
  if (isLocal(settings) && !LOCAL_HOST.test(authority ?? host)) {
    return "bad-request";
  }
  const coded = codings.length > 0;
  if (coded && (codings.join().toLowerCase() !== "chunked" || incoming.httpVersion === "1.0")) {
    return "bad-request";
  }
  // In particular not `*` or host:port (HTTP-03).
  return target.startsWith("/") && !target.includes("#") ? null : "bad-request";
}

/** What a request may be refused for: its head's size, its Host and its Transfer-Encoding. */
function readHead({ url = "", rawHeaders }: IncomingMessage) {
  const hosts: string[] = [];
  const codings: string[] = [];
  let size = url.length;
  // Not by `headersDistinct`: Node would build all of it for two fields, and before 24.14.1 a field
  // named `__proto__` ended the process in it (HTTP-27).
  for (let at = 0; at < rawHeaders.length; at += 2) {
    const name = rawHeaders[at] ?? "";
    const value = rawHeaders[at + 1] ?? "";
    size += name.length + value.length + 4;
    const lowerName = name.toLowerCase();
    if (lowerName === "host") {
      hosts.push(value);
    } else if (lowerName === "transfer-encoding") {
      codings.push(value);
    }
  }
  return { size, hosts, codings };
}

/**
 * The authority that a target in absolute-form names, and the target in origin-form.
 *
 * @clauses HTTP-20
 */
function splitTarget(target: string): [authority: string | null, target: string] {
  const absolute = target.startsWith("/") ? null : ABSOLUTE_FORM.exec(target);
  if (!absolute) {
    return [null, target];
  }
  const [, authority = "", rest = ""] = absolute;
  return [authority, rest.startsWith("/") ? rest : `/${rest}`];
}

/**
 * The target; if its path isn't plain, which a URL would resolve, one that no route has.
 *
 * @clauses ROUTE-06, ROUTE-07, ROUTE-08
 */
function safeTarget(target: string): string {
  const [path = ""] = target.split("?", 1);
  return routePath(path) ? target : "/%";
}

/** One connection. Its requests are answered one after the other: Node would run them at once. */
class Connection {
  readonly #socket: Socket & Inner;
  readonly #answer: Answer;
  readonly #settings: Settings;
  /** The connections on which no request is under way, the one that has waited longest first. */
  readonly #waiting: Set<Connection>;
  /** The request that came last, and its answer. */
  #last: { incoming: IncomingMessage; outgoing: Outgoing<IncomingMessage> } | null = null;
  /** Fulfilled when the requests so far are answered, and when those before the last one are. */
  #answered: Promise<void> = Promise.resolve();
  #answeredBefore: Promise<void> = Promise.resolve();
  #pending = 0;
  /** The bytes of the bodies of those that are pending, as far as is known. */
  #body = 0;
  #head = false;
  #broken: IncomingMessage | null = null;
  #refused = false;
  #closing = false;
  #deadline: number;
  #unsent = 0;
  #taken = 0;

  /** A connection that has just been made. @clauses OPS-26 */
  constructor(socket: Socket, answer: Answer, settings: Settings, waiting: Set<Connection>) {
    this.#socket = socket as Socket & Inner;
    this.#answer = answer;
    this.#settings = settings;
    this.#waiting = waiting;
    waiting.add(this);
    this.#deadline = performance.now() + settings.requestTimeout * 1000;
    // Node listens for errors only as long as it parses.
    socket.on("error", () => undefined);
    const destroySoon = socket.destroySoon.bind(socket);
    socket.destroySoon = () => {
      if (!this.#last?.incoming.complete) {
        this.#linger();
      } else if (!this.#refused || this.#closing) {
        // Else a refusal waits for its turn, and closes then.
        destroySoon();
      }
    };
  }

  /**
   * Have the parser that Node has just given the connection tell what Node doesn't.
   *
   * @clauses HTTP-22, OPS-26
   */
  watchParser(): void {
    const { parser } = this.#socket;
    const { onIncoming } = parser;
    parser[ON_MESSAGE_BEGIN] = () => {
      this.#head = true;
      this.#deadline = performance.now() + this.#settings.requestTimeout * 1000;
    };
    parser.onIncoming = (incoming, keepAlive) => {
      if (this.#pending <= MAX_WAITING && (this.#pending === 0 || this.#body <= MAX_BODY)) {
        return onIncoming(incoming, keepAlive);
      }
      // As if it asked for an upgrade: Node gives back what it has not parsed, for `parseAgain`.
      incoming.upgrade = true;
      return 2;
    };
  }

  /**
   * Cut the connection if its client has kept us waiting for too long.
   *
   * @clauses OPS-25, OPS-26, OPS-27
   */
  look(now: number): void {
    const timeout = this.#settings.requestTimeout * 1000;
    const unsent = this.#socket.writableLength && (this.#socket._handle?.writeQueueSize ?? 0);
    if (unsent !== this.#unsent) {
      this.#unsent = unsent;
      this.#taken = now;
    }
    // Nobody reads a body any more behind its answer's head, which may be a stream's.
    if (this.#last?.outgoing.headersSent) {
      this.#last.incoming.resume();
    }
    // As long as we don't read, the client can't be late.
    const unread = this.#last?.incoming.readableLength ?? 0;
    if (unsent > 0 || unread > 0 || this.#pending > 1) {
      this.#deadline = Math.max(this.#deadline, now + timeout);
    }
    const late = unsent > 0 && now >= this.#taken + timeout;
    const reading = this.#head || this.#last?.incoming.complete === false;
    if (late || ((reading || this.#pending === 0) && now >= this.#deadline)) {
      this.cut();
    }
  }

  /** Close the connection at once. */
  cut(): void {
    this.#socket.destroy();
  }

  /** A request has come: answer it after those before it. @clauses HTTP-10, HTTP-11 */
  take(incoming: IncomingMessage, outgoing: Outgoing<IncomingMessage>): void {
    this.#waiting.delete(this);
    this.#head = false;
    const before = this.#last?.outgoing;
    this.#last = { incoming, outgoing };
    this.#answeredBefore = this.#answered;
    this.#answered = this.#answerInTurn(incoming, outgoing, before);
  }

  /**
   * A request for a WebSocket has come, and `rest` behind it: after those before it have the
   * application open the WebSocket, or answer.
   *
   * @clauses SOCK-01, SOCK-06
   */
  takeSocket(incoming: IncomingMessage, rest: Buffer): void {
    const outgoing = new Outgoing(incoming);
    outgoing.handshake = new Handshake(incoming, rest, this.#settings.eventsHeartbeat);
    // What follows is no request.
    outgoing.shouldKeepAlive = false;
    outgoing.once("finish", () => this.#socket.destroySoon());
    this.take(incoming, outgoing);
  }

  /** Answer one request once the answers before it are taken. @clauses HTTP-22 */
  async #answerInTurn(
    incoming: IncomingMessage,
    outgoing: Outgoing<IncomingMessage>,
    before: ServerResponse | undefined,
  ): Promise<void> {
    this.#pending += 1;
    this.#body += bodySize(incoming);
    await this.#answeredBefore;
    if (before && !this.#closing) {
      await taken(before);
    }
    // What is wrong with the rest of the same segment is known only when all of it has been parsed
    // (HTTP-21).
    if (!incoming.complete) {
      await immediate();
    }
    await this.#handOver(incoming, outgoing);
    if (this.#socket.writableLength > 0 && outgoing.writableEnded) {
      await taken(outgoing);
    }
    this.#pending -= 1;
    if (this.#pending === 0) {
      this.#body = 0;
      this.#wait();
    }
  }

  /** There is no request under way any more. @clauses OPS-25 */
  #wait(): void {
    // One that is closed by now is forgotten already.
    if (this.#socket.destroyed) {
      return;
    }
    // Node closes only what said so in its answer's head (STREAM-10).
    if (this.#closing) {
      this.#socket.destroySoon();
      return;
    }
    this.#waiting.add(this);
    if (!this.#head && this.#last?.incoming.complete) {
      this.#deadline = performance.now() + this.#settings.keepAliveTimeout * 1000;
    }
  }

  /**
   * Hand the request over, with its raw target, or refuse it.
   *
   * @clauses HTTP-06, HTTP-07, HTTP-16
   */
  async #handOver(incoming: IncomingMessage, outgoing: Outgoing<IncomingMessage>): Promise<void> {
    if (this.#closing || incoming === this.#broken || this.#socket.destroyed) {
      return;
    }
    const { handshake } = outgoing;
    if (handshake) {
      outgoing.assignSocket(this.#socket);
    }
    // To such a client Node sends no chunks by itself (STREAM-13).
    outgoing.shouldKeepAlive &&= incoming.httpVersion !== "1.0";
    const code = refusal(incoming, this.#settings);
    if (code) {
      const { status, headers, body } = await renderRefusal(code);
      outgoing.writeHead(status, headers).end(body);
      this.#closing = true;
    } else {
      // The adapter makes a URL of these, and fails where that can't be done.
      incoming.url = safeTarget(splitTarget(incoming.url ?? "")[1]);
      incoming.headers.host = "localhost";
      await this.#answer(incoming, outgoing);
    }
    if (handshake?.open) {
      outgoing.detachSocket(this.#socket);
      await handshake.open(outgoing.fields["X-Request-Id"] ?? "");
    }
    this.#closing ||= !outgoing.shouldKeepAlive;
  }

  /**
   * Answer with a problem, after the requests before this one, and close the connection.
   *
   * @clauses HTTP-08, HTTP-09, HTTP-21
   */
  async refuse(code: Code, isHead = false): Promise<void> {
    if (this.#refused) {
      return;
    }
    this.#refused = true;
    this.#head = false;
    if (this.#last?.incoming.complete === false) {
      const { incoming, outgoing } = this.#last;
      // It can't be read to its end: nobody answers it any more.
      this.#broken = incoming;
      await this.#answeredBefore;
      if (outgoing.headersSent) {
        await this.#sent();
        this.#linger();
        return;
      }
    } else {
      await this.#sent();
    }
    if (this.#closing || !this.#socket.writable) {
      this.#socket.destroy();
      return;
    }
    this.#closing = true;
    const { status, headers, body } = await renderRefusal(code);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}`);
    const head = [`HTTP/1.1 ${status} ${STATUS_CODES[status]}`, ...lines, "", ""].join("\r\n");
    // RFC 9110, 9.3.2
    this.#socket.write(isHead || this.#broken?.method === "HEAD" ? head : head + body);
    this.#linger();
  }

  /**
   * Parse a request again as one that asks for no upgrade, once those before it are answered.
   *
   * Node takes it for the last, and its body for another protocol's (RFC 9110, 7.8).
   *
   * @clauses HTTP-12, HTTP-13
   */
  async parseAgain(incoming: IncomingMessage, rest: Buffer, server: Server): Promise<void> {
    this.#head = false;
    const code = refusal(incoming, this.#settings);
    if (code) {
      return this.refuse(code, incoming.method === "HEAD");
    }
    await this.#sent();
    if (this.#closing || !this.#socket.writable) {
      this.#socket.destroy();
      return;
    }
    const head = [`${incoming.method} ${incoming.url} HTTP/${incoming.httpVersion}`];
    for (const [index, name] of incoming.rawHeaders.entries()) {
      if (index % 2 === 0 && name.toLowerCase() !== "upgrade") {
        head.push(`${name}: ${incoming.rawHeaders[index + 1]}`);
      }
    }
    const again = Buffer.from([...head, "", ""].join("\r\n"), "latin1");
    // Not copied into one: of many such requests, each would copy all that follow it.
    this.#socket.unshift(rest);
    this.#socket.unshift(again);
    // Node adds these each time, and takes away all but these.
    this.#socket.removeAllListeners("pause").removeAllListeners("resume");
    server.emit("connection", this.#socket);
  }

  /** Wait until the requests so far are answered, and the answers handed to the socket. */
  async #sent(): Promise<void> {
    const last = this.#last;
    await this.#answered;
    if (last) {
      await taken(last.outgoing);
    }
  }

  /** Close, once the requests so far are answered. @clauses OPS-06 */
  shutdown(): void {
    if (this.#pending === 0 || !this.#last) {
      this.#socket.destroySoon();
    } else {
      this.#last.outgoing.shouldKeepAlive = false;
    }
  }

  /**
   * Close, but not while the client is still sending.
   *
   * That would reset the connection, and the client might never see its answer. So at first only
   * the sending half is closed (RFC 9112, 9.6).
   *
   * @clauses BODY-04
   */
  #linger(): void {
    if (this.#socket.destroyed) {
      return;
    }
    this.#waiting.add(this);
    this.#socket.end(() => {
      const timer = setTimeout(() => this.#socket.destroy(), LINGER_SECONDS * 1000);
      this.#socket.once("close", () => clearTimeout(timer));
    });
  }
}

/**
 * The body, which has `most` bytes at most. Of one above MAX_BODY it gives at once a byte too many,
 * so that it is refused, and forgets the rest.
 *
 * The adapter's `arrayBuffer` keeps a list of all chunks: 65,536 of one byte take some 20 MiB.
 *
 * @clauses LIMIT-11
 */
function readBounded(incoming: IncomingMessage, most: number): Promise<Uint8Array> {
  const body = new Uint8Array(most);
  let size = 0;
  return new Promise((resolve, reject) => {
    incoming.on("data", (chunk: Buffer) => {
      if (size + chunk.length > MAX_BODY) {
        size = MAX_BODY;
        resolve(new Uint8Array(MAX_BODY + 1));
      } else {
        body.set(chunk, size);
        size += chunk.length;
      }
    });
    const gone = () => reject(new ClientGone());
    incoming.on("error", gone).on("close", gone);
    incoming.on("end", () => {
      // "close" comes after every body, and an error costs as much as all the rest here.
      incoming.off("close", gone);
      resolve(body.subarray(0, size));
    });
    if (incoming.destroyed) {
      gone();
    }
  });
}

/** How large the body is going to be, or may be. */
function bodySize({ headers }: IncomingMessage): number {
  return "transfer-encoding" in headers ? MAX_BODY : Number(headers["content-length"] ?? 0);
}

/** Wait until the answer has been taken by the socket, or can't be any more. */
async function taken(outgoing: ServerResponse): Promise<void> {
  if (!outgoing.closed) {
    await new Promise((resolve) => outgoing.once("close", resolve));
  }
}

/**
 * An answer that refuses a request with this problem and closes the connection.
 *
 * @clauses CORS-08, HDR-01, HDR-05, HDR-06, HDR-09, HTTP-06, LOG-02, LOG-03
 */
async function renderRefusal(
  code: Code,
): Promise<{ status: number; headers: Record<string, string | number>; body: string }> {
  // Nothing in such a request is trusted, neither its method nor its id (HDR-04).
  const thisRequest = requestId(undefined);
  const observation = new Observation(OTHER_METHOD, thisRequest);
  const response = renderProblem(new Problem(code));
  const body = await response.text();
  const headers = {
    Date: new Date().toUTCString(),
    "Content-Type": response.headers.get("Content-Type") ?? "",
    "Content-Length": Buffer.byteLength(body),
    "X-Request-Id": thisRequest,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    Connection: "close",
  };
  observation.end(NO_ROUTE, response.status);
  return { status: response.status, headers, body };
}
