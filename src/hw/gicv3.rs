//! The physical GICv3: distributor, this pCPU's redistributor, and the CPU interface with split priority drop and
//! deactivation.
//!
//! Source: Arm IHI 0069 (GICv3 and GICv4), "Programmers' Model", register pages by name.

use crate::arch::aarch64::cpu;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use crate::arch::aarch64::sysreg::{read, write};
use bulkhead::addr::HypVirtAddr;
use bulkhead::ids::Mpidr;

/// The first INTID of an SPI.
pub const FIRST_SHARED: u32 = 32;
/// The first INTID that is no interrupt's.
pub const SPECIAL: u32 = 1020;
/// The SGI by which pCPUs call each other.
pub const KICK: u32 = 0;
/// The SGI that stops the other pCPUs after a panic.
pub const HALT: u32 = 1;

/// `GICD_CTLR`: affinity routing and non-secure group 1, in the one-state and in the non-secure view alike.
const CTLR_ARE_GROUP1: u32 = 1 << 4 | 1 << 1;
/// `GICD_CTLR.DS`: reads as zero from non-secure state when there are two.
const CTLR_ONE_STATE: u32 = 1 << 6;
const CTLR_RWP: u32 = 1 << 31;
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
const ICFGR: u32 = 0xc00;
const GICD_IROUTER: u32 = 0x6000;

const GICR_TYPER: u32 = 0x8;
const GICR_WAKER: u32 = 0x14;
const WAKER_PROCESSOR_SLEEP: u32 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;

/// Offset of `GICD_PIDR2` and `GICR_PIDR2` in the first frame.
pub const PIDR2: u64 = 0xffe8;

/// Says whether the register at `pidr2` is that of a GICv3 or v4 (`ArchRev`).
///
/// # Safety
/// The register is mapped as device memory, during start-up.
pub unsafe fn is_gicv3(pidr2: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim; identification registers have no side effects.
    let id = unsafe { probe::word(pidr2) };
    id.is_some_and(|id| matches!(id >> 4 & 0xf, 3 | 4))
}

/// Bytes of distributor registers.
pub const DISTRIBUTOR_BYTES: u32 = 0x1_0000;
/// Bytes of the part of a redistributor's frame that is used.
const PAGE: u32 = 4096;

/// A priority that no mask lets through.
pub const SILENT: u8 = u8::MAX;

/// The distributor. Set and clear registers are written by any pCPU; configuration bits only under the owner's lock.
#[derive(Clone, Copy)]
pub struct Distributor {
    registers: Registers<DISTRIBUTOR_BYTES>,
}

impl Distributor {
    /// Takes charge of the distributor's registers.
    pub const fn new(registers: Registers<DISTRIBUTOR_BYTES>) -> Self {
        Self { registers }
    }

    /// Returns the number of banks of 32 interrupts, the private one included.
    pub fn banks(self) -> u32 {
        (self.registers.read(GICD_TYPER) & 0x1f) + 1
    }

    /// Turns everything off, silences it, forgets what the firmware left, and starts forwarding group 1. Returns which
    /// bits of a priority are kept.
    pub fn start(self) -> u8 {
        self.registers.write(GICD_CTLR, 0);
        self.wait_for_writes();
        let mut kept = u8::MAX;
        for bank in 1..self.banks() {
            let at = bank * 4;
            self.registers.write(ICENABLER + at, u32::MAX);
            self.registers.write(ICPENDR + at, u32::MAX);
            self.registers.write(ICACTIVER + at, u32::MAX);
            self.registers.write(IGROUPR + at, u32::MAX);
            kept &= silence(self.registers, bank * 32);
        }
        self.wait_for_writes();
        self.registers.write(GICD_CTLR, CTLR_ARE_GROUP1);
        self.wait_for_writes();
        kept
    }

    /// Says whether the GIC has two security states, of which we see one.
    pub fn has_two_states(self) -> bool {
        self.registers.read(GICD_CTLR) & CTLR_ONE_STATE == 0
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
    pub fn route(self, intid: u32, to: Mpidr, priority: u8) {
        self.set_priority(intid, SILENT);
        self.registers.write64(GICD_IROUTER + intid * 8, to.raw());
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

/// One pCPU's redistributor: its control page and its SGI and PPI page.
#[derive(Clone, Copy)]
pub struct Redistributor {
    control: Registers<PAGE>,
    private: Registers<PAGE>,
}

impl Redistributor {
    /// Takes charge of a redistributor's two pages.
    pub const fn new(control: Registers<PAGE>, private: Registers<PAGE>) -> Self {
        Self { control, private }
    }

    /// Wakes the redistributor, forgets what the firmware left, and enables the private interrupts of a mask with a
    /// priority; the others are silent. Returns which bits of a priority are kept.
    #[inline(never)]
    pub fn start(self, enabled: u32, priority: u8) -> u8 {
        let awake = self.control.read(GICR_WAKER) & !WAKER_PROCESSOR_SLEEP;
        self.control.write(GICR_WAKER, awake);
        for _ in 0..START_UP_POLLS {
            if self.control.read(GICR_WAKER) & WAKER_CHILDREN_ASLEEP == 0 {
                break;
            }
        }
        self.private.write(ICENABLER, u32::MAX);
        self.private.write(ICPENDR, u32::MAX);
        self.private.write(ICACTIVER, u32::MAX);
        self.private.write(IGROUPR, u32::MAX);
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

/// What `GICR_TYPER` says of a redistributor frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameType {
    /// Affinity of the pCPU that it serves.
    pub mpidr: Mpidr,
    /// It is the last one of its region.
    pub last: bool,
    /// Bytes to the next frame.
    pub stride: u64,
}

/// Reads what a redistributor frame is, from its mapped control page.
pub fn frame_type(control: Registers<PAGE>) -> FrameType {
    let typer = control.read64(GICR_TYPER);
    let affinity = typer >> 32;
    FrameType {
        mpidr: Mpidr::from_raw((affinity >> 24) << 32 | affinity & 0x00ff_ffff),
        last: typer & 1 << 4 != 0,
        stride: if typer & 1 << 1 != 0 {
            0x4_0000
        } else {
            0x2_0000
        },
    }
}

/// Turns this pCPU's interface on: system registers at both levels, all priorities, EOImode 1. Returns which bits of a mask
/// are kept.
pub fn start_cpu_interface() -> u8 {
    write::icc_sre_el2(0xf);
    cpu::isb();
    write::icc_sre_el1(7);
    cpu::isb();
    write::icc_ctlr_el1(1 << 1);
    write::icc_pmr_el1(0xff);
    write::icc_bpr1_el1(0);
    write::icc_igrpen1_el1(1);
    cpu::isb();
    read::icc_pmr_el1() as u8
}

/// Says whether a mask is kept as it is written. Where the firmware keeps group 0 to itself, a mask in the upper half of
/// priorities is forced on it, and the lowest bit is lost on the way. Leaves all through, as [`start_cpu_interface`] does.
pub fn takes_whole_masks() -> bool {
    let kept = read::icc_pmr_el1() as u8;
    let lowest = 1u64.checked_shl(kept.trailing_zeros()).unwrap_or(0);
    write::icc_pmr_el1(lowest);
    cpu::isb();
    let whole = read::icc_pmr_el1() != 0;
    write::icc_pmr_el1(0xff);
    cpu::isb();
    whole
}

/// Lets through interrupts whose priority is smaller than `mask`. None that is not is taken after this.
#[inline(always)]
pub fn set_mask(mask: u64) {
    write::icc_pmr_el1(mask);
}

/// Takes the most urgent pending interrupt, or [`SPECIAL`] and above. It is active from here on.
#[inline(always)]
pub fn acknowledge() -> u32 {
    let intid = read::icc_iar1_el1() as u32;
    cpu::dsb_sy();
    intid
}

/// Drops the running priority that [`acknowledge`] raised; the interrupt stays active.
#[inline(always)]
pub fn drop_priority(intid: u32) {
    write::icc_eoir1_el1(intid.into());
}

/// Ends the active state.
#[inline(always)]
pub fn deactivate(intid: u32) {
    write::icc_dir_el1(intid.into());
}

/// Sends an SGI to one pCPU. Earlier memory writes are visible to it.
pub fn send(sgi: u32, to: Mpidr) {
    let raw = to.raw();
    let (aff0, aff1, aff2, aff3) = (
        raw & 0xff,
        raw >> 8 & 0xff,
        raw >> 16 & 0xff,
        raw >> 32 & 0xff,
    );
    let value = aff3 << 48
        | (aff0 >> 4) << 44
        | aff2 << 32
        | u64::from(sgi & 0xf) << 24
        | aff1 << 16
        | 1 << (aff0 & 0xf);
    cpu::dsb_sy();
    write::icc_sgi1r_el1(value);
    cpu::isb();
}

/// Sends an SGI to all other pCPUs.
pub fn send_to_others(sgi: u32) {
    cpu::dsb_sy();
    write::icc_sgi1r_el1(1 << 40 | u64::from(sgi & 0xf) << 24);
    cpu::isb();
}
