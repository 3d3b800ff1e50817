//! The other end of a console: QEMU's process, or a serial line with a board behind it.

use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use crate::failure::{Failure, Outcome};
use crate::terminal::Line;

/// Where a system runs.
#[derive(Debug)]
pub enum Peer {
    /// In QEMU that this call starts, whose console is its standard input and output.
    Emulator(Command),
    /// On a board at this serial line.
    Line(Line),
}

impl From<Command> for Peer {
    fn from(command: Command) -> Self {
        Self::Emulator(command)
    }
}

impl Peer {
    /// Starts QEMU; the line is open already.
    pub(super) fn open(self) -> Outcome<Far> {
        match self {
            Self::Emulator(command) => Far::of_emulator(Emulator::start(command)?),
            Self::Line(line) => Far::of_line(line),
        }
    }
}

/// A peer with its console.
pub(super) struct Far {
    /// What it says; taken by the thread that reads it.
    pub output: Option<Box<dyn Read + Send>>,
    /// What it hears.
    pub input: Box<dyn Write>,
    /// Ends QEMU, or puts the line back as it was, when this goes away.
    keeper: Keeper,
}

/// What must live as long as the console.
enum Keeper {
    Emulator(Emulator),
    /// Only for what it does at its end.
    Line(#[expect(dead_code)] Line),
}

impl Far {
    /// Takes QEMU's console.
    fn of_emulator(mut emulator: Emulator) -> Outcome<Self> {
        let gone = || Failure::failed("QEMU has no console");
        let (output, input) = (emulator.output.take(), emulator.input.take());
        Ok(Self {
            output: Some(Box::new(output.ok_or_else(gone)?)),
            input: Box::new(input.ok_or_else(gone)?),
            keeper: Keeper::Emulator(emulator),
        })
    }

    /// Takes both directions of a line.
    fn of_line(line: Line) -> Outcome<Self> {
        Ok(Self {
            output: Some(Box::new(line.direction()?)),
            input: Box::new(line.direction()?),
            keeper: Keeper::Line(line),
        })
    }

    /// Waits for QEMU's end; a line has none to wait for.
    pub fn status(&mut self) -> io::Result<Option<ExitStatus>> {
        match &mut self.keeper {
            Keeper::Emulator(emulator) => emulator.child.wait().map(Some),
            Keeper::Line(_) => Ok(None),
        }
    }
}

/// QEMU's process, killed when this goes away.
pub struct Emulator {
    child: Child,
    input: Option<ChildStdin>,
    output: Option<ChildStdout>,
}

impl Emulator {
    /// Starts it. The kernel kills it should we die without a word.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command) -> Outcome<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        // A group of its own: Ctrl-C is for us, and we end it.
        command.process_group(0);
        // SAFETY: the closure runs between fork and exec; it makes one async-signal-safe system call and allocates
        // nothing.
        unsafe {
            command.pre_exec(|| {
                let kill = rustix::process::Signal::KILL;
                rustix::process::set_parent_process_death_signal(Some(kill)).map_err(Into::into)
            });
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child = command
            .spawn()
            .map_err(|error| Failure::failed(format!("{program}: {error}")))?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            child,
            input,
            output,
        })
    }

    /// Returns its console's output.
    pub fn take_output(&mut self) -> Option<ChildStdout> {
        self.output.take()
    }

    /// Returns its standard error, when the command made that a pipe.
    pub fn take_errors(&mut self) -> Option<ChildStderr> {
        self.child.stderr.take()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
