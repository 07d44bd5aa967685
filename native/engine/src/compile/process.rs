//! A child process and its pipes, which never block the parent.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

pub use super::command::{Command, Exit};

/// Bytes that are read from one process before others are served.
const READ_BYTES: u64 = 4 << 20;

/// The descriptors that [`wait`] polls.
pub type Watched = libc::pollfd;

/// A running child process.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    /// Becomes readable when the process ends, and identifies it even after its id is reused.
    descriptor: Option<OwnedFd>,
    exit: Option<Exit>,
}

impl Process {
    /// Starts the process. The standard library uses `posix_spawn` here, which does not copy the page tables of this
    /// process.
    pub fn start(command: &Command) -> io::Result<Process> {
        // An interrupt from the terminal must reach only this process.
        let mut child = command.piped().process_group(0).spawn()?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let descriptor = descriptor_of(&child);
        let process = Process { child, input, output, errors, descriptor, exit: None };
        let pipes = [
            process.input.as_ref().map(AsFd::as_fd),
            process.output.as_ref().map(AsFd::as_fd),
            process.errors.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            set_nonblocking(pipe)?;
        }
        Ok(process)
    }

    /// Writes as much as the pipe accepts. An error means that the other end is closed.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Err(ErrorKind::BrokenPipe.into()) };
        match input.write(bytes) {
            Err(error) if would_block(&error) => Ok(0),
            result => result.inspect_err(|_| self.input = None),
        }
    }

    /// Appends the available stdout of the process.
    pub fn read_output(&mut self, into: &mut Vec<u8>) {
        read(&mut self.output, into);
    }

    /// Appends the available stderr of the process, up to a total limit. The rest is dropped.
    pub fn read_errors(&mut self, into: &mut Vec<u8>, max_bytes: usize) {
        read(&mut self.errors, into);
        into.truncate(max_bytes);
    }

    /// Whether the stdout of the process is closed.
    pub fn output_closed(&self) -> bool {
        self.output.is_none()
    }

    /// Kills the process and closes its pipes. It must still be reaped.
    pub fn kill(&mut self) {
        (self.input, self.output, self.errors) = (None, None, None);
        if self.exit.is_some() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &self.descriptor {
            // SAFETY: a system call on a descriptor that this process owns; the null pointer requests no details.
            unsafe {
                let none = std::ptr::null::<libc::siginfo_t>();
                libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), libc::SIGKILL, none, 0);
            }
            return;
        }
        let _ = self.child.kill();
    }

    /// Returns how the process ended, if it has. Reaps only this process, and no child of other code.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match self.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => {
                    Some(status.code().map(Exit::Code).or(status.signal().map(Exit::Signal)).unwrap_or(Exit::Unknown))
                }
                // The child was reaped by other code, or automatically because SIGCHLD is ignored.
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.exit
    }

    /// Adds the events for [`wait`] to poll. `writing`: data remains to be written.
    pub fn watch(&self, writing: bool, watched: &mut Vec<Watched>) {
        let mut add = |descriptor: Option<RawFd>, events| {
            watched.extend(descriptor.map(|fd| libc::pollfd { fd, events, revents: 0 }));
        };
        add(self.input.as_ref().filter(|_| writing).map(AsRawFd::as_raw_fd), libc::POLLOUT);
        add(self.output.as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN);
        add(self.errors.as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN);
        add(self.descriptor.as_ref().map(AsRawFd::as_raw_fd), libc::POLLIN);
    }

    /// Whether [`wait`] returns when the process ends.
    pub fn end_is_watched(&self) -> bool {
        self.descriptor.is_some()
    }
}

impl Drop for Process {
    /// Kills and reaps the process.
    fn drop(&mut self) {
        if self.exit().is_none() {
            self.kill();
            let _ = self.child.wait();
        }
    }
}

/// Wakes the supervisor from [`wait`].
pub struct Wake {
    reader: PipeReader,
    writer: PipeWriter,
}

impl Wake {
    /// Creates a pipe from this process to itself.
    pub fn new() -> io::Result<Wake> {
        let (reader, writer) = io::pipe()?;
        set_nonblocking(reader.as_fd())?;
        set_nonblocking(writer.as_fd())?;
        Ok(Wake { reader, writer })
    }

    /// Makes the current or the next [`wait`] return. If the pipe is full, it already does.
    pub fn wake(&self) {
        let _ = (&self.writer).write(&[0]);
    }

    /// Discards the earlier calls of [`Wake::wake`].
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while (&self.reader).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }

    /// Adds the events for [`wait`] to poll.
    pub fn watch(&self, watched: &mut Vec<Watched>) {
        watched.push(libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }
}

/// Blocks until a watched descriptor has an event or the time has elapsed.
pub fn wait(_wake: &Wake, watched: &mut [Watched], timeout: Option<Duration>, _processes: bool) {
    // Rounded up, so that the time has elapsed afterwards.
    let timeout = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX));
    // SAFETY: the slice is live and its length is passed. A failure is equivalent to an early return.
    unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, timeout) };
}

/// Blocks SIGPIPE on this thread, so that writing to a broken pipe fails instead. Other signals are not changed,
/// because a child inherits the mask.
pub fn block_broken_pipe() {
    // SAFETY: the first call initializes the set, which is then only changed and read.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
    }
}

/// Whether the limit of processor time ended the process.
pub fn is_time_limit(exit: Exit) -> bool {
    exit == Exit::Signal(libc::SIGXCPU)
}

/// Returns the name of the signal if it indicates a fault of the program.
pub fn fault(exit: Exit) -> Option<&'static str> {
    let Exit::Signal(signal) = exit else { return None };
    Some(match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGBUS => "SIGBUS",
        libc::SIGILL => "SIGILL",
        libc::SIGABRT => "SIGABRT",
        libc::SIGFPE => "SIGFPE",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGSYS => "SIGSYS",
        _ => return None,
    })
}

/// Whether a start that failed with this error may succeed later.
pub fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EINTR | libc::ENOSPC)
    )
}

/// Appends what is available, at most [`READ_BYTES`], and closes the pipe at its end.
fn read(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) {
    let Some(reader) = pipe else { return };
    // What was read before an error is in the vector.
    match reader.take(READ_BYTES).read_to_end(into) {
        Ok(count) if count as u64 == READ_BYTES => {}
        Err(error) if would_block(&error) => {}
        _ => *pipe = None,
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn set_nonblocking(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both calls work on a descriptor that is borrowed, hence open.
    let result = unsafe {
        let flags = libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Requires Linux 5.3. The id cannot have been reused, because the process has not been reaped.
#[cfg(target_os = "linux")]
fn descriptor_of(child: &Child) -> Option<OwnedFd> {
    use std::os::fd::FromRawFd;
    let id = libc::pid_t::try_from(child.id()).ok()?;
    // SAFETY: the system call does not access memory of this process.
    let descriptor = RawFd::try_from(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) }).ok()?;
    // SAFETY: the descriptor was just opened, and no other code owns it.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(not(target_os = "linux"))]
fn descriptor_of(_child: &Child) -> Option<OwnedFd> {
    None
}
