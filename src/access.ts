/** What adapters may ask of a runtime beyond its public face. */
import type { Dispatcher } from './dispatch/call.ts';
import type { HotEngine } from './engine.ts';
import { InvalidArgumentError } from './errors.ts';
import type { SlotKey } from './slot-key.ts';
import type { Slot } from './slots.ts';

/** The inside of a runtime. */
export interface RuntimeAccess {
  readonly engine: HotEngine;
  readonly dispatcher: Dispatcher;
  /** The registered slot of this key. */
  slot(key: SlotKey): Slot | undefined;
}

const inside = new WeakMap<object, RuntimeAccess>();

/** Lets the rooms of this package into `runtime`. */
export function grantAccess(runtime: object, access: RuntimeAccess): void {
  inside.set(runtime, access);
}

/** The inside of `runtime`. Throws an InvalidArgumentError for anything but a runtime of this copy of the package. */
export function accessOf(runtime: unknown): RuntimeAccess {
  const access = typeof runtime === 'object' && runtime !== null ? inside.get(runtime) : undefined;
  if (access === undefined) throw new InvalidArgumentError('runtime', 'expected a WasmtimeRuntime of this package');
  return access;
}
