/** Waiting for many timers, or for many files, at once. */

import { hash } from "node:crypto";
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { Case } from "./case.ts";

const MILLISECONDS = 10;
const FILE_BYTES = 100_000;

/** How many timers have run out, all started at once. */
export async function waitForAll(timers: number): Promise<number> {
  const done = await Promise.all(Array.from({ length: timers }, () => sleep(MILLISECONDS, true)));
  return done.filter(Boolean).length;
}

/** Copy the files of a folder at once; the hash of each, in the order of their names. */
export async function copyAll(source: string, target: string): Promise<string[]> {
  const names = (await readdir(source)).sort();
  return Promise.all(names.map((name) => copy(join(source, name), join(target, name))));
}

async function copy(source: string, target: string): Promise<string> {
  const content = await readFile(source);
  await writeFile(target, content);
  return hash("sha256", content);
}

export const CASES: Record<string, Case> = {
  timers: (given) => () => waitForAll(given.size),
  copies: async ({ directory, size }) => {
    const [source, target] = [join(directory, "files"), join(directory, "copies")];
    await mkdir(source, { recursive: true });
    await mkdir(target, { recursive: true });
    for (let number = 0; number < size; number++) {
      const name = `${String(number).padStart(4, "0")}.bin`;
      await writeFile(join(source, name), Buffer.alloc(FILE_BYTES, number % 256));
    }
    return () => copyAll(source, target);
  },
};
