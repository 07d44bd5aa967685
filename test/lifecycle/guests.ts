/** The guest that the children call. */
import { readFileSync } from 'node:fs';
import {
  FilterError,
  GuestTrapError,
  type HotEngineConfigInput,
  SlotKey,
  WasmtimeFilterPlugin,
  WasmtimeRuntime,
} from '../../src/index.ts';
import { caller, candidates, request } from '../support/samples.ts';

/** A runtime with the plugin `misbehave`, whose behavior each call selects. */
export class Misbehave {
  readonly runtime: WasmtimeRuntime;
  readonly #adapter: WasmtimeFilterPlugin;

  constructor(config?: HotEngineConfigInput) {
    this.runtime = new WasmtimeRuntime(config);
    const bytes = readFileSync('test/plugins/wasm/misbehave.wasm');
    const slot = this.runtime.registerFilter(SlotKey.global('misbehave'), 'misbehave', bytes);
    this.#adapter = new WasmtimeFilterPlugin(this.runtime, slot);
  }

  /** Calls inline. Throws the errors of the adapter. */
  call(behavior = '', deadlineMs?: number): void {
    this.#adapter.filter(request(), caller({ do: behavior }), candidates(1), { deadlineMs });
  }

  /** Calls off-thread. Rejects with the errors of the adapter. */
  async callOffThread(behavior = '', deadlineMs?: number): Promise<void> {
    const options = { deadlineMs, where: 'thread' } as const;
    await this.#adapter.filterAsync(request(), caller({ do: behavior }), candidates(1), options);
  }

  /** Makes a call that must end in `trap`. Throws if it does not. */
  trap(behavior = 'read-outside', trap = 'memory-out-of-bounds', deadlineMs?: number): void {
    try {
      this.call(behavior, deadlineMs);
    } catch (error) {
      const cause = error instanceof FilterError ? error.cause : error;
      if (cause instanceof GuestTrapError && cause.trap === trap) return;
      throw error;
    }
    throw new Error(`${behavior} did not trap`);
  }
}
