/**
 * Times one case: `node run.ts '{"topic": "cpu", "variant": "floats", …}'`.
 *
 * Prints one line of JSON: the answer, and what an iteration took.
 */

import { hash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import type { Case, Work } from "./case.ts";

// What takes less is done several times between two looks at the clock.
const BLOCK_SECONDS = 0.01;
// What takes more is done once: to warm it up changes nothing.
const LONG_SECONDS = 2;

const PEAK = /VmHWM:\s+(\d+) kB/;

type Asked = {
  topic: string;
  variant: string;
  size: number;
  seconds: number;
  url: string;
  directory: string;
};

/** Prepare a case and time it; with no seconds to spend, do it just once, for its answer. */
async function timeCase(asked: Asked): Promise<Record<string, unknown>> {
  const { CASES } = (await import(`./${asked.topic}.ts`)) as { CASES: Record<string, Case> };
  const prepare = CASES[asked.variant];
  if (!prepare) {
    throw new Error(`There is no ${asked.variant} in ${asked.topic}.`);
  }
  await using stack = new AsyncDisposableStack();
  const work = await prepare({ ...asked, stack });
  let cpu = process.cpuUsage();
  const begin = performance.now();
  let result = work();
  const isAsync = result instanceof Promise;
  result = await result;
  const first = (performance.now() - begin) / 1000;
  let [seconds, iterations] = [[first], 1];
  if (asked.seconds && first < LONG_SECONDS) {
    const repeats = await warmUp(work, isAsync, asked.seconds / 3);
    [seconds, iterations] = [[], 0];
    cpu = process.cpuUsage();
    for (let spent = 0; spent < asked.seconds; ) {
      const took = await repeat(work, isAsync, repeats);
      spent += took;
      seconds.push(took / repeats);
      iterations += repeats;
    }
  }
  const { user, system } = process.cpuUsage(cpu);
  return {
    answer: answer(result),
    iterations,
    seconds: median(seconds),
    cpu_seconds: (user + system) / 1e6 / iterations,
    peak_mib: peakMib(),
  };
}

/** Do it for so long; how often to repeat it between two looks at the clock. */
async function warmUp(work: Work, isAsync: boolean, seconds: number): Promise<number> {
  let repeats = 1;
  for (let spent = 0; spent < seconds; ) {
    const took = await repeat(work, isAsync, repeats);
    spent += took;
    if (took < BLOCK_SECONDS) {
      repeats *= 2;
    }
  }
  return repeats;
}

/** Seconds for all times together. */
async function repeat(work: Work, isAsync: boolean, times: number): Promise<number> {
  const begin = performance.now();
  if (isAsync) {
    for (let time = 0; time < times; time++) {
      await work();
    }
  } else {
    for (let time = 0; time < times; time++) {
      work();
    }
  }
  return (performance.now() - begin) / 1000;
}

/** The result as JSON; its hash where it is long. */
function answer(result: unknown): string {
  const text = JSON.stringify(result);
  return Buffer.byteLength(text) <= 500 ? text : hash("sha256", text);
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  const middle = (sorted.length - 1) / 2;
  const [low = 0, high = 0] = [sorted[Math.floor(middle)], sorted[Math.ceil(middle)]];
  return (low + high) / 2;
}

/** The most memory this process had; on Linux resourceUsage counts that of its parent, too. */
function peakMib(): number {
  const status = "/proc/self/status";
  if (existsSync(status)) {
    const [, kib] = readFileSync(status, "ascii").match(PEAK) ?? [];
    return Number(kib) / 1024;
  }
  return process.resourceUsage().maxRSS / 1024;
}

process.stdout.write(`${JSON.stringify(await timeCase(JSON.parse(process.argv[2] ?? "")))}\n`);
