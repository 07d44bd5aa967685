/**
 * The event loop: for how long an asynchronous call blocks it, in the recommended config. A slice ends a guest, but not a
 * bulk operation, the reset of a memory, or the decoding of an answer.
 */
import {
  maxMemorySizeBytes,
  productionHotEngineConfig,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { transformResponseResult, transformSseEventResult } from '../../src/wire/messages/transform.ts';
import { encodeToBytes } from '../support/encode.ts';
import { misbehavesAfterProbe } from '../support/guest.ts';
import { response, sseEvent } from '../support/samples.ts';
import { body, caller, candidates, guest, request } from './guests.ts';
import { ensure, type Figure, type Scenario } from './scenario.ts';

const config = productionHotEngineConfig();
/** The bytes that a guest writes or answers with: all of the largest memory but the first MiB. */
const FROM = 0x100000;
const BYTES = maxMemorySizeBytes(config) - FROM;
const EVENTS = 10_000;
const LARGEST = config.wireBounds.outputBodyBytes - 256;
/** Shorter than any bulk operation, so that every call that is measured is repeated off the thread and expires there. */
const DEADLINE_MS = 200;

/** One kind of call: its plugin, and whether the plugin answers. */
interface Kind {
  readonly hook: 'filter' | 'transform_response' | 'transform_sse_event';
  readonly bytes: Uint8Array;
  readonly answers: boolean;
}

const looping = (step: string): Kind => {
  const hook = misbehavesAfterProbe(`(loop $l ${step} (br $l)) (i64.const 0)`);
  const bytes = guest({ memory: `${config.memoryMaxPages}`, hook: `(local $at i32) ${hook}` });
  return { hook: 'filter', bytes, answers: false };
};

const answering = (called: 'transform_response' | 'transform_sse_event', bytes: Uint8Array): Kind => {
  ensure(bytes.length <= config.wireBounds.outputBodyBytes, () => `an answer of ${bytes.length} bytes is not valid`);
  // Memory that no data segment initializes is zero, as the body is.
  const first = bytes.findIndex((byte) => byte !== 0);
  const data = Buffer.from(bytes.subarray(first)).toString('hex').replaceAll(/../g, '\\$&');
  const fields = `(data (i32.const ${FROM + first}) "${data}")`;
  const hook = misbehavesAfterProbe(`(i64.const ${(BigInt(FROM) << 32n) | BigInt(bytes.length)})`);
  const hooks = ['shape', 'transform_response', 'transform_sse_event'] as const;
  const parts = { hooks, memory: `${config.memoryMaxPages}`, hook: { [called]: hook }, fields };
  return { hook: called, bytes: guest(parts), answers: true };
};

const kinds = (): Readonly<Record<string, Kind>> => ({
  'a bulk operation over the whole memory': looping(
    `(memory.fill (i32.const ${FROM}) (i32.const 1) (i32.const ${BYTES}))`,
  ),
  'a memory that is written page by page': looping(
    `(local.set $at (i32.add (local.get $at) (i32.const 4096)))
     (i32.store (i32.add (i32.const ${FROM}) (i32.rem_u (local.get $at) (i32.const ${BYTES}))) (i32.const 1))`,
  ),
  'the answer with the most bytes': answering(
    'transform_response',
    encodeToBytes(transformResponseResult, {
      kind: 'replace',
      status: null,
      headers: null,
      body: Buffer.alloc(LARGEST),
    }),
  ),
  'the answer with the most elements': answering(
    'transform_sse_event',
    encodeToBytes(transformSseEventResult, {
      kind: 'replace',
      events: Array(EVENTS).fill({ event: 'x', data: Buffer.from('x') }),
    }),
  ),
});

export const blocking: Scenario = {
  unit: 'calls',
  target: 200,
  async run(run) {
    const runtime = new WasmtimeRuntime({ ...config, deadlineMs: DEADLINE_MS });
    const figures: Figure[] = [];
    const guests = Object.entries(kinds());
    const times = new Map<string, number[]>(guests.map(([name]) => [name, []]));
    while (run.hasMore) {
      const [name, kind] = guests[run.done % guests.length]!;
      // The calls of a new version are not yet known to be long.
      const key = new SlotKey(`tenant-${run.done}`, 'plugin');
      const call = callOf(runtime, key, kind);
      times.get(name)!.push(await blockedMs(call, kind.answers));
      runtime.evictSlot(key);
      run.count(1);
    }
    for (const [name, all] of times) figures.push(figure(name, all));
    await runtime[Symbol.asyncDispose]();
    return figures;
  },
};

function callOf(runtime: WasmtimeRuntime, key: SlotKey, { hook, bytes }: Kind): () => Promise<unknown> {
  if (hook === 'filter') {
    const filter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key, 'plugin', bytes));
    return () => filter.filterAsync(request({ body }), caller(), candidates(1));
  }
  const dialect = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(key, 'plugin', bytes));
  if (hook === 'transform_response') return () => dialect.transformResponseAsync(response({ body }));
  return () => dialect.transformSseEventAsync(sseEvent({ event: { event: 'message', data: body } }));
}

/** Milliseconds of the longer part of a call that runs on the event loop: before it is handed over, or after that. */
async function blockedMs(call: () => Promise<unknown>, answers: boolean): Promise<number> {
  const before = performance.eventLoopUtilization();
  const began = performance.now();
  const pending = call();
  const first = performance.now() - began;
  const answered = await pending.then(
    () => true,
    () => false,
  );
  ensure(answered === answers, () => (answers ? 'a valid answer was rejected' : 'an endless guest answered'));
  const rest = performance.eventLoopUtilization(before).active - first;
  return Math.max(first, rest);
}

function figure(name: string, times: number[]): Figure {
  const sorted = times.sort((a, b) => a - b);
  const at = (part: number) => (sorted[Math.floor((sorted.length - 1) * part)] ?? Number.NaN).toFixed(1);
  return { name, value: `p50 ${at(0.5)} ms, most ${at(1)} ms (${sorted.length} calls)`, ok: null };
}
