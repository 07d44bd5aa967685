/**
 * Runs under an address-space limit: creating a pool fails with the setting to lower, on-demand calls succeed, and streams
 * are rejected as saturated when their instances have used it up.
 */
import { readFileSync } from 'node:fs';
import {
  EngineInitError,
  PoolSaturatedError,
  ResponseTransformError,
  SlotKey,
  WasmtimeRuntime,
  WasmtimeUpstreamDialect,
} from '../../../src/index.ts';
import { exchange } from '../../support/samples.ts';
import { Misbehave } from '../guests.ts';

try {
  new WasmtimeRuntime({ allocationStrategy: 'pooling' });
  console.log('the pool fits');
} catch (error) {
  const isExpected = error instanceof EngineInitError && /poolTotalMemories/.test(error.message);
  console.log(isExpected ? 'the pool names the setting to lower' : String(error));
}

const guest = new Misbehave();
for (let index = 0; index < 5_000; index++) guest.call();
console.log('on-demand calls answer');

const key = SlotKey.global('masker');
const masker = readFileSync('test/plugins/wasm/masker.wasm');
guest.runtime.registerShape(key, 'masker', masker, { instance: 'stream' });
const dialect = WasmtimeUpstreamDialect.follow(guest.runtime, key);
const streams: ReturnType<WasmtimeUpstreamDialect['openSseStream']>[] = [];
let failure: unknown;
while (failure === undefined) {
  const stream = dialect.openSseStream(exchange());
  streams.push(stream);
  await stream.transform({ event: 'message', data: Buffer.from('text') }).catch((error) => {
    failure = error instanceof ResponseTransformError ? error.cause : error;
  });
}
console.log(failure instanceof PoolSaturatedError ? `streams are rejected: ${failure.resource}` : String(failure));
for (const stream of streams) stream.close();
guest.call();
console.log('closed streams free it');
