/** A sequence of pages whose snippets form one program. */
export interface Walk {
  /** In the order in which they are read. */
  readonly pages: readonly string[];
  /** npm packages that are installed in addition to this one. */
  readonly packages: readonly string[];
  /** The snippets in order, as an ES module. */
  readonly program: string;
  /** The expected output of the program, from its comments `// → …`. */
  readonly output: readonly string[];
  /** Command lines, split into words. */
  readonly commands: readonly (readonly string[])[];
}

/** The names of README.md and of the pages below docs/. */
export function pageNames(): string[];

/** Every page with snippets or commands is in at least one walk. */
export function walks(): Walk[];
