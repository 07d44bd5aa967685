import { describe, expect, it } from 'vitest';
import { checkStatus, filterOutput, rejectionReason, shapedRequest } from '../../src/policy/decision.ts';
import { InvalidAnswerError } from '../../src/policy/invalid-answer.ts';
import type { ShapeResponse } from '../../src/wire/messages/shape.ts';

const A = '11111111-1111-1111-1111-111111111111';
const B = 'bbbbbbbb-bbbb-bbbb-bbbb-bbbbbbbbbbbb';
const bounds = { outputBodyBytes: 1000, maxHeaders: 3, maxHeaderValueBytes: 8, reasonBytes: 256 };

function refusal(act: () => unknown): InvalidAnswerError {
  try {
    act();
  } catch (error) {
    if (error instanceof InvalidAnswerError) return error;
    throw error;
  }
  throw new Error('the answer was not refused');
}

describe('filterOutput', () => {
  it('separates kept from rejected upstreams and joins every reason, including those of kept ones', () => {
    expect(
      filterOutput(
        [
          { upstreamId: A, decision: 'accept', reason: 'top' },
          { upstreamId: B.toUpperCase(), decision: 'rate-limit', reason: 'burst' },
          { upstreamId: A, decision: 'drop', reason: '' },
        ],
        bounds,
      ),
    ).toEqual({
      keptUpstreamIds: [A],
      reason: `${A}: top; ${B.toUpperCase()}: burst`,
      perCandidateReasons: [
        { upstreamId: B, reason: 'rate_limited', text: 'burst' },
        { upstreamId: A, reason: 'rejected_by_plugin', text: '' },
      ],
    });
  });

  it('keeps repeated ids and normalizes every spelling to lower case with hyphens', () => {
    const spellings = [B, B.toUpperCase(), `{${B}}`, `urn:uuid:${B}`, B.replaceAll('-', '')];
    const results = spellings.map((upstreamId) => ({ upstreamId, decision: 'accept', reason: '' }));
    expect(filterOutput(results, bounds).keptUpstreamIds).toEqual(spellings.map(() => B));
  });

  it('throws for an id that is not a valid UUID, also in a rejected result', () => {
    const results = [
      { upstreamId: A, decision: 'accept', reason: '' },
      { upstreamId: 'upstream-2', decision: 'drop', reason: '' },
    ];
    const error = refusal(() => filterOutput(results, bounds));
    expect(error.rule).toBe('upstream_id');
    expect(error.message).toMatch(/"upstream-2".*UUID/);
  });

  it('keeps an upstream only for the exact decision accept', () => {
    const output = filterOutput([{ upstreamId: A, decision: 'Accept', reason: '' }], bounds);
    expect(output.keptUpstreamIds).toEqual([]);
    expect(output.perCandidateReasons).toHaveLength(1);
  });

  it('truncates each reason in UTF-8 bytes, to the id alone with a limit of 0', () => {
    const results = [{ upstreamId: A, decision: 'drop', reason: 'aé😀b' }];
    expect(filterOutput(results, { reasonBytes: 4 }).reason).toBe(`${A}: aé`);
    expect(filterOutput(results, { reasonBytes: 7 }).perCandidateReasons[0]?.text).toBe('aé😀');
    expect(filterOutput(results, { reasonBytes: 0 }).reason).toBe(`${A}: `);
  });

  it('truncates an invalid id in its message', () => {
    const error = refusal(() => filterOutput([{ upstreamId: 'x\n'.repeat(1e6), decision: '', reason: '' }], bounds));
    expect(error.message.length).toBeLessThan(300);
    expect(error.message).not.toContain('\n');
  });
});

it.each([
  ['rate_limit', 'rate_limited'],
  ['RATE-limited', 'rate_limited'],
  ['x-rate-limit-quota', 'rate_limited'],
  ['rate limit', 'rejected_by_plugin'],
  ['Quota-Exceeded', 'insufficient_quota'],
  ['unhealthy-quota', 'insufficient_quota'],
  ['UNHEALTHY', 'unhealthy'],
  ['un-healthy', 'rejected_by_plugin'],
  ['\u00fcnhealthy', 'rejected_by_plugin'],
  ['', 'rejected_by_plugin'],
  ['accept ', 'rejected_by_plugin'],
  [`${'x'.repeat(1_019)}quota`, 'insufficient_quota'],
  [`${'x'.repeat(1_020)}quota`, 'rejected_by_plugin'],
])('reads the label %j as %s', (label, reason) => {
  expect(rejectionReason(label)).toBe(reason);
});

describe('shapedRequest', () => {
  const good: ShapeResponse = {
    url: 'https://api.example.test/v1/messages?x=1',
    method: 'POST',
    headers: ['Content-Type', 'a/b'],
    body: new Uint8Array([1]),
  };
  const base = new URL('https://api.example.test');
  const selected = { originPolicy: 'selected-upstream-origin', bounds } as const;
  const unrestricted = { originPolicy: 'unrestricted', bounds } as const;
  const ruleOf = (answer: Partial<ShapeResponse>, baseUrl: URL | null = base) =>
    refusal(() => shapedRequest({ ...good, ...answer }, baseUrl, selected)).rule;

  it('returns a request', () => {
    const request = shapedRequest(good, base, selected);
    expect(request.url.href).toBe(good.url);
    expect(request).toMatchObject({ method: 'POST', headers: [['content-type', 'a/b']] });
    expect(request.body).toBe(good.body);
  });

  it('checks in order: header count, URL, origin, method, header lines', () => {
    const headers = ['bad name', '', 'a', '', 'b', '', 'te', ''];
    expect(ruleOf({ headers, url: 'nowhere', method: '' })).toBe('max_headers');
    const three = headers.slice(0, 6);
    expect(ruleOf({ headers: three, url: 'nowhere', method: '' })).toBe('url');
    expect(ruleOf({ headers: three, url: 'https://other.test', method: '' })).toBe('origin');
    expect(ruleOf({ headers: three, method: '' })).toBe('method');
    expect(ruleOf({ headers: three })).toBe('header_name');
  });

  it('counts headers before any is dropped, and allows exactly maxHeaders', () => {
    expect(ruleOf({ headers: ['te', '', 'te', '', 'te', '', 'te', ''] })).toBe('max_headers');
    expect(shapedRequest({ ...good, headers: ['te', '', 'te', '', 'te', ''] }, base, selected).headers).toEqual([]);
  });

  it('checks the origin only under selected-upstream-origin and against a base URL', () => {
    const elsewhere = { ...good, url: 'https://other.test' };
    expect(shapedRequest(elsewhere, base, unrestricted).url.host).toBe('other.test');
    expect(shapedRequest(elsewhere, null, selected).url.host).toBe('other.test');
  });

  it.each(['GET', 'get', 'x-Custom!', 'A'.repeat(1000)])('returns the method %.10s unchanged', (method) => {
    expect(shapedRequest({ ...good, method }, base, selected).method).toBe(method);
  });

  it.each(['', 'GET ', 'GE\tT', 'G\u00c9T', 'a/b', 'GET\n'])('rejects the method %j', (method) => {
    expect(ruleOf({ method })).toBe('method');
  });

  it.each(['', '/v1/messages', 'https://', 'https://a b/', 'http://[::1'])('rejects the URL %j', (url) => {
    expect(ruleOf({ url }, null)).toBe('url');
  });

  it('rejects an authority of more than 1,024 characters before it is parsed, however it is written', () => {
    const host = '\u4e00'.repeat(1_025);
    const written = [
      'https://h',
      'https:h',
      'https:\\/\\h',
      ' h\nttps:/\t/\r/h',
      'ws:////h',
      'https://u@h',
      'https://h\n',
    ];
    for (const url of written) {
      const { message, rule } = refusal(() => shapedRequest({ ...good, url: `${url}${host}/x` }, null, unrestricted));
      expect([message, rule]).toEqual(['the URL has an authority of more than 1024 characters', 'url']);
    }
    const path = `https://h/${host}/a:b//c`;
    expect(shapedRequest({ ...good, url: path }, null, unrestricted).url.host).toBe('h');
  });

  it('limits the URL to 65,536 characters and the method to 65,535', () => {
    const url = 'https://api.example.test/'.padEnd(65_536, 'x');
    const request = shapedRequest({ ...good, url, method: 'M'.repeat(65_535) }, base, selected);
    expect(request.url.href).toBe(url);
    expect(ruleOf({ url: `${url}x` })).toBe('url');
    expect(ruleOf({ method: 'M'.repeat(65_536) })).toBe('method');
  });
});

it('checkStatus accepts 100 to 999', () => {
  for (const status of [100, 200, 999]) expect(() => checkStatus(status)).not.toThrow();
  for (const status of [0, 99, 1000, 65_535]) expect(refusal(() => checkStatus(status)).rule).toBe('status');
});
