//! The physical GIC, of whichever version: distributor, a pCPU's private interrupts, and the CPU interface with split
//! priority drop and deactivation.
//!
//! The registers of bits, priorities and triggers lie at the same offsets in both versions' distributors and in GICv3's
//! redistributors. What differs is decided here: how an SPI is routed, and whether the CPU interface is made of system
//! registers ([`gicv3`]) or of memory ([`gicv2`]). Paths that must be fast are made for GICv3 and use its half directly.
//!
//! Source: Arm IHI 0069 (GICv3 and GICv4) and Arm IHI 0048 (GICv2), "Programmers' Model", register pages by name.

use super::{gicv2, gicv3};
use crate::arch::aarch64::mmio::Registers;
use bulkhead::ids::Mpidr;
use core::sync::atomic::{AtomicU8, Ordering};

/// The first INTID of an SPI.
pub const FIRST_SHARED: u32 = 32;
/// The first INTID that is no interrupt's.
pub const SPECIAL: u32 = 1020;
/// The SGI by which pCPUs call each other.
pub const KICK: u32 = 0;
/// The SGI that stops the other pCPUs after a panic.
pub const HALT: u32 = 1;
/// A priority that no mask lets through.
pub const SILENT: u8 = u8::MAX;
/// Bytes of distributor registers that both versions have, and of the parts of a redistributor that are used.
pub const PAGE: u32 = 4096;

/// `GICD_CTLR`: affinity routing and non-secure group 1, in the one-state and in the non-secure view alike.
const CTLR_ARE_GROUP1: u32 = 1 << 4 | 1 << 1;
/// `GICD_CTLR` of GICv2: group 0 in the one-state view, group 1 in the non-secure one.
const CTLR_ENABLE: u32 = 1;
/// `GICD_CTLR.DS`: reads as zero from non-secure state when there are two.
const CTLR_ONE_STATE: u32 = 1 << 6;
const CTLR_RWP: u32 = 1 << 31;
/// `GICD_TYPER.SecurityExtn`, GICv2's.
const TYPER_SECURITY: u32 = 1 << 10;
/// Reads of a status bit before start-up goes on without it.
const START_UP_POLLS: u32 = 1_000_000;

const GICD_CTLR: u32 = 0x0;
const GICD_TYPER: u32 = 0x4;
const IGROUPR: u32 = 0x80;
const ISENABLER: u32 = 0x100;
const ICENABLER: u32 = 0x180;
const ISPENDR: u32 = 0x200;
const ICPENDR: u32 = 0x280;
const ISACTIVER: u32 = 0x300;
const ICACTIVER: u32 = 0x380;
const IPRIORITYR: u32 = 0x400;
const ITARGETSR: u32 = 0x800;
const ICFGR: u32 = 0xc00;
const CPENDSGIR: u32 = 0xf10;
const GICD_IROUTER: u32 = 0x6000;

const GICR_WAKER: u32 = 0x14;
const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;

/// Who a pCPU is to the GIC.
pub struct Address {
    mpidr: Mpidr,
    /// GICv2: its CPU interface as a mask, which it finds out itself; 0 until then.
    interface: AtomicU8,
}

impl Address {
    /// Makes the address of the pCPU with an affinity.
    pub const fn new(mpidr: Mpidr) -> Self {
        Self {
            mpidr,
            interface: AtomicU8::new(0),
        }
    }

    /// Returns the affinity.
    pub const fn mpidr(&self) -> Mpidr {
        self.mpidr
    }

    /// Finds out the rest; called by the pCPU itself, before anything is sent to it.
    pub fn settle(&self, own: Redistributor) {
        self.interface.store(own.interface(), Ordering::Release);
    }

    fn interface(&self) -> u8 {
        self.interface.load(Ordering::Acquire)
    }
}

/// The distributor. Set and clear registers are written by any pCPU; configuration bits only under the owner's lock.
#[derive(Clone, Copy)]
pub struct Distributor {
    registers: Registers<PAGE>,
    /// All of GICv3's, which routes by affinity.
    routes: Option<Registers<{ gicv3::DISTRIBUTOR_BYTES }>>,
}

impl Distributor {
    /// Takes charge of the distributor's registers: those that both versions have, and all of GICv3's.
    pub const fn new(
        registers: Registers<PAGE>,
        routes: Option<Registers<{ gicv3::DISTRIBUTOR_BYTES }>>,
    ) -> Self {
        Self { registers, routes }
    }

    /// Returns GICv2's private interrupts of the pCPU that uses it.
    pub const fn banked(self) -> Redistributor {
        Redistributor::new(None, self.registers)
    }

    /// Sends an SPI to one pCPU, as it is, with GICv2.
    pub fn retarget(self, intid: u32, to: &Address) {
        self.registers.write8(ITARGETSR + intid, to.interface());
    }

    /// Returns the number of banks of 32 interrupts, the private one included.
    pub fn banks(self) -> u32 {
        (self.registers.read(GICD_TYPER) & 0x1f) + 1
    }

    /// Turns everything off, silences it, forgets what the firmware left, and starts forwarding: group 1, or with GICv2
    /// group 0, which in its non-secure view is called so and is group 1. Returns which bits of a priority are kept.
    pub fn start(self) -> u8 {
        let (group, enable) = match self.routes {
            Some(_) => (u32::MAX, CTLR_ARE_GROUP1),
            None => (0, CTLR_ENABLE),
        };
        self.registers.write(GICD_CTLR, 0);
        self.wait_for_writes();
        let mut kept = u8::MAX;
        for bank in 1..self.banks() {
            let at = bank * 4;
            self.registers.write(ICENABLER + at, u32::MAX);
            self.registers.write(ICPENDR + at, u32::MAX);
            self.registers.write(ICACTIVER + at, u32::MAX);
            self.registers.write(IGROUPR + at, group);
            kept &= silence(self.registers, bank * 32);
        }
        self.wait_for_writes();
        self.registers.write(GICD_CTLR, enable);
        self.wait_for_writes();
        kept
    }

    /// Says whether the GIC has two security states, of which we see one.
    pub fn has_two_states(self) -> bool {
        match self.routes {
            Some(_) => self.registers.read(GICD_CTLR) & CTLR_ONE_STATE == 0,
            None => self.registers.read(GICD_TYPER) & TYPER_SECURITY != 0,
        }
    }

    /// Enables the interrupts of a bank that a mask names.
    pub fn enable(self, bank: u32, mask: u32) {
        self.registers.write(ISENABLER + bank * 4, mask);
    }

    /// Disables the interrupts of a bank that a mask names.
    pub fn disable(self, bank: u32, mask: u32) {
        self.registers.write(ICENABLER + bank * 4, mask);
    }

    /// Makes the interrupts of a bank pending that a mask names.
    pub fn set_pending(self, bank: u32, mask: u32) {
        self.registers.write(ISPENDR + bank * 4, mask);
    }

    /// Takes back the pending state of the interrupts of a bank that a mask names.
    pub fn clear_pending(self, bank: u32, mask: u32) {
        self.registers.write(ICPENDR + bank * 4, mask);
    }

    /// Returns which interrupts of a bank are pending.
    pub fn pending(self, bank: u32) -> u32 {
        self.registers.read(ISPENDR + bank * 4)
    }

    /// Deactivates the interrupts of a bank that a mask names.
    pub fn deactivate(self, bank: u32, mask: u32) {
        self.registers.write(ICACTIVER + bank * 4, mask);
    }

    /// Gives an SPI another priority.
    pub fn set_priority(self, intid: u32, priority: u8) {
        self.registers.write8(IPRIORITYR + intid, priority);
    }

    /// Sends an SPI to one pCPU with a priority. In between it is silent, so that it is never more urgent there, or where
    /// it came from, than it may be.
    ///
    /// With GICv2 one that goes to a pCPU that is not up yet goes nowhere: that one routes it anew when it comes.
    pub fn route(self, intid: u32, to: &Address, priority: u8) {
        self.set_priority(intid, SILENT);
        match self.routes {
            Some(routes) => routes.write64(GICD_IROUTER + intid * 8, to.mpidr.raw()),
            None => self.registers.write8(ITARGETSR + intid, to.interface()),
        }
        self.set_priority(intid, priority);
    }

    /// Makes an SPI edge-triggered or level-sensitive. Not safe against another pCPU that configures a neighbour.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn configure(self, intid: u32, edge: bool) {
        let (at, bit) = (ICFGR + intid / 16 * 4, 2 << (intid % 16 * 2));
        let old = self.registers.read(at);
        self.registers
            .write(at, if edge { old | bit } else { old & !bit });
    }

    /// Waits, during start-up only, until the distributor took earlier writes.
    fn wait_for_writes(self) {
        for _ in 0..START_UP_POLLS {
            if self.registers.read(GICD_CTLR) & CTLR_RWP == 0 {
                return;
            }
        }
    }
}

/// One pCPU's private interrupts: its redistributor's two pages with GICv3, the banked part of the distributor with GICv2.
#[derive(Clone, Copy)]
pub struct Redistributor {
    /// The control page, which GICv2 has not.
    control: Option<Registers<PAGE>>,
    private: Registers<PAGE>,
}

impl Redistributor {
    /// Takes charge of the registers.
    pub const fn new(control: Option<Registers<PAGE>>, private: Registers<PAGE>) -> Self {
        Self { control, private }
    }

    /// Forgets what the firmware left, and enables the private interrupts of a mask with a priority; the others are silent.
    /// Returns which bits of a priority are kept.
    #[inline(never)]
    pub fn start(self, enabled: u32, priority: u8) -> u8 {
        let group = match self.control {
            Some(control) => {
                wake(control);
                u32::MAX
            }
            None => {
                for at in (CPENDSGIR..CPENDSGIR + 16).step_by(4) {
                    self.private.write(at, u32::MAX);
                }
                0
            }
        };
        self.private.write(ICENABLER, u32::MAX);
        self.private.write(ICPENDR, u32::MAX);
        self.private.write(ICACTIVER, u32::MAX);
        self.private.write(IGROUPR, group);
        let kept = silence(self.private, 0);
        for intid in (0..32).filter(|intid| enabled & 1 << intid != 0) {
            self.private.write8(IPRIORITYR + intid, priority);
        }
        self.private.write(ISENABLER, enabled);
        kept
    }

    /// Makes a private interrupt active, as if it had been acknowledged.
    #[inline(always)]
    pub fn activate(self, intid: u32) {
        self.private.write(ISACTIVER, 1 << (intid & 31));
    }

    /// Deactivates a private interrupt.
    #[inline(always)]
    pub fn deactivate(self, intid: u32) {
        self.deactivate_mask(1 << (intid & 31));
    }

    /// Deactivates the private interrupts that a mask names.
    #[inline(always)]
    pub fn deactivate_mask(self, mask: u32) {
        self.private.write(ICACTIVER, mask);
    }

    /// Returns GICv2's mask for the CPU interface of the pCPU that asks: what its banked targets read as. With a single
    /// interface they may read as zero.
    fn interface(self) -> u8 {
        if self.control.is_some() {
            return 0;
        }
        let banked = (ITARGETSR..ITARGETSR + 32).step_by(4);
        let seen = banked.fold(0, |seen, at| seen | self.private.read(at));
        let [a, b, c, d] = seen.to_le_bytes();
        match a | b | c | d {
            0 => 1,
            mask => mask,
        }
    }
}

/// Wakes a redistributor.
fn wake(control: Registers<PAGE>) {
    let awake = control.read(GICR_WAKER) & !WAKER_PROCESSOR_SLEEP;
    control.write(GICR_WAKER, awake);
    for _ in 0..START_UP_POLLS {
        if control.read(GICR_WAKER) & WAKER_CHILDREN_ASLEEP == 0 {
            break;
        }
    }
}

/// Gives the 32 interrupts from `first` a priority that no mask lets through. Returns which of its bits are kept; one
/// that is not there keeps none, and does not count.
fn silence<const BYTES: u32>(registers: Registers<BYTES>, first: u32) -> u8 {
    let mut kept = u8::MAX;
    for at in (IPRIORITYR + first..IPRIORITYR + first + 32).step_by(4) {
        registers.write(at, u32::MAX);
        for byte in registers.read(at).to_le_bytes() {
            kept &= if byte == 0 { u8::MAX } else { byte };
        }
    }
    kept
}

/// Says whether the GIC is a GICv2: its CPU interfaces are memory, not system registers.
#[inline(always)]
pub fn is_memory_mapped() -> bool {
    gicv2::is_in_use()
}

/// Turns this pCPU's interface on: all priorities, deactivation split from the end. Returns which bits of a mask are kept.
pub fn start_cpu_interface() -> u8 {
    match is_memory_mapped() {
        false => gicv3::start_cpu_interface(),
        true => gicv2::start_cpu_interface(),
    }
}

/// Says whether a mask is kept as it is written. Where the firmware keeps group 0 to itself, a mask in the upper half of
/// priorities is forced on it, and the lowest bit is lost on the way. Leaves all through, as [`start_cpu_interface`] does.
pub fn takes_whole_masks() -> bool {
    match is_memory_mapped() {
        false => gicv3::takes_whole_masks(),
        true => gicv2::takes_whole_masks(),
    }
}

/// Lets through interrupts whose priority is smaller than `mask`. None that is not is taken after this.
#[inline(always)]
pub fn set_mask(mask: u64) {
    match is_memory_mapped() {
        false => gicv3::set_mask(mask),
        true => gicv2::set_mask(mask),
    }
}

/// Takes the most urgent pending interrupt; its [`intid`] is [`SPECIAL`] or above when there is none. It is active from here
/// on. What is returned names the SGI's sender too, with GICv2, and goes to [`drop_priority`] and [`deactivate`] as it is.
#[inline(always)]
pub fn acknowledge() -> u32 {
    match is_memory_mapped() {
        false => gicv3::acknowledge(),
        true => gicv2::acknowledge(),
    }
}

/// [`acknowledge`], but with GICv2, and only there, none when it is `enough`.
#[inline(always)]
pub fn acknowledge_unless(enough: bool) -> u32 {
    match is_memory_mapped() {
        false => gicv3::acknowledge(),
        true if enough => SPECIAL,
        true => gicv2::acknowledge(),
    }
}

/// Returns the INTID in what [`acknowledge`] returned. There are no LPIs, so ten bits hold all.
#[inline(always)]
pub const fn intid(acknowledged: u32) -> u32 {
    acknowledged & 0x3ff
}

/// Drops the running priority that [`acknowledge`] raised; the interrupt stays active.
#[inline(always)]
pub fn drop_priority(acknowledged: u32) {
    match is_memory_mapped() {
        false => gicv3::drop_priority(acknowledged),
        true => gicv2::drop_priority(acknowledged),
    }
}

/// Ends the active state.
#[inline(always)]
pub fn deactivate(acknowledged: u32) {
    match is_memory_mapped() {
        false => gicv3::deactivate(acknowledged),
        true => gicv2::deactivate(acknowledged),
    }
}

/// Sends an SGI to one pCPU. Earlier memory writes are visible to it.
pub fn send(sgi: u32, to: &Address) {
    match is_memory_mapped() {
        false => gicv3::send(sgi, to.mpidr),
        true => gicv2::send(sgi, to.interface()),
    }
}

/// Sends an SGI to all other pCPUs.
pub fn send_to_others(sgi: u32) {
    match is_memory_mapped() {
        false => gicv3::send_to_others(sgi),
        true => gicv2::send_to_others(sgi),
    }
}

/// Returns the most urgent pending interrupt without taking it.
pub fn highest_pending() -> u32 {
    match is_memory_mapped() {
        false => gicv3::highest_pending(),
        true => gicv2::highest_pending(),
    }
}
