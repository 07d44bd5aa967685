//! Tests of memories that are used again.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use wasmtime::{Config, Engine, Memory, Module, Store};

use super::*;

const PAGE: usize = 64 << 10;

/// An engine whose memories come from `reservations`, and one of its memories of two pages.
fn store(reservations: &Arc<Reservations>, maximum: &str) -> (Store<()>, Memory) {
    let mut config = Config::new();
    config.memory_reservation(64 << 20).memory_guard_size(0);
    reservations.serve(&mut config);
    let engine = Engine::new(&config).expect("an engine");
    let text = format!("(module (memory (export \"memory\") 2 {maximum}))");
    let module = Module::new(&engine, wat::parse_str(text).expect("valid text")).expect("it compiles");
    let mut store = Store::new(&engine, ());
    let instance = wasmtime::Instance::new(&mut store, &module, &[]).expect("an instance");
    let memory = instance.get_memory(&mut store, "memory").expect("a memory");
    (store, memory)
}

fn reservations(budget: usize) -> Arc<Reservations> {
    Reservations::new(2, Arc::new(AtomicUsize::new(0)), budget)
}

/// Grows a memory, fills it, and ends it while keeping a page in its first and one in its last part.
fn soil((mut store, memory): (Store<()>, Memory), grow: u64) -> *mut u8 {
    memory.grow(&mut store, grow).expect("it grows");
    let base = memory.data_ptr(&store);
    memory.data_mut(&mut store).fill(0xa5);
    let end = memory.data_size(&store);
    keeping(vec![(4096, 8192), (end - 4096, end + 4096)], || drop(store));
    base
}

#[test]
fn what_an_instance_wrote_is_gone_from_kept_pages_and_from_others() {
    let reservations = reservations(1 << 20);
    let base = soil(store(&reservations, ""), 4);
    let (mut again, memory) = store(&reservations, "");
    assert_eq!((memory.data_ptr(&again), memory.data_size(&again)), (base, 2 * PAGE));
    assert_eq!(came_resident(), 8192);
    memory.grow(&mut again, 8).expect("it grows");
    assert!(memory.data(&again).iter().all(|&byte| byte == 0));
}

#[test]
fn a_clean_memory_has_no_resident_pages_and_a_budget_bounds_those_of_others() {
    let reservations = reservations(1 << 20);
    soil(store(&reservations, ""), 0);
    let wish = Wish { open: 4 * PAGE, clean: true };
    let (store_of_clean, _) = wishing(wish, || store(&reservations, ""));
    assert_eq!(came_resident(), 0);
    drop(store_of_clean);
    let poor = self::reservations(4096);
    soil(store(&poor, ""), 0);
    let _next = store(&poor, "");
    assert_eq!(came_resident(), 0);
}

#[test]
fn no_more_wait_than_allowed_and_none_after_their_release() {
    let reservations = reservations(1 << 20);
    let stores: Vec<_> = (0..3).map(|_| store(&reservations, "")).collect();
    assert_eq!(reservations.waiting(), 0);
    drop(stores);
    assert_eq!(reservations.waiting(), 2);
    reservations.release(Duration::from_secs(60));
    assert_eq!(reservations.waiting(), 2);
    reservations.release(Duration::ZERO);
    assert_eq!(reservations.waiting(), 0);
}

#[test]
fn memories_that_name_a_maximum_or_grew_far_are_not_used_again() {
    let reservations = reservations(1 << 20);
    soil(store(&reservations, "64"), 4);
    soil(store(&reservations, ""), 400);
    assert_eq!(reservations.waiting(), 0);
}
