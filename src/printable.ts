/** Text of plugins and modules for messages and terminals. */

const QUOTED_UNITS = 80;

/**
 * Escapes control characters in a plugin's text: a terminal would execute them, and a line break could forge output.
 * Those that change the direction of text could hide or reorder it.
 */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern matches control characters
  return text.replace(/[\x00-\x1f\x7f-\x9f\p{Bidi_Control}\u2028\u2029]/gu, (control) => {
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** Formats a plugin's text for an error message: escaped and truncated. */
export function quoted(text: string): string {
  const escaped = printable(JSON.stringify(text.slice(0, QUOTED_UNITS)));
  return text.length <= QUOTED_UNITS ? escaped : `${escaped}…`;
}
