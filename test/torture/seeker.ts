/** A guest that searches its instance for data of earlier calls, and then writes marks everywhere. */
import {
  FilterError,
  GuestTrapError,
  ModuleRejectedError,
  SlotKey,
  WasmtimeFilterPlugin,
  type WasmtimeRuntime,
} from '../../src/index.ts';
import { LONGER_THAN_PROBES } from '../support/guest.ts';
import { append, customSection } from '../support/wat.ts';
import type { Random } from '../wire/fuzz/random.ts';
import { caller, candidates, guest, request } from './guests.ts';
import { ensure } from './scenario.ts';

const MARK = 0x5ca1ab1e_0ddba115n;
/** A body full of marks, for guests that copy it into their memory. */
export const marks = Buffer.from(new BigUint64Array(4_096).fill(MARK).buffer);
const harmless = Buffer.alloc(8_192);

/** The same module under another hash. */
export const distinct = (bytes: Uint8Array, name: string): Uint8Array =>
  append(bytes, customSection(name, new Uint8Array(0)));

/**
 * A filter with `pages` pages that traps with `unreachable` when it finds data of an earlier call in its memory, a
 * global or its table. Then it writes marks everywhere and ends as the length of its request selects: an answer, a
 * trap, an answer that is rejected, or an endless loop.
 */
function seeker(pages: number): Uint8Array {
  const fields = `
    (type $nothing (func))
    (table $table 1 4 funcref)
    (func $mark)
    (elem declare func $mark)
    (global $used (mut i64) (i64.const 0))
    (func $seek (local $at i32)
      (loop $next
        (if (i64.eq (i64.load (local.get $at)) (i64.const ${MARK})) (then unreachable))
        (br_if $next (i32.lt_u
          (local.tee $at (i32.add (local.get $at) (i32.const 8)))
          (i32.mul (memory.size) (i32.const 65536)))))
      (if (i64.ne (global.get $used) (i64.const 0)) (then unreachable))
      (if (i32.eqz (ref.is_null (table.get $table (i32.const 0)))) (then unreachable))
      (if (i32.ne (table.size $table) (i32.const 1)) (then unreachable)))
    (func $leave (local $at i32)
      (global.set $used (i64.const 1))
      (table.set $table (i32.const 0) (ref.func $mark))
      (drop (table.grow $table (ref.func $mark) (i32.const 1)))
      (local.set $at (i32.mul (i32.const 65536) (memory.grow (i32.const 1))))
      (if (i32.ge_s (local.get $at) (i32.const 0)) (then (i64.store (local.get $at) (i64.const ${MARK}))))
      (local.set $at (i32.const 65536))
      (loop $next
        (i64.store (local.tee $at (i32.sub (local.get $at) (i32.const 8))) (i64.const ${MARK}))
        (br_if $next (i32.gt_u (local.get $at) (i32.const 2048)))))`;
  const length = '(i32.and (i32.shr_u (local.get 1) (i32.const 2))';
  const hook = `(call $seek) (call $leave)
    (if (i32.lt_u (local.get 1) (i32.const ${LONGER_THAN_PROBES})) (then (return ($answer))))
    (if (i32.eq ${length} (i32.const 3)) (i32.const 1)) (then (drop (i32.div_u (i32.const 1) (i32.const 0)))))
    (if (i32.eq ${length} (i32.const 3)) (i32.const 2)) (then (return (i64.const 1))))
    (if (i32.eq ${length} (i32.const 255)) (i32.const 255)) (then (loop $ever (br $ever))))
    $answer`;
  // The request is after the marked memory, so that it can be read until the end.
  return guest({ fields, hook, memory: String(pages), alloc: 'i32.const 65536' });
}

/** Registers a seeker with `pages` pages under `name`. Returns a function that calls it with a request of any size. */
export function seekerOf(runtime: WasmtimeRuntime, name: string, pages: number): (random: Random) => Promise<void> {
  const bytes = distinct(seeker(pages), name);
  const adapter = new WasmtimeFilterPlugin(runtime, runtime.registerFilter(SlotKey.global(name), name, bytes));
  return async (random) => {
    const body = harmless.subarray(0, LONGER_THAN_PROBES + random.below(harmless.length - LONGER_THAN_PROBES));
    const call = [request({ body }), caller(), candidates(1)] as const;
    try {
      if (random.below(16) > 0) adapter.filter(...call, { deadlineMs: 2 });
      else await adapter.filterAsync(...call, { deadlineMs: 2, where: 'thread' });
    } catch (error) {
      checkOutcome(error);
    }
  };
}

/** Throws unless a call of a seeker ended as expected; `unreachable` means that it found a mark. */
function checkOutcome(error: unknown): void {
  const cause = error instanceof FilterError ? error.cause : error;
  if (cause instanceof ModuleRejectedError) return;
  const trap = cause instanceof GuestTrapError ? cause.trap : undefined;
  if (trap === 'integer-division-by-zero' || trap === 'interrupt') return;
  ensure(trap !== 'unreachable-code-reached', () => 'a guest found data of an earlier call');
  throw error;
}
