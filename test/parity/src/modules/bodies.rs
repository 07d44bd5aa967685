//! Modules with valid sections whose code or exports break the contract.

use super::{Case, HOOKS, Module};
use cc_lb_runtime_wasmtime::HookKind;

pub const PLAIN: &str = r#"(module
  (memory (export "memory") 1)
  (data (i32.const 16) "$DATA")
  (func (export "cc_lb_alloc") (param i32 i32) (result i32) (i32.const 1024))
  (func (export "cc_lb_free") (param i32 i32 i32))
  (func (export "$HOOK") (param i32 i32) (result i64) (i64.const $ANSWER)))"#;

const MEMORY: &str = r#"(memory (export "memory") 1)"#;
const ALLOC: &str = r#"(func (export "cc_lb_alloc") (param i32 i32) (result i32) (i32.const 1024))"#;
const FREE: &str = r#"(func (export "cc_lb_free") (param i32 i32 i32))"#;
const HOOK: &str = r#"(func (export "$HOOK") (param i32 i32) (result i64) (i64.const $ANSWER))"#;
const RESULT: &str = "(i64.const $ANSWER)";

/// A name, the part of the valid module to replace, and its replacement.
const EDITS: [(&str, &str, &str); 70] = [
    ("no memory", MEMORY, "(memory 1)"),
    ("memory under another name", MEMORY, r#"(memory (export "mem") 1)"#),
    ("memory exported twice", MEMORY, r#"(memory (export "memory") (export "more") 1)"#),
    ("a function named memory", MEMORY, r#"(memory 1) (func (export "memory"))"#),
    ("a global named memory", MEMORY, r#"(memory 1) (global (export "memory") i32 (i32.const 0))"#),
    ("memory of no pages", MEMORY, r#"(memory (export "memory") 0)"#),
    ("memory of 2048 pages", MEMORY, r#"(memory (export "memory") 2048)"#),
    ("memory of 2049 pages", MEMORY, r#"(memory (export "memory") 2049)"#),
    ("memory of 65536 pages", MEMORY, r#"(memory (export "memory") 65536)"#),
    ("memory of at most 1 page", MEMORY, r#"(memory (export "memory") 1 1)"#),
    ("memory of at most 65536 pages", MEMORY, r#"(memory (export "memory") 1 65536)"#),
    ("no alloc", ALLOC, ""),
    ("alloc is a global", ALLOC, r#"(global (export "cc_lb_alloc") i32 (i32.const 0))"#),
    ("alloc of one parameter", ALLOC, r#"(func (export "cc_lb_alloc") (param i32) (result i32) (i32.const 1024))"#),
    ("alloc of i64", ALLOC, r#"(func (export "cc_lb_alloc") (param i64 i64) (result i64) (i64.const 1024))"#),
    ("alloc without result", ALLOC, r#"(func (export "cc_lb_alloc") (param i32 i32))"#),
    ("alloc returns 0", "(i32.const 1024)", "(i32.const 0)"),
    ("alloc returns the end of memory", "(i32.const 1024)", "(i32.const 65536)"),
    ("alloc returns almost the end of memory", "(i32.const 1024)", "(i32.const 65530)"),
    ("alloc returns -1", "(i32.const 1024)", "(i32.const -1)"),
    ("alloc traps", "(i32.const 1024)", "unreachable"),
    ("alloc returns its size", "(i32.const 1024)", "(local.get 0)"),
    ("no free", FREE, ""),
    ("free with a result", FREE, r#"(func (export "cc_lb_free") (param i32 i32 i32) (result i32) (i32.const 0))"#),
    ("free of two parameters", FREE, r#"(func (export "cc_lb_free") (param i32 i32))"#),
    ("no hook", HOOK, ""),
    ("hook is a global", HOOK, r#"(global (export "$HOOK") i32 (i32.const 0))"#),
    ("hook of i32", HOOK, r#"(func (export "$HOOK") (param i32 i32) (result i32) (i32.const 0))"#),
    (
        "hook of three parameters",
        HOOK,
        r#"(func (export "$HOOK") (param i32 i32 i32) (result i64) (i64.const $ANSWER))"#,
    ),
    (
        "hook of two results",
        HOOK,
        r#"(func (export "$HOOK") (param i32 i32) (result i32 i32) (i32.const 16) (i32.const 8))"#,
    ),
    ("hook traps", RESULT, "unreachable"),
    ("hook divides by zero", RESULT, "(i64.div_u (i64.const 1) (i64.const 0))"),
    ("hook converts NaN", RESULT, "(i64.trunc_f64_s (f64.const nan))"),
    ("hook converts infinity", RESULT, "(i64.trunc_f64_s (f64.const inf))"),
    ("hook returns (0, 0)", RESULT, "(i64.const 0)"),
    ("hook returns (0, 8)", RESULT, "(i64.const 8)"),
    ("hook returns (16, 0)", RESULT, "(i64.const 0x1000000000)"),
    ("hook returns (16, 4)", RESULT, "(i64.const 0x1000000004)"),
    ("hook returns (16, 8)", RESULT, "(i64.const 0x1000000008)"),
    ("hook returns (17, 8)", RESULT, "(i64.const 0x1100000008)"),
    ("hook returns (65528, 8)", RESULT, "(i64.const 0xfff800000008)"),
    ("hook returns (65528, 9)", RESULT, "(i64.const 0xfff800000009)"),
    ("hook returns the whole memory but a byte", RESULT, "(i64.const 0x10000ffff)"),
    ("hook returns (-1, -1)", RESULT, "(i64.const -1)"),
    (
        "hook returns its input",
        RESULT,
        "(i64.or (i64.shl (i64.extend_i32_u (local.get 0)) (i64.const 32)) (i64.extend_i32_u (local.get 1)))",
    ),
    ("hook grows memory", RESULT, "(drop (memory.grow (i32.const 1))) (i64.const $ANSWER)"),
    ("start function", MEMORY, r#"(memory (export "memory") 1) (func $s) (start $s)"#),
    ("start function traps", MEMORY, r#"(memory (export "memory") 1) (func $s unreachable) (start $s)"#),
    ("data beyond memory", MEMORY, r#"(memory (export "memory") 1) (data (i32.const 65536) "x")"#),
    ("table of 20000", MEMORY, r#"(memory (export "memory") 1) (table 20000 funcref)"#),
    ("table of 20001", MEMORY, r#"(memory (export "memory") 1) (table 20001 funcref)"#),
    ("two tables", MEMORY, r#"(memory (export "memory") 1) (table 1 funcref) (table 1 externref)"#),
    ("imported function", "(module", r#"(module (import "env" "log" (func (param i32)))"#),
    ("imported global", "(module", r#"(module (import "env" "g" (global i32))"#),
    ("two memories", MEMORY, r#"(memory (export "memory") 1) (memory 1)"#),
    ("memory64", MEMORY, r#"(memory (export "memory") i64 1)"#),
    ("shared memory", MEMORY, r#"(memory (export "memory") 1 1 shared)"#),
    ("custom page size", MEMORY, r#"(memory (export "memory") 65536 (pagesize 1))"#),
    ("atomic instruction", RESULT, "(drop (i32.atomic.load (i32.const 0))) (i64.const $ANSWER)"),
    ("tail call", MEMORY, r#"(memory (export "memory") 1) (func $t return_call $t)"#),
    ("exception tag", MEMORY, r#"(memory (export "memory") 1) (tag $e) (func (throw $e))"#),
    (
        "relaxed SIMD",
        MEMORY,
        r#"(memory (export "memory") 1) (func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))"#,
    ),
    ("SIMD", MEMORY, r#"(memory (export "memory") 1) (func (result v128) (v128.const i64x2 0 0))"#),
    ("bulk memory", RESULT, "(memory.fill (i32.const 2000) (i32.const 0) (i32.const 8)) (i64.const $ANSWER)"),
    ("reference types", MEMORY, r#"(memory (export "memory") 1) (func (result externref) (ref.null extern))"#),
    (
        "typed function reference",
        MEMORY,
        r#"(memory (export "memory") 1) (type $f (func)) (func (param (ref $f)) (call_ref $f (local.get 0)))"#,
    ),
    ("struct", MEMORY, r#"(memory (export "memory") 1) (type $s (struct (field i32))) (func (param (ref null $s)))"#),
    (
        "extended constants",
        MEMORY,
        r#"(memory (export "memory") 1) (global i32 (i32.add (i32.const 1) (i32.const 2)))"#,
    ),
    ("several values", MEMORY, r#"(memory (export "memory") 1) (func (result i32 i32) (i32.const 1) (i32.const 2))"#),
    (
        "wide arithmetic",
        MEMORY,
        r#"(memory (export "memory") 1) (func (result i64 i64) (i64.mul_wide_u (i64.const 1) (i64.const 2)))"#,
    ),
];

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (name, from, to) in EDITS {
        assert!(PLAIN.contains(from), "{from}");
        // The cases of hooks and alloc exist for every hook, the others only for a filter.
        let hooks = if name.starts_with("hook") || name.starts_with("alloc") { &HOOKS[..] } else { &HOOKS[..1] };
        for hook in hooks {
            let module = Module::with_text(*hook, &PLAIN.replace(from, to));
            cases.push(Case::new(format!("{hook}: {name}"), *hook, module.bytes()));
        }
    }
    let component = wat::parse_str("(component)").expect("component");
    cases.push(Case::new("component", HookKind::Filter, component));
    cases
}
