// A minimal program: admits a plugin, calls it and closes the runtime.
const { readFileSync } = require('node:fs');
const { join } = require('node:path');

const plugin = readFileSync(join(process.env.CC_LB_PACK_TEST_PLUGINS ?? __dirname, 'cache-aware.wasm'));
const candidates = [1, 2, 3].map((n) => ({
  upstreamId: `00000000-0000-4000-8000-00000000000${n}`,
  name: `upstream-${n}`,
  kind: 'anthropic_api_key',
  observedAtUnixSecs: 1_700_000_000,
  predictedCacheReadTokens: n * 100,
}));

/** Settings that a scenario needs, such as `compileExecutable`. */
const settings = JSON.parse(process.env.CC_LB_PACK_TEST_CONFIG ?? '{}');

/** Makes a call. Throws unless it returns the choice of the plugin. */
exports.use = ({ SlotKey, WasmtimeFilterPlugin, WasmtimeRuntime }, config) => {
  const runtime = new WasmtimeRuntime({ ...settings, ...config });
  const slot = runtime.registerFilter(SlotKey.global('cache-aware'), 'cache-aware', plugin);
  const filter = new WasmtimeFilterPlugin(runtime, slot);
  const context = { requestId: 'r', method: 'POST', path: '/v1/messages', headers: [], body: new Uint8Array() };
  const { keptUpstreamIds } = filter.filter(context, { id: 'p', kind: 'api_key', claims: {} }, candidates);
  if (keptUpstreamIds.join() !== candidates[2].upstreamId) throw new Error(`kept ${keptUpstreamIds.join()}`);
  runtime.close();
};
