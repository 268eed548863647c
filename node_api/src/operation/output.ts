/** stdout and stderr, which nobody waits for: serving doesn't depend on the log. */

import cluster from "node:cluster";
import { constants, fstatSync, openSync, writeSync } from "node:fs";

// At most so many bytes wait while nobody reads.
const MAX_WAITING = 1024 * 1024;
// What is written to a pipe at once is kept in one piece up to this size, whoever else writes to it.
const PIPE_BUF = 4096;
const RETRY_SECONDS = 0.02;
const LAST_SECONDS = 1;

/**
 * The descriptors of a worker. The last one is the first process' stdout, to which it logs; its own
 * stderr leads to the first process, which passes it on.
 *
 * Were it given 0 to 2 as they are, Node would have all writes to them wait, the first process' too.
 *
 * @clauses LOG-05
 */
export const WORKERS_STREAMS = ["ignore", "ignore", "pipe", "ipc", 1] as const;
const STDOUT = cluster.isWorker ? WORKERS_STREAMS.length - 1 : 1;

/**
 * The lines of stdout.
 *
 * Those of a turn of the event loop are written at its end. What can't be written then waits, up
 * to a limit; beyond it lines are dropped, and counted.
 */
export class Output {
  readonly #droppedLine: (count: number) => string;
  readonly #descriptor = unblocked();
  /** Lines whose writing has not begun, and their bytes. */
  #lines: string[] = [];
  #size = 0;
  /** What is being written. */
  #waiting: Buffer = Buffer.of();
  #dropped = 0;
  #turnWillEnd = false;
  #retry: NodeJS.Timeout | null = null;
  #complained = false;

  /** `dropped` makes the line that says how many there are not. */
  constructor(dropped: (count: number) => string) {
    this.#droppedLine = dropped;
  }

  /** Write a line at the end of this turn of the event loop. @clauses LOG-05, LOG-06 */
  write(line: string): void {
    // Once a line is dropped, none follows until the log can say how many were (LOG-07).
    if (this.#dropped > 0 || this.#size + this.#waiting.length > MAX_WAITING) {
      this.#dropped += 1;
    } else {
      this.#append(line);
    }
    if (!this.#turnWillEnd) {
      this.#turnWillEnd = true;
      setImmediate(() => this.#endTurn());
    }
  }

  /**
   * Write what still waits, as the process ends; a reader that is slow is given a moment.
   *
   * @clauses LOG-06
   */
  end(): void {
    const deadline = performance.now() + LAST_SECONDS * 1000;
    const nothing = new Int32Array(new SharedArrayBuffer(4));
    while (!this.#writeWaiting() && performance.now() < deadline) {
      Atomics.wait(nothing, 0, 0, 10);
    }
  }

  #append(line: string): void {
    this.#lines.push(`${line}\n`);
    this.#size += Buffer.byteLength(line) + 1;
  }

  #endTurn(): void {
    this.#turnWillEnd = false;
    this.#writeWaiting();
    if (this.#waiting.length > 0 && !this.#retry) {
      this.#retry = setTimeout(() => this.#tryAgain(), RETRY_SECONDS * 1000).unref();
    }
  }

  #tryAgain(): void {
    this.#retry = null;
    this.#endTurn();
  }

  /** Write what can be written now; gives whether that was all. @clauses LOG-05, LOG-07 */
  #writeWaiting(): boolean {
    while (this.#takeLines()) {
      try {
        const written = writeSync(this.#descriptor, this.#firstLines());
        this.#waiting = this.#waiting.subarray(written);
      } catch (error) {
        const { code = "unknown" } = error as NodeJS.ErrnoException;
        if (code === "EAGAIN") {
          return false;
        }
        this.#complain(code);
        return true;
      }
    }
    return true;
  }

  /** Once nothing is left from before, take all lines; gives whether there is any to write. */
  #takeLines(): boolean {
    if (this.#waiting.length === 0) {
      if (this.#lines.length === 0 && this.#dropped > 0) {
        this.#append(this.#droppedLine(this.#dropped));
        this.#dropped = 0;
      }
      this.#waiting = Buffer.from(this.#lines.join(""));
      this.#lines = [];
      this.#size = 0;
    }
    return this.#waiting.length > 0;
  }

  /** As many lines as a pipe keeps together; at least one. */
  #firstLines(): Buffer {
    if (this.#waiting.length <= PIPE_BUF) {
      return this.#waiting;
    }
    const end = this.#waiting.lastIndexOf("\n", PIPE_BUF - 1);
    return this.#waiting.subarray(0, (end < 0 ? this.#waiting.indexOf("\n") : end) + 1);
  }

  #complain(reason: string): void {
    if (!this.#complained) {
      this.#complained = true;
      process.stderr.write(`The log cannot be written (${reason}).\n`);
    }
  }
}

/** Let nobody fail who writes to stderr when nobody can read it. @clauses LOG-05 */
export function letStderrFail(): void {
  process.stderr.on("error", () => undefined);
}

/**
 * A descriptor of the same file on which nothing waits.
 *
 * Whether writes wait belongs to all processes that share an open file, and they may not be ours.
 * So it is opened once more, but for one on a disk: that has a place where all of them write next.
 */
function unblocked(): number {
  if (fstatSync(STDOUT).isFile()) {
    return STDOUT;
  }
  try {
    return openSync(
      `/proc/self/fd/${STDOUT}`,
      constants.O_WRONLY | constants.O_NONBLOCK | constants.O_NOCTTY,
    );
  } catch {
    // A socket, or not Linux: Node unblocks it for all as soon as the first process asks for it.
    process.stdout.on("error", () => undefined);
    return STDOUT;
  }
}
