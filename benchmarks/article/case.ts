/** What a section gives to be timed. */

/** What a case may work with; whatever it adds to the stack is closed in the end. */
export type Given = Readonly<{
  size: number;
  url: string;
  directory: string;
  stack: AsyncDisposableStack;
}>;

/** What is timed; it returns its answer, or a promise of it. */
export type Work = () => unknown;
/** Prepares, which isn't timed, and returns the work. */
export type Case = (given: Given) => Work | Promise<Work>;
