/** The guests that the scenarios call, and their requests. */
import { readFileSync } from 'node:fs';
import { guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../support/guest.ts';
import { caller, candidates, request } from '../support/samples.ts';

export { guest } from '../support/guest.ts';
export { caller, candidates, request } from '../support/samples.ts';

/** The bytes of a built guest. The suite runs in the root of the repository. */
export const plugin = (name: string): Uint8Array => readFileSync(`test/plugins/wasm/${name}.wasm`);

/** A request body that no probe has the length of. */
export const body = Buffer.alloc(LONGER_THAN_PROBES, 'x');

/** The arguments of a call that makes the guest `misbehave` do `behavior`. */
export const misbehaving = (behavior: string) => [request({ body }), caller({ do: behavior }), candidates(1)] as const;

/** Behaviors of the guest `misbehave`, each with the trap that it ends in. */
export const BEHAVIORS: readonly (readonly [behavior: string, trap: string])[] = [
  ['unreachable', 'unreachable-code-reached'],
  ['divide-by-zero', 'integer-division-by-zero'],
  ['integer-overflow', 'integer-overflow'],
  ['read-outside', 'memory-out-of-bounds'],
  ['write-outside', 'memory-out-of-bounds'],
  ['call-null', 'indirect-call-to-null'],
  ['call-outside-table', 'table-out-of-bounds'],
  ['call-wrong-type', 'bad-signature'],
  ['overflow-stack', 'stack-overflow'],
  ['overflow-shadow-stack', 'memory-out-of-bounds'],
];

const DROPPED = '(i64.const 0)';
const trapping = (behavior: string, fields = '') =>
  guest({ hook: misbehavesAfterProbe(`${behavior} ${DROPPED}`), fields });
const allocating = (result: string) =>
  guest({
    alloc: `(if (result i32) (i32.lt_u (local.get 0) (i32.const ${LONGER_THAN_PROBES}))
      (then (i32.const 32768)) (else ${result}))`,
  });

/** Guests with traps that Rust cannot produce: their bytes, the trap's name and its phase. */
export function textGuests(): { bytes: Uint8Array; trap: string; phase: string }[] {
  const inHook = (trap: string, behavior: string, fields?: string) => ({
    ...{ bytes: trapping(behavior, fields), trap, phase: 'cc_lb_filter' },
  });
  return [
    inHook('bad-conversion-to-integer', '(drop (i32.trunc_f64_s (f64.const nan)))'),
    inHook('integer-overflow', '(drop (i64.trunc_f32_u (f32.const inf)))'),
    inHook('memory-out-of-bounds', '(memory.fill (i32.const 0x1fff0) (i32.const 1) (i32.const 0x1000))'),
    inHook('memory-out-of-bounds', '(memory.copy (i32.const 0) (i32.const 0x1fff0) (i32.const 0x1000))'),
    inHook('table-out-of-bounds', '(drop (table.get 0 (i32.const 7)))', '(table 1 funcref)'),
    inHook('table-out-of-bounds', '(table.set 0 (i32.const -1) (ref.null func))', '(table 1 funcref)'),
    { bytes: allocating('(unreachable)'), trap: 'unreachable-code-reached', phase: 'cc_lb_alloc' },
    { bytes: allocating('(i32.const 0)'), trap: 'unknown', phase: 'cc_lb_alloc' },
    { bytes: allocating('(i32.const 0x1ffff)'), trap: 'unknown', phase: 'memory.write' },
  ];
}

/** A guest that never returns, except from its probe. */
export const endlessGuest = (): Uint8Array => guest({ hook: misbehavesAfterProbe('(loop $l (br $l)) (i64.const 0)') });
