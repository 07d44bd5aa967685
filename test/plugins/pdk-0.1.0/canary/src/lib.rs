//! Shows whether anything of one call is visible to another. Each call counts itself in a global, looks through the
//! whole memory for the mark of an earlier call, and leaves its own in a static, on the heap, on the stack and in
//! freshly grown pages.
#![no_std]
extern crate alloc;

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;
use cc_lb_pdk_wasmtime::types::{ArchivedFilterRequest, ArchivedObserveEvent, ArchivedShapeRequest};
use cc_lb_pdk_wasmtime::types::{FilterResponse, PerCandidateReason, ShapeResponse};
use cc_lb_pdk_wasmtime::{cc_lb_plugin, handler};
use core::arch::wasm32::{memory_grow, memory_size};
use core::hint::black_box;
use core::ptr::{read_volatile, write_volatile};
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

const PAGE: usize = 65_536;
/// The mark is made at run time from two halves, so that it does not stand in the data section.
const HALVES: [u64; 2] = [0x9d3f_61c8_a5b2_7e04, 0x3c8e_55d1_0f69_b2a7];

static CALLS: AtomicU32 = AtomicU32::new(0);
static MARK: AtomicU64 = AtomicU64::new(0);

#[cc_lb_plugin(
    name = "canary",
    version = "1.0.0",
    description = "Reports what an earlier call left behind",
    usage = "The report is `calls=N canaries=M`; with isolation it is always `calls=1 canaries=0`"
)]
mod plugin {
    use super::*;

    #[handler(
        filter,
        wire = 1,
        description = "Accepts all candidates; the report is the reason of each, or of the nil UUID if there are none",
        usage = "Nothing to configure",
        view
    )]
    pub fn filter(request: &ArchivedFilterRequest) -> FilterResponse {
        let (calls, canaries) = leave_a_mark();
        let result = |id: &str, decision: &str| PerCandidateReason {
            upstream_id: id.into(),
            decision: decision.into(),
            reason: format!("calls={calls} canaries={canaries}").into(),
        };
        let mut results: Vec<_> =
            request.candidates.iter().map(|candidate| result(&candidate.upstream_id, "accept")).collect();
        if results.is_empty() {
            results.push(result("00000000-0000-0000-0000-000000000000", "reject"));
        }
        FilterResponse { results: results.into() }
    }

    #[handler(shape, wire = 1, description = "The report is the body", usage = "Nothing to configure", view)]
    pub fn shape(_request: &ArchivedShapeRequest) -> ShapeResponse {
        let (calls, canaries) = leave_a_mark();
        ShapeResponse {
            url: "https://canary.test/".into(),
            method: "POST".into(),
            headers: Box::default(),
            body: format!("calls={calls} canaries={canaries}").into_bytes().into(),
        }
    }

    #[handler(
        observe,
        wire = 1,
        description = "Traps where an earlier call is visible",
        usage = "Nothing to configure",
        view
    )]
    pub fn observe(_event: &ArchivedObserveEvent) {
        assert_eq!(leave_a_mark(), (1, 0));
    }
}

/// How many calls this instance has had, this one included, and how many marks of earlier ones it found.
fn leave_a_mark() -> (u32, u32) {
    let calls = CALLS.fetch_add(1, Relaxed) + 1;
    let mark = black_box(HALVES[0]) ^ black_box(HALVES[1]);
    let mut canaries = 0;
    for address in (8..memory_size(0) * PAGE).step_by(8) {
        // SAFETY: the address is aligned and inside linear memory.
        canaries += u32::from(unsafe { read_volatile(address as *const u64) } == mark);
    }

    MARK.store(mark, Relaxed);
    Box::leak(Box::new([mark; 512]));
    mark_stack(mark);
    let grown = memory_grow(0, 1);
    if grown != usize::MAX {
        // SAFETY: the page was just added and belongs to nobody.
        unsafe { write_volatile((grown * PAGE) as *mut u64, mark) };
    }
    (calls, canaries)
}

#[inline(never)]
fn mark_stack(mark: u64) {
    black_box(&mut [mark; 1024]);
}
