/** Streams of events (Server-Sent Events). */

import { Problem } from "../http/problems.ts";
import { log, trace } from "../operation/observability.ts";
import type { Feed, Follower } from "./feed.ts";
import { type Event, toJson } from "./schemas.ts";

// How long a client that has lost its stream waits until it asks again, in milliseconds.
const RETRY = 1000;

/** The answer to whoever follows; it counts as open until it has ended, however it does. */
export class Stream extends ReadableStream<Uint8Array> {
  /** What the follower may see behind their position. @clauses STREAM-01, STREAM-08 */
  constructor(feed: Feed, follower: Follower) {
    const encoder = new TextEncoder();
    const sent = chunks(feed, follower);
    // Not Hono's streamSSE, which names fields of the connection, tells clients of errors, and goes
    // on until its next write where the client is gone.
    super(
      {
        pull: async (controller) => {
          const { value } = await sent.next();
          if (follower.isInterrupted) {
            return;
          }
          if (value === undefined) {
            feed.leave(follower);
            controller.close();
          } else {
            controller.enqueue(encoder.encode(value));
          }
        },
        cancel: () => {
          follower.interrupt();
          feed.leave(follower);
        },
      },
      { highWaterMark: 0 },
    );
  }
}

/**
 * What is sent, block by block, until the stream has to end. Never fails.
 *
 * @clauses STREAM-02, STREAM-04, STREAM-06, STREAM-07, STREAM-10
 */
async function* chunks(feed: Feed, follower: Follower): AsyncGenerator<string, undefined> {
  yield `retry: ${RETRY}\nid: ${follower.position}\n\n`;
  try {
    for await (const page of feed.pages(follower)) {
      yield page.map(block).join("") || `:\nid: ${follower.position}\n\n`;
    }
  } catch (error) {
    // Who asks again is told which problem it is.
    if (!(error instanceof Problem)) {
      log("error", "stream failed", { error: trace(error) });
    }
  }
}

/** An event as it is sent (HTML, 9.2.5). @clauses STREAM-02 */
function block(event: Event): string {
  return `event: ${event.type}\ndata: ${toJson(event)}\nid: ${event.position}\n\n`;
}
