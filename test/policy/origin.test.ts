import { expect, it } from 'vitest';
import { originAllowed, sameOrigin } from '../../src/policy/origin.ts';

it.each([
  ['https://a.test/x', 'https://A.TEST:443/y?z', true],
  ['http://a.test', 'http://a.test:80', true],
  ['https://xn--4ca.test', 'https://ä.test', true],
  ['https://[0:0::1]', 'https://[::1]', true],
  ['https://a.test', 'http://a.test', false],
  ['https://a.test', 'https://a.test:8443', false],
  ['https://a.test', 'https://a.test.', false],
  ['https://a.test', 'https://b.a.test', false],
  ['wss://a.test', 'https://a.test', false],
  ['file:///x', 'file:///x', false],
  ['data:,x', 'data:,x', false],
  ['foo://a.test', 'foo://a.test', false],
])('sameOrigin of %s and %s is %s', (a, b, same) => {
  expect(sameOrigin(new URL(a), new URL(b))).toBe(same);
});

it('originAllowed compares origins only under selected-upstream-origin and with a base URL', () => {
  const url = new URL('https://a.test');
  const other = new URL('https://b.test');
  expect(originAllowed(url, other, 'unrestricted')).toBe(true);
  expect(originAllowed(url, other, 'selected-upstream-origin')).toBe(false);
  expect(originAllowed(url, null, 'selected-upstream-origin')).toBe(true);
  expect(originAllowed(url, new URL('https://a.test/base'), 'selected-upstream-origin')).toBe(true);
});
