import { describe, expect, it } from 'vitest';
import { WireError } from '../../src/wire/decode.ts';
import { type CandidateVerdict, filterRequestBase, filterResponse } from '../../src/wire/messages/filter.ts';
import { observeEvent } from '../../src/wire/messages/observe.ts';
import { type ShapeResponse, shapeResponse } from '../../src/wire/messages/shape.ts';
import { transformResponseResult, transformSseEventResult } from '../../src/wire/messages/transform.ts';
import type { Message } from '../../src/wire/rkyv.ts';
import { collector } from '../support/collector.ts';
import { decodeBytes } from '../support/decode.ts';
import { encodeToBytes } from '../support/encode.ts';
import { canonical } from './fuzz/canonical.ts';
import { ROOTS } from './fuzz/roots.ts';
import { committedVectors, committedVerdicts, digest, type Vector } from './fuzz/vectors.ts';

const vectors = committedVectors();
const messageOf = ({ wire, name }: Vector): Message<unknown> =>
  ROOTS.find((root) => root.wire === wire && root.message.name === name)!.message;

/** Returns a copy of the bytes as a view at an odd offset. */
function atOddOffset(bytes: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(bytes.length + 7);
  buffer.set(bytes, 3);
  return buffer.subarray(3, 3 + bytes.length);
}

function decodeError(message: Message<unknown>, bytes: Uint8Array): string {
  try {
    decodeBytes(message, bytes);
  } catch (error) {
    if (error instanceof WireError) return error.message;
    throw error;
  }
  return 'accepted';
}

const oneVerdict = (): Uint8Array =>
  encodeToBytes(filterResponse, { results: [{ upstreamId: 'id', decision: 'accept', reason: 'é' }] });

describe('bytes of rkyv', () => {
  it('cover every root type', () => {
    const seen = new Set(vectors.map(({ wire, name }) => `${wire}/${name}`));
    expect(seen).toEqual(new Set(ROOTS.map(({ wire, message }) => `${wire}/${message.name}`)));
  });

  it.each(ROOTS)('decode to their values: $wire/$message.name', ({ wire, message }) => {
    for (const vector of vectors.filter((one) => one.wire === wire && one.name === message.name))
      expect(canonical(decodeBytes(message, vector.bytes))).toBe(vector.value);
  });

  it('decode at any offset in memory', () => {
    for (const vector of vectors.slice(0, 60))
      expect(canonical(decodeBytes(messageOf(vector), atOddOffset(vector.bytes)))).toBe(vector.value);
  });
});

describe('verdicts of rkyv on damaged bytes', () => {
  const verdicts = committedVerdicts(vectors);

  it('include many accepted and many rejected ones', () => {
    expect(verdicts.filter(({ verdict }) => verdict === 0).length).toBeGreaterThan(1_000);
    expect(verdicts.filter(({ verdict }) => verdict > 0).length).toBeGreaterThan(1_000);
  });

  it('equal the verdicts of the decoder, including decoded values', () => {
    for (const { vector, bytes, verdict, digest: expected } of verdicts) {
      const message = messageOf(vector);
      const context = `${vector.wire}/${vector.name} ${Buffer.from(bytes).toString('hex')}`;
      if (verdict === 0) expect(decodeError(message, bytes), context).not.toBe('accepted');
      else expect(digest(canonical(decodeBytes(message, bytes))), context).toBe(expected);
    }
  });
});

describe('rules for positions', () => {
  const lead = (bytes: Uint8Array, by: number): Uint8Array => Uint8Array.from([...new Uint8Array(by), ...bytes]);

  it('allow leading bytes that preserve the alignment, and no trailing bytes', () => {
    const bytes = oneVerdict();
    expect(decodeError(filterResponse, lead(bytes, 4))).toBe('accepted');
    expect(decodeError(filterResponse, lead(bytes, 1))).toMatch(/FilterResponse: position \d+ is not aligned to 4/);
    expect(decodeError(filterResponse, Uint8Array.from([...bytes, 0, 0, 0, 0]))).not.toBe('accepted');
  });

  it('require an alignment of 8 for an event', () => {
    const bytes = encodeToBytes(observeEvent, { type: 'chunk', batchIndex: 1, eventCount: 2, totalBytes: 3 });
    expect(decodeError(observeEvent, lead(bytes, 8))).toBe('accepted');
    expect(decodeError(observeEvent, lead(bytes, 4))).toMatch(/not aligned to 8/);
  });

  it('apply to empty lists', () => {
    const bytes = encodeToBytes(filterResponse, { results: [] });
    const moved = Uint8Array.from(lead(bytes, 4));
    const view = new DataView(moved.buffer);
    view.setInt32(4, -3, true);
    expect(decodeError(filterResponse, moved)).toMatch(/results: position 1 is not aligned/);
    view.setInt32(4, -4, true);
    expect(decodeError(filterResponse, moved)).toBe('accepted');
    view.setInt32(4, -8, true);
    expect(decodeError(filterResponse, moved)).toMatch(/results: 0 bytes at -4 are outside 0\.\.4/);
  });

  it('reject bytes that are shorter than the root', () => {
    expect(decodeError(filterResponse, new Uint8Array(0))).toMatch(/8 bytes at 0 are outside 0\.\.0/);
    expect(decodeError(filterResponse, new Uint8Array(7))).toMatch(/8 bytes at 0 are outside 0\.\.7/);
  });
});

describe('messages of WireError', () => {
  it('name the field', () => {
    const bytes = oneVerdict();
    bytes[bytes.indexOf(0xc3) + 1] = 0x41;
    expect(decodeError(filterResponse, bytes)).toBe('FilterResponse.results[0].reason: invalid UTF-8');
  });

  it('name an unknown tag', () => {
    const bytes = encodeToBytes(transformSseEventResult, { kind: 'drop' });
    bytes[0] = 3;
    expect(decodeError(transformSseEventResult, bytes)).toBe('TransformSseEventResult: unknown tag 3');
  });

  it('name the header line', () => {
    const headers = ['a', 'x', 'é', 'y'];
    const bytes = encodeToBytes(shapeResponse, { url: '', method: '', headers, body: new Uint8Array(0) });
    bytes[bytes.indexOf(0xc3)] = 0xff;
    expect(decodeError(shapeResponse, bytes)).toBe('ShapeResponse.headers[1].name: invalid UTF-8');
  });
});

it('decodeAnswer limits the number of elements, so that a small answer cannot allocate gigabytes', () => {
  const event = { event: '', data: new Uint8Array(0) };
  const answer = (count: number) =>
    encodeToBytes(transformSseEventResult, { kind: 'replace', events: new Array(count).fill(event) });
  expect(decodeBytes(transformSseEventResult, answer(100_000))).toMatchObject({ kind: 'replace' });
  expect(() => decodeBytes(transformSseEventResult, answer(100_001))).toThrow(
    'events: the message has more than 100000 elements',
  );
});

describe('limits of an answer', () => {
  const limited = (results: readonly CandidateVerdict[], maxElements: number, maxTextBytes: number) => {
    const bytes = encodeToBytes(filterResponse, { results });
    return decodeBytes(filterResponse, bytes, { maxElements, maxTextBytes }).results;
  };
  const verdict = { upstreamId: 'id', decision: 'accept', reason: '' };

  it('include the number of elements', () => {
    expect(limited([verdict, verdict], 2, 100)).toHaveLength(2);
    expect(() => limited([verdict, verdict, verdict], 2, 100)).toThrow('results: the message has more than 2 elements');
    const many = new Array<CandidateVerdict>(100_001).fill(verdict);
    expect(() => limited(many, 200_000, 100)).toThrow('more than 100000 elements');
  });

  it('truncate long texts between two characters', () => {
    const long = 'é'.repeat(20_000);
    expect(limited([{ ...verdict, decision: long, reason: long }], 1, 1_001)).toEqual([
      { ...verdict, decision: 'é'.repeat(500), reason: 'é'.repeat(500) },
    ]);
    expect(limited([{ ...verdict, reason: `x${'😀'.repeat(9_000)}` }], 1, 1_000)[0]?.reason).toBe(
      `x${'😀'.repeat(249)}`,
    );
  });

  it('truncate long header values', () => {
    const answer = { url: '', method: '', headers: ['n', 'ÿ'.repeat(20_000)], body: new Uint8Array(0) };
    const bytes = encodeToBytes(shapeResponse, answer);
    const { headers } = decodeBytes(shapeResponse, bytes, { maxElements: 1, maxTextBytes: 1_000 });
    expect(headers).toEqual(['n', 'ÿ'.repeat(1_000)]);
  });

  it('leave the bytes after a prefix checked', () => {
    const bytes = encodeToBytes(filterResponse, { results: [{ ...verdict, reason: `${'a'.repeat(20_000)}é` }] });
    bytes[bytes.indexOf(0xc3)] = 0xff;
    expect(() => decodeBytes(filterResponse, bytes, { maxElements: 1, maxTextBytes: 1_000 })).toThrow(
      'results[0].reason: invalid UTF-8',
    );
  });
});

/** Bytes of the value of a header whose name is kept. */
const NAMED_BYTES = 10_000;

describe('decoded values', () => {
  const answer: ShapeResponse = { url: 'u', method: 'GET', headers: ['n', 'vÿ'], body: Uint8Array.of(1, 2, 3) };

  it('have bodies that are views of the answer', () => {
    const large = { ...answer, body: new Uint8Array(200).fill(1) };
    const bytes = atOddOffset(encodeToBytes(shapeResponse, large));
    const { body } = decodeBytes(shapeResponse, bytes);
    expect(body).toEqual(large.body);
    expect(body.buffer).toBe(bytes.buffer);
  });

  it('have a copy of a body that takes less than half of the memory of the answer', () => {
    const bytes = Uint8Array.from([...new Uint8Array(1_600), ...encodeToBytes(shapeResponse, answer)]);
    const { body } = decodeBytes(shapeResponse, bytes);
    expect(body).toEqual(answer.body);
    expect(body.buffer.byteLength).toBe(answer.body.length);
  });

  it('have null for absent fields of a replacement', () => {
    const value = { kind: 'replace', status: null, headers: null, body: null } as const;
    expect(decodeBytes(transformResponseResult, encodeToBytes(transformResponseResult, value))).toEqual(value);
  });

  it('have bigint for integers past 2^53 - 1 and numbers for smaller ones', () => {
    const chunk = {
      type: 'chunk',
      batchIndex: 2n ** 53n,
      eventCount: 2 ** 53 - 1,
      totalBytes: 2n ** 64n - 1n,
    } as const;
    expect(decodeBytes(observeEvent, encodeToBytes(observeEvent, chunk))).toEqual(chunk);
  });

  it('have every string unchanged, long or short, ASCII or not', () => {
    const texts = ['', '\0', 'a'.repeat(64), 'a'.repeat(65), 'é'.repeat(40), '\ufeffx', '😀', 'a'.repeat(100_000)];
    const results = texts.map((reason) => ({ upstreamId: reason, decision: 'accept', reason }));
    for (const list of [results, results.slice(0, 4)])
      expect(decodeBytes(filterResponse, encodeToBytes(filterResponse, { results: list }))).toEqual({ results: list });
  });

  it('do not keep the text around the names of headers in memory', () => {
    const collect = collector();
    const names: string[] = [];
    const decodeNames = (from: number, count: number) => {
      for (let i = from; i < from + count; i++) {
        const headers = [`x-long-name-of-header-${i}`, 'v'.repeat(NAMED_BYTES)];
        const bytes = encodeToBytes(shapeResponse, { url: '', method: '', headers, body: new Uint8Array(0) });
        names.push(decodeBytes(shapeResponse, bytes).headers[0] as string);
      }
    };
    decodeNames(0, 10);
    collect();
    const before = process.memoryUsage().heapUsed;
    decodeNames(10, 1_000);
    collect();
    expect(process.memoryUsage().heapUsed - before).toBeLessThan((1_000 * NAMED_BYTES) / 2);
    expect(names).toHaveLength(1_010);
  });

  it('equal the encoded request', () => {
    const request = {
      requestId: 'r',
      method: 'POST',
      path: '/',
      query: null,
      headers: ['a', 'b'],
      body: Uint8Array.of(9),
      principal: { id: 'p', kind: 'api_key', claims: ['k', new TextEncoder().encode('1')] },
      candidates: [],
    };
    expect(decodeBytes(filterRequestBase, encodeToBytes(filterRequestBase, request))).toEqual(request);
  });
});
