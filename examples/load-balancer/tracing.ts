/** OpenTelemetry spans of plugin calls, where @opentelemetry/api is installed and a tracer provider is registered. */
import { AsyncResource } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import type { Span } from '@opentelemetry/api';
import type { CallEvent } from 'cc-lb-runtime-wasmtime';

/** The runtime's tracing channel for calls. */
const calls = tracingChannel<object, CallEvent>('cc-lb-runtime-wasmtime:call');

/**
 * Returns a function that runs in the current async context, so that the spans of its plugin calls have the active span
 * as their parent. Without tracing, returns `work` itself.
 */
export function inContext<Arguments extends unknown[]>(work: (...args: Arguments) => void): typeof work {
  return calls.start.hasSubscribers ? AsyncResource.bind(work) : work;
}

/** Like `inContext`, for all methods of an object. */
export function methodsInContext<T extends object>(target: T): T {
  if (!calls.start.hasSubscribers) return target;
  const scope = new AsyncResource('cc-lb-request');
  return new Proxy(target, {
    get(_, name) {
      const member: unknown = Reflect.get(target, name);
      if (typeof member !== 'function') return member;
      return (...args: unknown[]) => scope.runInAsyncScope(member as () => unknown, target, ...(args as []));
    },
  });
}

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
  calls.subscribe({
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
