/** A worker of `cpu.ts`, in a thread or in a process: it is told a count and tells what it found. */

import { parentPort } from "node:worker_threads";
import { longestChain } from "./cpu.ts";

if (parentPort) {
  const main = parentPort;
  main.on("message", (count: number) => main.postMessage(longestChain(count)));
} else {
  process.on("message", (count: number) => process.send?.(longestChain(count)));
}
