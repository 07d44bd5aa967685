/** The relative links of the Markdown files among these that lead to none of them, each as `page: link`. */
export function brokenLinks(files: readonly string[]): string[];
