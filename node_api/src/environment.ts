/**
 * The environment as it was at the start, for `settings` alone.
 *
 * Libraries that would read it by themselves, each in its own way and some as they are imported,
 * find it empty. So this is imported first.
 */

// Our worker processes may need these to find the interpreter's own parts.
const NEEDED = new Set(["DYLD_LIBRARY_PATH", "LD_LIBRARY_PATH"]);

export const ENVIRONMENT: Readonly<Record<string, string | undefined>> = { ...process.env };
for (const name of Object.keys(ENVIRONMENT)) {
  if (!NEEDED.has(name)) {
    delete process.env[name];
  }
}
