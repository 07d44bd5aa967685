// Loads the built package and uses what differs between platforms: admission, calls inline, off-thread
// and in a Worker, traps of every kind of signal, deadlines, isolation between calls, and both allocation
// strategies. Runs in any Node without a test runner, and prints one line.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';
import { isMainThread, parentPort, Worker } from 'node:worker_threads';

const {
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeObservabilityHook,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
  native: _private,
} = await import(new URL('../dist/index.js', import.meta.url));
assert.equal(_private, undefined, 'the raw binding is private');

const DEADLINE_MS = 2_000;
const context = {
  requestId: 'r-1',
  method: 'POST',
  path: '/v1/messages',
  headers: [['content-type', 'application/json']],
  body: Buffer.from('{"model":"m","messages":[]}'),
};
const caller = (claims = {}) => ({ id: 'p-1', kind: 'api_key', claims });
const candidates = [1, 2, 3].map((n) => ({
  upstreamId: `00000000-0000-4000-8000-00000000000${n}`,
  name: `upstream-${n}`,
  kind: 'anthropic_api_key',
  observedAtUnixSecs: 1_700_000_000,
  predictedCacheReadTokens: n * 100,
}));
const upstream = { kind: 'anthropic_direct', baseUrl: 'https://upstream.test' };
const plugin = (name) => readFileSync(new URL(`../test/plugins/wasm/${name}.wasm`, import.meta.url));

/** Settings that a platform needs, such as `compileExecutable`. */
const settings = JSON.parse(process.env.CC_LB_PACK_TEST_CONFIG ?? '{}');

async function exercise(config) {
  const runtime = new WasmtimeRuntime({ ...settings, ...config, deadlineMs: DEADLINE_MS });
  const key = (name) => SlotKey.global(name);
  const filter = new WasmtimeFilterPlugin(
    runtime,
    runtime.registerFilter(key('filter'), 'cache-aware', plugin('cache-aware')),
  );
  const best = [candidates[2].upstreamId];
  assert.deepEqual(filter.filter(context, caller(), candidates).keptUpstreamIds, best);
  const offThread = await filter.filterAsync(context, caller(), candidates, { where: 'thread' });
  assert.deepEqual(offThread.keptUpstreamIds, best);

  const rewrite = await runtime.registerShapeAsync(key('shape'), 'rewrite', plugin('rewrite'));
  const shaped = new WasmtimeUpstreamDialect(runtime, rewrite).shape(context, upstream, caller());
  assert.equal(shaped.url.href, 'https://upstream.test/v1/messages');
  assert.deepEqual(Buffer.from(shaped.body), context.body);

  const lifecycle = runtime.registerObserve(key('observe'), 'lifecycle', plugin('lifecycle'));
  const event = { type: 'request_started', requestId: 'r-1', downstreamUserAgent: null };
  assert.equal(new WasmtimeObservabilityHook(runtime, lifecycle).observe(event), undefined);

  const misbehave = new WasmtimeFilterPlugin(
    runtime,
    runtime.registerFilter(key('bad'), 'misbehave', plugin('misbehave')),
  );
  const traps = {
    unreachable: 'unreachable-code-reached',
    'read-outside': 'memory-out-of-bounds',
    'divide-by-zero': 'integer-division-by-zero',
    'call-null': 'indirect-call-to-null',
    'overflow-stack': 'stack-overflow',
    loop: 'interrupt',
  };
  for (const [behavior, trap] of Object.entries(traps)) {
    const thrown = catching(() => misbehave.filter(context, caller({ do: behavior }), candidates));
    assert.equal(thrown.cause?.trap, trap, `${behavior}: ${thrown.cause ?? thrown}`);
    trapInV8();
  }
  const canary = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(key('canary'), 'canary', plugin('canary')));
  for (let call = 0; call < 40; call++) {
    const { perCandidateReasons } = canary.filter(context, caller(), []);
    const reports = perCandidateReasons.map(({ text }) => text);
    assert.deepEqual(reports, ['calls=1 canaries=0']);
    // The pause lets the preparation thread run.
    if (call % 10 === 9) await setTimeout(20);
  }
  assert.deepEqual(runtime.health().problems, []);
  await runtime[Symbol.asyncDispose]?.();
  runtime.close();
}

/** Traps in the JavaScript engine's own wasm, which may use the same signals. */
function trapInV8() {
  // (module (memory 1) (func (export "f") (drop (i32.load (i32.const -1)))))
  const module = new WebAssembly.Module(
    Buffer.from('0061736d01000000010401600000030201000503010001070501016600000a0a010800417f2802001a0b', 'hex'),
  );
  const { f } = new WebAssembly.Instance(module).exports;
  assert.throws(f, WebAssembly.RuntimeError);
}

function catching(action) {
  try {
    action();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

await exercise({ allocationStrategy: 'on-demand' });
await exercise({ allocationStrategy: 'pooling', poolTotalMemories: 8, poolTotalCoreInstances: 8 });

if (isMainThread) {
  await new Promise((resolve, reject) => {
    const worker = new Worker(new URL(import.meta.url));
    worker.once('message', resolve);
    worker.once('error', reject);
  });
  // Traps after the Worker has ended: the code of the addon must still be mapped.
  await exercise({ allocationStrategy: 'on-demand' });
  const libc = process.report?.getReport().header.glibcVersionRuntime;
  console.log(`ok: Node ${process.versions.node} ${process.platform}-${process.arch}${libc ? ` glibc ${libc}` : ''}`);
} else {
  parentPort.postMessage('done');
}
