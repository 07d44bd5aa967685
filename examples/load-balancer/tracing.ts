/** OpenTelemetry spans of plugin calls, where @opentelemetry/api is installed and a tracer provider is registered. */
import { tracingChannel } from 'node:diagnostics_channel';
import type { Span } from '@opentelemetry/api';
import type { CallEvent } from 'cc-lb-runtime-wasmtime';

/** The runtime's channel of calls. */
const CALLS = 'cc-lb-runtime-wasmtime:call';

/**
 * Makes a span of each plugin call from now on, as a child of the context's span. Does nothing, and costs calls nothing, where
 * the API is missing or nothing takes its spans. Gives whether there are spans.
 */
export async function traceToOpenTelemetry(): Promise<boolean> {
  const api = await import('@opentelemetry/api').catch(() => null);
  if (api === null) return false;
  const tracer = api.trace.getTracer('cc-lb-load-balancer');
  // Without a provider, spans have no valid ids.
  if (!api.isSpanContextValid(tracer.startSpan('start').spanContext())) return false;
  const spans = new WeakMap<object, Span>();
  const end = (call: object) => {
    spans.get(call)?.end();
    spans.delete(call);
  };
  tracingChannel<object, CallEvent>(CALLS).subscribe({
    start(call) {
      const { plugin = '', principal = '', versionId = 0, hook = '', where } = call as CallEvent;
      const attributes = {
        'cc_lb.plugin': plugin,
        'cc_lb.principal': principal,
        'cc_lb.version': versionId,
        'cc_lb.hook': hook,
        'cc_lb.where': where,
      };
      spans.set(call, tracer.startSpan(`plugin ${hook}`, { attributes }));
    },
    error(call) {
      const { error } = call as { error: unknown };
      const span = spans.get(call);
      span?.recordException(error instanceof Error ? error : String(error));
      span?.setStatus({ code: api.SpanStatusCode.ERROR });
    },
    // A call on another thread has ended when its promise settles.
    end(call) {
      if ((call as CallEvent).where === 'inline') end(call);
    },
    asyncStart() {},
    asyncEnd: end,
  });
  return true;
}
