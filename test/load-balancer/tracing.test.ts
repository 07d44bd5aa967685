import { SpanStatusCode, trace } from '@opentelemetry/api';
import { BasicTracerProvider, InMemorySpanExporter, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-base';
import { request } from 'undici';
import { expect, it } from 'vitest';
import { traceToOpenTelemetry } from '../../examples/load-balancer/tracing.ts';
import { loadBalancer, plugin, principal, routes, until, upstream } from './support.ts';

it('makes a span of each plugin call once a tracer provider is registered', async () => {
  expect(await traceToOpenTelemetry()).toBe(false);
  const exporter = new InMemorySpanExporter();
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
