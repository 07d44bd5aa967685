//! The command line of a compile process and its exit status.

use std::process::Stdio;

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

impl Command {
    /// The command with this environment alone, whose standard streams are pipes.
    pub fn piped(&self) -> std::process::Command {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// It exited.
    Code(i32),
    /// A signal ended it.
    #[cfg_attr(not(unix), expect(dead_code, reason = "signals exist on Unix alone"))]
    Signal(i32),
    /// Other code in this process reaped it, so its status is unknown.
    Unknown,
}
