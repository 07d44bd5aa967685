import { describe, expect, it } from 'vitest';
import type { UpstreamCandidate } from '../../src/types.ts';
import { encodeRequest } from '../../src/wire/encode.ts';
import { type FilterRequest, filterRequestBase, filterRequestTiered } from '../../src/wire/messages/filter.ts';
import { observeEvent } from '../../src/wire/messages/observe.ts';
import type { Message } from '../../src/wire/rkyv.ts';
import { HeapScratch } from '../../src/wire/scratch.ts';
import { decodeBytes } from '../support/decode.ts';
import { encodeToBytes } from '../support/encode.ts';
import { resizable } from '../support/views.ts';
import { ROOTS } from './fuzz/roots.ts';
import { committedVectors, type Vector } from './fuzz/vectors.ts';
import { candidate, refusal, request } from './samples.ts';

const vectors = committedVectors();
const messageOf = ({ wire, name }: Vector): Message<unknown> =>
  ROOTS.find((root) => root.wire === wire && root.message.name === name)!.message;

function encodeScratch(message: Message<unknown>, value: unknown, scratch: HeapScratch): Uint8Array {
  encodeRequest(message, value, scratch);
  const { bytes, start, headLength, tailLength, body } = scratch;
  const head = bytes.subarray(start, start + headLength);
  const tail = bytes.subarray(start + headLength, start + headLength + tailLength);
  return Uint8Array.from([...head, ...(body ?? []), ...tail]);
}

describe('bytes of rkyv', () => {
  it.each(ROOTS)('equal the encoding of their values: $wire/$message.name', ({ wire, message }) => {
    for (const vector of vectors.filter((one) => one.wire === wire && one.name === message.name)) {
      const written = encodeToBytes(message, decodeBytes(message, vector.bytes));
      expect(Buffer.compare(written, vector.bytes), vector.value).toBe(0);
    }
  });

  it('equal the encoding around an uncopied body, into a small scratch buffer, after leading bytes', () => {
    for (const vector of vectors) {
      const message = messageOf(vector);
      const scratch = new HeapScratch(24, 16);
      scratch.bytes.fill(0xee, 0, 16);
      expect(Buffer.compare(encodeScratch(message, decodeBytes(message, vector.bytes), scratch), vector.bytes)).toBe(0);
      expect(scratch.bytes.subarray(0, 16).every((byte) => byte === 0xee)).toBe(true);
    }
  });

  it('equal the encoding into a scratch buffer that holds another message', () => {
    const scratch = new HeapScratch(8_192, 16);
    for (const vector of vectors) {
      scratch.bytes.fill(0xff);
      const message = messageOf(vector);
      expect(Buffer.compare(encodeScratch(message, decodeBytes(message, vector.bytes), scratch), vector.bytes)).toBe(0);
    }
  });
});

describe('body', () => {
  it('is returned without a copy for any size', () => {
    const body = new Uint8Array(16 * 2 ** 20);
    const scratch = new HeapScratch(4_096, 16);
    const before = scratch.bytes;
    encodeRequest(filterRequestBase, request({ body }), scratch);
    expect(scratch.body).toBe(body);
    expect(scratch.bytes).toBe(before);
    expect(scratch.headLength + scratch.tailLength).toBeLessThan(1_024);
  });

  it('may be a view into a larger or a resizable buffer', () => {
    const plain = encodeToBytes(filterRequestBase, request());
    const view = Uint8Array.of(9, 9, 1, 2, 3, 4, 5, 9).subarray(2, 7);
    expect(encodeToBytes(filterRequestBase, request({ body: view }))).toEqual(plain);
    const body = new Uint8Array(resizable(5, 64));
    body.set([1, 2, 3, 4, 5]);
    expect(encodeToBytes(filterRequestBase, request({ body }))).toEqual(plain);
  });

  it('must not change while a getter runs', () => {
    const buffer = resizable(5, 64);
    const shrinking = {
      ...candidate(),
      get name(): string {
        buffer.resize(2);
        return 'n';
      },
    };
    const value = request({ body: new Uint8Array(buffer), candidates: [shrinking] });
    expect(refusal(value)).toBe('body: expected not to change while it is encoded');
  });

  it('is null for a message without one', () => {
    const scratch = new HeapScratch();
    encodeRequest(observeEvent, { type: 'authn_complete', principalId: 'a', principalKind: 'b' }, scratch);
    expect([scratch.body, scratch.headLength, scratch.tailLength]).toEqual([null, 88, 0]);
  });

  it('must keep the message below 2 GiB, the range of its pointers', () => {
    expect(refusal(request({ body: new Uint8Array(2 ** 31) }))).toBe(
      'FilterRequest: expected an encoding of less than 2 GiB',
    );
  });
});

describe('absent fields', () => {
  it('encode as the documented values in a candidate and in pricing', () => {
    const absent = encodeToBytes(filterRequestTiered, request());
    const given = request({
      threadId: null,
      serviceTier: null,
      canonicalModelId: '',
      cachePricing: {
        status: 'unknown',
        inputMicrosPerMillion: null,
        cacheCreation5mMicrosPerMillion: null,
        cacheCreation1hMicrosPerMillion: null,
        cacheReadMicrosPerMillion: null,
      },
      candidates: [
        candidate({
          predictedCacheReadTokens: 0,
          predictedCacheCreationTokens5m: 0,
          predictedCacheCreationTokens1h: 0,
          predictedUncachedInputTokens: 0,
          planCapacityRatio: 1,
          organizationType: '',
          rateLimitTier: '',
          seatTier: '',
        }),
      ],
    });
    expect(encodeToBytes(filterRequestTiered, given)).toEqual(absent);
  });

  it('differ from an empty value in a query', () => {
    const read = (query: string | null | undefined): unknown =>
      decodeBytes(filterRequestBase, encodeToBytes(filterRequestBase, request({ query }))).query;
    expect([read(''), read(null), read(undefined)]).toEqual(['', null, null]);
  });
});

describe('structure of a message', () => {
  it.each([
    [null, 'FilterRequest: expected an object'],
    [request({ requestId: undefined as unknown as string }), 'requestId: expected a string'],
    [request({ principal: undefined as unknown as FilterRequest['principal'] }), 'principal: expected an object'],
    [request({ candidates: {} as unknown as [] }), 'candidates: expected an array'],
    [request({ candidates: [null as unknown as UpstreamCandidate] }), 'candidates[0]: expected an object'],
    [request({ body: 'x' as unknown as Uint8Array }), 'body: expected a Uint8Array'],
    [request({ cachePricing: { status: 1 as unknown as string } }), 'cachePricing.status: expected a string'],
  ])('is checked (%#)', (value, expected) => expect(refusal(value)).toBe(expected));

  it('lists the variants of an event for an unknown one', () => {
    expect(refusal({ type: 'nothing' }, observeEvent)).toMatch(/^type: expected one of request_started, /);
  });

  it('rethrows the error of a getter', () => {
    const failing = { ...candidate() };
    Object.defineProperty(failing, 'name', {
      get: () => {
        throw new RangeError('mine');
      },
    });
    expect(() => encodeToBytes(filterRequestBase, request({ candidates: [failing] }))).toThrow(new RangeError('mine'));
  });

  it('accepts a getter that encodes another message', () => {
    const nesting = {
      ...candidate(),
      get name(): string {
        encodeToBytes(filterRequestBase, request({ requestId: 'another', path: 'é' }));
        return 'one';
      },
    };
    const value = request({ candidates: [candidate(), nesting] });
    expect(encodeToBytes(filterRequestBase, value)).toEqual(
      encodeToBytes(filterRequestBase, request({ candidates: [candidate(), candidate()] })),
    );
  });
});
