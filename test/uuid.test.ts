import { expect, it } from 'vitest';
import { parseUuid } from '../src/uuid.ts';

const ID = '550e8400-e29b-41d4-a716-446655440abc';
const SIMPLE = '550e8400e29b41d4a716446655440abc';

it.each([ID, SIMPLE, `{${ID}}`, `urn:uuid:${ID}`].flatMap((text) => [text, text.toUpperCase()]))(
  'parseUuid accepts %s',
  (text) => {
    expect(parseUuid(text)).toBe(ID);
  },
);

it.each([
  '',
  `{${SIMPLE}}`,
  `urn:uuid:${SIMPLE}`,
  `urn:uuid:{${ID}}`,
  `uuid:${ID}`,
  `{${ID})`,
  `(${ID})`,
  `{${ID}`,
  `${ID}\n`,
  ` ${ID}`,
  ID.replace('5', 'g'),
  ID.replace('5', '\uff15'),
  ID.replace('-', ''),
  `${SIMPLE.slice(0, 31)}-`,
  SIMPLE.slice(1),
  `${SIMPLE}0`,
  '550e840-0e29b-41d4-a716-446655440abc',
  `urn\u0131uuid:${ID}`,
])('parseUuid rejects %j', (text) => {
  expect(parseUuid(text)).toBeNull();
});
