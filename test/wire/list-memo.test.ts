import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { UpstreamCandidate } from '../../src/types.ts';
import { filterRequestBase, filterRequestTiered } from '../../src/wire/messages/filter.ts';
import type { Message, Plan } from '../../src/wire/rkyv.ts';
import { encodeToBytes } from '../support/encode.ts';
import { candidate, refusal, request } from './samples.ts';

/** Returns the message without the memo of its lists. */
function withoutMemo<T>(message: Message<T>): Message<T> {
  const without = (plan: Plan): Plan => ({
    ...plan,
    recurs: false,
    steps: plan.steps.map((step) => ({ ...step, plan: step.plan === null ? null : without(step.plan) })),
  });
  return { ...message, plans: message.plans.map(without) };
}

const messages = [filterRequestBase, filterRequestTiered];
const plain = new Map(messages.map((message) => [message, withoutMemo(message)]));

/** Encodes a request, and expects the bytes of an encoder without a memo. */
function expectSameBytes(candidates: UpstreamCandidate[], changes: { path?: string; body?: Uint8Array } = {}): void {
  for (const message of messages) {
    const value = request({ ...changes, candidates });
    expect(Buffer.compare(encodeToBytes(message, value), encodeToBytes(plain.get(message)!, value))).toBe(0);
  }
}

const list = (length: number): UpstreamCandidate[] =>
  Array.from({ length }, (_, i) => candidate({ upstreamId: `id-${i}`, name: `name-${i}`, observedAtUnixSecs: i }));

describe('a recurring list', () => {
  it('has the same bytes at every position and after every body', () => {
    for (let round = 0; round < 3; round++) {
      for (let length = 0; length < 20; length++) {
        expectSameBytes(list(5), { path: '/'.repeat(length), body: new Uint8Array(length * 3) });
      }
    }
  });

  it('has the numbers of the current request', () => {
    fc.assert(
      fc.property(
        fc.maxSafeNat(),
        fc.nat(0xffff_ffff),
        fc.double(),
        fc.bigInt(0n, 2n ** 64n - 1n),
        (safe, small, float, big) => {
          const changes = { predictedCacheReadTokens: small, planCapacityRatio: float };
          const [first, second, third] = list(3);
          expectSameBytes([
            { ...first!, ...changes, observedAtUnixSecs: safe },
            { ...second!, ...changes, observedAtUnixSecs: big },
            third!,
          ]);
        },
      ),
    );
  });

  it('is encoded again when any text of any candidate changes, in place or not', () => {
    for (const name of ['upstreamId', 'name', 'kind', 'organizationType', 'rateLimitTier', 'seatTier'] as const) {
      const candidates = list(3);
      for (const text of ['first', 'other', 'longer than before', '', 'é', '漢字']) {
        for (const at of [0, 1, 2]) {
          Object.assign(candidates[at]!, { [name]: text });
          expectSameBytes(candidates);
          expectSameBytes(candidates);
        }
      }
    }
  });

  it('may be followed by a subset, a superset, and other orders', () => {
    const all = list(6);
    for (let round = 0; round < 3; round++) {
      expectSameBytes(all);
      for (let kept = 1; kept < 6; kept++) expectSameBytes(all.slice(0, kept));
      expectSameBytes([...all].reverse());
      expectSameBytes(all.filter((_, index) => index !== 2));
      expectSameBytes([]);
    }
  });

  it('has the same bytes together with text that is not ASCII', () => {
    const candidates = [candidate({ name: 'naïve' }), candidate({ seatTier: '席' })];
    for (let round = 0; round < 3; round++) {
      expectSameBytes(candidates);
      expectSameBytes(candidates, { path: '/é' });
      expectSameBytes(list(2), { path: '/é' });
    }
  });

  it('has the same bytes when texts are absent and when there are thousands of lists', () => {
    const bare = { upstreamId: 'bare', name: 'n', kind: 'k', observedAtUnixSecs: 1 };
    for (let i = 0; i < 3_000; i++) expectSameBytes([bare, candidate({ upstreamId: `${i % 1_500}` })]);
  });
});

describe('validation of a recurring list', () => {
  it.each([
    ['upstreamId', 1, 'expected a string'],
    ['name', null, 'expected a string'],
    ['seatTier', 'a\ud800', 'expected a string without lone surrogates'],
    ['observedAtUnixSecs', -1, 'expected an integer from 0 to 2^64 - 1'],
    ['predictedCacheReadTokens', 2 ** 32, 'expected an integer from 0 to 4294967295'],
    ['planCapacityRatio', '1', 'expected a number'],
  ])('is a %s of %s', (name, value, expectation) => {
    for (let round = 0; round < 2; round++) encodeToBytes(filterRequestTiered, request({ candidates: list(3) }));
    const [first, second, third] = list(3);
    const candidates = [first!, second!, { ...third!, [name]: value }];
    expect(refusal(request({ candidates }))).toMatch(`candidates[2].${name}: ${expectation}`);
  });
});
