/** Results as people and programs read them. */
import type { WasmtimeRuntimeError } from '../errors.ts';

/** A plugin's text as it may be shown on a terminal: a control character would be an order to it, or forge a line. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: those are meant
  return text.replace(/[\x00-\x1f\x7f-\x9f]/g, (control) => {
    return `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`;
  });
}

/** `printable` for text that may have lines and tabs. */
export function printableLines(text: string): string {
  return text.replace(/[^\n\t]+/g, printable);
}

/** Rows with their columns aligned, their cells printable. */
export function columns(texts: readonly (readonly string[])[]): string {
  const rows = texts.map((row) => row.map(printable));
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) widths[i] = Math.max(widths[i] ?? 0, cell.length);
  }
  return rows
    .map((row) =>
      row
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** JSON in which bytes are text, or base64 under another name where they are none, and URLs are their text. */
export function json(value: unknown): string {
  return JSON.stringify(plain(value), null, 2);
}

/** The bytes as text; null where they are not UTF-8. */
export function textOfBytes(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** What is known of a failure, and of what is behind it. */
export function described(error: WasmtimeRuntimeError): Record<string, unknown> {
  const { code, message, plugin, principal, versionId, hook, retryable, cause } = error;
  const { kind, phase, trap, reason, resource, path } = error as unknown as Record<string, unknown>;
  const behind = cause instanceof Error && 'code' in cause ? described(cause as WasmtimeRuntimeError) : undefined;
  const facts = { kind, phase, trap, reason, resource, path, plugin, principal, versionId, hook, retryable };
  return { code, message, ...facts, cause: behind };
}

function plain(value: unknown): unknown {
  if (value instanceof URL) return value.href;
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([name, field]): [string, unknown] => {
    if (!(field instanceof Uint8Array)) return [name, plain(field)];
    const text = textOfBytes(field);
    return text === null ? [`${name}Base64`, Buffer.from(field).toString('base64')] : [name, text];
  });
  return Object.fromEntries(entries);
}
