import { runInNewContext } from 'node:vm';
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

/** Every hook, in an order in which transforms follow shape, which they require. */
const ALL: readonly HookKind[] = [...HOOK_KINDS];

describe('inspectWasm of a valid plugin', () => {
  it('returns its metadata and facts without problems', () => {
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

  it.each(HOOK_KINDS)('reports no problem for a test guest with hook %s', (hook) => {
    const hooks = hook.startsWith('transform_')
      ? ALL.filter((kind) => kind !== 'filter' && kind !== 'observe')
      : [hook];
    expect(problems({ hooks }, hook)).toEqual([]);
  });

  const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

  it('returns the wire version and fingerprint of each declared hook', () => {
    expect(inspectWasm(guest({ hooks: ['observe', 'shape'] }))).toMatchObject({
      hookVersions: { shape: 1, observe: 1 },
      hookFingerprints: { shape: hex(fingerprint('shape')), observe: hex(fingerprint('observe')) },
    });
    const unknown = guest({
      hookMetadata: { wire_version: 9 },
      sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(32, 0xab), 'cc_lb.schema.shape.v1': Buffer.alloc(32) },
    });
    const { hookVersions, hookFingerprints } = inspectWasm(unknown);
    expect(hookVersions).toEqual({ filter: 9 });
    expect(hookFingerprints).toEqual({ filter: 'ab'.repeat(32) });
    expect(inspectWasm(guest({ sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(31) } })).hookFingerprints).toEqual(
      {},
    );
    expect(inspectWasm(Buffer.from('no module'))).toMatchObject({ hookVersions: {}, hookFingerprints: {} });
  });

  it('accepts additional exports, sections and functions', () => {
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

describe('inspectWasm of invalid bytes', () => {
  it.each([
    ['nothing', ''],
    ['half a header', '0061736d01'],
    ['another version', '0061736d02000000'],
    ['an ELF file', '7f454c4602010100'],
    ['the text format', Buffer.from('(module)').toString('hex')],
    ['gzip', '1f8b0800000000000003'],
  ])('reports %s as not a wasm module and every other part as missing', (_, hex) => {
    const { metadata, facts, problems } = inspectWasm(Buffer.from(hex, 'hex'));
    expect(metadata).toBeNull();
    expect(facts.parseError).not.toBeNull();
    expect(problems[0]).toMatch(/^not a wasm module: .+ \(at byte \d+\)$/);
    expect(problems.slice(1)).toEqual([
      `section ${METADATA}: missing, expected the plugin's metadata`,
      'export memory: missing, expected a memory',
      'export cc_lb_alloc: missing, expected a function',
      'export cc_lb_free: missing, expected a function',
    ]);
  });

  it('reports a component as a component', () => {
    const component = Uint8Array.from([0, 0x61, 0x73, 0x6d, 0x0d, 0, 1, 0]);
    expect(problemsOf(append(component, ...guestSections()))[0]).toBe(
      'the bytes are a component, expected a core module',
    );
  });

  it('returns problems instead of throwing wherever a module is cut or changed', () => {
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

  it('reports bytes after the module', () => {
    expect(problemsOf(append(guest(), Uint8Array.from([0])))[0]).toMatch(/^not a wasm module: unexpected end-of-file/);
    expect(problemsOf(append(guest(), guest()))[0]).toMatch(/^not a wasm module/);
  });
});

describe('imports', () => {
  it.each([
    ['(import "env" "log" (func))', 'found 1, the first is env.log (func)'],
    ['(import "env" "m" (memory 1)) (import "x" "g" (global i32))', 'found 2, the first is env.m (memory)'],
    ['(import "wasi_snapshot_preview1" "t" (table 1 funcref))', 'the first is wasi_snapshot_preview1.t (table)'],
  ])('report %s', (fields, named) => {
    const [first] = problemsOf(append(assemble(`(module ${fields})`), ...guestSections()));
    expect(first).toMatch(/^imports: a plugin may import nothing, /);
    expect(first).toContain(named);
  });

  it('accept an import section without entries', () => {
    const bytes = guest();
    const types = bytes.indexOf(1, 8);
    const afterTypes = types + 2 + bytes[types + 1]!;
    const empty = Buffer.concat([bytes.subarray(0, afterTypes), Uint8Array.of(2, 1, 0), bytes.subarray(afterTypes)]);
    expect(problemsOf(empty)).toEqual([]);
  });
});

describe('exports', () => {
  const without = (pattern: RegExp, replacement = '') =>
    problemsOf(append(assemble(guestText().replace(pattern, replacement)), ...guestSections()));

  it.each([
    ['memory', 'memory', /\(export "memory"\)/],
    ['cc_lb_alloc', 'func', /\(export "cc_lb_alloc"\)/],
    ['cc_lb_free', 'func', /\(export "cc_lb_free"\)/],
  ])('report a missing, misspelled or mistyped %s', (name, kind, pattern) => {
    const problem = `export ${name}: missing, expected a ${kind === 'func' ? 'function' : kind}`;
    expect(without(pattern)).toEqual([problem]);
    expect(without(pattern, `(export "${name}_")`)).toEqual([problem]);
    const global = `(global (export "${name}") i32 (i32.const 0))`;
    const text = guestText().replace(pattern, '').replace('(module', `(module ${global}`);
    expect(problemsOf(append(assemble(text), ...guestSections()))).toEqual([problem]);
  });

  it.each(['filter', 'shape', 'observe'] as const)('report a missing export of hook %s', (hook) => {
    const bytes = append(
      assemble(guestText({ hooks: [hook] }).replace(`(export "cc_lb_${hook}")`, '')),
      ...guestSections({ hooks: [hook] }),
    );
    expect(problemsOf(bytes)).toEqual([
      `export cc_lb_${hook}: missing, expected a function for the declared hook ${hook}`,
    ]);
  });

  it('ignore an export of a hook that is not declared', () => {
    const fields = '(func (export "cc_lb_shape") (param f64))';
    expect(problems({ fields })).toEqual([]);
  });

  it('leave a wrong signature to the probe', () => {
    expect(without(/\(param i32 i32 i32\)/, '(param f64)')).toEqual([]);
  });
});

describe('custom sections', () => {
  it('report missing metadata', () => {
    expect(problems({ sections: { [METADATA]: null } })).toEqual([
      `section ${METADATA}: missing, expected the plugin's metadata`,
    ]);
  });

  it('report metadata that is too large', () => {
    const large = Buffer.concat([metadataSection(), Buffer.alloc(2 ** 20, ' ')]);
    for (const bytes of [large, large.subarray(0, 2 ** 16 + 1)]) {
      expect(problems({ sections: { [METADATA]: bytes } })).toEqual([`section ${METADATA}: larger than 64 KiB`]);
    }
    expect(problems({ sections: { [METADATA]: large.subarray(0, 2 ** 16) } })).toEqual([]);
  });

  it('are named with escapes and truncated if their names are not short and plain', () => {
    const [found] = problems({ sections: { [`cc_lb.schema.\n${'x'.repeat(10_000)}`]: Buffer.alloc(3) } });
    expect(found).toContain('section "cc_lb.schema.\\nxxx');
    expect(found?.length).toBeLessThan(200);
  });

  it.each([
    ['{', /^section cc_lb\.plugin\.v1: /],
    ['', /^section cc_lb\.plugin\.v1: /],
    ['[]', /^section cc_lb\.plugin\.v1: /],
    ['\ufeff{}', /^section cc_lb\.plugin\.v1: /],
  ])('report metadata that is not JSON (%j) without reporting hooks', (text, problem) => {
    const found = problems({ sections: { [METADATA]: Buffer.from(text) } }, 'filter');
    expect(found).toHaveLength(1);
    expect(found[0]).toMatch(problem);
  });

  it('report a missing fingerprint', () => {
    expect(problems({ sections: { 'cc_lb.schema.filter.v1': null } })).toEqual([
      'section cc_lb.schema.filter.v1: missing, expected the fingerprint of hook filter',
    ]);
  });

  it.each([0, 31, 33, 64])('report a fingerprint of %d bytes', (bytes) => {
    const found = problems({ sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(bytes) } });
    expect(found).toEqual([`section cc_lb.schema.filter.v1: found ${bytes} bytes, expected 32`]);
  });

  it('check the length of the fingerprint of an undeclared hook', () => {
    const sections = { 'cc_lb.schema.shape.v1': Buffer.alloc(3), 'cc_lb.schema.unheard.v9': Buffer.alloc(5) };
    expect(problems({ sections })).toEqual([
      'section cc_lb.schema.shape.v1: found 3 bytes, expected 32',
      'section cc_lb.schema.unheard.v9: found 5 bytes, expected 32',
    ]);
  });

  it('use the last of two sections with one name', () => {
    const good = guest();
    const bad = guest({ sections: { [METADATA]: Buffer.from('{'), 'cc_lb.schema.filter.v1': Buffer.alloc(32, 1) } });
    const goodSections = guestSections();
    expect(problemsOf(append(bad, ...goodSections))).toEqual([]);
    expect(problemsOf(prepend(bad, ...goodSections))).not.toEqual([]);
    expect(problemsOf(prepend(good, customSection(METADATA, Buffer.from('{'))))).toEqual([]);
    expect(problemsOf(append(good, customSection(METADATA, Buffer.from('{'))))).not.toEqual([]);
    // A section of the wrong length is reported wherever it is.
    expect(problemsOf(prepend(good, customSection('cc_lb.schema.filter.v1', Buffer.alloc(2))))).toEqual([
      'section cc_lb.schema.filter.v1: found 2 bytes, expected 32',
    ]);
  });

  it('list a bounded number of cc_lb sections', () => {
    const many = Array.from({ length: 2000 }, (_, n) => customSection(`cc_lb.x${n}`, Buffer.alloc(1)));
    const { facts, problems } = inspectWasm(append(guest(), ...many));
    expect(facts.sectionsUnlisted).toBeGreaterThan(0);
    expect(problems[0]).toBe(`sections: ${facts.sectionsUnlisted} cc_lb sections beyond the limit`);
  });

  it('cut names that are listed', () => {
    const name = `cc_lb.${'x'.repeat(10_000)}`;
    const { facts } = inspectWasm(append(guest(), customSection(name, Buffer.alloc(1))));
    expect(facts.sections.at(-1)?.name).toBe(`${name.slice(0, 256)}…`);
  });

  it('reject more memories, types and functions than inspection reads', () => {
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

describe('fingerprints', () => {
  it('report an unknown one together with those that are accepted', () => {
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

  it('report the hook and the releases that a fingerprint of another hook belongs to', () => {
    const [problem] = problems({ sections: { 'cc_lb.schema.filter.v1': fingerprint('shape') } });
    expect(problem).toContain('(hook shape of PDK 0.1.0, 0.1.1, 0.1.2, 0.2.0), expected ');
  });

  it.each([0, 1, 2])('accept schema %d of the filter', (schema) => {
    expect(problems({ schema })).toEqual([]);
  });
});

describe('declared hooks', () => {
  it('must include the requested kind, and are all checked for any kind', () => {
    expect(problems({ hooks: ['filter'] }, 'shape')).toEqual([
      `section ${METADATA}: hooks.shape: not declared, expected for a shape slot`,
    ]);
    expect(problems({ hooks: ['filter'] }, 'observe')[0]).toMatch(/expected for an observe slot$/);
    expect(problems({ hooks: ['filter'] }, 'transform_response')[0]).toMatch(/expected to transform responses$/);
    expect(problems({ hooks: ['filter'] }, 'transform_sse_event')[0]).toMatch(/expected to transform events$/);
    const sections = { 'cc_lb.schema.observe.v1': Buffer.alloc(32) };
    expect(problems({ hooks: ['filter', 'observe'], sections }, 'filter')[0]).toMatch(
      /^section cc_lb\.schema\.observe/,
    );
  });

  it.each([0, 2, 255])('reject wire version %d', (wire_version) => {
    expect(problems({ hookMetadata: { wire_version } })).toEqual([
      `hooks.filter.wire_version: found ${wire_version}, expected 1`,
    ]);
  });

  it('accept transforms only together with shape and with each other', () => {
    const only = (hooks: HookKind[]) => problems({ hooks }).join('\n');
    expect(only(['transform_response', 'transform_sse_event'])).toMatch(/hooks\.shape: .*must declare shape/);
    expect(only(['shape', 'transform_response'])).toMatch(/hooks\.transform_sse_event: .*both/);
    expect(only(['shape', 'transform_sse_event'])).toMatch(/hooks\.transform_response: .*both/);
    expect(only(['shape'])).toBe('');
  });

  it('require a mode for each transform', () => {
    const hooks: HookKind[] = ['shape', 'transform_response', 'transform_sse_event'];
    expect(problems({ hooks, hookMetadata: { mode: 'active' } })).toEqual([]);
    expect(problems({ hooks, hookMetadata: { mode: undefined } })).toHaveLength(2);
    expect(problems({ hooks, hookMetadata: { mode: 'lazy' } }).length).toBeGreaterThan(1);
    expect(problems({ hooks, hookMetadata: { mode: 'noop' } }).join()).toMatch(/hooks\.shape\.mode/);
  });
});

describe('order of problems', () => {
  it('is file, metadata, exports, hooks by name', () => {
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

  it('lists a short section before an import that comes later in the file', () => {
    const parts = { sections: { 'cc_lb.schema.filter.v1': Buffer.alloc(1) } };
    const bytes = prepend(assemble('(module (import "a" "b" (func)))'), ...guestSections(parts));
    expect(problemsOf(bytes).slice(0, 2)).toEqual([
      'section cc_lb.schema.filter.v1: found 1 bytes, expected 32',
      'imports: a plugin may import nothing, found 1, the first is a.b (func)',
    ]);
  });
});

describe('inspectWasm', () => {
  it('returns the types of exported functions, imported or defined', () => {
    const functions = '(func (export "cc_lb_b") (result f32) unreachable) (func (export "cc_lb_c") (param i32))';
    const imports = '(import "m" "a" (func $a (param i64))) (import "m" "m" (memory 1))';
    const { facts } = inspectWasm(
      assemble(`(module ${imports} ${functions} (export "cc_lb_a" (func $a)) (export "cc_lb_d" (func $a)))`),
    );
    expect(facts.exports.map(({ name, signature }) => [name, signature])).toEqual([
      ['cc_lb_b', '() -> f32'],
      ['cc_lb_c', '(i32)'],
      ['cc_lb_a', '(i64)'],
      ['cc_lb_d', '(i64)'],
    ]);
  });

  it('checks the modules under policy version 1', () => {
    expect(POLICY_VERSION).toBe(1);
  });

  it.each([undefined, null, 'AGFzbQ==', [0, 1], new ArrayBuffer(8), new DataView(new ArrayBuffer(8)), {}])(
    'rejects %s as bytes',
    (bytes) => {
      const error = thrown(InvalidArgumentError, () => Reflect.apply(inspectWasm, undefined, [bytes]));
      expect(error.message).toBe('bytes: expected a Uint8Array');
    },
  );

  it.each([
    ['this realm', new SharedArrayBuffer(8)],
    ['another realm', runInNewContext('new SharedArrayBuffer(8)')],
  ])('rejects a view of shared memory of %s', (_, buffer) => {
    const shared = new Uint8Array(buffer);
    expect(thrown(InvalidArgumentError, () => inspectWasm(shared)).message).toMatch(/^bytes: .*SharedArrayBuffer/);
  });

  it.each(['Filter', '', 'constructor', null, 5])('rejects %s as a kind', (kind) => {
    const error = thrown(InvalidArgumentError, () => Reflect.apply(inspectWasm, undefined, [guest(), kind]));
    expect(error.path).toBe('kind');
  });
});
