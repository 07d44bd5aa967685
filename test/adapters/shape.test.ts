import { describe, expect, it } from 'vitest';
import {
  type CallOptions,
  DialectError,
  GuestTrapError,
  type HotEngineConfigInput,
  InvalidArgumentError,
  ModuleRejectedError,
  type Principal,
  type RequestContext,
  type ShapedRequest,
  SlotKey,
  type Upstream,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { type AnswerRule, InvalidAnswerError } from '../../src/policy/invalid-answer.ts';
import { WireError } from '../../src/wire/decode.ts';
import { type ShapeResponse, shapeResponse } from '../../src/wire/messages/shape.ts';
import { encodeToBytes } from '../support/encode.ts';
import { rejected, thrown } from '../support/errors.ts';
import { plugin } from '../support/plugins.ts';
import { newRuntime } from '../support/runtimes.ts';
import { caller, request, upstream } from '../support/samples.ts';

const key = new SlotKey('alice', 'k');
const NOWHERE: Upstream = { kind: 'anthropic_direct' };
const SAME_ORIGIN: HotEngineConfigInput = { shapeOriginPolicy: 'selected-upstream-origin' };

function shapeOf(name: string, config?: HotEngineConfigInput): WasmtimeUpstreamDialect {
  const runtime = newRuntime(config);
  return new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, name, plugin(name)));
}

/** Returns what a reporting guest reads of a call. */
function seen(
  ctx: Partial<RequestContext>,
  {
    config,
    to = upstream,
    principal = caller(),
    by = 'report-0-1-0',
  }: {
    config?: HotEngineConfigInput;
    to?: Upstream;
    principal?: Principal;
    by?: string;
  } = {},
): Record<string, unknown> {
  const { body } = shapeOf(by, config).shape(request(ctx), to, principal);
  return JSON.parse(Buffer.from(body).toString());
}

describe('sharesBody', () => {
  it('returns the bytes of a body that the plugin preserved, for both forms of the call', async () => {
    const dialect = shapeOf('echo');
    for (const size of [3, 400_000]) {
      const ctx = request({ body: Buffer.alloc(size, 1) });
      // The first answer of this size has its own memory.
      dialect.shape(ctx, upstream, caller());
      expect(dialect.shape(ctx, upstream, caller(), { sharesBody: true }).body).toBe(ctx.body);
      expect((await dialect.shapeAsync(ctx, upstream, caller(), { sharesBody: true })).body).toBe(ctx.body);
    }
  });

  it('is off by default: the body is a copy', () => {
    const ctx = request({ body: Buffer.from('body') });
    const { body } = shapeOf('echo').shape(ctx, upstream, caller());
    expect(body).not.toBe(ctx.body);
    expect(Buffer.from(body).toString()).toBe('body');
  });

  it('does not replace a body that the plugin wrote', () => {
    const ctx = request({ body: Buffer.from('body') });
    const { body } = shapeOf('report-0-1-0').shape(ctx, upstream, caller(), { sharesBody: true });
    expect(JSON.parse(Buffer.from(body).toString())).toMatchObject({ method: 'POST' });
  });
});

describe('bodyInto', () => {
  const body = Buffer.alloc(100_000, 1);
  const ctx = request({ body });

  it('has the body that the plugin wrote, in both forms of the call and again for the next call', async () => {
    const dialect = shapeOf('echo');
    const bodyInto = Buffer.alloc(body.length + 10);
    // The first answer of this size has its own memory.
    dialect.shape(ctx, upstream, caller());
    for (const form of ['shape', 'shapeAsync'] as const) {
      const shaped = await dialect[form](ctx, upstream, caller(), { bodyInto });
      expect(shaped.body.buffer).toBe(bodyInto.buffer);
      expect(Buffer.compare(shaped.body, body)).toBe(0);
      bodyInto.fill(0);
    }
  });

  it('stays unchanged if the body does not fit, or if the answer has its own memory', async () => {
    const dialect = shapeOf('echo');
    const small = Buffer.alloc(body.length - 1);
    const large = Buffer.alloc(body.length);
    dialect.shape(ctx, upstream, caller());
    const copied = dialect.shape(ctx, upstream, caller(), { bodyInto: small });
    const moved = await dialect.shapeAsync(ctx, upstream, caller(), { bodyInto: large, where: 'thread' });
    for (const shaped of [copied, moved]) expect(Buffer.compare(shaped.body, body)).toBe(0);
    expect(small.every((byte) => byte === 0) && large.every((byte) => byte === 0)).toBe(true);
  });

  it('stays unchanged while a version is monitored, which compares the bodies later', () => {
    const runtime = newRuntime();
    runtime.registerShape(key, 'echo', plugin('echo'));
    runtime.registerShape(key, 'report', plugin('report-0-1-0'), { enforcement: 'monitor' });
    const dialect = WasmtimeUpstreamDialect.follow(runtime, key);
    const bodyInto = Buffer.alloc(body.length);
    dialect.shape(ctx, upstream, caller());
    expect(Buffer.compare(dialect.shape(ctx, upstream, caller(), { bodyInto }).body, body)).toBe(0);
    expect(bodyInto.every((byte) => byte === 0)).toBe(true);
  });

  it('must be bytes that only the caller changes', () => {
    const dialect = shapeOf('echo');
    for (const bodyInto of ['text', new Uint8Array(new SharedArrayBuffer(8))]) {
      const options = { bodyInto } as unknown as CallOptions;
      const error = thrown(InvalidArgumentError, () => dialect.shape(ctx, upstream, caller(), options));
      expect(error.path).toBe('options.bodyInto');
    }
  });
});

describe('request of a shape', () => {
  const hex = (text: string) => Buffer.from(text).toString('hex');

  it('has every field of the request context and its upstream', () => {
    expect(seen({ query: 'q' }, { principal: caller({ a: 1 }) })).toEqual({
      request_id: 'req-1',
      method: 'POST',
      path: '/v1/messages',
      query: 'q',
      headers: [{ name: 'content-type', value: hex('application/json') }],
      body: hex('{"model":"m","messages":[]}'),
      principal: { id: 'principal-1', kind: 'api_key', claims: [{ key: 'a', value: hex('1') }] },
      upstream: { kind: 'anthropic_direct', base_url: 'https://upstream.test/' },
    });
  });

  it.each<[Upstream['baseUrl'], string | null]>([
    ['https://h', 'https://h/'],
    ['HTTPS://H:443/a/../b', 'https://h/b'],
    [new URL('http://h:81/x?y#z'), 'http://h:81/x?y#z'],
    [null, null],
  ])('has base URL %s normalized', (baseUrl, read) => {
    expect(seen({}, { to: { kind: 'anthropic_direct', baseUrl: baseUrl! } }).upstream).toMatchObject({
      base_url: read,
    });
  });

  it('has no credentials, no host, and no cookie under redaction', () => {
    const headers = ['Authorization', 'x-api-key', 'host', 'proxy-authorization', 'cookie', 'te'].map(
      (name): [string, string] => [name, 'v'],
    );
    const names = (read: Record<string, unknown>) => (read.headers as { name: string }[]).map(({ name }) => name);
    expect(names(seen({ headers }))).toEqual(['cookie', 'te']);
    expect(names(seen({ headers }, { config: { cookieRedaction: true } }))).toEqual(['te']);
  });
});

/** Returns the request for an answer, which the guest `puppet` copies from the body. */
function shapedBy(
  answer: Partial<ShapeResponse> | Uint8Array,
  config?: HotEngineConfigInput,
  to: Upstream = upstream,
): ShapedRequest {
  const proper = { url: 'https://upstream.test/x', method: 'POST', headers: [], body: new Uint8Array(0) };
  const body = answer instanceof Uint8Array ? answer : encodeToBytes(shapeResponse, { ...proper, ...answer });
  return shapeOf('puppet', config).shape(request({ body }), to, caller({ puppet: 1 }));
}

function refused(...args: Parameters<typeof shapedBy>): AnswerRule | undefined {
  const error = thrown(DialectError, () => shapedBy(...args));
  expect(error).toMatchObject({ code: 'CC_LB_DIALECT', hook: 'shape', plugin: 'puppet', principal: 'alice' });
  expect(error.cause).toBeInstanceOf(InvalidAnswerError);
  return (error.cause as InvalidAnswerError).rule;
}

describe('answer of a shape', () => {
  it('is returned as the request for the upstream', () => {
    const answer = { url: 'https://Other.test:443/a b', method: 'patch', headers: ['B', '1', 'a', '\xff', 'b', '2'] };
    const shaped = shapedBy({ ...answer, body: Buffer.from([1, 2, 3]) });
    expect(shaped).toEqual({
      url: new URL('https://other.test/a%20b'),
      method: 'patch',
      headers: [
        ['b', '1'],
        ['b', '2'],
        ['a', '\xff'],
      ],
      body: Uint8Array.of(1, 2, 3),
    });
    expect(shaped.url).toBeInstanceOf(URL);
  });

  it.each([
    ['invalid-url', { url: 'no url' }],
    ['unsupported-request', { url: 'https://elsewhere.test/' }],
    ['unsupported-request', { method: 'no method' }],
    ['unsupported-request', new Uint8Array(3)],
  ] as const)('fails with kind %s for %j', (kind, answer) => {
    expect(thrown(DialectError, () => shapedBy(answer, SAME_ORIGIN)).kind).toBe(kind);
  });

  it('has a body that the caller owns, for any size and thread', async () => {
    const dialect = shapeOf('echo');
    for (const size of [0, 1, 1000, 40_000, 2_000_000]) {
      const body = Buffer.alloc(size, 7);
      const first = dialect.shape(request({ body }), upstream, caller());
      const other = await dialect.shapeAsync(request({ body }), upstream, caller(), { where: 'thread' });
      dialect.shape(request({ body: Buffer.alloc(size, 9) }), upstream, caller());
      await dialect.shapeAsync(request({ body: Buffer.alloc(size, 9) }), upstream, caller(), { where: 'thread' });
      for (const shaped of [first, other]) {
        expect(shaped.body.constructor).toBe(Uint8Array);
        expect(body.equals(shaped.body), `${size} bytes`).toBe(true);
        // Small bodies are copied and large ones own their buffer, so that no other memory is accessible.
        if (size > 0) expect(shaped.body.buffer.byteLength - size).toBeLessThan(4096);
      }
    }
  });

  it('has headers dropped that a shape must not set', () => {
    const dropped = [
      ...['connection', 'Keep-Alive', 'proxy-authenticate', 'proxy-authorization', 'TE', 'trailer'],
      ...['Transfer-Encoding', 'upgrade', 'Host', 'content-length', 'authorization', 'X-Api-Key', 'x-anthropic-beta'],
    ];
    const headers = [...dropped, 'proxy-connection', 'x-kept'].flatMap((name) => [name, 'v']);
    expect(shapedBy({ headers }).headers).toEqual([
      ['proxy-connection', 'v'],
      ['x-kept', 'v'],
    ]);
  });

  it('is checked in the order of the contract', () => {
    const config = { ...SAME_ORIGIN, wireBounds: { maxHeaders: 1, maxHeaderValueBytes: 3, outputBodyBytes: 1000 } };
    const wrong = { url: 'no url', method: 'no method', headers: ['a', 'long', 'b', 'c'] };
    expect(refused({ ...wrong, body: new Uint8Array(2000) }, config)).toBe('size');
    expect(refused(wrong, config)).toBe('max_headers');
    const few = { ...wrong, headers: ['bad name', 'long'] };
    expect(refused(few, config)).toBe('url');
    expect(refused({ ...few, url: 'https://elsewhere.test/' }, config)).toBe('origin');
    const there = { ...few, url: 'https://upstream.test/' };
    expect(refused(there, config)).toBe('method');
    expect(refused({ ...there, method: 'GET' }, config)).toBe('header_value_size');
    expect(refused({ ...there, method: 'GET', headers: ['bad name', 'x\n'] }, config)).toBe('header_name');
    expect(refused({ ...there, method: 'GET', headers: ['name', 'x\n'] }, config)).toBe('header_value');
    // Dropped before its value is checked.
    expect(shapedBy({ ...there, method: 'GET', headers: ['Host', 'x\n and long'] }, config).headers).toEqual([]);
  });

  it('may have exactly maxHeaders headers, counted before any is dropped, and exactly maxHeaderValueBytes', () => {
    const headers = ['host', 'a', 'b', 'xyz'];
    const bounds = { maxHeaders: 2, maxHeaderValueBytes: 3 };
    expect(shapedBy({ headers }, { wireBounds: bounds }).headers).toEqual([['b', 'xyz']]);
    expect(refused({ headers }, { wireBounds: { ...bounds, maxHeaders: 1 } })).toBe('max_headers');
    expect(refused({ headers }, { wireBounds: { ...bounds, maxHeaderValueBytes: 2 } })).toBe('header_value_size');
  });

  it('may have outputBodyBytes and is rejected beyond', () => {
    const bytes = encodeToBytes(shapeResponse, {
      url: 'https://h/',
      method: 'M',
      headers: [],
      body: Buffer.alloc(500),
    });
    expect(shapedBy(bytes, { wireBounds: { outputBodyBytes: bytes.length } }).body).toHaveLength(500);
    expect(refused(bytes, { wireBounds: { outputBodyBytes: bytes.length - 1 } })).toBe('size');
  });

  it('may have any origin, except under selected-upstream-origin with a base URL', () => {
    const elsewhere = { url: 'https://elsewhere.test/' };
    expect(shapedBy(elsewhere).url.href).toBe('https://elsewhere.test/');
    expect(shapedBy(elsewhere, SAME_ORIGIN, NOWHERE).url.href).toBe('https://elsewhere.test/');
    expect(refused(elsewhere, SAME_ORIGIN)).toBe('origin');
    expect(refused({ url: 'http://upstream.test/' }, SAME_ORIGIN)).toBe('origin');
    expect(refused({ url: 'https://upstream.test:444/' }, SAME_ORIGIN)).toBe('origin');
    expect(refused({ url: 'https://user@upstream.test/' }, SAME_ORIGIN)).toBe('origin');
    expect(refused({ url: 'blob:https://upstream.test/' }, SAME_ORIGIN)).toBe('origin');
    const opaque: Upstream = { kind: 'anthropic_direct', baseUrl: 'data:x' };
    expect(refused({ url: 'data:x' }, SAME_ORIGIN, opaque)).toBe('origin');
  });

  it.each([
    ['CONNECT', 1],
    ['trace', 1],
    ['OPTIONS', 0],
  ])('may have the method %s and counts as invalid %i times', (method, invalid) => {
    const runtime = newRuntime();
    const slot = runtime.registerShape(key, 'puppet', plugin('puppet'));
    const body = encodeToBytes(shapeResponse, { url: 'https://h/', method, headers: [], body: Buffer.alloc(0) });
    const dialect = new WasmtimeUpstreamDialect(runtime, slot);
    expect(dialect.shape(request({ body }), upstream, caller({ puppet: true })).method).toBe(method);
    expect(slot.status.failures.invalidAnswer).toBe(invalid);
  });

  it('may have 1,000 headers more than maxHeaders to be rejected for their number, and does not decode beyond', () => {
    const lines = (count: number) => new Array<string>(2 * count).fill('a');
    expect(refused({ headers: lines(1_100) })).toBe('max_headers');
    const error = thrown(DialectError, () => shapedBy({ headers: lines(1_101) }));
    expect(error.cause).toBeInstanceOf(WireError);
  });

  it('is rejected if a text or a value of 300 KB exceeds its limit', () => {
    const long = 'a'.repeat(300_000);
    expect(refused({ url: `https://h/${long}` })).toBe('url');
    expect(refused({ method: long })).toBe('method');
    expect(refused({ headers: [long, ''] })).toBe('header_name');
    expect(refused({ headers: ['a', long] })).toBe('header_value_size');
    expect(shapedBy({ headers: ['host', long] }).headers).toEqual([]);
    const wireBounds = { maxHeaderValueBytes: 299_999 };
    expect(refused({ headers: ['a', long] }, { wireBounds })).toBe('header_value_size');
    expect(shapedBy({ headers: ['a', long.slice(1)] }, { wireBounds }).headers).toEqual([['a', long.slice(1)]]);
  });

  it('is rejected if it does not decode', () => {
    const error = thrown(DialectError, () => shapedBy(Buffer.alloc(100, 0xff)));
    expect(error.cause).toBeInstanceOf(WireError);
  });
});

describe('failure of a shape', () => {
  it.each([
    ['unreachable', GuestTrapError],
    ['answer-far-outside', ModuleRejectedError],
    ['answer-garbage:64', WireError],
  ])('after %s is a DialectError with its cause, inline and off-thread', async (behavior, cause) => {
    const dialect = shapeOf('misbehave');
    const args = [request(), upstream, caller({ do: behavior })] as const;
    const sync = thrown(DialectError, () => dialect.shape(...args));
    const async = await rejected(DialectError, dialect.shapeAsync(...args, { where: 'thread' }));
    for (const error of [sync, async]) {
      expect(error.cause).toBeInstanceOf(cause);
      expect(error).toMatchObject({ plugin: 'misbehave', principal: 'alice', versionId: 1, hook: 'shape' });
      expect(error.message).toBe(sync.message);
    }
  });
});

describe('invalid arguments of a shape', () => {
  const bad = (field: string, value: unknown) => ({ ...upstream, [field]: value });
  it.each<[string, unknown[]]>([
    ['ctx', [null, upstream, caller()]],
    ['body', [{ ...request(), body: [1] }, upstream, caller()]],
    ['headers', [{ ...request(), headers: 5 }, upstream, caller()]],
    ['upstream', [request(), undefined, caller()]],
    ['upstream', [request(), 'https://h', caller()]],
    ['upstream.kind', [request(), bad('kind', 'bedrock'), caller()]],
    ['upstream.kind', [request(), {}, caller()]],
    ['upstream.baseUrl', [request(), bad('baseUrl', 5), caller()]],
    ['upstream.baseUrl', [request(), bad('baseUrl', '/v1'), caller()]],
    ['upstream.baseUrl', [request(), bad('baseUrl', ''), caller()]],
    ['upstream.baseUrl', [request(), bad('baseUrl', { href: 'https://h' }), caller()]],
    ['principal', [request(), upstream, undefined]],
    ['principal.kind', [request(), upstream, { ...caller(), kind: 'admin' }]],
    ['options', [request(), upstream, caller(), 5]],
    ['options.deadlineMs', [request(), upstream, caller(), { deadlineMs: 1.5 }]],
  ])('are reported with path %s', async (path, args) => {
    const dialect = shapeOf('echo');
    expect(thrown(InvalidArgumentError, () => Reflect.apply(dialect.shape, dialect, args)).path).toBe(path);
    const call = Reflect.apply(dialect.shapeAsync, dialect, args);
    expect((await rejected(InvalidArgumentError, call)).path).toBe(path);
  });
});
