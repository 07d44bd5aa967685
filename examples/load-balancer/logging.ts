/** Structured logs with pino, one JSON object per line. */
import pino from 'pino';
import { LogDestination } from './log-destination.ts';
import type { LogEntry, RequestRecord } from './record.ts';

/** The config of the log. */
export interface LogOptions {
  /** `info` logs each request, `warn` only failures. */
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** The logger. */
export type Logger = pino.Logger;

/**
 * Control characters, which a terminal would execute, or which reorder the text that follows: JSON escapes only those
 * below space.
 */
// biome-ignore lint/suspicious/noControlCharactersInRegex: the pattern matches control characters
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\p{Bidi_Control}\u2028\u2029]/gu;

/** A logger to standard output, or to another destination. */
export function createLogger({ level }: LogOptions, destination = new LogDestination()): Logger {
  return pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

/** Logs a request with the decisions of plugins and their reasons. */
export function logRequest(logger: Logger, record: RequestRecord): void {
  if (!logger.isLevelEnabled('info')) return;
  const decisions = record.decisions.map(({ plugin, kept, reason }) => ({
    plugin: printable(plugin),
    kept,
    reason: printable(reason),
  }));
  logger.info({ ...record, decisions }, 'request');
}

/** Logs a failure of a request. */
export function logEntry(logger: Logger, { level, requestId, message, error }: LogEntry): void {
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  const reason = printable(error instanceof Error ? error.message : String(error));
  logger[level]({ requestId, error: name, code, reason }, printable(message));
}

/** Escapes control characters in text of plugins and clients. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
