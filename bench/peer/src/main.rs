//! The Rust crate as a benchmark peer: one JSON command a line on stdin, one JSON result a line on stdout.
//! README.md describes both. `bench-peer <folder of .wasm plugins> <folder of other guests>`

mod inputs;
mod measure;
mod work;

use measure::Plan;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::path::PathBuf;
use work::{Bench, Strategy, Work};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Command {
    work: Work,
    strategy: Strategy,
    /// How the guests were linked.
    guests: String,
    /// Number of principals, served in rotation, each with separate modules.
    principals: usize,
    body_bytes: usize,
    threads: usize,
    warmup_ms: u64,
    measure_ms: u64,
    minimum: usize,
}

fn main() {
    let [plugins, guests] = match std::env::args_os().skip(1).map(PathBuf::from).collect::<Vec<_>>().try_into() {
        Ok(folders) => folders,
        Err(_) => {
            eprintln!("usage: bench-peer <folder of .wasm plugins> <folder of other guests>");
            std::process::exit(2);
        }
    };
    let mut bench = Bench::new(plugins, guests);
    say(&json!({ "runtime": "cc-lb-runtime-wasmtime 0.1.1" }));
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("stdin");
        match serde_json::from_str::<Command>(&line) {
            Ok(command) => say(&answer(&mut bench, &command)),
            Err(error) => say(&json!({ "error": error.to_string() })),
        }
    }
}

fn answer(bench: &mut Bench, command: &Command) -> Value {
    let plan = Plan {
        threads: command.threads,
        warmup: command.warmup_ms,
        measure: command.measure_ms,
        minimum: command.minimum,
    };
    let request =
        bench.request(command.work, command.strategy, &command.guests, command.principals, command.body_bytes);
    measure::run(plan, request)
}

fn say(message: &Value) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{message}").and_then(|()| out.flush()).expect("stdout");
}
