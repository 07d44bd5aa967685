/** A Worker that uses the addon and then ends in the way that its data names. */
import { parentPort, workerData } from 'node:worker_threads';
import { SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime } from '../../src/index.ts';
import type { Ending } from './endings.ts';
import { body, caller, candidates, endlessGuest, misbehaving, plugin, request } from './guests.ts';
import { trapInV8 } from './v8-traps.ts';

const { ending, pooling } = workerData as { ending: Ending; pooling: boolean };
const runtime = new WasmtimeRuntime({
  ...{ allocationStrategy: pooling ? 'pooling' : 'on-demand', poolTotalMemories: 16, poolTotalCoreInstances: 16 },
});
const register = (name: string, bytes: Uint8Array) =>
  new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, bytes));
const misbehave = register('misbehave', plugin('misbehave'));
const endless = register('endless', endlessGuest());
const call = [request({ body }), caller(), candidates(1)] as const;

for (let turn = 0; turn < 5; turn++) {
  trapInV8();
  misbehave.filter(...misbehaving(''));
  try {
    misbehave.filter(...misbehaving('read-outside'));
  } catch {
    // The expected trap.
  }
}

/** `exit` and `throw` interrupt the guests; `terminate` waits for their deadlines. */
const FLIGHT_MS = ending.startsWith('exit') || ending.startsWith('throw') ? 60_000 : 300;

/** Starts more calls than can run at the same time, none of which ends by itself. */
function startCalls(): void {
  for (let count = 0; count < 4; count++) {
    endless.filterAsync(...call, { where: 'thread', deadlineMs: FLIGHT_MS }).catch(() => {});
    misbehave.filterAsync(...misbehaving(''), { where: 'thread' }).catch(() => {});
  }
}

if (ending.endsWith('in flight')) startCalls();
parentPort!.postMessage('ready');
if (ending === 'exit with calls in flight') process.exit(7);
if (ending === 'throw with calls in flight') throw new Error('deliberate');
if (ending === 'terminated in a guest')
  for (;;) endless.filterAsync(...call, { where: 'inline', deadlineMs: 50 }).catch(() => {});
if (ending === 'terminated while compiling') {
  for (let version = 0; ; version++) {
    const changed = Buffer.concat([
      plugin('report-0-2-0'),
      Buffer.from([0, 6, 1, 97, version & 255, version >> 8, 0, Math.random() * 256]),
    ]);
    await runtime.registerFilterAsync(SlotKey.global('compiled'), 'compiled', changed);
  }
}
if (ending === 'terminated while idle') setInterval(() => {}, 1_000);
