/** What the pages of every list have in common: their size, and parameters that stand once. */

import { type Code, issue, Problem, type Rule } from "./problems.ts";

export const MAX_LIMIT = 100;
export const DEFAULT_LIMIT = 50;

/** The parameter `limit` in the OpenAPI document. */
export function limitParameter(ofWhat: string) {
  return {
    name: "limit",
    in: "query" as const,
    description: `How many ${ofWhat} a page has at most.`,
    schema: { type: "integer" as const, minimum: 1, maximum: MAX_LIMIT, default: DEFAULT_LIMIT },
  };
}

/** The values of each of these parameters; others are ignored. @clauses QUERY-07 */
export function namedValues<Name extends string>(
  parameters: readonly (readonly [string, string])[],
  names: readonly Name[],
): Record<Name, string[]> {
  const valuesOf = (name: string) =>
    parameters.filter(([key]) => key === name).map(([, value]) => value);
  return Object.fromEntries(names.map((name) => [name, valuesOf(name)])) as Record<Name, string[]>;
}

/** The rule that each parameter breaks that stands twice. @clauses QUERY-08 */
export function repeated<Name extends string>(
  sent: Readonly<Record<Name, string[]>>,
): Partial<Record<Name, Rule>> {
  const names = (Object.keys(sent) as Name[]).filter((name) => sent[name].length > 1);
  return Object.fromEntries(names.map((name) => [name, "malformed"])) as Partial<
    Record<Name, Rule>
  >;
}

/** What a query is refused with; the example of a parameter that breaks a rule is this one. */
export function queryProblems(parameter: string): (Code | Problem)[] {
  return [
    "malformed-query",
    new Problem("validation", [issue("parameter", parameter, "malformed")]),
  ];
}

/** Throw validation with the rules that parameters break. @clauses PROB-06 */
export function checkParameters(rules: Readonly<Record<string, Rule | null>>): void {
  const issues = Object.entries(rules).flatMap(([name, rule]) =>
    rule ? [issue("parameter", name, rule)] : [],
  );
  if (issues.length > 0) {
    throw new Problem("validation", issues);
  }
}
