//! QEMU's monitor, as far as it is needed to read memory: QMP over a Unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::{Failure, Outcome};
use crate::workspace::{read, shown};

/// Longest wait for QEMU to open its socket.
const OPENING: Duration = Duration::from_secs(20);
/// Longest wait for an answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Most bytes of a socket's path.
const PATH_BYTES: usize = 100;

/// A connection to the monitor.
pub struct Monitor {
    reader: BufReader<UnixStream>,
    writer: UnixStream,
    /// Where QEMU puts what it reads.
    scratch: PathBuf,
    /// The system turned itself off.
    shut_down: bool,
}

/// Lets a call of QEMU open a monitor and wait for it before the first instruction; when the system turns itself off,
/// QEMU stays until it is told to end.
///
/// # Errors
/// The path is too long for a socket.
pub fn open(command: &mut Command, socket: &Path) -> Outcome {
    // Relative where that is possible: sockets have short paths.
    let path = shown(socket);
    if path.len() > PATH_BYTES || path.contains(',') {
        let what = "is no path for QEMU's monitor: run this in the project's folder";
        return Err(Failure::failed(format!("{path} {what}")));
    }
    // Left over from a run that was killed, or not there.
    let _ = std::fs::remove_file(socket);
    let monitor = format!("unix:{path},server=on,wait=off");
    command.args(["-qmp", &monitor, "-S", "-no-shutdown"]);
    Ok(())
}

impl Monitor {
    /// Connects to the socket that [`open`] named, as soon as it is there. `gone` ends the wait.
    ///
    /// # Errors
    /// Nobody listens in time, or it is no QEMU.
    pub fn connect(socket: &Path, gone: impl Fn() -> bool) -> Outcome<Self> {
        let end = Instant::now() + OPENING;
        let path = shown(socket);
        let stream = loop {
            match UnixStream::connect(&path) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > end || gone() => return Err(lost(&error)),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        };
        stream
            .set_read_timeout(Some(ANSWER))
            .map_err(|e| lost(&e))?;
        let writer = stream.try_clone().map_err(|e| lost(&e))?;
        let mut monitor = Self {
            reader: BufReader::new(stream),
            writer,
            scratch: socket.with_extension("mem"),
            shut_down: false,
        };
        monitor.receive()?; // the greeting
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Executes a command.
    ///
    /// # Errors
    /// QEMU refuses it or is gone.
    pub fn execute(&mut self, name: &str, arguments: Value) -> Outcome<Value> {
        let line = json!({ "execute": name, "arguments": arguments });
        writeln!(self.writer, "{line}").map_err(|e| lost(&e))?;
        loop {
            let answer = self.receive()?;
            if let Some(result) = answer.get("return") {
                return Ok(result.clone());
            }
            if let Some(error) = answer.get("error") {
                return Err(Failure::failed(format!("QEMU's monitor: {name}: {error}")));
            }
        }
    }

    /// Returns whether the system has turned itself off; asks nothing of QEMU that takes time.
    ///
    /// # Errors
    /// QEMU is gone.
    pub fn has_shut_down(&mut self) -> Outcome<bool> {
        if !self.shut_down {
            // Events that came since are read before the answer.
            let status = self.execute("query-status", json!({}))?;
            self.shut_down |= status.get("status").and_then(Value::as_str) == Some("shutdown");
        }
        Ok(self.shut_down)
    }

    /// Copies memory of the board.
    ///
    /// # Errors
    /// QEMU refuses it or is gone.
    pub fn memory(&mut self, at: u64, bytes: u64) -> Outcome<Vec<u8>> {
        let arguments = json!({ "val": at, "size": bytes, "filename": self.scratch });
        self.execute("pmemsave", arguments)?;
        read(&self.scratch)
    }

    /// Reads one message.
    fn receive(&mut self) -> Outcome<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => Err(Failure::failed("QEMU's monitor: it has ended")),
            Ok(_) => serde_json::from_str(&line)
                .map_err(|error| Failure::failed(format!("QEMU's monitor: {error}: {line}"))),
            Err(error) => Err(lost(&error)),
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // Not there when nothing was read.
        let _ = std::fs::remove_file(&self.scratch);
    }
}

/// Words a broken connection.
fn lost(error: &std::io::Error) -> Failure {
    Failure::failed(format!("QEMU's monitor: {error}"))
}
