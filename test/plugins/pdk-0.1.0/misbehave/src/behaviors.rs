//! The behaviors that a request can name.

use super::{Note, abi, note};
use alloc::format;
use alloc::vec::Vec;
use core::arch::wasm32::{memory_grow, memory_size, unreachable};
use core::hint::black_box;
use core::mem::transmute;
use core::ptr::{read_volatile, write_volatile};

const PAGE: usize = 65_536;

/// How a hook continues after a behavior that returned.
pub enum Outcome {
    /// It returns this value.
    Return(u64),
    /// It answers as usual, with the note in its answer.
    Note(Note),
}

/// Runs a behavior; an empty name is none. Traps on an unknown one.
pub fn run(behavior: &str) -> Outcome {
    let (name, argument) = behavior.split_once(':').unwrap_or((behavior, ""));
    let number: usize = argument.parse().unwrap_or(1);
    match name {
        "" => Outcome::Note(Note::default()),
        "unreachable" => unreachable(),
        "divide-by-zero" => Outcome::Note(note(format!("{}", divide(1, 0)))),
        "integer-overflow" => Outcome::Note(note(format!("{}", divide(i32::MIN, -1)))),
        "read-outside" => Outcome::Note(note(format!("{}", read(0xffff_fff0)))),
        "write-outside" => write(0xffff_fff0),
        "call-null" => call(0),
        "call-outside-table" => call(1_000_000),
        "call-wrong-type" => call(divide as *const () as usize),
        "overflow-stack" => Outcome::Note(note(format!("{}", recurse(u64::MAX)))),
        "overflow-shadow-stack" => Outcome::Note(note(format!("{}", recurse_with_frame(u64::MAX)))),
        "loop" => loop {
            black_box(0);
        },
        "spin" => Outcome::Note(note(format!("{:x}", spin(number)))),
        "allocate" => allocate(),
        "grow" => Outcome::Note(note(format!("{} pages more, {} in all", grow(number), memory_size(0)))),
        "grow-to-the-limit" => {
            Outcome::Note(note(format!("{} pages more, {} in all", grow(usize::MAX), memory_size(0))))
        }
        "answer-nothing" => Outcome::Return(abi::pointer(0, 0)),
        "answer-null-pointer" => Outcome::Return(abi::pointer(0, 16)),
        "answer-null-length" => Outcome::Return(abi::pointer(1024, 0)),
        "answer-outside" => Outcome::Return(abi::pointer((memory_size(0) * PAGE - 8) as u32, 9)),
        "answer-far-outside" => Outcome::Return(abi::pointer(0xffff_0000, 16)),
        "answer-overflowing" => Outcome::Return(abi::pointer(u32::MAX, u32::MAX)),
        "answer-to-the-end" => Outcome::Return(abi::pointer((memory_size(0) * PAGE - 64) as u32, 64)),
        "answer-garbage" => Outcome::Return(abi::answer(garbage(number))),
        "answer-zeros" => Outcome::Return(abi::answer(Vec::from_iter((0..number).map(|_| 0)))),
        "grow-and-answer" => {
            grow(number);
            Outcome::Return(abi::pointer((memory_size(0) * PAGE - 64) as u32, 64))
        }
        _ => panic!(),
    }
}

/// Divides without the checks that Rust would add, so that the instruction itself traps.
#[inline(never)]
fn divide(dividend: i32, divisor: i32) -> i32 {
    let quotient = black_box(dividend).checked_div(black_box(divisor));
    // SAFETY: none: the quotient may not exist, which is the purpose of this function.
    unsafe { quotient.unwrap_unchecked() }
}

fn read(address: usize) -> u64 {
    // SAFETY: none, which is the purpose of this function.
    unsafe { read_volatile(black_box(address) as *const u64) }
}

fn write(address: usize) -> ! {
    // SAFETY: none, which is the purpose of this function.
    unsafe { write_volatile(black_box(address) as *mut u64, 1) };
    unreachable()
}

/// Calls the entry of the function table at `index` as a function of another type.
fn call(index: usize) -> Outcome {
    // SAFETY: none, which is the purpose of this function.
    let function: extern "C" fn(f64, f64) -> f64 = unsafe { transmute(black_box(index)) };
    Outcome::Note(note(format!("{}", function(1.0, 2.0))))
}

/// Exhausts the engine's stack: it needs no frame in linear memory.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    if depth == 0 { 1 } else { recurse(depth - 1).rotate_left(5) ^ recurse(depth / 2) }
}

/// Exhausts the stack of the guest, which is in linear memory.
#[inline(never)]
fn recurse_with_frame(depth: u64) -> u64 {
    let mut frame = [depth; 1024];
    black_box(&mut frame);
    if depth == 0 { 1 } else { recurse_with_frame(depth - 1) ^ frame[(depth % 1024) as usize] }
}

/// Computes for roughly this number of microseconds.
fn spin(microseconds: usize) -> u64 {
    let mut state = black_box(1u64);
    for _ in 0..microseconds * 700 {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1) ^ (state >> 29);
    }
    black_box(state)
}

/// Allocates until the allocator fails, which traps.
fn allocate() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(Vec::from([1u8; PAGE])));
    }
}

/// Adds up to `pages` pages, one by one, and writes to each. Returns how many were added.
fn grow(pages: usize) -> usize {
    for count in 0..pages {
        let grown = memory_grow(0, 1);
        if grown == usize::MAX {
            return count;
        }
        // SAFETY: the page was just added, so nothing else uses it.
        unsafe { write_volatile((grown * PAGE) as *mut u64, 1) };
    }
    pages
}

/// Returns this number of pseudorandom bytes, the same for each call.
fn garbage(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let byte = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(byte).collect()
}
