//! A child process and its pipes on systems without `poll`: threads perform the blocking operations.

use std::io::{self, ErrorKind, Read, Write};
use std::process::Child;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub use super::command::Command;
pub use super::command::Exit;

/// Interval at which the supervisor checks its processes.
const CHECK_INTERVAL: Duration = Duration::from_millis(5);
/// Bytes of stdout that are buffered before the process blocks.
const MAX_UNREAD: usize = 4 << 20;
/// Bytes that are passed to the writing thread at once, and how many times before it has written them.
const CHUNK_BYTES: usize = 1 << 20;
const CHUNKS: usize = 2;

/// Empty here, because [`wait`] returns at a short interval.
pub struct Watched;

/// A running child process.
pub struct Process {
    child: Child,
    input: Option<SyncSender<Vec<u8>>>,
    output: Arc<Inbox>,
    errors: Arc<Inbox>,
    exit: Option<Exit>,
}

/// What a thread reads from a pipe.
#[derive(Default)]
struct Inbox {
    unread: Mutex<Unread>,
    changed: Condvar,
}

#[derive(Default)]
struct Unread {
    bytes: Vec<u8>,
    /// The pipe is closed.
    ended: bool,
    /// Nothing takes the bytes.
    abandoned: bool,
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fill(self: &Arc<Self>, mut pipe: impl Read + Send + 'static) -> io::Result<()> {
        let inbox = Arc::clone(self);
        let read = move || {
            let mut chunk = [0; 64 << 10];
            loop {
                let count = pipe.read(&mut chunk).unwrap_or(0);
                let is_full = |unread: &mut Unread| unread.bytes.len() > MAX_UNREAD && !unread.abandoned;
                let unread = inbox.changed.wait_while(inbox.lock(), is_full);
                let mut unread = unread.unwrap_or_else(PoisonError::into_inner);
                if count == 0 || unread.abandoned {
                    unread.ended = true;
                    return;
                }
                unread.bytes.extend_from_slice(&chunk[..count]);
            }
        };
        thread::Builder::new().name("cc-lb-compile-read".to_owned()).spawn(read).map(|_| ())
    }

    fn take(&self, into: &mut Vec<u8>) {
        into.append(&mut self.lock().bytes);
        self.changed.notify_all();
    }

    fn closed(&self) -> bool {
        let unread = self.lock();
        unread.ended && unread.bytes.is_empty()
    }

    /// Ends the reading thread.
    fn abandon(&self) {
        self.lock().abandoned = true;
        self.changed.notify_all();
    }
}

impl Process {
    /// Starts it.
    pub fn start(command: &Command) -> io::Result<Process> {
        let mut child = command.piped().spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (input, to_write): (_, Receiver<Vec<u8>>) = sync_channel(CHUNKS);
        let process = Process { child, input: Some(input), output: Arc::default(), errors: Arc::default(), exit: None };
        if let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) {
            process.output.fill(stdout)?;
            process.errors.fill(stderr)?;
            let write = move || to_write.iter().take_while(|bytes| stdin.write_all(bytes).is_ok()).for_each(drop);
            thread::Builder::new().name("cc-lb-compile-write".to_owned()).spawn(write)?;
        }
        Ok(process)
    }

    /// Passes as much to the writing thread as it accepts. An error means that the other end is closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(input) = &self.input else { return Err(ErrorKind::BrokenPipe.into()) };
        let chunk = &bytes[..bytes.len().min(CHUNK_BYTES)];
        match input.try_send(chunk.to_vec()) {
            Ok(()) => Ok(chunk.len()),
            Err(TrySendError::Full(_)) => Ok(0),
            Err(TrySendError::Disconnected(_)) => Err(ErrorKind::BrokenPipe.into()),
        }
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
    /// Kills and reaps the process, and ends its threads.
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill();
            let _ = self.child.wait();
        }
        self.output.abandon();
        self.errors.abandon();
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

#[cfg(all(test, unix))]
mod tests {
    use std::time::Instant;

    use super::*;

    /// More than the threads and pipes of a process hold.
    const MANY: usize = 16 << 20;

    fn cat(arguments: &[&str]) -> Process {
        let arguments = arguments.iter().map(|&argument| argument.to_owned()).collect();
        let command = Command { program: "/bin/cat".to_owned(), arguments, environment: Vec::new() };
        Process::start(&command).expect("it starts")
    }

    fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
        let began = Instant::now();
        while !condition() {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn what_is_written_to_a_process_is_read_from_it() {
        let mut process = cat(&[]);
        let (bytes, mut sent, mut output) = (vec![7; MANY], 0, Vec::new());
        wait_until("it answers", || {
            sent += process.write(&bytes[sent..]).expect("it reads");
            process.read_output(&mut output);
            output.len() == MANY
        });
        assert!(output == bytes && !process.output_closed() && process.exit().is_none());
        process.kill();
        wait_until("it ends", || process.exit().is_some() && process.output_closed());
        assert!(process.write(b"x").is_err());
    }

    #[test]
    fn a_process_with_unread_output_leaves_no_threads() {
        let process = cat(&["/dev/zero"]);
        let output = Arc::clone(&process.output);
        wait_until("it fills the buffer", || output.lock().bytes.len() > MAX_UNREAD);
        drop(process);
        wait_until("its thread ends", || Arc::strong_count(&output) == 1);
    }
}
