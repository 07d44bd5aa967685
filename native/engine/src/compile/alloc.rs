//! The allocator of the addon: the system's. In a compile process, a failed allocation ends the process with its own
//! exit code, because the standard library would abort, which looks like a crash of the compiler.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::protocol::EXIT_MEMORY;

static EXIT_ON_FAILURE: AtomicBool = AtomicBool::new(false);

/// Makes every later failed allocation end the process.
pub fn exit_on_failure() {
    EXIT_ON_FAILURE.store(true, Relaxed);
}

struct Allocator;

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// Returns the block unchanged. Ends a compile process if it is null.
#[inline]
fn checked(block: *mut u8) -> *mut u8 {
    if block.is_null() && EXIT_ON_FAILURE.load(Relaxed) {
        super::exit::exit(EXIT_MEMORY);
    }
    block
}

// SAFETY: every request goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the system's allocator.
        checked(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the system's allocator.
        checked(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of the system's allocator.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller upholds the contract of the system's allocator.
        checked(unsafe { System.realloc(block, layout, size) })
    }
}
