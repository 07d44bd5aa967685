/**
 * Admission: inspect → compile → probe. A generator defines the order of the steps once, and a driver runs each step on
 * this thread or off it.
 */
import type { Dispatcher } from '../dispatch/dispatcher.ts';
import { ANY_ANSWER, type HookCall } from '../dispatch/hook-call.ts';
import { enqueue } from '../dispatch/queue.ts';
import type { OpenEngine } from '../engine.ts';
import {
  ClosedError,
  type ErrorContext,
  errorOf,
  GuestTrapError,
  InstantiateFailedError,
  ModuleRejectedError,
  PoolSaturatedError,
  ProbeFailedError,
  WasmtimeRuntimeError,
} from '../errors.ts';
import { type NativeFailure, type NativeModule, type NativeModuleFacts, native } from '../native/addon.ts';
import { InvalidAnswerError } from '../policy/invalid-answer.ts';
import { HOOK_KINDS, type HookKind } from '../types.ts';
import { checkBytes } from '../validate.ts';
import { WireError } from '../wire/decode.ts';
import { type DeclaredSchemas, findSchema } from '../wire/schemas.ts';
import type { Admissions } from './admissions.ts';
import { calledSchemas } from './called.ts';
import { compile, compileAsync } from './compile.ts';
import { checkKind, judge, POLICY_VERSION } from './inspect.ts';
import { frozenMetadata, type PluginMetadata } from './metadata.ts';
import { type Probe, probesFor } from './probe.ts';

/** The `plugin` label of probes. Names of unregistered modules would create an unbounded number of series. */
const PROBE_LABEL = '(probe)';
/** The principal of modules without an owner. */
const UNOWNED = '';
/**
 * Milliseconds of the first attempt of an asynchronous probe. One that takes longer is repeated in a line that all slow
 * probes share: otherwise an admission would wait for a deadline of every other principal.
 */
const ATTEMPT_MS = 100;
const SLOW_LINE = '(slow probes)';

/** An admitted module. */
export interface AdmittedModule {
  readonly contentHash: string;
  readonly metadata: PluginMetadata;
  readonly schemas: DeclaredSchemas;
  readonly module: NativeModule;
}

/** An admitted module and its facts. */
export interface InspectedModule extends AdmittedModule {
  readonly facts: NativeModuleFacts;
}

/** A step of admission, with a blocking and an asynchronous form. */
interface Step<T> {
  sync(): T;
  /** `signal` aborts a guest or a compilation. */
  async(signal: AbortSignal | undefined): Promise<T>;
}

type Steps<T> = Generator<Step<unknown>, T, unknown>;

/** Yields a step to the driver and returns its result. */
function* perform<T>(step: Step<T>): Steps<T> {
  return (yield step) as T;
}

/** The parts of a runtime that admission uses. */
export interface Admitting {
  readonly engine: OpenEngine;
  readonly dispatcher: Dispatcher;
  readonly admissions: Admissions;
}

/** The options of an admission. */
export interface AdmitOptions {
  /** A hook that must be declared. */
  readonly kind?: HookKind | undefined;
  /** The name that the plugin is registered under, for errors. Undefined is the name in its metadata. */
  readonly plugin?: string;
  /** The owner of the module. Undefined or null is shared by all modules without an owner. */
  readonly principal?: string | null;
}

function registrationOf({ plugin, principal }: AdmitOptions): ErrorContext {
  return { plugin, principal: principal ?? undefined };
}

/** Returns the content hash of `bytes` under this engine's rules: 64 lowercase hex digits. */
export function contentHashOf(engine: Pick<OpenEngine, 'config'>, bytes: Uint8Array): string {
  return native.contentHash(POLICY_VERSION, engine.config.memoryMaxPages, bytes);
}

/**
 * Admits `bytes` while this thread blocks.
 * Throws ModuleRejected, ModuleCompile, InstantiateFailed, ProbeFailed, CompileProcess or PoolSaturated `compile`, and
 * InvalidArgument for arguments of the wrong type.
 */
export function admit(runtime: Admitting, bytes: Uint8Array, options: AdmitOptions): InspectedModule {
  checkArguments(runtime, bytes, options);
  const steps = admission(runtime, bytes, options);
  let step = steps.next();
  while (!step.done) {
    let value: unknown;
    try {
      value = step.value.sync();
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(value);
  }
  return step.value;
}

/**
 * Admits `bytes` off this thread, which is blocked only while the bytes are copied and the metadata is read. Rejects
 * with what `admit` throws, with `signal.reason` when aborted, and with ClosedError when the runtime is closed.
 */
export async function admitAsync(
  runtime: Admitting,
  bytes: Uint8Array,
  options: AdmitOptions & { readonly signal?: AbortSignal | undefined },
): Promise<InspectedModule> {
  // Before the limits of admissions: a module that exceeds them alone would be reported as saturation.
  checkArguments(runtime, bytes, options);
  const { signal } = options;
  const { length } = bytes;
  const principal = options.principal ?? UNOWNED;
  if (!runtime.admissions.start(principal, length)) {
    runtime.dispatcher.countSaturation('compile');
    throw new PoolSaturatedError('compile', registrationOf(options));
  }
  try {
    return await drive(admission(runtime, bytes, options), signal);
  } finally {
    runtime.admissions.end(principal, length);
  }
}

/** Throws InvalidArgument, and ModuleRejected for a module of more than `maxModuleBytes`. */
function checkArguments({ engine }: Admitting, bytes: Uint8Array, options: AdmitOptions): void {
  checkBytes(bytes, 'bytes');
  checkKind(options.kind);
  const { maxModuleBytes } = engine.config;
  if (bytes.length <= maxModuleBytes) return;
  const reason = `the module has ${bytes.length} bytes, more than maxModuleBytes (${maxModuleBytes})`;
  throw new ModuleRejectedError(reason, registrationOf(options));
}

async function drive<T>(steps: Steps<T>, signal: AbortSignal | undefined): Promise<T> {
  let step = steps.next();
  while (!step.done) {
    signal?.throwIfAborted();
    let value: unknown;
    try {
      value = await step.value.async(signal);
    } catch (error) {
      step = steps.throw(error);
      continue;
    }
    step = steps.next(value);
  }
  signal?.throwIfAborted();
  return step.value;
}

function* admission(
  { engine, dispatcher }: Admitting,
  bytes: Uint8Array,
  options: AdmitOptions,
): Steps<InspectedModule> {
  const { kind, principal = null } = options;
  const registration = registrationOf(options);
  const { maxModuleEntries, memoryMaxPages } = engine.config;
  const line = principal ?? UNOWNED;
  // Off-thread work waits in the same queue as calls. `Admissions` limits its length.
  const offThread = <T>(work: () => Promise<T>) => enqueue(work, Number.POSITIVE_INFINITY, line).done;
  const source = new native.NativeSource(bytes);
  const inspection = yield* perform({
    sync: () => source.inspect(POLICY_VERSION, memoryMaxPages, maxModuleEntries),
    async: () => offThread(() => source.inspectAsync(POLICY_VERSION, memoryMaxPages, maxModuleEntries)),
  });
  const known = knownModule(engine, inspection.hash);
  // Another runtime of the engine may read larger modules.
  const isRead = inspection.facts.parseError === null;
  if (known !== null && isRead && (kind === undefined || known.metadata.hooks[kind] !== undefined)) {
    return { ...known, facts: inspection.facts };
  }

  const { metadata, schemas, problems, facts } = judge(inspection.facts, kind);
  const context: ErrorContext = { ...registration, plugin: registration.plugin ?? metadata?.name };
  if (problems.length > 0 || metadata === null) throw new ModuleRejectedError(problems[0]!, context);
  const input = { engine, source, hash: inspection.hash, principal };
  const compiled = yield* perform<NativeModule | NativeFailure>({
    sync: () => compile(input),
    async: (signal) => compileAsync(input, offThread, signal, () => dispatcher.closed),
  });
  if ('failed' in compiled) {
    if (compiled.kind === 'saturated') dispatcher.countSaturation('compile', { context: () => context });
    throw errorOf(compiled, context);
  }

  const called = calledSchemas(metadata, schemas);
  for (const probe of probesFor(called)) yield* send(probe, compiled, context, line, dispatcher);
  const fingerprints = Object.fromEntries(HOOK_KINDS.map((hook) => [hook, schemas[hook]?.fingerprint]));
  compiled.admit(JSON.stringify({ metadata, fingerprints }));
  return { contentHash: inspection.hash, metadata, schemas: called, module: compiled, facts };
}

/** Returns the module of this content if any thread of the process has admitted it. */
function knownModule(engine: OpenEngine, contentHash: string): AdmittedModule | null {
  const module = engine.native.find(contentHash);
  const note = module?.admission() ?? null;
  if (module === null || note === null) return null;
  const { metadata, fingerprints } = JSON.parse(note) as {
    metadata: PluginMetadata;
    fingerprints: Partial<Record<HookKind, string>>;
  };
  const schemas = Object.fromEntries(
    Object.entries(fingerprints).map(([hook, fingerprint]) => [hook, findSchema(hook as HookKind, fingerprint)]),
  );
  return { contentHash, metadata: frozenMetadata(metadata), schemas: calledSchemas(metadata, schemas), module };
}

function* send(
  probe: Probe,
  module: NativeModule,
  admitted: ErrorContext,
  principal: string,
  dispatcher: Dispatcher,
): Steps<void> {
  const context = () => ({ ...admitted, hook: probe.hook });
  const { deadlineMs, wireBounds } = dispatcher.config;
  const target = module.target();
  const call = (
    attempt: Pick<HookCall<void>, 'signal' | 'principal' | 'deadlineMs' | 'isRepeated'>,
  ): HookCall<void> => ({
    ...attempt,
    module,
    target,
    hook: probe.hook,
    plugin: PROBE_LABEL,
    guard: null,
    stream: null,
    maxAnswerBytes: probe.hook === 'observe' ? ANY_ANSWER : Math.min(wireBounds.outputBodyBytes, ANY_ANSWER),
    probe: true,
    context,
    encode: probe.encode,
    decode: probe.decode,
    breaksRule: () => false,
  });
  try {
    yield* perform({
      sync: () => dispatcher.inline(call({ signal: undefined, principal, deadlineMs })),
      async: async (signal) => {
        if (deadlineMs <= ATTEMPT_MS) return dispatcher.threaded(call({ signal, principal, deadlineMs }));
        try {
          return await dispatcher.threaded(call({ signal, principal, deadlineMs: ATTEMPT_MS, isRepeated: true }));
        } catch (error) {
          if (!hasExpired(error)) throw error;
        }
        return dispatcher.threaded(call({ signal, principal: SLOW_LINE, deadlineMs }));
      },
    });
  } catch (error) {
    // A start function runs during the probe's instantiation. Its failure remains an InstantiateFailedError.
    if (error instanceof InstantiateFailedError && error.cause !== undefined) throw error;
    if (error instanceof ClosedError) throw error;
    if (error instanceof WasmtimeRuntimeError || error instanceof WireError || error instanceof InvalidAnswerError) {
      throw new ProbeFailedError(probe.hook, `${error.message}${probe.note}`, { ...context(), cause: error });
    }
    throw error;
  }
}

/** Whether a call reached its deadline, also in a start function. */
function hasExpired(error: unknown): boolean {
  const trap = error instanceof InstantiateFailedError ? error.cause : error;
  return trap instanceof GuestTrapError && trap.trap === 'interrupt';
}
