/** Work for the processor: integers, floats, strings, hashes; and the same four times at once. */

import { type ChildProcess, fork } from "node:child_process";
import { hash } from "node:crypto";
import { once } from "node:events";
import { Worker } from "node:worker_threads";
import type { Case } from "./case.ts";

// Its chain rises above 2 ** 31.
const LARGE = 113_383;
const STEPS = 50;
const WORKERS = 4;
const WORKER = new URL("cpu_worker.ts", import.meta.url);

/** Of so many numbers the one that takes the most steps of Collatz to 1, and those steps. */
export function longestChain(count: number, first = 1): number[] {
  let longest: [number, number] = [0, 0];
  for (let start = first; start < first + count; start++) {
    let number = start;
    let steps = 0;
    while (number !== 1) {
      // Not `>> 1`, which works on 32 bits, signed; these are exact up to 2 ** 53.
      number = number % 2 === 0 ? number / 2 : 3 * number + 1;
      steps += 1;
    }
    if (steps > longest[1]) {
      longest = [start, steps];
    }
  }
  return longest;
}

/** How many points of a grid are in the Mandelbrot set, as far as some steps can tell. */
export function mandelbrot(size: number): number {
  let inside = 0;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      if (stays((3 * column) / size - 2, (3 * row) / size - 1.5)) {
        inside += 1;
      }
    }
  }
  return inside;
}

function stays(real: number, imaginary: number): boolean {
  let [x, y] = [0, 0];
  for (let step = 0; step < STEPS; step++) {
    if (x * x + y * y > 4) {
      return false;
    }
    [x, y] = [x * x - y * y + real, 2 * x * y + imaginary];
  }
  return true;
}

export function writeText(words: number): string {
  return Array.from({ length: words }, (_, number) => `word${(number * number) % 977}`).join(" ");
}

/** The ten most frequent words; of equals, the one that comes first. */
export function countWords(text: string): [string, number][] {
  const counts = new Map<string, number>();
  for (const word of text.split(" ")) {
    counts.set(word, (counts.get(word) ?? 0) + 1);
  }
  return [...counts].sort(([, a], [, b]) => b - a).slice(0, 10);
}

/** A hash of a hash of a hash. */
export function hashRepeatedly(times: number): string {
  let digest = "";
  for (let time = 0; time < times; time++) {
    digest = hash("sha256", digest);
  }
  return digest;
}

export function inTurn(counts: readonly number[]): number[][] {
  return counts.map((count) => longestChain(count));
}

export function inThreads(threads: readonly Worker[], count: number): Promise<unknown[]> {
  return Promise.all(
    threads.map(async (thread) => {
      thread.postMessage(count);
      const [answer] = await once(thread, "message");
      return answer;
    }),
  );
}

export function inProcesses(processes: readonly ChildProcess[], count: number): Promise<unknown[]> {
  return Promise.all(
    processes.map(async (process) => {
      process.send(count);
      const [answer] = await once(process, "message");
      return answer;
    }),
  );
}

export const CASES: Record<string, Case> = {
  integers: (given) => () => longestChain(given.size),
  "large integers": (given) => () => longestChain(given.size, LARGE),
  floats: (given) => () => mandelbrot(given.size),
  strings: (given) => () => countWords(writeText(given.size)),
  hashes: (given) => () => hashRepeatedly(given.size),
  "in turn": (given) => () => inTurn(Array(WORKERS).fill(given.size)),
  "in threads": ({ size, stack }) => {
    const threads = Array.from({ length: WORKERS }, () =>
      stack.adopt(new Worker(WORKER), async (thread) => void (await thread.terminate())),
    );
    return () => inThreads(threads, size);
  },
  "in processes": ({ size, stack }) => {
    const processes = Array.from({ length: WORKERS }, () =>
      stack.adopt(fork(WORKER), (process) => void process.kill()),
    );
    return () => inProcesses(processes, size);
  },
};
