/**
 * WebSockets below the application (RFC 6455): the server's, on connections of our own.
 *
 * The frames are those of `ws`. It would also answer handshakes; here the application has done that
 * by then.
 */

import type { IncomingMessage } from "node:http";
import type { Socket as Connection } from "node:net";
import { setImmediate as immediate } from "node:timers/promises";
import { RESPONSE_ALREADY_SENT } from "@hono/node-server/utils/response";
import { type WebSocket, WebSocketServer } from "ws";
import type { Converse, Socket, SocketOpener } from "./readers.ts";
import { trim } from "./requests.ts";

// Of a message, in one frame or several.
const MAX_MESSAGE = 4096;
const MAX_FRAGMENTS = 64;
// How long the client's Close is waited for, or its end of the connection.
const CLOSE_SECONDS = 2;
// What is parsed at once. Each fragment of a message holds on to the piece that it came in.
const PIECE_BYTES = 4096;

const OPTIONS = {
  noServer: true,
  clientTracking: false,
  autoPong: false,
  maxPayload: MAX_MESSAGE,
  maxFragments: MAX_FRAGMENTS,
  // How much is parsed at once is limit enough.
  maxBufferedChunks: 0,
  // Never, for `ws`: who takes what is sent is left its time (OPS-27), and `OpenSocket` sees to the rest.
  closeTimeout: 2 ** 31 - 1,
};

// `fetch` has no response of this status. Hono's adapter leaves it to us to send it.
const SWITCHING = Object.defineProperty(new Response(null, RESPONSE_ALREADY_SENT), "status", {
  value: 101,
});

const NOTHING = Buffer.alloc(0);

/**
 * Whether a request that asks for an upgrade is for the application's WebSockets to answer.
 *
 * @clauses HTTP-12, SOCK-02
 */
export function asksForSocket(
  { method, httpVersion, headers }: IncomingMessage,
  path: string,
  sockets: ReadonlySet<string>,
): boolean {
  const hasBody = Number(headers["content-length"] ?? 0) > 0 || "transfer-encoding" in headers;
  return (
    sockets.has(path) &&
    method === "GET" &&
    httpVersion === "1.1" &&
    !hasBody &&
    // Node is made to say that all who have to wait ask for an upgrade (`watchParser`).
    names(headers.connection ?? "", "upgrade") &&
    names(headers.upgrade ?? "", "websocket")
  );
}

/** Whether a list in a header field names this token, in any letter case. */
function names(value: string, token: string): boolean {
  return value.split(",").some((each) => trim(each, " \t").toLowerCase() === token);
}

/** A request for a WebSocket. In Python one class is this and the WebSocket, as ASGI has them. */
export class Handshake {
  readonly #incoming: IncomingMessage;
  readonly #heartbeat: number;
  /** Opens the WebSocket, where it is accepted, in an answer with this request id. */
  open: ((requestId: string) => Promise<void>) | null = null;

  /** What has come in behind it is in `rest`; a Ping will be sent every `heartbeat` seconds. */
  constructor(incoming: IncomingMessage, rest: Uint8Array, heartbeat: number) {
    this.#incoming = incoming;
    this.#heartbeat = heartbeat;
    readInPieces(incoming.socket, rest);
  }

  /** What the application is given to accept it. */
  readonly accept: SocketOpener = (protocol, converse) => {
    this.open = (requestId) => this.#open(requestId, protocol, converse);
    return SWITCHING;
  };

  /**
   * Switch protocols (RFC 6455, 4.2.2), and have the WebSocket used until its connection has ended.
   *
   * @clauses CORS-02, HDR-05, HDR-06, SOCK-01
   */
  async #open(requestId: string, protocol: string, converse: Converse): Promise<void> {
    const { headers, socket } = this.#incoming;
    if (!(socket.readable && socket.writable)) {
      socket.destroy();
      await converse(GONE);
      return;
    }
    const closed = new Promise((resolve) => socket.once("close", resolve));
    // They are judged by now, and it takes less than is allowed.
    Object.assign(headers, { upgrade: "websocket", "sec-websocket-protocol": protocol });
    const server = new WebSocketServer(OPTIONS);
    server.on("headers", (lines) => lines.push(`X-Request-Id: ${requestId}`));
    await new Promise((resolve) =>
      server.handleUpgrade(this.#incoming, socket, NOTHING, (ws) =>
        resolve(converse(new OpenSocket(ws, socket, this.#heartbeat))),
      ),
    );
    await closed;
  }
}

/** An open WebSocket, as the application sees it. */
class OpenSocket implements Socket {
  readonly #ws: WebSocket;
  readonly #messages: (string | Uint8Array)[] = [];
  /** Whoever waits for the next message. */
  #taker: ((message: string | Uint8Array | null) => void) | null = null;
  #isGone = false;
  #timer: NodeJS.Timeout | undefined;
  /** How many Pongs the system has yet to take. */
  #pongs = 0;
  #turn: NodeJS.Immediate | null = null;
  /** What has become of the last Ping. */
  #ping: "leaving" | "sent" | "answered" = "answered";

  /** One on this connection, on which a Ping is sent every `heartbeat` seconds. */
  constructor(ws: WebSocket, connection: Connection, heartbeat: number) {
    this.#ws = ws;
    const beating = setInterval(() => this.#beat(), heartbeat * 1000);
    ws.on("message", (data, isBinary) => this.#deliver(isBinary ? (data as Buffer) : String(data)));
    ws.on("ping", (data) => this.#pong(data));
    ws.on("pong", () => {
      this.#ping = "answered";
    });
    // An error is the client's, and the Close that it gets for it is on its way (SOCK-13, SOCK-14).
    ws.on("error", () => {
      this.#tellEnd();
      this.#endLater();
    });
    // All has been sent, the Close too.
    connection.once("finish", () => this.#endLater());
    ws.on("close", () => {
      clearInterval(beating);
      clearTimeout(this.#timer);
      this.#tellEnd();
    });
  }

  async receive(): Promise<string | Uint8Array | null> {
    // After everybody else's turn: a client may send hundreds at once.
    await immediate();
    const message = this.#messages.shift();
    this.#readOn();
    if (message !== undefined || this.#isGone) {
      return message ?? null;
    }
    return await new Promise((resolve) => {
      this.#taker = resolve;
    });
  }

  /** Send a text. @clauses SOCK-20 */
  async send(text: string): Promise<void> {
    if (this.#isOpen) {
      await new Promise<void>((resolve) => this.#ws.send(text, () => resolve()));
    } else {
      // `ws` doesn't tell of the client's Close before all that is unsent is taken.
      this.#tellEnd();
    }
  }

  /** Close, and wait a while for the client's Close. @clauses SOCK-18, SOCK-19 */
  close(code: number, reason: string): void {
    this.#ws.close(code, reason);
    this.#ws.resume();
    this.#endLater();
  }

  /** Tell the application that the client has closed or is gone, and nothing else any more. */
  #tellEnd(): void {
    this.#isGone = true;
    this.#messages.length = 0;
    this.#hand(null);
  }

  #endLater(): void {
    this.#timer ??= setTimeout(() => this.#ws.terminate(), CLOSE_SECONDS * 1000);
  }

  get #isOpen(): boolean {
    return this.#ws.readyState === this.#ws.OPEN;
  }

  /** A message has come: until it is taken no more is read. @clauses SOCK-12, SOCK-19, SOCK-20 */
  #deliver(message: string | Uint8Array): void {
    if (!this.#isOpen) {
      return;
    }
    if (!this.#hand(message)) {
      this.#messages.push(message);
      this.#ws.pause();
    }
  }

  /** Give it to whoever waits for it; whether anybody does. */
  #hand(message: string | Uint8Array | null): boolean {
    const taker = this.#taker;
    this.#taker = null;
    taker?.(message);
    return taker !== null;
  }

  /** A Ping has come: until the Pong is taken no more is read. @clauses SOCK-12, SOCK-19, SOCK-20 */
  #pong(data: Buffer): void {
    if (!this.#isOpen) {
      return;
    }
    this.#pongs += 1;
    this.#ws.pause();
    this.#ws.pong(data, false, () => {
      this.#pongs -= 1;
      this.#readOn();
    });
  }

  /** Read on after everybody else's turn, if there is nothing left that has to be taken. */
  #readOn(): void {
    this.#turn ??= setImmediate(() => {
      this.#turn = null;
      if (this.#messages.length === 0 && this.#pongs === 0) {
        this.#ws.resume();
      }
    });
  }

  /** Send a Ping, or cut off a client that hasn't answered the last one. @clauses SOCK-11 */
  #beat(): void {
    if (!this.#isOpen) {
      return;
    }
    // As long as we don't read, or the client has more to take, it can't be late.
    if (this.#ping === "sent" && !this.#ws.isPaused && this.#ws.bufferedAmount === 0) {
      this.#ws.terminate();
    } else if (this.#ping !== "leaving") {
      this.#ping = "leaving";
      this.#ws.ping(NOTHING, false, () => {
        if (this.#ping === "leaving") {
          this.#ping = "sent";
        }
      });
    }
  }
}

/** In place of a socket whose client is gone. */
const GONE: Socket = {
  receive: () => Promise.resolve(null),
  send: () => Promise.resolve(),
  close: () => undefined,
};

/**
 * Hand on in small pieces what comes in on a connection, beginning with what has been `read` of it.
 *
 * Node gives 64 KiB at once, and `ws` parses all that it is given, and holds on to it for each
 * fragment in it.
 *
 * @clauses SOCK-20
 */
function readInPieces(connection: Connection, read: Uint8Array): void {
  for (const piece of pieces(read).reverse()) {
    connection.unshift(piece);
  }
  // Has Node read on, where it had stopped for the body of an earlier request.
  connection.push(NOTHING);
  const push = connection.push.bind(connection);
  connection.push = (chunk: Uint8Array | null) =>
    chunk === null
      ? push(null)
      : pieces(chunk)
          .map((piece) => push(piece))
          .every(Boolean);
}

/** The chunk in pieces, each in memory of its own. */
function pieces(chunk: Uint8Array): Uint8Array[] {
  const all: Uint8Array[] = [];
  for (let start = 0; start < chunk.length; start += PIECE_BYTES) {
    // Not Buffer's own, which copies nothing.
    all.push(Uint8Array.prototype.slice.call(chunk, start, start + PIECE_BYTES));
  }
  return all;
}
