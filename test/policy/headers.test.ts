import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InvalidArgumentError } from '../../src/errors.ts';
import {
  droppedByShape,
  passThroughHeaders,
  requestHeaders,
  responseHeaders,
  shapedHeaders,
  towardsClient,
  transformedHeaders,
} from '../../src/policy/headers.ts';
import { InvalidAnswerError } from '../../src/policy/invalid-answer.ts';
import type { HeadersInput } from '../../src/types.ts';
import { detach } from '../support/views.ts';

const open = { cookieRedaction: false };

function pathOf(input: unknown): string | undefined {
  try {
    requestHeaders(input as HeadersInput, open);
  } catch (error) {
    if (error instanceof InvalidArgumentError) return error.path;
    throw error;
  }
  return undefined;
}

function ruleOf(headers: readonly (string | Uint8Array)[], maxHeaderValueBytes = 8192): string | undefined {
  try {
    shapedHeaders(headers, { maxHeaderValueBytes });
  } catch (error) {
    if (error instanceof InvalidAnswerError) return error.rule;
    throw error;
  }
  return undefined;
}

describe('requestHeaders', () => {
  it('lower-cases names and groups them by their first appearance', () => {
    expect(
      requestHeaders(
        [
          ['B', '1'],
          ['a', '2'],
          ['b', '3'],
        ],
        open,
      ),
    ).toEqual(['b', '1', 'b', '3', 'a', '2']);
  });

  it('groups lists with many names in the same way', () => {
    const lines = Array.from({ length: 100 }, (_, i): [string, string] => [`n${i % 60}`, String(i)]);
    const expected = Array.from({ length: 60 }, (_, i) =>
      i < 40 ? [`n${i}`, String(i), `n${i}`, String(i + 60)] : [`n${i}`, String(i)],
    ).flat();
    expect(requestHeaders(lines, open)).toEqual(expected);
  });

  it('accepts node:http headers, with a line for each list element and none for undefined', () => {
    expect(
      requestHeaders({ accept: '*/*', 'x-list': ['a', 'b'], 'x-none': undefined, Accept: 'text/html' }, open),
    ).toEqual(['accept', '*/*', 'accept', 'text/html', 'x-list', 'a', 'x-list', 'b']);
  });

  it('accepts Headers and Map as iterables', () => {
    expect(requestHeaders(new Headers({ 'X-A': '1' }), open)).toEqual(['x-a', '1']);
    expect(requestHeaders(new Map([['X-A', '1']]), open)).toEqual(['x-a', '1']);
  });

  it('omits credentials and host in any case', () => {
    const headers = {
      Authorization: 'Bearer x',
      'X-Api-Key': 'k',
      HOST: 'h',
      'Proxy-Authorization': 'Basic x',
      Cookie: 'c=1',
      connection: 'close',
    };
    expect(requestHeaders(headers, open)).toEqual(['cookie', 'c=1', 'connection', 'close']);
    expect(requestHeaders(headers, { cookieRedaction: true })).toEqual(['connection', 'close']);
  });

  it('converts bytes to latin1 code units and preserves spaces', () => {
    expect(
      requestHeaders(
        [
          ['a', new Uint8Array([0x09, 0x20, 0x7e, 0x80, 0xff])],
          ['b', ' \u00ff '],
          ['c', ''],
        ],
        open,
      ),
    ).toEqual(['a', '\t ~\u0080\u00ff', 'b', ' \u00ff ', 'c', '']);
  });

  it('rejects a detached view and accepts an empty one', () => {
    const value = new Uint8Array([0x41]);
    detach(value);
    expect(() => requestHeaders([['a', value]], open)).toThrow("headers[0]: the value's buffer is detached");
    expect(requestHeaders([['a', new Uint8Array(0)]], open)).toEqual(['a', '']);
  });

  it('accepts every value byte that HTTP allows and no other', () => {
    for (let byte = 0; byte < 256; byte++) {
      const allowed = byte === 9 || (byte >= 0x20 && byte !== 0x7f);
      expect(pathOf([['a', new Uint8Array([byte])]]), `byte ${byte}`).toBe(allowed ? undefined : 'headers[0]');
      expect(pathOf([['a', String.fromCharCode(byte)]]), `unit ${byte}`).toBe(allowed ? undefined : 'headers[0]');
    }
  });

  it('accepts every token character in a name and no other', () => {
    for (let unit = 0; unit < 0x180; unit++) {
      const char = String.fromCharCode(unit);
      expect(pathOf([[`a${char}`, '']]), `unit ${unit}`).toBe(
        /[!#$%&'*+\-.^_`|~0-9A-Za-z]/.test(char) ? undefined : 'headers[0]',
      );
    }
  });

  it.each([
    ['an empty name', [['', 'v']], 'headers[0]'],
    ['a name of 65536 bytes', [['a'.repeat(65_536), 'v']], 'headers[0]'],
    [
      'a value above U+00FF',
      [
        ['a', ''],
        ['b', '\u0100'],
      ],
      'headers[1]',
    ],
    ['a value above U+00FF by name', { ok: '', 'x-b': '\u{1f600}' }, "headers['x-b']"],
    ['a bad value in a list', { 'x-b': ['a', '\n'] }, "headers['x-b']"],
    ['a number as value', { 'content-length': 3 }, "headers['content-length']"],
    ['null as value', [['a', null]], 'headers[0]'],
    ['a number as name', [[1, 'v']], 'headers[0]'],
    ['a string for a pair', ['ab'], 'headers[0]'],
    ['three parts', [['a', 'b', 'c']], 'headers[0]'],
    ['null', null, 'headers'],
    ['undefined', undefined, 'headers'],
    ['a string', 'a: b', 'headers'],
    ['a withheld header with an invalid value', { authorization: '\n' }, "headers['authorization']"],
  ])('rejects %s with its path', (_, input, path) => {
    expect(pathOf(input)).toBe(path);
  });

  it('accepts a name of 65535 bytes', () => {
    expect(pathOf([['A'.repeat(65_535), 'v']])).toBeUndefined();
  });

  it('returns the same result for a name that was seen before', () => {
    const token = fc.string({ unit: fc.constantFrom(...'aAbB-_'), minLength: 1, maxLength: 3 });
    fc.assert(
      fc.property(fc.array(fc.tuple(token, token), { maxLength: 50 }), (lines) => {
        const names = [...new Set(lines.map(([name]) => name.toLowerCase()))];
        const expected = names.flatMap((name) =>
          lines.filter(([other]) => other.toLowerCase() === name).flatMap(([, value]) => [name, value]),
        );
        expect(responseHeaders(lines)).toEqual(expected);
      }),
    );
  });
});

describe('shapedHeaders', () => {
  it.each([
    'connection',
    'keep-alive',
    'proxy-authenticate',
    'proxy-authorization',
    'te',
    'trailer',
    'transfer-encoding',
    'upgrade',
    'host',
    'content-length',
    'authorization',
    'x-api-key',
    'x-anthropic-',
    'x-anthropic-beta',
  ])('drops %s in any case', (name) => {
    const mixed = name.replace(/^./, (first) => first.toUpperCase());
    expect(shapedHeaders([name, 'a', mixed, 'b', 'kept', 'c'], { maxHeaderValueBytes: 1 })).toEqual([['kept', 'c']]);
  });

  it('keeps proxy-connection and names that only resemble dropped ones', () => {
    const flat = ['Proxy-Connection', '1', 'x-anthropic', '2', 'anthropic-beta', '3', 'hosts', '4'];
    expect(shapedHeaders(flat, { maxHeaderValueBytes: 8192 })).toEqual([
      ['proxy-connection', '1'],
      ['x-anthropic', '2'],
      ['anthropic-beta', '3'],
      ['hosts', '4'],
    ]);
  });

  it('groups by first appearance and decodes bytes as latin1', () => {
    expect(shapedHeaders(['B', '1', 'a', new Uint8Array([0xe9]), 'b', '3'], { maxHeaderValueBytes: 8192 })).toEqual([
      ['b', '1'],
      ['b', '3'],
      ['a', '\u00e9'],
    ]);
  });

  it('checks each line in order: drop, size, name, value', () => {
    expect(ruleOf(['authorization', 'too long\n'], 3)).toBeUndefined();
    expect(ruleOf(['x-anthropic-\u00e9', 'too long\n'], 3)).toBeUndefined();
    expect(ruleOf(['bad name', 'too long\n'], 3)).toBe('header_value_size');
    expect(ruleOf(['bad name', 'x\n'], 3)).toBe('header_name');
    expect(ruleOf(['name', 'x\n'], 3)).toBe('header_value');
    expect(ruleOf(['name', 'x\n', 'bad name', ''], 3)).toBe('header_value');
  });

  it('allows a value of exactly maxHeaderValueBytes', () => {
    expect(ruleOf(['a', 'x'.repeat(10)], 10)).toBeUndefined();
    expect(ruleOf(['a', 'x'.repeat(11)], 10)).toBe('header_value_size');
    expect(ruleOf(['a', new Uint8Array(11).fill(0xff)], 10)).toBe('header_value_size');
  });

  it('ignores the case of ASCII letters alone: a name with a Kelvin sign is not keep-alive', () => {
    expect(ruleOf(['\u212aeep-alive', 'x'])).toBe('header_name');
    expect(ruleOf(['ho\u017ft', 'x'])).toBe('header_name');
  });

  it('rejects or drops a name of 100 MB', () => {
    // Converting such a name to lower case letter by letter ends the process.
    const long = 'Aa'.repeat(50_000_000);
    expect(ruleOf([long, 'x'])).toBe('header_name');
    expect(ruleOf([`X-Anthropic-${long}`, 'x'])).toBeUndefined();
    expect(droppedByShape([`X-Anthropic-${long}`, 'x'])).toHaveLength(1);
  });
});

it('shapedHeaders does not keep the texts of answers in memory', () => {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  gc();
  const before = process.memoryUsage().heapUsed;
  for (let i = 0; i < 900; i++) {
    // A substring, as the decoder returns it, keeps the whole text.
    const window = 'x'.repeat(16_384).concat(String(i));
    shapedHeaders([`x-answer-${i}`, window.substring(0, 40)], { maxHeaderValueBytes: 8192 });
  }
  gc();
  expect(process.memoryUsage().heapUsed - before).toBeLessThan(8 * 1024 * 1024);
});

describe('droppedByShape', () => {
  it('returns the names that shapedHeaders drops, in lower case and truncated', () => {
    expect(droppedByShape(['Host', 'a', 'kept', 'b', 'X-Anthropic-Beta', 'c'])).toEqual(['host', 'x-anthropic-beta']);
    expect(droppedByShape([`X-Anthropic-${'Aa'.repeat(1000)}`, ''])[0]).toMatch(/^x-anthropic-a{244}$/);
  });
});

describe('transformedHeaders', () => {
  const bounds = { maxHeaders: 2, maxHeaderValueBytes: 8192 };

  it.each([
    ...['connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer'],
    ...['transfer-encoding', 'upgrade', 'content-length'],
  ])('drops %s in any case, whatever its value', (name) => {
    const mixed = name.replace(/^./, (first) => first.toUpperCase());
    expect(transformedHeaders([name, '1\n', mixed, '2'], bounds)).toEqual([]);
  });

  it('keeps other lines and rejects invalid ones', () => {
    expect(transformedHeaders(['Expect', 'x', 'x-api-key', 'k'], bounds)).toEqual([
      ['expect', 'x'],
      ['x-api-key', 'k'],
    ]);
    expect(() => transformedHeaders(['a b', ''], bounds)).toThrow(InvalidAnswerError);
    expect(() => transformedHeaders(['a', '\0'], bounds)).toThrow(InvalidAnswerError);
  });

  it('limits the number of lines and the size of a value', () => {
    expect(() => transformedHeaders(['a', '', 'b', '', 'c', ''], bounds)).toThrow('maxHeaders (2)');
    expect(transformedHeaders(['a', 'x'.repeat(8192)], bounds)).toHaveLength(1);
    expect(() => transformedHeaders(['a', 'x'.repeat(8193)], bounds)).toThrow('maxHeaderValueBytes (8192)');
  });
});

it('passThroughHeaders drops the headers that shapedHeaders drops, and those that Connection names', () => {
  expect(
    passThroughHeaders({
      Authorization: 'Bearer x',
      'x-api-key': 'k',
      'X-Anthropic-Beta': 'b',
      host: 'h',
      'content-length': '3',
      cookie: 'c=1',
      connection: ['close', 'x-a, X-Hop'],
      'X-hop': '1',
      'content-type': 'application/json',
    }),
  ).toEqual([
    ['cookie', 'c=1'],
    ['content-type', 'application/json'],
  ]);
});

describe('towardsClient', () => {
  const upstream = {
    'Content-Type': 'text/event-stream',
    'content-length': '10',
    'content-encoding': 'gzip',
    'transfer-encoding': 'chunked',
    connection: 'keep-alive, X-Hop',
    'keep-alive': 'timeout=5',
    'proxy-connection': 'close',
    'x-hop': '1',
    'set-cookie': ['a=1', 'b=2'],
  };
  it('drops hop-by-hop headers, headers named by Connection, and content-length', () => {
    expect(towardsClient(upstream, { replacedBody: false })).toEqual([
      ['content-type', 'text/event-stream'],
      ['content-encoding', 'gzip'],
      ['set-cookie', 'a=1'],
      ['set-cookie', 'b=2'],
    ]);
  });
  it('reads the first 100 options of a Connection line', () => {
    const named = (commas: number) => ({ connection: `${','.repeat(commas)}x-hop`, 'x-hop': '1' });
    expect(towardsClient(named(99), { replacedBody: false })).toEqual([]);
    expect(towardsClient(named(100), { replacedBody: false })).toEqual([['x-hop', '1']]);
  });
  it('drops content-encoding with a replaced body, and requires replacedBody', () => {
    for (const options of [undefined, {}, { replacedBody: 1 }]) {
      const call = () => towardsClient(upstream, options as never);
      expect(call).toThrow(expect.objectContaining({ path: 'options.replacedBody' }));
    }
    const names = towardsClient(upstream, { replacedBody: true }).map(([name]) => name);
    expect(names).toEqual(['content-type', 'set-cookie', 'set-cookie']);
  });
});
