/** Buffers that are changed, resized, detached or shared during a call, and arguments that run code. */
import { constants } from 'node:buffer';
import {
  InvalidArgumentError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeRuntimeError,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { upstream } from '../support/samples.ts';
import { detach, resizable } from '../support/views.ts';
import { caller, candidates, plugin, request } from './guests.ts';
import { ensure, grouped, type Scenario } from './scenario.ts';
import { v8Wasm } from './v8.ts';

export const buffers: Scenario = {
  unit: 'calls',
  target: 200_000,
  async run(run) {
    const { random } = run;
    const runtime = new WasmtimeRuntime({ maxStagingBytes: 8 * 1024 * 1024 });
    const echo = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global('e'), 'e', plugin('echo')));
    const slot = runtime.registerFilter(SlotKey.global('f'), 'f', plugin('cache-aware'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    const key = SlotKey.global('vanishing');
    let refused = 0;

    /** Headers whose iteration runs `action` after the body was checked and before it is read. */
    const headersThat = (action: () => void) => ({
      *[Symbol.iterator](): Generator<readonly [string, string]> {
        yield ['x-one', '1'];
        action();
        yield ['x-two', '2'];
      },
    });
    const filled = (length: number) => new Uint8Array(length).fill(1 + random.below(255));
    const mayRefuse = async (make: () => unknown) => {
      try {
        return await make();
      } catch (error) {
        const typed = error instanceof WasmtimeRuntimeError || (error as Error).message === 'deliberate';
        ensure(typed, () => `not a typed error: ${error}`);
        refused++;
        return undefined;
      }
    };
    const shape = (body: Uint8Array, headers: Iterable<readonly [string, string]> = []) =>
      echo.shape(request({ body, headers }), upstream, caller()).body;
    const whole = (body: Uint8Array, first: number | undefined, length: number) => {
      const same = body.length === length && body.every((byte) => byte === first);
      ensure(same, () => `a body of ${length} bytes changed and has ${body.length} bytes now`);
    };

    const cases: (() => Promise<unknown>)[] = [
      // Changed, detached or resized after an asynchronous call began: the call uses the old bytes.
      async () => {
        const body = filled(random.below(100_000));
        const [first, length] = [body[0], body.length];
        const call = echo.shapeAsync(request({ body }), upstream, caller(), { where: 'thread' });
        if (random.below(2) === 0) body.fill(0);
        else detach(body);
        whole((await call).body, first, length);
      },
      async () => {
        const buffer = resizable(50_000, 100_000);
        const body = new Uint8Array(buffer).fill(7);
        const call = echo.shapeAsync(request({ body }), upstream, caller(), { where: 'thread' });
        buffer.resize(random.below(100_001));
        whole((await call).body, 7, 50_000);
      },
      // Detached or resized while the arguments are read.
      () => {
        const body = filled(1 + random.below(10_000));
        return mayRefuse(() =>
          shape(
            body,
            headersThat(() => detach(body)),
          ),
        );
      },
      () => {
        const buffer = resizable(10_000, 20_000);
        const body = new Uint8Array(buffer, random.below(2) === 0 ? 0 : 5_000);
        return mayRefuse(() =>
          shape(
            body,
            headersThat(() => buffer.resize(random.below(20_001))),
          ),
        );
      },
      () => {
        const memory = new v8Wasm.Memory({ initial: 1, maximum: 3 });
        return mayRefuse(() =>
          shape(
            new Uint8Array(memory.buffer),
            headersThat(() => void memory.grow(1)),
          ),
        );
      },
      // A call inside a call.
      async () => {
        const body = filled(random.below(10_000));
        const inner = filled(random.below(10_000));
        const answer = shape(
          body,
          headersThat(() => whole(shape(inner), inner[0], inner.length)),
        );
        whole(answer, body[0], body.length);
      },
      () =>
        mayRefuse(() =>
          shape(
            filled(10),
            headersThat(() => {
              throw new Error('deliberate');
            }),
          ),
        ),
      // Values that are never accepted.
      () => refusedAt('body', () => shape(new Uint8Array(new SharedArrayBuffer(64)))),
      () =>
        refusedAt('body', () =>
          shape(random.pick<unknown>([null, 'text', [], new DataView(new ArrayBuffer(8)), 1, {}]) as Uint8Array),
        ),
      () =>
        refusedAt('bytes', () => runtime.callFilter(SlotKey.global('f'), new Uint8Array(new SharedArrayBuffer(64)))),
      // Views of a larger buffer at odd offsets, and empty bodies.
      async () => {
        const backing = filled(20_000);
        const at = random.below(10_000);
        const body = backing.subarray(at, at + random.below(10_000));
        whole(shape(body), backing[0], body.length);
      },
      async () => {
        const text = 'y'.repeat(random.below(64));
        whole(shape(Buffer.from(text)), 121, text.length);
      },
      // Raw calls with bytes that are not a valid message.
      () => mayRefuse(() => runtime.callFilter(SlotKey.global('f'), filled(random.below(4_096)))),
      // Bytes of a module that are changed or detached during its registration.
      async () => {
        const bytes = Uint8Array.from(plugin('cache-aware'));
        const registered = runtime.registerFilterAsync(key, 'v', bytes);
        if (random.below(2) === 0) bytes.fill(0);
        else detach(bytes);
        await registered;
      },
      // Together the calls exceed maxStagingBytes: some are rejected, and no call receives the answer of another.
      async () => {
        const bodies = Array.from({ length: 6 }, () => filled(2_000_000));
        const calls = bodies.map((body) => mayRefuse(() => echo.shapeAsync(request({ body }), upstream, caller())));
        const answers = (await Promise.all(calls)) as ({ body: Uint8Array } | undefined)[];
        for (const [index, answer] of answers.entries()) {
          if (answer !== undefined) whole(answer.body, bodies[index]![0], 2_000_000);
        }
      },
      async () =>
        void filter.filter(request({ body: filled(random.below(100)) }), caller(), candidates(random.below(40))),
    ];
    const rare = new Set([cases[13]!, cases[14]!]);
    while (run.hasMore) {
      const test = random.pick(cases);
      if (rare.has(test) && random.below(50) > 0) continue;
      await test();
      run.count(1);
    }
    const huge = await hugeBodies(echo);
    runtime.close();
    return [
      { name: 'calls', value: `${grouped(run.done)}, ${grouped(refused)} refused with a typed error`, ok: null },
      { name: 'bodies larger than any guest memory', value: huge, ok: true },
    ];
  },
};

async function refusedAt(path: string, make: () => unknown): Promise<void> {
  try {
    make();
  } catch (error) {
    const named = error instanceof InvalidArgumentError && error.path.startsWith(path);
    ensure(named, () => `${error} instead of a refusal of ${path}`);
    return;
  }
  ensure(false, () => `nothing refused ${path}`);
}

/**
 * Bodies larger than the guest's memory limit, and larger than the address space of wasm. Their pages stay untouched.
 */
async function hugeBodies(echo: WasmtimeUpstreamDialect): Promise<string> {
  const codes: string[] = [];
  for (const bytes of [200 * 1024 * 1024, 2 ** 32 - 8, 2 ** 32]) {
    if (bytes > constants.MAX_LENGTH) continue;
    const body = new Uint8Array(bytes);
    for (const call of [
      async () => echo.shape(request({ body }), upstream, caller()),
      () => echo.shapeAsync(request({ body }), upstream, caller(), { where: 'thread' }),
    ]) {
      try {
        await call();
        ensure(false, () => `a body of ${bytes} bytes was accepted`);
      } catch (error) {
        if (!(error instanceof WasmtimeRuntimeError)) throw error;
        const cause = error.cause instanceof WasmtimeRuntimeError ? error.cause : error;
        codes.push(cause.code);
      }
    }
  }
  return codes.join(', ');
}
