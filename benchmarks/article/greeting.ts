/** Types: what the checker says of two mistakes that run without a complaint. */

export function greet(name: string): string {
  return `Hello, ${name}!`;
}

export function findName(names: Map<number, string>, id: number): string | undefined {
  return names.get(id);
}

export function mistakes(): string[] {
  return [
    // @ts-expect-error
    greet(42),
    // @ts-expect-error
    greet(findName(new Map([[1, "Ada"]]), 2)),
  ];
}
