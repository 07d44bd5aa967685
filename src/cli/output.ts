/** Formats results as text and as JSON. */
import type { WasmtimeRuntimeError } from '../errors.ts';
import { printable } from '../printable.ts';

/** Like `printable`, but keeps line feeds and tabs. */
export function printableLines(text: string): string {
  return text.replace(/[^\n\t]+/g, printable);
}

/** Formats rows with aligned columns and printable cells. */
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

/**
 * Formats JSON. Bytes become text, or base64 in a field named `…Base64` when they are not UTF-8; URLs become strings. The
 * control characters that JSON permits are escaped as well.
 */
export function json(value: unknown): string {
  return printableLines(JSON.stringify(plain(value), null, 2));
}

/** Decodes the bytes as text; null when they are not UTF-8. */
export function textOfBytes(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
}

/** Returns the fields of a failure and of its causes. */
export function described(error: WasmtimeRuntimeError): Record<string, unknown> {
  const { code, message, plugin, principal, versionId, hook, retryable, cause } = error;
  const { kind, phase, trap, reason, resource, path } = error as unknown as Record<string, unknown>;
  const inner = cause instanceof Error && 'code' in cause ? described(cause as WasmtimeRuntimeError) : undefined;
  const facts = { kind, phase, trap, reason, resource, path, plugin, principal, versionId, hook, retryable };
  return { code, message, ...facts, cause: inner };
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
