//! The start-up table and the list of partitions, made line by line when the console has time for them.

use crate::system::System;
use bulkhead::partition::Phase;
use core::fmt::{self, Write};
use core::sync::atomic::Ordering;

/// A line of text in a fixed buffer; what does not fit is cut off.
pub struct Line {
    bytes: [u8; Self::BYTES],
    length: usize,
}

impl Line {
    /// Bytes that a line can have.
    pub const BYTES: usize = 240;

    /// Makes an empty line.
    pub const fn new() -> Self {
        Self {
            bytes: [0; Self::BYTES],
            length: 0,
        }
    }

    /// Returns the text.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    /// Lets `text` write the line. A line that is too long is cut, so a failure of `text` shows in it.
    pub fn write(&mut self, text: impl FnOnce(&mut Self) -> fmt::Result) {
        if text(self).is_err() {
            let mark = self.length.min(Self::BYTES - 1);
            if let Some(last) = self.bytes.get_mut(mark) {
                *last = b'~';
            }
        }
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let place = self.bytes.get_mut(self.length).ok_or(fmt::Error)?;
            *place = byte;
            self.length += 1;
        }
        Ok(())
    }
}

/// What is being listed, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Listing {
    start_up: bool,
    next: usize,
}

impl Listing {
    /// Lists what the system is made of.
    pub const fn start_up() -> Self {
        Self {
            start_up: true,
            next: 0,
        }
    }

    /// Lists the partitions and what they are doing.
    pub const fn partitions() -> Self {
        Self {
            start_up: false,
            next: 0,
        }
    }

    /// Writes the next line, or returns false when all are written.
    pub fn next_line(&mut self, system: &System, line: &mut Line) -> bool {
        let index = self.next;
        self.next += 1;
        let Some(index) = self.start_up_line(system, index, line) else {
            return true;
        };
        let Some(partition) = system.partitions.get(index) else {
            return false;
        };
        line.write(|out| {
            if self.start_up {
                describe(system, partition, out)
            } else {
                state_of(partition, out)
            }
        });
        true
    }

    /// Writes a line of the start-up table's head, or returns the index of the partition whose line is due.
    fn start_up_line(&self, system: &System, index: usize, line: &mut Line) -> Option<usize> {
        if !self.start_up {
            return Some(index);
        }
        match index {
            0 => line.write(|out| {
                let version = env!("CARGO_PKG_VERSION");
                write!(out, "Bulkhead {version} on {}: {} partitions, pCPUs", system.board, system.partitions.len())?;
                for (id, mailbox) in system.mailboxes.iter().enumerate().filter(|(_, mailbox)| mailbox.used) {
                    let state = if mailbox.online.load(Ordering::Relaxed) { "" } else { " (starting)" };
                    write!(out, " {id}{state}")?;
                }
                write!(out, ", console on pCPU {}", system.console.pcpu().0)
            }),
            1 => line.write(|out| out.write_str("partition        vCPU@pCPU:priority     memory: guest -> board, devices, interrupts")),
            _ => return Some(index - 2),
        }
        None
    }
}

/// Writes a partition's line of the start-up table.
fn describe(system: &System, partition: &crate::system::Partition, out: &mut Line) -> fmt::Result {
    write!(out, "  {:<15}", partition.name)?;
    for (index, (place, record)) in partition
        .vcpus
        .iter()
        .zip(system.payload.vcpus(partition.record))
        .enumerate()
    {
        write!(out, " {index}@{}:{}", place.pcpu.0, record.priority)?;
    }
    for memory in partition.memory {
        let kib = memory.guest.size() >> 10;
        let (amount, unit) = if kib % 1024 == 0 {
            (kib >> 10, 'M')
        } else {
            (kib, 'K')
        };
        write!(
            out,
            "  {amount}{unit} {:#x} -> {}",
            memory.guest.start(),
            memory.host
        )?;
    }
    for device in system.payload.devices(partition.record) {
        write!(out, "  {}", system.payload.text(device.path))?;
    }
    for interrupt in system.payload.interrupts(partition.record) {
        write!(out, " INTID {}", interrupt.intid)?;
    }
    Ok(())
}

/// Writes what a partition is doing.
fn state_of(partition: &crate::system::Partition, out: &mut Line) -> fmt::Result {
    let life = partition.state.lock().life;
    let words = match life.phase() {
        Phase::Stopped => "stopped",
        Phase::Loading => "loading",
        Phase::Running => "running",
        Phase::Stopping(_) => "stopping",
    };
    write!(
        out,
        "{} {}: {words}, started {} times",
        partition.id.0,
        partition.name,
        life.starts()
    )
}
