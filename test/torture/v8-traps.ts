/** Traps of V8's own wasm. V8's signal handlers share the process's signals with those of the engine. */
import { assemble } from '../support/wat.ts';
import { ensure } from './scenario.ts';
import { v8Wasm } from './v8.ts';

const TEXT = `(module
  (memory 1)
  (table 2 funcref)
  (elem (i32.const 1) $other)
  (type $nullary (func))
  (func $other (param i64) (result i64) local.get 0)
  (func (export "unreachable") unreachable)
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "overflow") (drop (i32.div_s (i32.const -2147483648) (i32.const -1))))
  (func (export "read") (drop (i64.load (i32.const 0xfffffff0))))
  (func (export "write") (i64.store (i32.const 0xfffffff0) (i64.const 1)))
  (func (export "fill") (memory.fill (i32.const 0xfff0) (i32.const 1) (i32.const 0x1000)))
  (func (export "null") (call_indirect (type $nullary) (i32.const 0)))
  (func (export "outside") (call_indirect (type $nullary) (i32.const 1000000)))
  (func (export "type") (call_indirect (type $nullary) (i32.const 1)))
  (func (export "convert") (drop (i32.trunc_f64_s (f64.const nan))))
  (func $recurse (export "recurse") (param i64) (result i64)
    (i64.add (call $recurse (i64.add (local.get 0) (i64.const 1))) (i64.const 1))))`;

const { recurse, ...others } = new v8Wasm.Instance(new v8Wasm.Module(assemble(TEXT))).exports;
const kinds = Object.values(others);
/** V8 takes a thousand times as long to unwind a full stack as for any other trap. */
const RARE = 64;
let next = 0;

/** Traps in V8, each time with the next kind of trap. */
export function trapInV8(): void {
  next++;
  const trap = (next % RARE === 0 ? recurse : kinds[next % kinds.length]) as (depth: bigint) => void;
  try {
    trap(0n);
  } catch (error) {
    ensure(error instanceof v8Wasm.RuntimeError || error instanceof RangeError, () => `V8 threw ${error}`);
    return;
  }
  ensure(false, () => 'a trap of V8 did not trap');
}
