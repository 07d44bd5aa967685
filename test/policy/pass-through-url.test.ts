import { describe, expect, it } from 'vitest';
import { passThroughUrl } from '../../src/policy/pass-through-url.ts';

describe('the address of a request that is passed through', () => {
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
  ])('%s + %s + %s', (base, path, query, href) => {
    expect(passThroughUrl(base, path, query)?.href).toBe(href);
    expect(passThroughUrl(new URL(base), path, query)?.href).toBe(href);
  });

  it.each(['/../x', '/%2e%2e/x', '/a/../../other', '..\\x'])('does not leave the base URL by %s', (path) => {
    expect(passThroughUrl('https://a.test/base', path, null)).toBeNull();
  });

  it('is none without a base URL, or with one that has no path', () => {
    expect(passThroughUrl(null, '/v1', null)).toBeNull();
    expect(passThroughUrl('data:x', '/v1', null)).toBeNull();
  });

  it('leaves the given URL as it is', () => {
    const base = new URL('https://a.test/base');
    passThroughUrl(base, '/v1', 'q');
    expect(base.href).toBe('https://a.test/base');
  });

  it.each([
    ['not a url', '/v1', null, 'upstream.baseUrl'],
    ['https://a.test', undefined, null, 'path'],
    ['https://a.test', '/v1', 1, 'query'],
  ])('refuses %s + %s + %s', (base, path, query, at) => {
    expect(() => passThroughUrl(base, path as string, query as null)).toThrow(expect.objectContaining({ path: at }));
  });
});
