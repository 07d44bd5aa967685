/** OpenTelemetry spans of plugin calls, where @opentelemetry/api is installed and a tracer provider is registered. */
import { tracingChannel } from 'node:diagnostics_channel';
import type { Span } from '@opentelemetry/api';
import type { CallEvent } from 'cc-lb-runtime-wasmtime';

/** The name of the runtime's tracing channel for calls. */
const CALLS = 'cc-lb-runtime-wasmtime:call';

/**
 * Creates a span for each later plugin call, as a child of the active span. Returns false and subscribes to nothing if
 * the API is not installed or no tracer provider is registered.
 */
export async function traceToOpenTelemetry(): Promise<boolean> {
  const api = await import('@opentelemetry/api').catch(() => null);
  if (api === null) return false;
  const tracer = api.trace.getTracer('cc-lb-load-balancer');
  // Without a provider, spans have invalid ids.
  if (!api.isSpanContextValid(tracer.startSpan('start').spanContext())) return false;
  const spans = new WeakMap<object, Span>();
  const finish = (call: object) => {
    spans
      .get(call)
      ?.setAttribute('cc_lb.where', (call as CallEvent).where)
      .end();
    spans.delete(call);
  };
  tracingChannel<object, CallEvent>(CALLS).subscribe({
    start(call) {
      const { plugin = '', principal = '', versionId = 0, hook = '' } = call as CallEvent;
      const attributes = {
        'cc_lb.plugin': plugin,
        'cc_lb.principal': principal,
        'cc_lb.version': versionId,
        'cc_lb.hook': hook,
      };
      spans.set(call, tracer.startSpan(`plugin ${hook}`, { attributes }));
    },
    error(call) {
      const { error } = call as { error: unknown };
      const span = spans.get(call);
      span?.recordException(error instanceof Error ? error : String(error));
      span?.setStatus({ code: api.SpanStatusCode.ERROR });
    },
    end(call) {
      // The context of a promise has neither yet; it finishes when the promise settles.
      if ('result' in call || 'error' in call) finish(call);
    },
    asyncStart() {},
    asyncEnd: finish,
  });
  return true;
}
