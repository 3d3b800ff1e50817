//! Why a command ended, and the exit codes that scripts rely on.

use std::fmt;

/// Exit codes of every command. The numbers are a contract with scripts outside this repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// The command did what it was asked, or saw the awaited text.
    Done = 0,
    /// A test failed, a budget was exceeded, or a build failed.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The partition table is bad, or EL2 refused it at start-up.
    BadTable = 3,
    /// A tool is missing.
    ToolMissing = 4,
    /// EL2 panicked.
    Panic = 5,
    /// QEMU ended before the awaited text.
    EndedEarly = 6,
    /// The time was up.
    Timeout = 124,
    /// A person or a signal stopped the command.
    Interrupted = 130,
}

/// A command's end other than success: the exit code, and what to tell the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What the process exits with.
    pub code: Code,
    /// Lines for standard error; empty when all is said already.
    pub message: String,
}

impl Failure {
    /// Makes an end with any code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Makes an end by a wrong command line.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Code::Usage, message)
    }

    /// Makes an end by something that did not work.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Code::Failed, message)
    }

    /// Makes an end by an operation on a file.
    pub fn file(path: &std::path::Path, error: impl fmt::Display) -> Self {
        Self::failed(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// What every command returns.
pub type Outcome<T = ()> = Result<T, Failure>;
