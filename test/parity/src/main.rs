//! Records the results of the published Rust host for requests and modules, to compare the Node package with.
//!
//! `cargo run --release -- <folder of .wasm plugins> <folder for the golden files>`

mod answers;
mod calls;
mod host;
mod modules;
mod requests;
mod rng;

use rng::Rng;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};

const SEED: u64 = 0x00cc_1b00;

fn main() {
    let mut arguments = std::env::args_os().skip(1).map(PathBuf::from);
    let (Some(plugins), Some(golden)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: parity <folder of .wasm plugins> <folder for the golden files>");
        std::process::exit(2);
    };
    let host = host::Host::new(plugins.clone());
    let rng = &mut Rng(SEED);
    write(&golden, "calls", calls::all(rng), &host, &plugins);
    write(&golden, "filter-answers", answers::filter(rng), &host, &plugins);
    write(&golden, "shape-answers", answers::shape(rng), &host, &plugins);
    save(&golden, "modules", modules::all(rng), &plugins);
}

/// Runs the cases and saves each with its result.
fn write(folder: &Path, name: &str, mut cases: Vec<Value>, host: &host::Host, plugins: &Path) {
    for case in &mut cases {
        case["expected"] = host.run(case);
        // A message may quote a name of 64 KiB.
        if let Some(Value::String(text)) = case["expected"].pointer_mut("/error/text") {
            text.truncate(text.floor_char_boundary(300));
        }
    }
    save(folder, name, cases, plugins);
}

/// Writes one case per line, so that a diff shows the changed cases.
fn save(folder: &Path, name: &str, cases: Vec<Value>, plugins: &Path) {
    let lines: Vec<String> = cases.iter().map(Value::to_string).collect();
    let about = json!({
        "from": "cc-lb-runtime-wasmtime 0.1.1",
        "count": cases.len(),
        "plugins": cases.iter().filter_map(|case| case["plugin"].as_str()).map(|plugin| digest(plugins, plugin)).collect::<Map<_, _>>(),
    });
    let text = format!("{{\n\"about\": {about},\n\"cases\": [\n{}\n]\n}}\n", lines.join(",\n"));
    std::fs::write(folder.join(format!("{name}.golden.json")), &text).expect("golden file");
    println!("{name}: {} cases, {} bytes", cases.len(), text.len());
}

/// The plugin's name and the SHA-256 hash of its file, to detect golden files of earlier guests.
fn digest(plugins: &Path, plugin: &str) -> (String, Value) {
    let digest = Sha256::digest(std::fs::read(plugins.join(format!("{plugin}.wasm"))).expect("plugin file"));
    (plugin.to_owned(), digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into())
}
