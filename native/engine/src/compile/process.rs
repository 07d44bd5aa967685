//! A child process and its pipes, which never block this side.

use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

pub use super::command::{Command, Exit};

/// Bytes that are read before other processes get their turn.
const READ_BYTES: usize = 4 << 20;

/// What [`wait`] looks at.
pub type Watched = libc::pollfd;

/// A running child process.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
    /// Becomes readable when the process ends, and names it even after its id belongs to another one.
    descriptor: Option<OwnedFd>,
    exit: Option<Exit>,
}

impl Process {
    /// Starts it. The standard library uses `posix_spawn` here, which does not copy the page tables of this process.
    pub fn start(command: &Command) -> io::Result<Process> {
        let mut child = std::process::Command::new(&command.program)
            .args(&command.arguments)
            .env_clear()
            .envs(command.environment.iter().map(|(name, value)| (name, value)))
            // An interrupt from the terminal is for this process alone.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let descriptor = descriptor_of(&child);
        let process = Process { child, input, output, errors, descriptor, exit: None };
        let pipes = [
            process.input.as_ref().map(AsFd::as_fd),
            process.output.as_ref().map(AsFd::as_fd),
            process.errors.as_ref().map(AsFd::as_fd),
        ];
        for pipe in pipes.into_iter().flatten() {
            never_block(pipe)?;
        }
        Ok(process)
    }

    /// Writes as much as the pipe takes. An error means that nobody reads it any more.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(input) = &mut self.input else { return Err(ErrorKind::BrokenPipe.into()) };
        match input.write(bytes) {
            Err(error) if would_block(&error) => Ok(0),
            result => result.inspect_err(|_| self.input = None),
        }
    }

    /// Appends what the process has written to its stdout.
    pub fn read_output(&mut self, into: &mut Vec<u8>) {
        read(&mut self.output, into, READ_BYTES);
    }

    /// Appends what the process has written to its stderr, up to so many bytes in all. The rest is dropped.
    pub fn read_errors(&mut self, into: &mut Vec<u8>, max_bytes: usize) {
        read(&mut self.errors, into, READ_BYTES);
        into.truncate(max_bytes);
    }

    /// Whether the process, or the end of it, has closed its stdout.
    pub fn output_closed(&self) -> bool {
        self.output.is_none()
    }

    /// Kills it and closes its pipes. It must still be reaped.
    pub fn kill(&mut self) {
        (self.input, self.output, self.errors) = (None, None, None);
        if self.exit.is_some() {
            return;
        }
        #[cfg(target_os = "linux")]
        if let Some(descriptor) = &self.descriptor {
            // SAFETY: a system call on a descriptor that this process owns; the null pointer stands for no details.
            unsafe {
                let none = std::ptr::null::<libc::siginfo_t>();
                libc::syscall(libc::SYS_pidfd_send_signal, descriptor.as_raw_fd(), libc::SIGKILL, none, 0);
            }
            return;
        }
        let _ = self.child.kill();
    }

    /// How it ended, if it has. Reaps this process alone, and leaves others' children to them.
    pub fn exit(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match self.child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => {
                    Some(status.code().map(Exit::Code).or(status.signal().map(Exit::Signal)).unwrap_or(Exit::Unknown))
                }
                // It is nobody's child any more: reaped by other code, or on its own where SIGCHLD is ignored.
                Err(_) => Some(Exit::Unknown),
            };
        }
        self.exit
    }

    /// Adds what [`wait`] should look for; `writing` if there is something to write.
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
    /// Nothing is left running, and no zombie.
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
    /// A pipe to this process itself.
    pub fn new() -> io::Result<Wake> {
        let (reader, writer) = io::pipe()?;
        never_block(reader.as_fd())?;
        never_block(writer.as_fd())?;
        Ok(Wake { reader, writer })
    }

    /// Makes the running or the next [`wait`] return. A full pipe does so already.
    pub fn wake(&self) {
        let _ = (&self.writer).write(&[0]);
    }

    /// Forgets the calls of [`Wake::wake`] so far.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while (&self.reader).read(&mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }

    /// Adds what [`wait`] should look for.
    pub fn watch(&self, watched: &mut Vec<Watched>) {
        watched.push(libc::pollfd { fd: self.reader.as_raw_fd(), events: libc::POLLIN, revents: 0 });
    }
}

/// Blocks until something happens to what is watched, or until the time is over.
pub fn wait(_wake: &Wake, watched: &mut [Watched], timeout: Option<Duration>, _processes: bool) {
    // Rounded up, so that the time is over afterwards.
    let timeout = timeout.map_or(-1, |timeout| i32::try_from(timeout.as_millis() + 1).unwrap_or(i32::MAX));
    // SAFETY: the slice is live and its length is passed along. Failing is like returning early.
    unsafe { libc::poll(watched.as_mut_ptr(), watched.len() as libc::nfds_t, timeout) };
}

/// Has writing to a broken pipe fail on this thread, whatever the process does about its signal. Other signals stay as they
/// are: a child inherits what is blocked.
pub fn block_broken_pipe() {
    // SAFETY: the set is initialized by the first call and then only changed and read.
    unsafe {
        let mut signals = std::mem::zeroed();
        libc::sigemptyset(&raw mut signals);
        libc::sigaddset(&raw mut signals, libc::SIGPIPE);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const signals, std::ptr::null_mut());
    }
}

/// Whether the process ended because of its limit of processor time.
pub fn is_time_limit(exit: Exit) -> bool {
    exit == Exit::Signal(libc::SIGXCPU)
}

/// The name of the signal that a program ended by which failed by itself.
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

/// Whether what could not be started may be started later.
pub fn is_for_the_moment(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EAGAIN | libc::ENOMEM | libc::EMFILE | libc::ENFILE | libc::EINTR | libc::ENOSPC)
    )
}

fn read(pipe: &mut Option<impl Read>, into: &mut Vec<u8>, max_bytes: usize) {
    let end = into.len().saturating_add(max_bytes);
    let mut chunk = [0; 64 << 10];
    while into.len() < end {
        let Some(reader) = pipe else { return };
        match reader.read(&mut chunk) {
            Ok(count) if count > 0 => into.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if would_block(&error) => return,
            _ => *pipe = None,
        }
    }
}

fn would_block(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

fn never_block(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both calls work on a descriptor that is borrowed, hence open.
    let result = unsafe {
        let flags = libc::fcntl(descriptor.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(descriptor.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK)
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Linux 5.3. The id cannot have been given to another process: this one has not been reaped.
#[cfg(target_os = "linux")]
fn descriptor_of(child: &Child) -> Option<OwnedFd> {
    let id = libc::pid_t::try_from(child.id()).ok()?;
    // SAFETY: a system call without memory of this process.
    let descriptor = RawFd::try_from(unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) }).ok()?;
    // SAFETY: the descriptor was opened just now and nobody else has it.
    (descriptor >= 0).then(|| unsafe { OwnedFd::from_raw_fd(descriptor) })
}

#[cfg(not(target_os = "linux"))]
fn descriptor_of(_child: &Child) -> Option<OwnedFd> {
    None
}
