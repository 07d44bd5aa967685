//! Measures the cost of deadlines: the same call with and without the compiled epoch checks that deadlines require.
//! Arguments: `<guest.wasm> <hook> <encoded request> <rounds>`. Output line: the medians over the rounds, in
//! nanoseconds, of a whole call (instance, alloc, hook) with and without, then of alloc and hook alone with and
//! without.

use std::time::Instant;

use wasmtime::{Config, Engine, Instance, Module, Store, UpdateDeadline};

const CALLS: usize = 2_000;

fn engine(deadlines: bool) -> Engine {
    let mut config = Config::new();
    config.epoch_interruption(deadlines);
    config.memory_reservation(256 << 20).memory_guard_size(64 << 20).memory_may_move(false);
    Engine::new(&config).expect("an engine")
}

/// Medians of a whole call and of the guest's part in it.
fn round(module: &Module, hook: &str, request: &[u8], deadlines: bool) -> (u128, u128) {
    let mut whole = Vec::with_capacity(CALLS);
    let mut inside = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let began = Instant::now();
        let mut store = Store::new(module.engine(), ());
        if deadlines {
            store.epoch_deadline_callback(|_| Ok(UpdateDeadline::Continue(1)));
            store.set_epoch_deadline(1);
        }
        let instance = Instance::new(&mut store, module, &[]).expect("an instance");
        let alloc = instance.get_typed_func::<(u32, u32), u32>(&mut store, "cc_lb_alloc").expect("cc_lb_alloc");
        let function = instance.get_typed_func::<(u32, u32), u64>(&mut store, hook).expect("the hook");
        let memory = instance.get_memory(&mut store, "memory").expect("a memory");
        let length = u32::try_from(request.len()).expect("a short request");
        let entered = Instant::now();
        let pointer = alloc.call(&mut store, (length, 16)).expect("a pointer");
        memory.write(&mut store, pointer as usize, request).expect("within the memory");
        function.call(&mut store, (pointer, length)).expect("an answer");
        inside.push(entered.elapsed().as_nanos());
        drop(store);
        whole.push(began.elapsed().as_nanos());
    }
    (median(whole), median(inside))
}

fn median(mut values: Vec<u128>) -> u128 {
    values.sort_unstable();
    values[values.len() / 2]
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [guest, hook, request, rounds] = &arguments[..] else { panic!("four arguments") };
    let request = std::fs::read(request).expect("the request");
    let modules = [true, false].map(|on| Module::from_file(&engine(on), guest).expect("it compiles"));
    let mut taken = [(Vec::new(), Vec::new()), (Vec::new(), Vec::new())];
    for _ in 0..rounds.parse().expect("a number") {
        for (index, module) in modules.iter().enumerate() {
            let (whole, inside) = round(module, hook, &request, index == 0);
            taken[index].0.push(whole);
            taken[index].1.push(inside);
        }
    }
    let [(with, with_inside), (without, without_inside)] = taken;
    println!("{} {} {} {}", median(with), median(without), median(with_inside), median(without_inside));
}
