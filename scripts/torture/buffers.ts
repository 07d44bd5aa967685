/** Buffers that change, shrink, vanish or are shared while a call is on its way, and arguments that run code. */
import { constants } from 'node:buffer';
import {
  InvalidArgumentError,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
  WasmtimeRuntimeError,
  WasmtimeUpstreamDialect,
} from '../../src/index.ts';
import { upstream } from '../../test/support/samples.ts';
import { detach, resizable } from '../../test/support/views.ts';
import { caller, candidates, plugin, request } from './guests.ts';
import { grouped, promised, type Scenario } from './scenario.ts';
import { v8Wasm } from './v8.ts';

export const buffers: Scenario = {
  unit: 'calls',
  target: 200_000,
  async run(torment) {
    const { random } = torment;
    const runtime = new WasmtimeRuntime({ maxStagingBytes: 8 * 1024 * 1024 });
    const echo = new WasmtimeUpstreamDialect(runtime, runtime.registerShape(SlotKey.global('e'), 'e', plugin('echo')));
    const slot = runtime.registerFilter(SlotKey.global('f'), 'f', plugin('cache-aware'));
    const filter = new WasmtimeFilterPlugin(runtime, slot);
    const key = SlotKey.global('vanishing');
    let refused = 0;

    /** Headers whose iteration runs `deed` when the body has been looked at and not yet read, or just before. */
    const headersThat = (deed: () => void) => ({
      *[Symbol.iterator](): Generator<readonly [string, string]> {
        yield ['x-one', '1'];
        deed();
        yield ['x-two', '2'];
      },
    });
    const filled = (length: number) => new Uint8Array(length).fill(1 + random.below(255));
    const mayRefuse = async (make: () => unknown) => {
      try {
        return await make();
      } catch (error) {
        const kept = error instanceof WasmtimeRuntimeError || (error as Error).message === 'deliberate';
        promised(kept, () => `not a typed error: ${error}`);
        refused++;
        return undefined;
      }
    };
    const shape = (body: Uint8Array, headers: Iterable<readonly [string, string]> = []) =>
      echo.shape(request({ body, headers }), upstream, caller()).body;
    const whole = (body: Uint8Array, first: number | undefined, length: number) => {
      const same = body.length === length && body.every((byte) => byte === first);
      promised(same, () => `a body of ${length} came back otherwise, with ${body.length} bytes`);
    };

    const deeds: (() => Promise<unknown>)[] = [
      // Changed, detached or resized after an asynchronous call has begun: the call must not notice.
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
      // While the arguments are read.
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
      // What may not cross at all.
      () => refusedAt('body', () => shape(new Uint8Array(new SharedArrayBuffer(64)))),
      () =>
        refusedAt('body', () =>
          shape(random.pick<unknown>([null, 'text', [], new DataView(new ArrayBuffer(8)), 1, {}]) as Uint8Array),
        ),
      () =>
        refusedAt('bytes', () => runtime.callFilter(SlotKey.global('f'), new Uint8Array(new SharedArrayBuffer(64)))),
      // Views into something larger, at odd places, and nothing at all.
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
      // Raw calls with bytes that are no message.
      () => mayRefuse(() => runtime.callFilter(SlotKey.global('f'), filled(random.below(4_096)))),
      // A module's bytes that go away while it is being registered.
      async () => {
        const bytes = Uint8Array.from(plugin('cache-aware'));
        const registered = runtime.registerFilterAsync(key, 'v', bytes);
        if (random.below(2) === 0) bytes.fill(0);
        else detach(bytes);
        await registered;
      },
      // More than may be staged at once: some are refused, nothing is mixed up.
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
    const rare = new Set([deeds[13]!, deeds[14]!]);
    while (torment.goesOn) {
      const deed = random.pick(deeds);
      if (rare.has(deed) && random.below(50) > 0) continue;
      await deed();
      torment.count(1);
    }
    const huge = await hugeBodies(echo);
    runtime.close();
    return [
      { name: 'calls', value: `${grouped(torment.done)}, ${grouped(refused)} refused with a typed error`, ok: null },
      { name: 'bodies that no guest can take', value: huge, ok: true },
    ];
  },
};

async function refusedAt(path: string, make: () => unknown): Promise<void> {
  try {
    make();
  } catch (error) {
    const kept = error instanceof InvalidArgumentError && error.path.startsWith(path);
    promised(kept, () => `${error} instead of a refusal of ${path}`);
    return;
  }
  promised(false, () => `nothing refused ${path}`);
}

/** Bodies over the guest's memory cap, and over what a wasm address can say. Their pages are never touched. */
async function hugeBodies(echo: WasmtimeUpstreamDialect): Promise<string> {
  const told: string[] = [];
  for (const bytes of [200 * 1024 * 1024, 2 ** 32 - 8, 2 ** 32]) {
    if (bytes > constants.MAX_LENGTH) continue;
    const body = new Uint8Array(bytes);
    for (const call of [
      async () => echo.shape(request({ body }), upstream, caller()),
      () => echo.shapeAsync(request({ body }), upstream, caller(), { where: 'thread' }),
    ]) {
      try {
        await call();
        promised(false, () => `a body of ${bytes} bytes was taken`);
      } catch (error) {
        if (!(error instanceof WasmtimeRuntimeError)) throw error;
        const cause = error.cause instanceof WasmtimeRuntimeError ? error.cause : error;
        told.push(cause.code);
      }
    }
  }
  return told.join(', ');
}
