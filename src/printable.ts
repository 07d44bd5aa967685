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
