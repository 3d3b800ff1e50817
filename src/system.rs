//! The running system as all pCPUs share it: built once at start-up, never grown afterwards.
//!
//! # Locks
//! Each partition has one [`Lock`] ([`Partition::state`]); beside them there are [`System::random`],
//! [`System::triggers`] and the console's queue of events. No pCPU holds two at a time, but for the triggers' inside of a
//! partition's, and none is held while a guest runs. The longest hold is a refill of the list registers.

use crate::hw::gic::{self, Address, Distributor};
use crate::run::channels::Shared;
use bulkhead::addr::{HostPhysAddr, Range};
use bulkhead::config::payload::Payload;
use bulkhead::config::record::{PartitionRecord, system_flags};
use bulkhead::device::pl011::{Pl011, UartRing};
use bulkhead::ids::{Mpidr, PartitionId, PcpuId, VcpuId, Vmid};
use bulkhead::partition::crash::Crash;
use bulkhead::partition::{Lifecycle, Restarts};
use bulkhead::sched::{Levels, Mail, Slot};
use bulkhead::smccc::psci::PowerStates;
use bulkhead::sync::Lock;
use bulkhead::vgic::Vgic;
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Interrupts that the distributor can have, private ones included.
pub const MAX_INTERRUPTS: usize = 1020;
/// In [`System::owners`]: no partition owns the interrupt.
pub const NO_OWNER: u8 = u8::MAX;

/// Everything that the pCPUs share.
pub struct System {
    /// The partition table, as the host compiled it.
    pub payload: Payload<'static>,
    /// The board's model.
    pub board: &'static str,
    /// Where the payload's first byte is mapped, read-only.
    pub payload_base: u64,
    /// The partitions, by [`PartitionId`].
    pub partitions: &'static [Partition],
    /// What other pCPUs tell each pCPU, by [`PcpuId`].
    pub mailboxes: &'static [Mailbox],
    /// The physical distributor.
    pub distributor: Distributor,
    /// Its priority levels.
    pub levels: Levels,
    /// Held while the trigger of an interrupt changes, since sixteen share a register.
    pub triggers: Lock<()>,
    /// Who owns each INTID; [`NO_OWNER`] for nobody.
    pub owners: &'static [u8],
    /// Number of partitions that run, load, or are being stopped.
    pub alive: AtomicU32,
    /// There is firmware that answers calls by SMC.
    pub firmware: bool,
    /// The physical console.
    pub console: crate::terminal::Shared,
    /// Random bytes for guests.
    pub random: Lock<crate::random::Random>,
    /// EL2's own memory.
    pub memory: OwnMemory,
}

/// EL2's own memory, in bytes: none but this is ever used.
pub struct OwnMemory {
    /// Code, data and boot stacks.
    pub image: u64,
    /// What the placement gave for all that the table needs.
    pub pool: u64,
    /// What of the pool has been carved; settled when start-up ends.
    pub carved: AtomicU64,
    /// What EL2's tables map, as the walk at the end of start-up found them.
    pub mapped: AtomicU64,
}

impl System {
    /// Says whether memory is zeroed before a partition's first start too.
    pub fn scrubs_at_boot(&self) -> bool {
        self.payload.header().flags & system_flags::SCRUB_AT_BOOT != 0
    }

    /// Returns those vCPUs of a partition, a bit each, whose pCPUs do not run our code: they did not come up, or not yet.
    /// Under the partition's lock, which such a pCPU takes after it has come: it sees what was done without it.
    #[inline(never)]
    pub fn absent(&self, partition: &Partition) -> u16 {
        let is_absent = |place: &Place| {
            let mailbox = self.mailboxes.get(usize::from(place.pcpu.0));
            !mailbox.is_some_and(|mailbox| mailbox.online.load(Ordering::SeqCst))
        };
        let places = partition.vcpus.iter().zip(0u32..);
        places.fold(0, |absent, (place, vcpu)| {
            absent | u16::from(is_absent(place)).checked_shl(vcpu).unwrap_or(0)
        })
    }

    /// Makes an SPI edge-triggered or level-sensitive.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn set_trigger(&self, intid: u32, edge: bool) {
        let _alone = self.triggers.lock();
        self.distributor.configure(intid, edge);
    }
}

/// One partition, as all pCPUs share it.
pub struct Partition {
    /// Its place in the table.
    pub id: PartitionId,
    /// Its name.
    pub name: &'static str,
    /// Its line of the table.
    pub record: &'static PartitionRecord,
    /// TLB tag of its translations.
    pub vmid: Vmid,
    /// Root of its stage-2 tables.
    pub root: HostPhysAddr,
    /// Its memory.
    pub memory: &'static [Memory],
    /// Where its vCPUs live, by [`VcpuId`].
    pub vcpus: &'static [Place],
    /// Where the guest sees its virtual distributor.
    pub distributor: Range,
    /// Where it sees its redistributors, one after the other.
    pub redistributors: Range,
    /// Where it sees its emulated UART.
    pub uart: Option<Range>,
    /// Where it sees the doorbell registers of its channels, a page each, one after the other.
    pub doorbells: Option<Range>,
    /// Where it sees the registers of the partitions that it manages, a page each, one after the other.
    pub manager: Option<Range>,
    /// Ticks in which its watchdog wants to be kicked; 0 without one.
    pub watchdog: u64,
    /// When the watchdog has not been kicked in time, in ticks.
    pub watchdog_end: AtomicU64,
    /// Its ends of channels, in the order in which its calls number them.
    pub channels: &'static [ChannelEnd],
    /// Whether it runs, as its partners are told: [`bulkhead::device::doorbell::Presence::raw`].
    pub presence: AtomicU64,
    /// What it sent and the console has not shown.
    pub output: &'static UartRing,
    /// How often a budget was exhausted since the partition started.
    pub exhaustions: AtomicU32,
    /// What changes.
    pub state: Lock<State>,
}

/// The part of a partition that changes, under its lock.
pub struct State {
    /// Its virtual interrupt controller.
    pub vgic: Vgic<'static>,
    /// Its emulated UART.
    pub uart: Pl011,
    /// Whether it runs.
    pub life: Lifecycle,
    /// Which of its vCPUs are on.
    pub power: PowerStates,
    /// Bit n: an interrupt of vCPU n was taken while its pCPU ran somebody more urgent, and it was not heard since.
    pub unheard: u16,
    /// What it was given at the start of its life that it has not consumed: fault-driven restarts and when they began.
    pub restarts: Restarts,
    /// Its last crash, where another partition may ask for it.
    pub crash: Option<&'static mut Crash>,
}

impl State {
    /// Says whether interrupts of a vCPU may have its priority.
    pub fn is_heard(&self, vcpu: VcpuId) -> bool {
        self.unheard.checked_shr(vcpu.0.into()).unwrap_or(0) & 1 == 0
    }
}

/// A piece of a partition's memory, placed.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// The guest's addresses.
    pub guest: Range,
    /// Where it begins on the board.
    pub host: HostPhysAddr,
    /// `access` bits of the payload.
    pub access: u32,
}

/// A partition's end of a channel.
pub struct ChannelEnd {
    /// The memory.
    pub shared: &'static Shared,
    /// The partition at the other end.
    pub peer: PartitionId,
    /// The interrupt that is raised there.
    pub peer_intid: u16,
    /// Which side this one is, 0 or 1.
    pub side: u8,
    /// `access` bits of the payload.
    pub access: u32,
}

/// Where a vCPU lives for good.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Its pCPU.
    pub pcpu: PcpuId,
    /// Its slot there.
    pub slot: Slot,
    /// The physical priority of its interrupts.
    pub priority: u8,
}

impl Partition {
    /// Returns where a byte of the guest's memory lies on the board, and how many bytes follow it there.
    pub fn host_address(&self, gpa: u64) -> Option<(HostPhysAddr, u64)> {
        let memory = self.memory.iter().find(|memory| memory.guest.holds(gpa))?;
        let offset = gpa - memory.guest.start();
        Some((
            HostPhysAddr(memory.host.0 + offset),
            memory.guest.last() - gpa + 1,
        ))
    }

    /// Returns where a vCPU lives.
    pub fn place(&self, vcpu: VcpuId) -> Option<Place> {
        self.vcpus.get(usize::from(vcpu.0)).copied()
    }
}

/// What other pCPUs tell one pCPU.
pub struct Mailbox {
    /// Who it is to the GIC and to PSCI.
    pub address: Address,
    /// What it is told.
    pub mail: Mail,
    /// The table uses the pCPU.
    pub used: bool,
    /// The pCPU runs our code.
    pub online: AtomicBool,
    /// How often an interrupt ended its sleep while nobody ran there. Written by itself alone.
    pub wakes: AtomicU32,
}

impl Mailbox {
    /// Makes an empty mailbox.
    pub const fn new(mpidr: Mpidr, used: bool) -> Self {
        Self {
            address: Address::new(mpidr),
            used,
            mail: Mail::new(),
            online: AtomicBool::new(false),
            wakes: AtomicU32::new(0),
        }
    }

    /// Tells the pCPU to look at a slot, and calls it when it runs nobody more urgent and was not called already.
    pub fn post(&self, slot: Slot) {
        if self.mail.post(slot) {
            self.call();
        }
    }

    /// Tells the pCPU that the console has something to send, in the same way.
    pub fn post_console(&self) {
        if self.mail.post_console() {
            self.call();
        }
    }

    /// Calls the pCPU. One that does not run our code yet looks when it does.
    fn call(&self) {
        if self.online.load(Ordering::SeqCst) {
            gic::send(gic::KICK, &self.address);
        }
    }
}
