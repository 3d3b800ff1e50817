//! Reads the rings of a system under QEMU while it runs, in a thread of its own.

use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::qmp::{self, Monitor};
use super::recording::Recording;
use crate::failure::{Failure, Outcome};

/// Time between two copies of the rings.
const PAUSE: Duration = Duration::from_millis(4);
/// Bytes of a ring's head with the number of records in them, and where that is.
const HEAD_BYTES: u64 = 24;
const WRITTEN_AT: usize = 16;

/// Collects records until it is told to finish.
pub struct Collector {
    finish: Sender<()>,
    thread: JoinHandle<Outcome<Recording>>,
}

impl Collector {
    /// Prepares a call of QEMU, and waits for it to be made. `rings` is where the board has EL2's `TRACE_RINGS`, and
    /// `recording` gets what is found.
    ///
    /// # Errors
    /// The socket's path is too long.
    pub fn start(
        command: &mut Command,
        socket: &Path,
        rings: u64,
        recording: Recording,
    ) -> Outcome<Self> {
        qmp::open(command, socket)?;
        let (finish, told) = channel();
        let socket = socket.to_owned();
        let thread = thread::spawn(move || collect(&socket, rings, recording, &told));
        Ok(Self { finish, thread })
    }

    /// Stops the system, reads what is left, and returns all.
    ///
    /// # Errors
    /// The monitor failed, or nothing is traced.
    pub fn finish(self) -> Outcome<Recording> {
        // It may have ended by itself.
        let _ = self.finish.send(());
        let joined = self.thread.join();
        joined.map_err(|_| Failure::failed("the reader of the trace panicked"))?
    }
}

/// The thread.
fn collect(
    socket: &Path,
    rings: u64,
    recording: Recording,
    told: &Receiver<()>,
) -> Outcome<Recording> {
    let gone = || told.try_recv().is_ok();
    let mut source = Source {
        monitor: Monitor::connect(socket, gone)?,
        rings,
        area: None,
        recording,
    };
    source.monitor.execute("cont", json!({}))?;
    loop {
        match told.recv_timeout(PAUSE) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                source.monitor.execute("stop", json!({}))?;
                source.copy_still()?;
                break;
            }
        }
        if source.monitor.has_shut_down()? {
            source.copy_still()?;
            // It closes the socket before it answers.
            let _ = source.monitor.execute("quit", json!({}));
            break;
        }
        source.copy()?;
    }
    if source.area.is_none() {
        return Err(Failure::failed(
            "the system ended before it had trace rings",
        ));
    }
    Ok(source.recording)
}

/// Where records come from, and where they go.
struct Source {
    monitor: Monitor,
    rings: u64,
    /// Address and bytes of all rings.
    area: Option<(u64, u64)>,
    recording: Recording,
}

impl Source {
    /// Copies the rings while the system runs.
    fn copy(&mut self) -> Outcome {
        let Some((at, bytes)) = self.find()? else {
            return Ok(());
        };
        let copied = self.monitor.memory(at, bytes)?;
        let mut begun = Vec::new();
        for offset in offsets(&copied) {
            let head = self.monitor.memory(at + offset as u64, HEAD_BYTES)?;
            let written = head.get(WRITTEN_AT..).and_then(|word| word.first_chunk());
            begun.push((offset, written.map(|word| u64::from_le_bytes(*word) + 1)));
        }
        self.add(&copied, |at| {
            begun.iter().find(|(offset, _)| *offset == at)?.1
        })
    }

    /// Copies the rings of a system that stands still.
    fn copy_still(&mut self) -> Outcome {
        let Some((at, bytes)) = self.find()? else {
            return Ok(());
        };
        let copied = self.monitor.memory(at, bytes)?;
        self.add(&copied, |_| None)
    }

    /// Returns where the rings are, once EL2 has made them.
    fn find(&mut self) -> Outcome<Option<(u64, u64)>> {
        if self.area.is_none() {
            let words = self.monitor.memory(self.rings, 16)?;
            let (words, _) = words.as_chunks::<8>();
            let mut words = words.iter().map(|word| u64::from_le_bytes(*word));
            let (at, bytes) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
            // The memory is not EL2's own before its start-up code ran.
            if at != 0 && bytes != 0 && bytes <= 2 * bulkhead::trace::MAX_TOTAL_BYTES {
                let ready = offsets(&self.monitor.memory(at, bytes)?);
                self.area = (!ready.is_empty()).then_some((at, bytes));
            }
        }
        Ok(self.area)
    }

    /// Takes a copy.
    fn add(&mut self, copied: &[u8], begun: impl FnMut(usize) -> Option<u64>) -> Outcome {
        let added = self.recording.add(copied, begun);
        added.map_err(|error| Failure::failed(format!("the trace's memory: {error}")))
    }
}

/// Returns where each ring begins in a copy; none as long as not all are ready.
fn offsets(mut area: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while !area.is_empty() {
        let Ok(ring) = bulkhead::trace::Ring::new(area) else {
            return Vec::new();
        };
        found.push(at);
        at += ring.size();
        area = area.get(ring.size()..).unwrap_or_default();
    }
    found
}
