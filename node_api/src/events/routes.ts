/** The routes of events: HTTP only. */

import { Hono } from "hono";
import { anyCaller, type GuardEnv } from "../auth/guard.ts";
import { describe } from "../http/openapi.ts";
import * as docs from "./docs.ts";
import type { Feed } from "./feed.ts";
import { handshake, SUBPROTOCOL, socketCaller } from "./handshake.ts";
import { eventPageQuery, nextLink, streamStart } from "./pages.ts";
import { toJson } from "./schemas.ts";
import type { Events } from "./service.ts";
import { Conversation } from "./sockets.ts";
import { Stream } from "./streams.ts";

/** An application with a guard, and events. */
export type EventsEnv = GuardEnv & { Variables: { events: Events; feed: Feed } };

const SOCKET = "/events/socket";
/** The paths at which there are WebSockets: Hono's routes don't tell which ones are. */
export const SOCKETS: ReadonlySet<string> = new Set([SOCKET]);

export const eventsRoutes = new Hono<EventsEnv>()
  /**
   * List events: a bare array, with a link to the next page if there is one.
   *
   * @clauses EVENT-07, EVENT-10, EVENT-12
   */
  .get("/events", anyCaller, eventPageQuery, describe(docs.LIST_EVENTS), async (c) => {
    const page = c.get("page");
    const found = await c.get("events").listPage(c.get("caller"), page);
    const shown = found.slice(0, page.limit);
    const last = found.length > page.limit ? shown.at(-1) : undefined;
    return c.body(`[${shown.map(toJson).join()}]`, 200, {
      "Content-Type": "application/json",
      ...(last && { Link: nextLink(page, last.position) }),
    });
  })

  /** Follow events: a stream of Server-Sent Events. @clauses STREAM-01, STREAM-12 */
  .get("/events/stream", anyCaller, streamStart, describe(docs.STREAM_EVENTS), async (c) => {
    const feed = c.get("feed");
    const position = await feed.begin(c.get("after"));
    const follower = feed.join(c.get("caller"), position);
    const fields = { "Content-Type": "text/event-stream", "X-Accel-Buffering": "no" };
    if (c.req.method === "HEAD") {
      feed.leave(follower);
      return c.body(null, 200, fields);
    }
    return c.body(new Stream(feed, follower), 200, fields);
  })

  /** Follow events: a WebSocket. @clauses SOCK-01 */
  .get(SOCKET, socketCaller, handshake, describe(docs.FOLLOW_EVENTS), (c) => {
    const feed = c.get("feed");
    const follower = feed.join(c.get("caller"));
    const { requestTimeout } = c.get("settings");
    return c.get("openSocket")(SUBPROTOCOL, async (socket) => {
      await new Conversation(socket, feed, follower, requestTimeout).run();
      feed.leave(follower);
    });
  });
