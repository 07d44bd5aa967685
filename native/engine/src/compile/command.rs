//! The command line of a compile process and its exit status.

/// The command of a compile process.
#[derive(Debug, Eq, PartialEq)]
pub struct Command {
    /// The executable, by its absolute path.
    pub program: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(String, String)>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    Signal(i32),
    /// Other code in this process reaped it, so its status is unknown.
    Unknown,
}
