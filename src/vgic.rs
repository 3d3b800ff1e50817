//! The virtual interrupt controller (GICv3, or GICv2 where the board has one) of one partition: distributor, redistributors,
//! and list registers as a cache of the interrupts' state.
//!
//! Pure: calls take register values and return what is to be done on hardware. The caller holds the partition's lock
//! around every call. The state machine (`state`, `fold`, `refill`, `queue`) knows no register map; `distributor` and
//! `redistributor` are the GICv3 map on top of it, `gicv2` is the GICv2 map, whose SGIs have senders (`senders`).
//!
//! # How the hardware and the model keep together
//! The model owns the list registers while a vCPU is out of the guest. From [`Vgic::refill`] (guest entry) to
//! [`Vgic::fold`] (after an exit) the vCPU is *live*: the hardware may have moved on. In that time the model does not
//! touch its list registers; it notes the change and asks for a kick. An exit that asks nothing of the virtual GIC may
//! skip both calls: the vCPU simply stays live. After a `fold` there must be a `refill` before the next entry, and a
//! vCPU that leaves its pCPU must be folded. [`Vgic::deliver_directly`] is the way in between: it adds one interrupt to a
//! vCPU that stays live. Accesses for which [`Vgic::wants_fold`] holds, and
//! [`Vgic::physical_pending`] and [`Vgic::sgi`], are exact or cheaper when the current vCPU is folded first.
//!
//! # What is promised
//! * Every call is bounded: by four interrupts, by the list registers, or by the vCPUs that it names. A write to a register
//!   of 32 interrupts of which more have to be moved is done in pieces, and others get their turn in between
//!   ([`Effects::rest`]). Choosing, queueing and unqueueing an interrupt takes constant time.
//! * An interrupt stays pending in the model until the guest is seen to have acknowledged it: a list register presents
//!   it and never owns it, so evicting and withdrawing lose nothing.
//! * A list register is never pending and active with `HW` set, and never has `HW` without an active physical interrupt.
//!
//! # Decisions
//! * A vCPU that is asleep by GICR_WAKER still takes interrupts, as on QEMU.
//! * 1-of-N delivery is not offered (`GICD_TYPER.No1N`): IROUTER's any-CPU bit reads as zero.
//! * Pending interrupts are preferred over further ones by urgency, but one always gets a list register: an active one
//!   gives way, and its deactivation is then seen by `EOIcount` or by the trapped `ICC_DIR_EL1`.
//! * The underflow maintenance interrupt is not used: "no pending" wakes EL2 in time for all that waits.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod bank;
mod direct;
mod distributor;
mod fold;
mod gicv2;
pub mod list_register;
#[cfg(any(test, feature = "models"))]
pub mod model;
mod queue;
mod redistributor;
mod refill;
mod registers;
mod senders;
mod sgi;
mod signal;
mod state;
mod switch;

pub use bank::SpiBank;
pub use direct::{Direct, Present};
pub use fold::Ends;
pub use queue::CpuInterface;
pub use refill::{Refill, hcr};
pub use registers::Unfinished;
pub use sgi::SgiGroup;
pub use switch::{Coming, Leaving};

use crate::ids::VcpuId;
use bank::{Bank, Irq, NOBODY, at};

/// List registers that a CPU can have at most.
pub const MAX_LIST_REGISTERS: usize = 16;
/// vCPUs that a GICv2 can have at most.
pub const MAX_V2_VCPUS: usize = 8;
/// Banks of SPIs at most: INTIDs 32..=1023, of which the last four do not exist.
pub const MAX_SPI_BANKS: usize = 31;
/// The highest INTID of an SPI.
pub const LAST_SPI: u16 = 1019;

/// A new route of a hardware SPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The SPI.
    pub intid: u16,
    /// The vCPU that takes it from now on; `None` when the guest named none that exists.
    pub vcpu: Option<VcpuId>,
}

/// What is to be done after a call: vCPUs to look after, and physical interrupts of one bank.
///
/// Bit n of a mask is INTID `first` + n. When `first` is 0 the interrupts are `vcpu`'s own, whose physical state is
/// banked: the masks (only `deactivate` can be set) count when `vcpu` is the one on this pCPU, and are already settled
/// when it is on none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct Effects {
    /// Bit n: vCPU n has something new to take or to take back. The caller folds and refills it when it is the current
    /// one, interrupts it when it runs elsewhere, and wakes it when it waits and [`Vgic::would_signal`].
    pub kick: u16,
    /// The first INTID that the masks speak of.
    pub first: u16,
    /// Whose interrupts when `first` is 0.
    pub vcpu: u8,
    /// Write to GICD_ISENABLER, as far as they are among [`Vgic::enabled_spis`] when that is done, with the lock held; else to
    /// GICD_ICENABLER.
    pub switch: u32,
    /// Write to GICD_ISPENDR.
    pub set_pending: u32,
    /// Write to GICD_ICPENDR.
    pub clear_pending: u32,
    /// Write to GICD_ICACTIVER (GICR_ICACTIVER0 when `first` is 0).
    pub deactivate: u32,
    /// Make edge-triggered, as far as they are among [`Vgic::edge_spis`] when that is done, with the lock held; else
    /// level-sensitive.
    pub trigger: u32,
    /// Route to another vCPU's pCPU, with its priority.
    pub route: Option<Route>,
    /// What is left of a write: the caller does all of it by [`Vgic::continue_write`], and looks after other things in
    /// between, before the vCPU that wrote runs on.
    pub rest: Option<Unfinished>,
}

impl Effects {
    /// Nothing to do.
    pub const NONE: Self = Self {
        kick: 0,
        first: 0,
        vcpu: 0,
        switch: 0,
        set_pending: 0,
        clear_pending: 0,
        deactivate: 0,
        trigger: 0,
        route: None,
        rest: None,
    };

    /// Says whether there is nothing to do.
    pub const fn is_nothing(&self) -> bool {
        !self.is_physical() && self.kick == 0 && self.rest.is_none()
    }

    /// Says whether the physical GIC must be touched.
    pub const fn is_physical(&self) -> bool {
        let masks = self.switch | self.set_pending | self.clear_pending;
        masks | self.deactivate | self.trigger != 0 || self.route.is_some()
    }
}

/// The virtual GICv3 of one partition.
#[derive(Debug)]
pub struct Vgic<'m> {
    cpus: &'m mut [CpuInterface],
    spis: &'m mut [SpiBank],
    /// GICD_CTLR.EnableGrp0 and EnableGrp1.
    groups: u8,
    /// Implemented list registers, as a mask.
    slots: u16,
    /// It is a GICv2: SGIs have senders, and vCPUs are targets by number.
    sourced: bool,
}

impl<'m> Vgic<'m> {
    /// Makes the virtual GIC of a partition whose vCPUs are `cpus` (1..=16; further ones are left out), with room for
    /// SPIs 32..32 + 32 x `spis.len()` (0..=31 banks), on CPUs with `list_registers` list registers (1..=16; the least of
    /// all pCPUs). The guest has its SGIs and nothing else yet.
    pub fn new(
        cpus: &'m mut [CpuInterface],
        spis: &'m mut [SpiBank],
        list_registers: usize,
    ) -> Self {
        let cpu_count = cpus.len().min(crate::ids::MAX_VCPUS);
        let spi_count = spis.len().min(MAX_SPI_BANKS);
        let count = list_registers.clamp(1, MAX_LIST_REGISTERS) as u32;
        let mut vgic = Self {
            cpus: cpus.split_at_mut(cpu_count).0,
            spis: spis.split_at_mut(spi_count).0,
            groups: 0,
            slots: (u32::MAX >> (32 - count)) as u16,
            sourced: false,
        };
        for cpu in &mut *vgic.cpus {
            cpu.private = Bank::new();
            cpu.private.own(0xffff, true, false);
        }
        for spis in &mut *vgic.spis {
            *spis = SpiBank::new();
        }
        vgic.reset();
        vgic
    }

    /// Makes it a GICv2, which has its first eight vCPUs, and is in its power-on state then.
    pub fn into_gicv2(mut self) -> Self {
        let count = self.cpus.len().min(MAX_V2_VCPUS);
        self.cpus = self.cpus.split_at_mut(count).0;
        self.sourced = true;
        self.reset();
        self
    }

    /// Returns everything to the power-on state, for a restart of the partition; what it owns stays. No vCPU may be in
    /// the guest. The caller has disabled, un-pended and deactivated the physical interrupts, and routes them to
    /// vCPU 0 with the trigger that the table names.
    pub fn reset(&mut self) {
        let mut step = 0;
        while self.reset_step(step) {
            step += 1;
        }
    }

    /// Does one step of [`Vgic::reset`], a bank of SPIs or a vCPU, so that the caller can yield in between: `step` counts
    /// from 0. Returns whether there are more. Before the last step only [`Vgic::set_line`] of an SPI's line that falls may
    /// come: the lists are there as long as an SPI may be in one.
    pub fn reset_step(&mut self, step: usize) -> bool {
        self.groups = 0;
        let number = step.wrapping_sub(self.spis.len());
        if let Some(spis) = self.spis.get_mut(step) {
            spis.reset();
            if self.sourced && self.cpus.len() > 1 {
                spis.target = [NOBODY; bank::PER_BANK];
            }
        } else if let Some(cpu) = self.cpus.get_mut(number) {
            cpu.reset();
            self.reset_as_gicv2(number);
        }
        step + 1 < self.cpus.len() + self.spis.len()
    }

    /// Gives the guest an SPI: edge-triggered or level-sensitive at reset, with or without the physical interrupt of the
    /// same INTID behind it. Returns false when there is no such SPI in the banks.
    pub fn own_spi(&mut self, intid: u16, edge: bool, hardware: bool) -> bool {
        let irq = Irq { vcpu: 0, intid };
        if irq.is_private() || intid > LAST_SPI {
            return false;
        }
        self.bank_of(irq)
            .map(|bank| bank.own(irq.bit(), edge, hardware))
            .is_some()
    }

    /// Gives every vCPU a level-sensitive PPI, with or without the physical PPI of the same INTID behind it. Returns
    /// false when `intid` is not 16..=31.
    pub fn own_ppi(&mut self, intid: u16, hardware: bool) -> bool {
        let irq = Irq { vcpu: 0, intid };
        if !(16..32).contains(&intid) {
            return false;
        }
        for cpu in &mut *self.cpus {
            cpu.private.own(irq.bit(), false, hardware);
        }
        true
    }

    /// Returns those of a bank of 32 SPIs, counted from the first one, that the guest owns with a physical interrupt
    /// behind them; `None` behind the last bank.
    pub fn hardware_spis(&self, bank: usize) -> Option<u32> {
        let bank = &self.spis.get(bank)?.bank;
        Some(bank.owned & bank.hardware)
    }

    /// Returns the SPIs of a bank that the guest has enabled; `number` counts banks as registers do, the private one first.
    pub fn enabled_spis(&self, number: u32) -> u32 {
        let index = (number as usize).wrapping_sub(1);
        self.spis.get(index).map_or(0, |spis| spis.bank.enabled)
    }

    /// Returns the SPIs of a bank that are edge-triggered; `number` as for [`Vgic::enabled_spis`].
    pub fn edge_spis(&self, number: u32) -> u32 {
        let index = (number as usize).wrapping_sub(1);
        self.spis.get(index).map_or(0, |spis| spis.bank.edge)
    }

    /// Returns the vCPU that takes an SPI, or `None` when the guest routed it to a CPU that does not exist.
    pub fn spi_target(&self, intid: u16) -> Option<VcpuId> {
        let irq = Irq { vcpu: 0, intid };
        match self.target(irq) {
            vcpu if vcpu == NOBODY || irq.is_private() => None,
            vcpu => Some(VcpuId(vcpu)),
        }
    }

    /// Says whether the physical interrupt behind a virtual one is active and waits for the guest: at a world switch the
    /// banked active state of such a PPI is cleared after `fold` and set again before the vCPU's next entry.
    pub fn hardware_in_flight(&self, vcpu: VcpuId, intid: u16) -> bool {
        let irq = Irq {
            vcpu: vcpu.0,
            intid,
        };
        self.bank_at(irq)
            .is_some_and(|bank| bank.physical & irq.bit() != 0)
    }

    /// Returns the bank that holds an interrupt.
    fn bank_at(&self, irq: Irq) -> Option<&Bank> {
        match irq.intid >> 5 {
            0 => self.cpus.get(irq.vcpu as usize).map(|cpu| &cpu.private),
            number => self.spis.get(number as usize - 1).map(|spis| &spis.bank),
        }
    }

    /// Returns the bank that holds an interrupt, to change it.
    fn bank_of(&mut self, irq: Irq) -> Option<&mut Bank> {
        match irq.intid >> 5 {
            0 => self
                .cpus
                .get_mut(irq.vcpu as usize)
                .map(|cpu| &mut cpu.private),
            number => self
                .spis
                .get_mut(number as usize - 1)
                .map(|spis| &mut spis.bank),
        }
    }

    /// Returns the vCPU that an interrupt is routed to, or [`NOBODY`].
    fn target(&self, irq: Irq) -> u8 {
        match (irq.intid >> 5).checked_sub(1) {
            None => irq.vcpu,
            Some(number) => self
                .spis
                .get(number as usize)
                .map_or(NOBODY, |spis| at(&spis.target, irq.index())),
        }
    }
}

#[cfg(test)]
mod tests;
