import { describe, expect, it } from 'vitest';
import {
  ClosedError,
  GuestTrapError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  ResponseTransformError,
  SlotKey,
  SlotNotFoundError,
  type TransformResponseInput,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { InvalidAnswerError } from '../../src/policy/invalid-answer.ts';
import type { Json } from '../../src/types.ts';
import { transformSseEventResult } from '../../src/wire/messages/transform.ts';
import { encodeToBytes } from '../support/encode.ts';
import { rejected, thrown } from '../support/errors.ts';
import { answerAt, guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime, recorder } from '../support/runtimes.ts';
import { caller, response, sseEvent } from '../support/samples.ts';

const key = new SlotKey('alice', 'k');

function dialectOf(name: string, config?: HotEngineConfigInput): WasmtimeUpstreamDialect {
  const runtime = newRuntime(config);
  return new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, name, plugin(name)));
}

const bytesOf = (text: string) => new TextEncoder().encode(text);

/** Arguments that select a change of the guest `transforms`. */
const withChange = (transform: string, claims: Record<string, Json> = {}) => ({
  principal: caller({ ...claims, transform }),
});
const transformed = (change: string, more: Partial<TransformResponseInput> = {}, config?: HotEngineConfigInput) =>
  dialectOf('transforms', config).transformResponse(response({ ...withChange(change), ...more }));
const sseTransformed = (change: string, config?: HotEngineConfigInput, claims?: Record<string, Json>) =>
  dialectOf('transforms', config).transformSseEvent(sseEvent(withChange(change, claims)));

describe('request of a transform', () => {
  const hex = (text: string) => Buffer.from(text).toString('hex');
  const exchange = {
    request_id: 'req-1',
    request_method: 'POST',
    request_path: '/v1/messages',
    canonical_model_id: 'model-1',
    principal: { id: 'principal-1', kind: 'oauth_subject', claims: [] },
    upstream: { kind: 'anthropic_direct', base_url: 'https://upstream.test/' },
  };

  it.each(['report-0-1-1', 'report-0-1-2', 'report-0-2-0'])('has the exchange, for %s', (name) => {
    const dialect = dialectOf(name);
    const principal = { ...caller(), kind: 'oauth_subject' as const };
    // No header of the upstream is withheld.
    const headers = [
      ['Set-Cookie', 'a'],
      ['authorization', 'b'],
      ['set-cookie', 'c'],
    ] as const;
    const read = [
      { name: 'set-cookie', value: hex('a') },
      { name: 'set-cookie', value: hex('c') },
      { name: 'authorization', value: hex('b') },
    ];
    const whole = dialect.transformResponse(response({ principal, headers, status: 529 }));
    expect(whole).toMatchObject({ kind: 'replace' });
    const { body } = whole as { body: Uint8Array };
    expect(whole).toEqual({ kind: 'replace', body });
    const report = JSON.parse(Buffer.from(body).toString());
    expect(report).toMatchObject({ ...exchange, body: hex('{"ok":true}') });
    expect(Object.values(report)).toContainEqual(read);
    expect(Object.values(report)).toContainEqual(529);

    const one = dialect.transformSseEvent(sseEvent({ principal, headers }));
    expect(one).toMatchObject({ kind: 'replace', events: [{ event: 'report' }] });
    const { events } = one as unknown as { events: { data: Uint8Array }[] };
    const reported = JSON.parse(Buffer.from(events[0]!.data).toString());
    expect(reported).toMatchObject({ ...exchange, event: { event: 'message', data: hex('hello') } });
    expect(Object.values(reported)).toContainEqual(read);
  });
});

describe('transformed response', () => {
  it('is unchanged, or has the replaced parts', () => {
    expect(transformed('none')).toEqual({ kind: 'unchanged' });
    expect(transformed('nothing')).toEqual({ kind: 'replace' });
    expect(transformed('status:204')).toEqual({ kind: 'replace', status: 204 });
    expect(transformed('body')).toEqual({ kind: 'replace', body: bytesOf('{"OK":TRUE}') });
    expect(transformed('empty-body')).toEqual({ kind: 'replace', body: bytesOf('') });
    expect(transformed('no-headers')).toEqual({ kind: 'replace', headers: [] });
    expect(transformed('headers')).toEqual({
      kind: 'replace',
      headers: [
        ['content-type', 'application/json'],
        ['x-transformed', 'yes'],
      ],
    });
    expect(Object.keys(transformed('all')).sort()).toEqual(['body', 'headers', 'kind', 'status']);
  });

  it('has headers dropped that belong to a connection or its framing', () => {
    const { headers } = transformed('hop-by-hop') as unknown as { headers: [string, string][] };
    expect(headers.map(([name]) => name)).toEqual(['content-type', 'x-kept']);
  });

  it('is rejected for an invalid status, name or value', () => {
    for (const [change, rule] of [
      ['status:99', 'status'],
      ['status:1000', 'status'],
      ['bad-header-name', 'header_name'],
      ['bad-header-value', 'header_value'],
    ]) {
      const error = thrown(ResponseTransformError, () => transformed(change!));
      expect(error).toMatchObject({ kind: 'runtime', hook: 'transform_response', cause: { rule } });
    }
    expect(transformed('status:100')).toMatchObject({ status: 100 });
    expect(transformed('status:999')).toMatchObject({ status: 999 });
  });

  it.each([
    ['status:103', 1],
    ['status:200', 0],
    ['headers', 0],
  ])('with the change %s counts as invalid %i times', (change, invalid) => {
    const runtime = newRuntime();
    const slot = runtime.registerShape(key, 'transforms', plugin('transforms'));
    new WasmtimeUpstreamDialect(runtime, slot).transformResponse(response(withChange(change)));
    expect(slot.status.failures.invalidAnswer).toBe(invalid);
  });

  it('is limited by maxHeaders and maxHeaderValueBytes', () => {
    const config = { wireBounds: { maxHeaders: 20, maxHeaderValueBytes: 500 } };
    expect(transformed('many-headers:20', {}, config)).toMatchObject({ kind: 'replace' });
    expect(transformed('long-header:500', {}, config)).toMatchObject({ kind: 'replace' });
    for (const [change, rule] of [
      ['many-headers:21', 'max_headers'],
      ['long-header:501', 'header_value_size'],
    ]) {
      const error = thrown(ResponseTransformError, () => transformed(change!, {}, config));
      expect(error.cause).toMatchObject({ rule });
    }
  });

  it('is limited by outputBodyBytes', () => {
    const config = { wireBounds: { outputBodyBytes: 60_000 } };
    const error = thrown(ResponseTransformError, () => transformed('large-body:60000', {}, config));
    expect(error.cause).toBeInstanceOf(InvalidAnswerError);
    expect(() => sseTransformed('large:60000', config)).toThrow(ResponseTransformError);
  });
});

describe('transformed event', () => {
  const event = (data: string, name = 'message') => ({ event: name, data: bytesOf(data) });

  it('is unchanged, replaced by any number of events, or dropped', () => {
    expect(sseTransformed('none')).toEqual({ kind: 'unchanged' });
    expect(sseTransformed('drop')).toEqual({ kind: 'drop' });
    expect(sseTransformed('no-events')).toEqual({ kind: 'replace', events: [] });
    expect(sseTransformed('upper')).toEqual({ kind: 'replace', events: [event('HELLO')] });
    expect(sseTransformed('rename')).toEqual({ kind: 'replace', events: [event('hello', 'renamed')] });
    expect(sseTransformed('repeat:3')).toEqual({ kind: 'replace', events: Array(3).fill(event('hello')) });
    expect(sseTransformed('upper', {}, { event: 'other' })).toEqual({ kind: 'unchanged' });
  });

  /** Returns the slot of a plugin that replaces an event by one of the type, and a call of it. */
  function replacing(type: string) {
    const answer = { kind: 'replace', events: [{ event: type, data: bytesOf('x') }] } as const;
    const { fields, hook } = answerAt(16_384, encodeToBytes(transformSseEventResult, answer));
    const wasm = guest({
      hooks: ['shape', 'transform_response', 'transform_sse_event'],
      fields,
      hook: { transform_sse_event: misbehavesAfterProbe(hook) },
    });
    const runtime = newRuntime();
    const slot = runtime.registerShape(key, 'guest', wasm);
    const data = Buffer.alloc(LONGER_THAN_PROBES);
    const dialect = new WasmtimeUpstreamDialect(runtime, slot);
    return { slot, call: () => dialect.transformSseEvent(sseEvent({ event: { event: 'message', data } })) };
  }

  it.each([
    ['a\nb', 1],
    ['a', 0],
  ])('of the type %j counts as invalid %i times', (type, invalid) => {
    const { slot, call } = replacing(type);
    call();
    expect(slot.status.failures.invalidAnswer).toBe(invalid);
  });

  it('may have a type of 1,024 characters and is rejected beyond, also where its text is not decoded completely', () => {
    for (const type of ['a'.repeat(1_024), '\u20ac'.repeat(1_024)]) {
      expect(replacing(type).call()).toMatchObject({ events: [{ event: type }] });
    }
    for (const type of ['a'.repeat(1_025), '\u20ac'.repeat(5_000), '\u{1f980}'.repeat(4_000), 'a'.repeat(16_000)]) {
      const { slot, call } = replacing(type);
      expect(thrown(ResponseTransformError, call).cause).toMatchObject({ rule: 'event_type' });
      expect(slot.status.failures.invalidAnswer).toBe(1);
    }
  });

  it('may be 10,000 events and is rejected beyond', () => {
    const dialect = dialectOf('transforms');
    const event = { event: 'message', data: bytesOf('x') };
    const repeated = (count: number) =>
      dialect.transformSseEvent(sseEvent({ ...withChange(`repeat:${count}`), event }));
    const output = repeated(10_000);
    expect(output.kind === 'replace' && output.events.length).toBe(10_000);
    const error = thrown(ResponseTransformError, () => repeated(10_001));
    expect(error.message).toContain('more than 10000 elements');
  });
});

describe('a transform that the plugin does not have', () => {
  it.each(['transforms-noop', 'rewrite'])('returns unchanged without a call (%s)', async (name) => {
    const { sink, take } = recorder();
    const runtime = newRuntime({}, { metrics: sink });
    const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, name, plugin(name)));
    take();
    expect(dialect.transformResponse(response())).toEqual({ kind: 'unchanged' });
    expect(dialect.transformSseEvent(sseEvent())).toEqual({ kind: 'unchanged' });
    expect(await dialect.transformResponseAsync(response(), { where: 'thread' })).toEqual({ kind: 'unchanged' });
    expect(await dialect.transformSseEventAsync(sseEvent())).toEqual({ kind: 'unchanged' });
    expect(take()).toEqual([]);
    runtime.close();
    expect(() => dialect.transformResponse(response())).toThrow(ClosedError);
    await rejected(ClosedError, dialect.transformSseEventAsync(sseEvent()));
  });
});

describe('failure of a transform', () => {
  it('is a ResponseTransformError of kind trap or runtime, inline and off-thread', async () => {
    const dialect = dialectOf('transforms');
    for (const where of ['inline', 'thread'] as const) {
      const trapped = await rejected(
        ResponseTransformError,
        dialect.transformResponseAsync(response(withChange('trap')), { where }),
      );
      expect(trapped).toMatchObject({ code: 'CC_LB_RESPONSE_TRANSFORM', kind: 'trap', hook: 'transform_response' });
      expect(trapped).toMatchObject({ plugin: 'transforms', principal: 'alice', versionId: 1 });
      expect(trapped.cause).toBeInstanceOf(GuestTrapError);
      const expired = await rejected(
        ResponseTransformError,
        dialect.transformSseEventAsync(sseEvent(withChange('loop')), { where, deadlineMs: 500 }),
      );
      expect(expired).toMatchObject({ kind: 'trap', retryable: true, hook: 'transform_sse_event' });
      expect(expired.cause).toMatchObject({ trap: 'interrupt', phase: 'cc_lb_transform_sse_event' });
    }
    expect(() => dialect.transformResponse(response(withChange('trap')))).toThrow(ResponseTransformError);
    expect(() => dialect.transformSseEvent(sseEvent(withChange('trap')))).toThrow(ResponseTransformError);
  });

  it('is a ResponseTransformError when its slot does not exist', async () => {
    const dialect = WasmtimeUpstreamDialect.follow(newRuntime(), key);
    for (const error of [
      thrown(ResponseTransformError, () => dialect.transformResponse(response())),
      thrown(ResponseTransformError, () => dialect.transformSseEvent(sseEvent())),
      await rejected(ResponseTransformError, dialect.transformResponseAsync(response())),
      await rejected(ResponseTransformError, dialect.transformSseEventAsync(sseEvent())),
    ]) {
      expect(error).toMatchObject({ kind: 'runtime', plugin: 'k', principal: 'alice' });
      expect(error.cause).toBeInstanceOf(SlotNotFoundError);
    }
  });
});

describe('invalid arguments of a transform', () => {
  it.each<[string, unknown]>([
    ['input', undefined],
    ['input', 5],
    ['requestId', { ...response(), requestId: 5 }],
    ['requestMethod', { ...response(), requestMethod: undefined }],
    ['requestPath', { ...response(), requestPath: null }],
    ['canonicalModelId', { ...response(), canonicalModelId: undefined }],
    ['principal', { ...response(), principal: undefined }],
    ['upstream', { ...response(), upstream: undefined }],
    ['status', { ...response(), status: 2 ** 16 }],
    ['status', { ...response(), status: '200' }],
    ['headers', { ...response(), headers: null }],
    ['body', { ...response(), body: '{}' }],
    ['options', response()],
  ])('of a response are reported with path %s', async (path, input) => {
    const dialect = dialectOf('transforms');
    const args = path === 'options' ? [input, null] : [input];
    const error = thrown(InvalidArgumentError, () => Reflect.apply(dialect.transformResponse, dialect, args));
    expect(error.path).toBe(path);
    await rejected(InvalidArgumentError, Reflect.apply(dialect.transformResponseAsync, dialect, args));
  });

  it.each<[string, unknown]>([
    ['input', null],
    ['event', { ...sseEvent(), event: undefined }],
    ['event.data', { ...sseEvent(), event: { event: 'e', data: 'text' } }],
    ['event.data', { ...sseEvent(), event: { event: 'e' } }],
    ['event.event', { ...sseEvent(), event: { event: 5, data: new Uint8Array(1) } }],
    ['event.event', { ...sseEvent(), event: { data: new Uint8Array(1) } }],
  ])('of an event are reported with path %s', async (path, input) => {
    const dialect = dialectOf('transforms');
    const error = thrown(InvalidArgumentError, () => Reflect.apply(dialect.transformSseEvent, dialect, [input]));
    expect(error.path).toBe(path);
    await rejected(InvalidArgumentError, Reflect.apply(dialect.transformSseEventAsync, dialect, [input]));
  });

  it('are reported before a plugin with a failing transform is called', () => {
    const runtime = newRuntime();
    const bytes = guest({ hooks: ['shape', 'transform_response', 'transform_sse_event'] });
    const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, 'n', bytes));
    expect(dialect.transformResponse(response())).toEqual({ kind: 'unchanged' });
    expect(() => Reflect.apply(dialect.transformResponse, dialect, [{}])).toThrow(InvalidArgumentError);
  });
});
