//! A channel as Linux gives it to user space: found in the device tree that the kernel was started with, mapped by
//! `/dev/mem`. Nobody else uses it: the kernel has no driver for it and needs none.

use guest_channel::tree::{self, Found};
use guest_channel::{Presence, Window};

use linux_program::File;

use crate::bell::Bell;
use crate::{Stop, say};

/// Registers of a doorbell.
const PEER: usize = 0x08;
const OWN: usize = 0x10;
const INFO: usize = 0x18;

/// An open channel.
pub struct Device {
    memory: Window,
    size: usize,
    registers: *mut u8,
    bell: Bell,
}

/// Bytes of a page of registers.
const PAGE_BYTES: usize = 4096;

/// Reads the device tree and lets `then` look at it.
fn with_tree<T>(then: impl FnOnce(&[u8]) -> T) -> Result<T, Stop> {
    linux_program::with_tree(then).map_err(|e| Stop::Linux("the device tree", e))
}

/// Prints the channels.
pub fn list() -> Result<(), Stop> {
    with_tree(|tree| {
        for Found {
            name, peer, size, ..
        } in tree::channels(tree)
        {
            say(
                File::OUTPUT,
                format_args!("{name}  to {peer}, {size} bytes\n"),
            );
        }
    })
}

impl Device {
    /// Opens a channel by its name.
    pub fn open(name: &str) -> Result<Self, Stop> {
        let place = |found: Found<'_>| (found.memory, found.size as usize, found.registers);
        let named = |tree: &[u8]| tree::channels(tree).find(|c| c.name == name).map(place);
        let (memory, size, registers) =
            with_tree(named)?.ok_or(Stop::Failed("there is no such channel; try `list`"))?;
        let file = File::open_memory(true).map_err(|e| Stop::Linux("/dev/mem", e))?;
        let registers = file.map(registers, PAGE_BYTES, true);
        let registers = registers.map_err(|e| Stop::Linux("its registers", e))?;
        // SAFETY: the page was mapped just now.
        let info = unsafe { registers.add(INFO).cast::<u32>().read_volatile() };
        let memory = file.map(memory, size, info >> 17 & 1 != 0);
        let memory = memory.map_err(|e| Stop::Linux("its memory", e))?;
        file.close();
        Ok(Self {
            // SAFETY: mapped just now, for as long as the program runs; nothing of the program lies there.
            memory: unsafe { Window::new(memory, size) },
            size,
            registers,
            bell: Bell::open(name),
        })
    }

    /// Returns this side's doorbell.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Reads a register.
    fn register(&self, offset: usize) -> u64 {
        // SAFETY: inside the page of registers, at a multiple of 8.
        unsafe { self.registers.add(offset).cast::<u64>().read_volatile() }
    }

    /// Returns the shared memory.
    pub fn memory(&self) -> Window {
        self.memory
    }

    /// Returns its bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Returns which half is this side's.
    pub fn side(&self) -> u8 {
        (self.register(INFO) >> 8) as u8 & 1
    }

    /// Says whether this side may write.
    pub fn writes(&self) -> bool {
        self.register(INFO) >> 17 & 1 != 0
    }

    /// Says whether the partner runs, and in which life.
    pub fn peer(&self) -> Presence {
        Presence::from_raw(self.register(PEER))
    }

    /// Says the same of this partition.
    pub fn own(&self) -> Presence {
        Presence::from_raw(self.register(OWN))
    }

    /// Rings the partner's doorbell.
    pub fn ring(&self) {
        // SAFETY: a barrier changes no state: what was written is there before the partner looks.
        unsafe { core::arch::asm!("dsb sy", options(nostack, preserves_flags)) };
        // SAFETY: the page of registers; SIGNAL is at its start.
        unsafe { self.registers.cast::<u32>().write_volatile(1) };
    }
}
