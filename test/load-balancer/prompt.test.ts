import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { endOfString, endOfValue, fieldsOf } from '../../examples/load-balancer/json-scan.ts';
import { Prompt } from '../../examples/load-balancer/prompt.ts';

const read = (body: string) => new Prompt(Buffer.from(body));

describe('the scanner', () => {
  it('finds the end of any value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('', ' ', ',', '}', ']', ',"x":1}'), (value, rest) => {
        const text = JSON.stringify(value);
        expect(endOfValue(Buffer.from(text + rest), 0)).toBe(
          typeof value === 'number' || typeof value === 'boolean' || value === null
            ? Buffer.from(text + rest).length - rest.trimStart().length
            : Buffer.byteLength(text),
        );
      }),
    );
  });

  it.each(['"', '"\\', '"\\"', '"\\\\\\"'])('reports that %s has no end', (text) => {
    expect(endOfString(Buffer.from(text), 0)).toBe(-1);
  });

  it.each(['{', '[1,', '{"a":"', '[[]'])('reports that the value %s has no end', (text) => {
    expect(endOfValue(Buffer.from(text), 0)).toBe(-1);
  });
});

describe('the end of a string', () => {
  it.each([1, 9_999, 10_000, 10_001, 20_000])('follows %i escaped quotes', (count) => {
    for (const end of ['', '\\', 'x', '\\"x', '"']) {
      const text = JSON.stringify('"'.repeat(count) + end);
      const body = Buffer.from(`${text}, "next"`);
      expect(endOfString(body, 0)).toBe(Buffer.byteLength(text));
      expect(endOfString(body.subarray(0, Buffer.byteLength(text) - 1), 0)).toBe(-1);
    }
  });
});

describe('the fields of a body', () => {
  it('are those with the given keys, the last of equal ones', () => {
    const body = Buffer.from('{"a":1,"model":"x","models":2,"mode":3,"Model":4,"model":"y","\\u0061":5}');
    const found = fieldsOf(body, ['model', 'a', 'none']);
    const texts = [...found!].map(([key, span]) => [key, body.toString('utf8', ...span)]);
    expect(texts).toEqual([
      ['a', '1'],
      ['model', '"y"'],
    ]);
  });
});

describe('a prompt', () => {
  it('has the model and the tier of any body', () => {
    const body = fc.record(
      { model: fc.string(), service_tier: fc.string(), other: fc.jsonValue() },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(body, fc.constantFrom(undefined, 1, '\t'), (content, space) => {
        const prompt = read(JSON.stringify(content, null, space));
        expect(prompt.model).toBe(content.model ?? '');
        expect(prompt.serviceTier).toBe(content.service_tier ?? null);
      }),
    );
  });

  it('has no model and no tier of more than 1 KiB, which each plugin call would encode', () => {
    const long = 'm'.repeat(1_100);
    expect(read(JSON.stringify({ model: long, service_tier: long }))).toMatchObject({ model: '', serviceTier: null });
    const short = 'm'.repeat(1_000);
    expect(read(JSON.stringify({ model: short, service_tier: short }))).toMatchObject({
      model: short,
      serviceTier: short,
    });
  });

  it('has prefixes that begin alike where its messages do', () => {
    const messages = fc.array(fc.record({ role: fc.constantFrom('user', 'assistant'), content: fc.jsonValue() }), {
      minLength: 1,
      maxLength: 5,
    });
    fc.assert(
      fc.property(messages, messages, (known, more) => {
        const [whole] = read(JSON.stringify({ model: 'm', messages: known })).prefixes;
        const longer = read(JSON.stringify({ model: 'm', messages: [...known, ...more] })).prefixes;
        expect(longer).toHaveLength(known.length + more.length);
        expect(longer[more.length]).toBe(whole);
      }),
    );
  });

  it.each([1, 19, 20, 21, 39, 40, 50])('keeps the prefixes of the last twenty of %i messages', (length) => {
    const messages = Array.from({ length }, (_, index) => ({ content: String(index) }));
    const prefixesOf = (count: number) => read(JSON.stringify({ messages: messages.slice(0, count) })).prefixes;
    const kept = Math.min(20, length);
    expect(prefixesOf(length)).toEqual(Array.from({ length: kept }, (_, index) => prefixesOf(length - index)[0]));
  });

  it('is hashed in few steps if it has many messages', () => {
    const update = vi.spyOn(Object.getPrototypeOf(createHash('sha256')), 'update');
    onTestFinished(() => update.mockRestore());
    expect(read(JSON.stringify({ messages: Array(100_000).fill(0) })).prefixes).toHaveLength(20);
    expect(update.mock.calls.length).toBeLessThan(50);
  });

  it('has no prefixes with more messages than an upstream accepts', () => {
    expect(read(JSON.stringify({ messages: Array(100_001).fill(0) })).prefixes).toEqual([]);
  });

  it('has no fields with more keys than a request has', () => {
    const withKeys = (count: number) => read(`{${'"a":1,'.repeat(count - 1)}"model":"m"}`).model;
    expect([withKeys(10_000), withKeys(10_001)]).toEqual(['m', '']);
  });

  it.each([
    '',
    'null',
    '[]',
    '"text"',
    '{',
    '{"model"',
    '{"model":',
    '{"messages":[{]}',
    '{"messages":[,]}',
    '{"model":7}',
  ])('has no model in %s', (body) => {
    const prompt = read(body);
    expect([prompt.model, prompt.serviceTier]).toEqual(['', null]);
    expect(() => prompt.prefixes).not.toThrow();
  });

  it('ends for any bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const prompt = new Prompt(Buffer.concat([Buffer.from('{"messages":['), bytes]));
        expect(prompt.prefixes.length).toBeLessThanOrEqual(20);
      }),
    );
  });
});
