//! How a compile process is started, and how it ends.

/// How a compile process is started.
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
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
    /// Somebody else in this process reaped it.
    Unknown,
}
