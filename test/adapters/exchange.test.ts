import { describe, expect, it } from 'vitest';
import { exchangeOf, recurringExchangeOf, streamExchangeOf } from '../../src/adapters/exchange.ts';
import { InvalidArgumentError } from '../../src/errors.ts';
import type { TransformContext } from '../../src/types.ts';
import { SCHEMAS } from '../../src/wire/schemas.ts';
import { thrown } from '../support/errors.ts';

type Writable<T> = { -readonly [Key in keyof T]: T[Key] };

function context(changes: Partial<TransformContext> = {}): Writable<TransformContext> {
  return {
    requestId: 'req-1',
    principal: { id: 'p', kind: 'api_key', claims: { plan: 'team', seats: 3, none: null } },
    upstream: { kind: 'anthropic_direct', baseUrl: 'https://upstream.test' },
    requestMethod: 'POST',
    requestPath: '/v1/messages',
    canonicalModelId: 'm',
    status: 200,
    headers: [
      ['content-type', 'text/event-stream'],
      ['X-Thing', 'a'],
    ],
    ...changes,
  };
}

/** Expects the value of an exchange that is encoded without a memo. */
function expectRight(input: TransformContext): void {
  expect(recurringExchangeOf(input).value).toEqual(exchangeOf(input).value);
}

describe('recurringExchangeOf', () => {
  it('returns the memoized exchange for every event and for an equal input of other objects', () => {
    const input = context();
    const first = recurringExchangeOf(input);
    expectRight(input);
    expect(recurringExchangeOf({ ...input })).toBe(first);
    expect(recurringExchangeOf(context())).toBe(first);
    expect(first.prefix).not.toBeNull();
  });

  it('creates an exchange when a field of the input changes, in place or not', () => {
    const input = context();
    const claims = input.principal.claims as Record<string, unknown>;
    const headers = input.headers as [string, string][];
    const principal = input.principal as Writable<TransformContext['principal']>;
    const upstream = input.upstream as Writable<TransformContext['upstream']>;
    const changes: (() => void)[] = [
      () => Object.assign(input, { requestId: 'req-2' }),
      () => Object.assign(input, { requestMethod: 'PUT' }),
      () => Object.assign(input, { requestPath: '/other' }),
      () => Object.assign(input, { canonicalModelId: 'other' }),
      () => Object.assign(input, { status: 404 }),
      () => Object.assign(principal, { id: 'other' }),
      () => Object.assign(principal, { kind: 'oauth_subject' }),
      () => Object.assign(upstream, { baseUrl: 'https://other.test' }),
      () => Object.assign(upstream, { baseUrl: null }),
      () => Object.assign(claims, { seats: 0 }),
      () => Object.assign(claims, { seats: -0 }),
      () => Object.assign(claims, { seats: '0' }),
      () => Object.assign(claims, { more: true }),
      () => delete claims.plan,
      () => Object.assign(claims, { nested: { a: [1] } }),
      () => Object.assign(claims.nested as object, { a: [2] }),
      () => delete claims.nested,
      () => headers.push(['last', 'v']),
      () => Object.assign(headers[0]!, { 1: 'text/plain' }),
      () => Object.assign(headers[0]!, { 0: 'Content-Type' }),
      () => headers.pop(),
    ];
    for (const change of changes) {
      expectRight(input);
      change();
      expectRight(input);
      expectRight(input);
    }
  });

  it.each([
    ['headers of bytes', context({ headers: [['a', Buffer.from('b')]] })],
    ['headers as an object', context({ headers: { a: 'b', c: ['d', 'e'] } })],
    ['headers of a map', context({ headers: new Map([['a', 'b']]) })],
    [
      'a base URL that is a URL',
      context({ upstream: { kind: 'anthropic_direct', baseUrl: new URL('https://a.test') } }),
    ],
    ['many lines', context({ headers: Array.from({ length: 100 }, (_, i) => [`x-${i}`, 'v'] as const) })],
  ])('memoizes %s', (_, input) => {
    expectRight(input);
    expect(recurringExchangeOf(input)).toBe(recurringExchangeOf(input));
  });

  it('keeps a limited number of characters', () => {
    const first = recurringExchangeOf(context());
    for (let i = 0; i < 200; i++) {
      recurringExchangeOf(context({ requestId: `large-${i}`, headers: { a: 'x'.repeat(15 * 1024) } }));
    }
    expect(recurringExchangeOf(context())).not.toBe(first);
  });

  it.each(['requestPath', 'canonicalModelId'])('does not memoize a long %s or one that is not a text', (name) => {
    for (const changed of ['x'.repeat(17 * 1024), undefined, {}]) {
      const input = context({ [name]: changed });
      expectRight(input);
      expect(recurringExchangeOf(input)).not.toBe(recurringExchangeOf(input));
    }
  });

  it('rejects an invalid input after a similar valid one', () => {
    class Claims {
      plan = 'team';
    }
    const cases: [Partial<TransformContext>, string][] = [
      [{ principal: null as never }, 'principal'],
      [{ principal: { id: 'p', kind: 'api_key', claims: new Claims() as never } }, 'principal.claims'],
      [{ upstream: { kind: 'other' as never, baseUrl: 'https://upstream.test' } }, 'upstream.kind'],
      [{ upstream: null as never }, 'upstream'],
      [{ status: 1.5 }, 'status'],
      [{ headers: [['content-type']] as never }, 'headers[0]'],
      [{ headers: null as never }, 'headers'],
    ];
    recurringExchangeOf(context({ principal: { id: 'p', kind: 'api_key', claims: { plan: 'team' } } }));
    for (const [changes, path] of cases) {
      recurringExchangeOf(context());
      expect(thrown(InvalidArgumentError, () => recurringExchangeOf(context(changes))).path).toBe(path);
    }
  });
});

it('exchangeOf spells the kind of an OAuth caller as every schema of the transforms does', () => {
  const { value } = exchangeOf(context({ principal: { id: 'p', kind: 'oauth_subject', claims: {} } }));
  for (const { oauthPrincipalKind } of [...SCHEMAS.transform_response, ...SCHEMAS.transform_sse_event]) {
    expect(value.principal.kind).toBe(oauthPrincipalKind);
  }
});

it('streamExchangeOf copies the context, so that later changes do not affect the stream', () => {
  const input = context();
  const { value, prefix } = streamExchangeOf(input);
  const copy = structuredClone(value);
  Object.assign(input.principal.claims, { plan: 'other' });
  Object.assign(input, { requestPath: '/other' });
  (input.headers as [string, string][]).push(['late', 'v']);
  expect(value).toEqual(copy);
  expect(prefix).not.toBe(streamExchangeOf(input).prefix);
});
