//! Terminals: the person's in raw mode, and the serial line that a board is on.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::termios::{
    ControlModes, OptionalActions, SpecialCodeIndex, Termios, ioctl_tiocexcl, tcgetattr, tcsetattr,
};

use crate::failure::{Failure, Outcome};

/// Raw mode for as long as this lives: keys come one by one and unchanged, Ctrl-C included.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches standard input to raw mode; `None` when it is no terminal.
    pub fn enter() -> Option<Self> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return None;
        }
        let before = tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Flush, &raw).ok()?;
        Some(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &self.before);
    }
}

/// A serial line: raw, eight bits, no parity, no flow control, nobody else's; as it was before when this goes away.
#[derive(Debug)]
pub struct Line {
    port: PathBuf,
    file: File,
    before: Termios,
}

impl Line {
    /// Opens a line at a speed in bits a second. What came before is not read.
    ///
    /// # Errors
    /// There is no such line, it may not be opened, or does not know the speed.
    pub fn open(port: &Path, speed: u32) -> Outcome<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        // Not our controlling terminal; and not waiting for a modem's carrier.
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        options.custom_flags(flags.bits() as i32);
        let file = options.open(port).map_err(|error| refusal(port, &error))?;
        let failed = |what: &str, error: rustix::io::Errno| {
            Failure::usage(format!("{}: {what}: {error}", port.display()))
        };
        let before = tcgetattr(&file).map_err(|error| failed("this is no serial line", error))?;
        let wait = rustix::fs::fcntl_getfl(&file)
            .and_then(|flags| rustix::fs::fcntl_setfl(&file, flags - OFlags::NONBLOCK));
        wait.map_err(|error| failed("it cannot be read", error))?;
        let wished = |error| failed(&format!("no {speed} bits a second"), error);
        let raw = raw(&before, speed).map_err(wished)?;
        tcsetattr(&file, OptionalActions::Flush, &raw).map_err(wished)?;
        ioctl_tiocexcl(&file).map_err(|error| failed("it cannot be had alone", error))?;
        Ok(Self {
            port: port.to_owned(),
            file,
            before,
        })
    }

    /// Returns a handle to read or to write with.
    ///
    /// # Errors
    /// This process has too many open files.
    pub fn direction(&self) -> Outcome<File> {
        let failed = |error| Failure::file(&self.port, error);
        self.file.try_clone().map_err(failed)
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        // Nothing can be done about an adapter that is gone.
        let _ = tcsetattr(&self.file, OptionalActions::Now, &self.before);
    }
}

/// Returns what a line is set to.
fn raw(before: &Termios, speed: u32) -> rustix::io::Result<Termios> {
    let mut raw = before.clone();
    raw.make_raw();
    raw.control_modes
        .insert(ControlModes::CLOCAL | ControlModes::CREAD);
    let others = ControlModes::CRTSCTS | ControlModes::CSTOPB | ControlModes::HUPCL;
    raw.control_modes.remove(others);
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw.set_speed(speed)?;
    Ok(raw)
}

/// Says why a line cannot be opened, and what to do.
fn refusal(port: &Path, error: &io::Error) -> Failure {
    let advice = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "; its group may: add yourself to it (`sudo usermod -aG dialout $USER`) and log in again".to_owned()
        }
        io::ErrorKind::NotFound => match lines(Path::new("/dev")).join(", ") {
            there if there.is_empty() => "; there is no serial line here: is the adapter plugged in?".to_owned(),
            there => format!("; there are: {there}"),
        },
        io::ErrorKind::ResourceBusy => "; another program has it".to_owned(),
        _ => String::new(),
    };
    Failure::usage(format!("{}: {error}{advice}", port.display()))
}

/// Lists the serial lines in a folder that a board may be on.
fn lines(folder: &Path) -> Vec<String> {
    const KINDS: [&str; 4] = ["ttyUSB", "ttyACM", "ttyAMA", "ttyS"];
    let entries = std::fs::read_dir(folder);
    let entries = entries.into_iter().flatten().flatten();
    let named = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        KINDS.iter().any(|kind| name.starts_with(kind))
    };
    let mut lines: Vec<String> = entries
        .map(|entry| entry.path())
        .filter(named)
        .map(|path| path.display().to_string())
        .collect();
    lines.sort();
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_not_there_is_told_with_those_that_are() {
        let refused = Line::open(Path::new("/dev/ttyNone"), 115_200).unwrap_err();
        assert!(refused.message.contains("/dev/ttyNone"), "{refused}");
        assert!(refused.message.contains("there "), "{refused}");
    }

    #[test]
    fn a_file_is_no_line() {
        let refused = Line::open(Path::new("/dev/null"), 115_200).unwrap_err();
        assert!(refused.message.contains("no serial line"), "{refused}");
    }
}
