import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { endOfString, endOfValue } from '../../examples/load-balancer/json-scan.ts';
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

  it('keeps the prefixes of its last twenty messages', () => {
    const messages = Array.from({ length: 50 }, (_, index) => ({ content: String(index) }));
    expect(read(JSON.stringify({ messages })).prefixes).toHaveLength(20);
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
