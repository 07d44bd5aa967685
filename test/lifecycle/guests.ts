/** What the children call: a guest that does as it is told. */
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

/** A guest that does what a call orders. */
export class Misbehave {
  readonly runtime: WasmtimeRuntime;
  readonly #adapter: WasmtimeFilterPlugin;

  constructor(config?: HotEngineConfigInput) {
    this.runtime = new WasmtimeRuntime(config);
    const bytes = readFileSync('test/plugins/wasm/misbehave.wasm');
    const slot = this.runtime.registerFilter(SlotKey.global('misbehave'), 'misbehave', bytes);
    this.#adapter = new WasmtimeFilterPlugin(this.runtime, slot);
  }

  /** Calls inline; throws what the adapter throws. */
  call(deed = '', deadlineMs?: number): void {
    this.#adapter.filter(request(), caller({ do: deed }), candidates(1), { deadlineMs });
  }

  /** Calls off the thread. */
  async callElsewhere(deed = '', deadlineMs?: number): Promise<void> {
    const options = { deadlineMs, where: 'thread' } as const;
    await this.#adapter.filterAsync(request(), caller({ do: deed }), candidates(1), options);
  }

  /** Makes a call that ends in `trap`. Throws if it does not. */
  trap(deed = 'read-outside', trap = 'memory-out-of-bounds', deadlineMs?: number): void {
    try {
      this.call(deed, deadlineMs);
    } catch (error) {
      const cause = error instanceof FilterError ? error.cause : error;
      if (cause instanceof GuestTrapError && cause.trap === trap) return;
      throw error;
    }
    throw new Error(`${deed} did not trap`);
  }
}
