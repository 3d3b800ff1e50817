//! The pages of registers, one for each partition that this one manages.

use core::arch::asm;

use guest_channel::tree;
use linux_program::File;

use crate::Stop;

/// Bytes of a page.
const PAGE_BYTES: usize = 4096;

/// Registers.
const CONTROL: usize = 0x000;
const STATE: usize = 0x008;
const CRASHES: usize = 0x010;
const LOG: usize = 0x020;
const NAME: usize = 0x040;
const CRASH: usize = 0x200;
const OUTPUT: usize = 0x800;

/// Bytes of the output that can be there.
pub const OUTPUT_BYTES: usize = 0x800;
/// Orders.
pub const STOP: u32 = 1;
/// See [`STOP`].
pub const START: u32 = 2;
/// See [`STOP`].
pub const RESTART: u32 = 3;

/// What a partition is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of it runs.
    Stopped,
    /// Its memory is being filled.
    Loading,
    /// It runs.
    Running,
    /// It leaves.
    Stopping,
    /// It leaves, and comes again.
    Restarting,
    /// Something that this program does not know.
    Unknown,
}

impl Phase {
    /// Returns it in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Loading => "loading",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Restarting => "restarting",
            Self::Unknown => "unknown",
        }
    }
}

/// How a partition is.
#[derive(Clone, Copy, Debug)]
pub struct State {
    /// What it is doing.
    pub phase: Phase,
    /// Its vCPUs.
    pub vcpus: u8,
    /// It has a watchdog.
    pub watched: bool,
    /// How often it was started.
    pub starts: u32,
}

/// A name of up to 31 bytes.
pub struct Name([u8; 32]);

impl Name {
    /// Returns it as text.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(32);
        core::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or("?")
    }
}

/// The registers of one partition.
#[derive(Clone, Copy)]
pub struct Page(*mut u8);

/// Maps all pages.
pub fn all() -> Result<impl Iterator<Item = Page>, Stop> {
    let found = linux_program::with_tree(tree::manager);
    let found = found.map_err(|e| Stop::Linux("the device tree", e))?;
    let (at, bytes) = found.ok_or(Stop::Failed("this partition manages nobody"))?;
    let file = File::open_memory(true).map_err(|e| Stop::Linux("/dev/mem", e))?;
    let mapped = file.map(at, bytes as usize, true);
    let first = mapped.map_err(|e| Stop::Linux("the registers", e))?;
    file.close();
    let pages = 0..bytes as usize / PAGE_BYTES;
    // SAFETY: inside what was mapped.
    Ok(pages.map(move |page| Page(unsafe { first.add(page * PAGE_BYTES) })))
}

impl Page {
    /// Reads a register by one plain load, which is what a hypervisor can decode.
    fn read(self, offset: usize) -> u64 {
        let value;
        // SAFETY: inside the page of registers, at a multiple of 8; a load changes nothing.
        unsafe {
            asm!("ldr {v}, [{a}]", v = out(reg) value, a = in(reg) self.0.wrapping_add(offset),
                options(nostack, preserves_flags, readonly));
        }
        value
    }

    /// Gives an order.
    pub fn order(self, order: u32) {
        // SAFETY: CONTROL; what follows concerns other partitions, or ends this one.
        unsafe {
            asm!("str {v:w}, [{a}]", v = in(reg) order, a = in(reg) self.0.wrapping_add(CONTROL),
                options(nostack, preserves_flags));
        }
    }

    /// Returns how the partition is.
    pub fn state(self) -> State {
        let raw = self.read(STATE);
        State {
            phase: match raw as u8 {
                0 => Phase::Stopped,
                1 => Phase::Loading,
                2 => Phase::Running,
                3 => Phase::Stopping,
                4 => Phase::Restarting,
                _ => Phase::Unknown,
            },
            vcpus: (raw >> 8) as u8,
            watched: raw >> 16 & 1 != 0,
            starts: (raw >> 32) as u32,
        }
    }

    /// Returns its name.
    pub fn name(self) -> Name {
        let mut name = [0; 32];
        for (index, bytes) in name.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&self.read(NAME + 8 * index).to_le_bytes());
        }
        Name(name)
    }

    /// Says whether it has a name.
    pub fn is(self, name: &str) -> bool {
        self.name().as_str() == name
    }

    /// Returns how many crash records were taken.
    pub fn crashes(self) -> u64 {
        self.read(CRASHES)
    }

    /// Returns a word of the crash record.
    pub fn crash(self, word: usize) -> u64 {
        self.read(CRASH + 8 * word)
    }

    /// Returns how many bytes were ever sent, and how many of the last ones are there.
    pub fn log(self) -> (u32, u32) {
        let raw = self.read(LOG);
        let (end, kept) = (raw as u32, (raw >> 32) as u32);
        (end, kept.min(end).min(OUTPUT_BYTES as u32))
    }

    /// Copies the last `count` bytes before `end`; fewer when they were overwritten meanwhile. Returns how many.
    pub fn output(self, end: u32, count: u32, to: &mut [u8; OUTPUT_BYTES]) -> usize {
        let first = end.wrapping_sub(count);
        let mut word = (usize::MAX, 0);
        for (at, to) in to.iter_mut().enumerate().take(count as usize) {
            let place = first.wrapping_add(at as u32) as usize % OUTPUT_BYTES;
            if word.0 != place / 8 {
                word = (place / 8, self.read(OUTPUT + place / 8 * 8));
            }
            *to = (word.1 >> (place % 8 * 8)) as u8;
        }
        let newer = self.log().0.wrapping_sub(end) as usize;
        let room = OUTPUT_BYTES - (count as usize).min(OUTPUT_BYTES);
        let lost = newer.saturating_sub(room).min(count as usize);
        to.copy_within(lost..count as usize, 0);
        count as usize - lost
    }
}
