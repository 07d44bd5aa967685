/** The guests that the scenarios run, and what they are sent. */
import { readFileSync } from 'node:fs';
import { guest, LONGER_THAN_PROBES, misbehavesAfterProbe } from '../../test/support/guest.ts';
import { caller, candidates, request } from '../../test/support/samples.ts';

export { guest } from '../../test/support/guest.ts';
export { caller, candidates, request } from '../../test/support/samples.ts';

/** The bytes of a built guest. The suite runs in the root of the repository. */
export const plugin = (name: string): Uint8Array => readFileSync(`test/plugins/wasm/${name}.wasm`);

/** A request body that no probe has the length of. */
export const body = Buffer.alloc(LONGER_THAN_PROBES, 'x');

/** What a filter is sent that behaves by its claims. */
export const order = (deed: string) => [request({ body }), caller({ do: deed }), candidates(1)] as const;

/** Deeds of the guest `misbehave` and the trap that each ends in. */
export const DEEDS: readonly (readonly [deed: string, trap: string])[] = [
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
const trapping = (deed: string, fields = '') => guest({ hook: misbehavesAfterProbe(`${deed} ${DROPPED}`), fields });
const allocating = (result: string) =>
  guest({
    alloc: `(if (result i32) (i32.lt_u (local.get 0) (i32.const ${LONGER_THAN_PROBES}))
      (then (i32.const 32768)) (else ${result}))`,
  });

/** Guests that trap as Rust cannot: their bytes, the trap's name and its phase. */
export function textGuests(): { bytes: Uint8Array; trap: string; phase: string }[] {
  const inHook = (trap: string, deed: string, fields?: string) => ({
    ...{ bytes: trapping(deed, fields), trap, phase: 'cc_lb_filter' },
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

/** A guest that never comes back, except from its probe. */
export const endlessGuest = (): Uint8Array => guest({ hook: misbehavesAfterProbe('(loop $l (br $l)) (i64.const 0)') });
