//! Channels to other partitions: shared memory and a doorbell each way, as the partition table says (`[[channel]]`).
//!
//! ```ignore
//! let channel = channel::find("telemetry").expect("the table has it");
//! let mut link = channel.link().expect("room for rings");
//! if matches!(link.meet(channel.peer()), State::Opened) {
//!     channel.ring(); // the partner looks at the link, and sees it open
//! }
//! if link.send(b"hello").is_ok() {
//!     channel.ring();
//! }
//! ```
//!
//! The doorbell is an edge-triggered SPI, [`Channel::intid`]. It rings when the partner rings it, and when the partner
//! starts or stops: look at [`Channel::peer`] then, best by `link.meet(channel.peer())`. Rings that find it pending are one
//! with it, so take all that is in the ring each time.
//!
//! The memory of a channel is zero when the system starts; a restart of either partition leaves it as it is.

use guest_channel::tree::{self, Found};
pub use guest_channel::{Error, Link, Memory, Presence, Reader, State, Window, Writer};

use crate::mmio::Mmio;
use crate::smccc::{self, Conduit};

/// Function identifier of the call that rings a partner's doorbell; x1 is the channel's number.
pub const CHANNEL_SIGNAL: u32 = 0x8600_0010;
/// Function identifier of the call that tells about a partner; x1 is the channel's number.
pub const CHANNEL_STATUS: u32 = 0x8600_0011;

/// Registers of a doorbell.
const SIGNAL: usize = 0x00;
const PEER: usize = 0x08;
const OWN: usize = 0x10;

/// One end of a channel.
#[derive(Clone, Copy, Debug)]
pub struct Channel {
    /// What calls name it by.
    pub index: u32,
    /// Which half of the memory is this side's, 0 or 1.
    pub side: u8,
    /// This side may write the memory.
    pub writes: bool,
    /// INTID of the doorbell.
    pub intid: u32,
    /// Its registers.
    pub registers: Mmio,
    /// The shared memory.
    pub memory: Window,
}

/// Finds a channel by name in the device tree.
pub fn find(name: &str) -> Option<Channel> {
    all().find(|found| found.name == name).map(Channel::new)
}

/// Finds the channel with a number, 0 for the first of the table that has this partition.
pub fn number(index: u32) -> Option<Channel> {
    all().find(|found| found.index == index).map(Channel::new)
}

/// Lists what the device tree says about this partition's channels.
pub fn all() -> impl Iterator<Item = Found<'static>> {
    tree::channels(crate::tree::bytes())
}

impl Channel {
    /// Takes what the tree says, or what `cargo xtask check` printed for a partition without a tree.
    pub fn new(found: Found<'_>) -> Self {
        // SAFETY: EL2 has the doorbell's registers there, which write no memory.
        let registers = unsafe { Mmio::new(found.registers as usize) };
        // SAFETY: the memory is mapped at stage 2 from there, and at stage 1 by the identity map; nothing of this program
        // lies in it.
        let memory = unsafe { Window::new(found.memory as usize as *mut u8, found.size as usize) };
        Self {
            index: found.index,
            side: found.side,
            writes: found.writes,
            intid: found.intid,
            registers,
            memory,
        }
    }

    /// Rings the partner's doorbell by its register.
    pub fn ring(&self) {
        // What was written to the memory is there before the partner looks.
        crate::sysreg::dsb();
        self.registers.write32(SIGNAL, 1);
    }

    /// Rings it by the call, which says what came of it: 0, or -3 when the partner does not run.
    pub fn signal(&self) -> i64 {
        crate::sysreg::dsb();
        let [x0, ..] = smccc::call(Conduit::Hvc, CHANNEL_SIGNAL, [u64::from(self.index), 0, 0]);
        x0 as i64
    }

    /// Says whether the partner runs, and in which of its lives.
    pub fn peer(&self) -> Presence {
        Presence::from_raw(self.registers.read64(PEER))
    }

    /// Says the same of this partition.
    pub fn own(&self) -> Presence {
        Presence::from_raw(self.registers.read64(OWN))
    }

    /// Makes this end of a ring each way. `None`: the memory is too small.
    pub fn link(&self) -> Option<Link<Window>> {
        Link::new(self.memory, self.side, self.own().generation)
    }

    /// Makes the writing end of a one-way channel.
    pub fn writer(&self) -> Option<Writer<Window>> {
        Writer::new(self.memory, self.side, self.own().generation)
    }

    /// Makes the reading end of a one-way channel.
    pub fn reader(&self) -> Option<Reader<Window>> {
        Reader::new(self.memory, self.side)
    }
}
