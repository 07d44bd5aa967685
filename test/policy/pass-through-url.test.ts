import { describe, expect, it } from 'vitest';
import { passThroughUrl } from '../../src/policy/pass-through-url.ts';

describe('passThroughUrl', () => {
  it.each([
    ['https://a.test', '/v1/messages', null, 'https://a.test/v1/messages'],
    ['https://a.test/', '/v1/messages', '', 'https://a.test/v1/messages?'],
    ['https://a.test/base', '/v1/messages', 'a=1&b=%20', 'https://a.test/base/v1/messages?a=1&b=%20'],
    ['https://a.test/base/', 'v1', null, 'https://a.test/base/v1'],
    ['https://a.test/base?old=1#old', '/v1', null, 'https://a.test/base/v1'],
    ['https://u:p@a.test:8443', '/', null, 'https://u:p@a.test:8443/'],
    ['https://a.test', '//b.test/x', null, 'https://a.test//b.test/x'],
    ['https://a.test', '/x?y#z', 'q#r', 'https://a.test/x%3Fy%23z?q%23r'],
    ['https://a.test/base', '/x/../y', null, 'https://a.test/base/y'],
    ['https://a.test', '/../x', null, 'https://a.test/x'],
    ['https://a.test', '*', null, 'https://a.test/*'],
  ])('joins %s, %s and %s', (base, path, query, href) => {
    expect(passThroughUrl(base, path, query)?.href).toBe(href);
    expect(passThroughUrl(new URL(base), path, query)?.href).toBe(href);
  });

  it.each(['/../x', '/%2e%2e/x', '/a/../../other', '..\\x'])(
    'returns null for %s, which leaves the base URL',
    (path) => {
      expect(passThroughUrl('https://a.test/base', path, null)).toBeNull();
    },
  );

  it('returns null without a base URL and for one without a path', () => {
    expect(passThroughUrl(null, '/v1', null)).toBeNull();
    expect(passThroughUrl('data:x', '/v1', null)).toBeNull();
  });

  it('does not change the given URL', () => {
    const base = new URL('https://a.test/base');
    passThroughUrl(base, '/v1', 'q');
    expect(base.href).toBe('https://a.test/base');
  });

  it.each([
    ['not a url', '/v1', null, 'upstream.baseUrl'],
    ['https://a.test', undefined, null, 'path'],
    ['https://a.test', '/v1', 1, 'query'],
  ])('rejects %s, %s and %s', (base, path, query, at) => {
    expect(() => passThroughUrl(base, path as string, query as null)).toThrow(expect.objectContaining({ path: at }));
  });
});
