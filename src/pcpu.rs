//! One pCPU's own state: its vCPUs, its run queue, its deadlines. No other pCPU touches any of it.

use crate::arch::aarch64::switch::Features;
use crate::arch::aarch64::sysreg::read;
use crate::arch::aarch64::{id, mmu::Window, percpu};
use crate::errata;
use crate::hw::gic::{self, Redistributor};
use crate::hw::list_registers::{Interface, Shape};
use crate::system::{Mailbox, Partition, System};
use bulkhead::addr::{PAGE_BYTES, Range};
use bulkhead::ids::{PcpuId, VcpuId};
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::{Deadlines, Gate, Levels, Limits, RunQueue, Slot};
use bulkhead::smccc::arch::Mitigations;
use bulkhead::trace::Writer;
use bulkhead::trap::debug::DebugState;
use bulkhead::trap::timer::PhysicalTimer;
use bulkhead::trap::{inject, serror};
use bulkhead::vcpu::Context;
use bulkhead::vgic::Unfinished;
use core::cell::UnsafeCell;

/// What a vCPU is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Off, as PSCI has it, or its partition is stopped.
    Off,
    /// It fills its partition's memory, piece by piece, before the guest starts.
    Loading(crate::run::loading::Cursor),
    /// It runs or wants to.
    Ready,
    /// It waits for an interrupt.
    Waiting,
}

/// What sets a vCPU apart from others that live on its pCPU, in a world switch or in the choice of who runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quirks(u16);

impl Quirks {
    /// None.
    pub const NONE: Self = Self(0);
    /// Its FP registers go with every switch.
    pub const EAGER_FP: Self = Self(1 << 0);
    /// It has a time slice.
    pub const SLICED: Self = Self(1 << 1);
    /// Another vCPU of its partition lives here too.
    pub const SIBLING: Self = Self(1 << 2);
    /// Budgets or time windows hold on its pCPU.
    pub const LIMITED: Self = Self(1 << 3);
    /// The virtual interface is not GICv3's with one active-priority register for each group.
    pub const DEEP: Self = Self(1 << 4);
    /// It has not come to its pCPU since its start.
    pub const FRESH: Self = Self(1 << 5);
    /// It uses the performance monitors.
    pub const PMU: Self = Self(1 << 6);
    /// It uses breakpoints or watchpoints.
    pub const COMPARATORS: Self = Self(1 << 7);
    /// It was given a virtual SError in this life.
    pub const SERROR: Self = Self(1 << 8);
    /// Some of its equals are not heard for a while: [`Pcpu::deaf_to`].
    pub const DEAF: Self = Self(1 << 9);
    /// Its turn may end, or what may interrupt it may change, at a time of its own.
    pub const TIMED: Self = Self(Self::SLICED.0 | Self::LIMITED.0 | Self::DEAF.0);
    /// All that may change in a life.
    pub const OF_A_LIFE: Self = Self(Self::PMU.0 | Self::COMPARATORS.0 | Self::SERROR.0);

    /// Says whether it is like all others.
    #[inline(always)]
    pub const fn are_none(self) -> bool {
        self.0 == 0
    }

    /// Says whether it has any of `some`.
    #[inline(always)]
    pub const fn has_any(self, some: Self) -> bool {
        self.0 & some.0 != 0
    }

    /// Returns the quirks of both.
    #[inline(always)]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Adds what `other` has, when it holds, or takes it away.
    pub const fn set(&mut self, other: Self, holds: bool) {
        self.remove(other);
        self.insert(Self::when(holds, other));
    }

    /// Adds what `other` has.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Takes away what `other` has.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }

    /// Returns what `quirk` is when it holds.
    pub const fn when(holds: bool, quirk: Self) -> Self {
        if holds { quirk } else { Self::NONE }
    }
}

/// A vCPU at home on this pCPU.
#[repr(C)]
pub struct Vcpu {
    /// Its registers while it is not in the guest.
    pub context: Context,
    /// Whose it is.
    pub partition: &'static Partition,
    /// Which one of its partition.
    pub id: VcpuId,
    /// Its slot on its pCPU.
    pub slot: Slot,
    /// What it is doing.
    pub activity: Activity,
    /// Its view of the interrupt controller while it is off the pCPU.
    pub interface: Interface,
    /// Its emulated physical timer.
    pub physical_timer: PhysicalTimer,
    /// When its partition's watchdog is to be looked at, which vCPU 0 has; never for the others.
    pub watch_at: u64,
    /// When it is to be looked at for the former or the latter.
    pub own_deadline: u64,
    /// Its debug registers.
    pub debug: DebugState,
    /// It has used the performance monitors, which are switched from then on.
    pub uses_pmu: bool,
    /// What `MDCR_EL2` says about them meanwhile.
    pub monitors: u64,
    /// A virtual SError waits for it.
    pub serror: bool,
    /// FP registers go with every switch rather than at the first use.
    pub fp_eager: bool,
    /// What may interrupt it.
    pub gate: Gate,
    /// Ticks until it gives way to its equals; 0: never.
    pub time_slice: u64,
    /// Ticks of the current slice that are left.
    pub slice_left: u64,
    /// Its equals: the first one's slot, and the one behind the last.
    pub equals: (Slot, Slot),
    /// What sets it apart from others.
    pub quirks: Quirks,
    /// What some of EL2's registers hold for it.
    pub fixed: crate::run::Fixed,
    /// Where it finds the devices that the short ways of a trap serve.
    pub emulated: EmulatedPages,
    /// Banks of its SPIs that have their priority again, while some were silent for that it was not heard.
    pub restored: u8,
    /// A register write that is to be finished before it runs on.
    pub unfinished: Option<Unfinished>,
}

/// Guest-physical page numbers of emulated devices; `u64::MAX` for one that is not there.
#[derive(Clone, Copy, Debug)]
pub struct EmulatedPages {
    /// The UART.
    pub uart: u64,
    /// The distributor's first page, which has all of its registers but routes and identification.
    pub distributor: u64,
    /// The first doorbell.
    pub doorbells: u64,
}

impl Vcpu {
    /// Says whether nobody on its pCPU has its priority but itself.
    #[inline(always)]
    pub const fn is_alone_in_rank(&self) -> bool {
        let (first, behind) = self.equals;
        behind.0.wrapping_sub(first.0) == 1
    }

    /// Gives it a whole time slice.
    #[inline(always)]
    pub const fn begin_slice(&mut self) {
        self.slice_left = self.time_slice;
    }

    /// Settles [`Self::own_deadline`] after a change of what it depends on.
    pub fn settle_own_deadline(&mut self) {
        let timer = self.physical_timer.deadline().unwrap_or(NEVER);
        self.own_deadline = timer.min(self.watch_at);
    }
}

impl EmulatedPages {
    /// Returns the pages of a partition.
    pub fn of(partition: &Partition) -> Self {
        let page = |range: Range| range.start() / PAGE_BYTES;
        Self {
            uart: partition.uart.map_or(u64::MAX, page),
            doorbells: partition.doorbells.map_or(u64::MAX, page),
            distributor: match gic::is_memory_mapped() {
                false => page(partition.distributor),
                true => u64::MAX,
            },
        }
    }
}

/// Who has something, if anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder(u8);

impl Holder {
    /// Nobody.
    pub const NOBODY: Self = Self(u8::MAX);

    /// Returns the one that is in a slot.
    pub const fn of(slot: Slot) -> Self {
        Self(slot.0)
    }

    /// Says whether it is the one in a slot.
    #[inline(always)]
    pub const fn is(self, slot: Slot) -> bool {
        self.0 == slot.0
    }

    /// Returns the slot: one that no vCPU has, where it is nobody.
    pub const fn slot(self) -> Slot {
        Slot(self.0)
    }
}

/// A pCPU's own state.
pub struct Pcpu {
    /// Which one it is.
    pub id: PcpuId,
    /// What all share.
    pub system: &'static System,
    /// What others tell it.
    pub mailbox: &'static Mailbox,
    /// Its vCPUs, the most urgent first.
    pub vcpus: &'static mut [Vcpu],
    /// Who wants to run.
    pub queue: RunQueue,
    /// When who must be woken.
    pub deadlines: Deadlines,
    /// What keeps its vCPUs off it beside their priority, where the table says so.
    pub limits: Option<&'static mut Limits<'static>>,
    /// Whose registers are in the hardware.
    pub current: Option<Slot>,
    /// The current vCPU's list registers are in the model, not in the hardware.
    pub folded: bool,
    /// List registers that may hold an interrupt in the hardware, as a mask; settled when they are folded or loaded.
    pub held: u16,
    /// What may interrupt the one that runs here: in the interrupt mask, and published in the mailbox.
    pub gate: Gate,
    /// The mask lets more through than before: what it held back is to be taken before anybody runs.
    pub held_back: bool,
    /// Slots of which an interrupt was taken while they were not heard: those that are silent since are restored then.
    pub unheard: u64,
    /// Slots that this pCPU itself must look at before it enters a guest.
    pub attend: u64,
    /// Slots that have a register write to finish before they are entered.
    pub unfinished: u64,
    /// The current vCPU may no longer be the one to run, or the timer must be set anew.
    pub reschedule: bool,
    /// Who was chosen last, to run or to load its partition: the time slice is that one's.
    pub chosen: Slot,
    /// Equals of the one chosen last that are not heard during its turn, until [`Self::deaf_until`]: they were heard once.
    pub deaf_to: u64,
    /// In ticks.
    pub deaf_until: u64,
    /// When the current time slice began, in ticks.
    pub slice_start: u64,
    /// Whose the physical SError is that is pending.
    pub serror: serror::Owner,
    /// Whose FP registers are in the hardware.
    pub fp_owner: Holder,
    /// By partition: which vCPU of it ran here last, so that siblings do not see each other's translations.
    pub last_ran: [u8; bulkhead::ids::MAX_PARTITIONS],
    /// By partition: the last one of its vCPUs that lives here, or a slot that no vCPU has.
    pub homes: [Slot; bulkhead::ids::MAX_PARTITIONS],
    /// The way into guest memory while a partition is loaded.
    pub window: Window,
    /// Its redistributor.
    pub redistributor: Redistributor,
    /// Its list registers' shape.
    pub shape: Shape,
    /// What it has beyond the base architecture.
    pub features: Features,
    /// What changes how a guest takes an exception.
    pub injection: inject::Features,
    /// Event counters of its PMU.
    pub event_counters: u8,
    /// What it needs against its weaknesses.
    pub mitigations: Mitigations,
    /// The console, on the pCPU that serves it.
    pub console: Option<&'static mut crate::terminal::Server>,
    /// Top of its stack.
    pub stack_top: u64,
    /// Its trace ring, when the table asks for one.
    pub trace: Option<Writer<'static>>,
}

/// The place where a pCPU finds its state.
pub struct Home(UnsafeCell<Pcpu>);

// SAFETY: only the pCPU that a `Home` was made for reaches it, by `TPIDR_EL2`.
unsafe impl Sync for Home {}

impl Home {
    /// Wraps a pCPU's state.
    pub const fn new(pcpu: Pcpu) -> Self {
        Self(UnsafeCell::new(pcpu))
    }

    /// Makes this the state of the pCPU that calls.
    ///
    /// # Safety
    /// Called once, on the pCPU that the state was built for.
    pub unsafe fn settle(&'static self) {
        // SAFETY: the caller's claim: nobody else borrows the state yet.
        unsafe { (*self.0.get()).measure() };
        // SAFETY: the caller's claim; `Home` is the one type used with `percpu`.
        unsafe { percpu::set(self) };
    }

    /// Returns the redistributor, before the pCPU settles.
    ///
    /// # Safety
    /// Called on the pCPU that this is for, before [`Self::settle`].
    pub unsafe fn redistributor(&self) -> Redistributor {
        // SAFETY: the caller's claim: nobody borrows the state yet.
        unsafe { (*self.0.get()).redistributor }
    }

    /// Returns the mailbox, before the pCPU settles.
    ///
    /// # Safety
    /// As for [`Self::redistributor`].
    pub unsafe fn mailbox(&self) -> &'static Mailbox {
        // SAFETY: the caller's claim: nobody borrows the state yet.
        unsafe { (*self.0.get()).mailbox }
    }

    /// Returns the GIC's priority levels, before the pCPU settles.
    ///
    /// # Safety
    /// As for [`Self::redistributor`].
    pub unsafe fn levels(&self) -> Levels {
        // SAFETY: the caller's claim: nobody borrows the state yet.
        unsafe { (*self.0.get()).system.levels }
    }

    /// Borrows the state of the pCPU that calls.
    ///
    /// # Safety
    /// Called once by a trap's entry, and by nothing that such an entry calls: EL2 is never interrupted, so the entry's
    /// borrow is the only one.
    pub unsafe fn this() -> Option<&'static mut Pcpu> {
        // SAFETY: `settle` is the only caller of `set`.
        let home = unsafe { percpu::this::<Self>() }?;
        // SAFETY: the caller's claim.
        Some(unsafe { &mut *home.0.get() })
    }
}

impl Pcpu {
    /// Reads what this pCPU has: a board's pCPUs need not be alike.
    fn measure(&mut self) {
        let models = self.shape.count;
        self.shape = Shape::of_this_pcpu();
        // The virtual GICs were made for the list registers of the pCPU that started the system.
        assert!(
            self.shape.count >= models,
            "a pCPU has fewer list registers than the first one"
        );
        self.shape.count = models;
        self.features = Features::of_this_pcpu();
        self.mitigations = errata::mitigations(self.system.firmware);
        // The short way from one to another knows the plainest interface of GICv3 alone.
        if self.shape.active_priorities > 1 || self.shape.is_memory_mapped() {
            self.vcpus
                .iter_mut()
                .for_each(|vcpu| vcpu.quirks.insert(Quirks::DEEP));
        }
        self.injection =
            inject::Features::from_id_registers(read::id_aa64mmfr1_el1(), id::read(4, 1));
        if self.features.has_pmu() {
            self.event_counters = (read::pmcr_el0() >> 11 & 0x1f) as u8;
        }
    }

    /// Returns a vCPU by slot.
    #[inline(always)]
    pub fn vcpu(&mut self, slot: Slot) -> Option<&mut Vcpu> {
        self.vcpus.get_mut(slot.index())
    }

    /// Tells vCPUs of a partition, by a mask, that something changed for them, wherever they live.
    pub fn kick(&mut self, partition: &Partition, vcpus: u16) {
        let here = (self.id, self.mailbox, self.gate.heard.slots);
        kick_from(here, self.system, &mut self.attend, partition, vcpus);
    }
}

/// [`Pcpu::kick`] from a pCPU, by its mailbox and the slots that are heard there, while its vCPUs are borrowed. A slot of
/// its own is looked at before anybody is entered, or, when it is less urgent than who runs, as soon as that one does not run
/// any more.
pub fn kick_from(
    (id, mailbox, heard): (PcpuId, &Mailbox, u64),
    system: &System,
    attend: &mut u64,
    partition: &Partition,
    vcpus: u16,
) {
    let mut left = vcpus;
    while left != 0 {
        let index = left.trailing_zeros() as u8;
        left &= left - 1;
        let Some(place) = partition.place(VcpuId(index)) else {
            return;
        };
        if place.pcpu != id {
            if let Some(mailbox) = system.mailboxes.get(usize::from(place.pcpu.0)) {
                mailbox.post(place.slot);
            }
            continue;
        }
        let bit = 1u64.checked_shl(place.slot.0.into()).unwrap_or(0);
        match heard & bit {
            0 => mailbox.mail.keep(bit),
            _ => *attend |= bit,
        }
    }
}
