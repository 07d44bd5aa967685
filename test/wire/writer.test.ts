import { describe, expect, it } from 'vitest';
import { filterRequestBase, filterRequestTiered } from '../../src/wire/messages/filter.ts';
import { observeEvent } from '../../src/wire/messages/observe.ts';
import { shapeRequest } from '../../src/wire/messages/shape.ts';
import { decodeBytes } from '../support/decode.ts';
import { encodeToBytes } from '../support/encode.ts';
import { candidate, refusal, request } from './samples.ts';

describe('headers', () => {
  it('may number from none to ten thousand, ASCII or not', () => {
    const many = Array.from({ length: 20_000 }, (_, i) => (i % 2 === 0 ? `name-${i}` : `value-${i}`));
    for (const headers of [[], many, [...many, 'last', 'ÿ']]) {
      const bytes = encodeToBytes(filterRequestBase, request({ headers }));
      expect(decodeBytes(filterRequestBase, bytes).headers).toEqual(headers);
    }
  });

  it('decode bytes as latin1', () => {
    const asText = encodeToBytes(filterRequestBase, request({ headers: ['a', 'vÿ', 'b', 'plain', 'c', ''] }));
    const asBytes = ['a', Uint8Array.of(0x76, 0xff), 'b', new TextEncoder().encode('plain'), 'c', new Uint8Array(0)];
    expect(encodeToBytes(filterRequestBase, request({ headers: asBytes }))).toEqual(asText);
  });

  it('are rejected with the line if they have code units past latin1', () => {
    const headers = ['a', 'b', 'c', 'd', 'e', 'Ā'];
    expect(refusal(request({ headers }))).toBe('headers[2].value: expected no code unit above U+00FF');
  });

  it('are rejected if values are neither strings nor bytes', () => {
    expect(refusal(request({ headers: ['a', 1 as unknown as string] }))).toBe(
      'headers[0].value: expected a string or a Uint8Array',
    );
    expect(refusal(request({ headers: [Uint8Array.of(1), 'b'] }))).toBe('headers[0].name: expected a string');
    expect(refusal(request({ headers: ['a'] }))).toBe('headers: expected a flat list of pairs');
  });
});

describe('claims', () => {
  it('are encoded as the UTF-8 of their JSON', () => {
    const claims = ['plan', '"téam"', 'n', '1'];
    const bytes = encodeToBytes(shapeRequest, {
      ...request({ principal: { id: 'p', kind: 'k', claims } }),
      upstream: { baseUrl: null },
    });
    const read = decodeBytes(shapeRequest, bytes).principal.claims;
    expect(read.map((part) => (typeof part === 'string' ? part : new TextDecoder().decode(part)))).toEqual(claims);
  });
});

describe('text', () => {
  it.each(['\0', '漢字', '😀', 'é'.repeat(500), 'a'.repeat(200_000), '\ufeff'])('is encoded unchanged (%#)', (text) => {
    const value = request({ path: text, candidates: [candidate({ name: text })] });
    const read = decodeBytes(filterRequestTiered, encodeToBytes(filterRequestTiered, value));
    expect([read.path, read.candidates[0]!.name]).toEqual([text, text]);
  });

  it('is rejected with the field if it has lone surrogates', () => {
    const lone = 'a\ud800';
    expect(refusal(request({ path: lone }))).toMatch(/^path: expected a string without lone surrogates/);
    expect(refusal(request({ principal: { id: lone, kind: 'k', claims: [] } }))).toMatch(/^principal\.id: /);
    expect(refusal(request({ candidates: [candidate(), candidate({ seatTier: lone })] }))).toMatch(
      /^candidates\[1\]\.seatTier: /,
    );
    expect(refusal(request({ headers: [lone, 'v'] }))).toMatch(/^headers\[0\]\.name: expected/);
  });
});

describe('numbers', () => {
  const at = (observedAtUnixSecs: unknown): string => {
    const bad = candidate({ observedAtUnixSecs: observedAtUnixSecs as number });
    return refusal(request({ candidates: [candidate(), candidate(), candidate(), bad] }));
  };

  it.each([-1, 0.5, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, -1n, 2n ** 64n, '1', null])(
    'reject %s as a u64 with the field',
    (value) =>
      expect(at(value)).toMatch(/^candidates\[3\]\.observedAtUnixSecs: expected an integer from 0 to 2\^64 - 1/),
  );

  it.each([0, -0, 1, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 0n, 2n ** 53n, 2n ** 64n - 1n])(
    'accept %s as a u64',
    (value) => {
      const chunk = { type: 'chunk', batchIndex: value, eventCount: value, totalBytes: 0 } as const;
      const read = decodeBytes(observeEvent, encodeToBytes(observeEvent, chunk));
      expect(read.type === 'chunk' && [BigInt(read.batchIndex), BigInt(read.eventCount)]).toEqual([
        BigInt(value),
        BigInt(value),
      ]);
    },
  );

  it.each([-1, 0.5, 2 ** 32, 1n, '1', null])('reject %s as a u32', (value) => {
    const bad = candidate({ predictedCacheReadTokens: value as number });
    expect(refusal(request({ candidates: [bad] }))).toBe(
      'candidates[0].predictedCacheReadTokens: expected an integer from 0 to 4294967295',
    );
  });

  it('reject a status past u16 and a ratio that is not a number', () => {
    const finished = {
      inputTokens: null,
      outputTokens: null,
      cacheCreationInputTokens: null,
      cacheReadInputTokens: null,
    };
    const event = { type: 'request_finished', status: 65_536, ...finished, durationMs: 1 };
    expect(refusal(event, observeEvent)).toBe('status: expected an integer from 0 to 65535');
    const bad = candidate({ planCapacityRatio: '1' as unknown as number });
    expect(refusal(request({ candidates: [bad] }))).toBe('candidates[0].planCapacityRatio: expected a number');
  });
});
