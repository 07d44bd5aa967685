/** `cc-lb-plugin bench`: how long the calls of a hook take. */
import { WasmtimeRuntime } from '../runtime.ts';
import {
  type Command,
  configOf,
  countOf,
  hookOf,
  type Io,
  OK,
  readBytes,
  readJson,
  textOf,
  UsageError,
  type Values,
} from './command.ts';
import { columns, json } from './output.ts';
import { type PreparedRequest, prepare, SAMPLES } from './requests.ts';

const DEFAULT_SECONDS = 3;
const WARM_UP_SECONDS = 0.3;
/** The first so many calls are kept one by one; a hook that is called more often is known well enough by then. */
const MOST_CALLS = 2_000_000;

export const bench: Command = {
  summary: 'time a hook: calls one after the other, each with an instance of its own',
  usage:
    'bench <file.wasm> --hook <hook> [--request <file.json>] [--config <config>] [--seconds <n>]\n' +
    '       [--where inline|thread] [--json]',
  options: {
    hook: { type: 'string', short: 'k' },
    request: { type: 'string', short: 'r' },
    config: { type: 'string', short: 'c' },
    seconds: { type: 'string', short: 's' },
    where: { type: 'string' },
    json: { type: 'boolean' },
  },
  async run(values, io) {
    const hook = hookOf(values, 'hook');
    if (hook === undefined) throw new UsageError('--hook: expected the hook to call');
    const where = textOf(values, 'where') ?? 'inline';
    if (where !== 'inline' && where !== 'thread') throw new UsageError('--where: expected inline or thread');
    const seconds = countOf(values, 'seconds') ?? DEFAULT_SECONDS;
    const path = textOf(values, 'request');
    const request = path === undefined ? SAMPLES[hook] : readJson(path);
    const runtime = new WasmtimeRuntime(configOf(values));
    try {
      const prepared = prepare(runtime, readBytes(values.file), hook, request);
      await measured(prepared, where, WARM_UP_SECONDS);
      print(await measured(prepared, where, seconds), { hook, where }, values, io);
      return OK;
    } finally {
      runtime.close();
    }
  },
};

/** Microseconds of each call, in the order of size. */
async function measured(request: PreparedRequest, where: 'inline' | 'thread', seconds: number): Promise<Float64Array> {
  const times: number[] = [];
  const end = performance.now() + seconds * 1_000;
  do {
    const begun = performance.now();
    if (where === 'inline') request.inline();
    else await request.anywhere({ where });
    const now = performance.now();
    times.push((now - begun) * 1_000);
    if (now >= end) break;
  } while (times.length < MOST_CALLS);
  return Float64Array.from(times).sort();
}

function print(times: Float64Array, named: { hook: string; where: string }, values: Values, io: Io): void {
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))]!;
  const mean = times.reduce((sum, time) => sum + time, 0) / times.length;
  const config = textOf(values, 'config') ?? 'default';
  const result = {
    ...named,
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
        ...[named.hook, config, named.where, String(times.length)],
        ...[micros(at(0.5)), micros(at(0.99)), micros(at(1)), (1e6 / mean).toFixed(0)],
      ],
    ]),
  );
}
