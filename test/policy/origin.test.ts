import { expect, it } from 'vitest';
import { originProblem } from '../../src/policy/origin.ts';

const problemOf = (url: string, baseUrl: string) =>
  originProblem(new URL(url), new URL(baseUrl), 'selected-upstream-origin');

it.each([
  ['https://a.test/x', 'https://A.TEST:443/y?z'],
  ['http://a.test', 'http://a.test:80'],
  ['https://xn--4ca.test', 'https://ä.test'],
  ['https://[0:0::1]', 'https://[::1]'],
])('allows %s with the base URL %s', (url, baseUrl) => {
  expect(problemOf(url, baseUrl)).toBeNull();
});

it.each([
  ['https://a.test', 'https://a.test:8443'],
  ['https://a.test', 'https://a.test.'],
  ['https://a.test', 'https://b.a.test'],
  ['https://a.test@b.test', 'https://a.test'],
  ['https://a.test', 'http://a.test'],
  ['wss://a.test', 'https://a.test'],
  ['file:///x', 'file:///x'],
  ['data:,x', 'data:,x'],
  ['foo://a.test', 'foo://a.test'],
])('rejects the origin of %s with the base URL %s', (url, baseUrl) => {
  expect(problemOf(url, baseUrl)).toContain('has origin');
});

it('rejects another scheme with the same origin', () => {
  expect(problemOf('blob:https://a.test/id', 'https://a.test')).toContain('has scheme');
});

it('rejects user information that is not that of the base URL', () => {
  for (const userInfo of ['user', 'user:pw', ':pw', 'other:pw']) {
    for (const base of ['', 'user:other@', 'user:password@']) {
      expect(problemOf(`https://${userInfo}@a.test/`, `https://${base}a.test/`)).toContain('a user name or a password');
    }
  }
  expect(problemOf('https://@a.test/', 'https://a.test/')).toBeNull();
  expect(problemOf('https://user:pw@a.test/x', 'https://user:pw@a.test/')).toBeNull();
  expect(problemOf('https://a.test/x', 'https://user:pw@a.test/')).toBeNull();
});

it('allows every URL under unrestricted, and without a base URL', () => {
  for (const text of ['https://b.test', 'https://user:pw@a.test', 'blob:https://a.test/id', 'data:,x']) {
    const url = new URL(text);
    expect(originProblem(url, new URL('https://a.test'), 'unrestricted')).toBeNull();
    expect(originProblem(url, null, 'selected-upstream-origin')).toBeNull();
  }
});
