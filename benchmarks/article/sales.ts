/** Revenue by category from a CSV file, highest first: lodash, and the language alone. */

import { createReadStream } from "node:fs";
import { join } from "node:path";
import _ from "lodash";
import type { Case, Given } from "./case.ts";

/** A row of the file; whole cents add up exactly, fractions of a euro as floats don't. */
type Sale = { date: string; category: string; product: string; quantity: number; cents: number };

export function lodashRevenue(sales: readonly Sale[]): [string, number][] {
  return _(sales)
    .groupBy("category")
    .mapValues((items) => _.sumBy(items, "cents"))
    .toPairs()
    .orderBy(([, cents]) => cents, "desc")
    .value();
}

/** Keeps no row: memory stays the same however long the file is. */
export async function plainRevenue(file: string): Promise<[string, number][]> {
  const revenue = new Map<string, number>();
  for await (const sales of readSales(file)) {
    for (const { category, cents } of sales) {
      revenue.set(category, (revenue.get(category) ?? 0) + cents);
    }
  }
  return [...revenue].sort(([, a], [, b]) => b - a);
}

/** The rows of the file, as many at a time as were read at once. */
async function* readSales(file: string): AsyncGenerator<Sale[]> {
  const chunks = createReadStream(file, { encoding: "utf8", highWaterMark: 2 ** 20 });
  let rest = "";
  let header = true;
  for await (const chunk of chunks) {
    const lines = `${rest}${chunk}`.split("\n");
    rest = lines.pop() ?? "";
    yield lines.slice(header ? 1 : 0).map(parseSale);
    header = false;
  }
  if (rest) {
    yield [parseSale(rest)];
  }
}

function parseSale(line: string): Sale {
  const [date = "", category = "", product = "", quantity, revenue] = line.split(",");
  const cents = Math.round(Number(revenue) * 100);
  return { date, category, product, quantity: Number(quantity), cents };
}

async function allSales(given: Given): Promise<Sale[]> {
  const sales = await Array.fromAsync(readSales(salesFile(given)));
  return sales.flat();
}

function salesFile({ directory, size }: Given): string {
  return join(directory, `sales-${size}.csv`);
}

export const CASES: Record<string, Case> = {
  lodash: (given) => async () => lodashRevenue(await allSales(given)),
  plain: (given) => () => plainRevenue(salesFile(given)),
  "lodash in memory": async (given) => {
    const sales = await allSales(given);
    return () => lodashRevenue(sales);
  },
};
