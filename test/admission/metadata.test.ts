import { describe, expect, it } from 'vitest';
import { modeProblems, readMetadata } from '../../src/admission/metadata.ts';
import verdicts from './metadata.golden.json' with { type: 'json' };

const read = (text: string) => readMetadata(Buffer.from(text));
const hook = (more: object = {}) => ({ wire_version: 1, description: 'd', usage: 'u', ...more });
const plugin = (hooks: object, more: object = {}) =>
  JSON.stringify({ name: 'n', version: '1', description: 'd', usage: 'u', hooks, ...more });
const transforms = (mode?: string) => ({
  shape: hook(),
  transform_response: hook({ mode }),
  transform_sse_event: hook({ mode }),
});

describe('readMetadata against the published wire crates', () => {
  // [section, accepted by wire 0.2.0, accepted by wire 0.6.1]
  it.each(verdicts as [string, boolean, boolean][])('%.120j', (section, byOld, byNew) => {
    const reading = read(section);
    const known = reading.problems.length === 0;
    const hasTransform = /transform_/.test(section);
    expect(known && !hasTransform).toBe(byOld);
    expect(known && reading.badModes.length === 0).toBe(byNew);
  });

  it('has accepted and rejected samples', () => {
    expect(verdicts.filter(([, byOld]) => byOld).length).toBeGreaterThan(20);
    expect(verdicts.filter(([, byOld]) => !byOld).length).toBeGreaterThan(20);
  });
});

it('returns the metadata of the plugin', () => {
  const text = plugin({ shape: hook({ mode: 'active' }), filter: hook({ wire_version: 7, description: 'é' }) });
  expect(read(text)).toEqual({
    metadata: {
      name: 'n',
      version: '1',
      description: 'd',
      usage: 'u',
      hooks: {
        filter: { wireVersion: 7, description: 'é', usage: 'u', mode: null },
        shape: { wireVersion: 1, description: 'd', usage: 'u', mode: 'active' },
      },
    },
    problems: [],
    badModes: [],
  });
});

it('uses the last of a repeated hook', () => {
  const earlier = JSON.stringify(hook({ description: 'earlier', wire_version: 2 }));
  const text = plugin({ filter: hook({ description: 'last' }) }).replace('"filter"', `"filter":${earlier},"filter"`);
  expect(read(text).metadata?.hooks.filter).toMatchObject({ description: 'last', wireVersion: 1 });
});

it('decodes escapes', () => {
  const text = plugin({ filter: hook() }).replace('"n"', '"\\u00e9\\ud83d\\ude00\\"\\\\\\/\\b\\f\\n\\r\\t"');
  expect(read(text).metadata?.name).toBe('é😀"\\/\b\f\n\r\t');
});

describe('metadata problems', () => {
  it('list every blank field in the order of the fields', () => {
    const hooks = { shape: hook({ usage: '' }), filter: hook({ description: '\u0085', usage: ' ' }) };
    const { problems } = read(plugin(hooks, { name: '', usage: '\t' }));
    expect(problems.map((problem) => problem.split(':')[0])).toEqual([
      'name',
      'usage',
      'hooks.filter.description',
      'hooks.filter.usage',
      'hooks.shape.usage',
    ]);
  });

  it.each([
    [plugin({}), 'hooks: empty'],
    [plugin({ route: hook() }), '"route"'],
    [plugin({ proto: hook() }).replace('proto', '__proto__'), '"__proto__"'],
    [plugin({ filter: { description: 'd', usage: 'u' } }), 'hooks.filter.wire_version: missing'],
    [plugin({ filter: hook({ wire_version: 256 }) }), 'hooks.filter.wire_version: expected an integer from 0 to 255'],
    [plugin({ filter: hook() }, { name: 1 }), 'name: expected a string'],
    ['{"name":"a","name":"b"}', 'duplicate field `name`'],
    ['{"version":"a"}', 'name: missing'],
    ['[]', 'metadata: expected an object'],
    ['', 'metadata: expected an object'],
    ['{"x":[1', 'metadata."x"'],
  ])('are reported for %.60s: %s', (text, problem) => {
    expect(read(text).problems[0]).toContain(problem);
  });

  it.each([[[0xff]], [[0x22, 0xc0, 0x80, 0x22]], [[0xed, 0xa0, 0x80]]])(
    'report the bytes %o as invalid UTF-8',
    (bytes) => {
      const section = Buffer.concat([Buffer.from('{"name":"'), Buffer.from(bytes), Buffer.from('"}')]);
      expect(readMetadata(section)).toMatchObject({ metadata: null, problems: ['not UTF-8 text, expected JSON'] });
    },
  );

  it('are short and well-formed for a hostile section', () => {
    const deep = '['.repeat(2_000_000);
    expect(read(`{"x":${deep}`).problems).toHaveLength(1);
    const [problem] = read(plugin({ ['x'.repeat(1_000_000)]: hook() })).problems;
    expect(problem?.length).toBeLessThan(300);
  });
});

describe('modes', () => {
  const problemsOf = (hooks: object, filterIgnoresMode = false) => modeProblems(read(plugin(hooks)), filterIgnoresMode);

  it('are ignored by filters of wire 0.2.0 and validated from 0.6 on', () => {
    for (const mode of ['x', '', null, 1, 'Noop']) {
      expect(problemsOf({ filter: hook({ mode }) }, true)).toEqual([]);
      expect(problemsOf({ filter: hook({ mode }) })[0]).toContain('hooks.filter.mode');
    }
    expect(problemsOf({ filter: hook({ mode: 'noop' }) }, true)).toEqual([]);
  });

  it('are optional except for transforms', () => {
    expect(problemsOf({ filter: hook(), shape: hook(), observe: hook() })).toEqual([]);
    expect(problemsOf(transforms('active'))).toEqual([]);
    expect(problemsOf(transforms('noop'))).toEqual([]);
    expect(problemsOf(transforms())).toEqual([
      expect.stringContaining('hooks.transform_response.mode'),
      expect.stringContaining('hooks.transform_sse_event.mode'),
    ]);
    expect(problemsOf(transforms('off'))).toHaveLength(2);
  });

  it.each(['filter', 'shape', 'observe'])('reject noop for %s', (kind) => {
    expect(problemsOf({ [kind]: hook({ mode: 'noop' }) })[0]).toContain(`hooks.${kind}.mode`);
  });

  it('reject a repeated mode', () => {
    const text = plugin({ filter: hook({ mode: 'active' }) }).replace('"mode"', '"mode":"active","mode"');
    expect(modeProblems(read(text), false)[0]).toContain('duplicate field `hooks.');
    expect(modeProblems(read(text), true)).toEqual([]);
  });

  it('require shape and both transforms of a plugin that declares a transform', () => {
    const { shape, transform_response, transform_sse_event } = transforms('noop');
    expect(problemsOf({ transform_response, transform_sse_event })[0]).toContain('hooks.shape');
    expect(problemsOf({ shape, transform_response })[0]).toContain('hooks.transform_sse_event');
    expect(problemsOf({ shape, transform_sse_event })[0]).toContain('hooks.transform_response');
    expect(problemsOf({ transform_response: hook() })).toHaveLength(3);
  });
});
