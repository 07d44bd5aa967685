//! A child process and its pipes on systems without `poll`: threads perform the blocking operations.

use std::io::{self, ErrorKind, Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

pub use super::command::Command;
pub use super::command::Exit;

/// Interval at which the supervisor checks its processes.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of stdout that are buffered before the process blocks.
const MAX_UNREAD: usize = 4 << 20;

/// Empty here, because [`wait`] returns at a short interval.
pub struct Watched;

/// A running child process.
pub struct Process {
    child: Child,
    input: Option<Sender<Vec<u8>>>,
    output: Arc<Inbox>,
    errors: Arc<Inbox>,
    exit: Option<Exit>,
}

/// The bytes that a thread has read from a pipe.
#[derive(Default)]
struct Inbox {
    state: Mutex<(Vec<u8>, bool)>,
    taken: Condvar,
}

impl Inbox {
    fn fill(self: &Arc<Self>, mut pipe: impl Read + Send + 'static) -> io::Result<()> {
        let inbox = Arc::clone(self);
        let read = move || {
            let mut chunk = [0; 64 << 10];
            loop {
                let count = pipe.read(&mut chunk).unwrap_or(0);
                let mut state = inbox.state.lock().unwrap_or_else(PoisonError::into_inner);
                while state.0.len() > MAX_UNREAD {
                    state = inbox.taken.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                state.0.extend_from_slice(&chunk[..count]);
                if count == 0 {
                    state.1 = true;
                    return;
                }
            }
        };
        thread::Builder::new().name("cc-lb-compile-read".to_owned()).spawn(read).map(|_| ())
    }

    fn take(&self, into: &mut Vec<u8>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        into.append(&mut state.0);
        self.taken.notify_all();
    }

    fn closed(&self) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.1 && state.0.is_empty()
    }
}

impl Process {
    /// Starts it.
    pub fn start(command: &Command) -> io::Result<Process> {
        let mut child = command.piped().spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (input, to_write): (_, Receiver<Vec<u8>>) = channel();
        let process = Process { child, input: Some(input), output: Arc::default(), errors: Arc::default(), exit: None };
        if let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) {
            process.output.fill(stdout)?;
            process.errors.fill(stderr)?;
            let write = move || to_write.iter().take_while(|bytes| stdin.write_all(bytes).is_ok()).for_each(drop);
            thread::Builder::new().name("cc-lb-compile-write".to_owned()).spawn(write)?;
        }
        Ok(process)
    }

    /// Passes all of it to the writing thread.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let sent = self.input.as_ref().is_some_and(|input| input.send(bytes.to_vec()).is_ok());
        if sent { Ok(bytes.len()) } else { Err(ErrorKind::BrokenPipe.into()) }
    }

    /// Appends the available stdout of the process.
    pub fn read_output(&mut self, into: &mut Vec<u8>) {
        self.output.take(into);
    }

    /// Appends the available stderr of the process, up to a total limit. The rest is dropped.
    pub fn read_errors(&mut self, into: &mut Vec<u8>, max_bytes: usize) {
        self.errors.take(into);
        into.truncate(max_bytes);
    }

    /// Whether the stdout of the process is closed.
    pub fn output_closed(&self) -> bool {
        self.output.closed()
    }

    /// Kills it. It must still be reaped.
    pub fn kill(&mut self) {
        self.input = None;
        let _ = self.child.kill();
    }

    /// Returns how the process ended, if it has.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match self.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(status.code().map_or(Exit::Unknown, Exit::Code)),
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.exit
    }

    /// Nothing to add.
    pub fn watch(&self, _writing: bool, _watched: &mut Vec<Watched>) {}

    /// False: the supervisor polls for the exit.
    pub fn end_is_watched(&self) -> bool {
        false
    }
}

impl Drop for Process {
    /// Kills the process.
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Wakes the supervisor from [`wait`].
#[derive(Default)]
pub struct Wake {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl Wake {
    /// A flag.
    pub fn new() -> io::Result<Wake> {
        Ok(Wake::default())
    }

    /// Makes the current or the next [`wait`] return.
    pub fn wake(&self) {
        *self.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    /// Nothing is kept.
    pub fn clear(&self) {}

    /// Nothing to add.
    pub fn watch(&self, _watched: &mut Vec<Watched>) {}
}

/// Blocks until woken or until the time has elapsed, but at most for the polling interval.
pub fn wait(wake: &Wake, _watched: &mut [Watched], timeout: Option<Duration>, processes: bool) {
    let mut woken = wake.woken.lock().unwrap_or_else(PoisonError::into_inner);
    let timeout =
        if processes { Some(timeout.map_or(CHECK_INTERVAL, |timeout| timeout.min(CHECK_INTERVAL))) } else { timeout };
    while !*woken {
        let Some(timeout) = timeout else {
            woken = wake.changed.wait(woken).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let (guard, _) = wake.changed.wait_timeout(woken, timeout).unwrap_or_else(PoisonError::into_inner);
        woken = guard;
        break;
    }
    *woken = false;
}

/// This system has no SIGPIPE.
pub fn block_broken_pipe() {}

/// Whether the limit of processor time ended the process.
pub fn is_time_limit(_exit: Exit) -> bool {
    false
}

/// Returns the name of the fault that ended the program.
pub fn fault(exit: Exit) -> Option<&'static str> {
    // The codes of exceptions, as signed numbers.
    Some(match exit {
        Exit::Code(code) if code as u32 == 0xc000_0005 => "access violation",
        Exit::Code(code) if code as u32 == 0xc000_00fd => "stack overflow",
        Exit::Code(code) if code as u32 == 0xc000_0409 => "fail fast",
        Exit::Code(code) if code as u32 == 0xc000_001d => "illegal instruction",
        _ => return None,
    })
}

/// Whether a start that failed with this error may succeed later.
pub fn is_transient(_error: &io::Error) -> bool {
    false
}
