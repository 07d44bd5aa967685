/** One walk through the documents, as a reader makes it who copies every snippet. */
export interface Walk {
  /** In the order in which they are read. */
  readonly pages: readonly string[];
  /** npm packages that are installed beside this one. */
  readonly packages: readonly string[];
  /** The snippets in order, as an ES module. */
  readonly program: string;
  /** The lines that the program prints, as its comments `// → …` say. */
  readonly output: readonly string[];
  /** Command lines, split into words. */
  readonly commands: readonly (readonly string[])[];
}

/** Every page with snippets or commands is in at least one walk. */
export function walks(): Walk[];
