/** Structured logs, one JSON object a line, by pino. */
import pino from 'pino';
import type { LogEntry, RequestRecord } from './exchange.ts';

/** What is logged. */
export interface LogOptions {
  /** `info` has a line for each request, `warn` what failed. */
  readonly level: 'debug' | 'info' | 'warn' | 'error' | 'silent';
}

/** The logger that all parts share. */
export type Logger = pino.Logger;

/** Bytes that a pipe takes at once, so that lines of several processes do not mix. */
const PIPE_BYTES = 4_096;
/** Control characters, of which a terminal would make something: JSON escapes those below space alone. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g;

/** A logger to standard output. */
export function createLogger({ level }: LogOptions): Logger {
  const destination = pino.destination({ dest: 1, sync: false, maxWrite: PIPE_BYTES });
  process.on('exit', () => {
    try {
      destination.flushSync();
    } catch {
      // Nothing was written yet.
    }
  });
  return pino({ level, base: { pid: process.pid }, timestamp: pino.stdTimeFunctions.isoTime }, destination);
}

/** Logs one request: what was decided, by whom and why. */
export function logRequest(logger: Logger, record: RequestRecord): void {
  if (!logger.isLevelEnabled('info')) return;
  const decisions = record.decisions.map(({ plugin, kept, reason }) => ({
    plugin: printable(plugin),
    kept,
    reason: printable(reason),
  }));
  logger.info({ ...record, decisions }, 'request');
}

/** Logs what went wrong with a request. */
export function logEntry(logger: Logger, { level, requestId, message, error }: LogEntry): void {
  const { name, code } = (error ?? {}) as { name?: unknown; code?: unknown };
  const reason = printable(error instanceof Error ? error.message : String(error));
  logger[level]({ requestId, error: name, code, reason }, printable(message));
}

/** Text of plugins and clients, with its control characters written out. */
export function printable(text: string): string {
  return text.replace(CONTROLS, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
