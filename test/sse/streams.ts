/** Random streams of server-sent events, and a simple parser to compare with. */
import fc from 'fast-check';

const LINE_END = '(?:\\r\\n|\\n|\\r(?!\\n))';
/** A block that ends with a blank line, or the remainder at the end of the stream. */
const BLOCK = new RegExp(`(?:[^\\r\\n]+${LINE_END})*${LINE_END}|.+$`, 'gs');

/** Splits the latin1 text of a stream into its blocks. */
export function blocksOf(text: string): string[] {
  return text.match(BLOCK) ?? [];
}

/** Returns the events that a client reads from a stream, including a last one without a blank line; texts are latin1. */
export function eventsOf(text: string): { event: string; data: string }[] {
  return blocksOf(text.replace(/^\u00ef\u00bb\u00bf/, '')).flatMap((block) => {
    const fields = block
      .split(/\r\n|\r|\n/)
      .map((line) => /^([^:]*)(?:: ?(.*))?$/s.exec(line)!)
      .map(([, name, value = '']) => [name, value] as const);
    const data = fields.filter(([name]) => name === 'data').map(([, value]) => value);
    const event = fields.filter(([name]) => name === 'event').at(-1)?.[1] ?? '';
    return data.length === 0 ? [] : [{ event, data: data.join('\n') }];
  });
}

/** Cuts bytes into chunks of the given sizes, which repeat. */
export function chunksOf(bytes: Uint8Array, sizes: readonly number[]): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0, i = 0; at < bytes.length; i++) {
    const size = sizes[i % sizes.length]!;
    chunks.push(bytes.slice(at, at + size));
    at += size;
  }
  return chunks;
}

const lineEnd = fc.constantFrom('\n', '\n', '\n', '\r\n', '\r');
const value = fc.oneof(
  fc.string({ maxLength: 8 }),
  fc.constantFrom('', ' ', '{"type":"ping"}', 'content_block_delta', '\u00c3\u00a9', '\u00ff', '\0', ':', '5'),
);
const field = fc
  .tuple(
    fc.constantFrom('data', 'data', 'data', 'event', 'id', 'retry', '', 'datum', 'dat'),
    fc.constantFrom(': ', ':', '', ':  '),
    value,
  )
  .map(([name, colon, text]) => name + colon + text.replace(/[\r\n]/g, ''));

/** Random latin1 streams with every kind of line and line end, complete and truncated. */
export const streams = fc
  .tuple(
    fc.constantFrom('', '', '', '\u00ef\u00bb\u00bf'),
    fc.array(fc.tuple(fc.oneof({ weight: 3, arbitrary: field }, { weight: 2, arbitrary: fc.constant('') }), lineEnd), {
      maxLength: 30,
    }),
    fc.oneof(fc.constant(''), field),
  )
  .map(([mark, lines, last]) => mark + lines.flat().join('') + last);

/** Random sizes of chunks, from 1 byte. */
export const sizes = fc.array(fc.integer({ min: 1, max: 12 }), { minLength: 1, maxLength: 6 });
