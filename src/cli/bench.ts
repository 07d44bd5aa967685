/** `cc-lb-plugin bench`: measures the duration of a hook's calls. */
import { type HookRequest, hookRequest } from '../hook-request.ts';
import { WasmtimeRuntime } from '../runtime.ts';
import {
  type Command,
  calledHookOf,
  configOf,
  countOf,
  type Io,
  OK,
  OPTIONS,
  readBytes,
  textOf,
  UsageError,
  type Values,
} from './command.ts';
import { columns, json } from './output.ts';
import { requestOf } from './requests.ts';

const DEFAULT_SECONDS = 3;
const WARM_UP_SECONDS = 0.3;
/** The measurement ends after this many calls: more would not change the percentiles, and each is kept in memory. */
const MAX_CALLS = 2_000_000;

export const bench: Command = {
  summary: 'measure a hook: sequential calls, each with a fresh instance',
  usage: [
    'bench <file.wasm> --hook <hook> [--request <file.json>] [--config <config>] [--seconds <n>]' +
      ' [--where inline|thread] [--json]',
  ],
  options: {
    hook: OPTIONS.hook,
    request: OPTIONS.request,
    config: OPTIONS.config,
    seconds: { type: 'string', short: 's', help: `how many seconds to measure; by default ${DEFAULT_SECONDS}` },
    where: { type: 'string', help: 'inline for calls on the event loop, thread for calls off it; by default inline' },
    json: OPTIONS.json,
  },
  async run(values, io) {
    const hook = calledHookOf(values);
    const where = textOf(values, 'where') ?? 'inline';
    if (where !== 'inline' && where !== 'thread') throw new UsageError('--where: expected inline or thread');
    const seconds = countOf(values, 'seconds', 0) ?? DEFAULT_SECONDS;
    const request = requestOf(values, hook);
    if (where === 'inline' && 'events' in request) throw new UsageError('--where: a list of events requires thread');
    const runtime = new WasmtimeRuntime(configOf(values));
    try {
      const prepared = await hookRequest(runtime, readBytes(values.file), hook, request);
      await measure(prepared, where, WARM_UP_SECONDS);
      print(await measure(prepared, where, seconds), { hook, where }, values, io);
      return OK;
    } finally {
      runtime.close();
    }
  },
};

/** Calls for `seconds`; returns the microseconds of each call in ascending order. */
async function measure(request: HookRequest, where: 'inline' | 'thread', seconds: number): Promise<Float64Array> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1_000;
  do {
    const start = performance.now();
    if (where === 'inline') request.inline();
    else await request.anywhere({ where });
    const now = performance.now();
    times.push((now - start) * 1_000);
    if (now >= end) break;
  } while (times.length < MAX_CALLS);
  return Float64Array.from(times).sort();
}

function print(times: Float64Array, labels: { hook: string; where: string }, values: Values, io: Io): void {
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))]!;
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  const config = textOf(values, 'config') ?? 'default';
  const result = {
    ...labels,
    config,
    calls: times.length,
    p50Micros: at(0.5),
    p99Micros: at(0.99),
    maxMicros: at(1),
    meanMicros: mean,
  };
  if (values.flags.json) {
    io.out(json(result));
    return;
  }
  const micros = (value: number) => value.toFixed(1);
  io.out(
    columns([
      ['hook', 'config', 'where', 'calls', 'p50 µs', 'p99 µs', 'max µs', 'calls/s'],
      [
        ...[labels.hook, config, labels.where, String(times.length)],
        ...[micros(at(0.5)), micros(at(0.99)), micros(at(1)), (1e6 / mean).toFixed(0)],
      ],
    ]),
  );
}
