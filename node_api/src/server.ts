/**
 * The HTTP server below the application: Node's, and what it takes to behave as uvicorn does.
 *
 * Refuses what no application should see, hands requests over with their raw target and one after
 * the other, lets a client read its answer before the connection goes, and stops gracefully.
 */

import { once } from "node:events";
import {
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
  STATUS_CODES,
} from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { setFlagsFromString } from "node:v8";
import { getRequestListener } from "@hono/node-server";
import type { App } from "./app.ts";
import { log, NO_ROUTE, Observation, OTHER_METHOD, requestId } from "./observability.ts";
import { type Code, Problem, renderProblem } from "./problems.ts";
import { routePath } from "./requests.ts";
import type { Settings } from "./settings.ts";

const MAX_HEADERS = 100;
const MAX_HEADER_BYTES = 16384;
// A head of this size isn't even read to its end.
const MAX_HEAD_BYTES = 131072;
const LINGER_SECONDS = 2;

// HTTP-02
const HOST = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?$/;

type Answer = ReturnType<typeof getRequestListener>;

declare module "node:http" {
  interface IncomingMessage {
    /** The path to look for among the routes: the raw target's, or an empty one. */
    routePath: string;
    /** The raw target's query. */
    rawQuery: string;
    /** The method that was sent: `method` itself is GET for HEAD. */
    sentMethod: string;
  }
}

/** A server that listens where the settings say. Rejects if the port is taken. */
export async function listen(settings: Settings): Promise<Server> {
  // HTTP-09, HTTP-17, HTTP-18, HDR-07, HDR-08
  const server = createServer({
    maxHeaderSize: MAX_HEAD_BYTES,
    // OPS-26
    headersTimeout: settings.requestTimeout * 1000,
    // OPS-26
    requestTimeout: settings.requestTimeout * 1000,
    connectionsCheckingInterval: 1000,
    // OPS-25
    keepAliveTimeout: settings.keepAliveTimeout * 1000,
    // HTTP-01
    requireHostHeader: false,
  });
  // OPS-02
  server.listen({ host: settings.host, port: settings.port, backlog: 2048 });
  await once(server, "listening");
  return server;
}

// OPS-01
/** Tell the log where the socket listens, and whether to anybody. */
export function logListening(
  { address, port }: Pick<AddressInfo, "address" | "port">,
  settings: Settings,
): void {
  const host = address.includes(":") ? `[${address}]` : address;
  log("info", "listening", { url: `http://${host}:${port}` });
  // AUTH-13
  if (!settings.auth) {
    log("warning", "open to everybody: AUTH_SECRET is not set, or AUTH is off", {});
  }
}

/** Serve `app` until SIGTERM or SIGINT; then let the requests under way end, and return. */
export async function serve(app: App, settings: Settings, server: Server): Promise<void> {
  // V8 comes to take rows for objects that last, and has the collector look at them time and again:
  // that would stop everything else.
  setFlagsFromString("--no-allocation-site-pretenuring");
  // HTTP-19, HDR-09, BODY-04, BODY-06, BODY-07
  const answer = getRequestListener(app.fetch, { autoCleanupIncoming: false });
  // HTTP-11
  // A client that sends no more may still wait for answers.
  Object.assign(server, { httpAllowHalfOpen: true });
  const connections = new Map<Duplex, Connection>();
  server.on("connection", (socket: Socket) => {
    if (!connections.has(socket)) {
      connections.set(socket, new Connection(socket, answer));
      socket.once("close", () => connections.delete(socket));
    }
  });
  // HTTP-14, HTTP-15
  // An expectation that Node doesn't know is not met with a 417, but ignored.
  for (const event of ["request", "checkExpectation"]) {
    server.on(event, (incoming: IncomingMessage, outgoing: ServerResponse) =>
      connections.get(incoming.socket)?.take(incoming, outgoing),
    );
  }
  // HTTP-12
  server.on("upgrade", (incoming, socket, rest) =>
    connections.get(socket)?.parseAgain(incoming, rest, server),
  );
  // HTTP-08
  server.on("connect", (_, socket) => connections.get(socket.resume())?.refuse("bad-request"));
  // HTTP-08, HTTP-09
  server.on("clientError", (error: NodeJS.ErrnoException, socket) => {
    // OPS-26
    if (error.code === "ERR_HTTP_REQUEST_TIMEOUT") {
      socket.destroy();
    } else {
      // HTTP-04
      const overflow = error.code === "HPE_HEADER_OVERFLOW";
      void connections.get(socket)?.refuse(overflow ? "headers-too-large" : "bad-request");
    }
  });
  // OPS-06
  await new Promise<void>(onSignal);
  await shutdown(server, connections, settings.shutdownTimeout);
}

// OPS-07
/** Have the exit status 0 after a signal that comes before there is anything to stop gracefully. */
export function endWellOnSignals(): void {
  onSignal(() => process.exit(0));
}

/** At the first SIGTERM or SIGINT act so, and no longer as before. */
export function onSignal(act: () => void): void {
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    const before = process.listeners(signal);
    // The new one comes first: without any, a signal ends the process at once.
    process.once(signal, act);
    for (const listener of before) {
      process.off(signal, listener);
    }
  }
}

// OPS-06, OPS-07, OPS-23
/** Close the port, let the requests under way end, cut off those that don't in time. */
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

/** The code of the problem that a request is refused with, whatever it asks for, if any. */
function refusal({ url = "", rawHeaders, headersDistinct }: IncomingMessage): Code | null {
  // HTTP-04
  const size = rawHeaders.reduce((sum, nameOrValue) => sum + nameOrValue.length + 2, url.length);
  // HTTP-04, HTTP-05
  if (size > MAX_HEADER_BYTES || rawHeaders.length / 2 > MAX_HEADERS) {
    return "headers-too-large";
  }
  const [host, ...others] = headersDistinct["host"] ?? [];
  // HTTP-01, HTTP-02
  if (host === undefined || others.length > 0 || !HOST.test(host)) {
    return "bad-request";
  }
  // HTTP-03
  // Origin-form (RFC 9112, 3.2.1); in particular not `*`, an absolute URL or host:port.
  return url.startsWith("/") && !url.includes("#") ? null : "bad-request";
}

/** One connection. Its requests are answered one after the other: Node would run them at once. */
class Connection {
  readonly #socket: Socket;
  readonly #answer: Answer;
  /** The request that came last, and its answer. */
  #last: { incoming: IncomingMessage; outgoing: ServerResponse } | null = null;
  /** Fulfilled when the requests so far are answered, and when those before the last one are. */
  #answered: Promise<void> = Promise.resolve();
  #answeredBefore: Promise<void> = Promise.resolve();
  #pending = 0;
  #broken: IncomingMessage | null = null;
  #refused = false;
  #closing = false;

  constructor(socket: Socket, answer: Answer) {
    this.#socket = socket;
    this.#answer = answer;
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

  // HTTP-10, HTTP-11
  /** A request has come: answer it after those before it. */
  take(incoming: IncomingMessage, outgoing: ServerResponse): void {
    this.#last = { incoming, outgoing };
    this.#answeredBefore = this.#answered;
    this.#answered = this.#answerInTurn(incoming, outgoing);
  }

  async #answerInTurn(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    this.#pending += 1;
    // Also where there is none: what is wrong with the rest of the same chunk is known only then.
    await this.#answeredBefore;
    await this.#handOver(incoming, outgoing);
    this.#pending -= 1;
  }

  /** Hand the request over, with its raw target, or refuse it. */
  async #handOver(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    // HTTP-06
    if (this.#closing || incoming === this.#broken) {
      return;
    }
    const code = refusal(incoming);
    // HTTP-07
    if (code) {
      const { status, headers, body } = await renderRefusal(code);
      outgoing.writeHead(status, headers).end(body);
      this.#closing = true;
    } else {
      // ROUTE-14
      const [path = "", ...query] = (incoming.url ?? "").split("?");
      // ROUTE-06
      incoming.routePath = routePath(path);
      incoming.rawQuery = query.join("?");
      // The adapter would make a URL of these, and fail where that can't be done.
      incoming.url = "/";
      incoming.headers.host = "localhost";
      incoming.sentMethod = incoming.method ?? "";
      // ROUTE-10, ROUTE-11, USR-READ-03, USR-LIST-21, COND-12, METRICS-06
      // HEAD is GET, and Node keeps the body back (RFC 9110, 9.3.2).
      incoming.method = incoming.method === "HEAD" ? "GET" : incoming.method;
      await this.#answer(incoming, outgoing);
    }
    // HTTP-16
    this.#closing ||= !outgoing.shouldKeepAlive;
  }

  // HTTP-08, HTTP-09
  /** Answer with a problem, after the requests before this one, and close the connection. */
  async refuse(code: Code): Promise<void> {
    if (this.#refused) {
      return;
    }
    this.#refused = true;
    if (this.#last?.incoming.complete === false) {
      // It can't be read to its end: nobody answers it any more.
      this.#broken = this.#last.incoming;
      await this.#answeredBefore;
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
    this.#socket.write(head + body);
    this.#linger();
  }

  // HTTP-12, HTTP-13
  /**
   * Parse a request again as one that asks for no upgrade, once those before it are answered.
   *
   * Node takes it for the last, and its body for another protocol's. Nothing here upgrades
   * (RFC 9110, 7.8).
   */
  async parseAgain(incoming: IncomingMessage, rest: Buffer, server: Server): Promise<void> {
    const code = refusal(incoming);
    if (code) {
      return this.refuse(code);
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
    this.#socket.unshift(Buffer.concat([again, rest]));
    server.emit("connection", this.#socket);
  }

  /** Wait until the requests so far are answered, and the answers handed to the socket. */
  async #sent(): Promise<void> {
    const last = this.#last;
    await this.#answered;
    if (last && !last.outgoing.closed) {
      await once(last.outgoing, "close");
    }
  }

  // OPS-06
  /** Close, once the requests so far are answered. */
  shutdown(): void {
    if (this.#pending === 0 || !this.#last) {
      this.#socket.destroySoon();
    } else {
      this.#last.outgoing.shouldKeepAlive = false;
    }
  }

  // BODY-04
  /**
   * Close, but not in the face of a client that is still sending.
   *
   * That would reset the connection, and the client might never see its answer. So at first only
   * the sending half is closed (RFC 9112, 9.6).
   */
  #linger(): void {
    this.#socket.end();
    const timer = setTimeout(() => this.#socket.destroy(), LINGER_SECONDS * 1000);
    this.#socket.once("close", () => clearTimeout(timer));
  }
}

// HDR-01, HDR-05, HDR-06, CORS-08, LOG-02, LOG-03
/** An answer that refuses a request with this problem and closes the connection. */
async function renderRefusal(
  code: Code,
): Promise<{ status: number; headers: Record<string, string | number>; body: string }> {
  // HDR-04
  // Nothing that such a request says is trusted, its method and its id neither.
  const thisRequest = requestId([]);
  const observation = new Observation(OTHER_METHOD, thisRequest);
  const response = renderProblem(new Problem(code));
  const body = await response.text();
  const headers = {
    Date: new Date().toUTCString(),
    "Content-Type": response.headers.get("Content-Type") ?? "",
    // HDR-09
    "Content-Length": Buffer.byteLength(body),
    "X-Request-Id": thisRequest,
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    // HTTP-06
    Connection: "close",
  };
  observation.end(NO_ROUTE, response.status);
  return { status: response.status, headers, body };
}
