//! The compile process: compiles one module, then exits.

use std::io::{Read, Write, stderr, stdin, stdout};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use super::exit::exit;
use super::protocol::{AnswerHeader, EXIT_NO_JOB, EXIT_NOT_CONFINED, JOB_HEADER_BYTES, JobHeader, READY, Status};
use super::{COMPILE_STACK, alloc, confine};
use crate::code::compile_code;
use crate::failure::{chain, panic_text};

/// Maximum bytes of a message to the parent.
const MAX_MESSAGE_BYTES: usize = 4 << 10;

/// Confines this process, compiles the module from stdin, writes the image to stdout, and ends the process. Never
/// returns to its caller.
pub fn run() -> ! {
    // The message of a panic is sent in the answer.
    std::panic::set_hook(Box::new(|_| {}));
    if let Err(problem) = confine::before_threads() {
        fail(&problem);
    }
    let (received, wait_for_module) = mpsc::channel();
    let compiling = std::thread::Builder::new().stack_size(COMPILE_STACK).spawn(move || compile_one(&received));
    if let Err(error) = compiling {
        fail(&format!("no thread to compile on: {error}"));
    }
    // The pipe belongs to the compiling thread until it has read the module.
    if wait_for_module.recv().is_ok() {
        // The parent sends nothing more, and keeps its end of the pipe open while it waits for the image. `read_exact` continues
        // after a signal.
        let _ = stdin().read_exact(&mut [0]);
    }
    exit(EXIT_NO_JOB)
}

fn compile_one(received: &mpsc::Sender<()>) -> ! {
    let limits = confine::after_threads().unwrap_or_else(|problem| fail(&problem));
    write(READY);
    let mut header = [0; JOB_HEADER_BYTES];
    if stdin().lock().read_exact(&mut header).is_err() {
        exit(EXIT_NO_JOB);
    }
    let job = JobHeader::decode(&header);
    if let Err(problem) = limits.apply(job.memory, job.time) {
        fail(&problem);
    }
    alloc::exit_on_failure();
    let Ok(size) = usize::try_from(job.wasm_bytes) else { exit(EXIT_NO_JOB) };
    let mut wasm = vec![0; size];
    if stdin().lock().read_exact(&mut wasm).is_err() || received.send(()).is_err() {
        exit(EXIT_NO_JOB);
    }
    let result = catch_unwind(AssertUnwindSafe(|| compile_code(&job.code, &wasm)));
    let (status, payload) = match result {
        Ok(Ok(image)) => (Status::Image, image),
        Ok(Err(error)) => (Status::Refused, message(chain(&error))),
        Err(panic) => (Status::Panicked, message(panic_text(&*panic).to_owned())),
    };
    let digest = *blake3::hash(&wasm).as_bytes();
    write(&AnswerHeader { status, digest, payload_bytes: payload.len() as u64 }.encode());
    write(&payload);
    exit(0)
}

fn message(mut text: String) -> Vec<u8> {
    text.truncate(text.floor_char_boundary(MAX_MESSAGE_BYTES));
    text.into_bytes()
}

/// Reports on stderr why this process cannot compile, and ends it.
fn fail(problem: &str) -> ! {
    let _ = stderr().write_all(problem.as_bytes());
    exit(EXIT_NOT_CONFINED)
}

fn write(bytes: &[u8]) {
    if stdout().write_all(bytes).and_then(|()| stdout().flush()).is_err() {
        exit(EXIT_NO_JOB);
    }
}
