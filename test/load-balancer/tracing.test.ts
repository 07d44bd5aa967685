import { AsyncLocalStorage } from 'node:async_hooks';
import { type IncomingMessage, Server } from 'node:http';
import { type Context, type ContextManager, context, ROOT_CONTEXT, SpanStatusCode, trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { Agent, request } from 'undici';
import { expect, it, onTestFinished, vi } from 'vitest';
import { traceToOpenTelemetry } from '../../examples/load-balancer/tracing.ts';
import { loadBalancer, ok, plugin, principal, routes, until, upstream } from './support.ts';

const exporter = new InMemorySpanExporter();

/** The context manager of Node, without its instrumentation of event emitters. */
class Contexts implements ContextManager {
  readonly #store = new AsyncLocalStorage<Context>();

  active(): Context {
    return this.#store.getStore() ?? ROOT_CONTEXT;
  }

  with<A extends unknown[], F extends (...args: A) => ReturnType<F>>(
    active: Context,
    run: F,
    self?: ThisParameterType<F>,
    ...args: A
  ): ReturnType<F> {
    return this.#store.run(active, () => run.call(self, ...args));
  }

  bind<T>(_: Context, target: T): T {
    return target;
  }

  enable(): this {
    return this;
  }

  disable(): this {
    return this;
  }
}

it('makes a span of each plugin call once a tracer provider is registered', async () => {
  expect(await traceToOpenTelemetry()).toBe(false);
  trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));
  expect(await traceToOpenTelemetry()).toBe(true);

  const server = await upstream((_, response) => response.end('ok'));
  const plugins = [plugin('filter', 'misbehave'), plugin('shape', 'rewrite')];
  const { url, balancer } = await loadBalancer(
    routes([server], { plugins, principals: [principal('me', { do: 'unreachable' })] }),
  );
  exporter.reset();
  const send = (body: Buffer | string) => request(url, { method: 'POST', headers: { 'x-api-key': 'me' }, body });
  await (await send('{}')).body.dump();
  // Large enough to be shaped on another thread.
  await (await send(Buffer.alloc(1_000_000))).body.dump();
  await until(() => balancer.requestsInFlight === 0);
  const spans = exporter.getFinishedSpans().filter(({ attributes }) => attributes['cc_lb.principal'] === '__global__');
  expect(spans.map(({ name, status, attributes }) => [name, status.code, attributes['cc_lb.where']])).toEqual([
    ['plugin filter', SpanStatusCode.ERROR, 'inline'],
    ['plugin shape', SpanStatusCode.UNSET, 'inline'],
    ['plugin filter', SpanStatusCode.ERROR, 'inline'],
    ['plugin shape', SpanStatusCode.UNSET, 'thread'],
  ]);
  expect(spans[0]!.attributes).toMatchObject({
    'cc_lb.plugin': 'misbehave',
    'cc_lb.version': 1,
    'cc_lb.hook': 'filter',
  });
});

it('makes the span of a plugin call a child of the span of its request', async () => {
  context.setGlobalContextManager(new Contexts());
  const names = Array.from({ length: 8 }, (_, index) => `principal-${index}`);
  // Handles each request in a span, as instrumentations of node:http do.
  const tracer = trace.getTracer('test');
  const parents = new Map<string, string>();
  const { emit } = Server.prototype;
  const spied = vi.spyOn(Server.prototype, 'emit').mockImplementation(function (this: Server, ...args) {
    const [event, received] = args as readonly unknown[];
    const key = event === 'request' && (received as IncomingMessage).headers['x-api-key'];
    if (typeof key !== 'string') return emit.apply(this, args);
    const span = tracer.startSpan('request');
    parents.set(key, span.spanContext().spanId);
    return context.with(trace.setSpan(context.active(), span), () => emit.apply(this, args));
  });
  onTestFinished(() => spied.mockRestore());

  const server = await upstream(ok);
  const { url } = await loadBalancer(
    routes([server], {
      principals: names.map((name) => principal(name, { transform: 'body' })),
      plugins: names.flatMap((name) => [
        plugin('filter', 'cache-aware', { principal: name }),
        plugin('shape', 'transforms', { principal: name }),
      ]),
    }),
  );
  const dispatcher = new Agent();
  onTestFinished(() => dispatcher.destroy());
  exporter.reset();
  // In the second round the connections exist, so that one iteration of the event loop reads all requests.
  for (let round = 1; round <= 2; round++) {
    const send = (key: string) =>
      request(url, { method: 'POST', headers: { 'x-api-key': key }, body: '{}', dispatcher });
    await Promise.all(names.map(async (key) => (await send(key)).body.dump()));
    for (const name of names) {
      const spans = exporter.getFinishedSpans().filter(({ attributes }) => attributes['cc_lb.principal'] === name);
      expect(spans.map((span) => [span.attributes['cc_lb.hook'], span.parentSpanContext?.spanId])).toEqual(
        ['filter', 'shape', 'transform_response'].map((hook) => [hook, parents.get(name)]),
      );
    }
    exporter.reset();
  }
});
