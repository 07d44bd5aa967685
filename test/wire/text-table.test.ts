import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TextTable } from '../../src/wire/text-table.ts';

function place(text: string, at = 0): { view: DataView; length: number } {
  const bytes = new TextEncoder().encode(text);
  const memory = new Uint8Array(at + bytes.length + 8).fill(0xaa);
  memory.set(bytes, at);
  return { view: new DataView(memory.buffer), length: bytes.length };
}

it('finds a text by its bytes, wherever they are', () => {
  const table = new TextTable();
  const text = '0190f2f6-5c0e-7c60-9c0a-6d8f3f2b1a00';
  const { view, length } = place(text, 3);
  expect(table.find(view, 3, length)).toBeUndefined();
  table.add(view, 3, length, text);
  for (const at of [0, 1, 2, 5]) expect(table.find(place(text, at).view, at, length)).toBe(text);
});

it('finds nothing for bytes that differ anywhere', () => {
  const table = new TextTable();
  for (const text of ['abcd', 'bcdef', 'cdefgh', 'defghijk', 'x'.repeat(64)]) {
    const { view, length } = place(text);
    table.add(view, 0, length, text);
    for (let at = 0; at < length; at++) {
      const other = place(text);
      other.view.setUint8(at, other.view.getUint8(at) ^ 1);
      expect(table.find(other.view, 0, length)).toBeUndefined();
    }
    expect(table.find(view, 0, length - 1)).toBeUndefined();
    expect(table.find(view, 0, length)).toBe(text);
  }
});

it('does not contain a text that is very short or long', () => {
  const table = new TextTable();
  for (const text of ['', 'a', 'abc', 'x'.repeat(65)]) {
    const { view, length } = place(text);
    table.add(view, 0, length, text);
    expect(table.find(view, 0, length)).toBeUndefined();
  }
});

it('never confuses two texts', () => {
  const table = new TextTable();
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 20 }), (text) => {
      const { view, length } = place(text);
      const known = table.find(view, 0, length);
      if (known !== undefined) expect(known).toBe(text);
      table.add(view, 0, length, text);
      expect([text, undefined]).toContain(table.find(view, 0, length));
    }),
    { numRuns: 5_000 },
  );
});
