/**
 * `plain`, and a stream of the users that it creates, by Hono's own `streamSSE`.
 *
 * As its documentation has it ("Streaming Helper"), with the clients in memory: who loses a
 * connection misses what happens meanwhile, and of another process's users nobody hears.
 */

import { Hono } from "hono";
import { type SSEStreamingApi, streamSSE } from "hono/streaming";
import { listen, app as plain } from "./plain.ts";

const streams = new Set<SSEStreamingApi>();

const app = new Hono()
  .get("/events/stream", (c) =>
    streamSSE(c, async (stream) => {
      streams.add(stream);
      await new Promise<void>((resolve) => stream.onAbort(resolve));
      streams.delete(stream);
    }),
  )
  .post("/users", async (c) => {
    const created = await plain.fetch(c.req.raw);
    if (created.status === 201) {
      const data = await created.clone().text();
      const { id } = JSON.parse(data);
      for (const stream of streams) {
        void stream.writeSSE({ event: "user.created", id: String(id), data });
      }
    }
    return created;
  });

listen(app);
