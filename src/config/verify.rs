//! Whether the payload fits the board that EL2 really runs on. The host checked the table against a tree too, but a
//! board can be another one than the table was written for. Every mismatch is reported, not only the first.

mod cpus;
mod foundation;
mod mismatch;

pub use cpus::{console_pcpu, described, pcpu_of};
pub use foundation::Fault;
pub use mismatch::{Client, CpuName, El2Owned, Mismatch};

use super::payload::Payload;
use super::record::{DeviceRecord, InterruptRecord, PartitionRecord, console_model};
use crate::addr::{PAGE_BYTES, Range};
use crate::board::{Board, BoardError, Device, Reserved, ReservedBy, Tree, Trigger};
use crate::ids::{Mpidr, PcpuId, VcpuId};

/// The board as it is found at start-up.
#[derive(Clone, Copy)]
pub struct Actual<'b, 'a> {
    /// What its tree says.
    pub board: &'b Board<'a>,
    /// The tree, for looking devices up.
    pub tree: &'b Tree<'a>,
    /// The CPU that runs this: it needs no starting. `None` on the host.
    pub boot_cpu: Option<Mpidr>,
    /// First INTID that the GIC's distributor does not have (from GICD_TYPER, at most 1020).
    pub intid_end: u32,
    /// The image with its payload, where the loader put it. `None` on the host.
    pub image: Option<Range>,
}

/// Checks the payload against the board. Returns the number of mismatches, each of which `report` has seen.
pub fn verify<'a>(
    payload: &Payload<'a>,
    actual: &Actual<'_, 'a>,
    report: &mut dyn FnMut(Mismatch<'a>),
) -> usize {
    let mut mismatches = 0;
    check(payload, actual, &mut |mismatch| {
        mismatches += 1;
        report(mismatch);
    });
    mismatches
}

/// Shows every mismatch.
// Not inlined, or each would have a copy of what is done with it.
#[inline(never)]
fn check<'a>(payload: &Payload<'a>, actual: &Actual<'_, 'a>, report: &mut dyn FnMut(Mismatch<'a>)) {
    foundation::check(payload, actual, &mut |fault| {
        report(Mismatch::Foundation(fault));
    });
    let header = payload.header();
    let named = (header.console_pcpu, header.console_mpidr);
    let _ = cpus::find(actual, Client::Console, named, report); // it is there, or that was said
    cpus::check(actual.board, payload, report);
    for partition in payload.partitions() {
        let mut check = Check {
            payload,
            actual,
            partition,
            name: payload.name(partition),
            seen: None,
            report,
        };
        check.vcpus();
        check.devices();
        check.interrupts();
    }
}

/// The checks of one partition.
struct Check<'c, 'b, 'a> {
    payload: &'c Payload<'a>,
    actual: &'c Actual<'b, 'a>,
    partition: &'a PartitionRecord,
    name: &'a str,
    /// The device that was looked up last, by the place of its path in the payload: a pass over the tree is dear.
    seen: Option<(u32, Device<'a>)>,
    report: &'c mut dyn FnMut(Mismatch<'a>),
}

impl<'a> Check<'_, '_, 'a> {
    /// Checks that every vCPU has a CPU that can be started.
    fn vcpus(&mut self) {
        let name = self.name;
        for (position, record) in self.payload.vcpus(self.partition).iter().enumerate() {
            let vcpu = VcpuId(position as u8);
            let client = Client::Vcpu(name, vcpu);
            let named = (record.pcpu, record.mpidr);
            let pcpu = cpus::find(self.actual, client, named, self.report);
            if let Some(pcpu) = pcpu.filter(|pcpu| !self.has_time(*pcpu)) {
                (self.report)(Mismatch::NoTimeWindow { name, vcpu, pcpu });
            }
        }
    }

    /// Says whether the partition is in a time window of a pCPU, if that has windows.
    fn has_time(&self, pcpu: PcpuId) -> bool {
        let Some(record) = described(self.actual.board, self.payload, pcpu) else {
            return true;
        };
        let windows = self.payload.time_windows(record);
        let bit = 1 << self.earlier().count();
        windows.is_empty() || windows.iter().any(|window| window.partitions & bit != 0)
    }

    /// Checks that every device is where the payload has it, and is nobody else's.
    fn devices(&mut self) {
        for record in self.payload.devices(self.partition) {
            let path = self.payload.text(record.path);
            if !path.is_empty() {
                match self.find(record) {
                    Ok(device) => self.device(record, path, &device),
                    Err(error) => {
                        let name = self.name;
                        (self.report)(Mismatch::Device { name, path, error });
                    }
                }
            }
            self.windows(record);
        }
    }

    /// Looks a device up.
    #[inline(never)]
    fn find(&mut self, record: &DeviceRecord) -> Result<Device<'a>, BoardError<'a>> {
        if let Some((at, device)) = &self.seen
            && *at == record.path.offset
        {
            return Ok(device.clone());
        }
        let path = self.payload.text(record.path);
        let device = self.actual.board.find_device(self.actual.tree, path)?;
        self.seen = Some((record.path.offset, device.clone()));
        Ok(device)
    }

    /// Checks a device that the tree has.
    fn device(&mut self, record: &DeviceRecord, path: &'a str, device: &Device<'a>) {
        let name = self.name;
        if !device.enabled {
            (self.report)(Mismatch::DeviceDisabled { name, path });
        }
        let windows = self.payload.windows(record);
        for window in windows {
            let wanted = Range::new(window.hpa, window.size);
            let known = wanted.is_none_or(|wanted| device.registers.contains(&wanted));
            if let (false, Some(window)) = (known, wanted) {
                let first = device.registers.first().copied();
                (self.report)(Mismatch::Window {
                    name,
                    path,
                    window,
                    first,
                });
            }
        }
        let (wanted, found) = (windows.len(), device.registers.len());
        if wanted != found {
            (self.report)(Mismatch::WindowCount {
                name,
                path,
                wanted,
                found,
            });
        }
        let granted = self.payload.interrupts(self.partition);
        for interrupt in &device.interrupts {
            if !granted.iter().any(|record| record.intid == interrupt.intid) {
                let intid = interrupt.intid;
                (self.report)(Mismatch::InterruptNotGranted { name, path, intid });
            }
        }
    }

    /// Checks that a device's pages hold nothing of EL2's, no RAM, and no other partition's device.
    fn windows(&mut self, record: &DeviceRecord) {
        let name = self.name;
        for window in self.payload.windows(record) {
            let Some(range) = Range::new(window.hpa, window.size) else {
                continue;
            };
            let pages = range.align_out(PAGE_BYTES);
            each_of_el2(self.actual.board, &mut |what, taken| {
                if taken.align_out(PAGE_BYTES).overlaps(pages) {
                    (self.report)(Mismatch::WindowTaken {
                        name,
                        window: range,
                        what,
                        taken,
                    });
                }
            });
            self.other_windows(range, pages);
        }
    }

    /// Checks a window's pages against those of the partitions before this one.
    fn other_windows(&mut self, window: Range, pages: Range) {
        let name = self.name;
        for other in self.earlier() {
            for device in self.payload.devices(other) {
                for theirs in self.payload.windows(device) {
                    let Some(other_window) = Range::new(theirs.hpa, theirs.size) else {
                        continue;
                    };
                    if other_window.align_out(PAGE_BYTES).overlaps(pages) {
                        (self.report)(Mismatch::WindowShared {
                            name,
                            window,
                            other: self.payload.name(other),
                            other_window,
                        });
                    }
                }
            }
        }
    }

    /// Checks that the partition's interrupts exist, are those of its devices, and are nobody else's.
    fn interrupts(&mut self) {
        let name = self.name;
        for record in self.payload.interrupts(self.partition) {
            let intid = record.intid;
            if intid >= self.actual.intid_end {
                let end = self.actual.intid_end;
                (self.report)(Mismatch::NoInterrupt { name, intid, end });
            }
            let console = self.actual.board.console.as_ref();
            let uart = console.and_then(|console| console.interrupt);
            if uart.is_some_and(|uart| uart.intid == intid) {
                (self.report)(Mismatch::ConsoleInterrupt { name, intid });
            }
            let emulated = self.partition.console_model != console_model::NONE;
            if emulated && self.partition.console_intid == intid {
                let other = name;
                (self.report)(Mismatch::InterruptTwice { name, intid, other });
            }
            for other in self.earlier() {
                let theirs = self.payload.interrupts(other);
                if theirs.iter().any(|record| record.intid == intid) {
                    let other = self.payload.name(other);
                    (self.report)(Mismatch::InterruptTwice { name, intid, other });
                }
            }
            self.source(record);
        }
    }

    /// Checks that one of the partition's devices has the interrupt, with the same trigger. A device that is in no
    /// tree may have any.
    fn source(&mut self, record: &InterruptRecord) {
        let name = self.name;
        let intid = record.intid;
        let edge = record.edge == 1;
        let mut wrong_trigger = false;
        for device in self.payload.devices(self.partition) {
            let path = self.payload.text(device.path);
            if path.is_empty() {
                return;
            }
            let Ok(device) = self.find(device) else {
                // Reported where the devices are checked; what interrupts it would have is not known.
                return;
            };
            let same = device.interrupts.iter().find(|line| line.intid == intid);
            match same.map(|line| (line.trigger == Trigger::Edge) == edge) {
                Some(true) => return,
                Some(false) => wrong_trigger = true,
                None => {}
            }
        }
        (self.report)(if wrong_trigger {
            Mismatch::Trigger { name, intid, edge }
        } else {
            Mismatch::InterruptOfNothing { name, intid }
        });
    }

    /// Returns the partitions before this one in the table.
    fn earlier(&self) -> impl Iterator<Item = &'a PartitionRecord> + use<'a> {
        let this = self.partition;
        self.payload
            .partitions()
            .iter()
            .take_while(move |other| !core::ptr::eq(*other, this))
    }
}

/// Shows what no device window may reach.
fn each_of_el2(board: &Board<'_>, each: &mut dyn FnMut(El2Owned, Range)) {
    each_register_of_el2(board, each);
    for memory in &board.memory {
        each(El2Owned::Memory, *memory);
    }
    for words in spin_tables(board) {
        each(El2Owned::SpinTable, words);
    }
}

/// Returns the pages with words that EL2 writes to for starting a CPU.
fn spin_tables(board: &Board<'_>) -> impl Iterator<Item = Range> {
    let of =
        |reserved: &Reserved<'_>| (reserved.by == ReservedBy::SpinTable).then_some(reserved.range);
    board.reserved.iter().filter_map(of)
}

/// Shows the registers that EL2 uses itself.
#[inline(never)]
fn each_register_of_el2(board: &Board<'_>, each: &mut dyn FnMut(El2Owned, Range)) {
    if let Some(console) = &board.console {
        each(El2Owned::Console, console.registers);
    }
    for range in board.gic.ranges() {
        each(El2Owned::Gic, range);
    }
}

#[cfg(test)]
mod tests;
