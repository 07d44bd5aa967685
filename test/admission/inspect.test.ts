import { describe, expect, it } from 'vitest';
import { POLICY_VERSION } from '../../src/admission/inspect.ts';
import { InvalidArgumentError, inspectWasm } from '../../src/index.ts';
import { HOOK_KINDS, type HookKind } from '../../src/types.ts';
import { thrown } from '../support/errors.ts';
import { fingerprint, type GuestParts, guest, guestSections, guestText, metadataSection } from '../support/guest.ts';
import { plugin } from '../support/plugins.ts';
import { append, assemble, customSection, leb, prepend, section } from '../support/wat.ts';

const METADATA = 'cc_lb.plugin.v1';
const HEADER = Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0]);
const problemsOf = (bytes: Uint8Array, kind?: HookKind) => inspectWasm(bytes, kind).problems;
const problems = (parts: GuestParts, kind?: HookKind) => problemsOf(guest(parts), kind);

/** The last of these hooks are known by all editions; transforms bring shape with them. */
const ALL: readonly HookKind[] = [...HOOK_KINDS];

describe('a good plugin', () => {
  it('has no problems, and tells its metadata and facts', () => {
    const { metadata, facts, problems } = inspectWasm(plugin('cache-aware'), 'filter');
    expect(problems).toEqual([]);
    expect(metadata).toMatchObject({ name: 'cache-aware', version: '1.0.0' });
    expect(metadata?.hooks.filter).toMatchObject({ wireVersion: 1, mode: null });
    expect(facts).toMatchObject({
      encoding: 'module',
      size: plugin('cache-aware').length,
      importCount: 0,
      importsOffset: null,
      start: false,
      parseError: null,
      sectionsUnlisted: 0,
    });
    expect(facts.exports.find(({ name }) => name === 'cc_lb_filter')?.signature).toBe('(i32, i32) -> i64');
    expect(facts.exports.find(({ name }) => name === 'cc_lb_free')?.signature).toBe('(i32, i32, i32)');
    expect(facts.codeBytes).toBeGreaterThan(1000);
    expect(facts.functions).toBeGreaterThan(10);
  });

  it.each(HOOK_KINDS)('of hook %s is what the test guests are', (hook) => {
    const hooks = hook.startsWith('transform_')
      ? ALL.filter((kind) => kind !== 'filter' && kind !== 'observe')
      : [hook];
    expect(problems({ hooks }, hook)).toEqual([]);
  });

  it('may have exports, sections and functions of its own', () => {
    const fields = '(func (export "cc_lb_other")) (global (export "g") i32 (i32.const 1)) (start $s) (func $s)';
    const bytes = append(guest({ fields }), customSection('producers', Buffer.from([0])), customSection('', HEADER));
    const { problems, facts } = inspectWasm(bytes);
    expect(problems).toEqual([]);
    expect(facts.start).toBe(true);
    expect(facts.exports.map(({ name }) => name)).toContain('cc_lb_other');
    expect(facts.exportCount).toBe(facts.exports.length + 1);
    expect(facts.sections.map(({ name }) => name)).toEqual([METADATA, 'cc_lb.schema.filter.v1']);
  });
});

describe('bytes that are no module', () => {
  it.each([
    ['nothing', ''],
    ['half a header', '0061736d01'],
    ['another version', '0061736d02000000'],
    ['an ELF file', '7f454c4602010100'],
    ['the text format', Buffer.from('(module)').toString('hex')],
    ['gzip', '1f8b0800000000000003'],
  ])('such as %s are told as that, and everything else is missing too', (_, hex) => {
    const { metadata, facts, problems } = inspectWasm(Buffer.from(hex, 'hex'));
    expect(metadata).toBeNull();
    expect(facts.parseError).not.toBeNull();
    expect(problems[0]).toMatch(/^not a wasm module: .+ \(at byte \d+\)$/);
    expect(problems.slice(1)).toEqual([
      `section ${METADATA}: missing, expected the plugin's metadata`,
      'export memory: missing, expected a memory',
      'export cc_lb_alloc: missing, expected a func',
      'export cc_lb_free: missing, expected a func',
    ]);
  });

  it('such as a component are told as that', () => {
    const component = Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
    expect(problemsOf(append(component, ...guestSections()))[0]).toBe(
      'the bytes are a component, expected a core module',
    );
  });

  it('never make it throw, wherever a module is cut or changed', () => {
    const whole = guest({ hooks: ALL });
    for (let length = 0; length < whole.length; length++) {
      expect(problemsOf(whole.subarray(0, length)).length, `cut to ${length}`).toBeGreaterThan(0);
    }
    for (let at = 0; at < whole.length; at++) {
      const changed = Buffer.from(whole);
      changed[at]! ^= 0x81;
      expect(Array.isArray(problemsOf(changed)), `byte ${at}`).toBe(true);
    }
  });

  it('behind a good module are found', () => {
    expect(problemsOf(append(guest(), Uint8Array.from([0])))[0]).toMatch(/^not a wasm module: unexpected end-of-file/);
    expect(problemsOf(append(guest(), guest()))[0]).toMatch(/^not a wasm module/);
  });
});

describe('an import', () => {
  it.each([
    ['(import "env" "log" (func))', 'found 1, the first is env.log (func)'],
    ['(import "env" "m" (memory 1)) (import "x" "g" (global i32))', 'found 2, the first is env.m (memory)'],
    ['(import "wasi_snapshot_preview1" "t" (table 1 funcref))', 'the first is wasi_snapshot_preview1.t (table)'],
  ])('%s is named', (fields, named) => {
    const [first] = problemsOf(append(assemble(`(module ${fields})`), ...guestSections()));
    expect(first).toMatch(/^imports: a plugin may import nothing, /);
    expect(first).toContain(named);
  });

  it('section without any import is none', () => {
    const bytes = guest();
    const types = bytes.indexOf(1, 8);
    const behindTypes = types + 2 + bytes[types + 1]!;
    const empty = Buffer.concat([bytes.subarray(0, behindTypes), Uint8Array.of(2, 1, 0), bytes.subarray(behindTypes)]);
    expect(problemsOf(empty)).toEqual([]);
  });
});

describe('an export', () => {
  const without = (pattern: RegExp, replacement = '') =>
    problemsOf(append(assemble(guestText().replace(pattern, replacement)), ...guestSections()));

  it.each([
    ['memory', 'memory', /\(export "memory"\)/],
    ['cc_lb_alloc', 'func', /\(export "cc_lb_alloc"\)/],
    ['cc_lb_free', 'func', /\(export "cc_lb_free"\)/],
  ])('%s that is missing, misspelt or of another kind is named', (name, kind, pattern) => {
    const problem = `export ${name}: missing, expected a ${kind}`;
    expect(without(pattern)).toEqual([problem]);
    expect(without(pattern, `(export "${name}_")`)).toEqual([problem]);
    const global = `(global (export "${name}") i32 (i32.const 0))`;
    const text = guestText().replace(pattern, '').replace('(module', `(module ${global}`);
    expect(problemsOf(append(assemble(text), ...guestSections()))).toEqual([problem]);
  });

  it.each(['filter', 'shape', 'observe'] as const)('of hook %s that is missing is named', (hook) => {
    const bytes = append(
      assemble(guestText({ hooks: [hook] }).replace(`(export "cc_lb_${hook}")`, '')),
      ...guestSections({ hooks: [hook] }),
    );
    expect(problemsOf(bytes)).toEqual([`export cc_lb_${hook}: missing, expected a func for the declared hook ${hook}`]);
  });

  it('of a hook that is not declared is nobody’s business', () => {
    const fields = '(func (export "cc_lb_shape") (param f64))';
    expect(problems({ fields })).toEqual([]);
  });

  it('of another signature is left to the probe', () => {
    expect(without(/\(param i32 i32 i32\)/, '(param f64)')).toEqual([]);
  });
});

describe('a section', () => {
  it('of metadata that is missing is named', () => {
    expect(problems({ sections: { [METADATA]: null } })).toEqual([
      `section ${METADATA}: missing, expected the plugin's metadata`,
    ]);
  });

  it('of metadata that is too large to be read is named', () => {
    const large = Buffer.concat([metadataSection(), Buffer.alloc(2 ** 20, ' ')]);
    expect(problems({ sections: { [METADATA]: large } })).toEqual([`section ${METADATA}: larger than 1 MiB`]);
    expect(problems({ sections: { [METADATA]: large.subarray(0, 2 ** 20) } })).toEqual([]);
  });

  it.each([
    ['{', /^section cc_lb\.plugin\.v1: /],
    ['', /^section cc_lb\.plugin\.v1: /],
    ['[]', /^section cc_lb\.plugin\.v1: /],
    ['\ufeff{}', /^section cc_lb\.plugin\.v1: /],
  ])('of metadata that is not JSON (%j) is named, and nothing of hooks', (text, problem) => {
    const found = problems({ sections: { [METADATA]: Buffer.from(text) } }, 'filter');
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(problem);
  });

  it('of a fingerprint that is missing is named', () => {
    expect(problems({ sections: { 'cc_lb.schema.filter.v1': null } })).toEqual([
      'section cc_lb.schema.filter.v1: missing, expected the fingerprint of hook filter',
    ]);
  });

  it.each([0, 31, 33, 64])('of a fingerprint of %d bytes is named', (bytes) => {
    const found = problems({ sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(bytes) } });
    expect(found).toEqual([`section cc_lb.schema.filter.v1: found ${bytes} bytes, expected 32`]);
  });

  it('of a schema is measured even if nobody declared it', () => {
    const sections = { 'cc_lb.schema.shape.v1': Buffer.alloc(3), 'cc_lb.schema.unheard.v9': Buffer.alloc(5) };
    expect(problems({ sections })).toEqual([
      'section cc_lb.schema.shape.v1: found 3 bytes, expected 32',
      'section cc_lb.schema.unheard.v9: found 5 bytes, expected 32',
    ]);
  });

  it('that stands twice counts as the last one says', () => {
    const good = guest();
    const bad = guest({ sections: { [METADATA]: Buffer.from('{'), 'cc_lb.schema.filter.v1': Buffer.alloc(32, 1) } });
    const goodSections = guestSections();
    expect(problemsOf(append(bad, ...goodSections))).toEqual([]);
    expect(problemsOf(prepend(bad, ...goodSections))).not.toEqual([]);
    expect(problemsOf(prepend(good, customSection(METADATA, Buffer.from('{'))))).toEqual([]);
    expect(problemsOf(append(good, customSection(METADATA, Buffer.from('{'))))).not.toEqual([]);
    // A short one is refused wherever it stands.
    expect(problemsOf(prepend(good, customSection('cc_lb.schema.filter.v1', Buffer.alloc(2))))).toEqual([
      'section cc_lb.schema.filter.v1: found 2 bytes, expected 32',
    ]);
  });

  it('of ours is one of a bounded number', () => {
    const many = Array.from({ length: 2000 }, (_, n) => customSection(`cc_lb.x${n}`, Buffer.alloc(1)));
    const { facts, problems } = inspectWasm(append(guest(), ...many));
    expect(facts.sectionsUnlisted).toBeGreaterThan(0);
    expect(problems[0]).toBe(`sections: ${facts.sectionsUnlisted} more cc_lb sections than are read`);
  });

  it('holds no more memories, types and functions than are worth reading', () => {
    const many = (id: number, count: number, entry: readonly number[]) =>
      section(id, Buffer.concat([Buffer.from(leb(count)), Buffer.alloc(count * entry.length, Uint8Array.from(entry))]));
    const module = assemble('(module)');
    const memories = inspectWasm(append(module, many(5, 2_000_000, [0, 1]))).facts;
    expect(memories).toMatchObject({ memoryCount: 2_000_000, parseError: null });
    expect(memories.memories).toHaveLength(1000);
    for (const [what, own] of [
      ['types', many(1, 1_000_001, [0x60, 0, 0])],
      ['functions', many(3, 1_000_001, [0])],
      ['functions', many(2, 1_000_001, [0, 0, 0, 0])],
    ] as const) {
      expect(problemsOf(append(module, own))).toContainEqual(
        expect.stringMatching(`^not a wasm module: more than 1000000 ${what} \\(at byte \\d+\\)$`),
      );
    }
  });
});

describe('a fingerprint', () => {
  it('that no PDK has is named beside those that would do', () => {
    const [problem, ...others] = problems({ sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(32, 0xab) } });
    expect(others).toEqual([]);
    expect(problem).toContain(
      `section cc_lb.schema.filter.v1: found fingerprint ${'ab'.repeat(32)} (of no published PDK)`,
    );
    for (const [start, releases] of [
      ['049219a3', '0.1.0'],
      ['e2ddd9c3', '0.1.1'],
      ['f20f6695', '0.1.2, 0.2.0'],
    ]) {
      expect(problem).toMatch(new RegExp(`expected .*${start}[0-9a-f]{56} \\(hook filter of PDK ${releases}\\)`));
    }
  });

  it('of another hook is told as its owner’s', () => {
    const [problem] = problems({ sections: { 'cc_lb.schema.filter.v1': fingerprint('shape') } });
    expect(problem).toContain('(hook shape of PDK 0.1.0, 0.1.1, 0.1.2, 0.2.0), expected ');
  });

  it.each([0, 1, 2])('of edition %d of the filter is known', (edition) => {
    expect(problems({ edition })).toEqual([]);
  });
});

describe('the declared hooks', () => {
  it('must hold the kind that is asked for, and are judged whatever is asked for', () => {
    expect(problems({ hooks: ['filter'] }, 'shape')).toEqual([
      `section ${METADATA}: hooks.shape: not declared, expected for a shape slot`,
    ]);
    expect(problems({ hooks: ['filter'] }, 'observe')[0]).toMatch(/expected for an observe slot$/);
    const sections = { 'cc_lb.schema.observe.v1': Buffer.alloc(32) };
    expect(problems({ hooks: ['filter', 'observe'], sections }, 'filter')[0]).toMatch(
      /^section cc_lb\.schema\.observe/,
    );
  });

  it.each([0, 2, 255])('must be of wire version 1, not %d', (wire_version) => {
    expect(problems({ hookMetadata: { wire_version } })).toEqual([
      `hooks.filter.wire_version: found ${wire_version}, expected 1`,
    ]);
  });

  it('are transforms only beside shape and with both of them', () => {
    const only = (hooks: HookKind[]) => problems({ hooks }).join('\n');
    expect(only(['transform_response', 'transform_sse_event'])).toMatch(/hooks\.shape: .*must declare shape/);
    expect(only(['shape', 'transform_response'])).toMatch(/hooks\.transform_sse_event: .*both/);
    expect(only(['shape', 'transform_sse_event'])).toMatch(/hooks\.transform_response: .*both/);
    expect(only(['shape'])).toBe('');
  });

  it('must say how a transform is meant', () => {
    const hooks: HookKind[] = ['shape', 'transform_response', 'transform_sse_event'];
    expect(problems({ hooks, hookMetadata: { mode: 'active' } })).toEqual([]);
    expect(problems({ hooks, hookMetadata: { mode: undefined } })).toHaveLength(2);
    expect(problems({ hooks, hookMetadata: { mode: 'lazy' } }).length).toBeGreaterThan(1);
    expect(problems({ hooks, hookMetadata: { mode: 'noop' } }).join()).toMatch(/hooks\.shape\.mode/);
  });
});

describe('the order of the problems', () => {
  it('is that of admission: file, metadata, exports, hooks by name', () => {
    const parts: GuestParts = {
      hooks: ['observe', 'filter'],
      metadata: { usage: ' ' },
      hookMetadata: { wire_version: 9 },
      sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(1), 'cc_lb.schema.observe.v1': null },
    };
    const bytes = append(assemble('(module (import "a" "b" (func)))'), ...guestSections(parts));
    expect(problemsOf(bytes, 'shape').map((problem) => problem.replace(/[,:] .*/, ''))).toEqual([
      'imports',
      'section cc_lb.schema.filter.v1',
      `section ${METADATA}`,
      `section ${METADATA}`,
      'export memory',
      'export cc_lb_alloc',
      'export cc_lb_free',
      'hooks.filter.wire_version',
      'export cc_lb_filter',
      'hooks.observe.wire_version',
      'export cc_lb_observe',
      'section cc_lb.schema.observe.v1',
    ]);
  });

  it('puts a short section in front of an import that comes later in the file', () => {
    const parts = { sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(1) } };
    const bytes = prepend(assemble('(module (import "a" "b" (func)))'), ...guestSections(parts));
    expect(problemsOf(bytes).slice(0, 2)).toEqual([
      'section cc_lb.schema.filter.v1: found 1 bytes, expected 32',
      'imports: a plugin may import nothing, found 1, the first is a.b (func)',
    ]);
  });
});

describe('inspectWasm', () => {
  it('has a policy version that content hashes hold', () => {
    expect(POLICY_VERSION).toBe(1);
  });

  it.each([undefined, null, 'AGFzbQ==', [0, 1], new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), {}])(
    'refuses %s for bytes',
    (bytes) => {
      const error = thrown(InvalidArgumentError, () => Reflect.apply(inspectWasm, undefined, [bytes]));
      expect(error.message).toBe('bytes: expected a Uint8Array');
    },
  );

  it('refuses memory that another thread may change', () => {
    const shared = new Uint8Array(new SharedArrayBuffer(8));
    expect(thrown(InvalidArgumentError, () => inspectWasm(shared)).message).toMatch(/^bytes: .*SharedArrayBuffer/);
  });

  it.each(['Filter', '', 'constructor', null, 5])('refuses %s for a kind', (kind) => {
    const error = thrown(InvalidArgumentError, () => Reflect.apply(inspectWasm, undefined, [guest(), kind]));
    expect(error.path).toBe('kind');
  });
});
