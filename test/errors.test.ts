import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { errorOf } from '../src/errors.ts';
import * as surface from '../src/index.ts';
import {
  ClosedError,
  CompileProcessError,
  DialectError,
  EngineInitError,
  FilterError,
  GuestTrapError,
  InstantiateFailedError,
  InvalidArgumentError,
  ModuleCompileError,
  ModuleRejectedError,
  ObservabilityError,
  PluginUnavailableError,
  PoolSaturatedError,
  ProbeFailedError,
  ResponseTransformError,
  SlotKey,
  SlotNotFoundError,
  StackExhaustedError,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeRuntimeError,
} from '../src/index.ts';
import type { NativeFailure } from '../src/native/addon.ts';
import { thrown } from './support/errors.ts';
import { plugin } from './support/plugins.ts';

const context = { plugin: 'p', principal: 'a', versionId: 3, hook: 'filter' };
const expired = new GuestTrapError('cc_lb_filter', 'interrupt', 'time', context);

interface Row {
  readonly code: string;
  readonly error: WasmtimeRuntimeError;
  readonly retryable?: boolean;
  readonly fields?: Readonly<Record<string, unknown>>;
}

/** Every code, with an error that has it. */
const TABLE: readonly Row[] = [
  { code: 'CC_LB_ENGINE_INIT', error: new EngineInitError('m', context) },
  {
    code: 'CC_LB_MODULE_COMPILE',
    error: new ModuleCompileError('memory', 'm', context),
    fields: { reason: 'memory' },
  },
  {
    code: 'CC_LB_COMPILE_PROCESS',
    error: new CompileProcessError('m', { ...context, retryable: true }),
    retryable: true,
  },
  { code: 'CC_LB_INSTANTIATE_FAILED', error: new InstantiateFailedError('m', context) },
  { code: 'CC_LB_MODULE_REJECTED', error: new ModuleRejectedError('why', context), fields: { reason: 'why' } },
  { code: 'CC_LB_SLOT_NOT_FOUND', error: new SlotNotFoundError('why', context), fields: { reason: 'why' } },
  {
    code: 'CC_LB_SLOT_EVICTED',
    error: new SlotNotFoundError('why', { ...context, evicted: true }),
    fields: { reason: 'why' },
  },
  { code: 'CC_LB_PROBE_FAILED', error: new ProbeFailedError('filter', 'why', context), fields: { reason: 'why' } },
  {
    code: 'CC_LB_GUEST_TRAP',
    error: new GuestTrapError('cc_lb_alloc', 'unknown', 'm', context),
    fields: { phase: 'cc_lb_alloc', trap: 'unknown' },
  },
  { code: 'CC_LB_GUEST_TRAP', error: expired, retryable: true, fields: { phase: 'cc_lb_filter', trap: 'interrupt' } },
  {
    code: 'CC_LB_POOL_SATURATED',
    error: new PoolSaturatedError('queue', context),
    retryable: true,
    fields: { resource: 'queue' },
  },
  {
    code: 'CC_LB_PLUGIN_DISABLED',
    error: new PluginUnavailableError('disabled', 'why', null, context),
    fields: { state: 'disabled', reason: 'why', retryAfterMs: null },
  },
  {
    code: 'CC_LB_BREAKER_OPEN',
    error: new PluginUnavailableError('breaker-open', 'why', 250, context),
    retryable: true,
    fields: { state: 'breaker-open', reason: 'why', retryAfterMs: 250 },
  },
  { code: 'CC_LB_INVALID_ARGUMENT', error: new InvalidArgumentError('a.b', 'm', context), fields: { path: 'a.b' } },
  { code: 'CC_LB_CLOSED', error: new ClosedError() },
  { code: 'CC_LB_STACK_EXHAUSTED', error: new StackExhaustedError('m', context) },
  { code: 'CC_LB_FILTER', error: new FilterError('runtime', 'm', context), fields: { kind: 'runtime' } },
  { code: 'CC_LB_DIALECT', error: new DialectError('unsupported-request', 'm', context) },
  {
    code: 'CC_LB_RESPONSE_TRANSFORM',
    error: new ResponseTransformError('trap', 'm', context),
    fields: { kind: 'trap' },
  },
  { code: 'CC_LB_OBSERVABILITY', error: new ObservabilityError('m', context) },
];

const codes = [...new Set(TABLE.map(({ code }) => code))];

describe.each(TABLE)('$code', ({ code, error, retryable = false, fields = {} }) => {
  it('is the code of an error of the base class', () => {
    expect(error).toBeInstanceOf(WasmtimeRuntimeError);
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ code, retryable, name: error.constructor.name, ...fields });
    expect(error.message).not.toBe('');
  });

  it('has the plugin, principal, version and hook', () => {
    if (error instanceof ClosedError) return expect(error.plugin).toBeUndefined();
    return expect(error).toMatchObject(context);
  });
});

describe('error classes', () => {
  const exported = Object.values(surface).filter(
    (value): value is typeof ClosedError =>
      typeof value === 'function' && value.prototype instanceof WasmtimeRuntimeError,
  );

  it('are all in the table', () => {
    const inTable = new Set(TABLE.map(({ error }) => error.constructor));
    expect(new Set(exported)).toEqual(inTable);
    expect(exported).toHaveLength(17);
  });

  it('have one code each, except for those of a missing slot and of an unavailable plugin', () => {
    const pairs = new Set(TABLE.map(({ code, error }) => `${code} ${error.constructor.name}`));
    expect(pairs.size).toBe(codes.length);
    expect(new Set(TABLE.map(({ error }) => error.constructor)).size).toBe(codes.length - 2);
  });

  it('include SlotNotFoundError as a subclass of ModuleRejectedError', () => {
    expect(new SlotNotFoundError('m')).toBeInstanceOf(ModuleRejectedError);
  });
});

describe('the message', () => {
  const key = new SlotKey('team', 'filter');
  const absent = SlotKey.global('absent');

  it('of a missing or unsuitable slot names the slot and does not blame a module', () => {
    using runtime = new WasmtimeRuntime();
    const slot = runtime.registerFilter(key, 'f', plugin('cache-aware'));
    const messages = [
      thrown(SlotNotFoundError, () => runtime.rollback(absent)),
      thrown(ModuleRejectedError, () => runtime.rollback(key)),
      thrown(ModuleRejectedError, () => runtime.enforce(key)),
      thrown(ModuleRejectedError, () => runtime.registerShape(key, 'f', plugin('rewrite'))),
    ].map(({ message }) => message);
    runtime.evictSlot(key);
    messages.push(thrown(SlotNotFoundError, () => new WasmtimeFilterPlugin(runtime, slot)).message);
    expect(messages[0]).toContain(String(absent));
    for (const message of messages.slice(1)) expect(message).toContain(String(key));
    expect(messages.filter((message) => message.includes('module rejected'))).toEqual([]);
  });

  it.each<surface.SaturatedResource>(['stores', 'pool', 'queue', 'staging', 'compile', 'streams', 'address-space'])(
    'of saturation by %s names a field of the config',
    (resource) => {
      const names = Object.keys(surface.defaultHotEngineConfig());
      const { message } = new PoolSaturatedError(resource);
      expect(names.filter((name) => message.includes(name))).not.toEqual([]);
    },
  );

  it('of an open breaker states when the plugin is tried again', () => {
    expect(new PluginUnavailableError('breaker-open', 'why', 250).message).toContain('250 ms');
    expect(new PluginUnavailableError('disabled', 'why', null).message).not.toContain('again');
  });

  it('of a call that exceeds its deadline names the deadline', () => {
    using runtime = new WasmtimeRuntime({ deadlineMs: 50 });
    const slot = runtime.registerFilter(key, 'f', plugin('misbehave'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    const looping = { id: 'team', kind: 'api_key', claims: { do: 'loop' } } as const;
    const call = { requestId: 'r', method: 'GET', path: '/', headers: [], body: new Uint8Array() };
    expect(thrown(FilterError, () => filter.filter(call, looping, [])).message).toContain('the deadline expired');
  });
});

describe('a rejected registration', () => {
  const key = new SlotKey('team', 'registered');
  const modules: [string, Uint8Array][] = [
    ['bytes that are not a module', Buffer.from('no module')],
    ['a plugin of another hook', plugin('rewrite')],
    ['a module larger than maxModuleBytes', new Uint8Array(2 * 1024 * 1024)],
  ];

  it.each(modules)('for %s has the registered name and the principal', async (_, bytes) => {
    using runtime = new WasmtimeRuntime({ maxModuleBytes: 1024 * 1024 });
    const expected = { plugin: 'the name', principal: 'team' };
    expect(thrown(ModuleRejectedError, () => runtime.registerFilter(key, 'the name', bytes))).toMatchObject(expected);
    await expect(runtime.registerFilterAsync(key, 'the name', bytes)).rejects.toMatchObject(expected);
  });
});

describe('an error with a cause', () => {
  it('is retryable if its cause is', () => {
    for (const make of [
      (cause: unknown) => new InstantiateFailedError('m', { cause }),
      (cause: unknown) => new ProbeFailedError('filter', 'm', { cause }),
      (cause: unknown) => new FilterError('trap', 'm', { cause }),
      (cause: unknown) => new DialectError('unsupported-request', 'm', { cause }),
      (cause: unknown) => new ResponseTransformError('trap', 'm', { cause }),
      (cause: unknown) => new ObservabilityError('m', { cause }),
    ]) {
      expect(make(expired)).toMatchObject({ retryable: true, cause: expired });
      expect(make(new PoolSaturatedError('stores')).retryable).toBe(true);
      expect(make(new ModuleRejectedError('m')).retryable).toBe(false);
      expect(make(new Error('other')).retryable).toBe(false);
      expect(make(undefined)).not.toHaveProperty('cause');
    }
  });
});

describe('errorOf', () => {
  const failure = (kind: NativeFailure['kind'], rest: Partial<NativeFailure> = {}): NativeFailure => ({
    failed: true,
    kind,
    message: 'what happened',
    reason: null,
    resource: null,
    retryable: false,
    phase: null,
    trap: null,
    cpuShare: null,
    frames: [],
    ...rest,
  });

  it.each([
    [failure('trap', { phase: 'cc_lb_shape', trap: 'unreachable-code-reached' }), GuestTrapError, 'CC_LB_GUEST_TRAP'],
    [failure('saturated', { resource: 'stores', message: '' }), PoolSaturatedError, 'CC_LB_POOL_SATURATED'],
    [failure('rejected'), ModuleRejectedError, 'CC_LB_MODULE_REJECTED'],
    [failure('compile', { reason: 'invalid' }), ModuleCompileError, 'CC_LB_MODULE_COMPILE'],
    [failure('stack'), StackExhaustedError, 'CC_LB_STACK_EXHAUSTED'],
    [failure('engine-init'), EngineInitError, 'CC_LB_ENGINE_INIT'],
    [failure('instantiate'), InstantiateFailedError, 'CC_LB_INSTANTIATE_FAILED'],
  ])('turns %o into its class', (record, type, code) => {
    const error = errorOf(record, context);
    expect(error).toBeInstanceOf(type);
    expect(error).toMatchObject({ code, ...context });
    if (record.message !== '') expect(error.message).toContain('what happened');
  });

  it('preserves phase and trap', () => {
    const error = errorOf(failure('trap', { phase: 'cc_lb_alloc', trap: 'interrupt' }), {});
    expect(error).toMatchObject({ phase: 'cc_lb_alloc', trap: 'interrupt', retryable: true });
  });

  it.each(['invalid', 'time', 'memory', 'image', 'crash'] as const)('preserves the reason %s', (reason) => {
    expect(errorOf(failure('compile', { reason }), {})).toMatchObject({ reason, retryable: false });
  });

  it.each([true, false])('preserves whether the compile process may start later: %s', (retryable) => {
    expect(errorOf(failure('compile-process', { retryable }), {})).toMatchObject({ retryable });
  });

  it('preserves the resource', () => {
    expect(errorOf(failure('saturated', { resource: 'streams' }), {})).toMatchObject({ resource: 'streams' });
  });

  it('makes the trap of a start function the cause', () => {
    const error = errorOf(failure('instantiate', { phase: 'instantiate', trap: 'interrupt' }), context);
    expect(error).toBeInstanceOf(InstantiateFailedError);
    expect(error.cause).toBeInstanceOf(GuestTrapError);
    expect(error.cause).toMatchObject({ phase: 'instantiate', trap: 'interrupt', ...context });
    expect(errorOf(failure('instantiate'), context).cause).toBeUndefined();
  });

  it('throws a plain Error for an unknown kind, which is a defect of the package', () => {
    const error = thrown(Error, () => errorOf(failure('novel' as never), context));
    expect(error).not.toBeInstanceOf(WasmtimeRuntimeError);
    expect(error.message).toContain('"novel": what happened');
  });
});

/** The classes that wrap another error. */
const WRAPPING = [
  InstantiateFailedError,
  ProbeFailedError,
  FilterError,
  DialectError,
  ResponseTransformError,
  ObservabilityError,
];

describe('docs/errors.md', () => {
  const text = readFileSync(new URL('../docs/errors.md', import.meta.url), 'utf8');
  const entries = text.split(/^## (?=`)/m).slice(1);

  it('names every code of the sources', () => {
    const folder = new URL('../src/', import.meta.url);
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const sources = files.map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n');
    // The other names with this prefix are those of environment variables.
    const found = new Set(sources.match(/\bCC_LB_(?!RUNTIME_WASMTIME_)[A-Z_]+\b/g));
    expect(found.size).toBeGreaterThan(codes.length);
    expect([...found].filter((code) => !text.includes(`\`${code}\``))).toEqual([]);
  });

  it('has one entry for each code, in the order of the table', () => {
    expect(entries.map((entry) => entry.match(/^`(\w+)`/)?.[1])).toEqual(codes);
  });

  it.each(TABLE)('documents class, retryability and fields of $code', ({ code, error, fields = {} }) => {
    const entry = entries.find((text) => text.startsWith(`\`${code}\``))!;
    const [, head, ...rest] = entry.split('\n\n');
    expect(head).toContain(`\`${error.constructor.name}\``);
    for (const field of Object.keys(fields)) expect(head).toContain(`\`${field}\``);
    if (['CC_LB_POOL_SATURATED', 'CC_LB_BREAKER_OPEN'].includes(code)) expect(head).toMatch(/· retryable ·/);
    else if (WRAPPING.some((type) => error instanceof type)) expect(head).toMatch(/retryable as its cause/);
    else if (['CC_LB_GUEST_TRAP', 'CC_LB_COMPILE_PROCESS'].includes(code)) expect(head).toMatch(/retryable if/);
    else expect(head).toMatch(/not retryable/);
    expect(rest.join('').trim()).not.toBe('');
  });

  it('names every resource', () => {
    for (const resource of ['stores', 'pool', 'queue', 'staging', 'streams', 'compile', 'address-space'])
      expect(text).toContain(`\`${resource}\``);
  });
});
