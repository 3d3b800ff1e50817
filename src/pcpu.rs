//! One pCPU's own state: its vCPUs, its run queue, its deadlines. No other pCPU touches any of it.

use crate::arch::aarch64::switch::Features;
use crate::arch::aarch64::sysreg::read;
use crate::arch::aarch64::{id, mmu::Window, percpu};
use crate::hw::gicv3::Redistributor;
use crate::hw::list_registers::{Interface, Shape};
use crate::system::{Mailbox, Partition, System};
use bulkhead::ids::{PcpuId, VcpuId};
use bulkhead::sched::{Deadlines, RunQueue, Slot};
use bulkhead::trap::debug::DebugState;
use bulkhead::trap::inject;
use bulkhead::trap::timer::PhysicalTimer;
use bulkhead::vcpu::Context;
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

/// A vCPU at home on this pCPU.
#[repr(C)]
pub struct Vcpu {
    /// Its registers while it is not in the guest.
    pub context: Context,
    /// Whose it is.
    pub partition: &'static Partition,
    /// Which one of its partition.
    pub id: VcpuId,
    /// What it is doing.
    pub activity: Activity,
    /// Its view of the interrupt controller while it is off the pCPU.
    pub interface: Interface,
    /// Its emulated physical timer.
    pub physical_timer: PhysicalTimer,
    /// Its debug registers.
    pub debug: DebugState,
    /// It has used the performance monitors, which are switched from then on.
    pub uses_pmu: bool,
    /// A virtual SError waits for it.
    pub serror: bool,
    /// FP registers go with every switch rather than at the first use.
    pub fp_eager: bool,
    /// It is not more urgent than the console's server.
    pub yields_to_console: bool,
    /// Ticks until it gives way to its equals; 0: never.
    pub time_slice: u64,
    /// Ticks of the current slice that are left.
    pub slice_left: u64,
    /// Its equals: the first one's slot, and the one behind the last.
    pub equals: (Slot, Slot),
    /// WFI comes to EL2 because others live here too.
    pub traps_wait: bool,
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
    /// Whose registers are in the hardware.
    pub current: Option<Slot>,
    /// The current vCPU's list registers are in the model, not in the hardware.
    pub folded: bool,
    /// Slots that this pCPU itself must look at before it enters a guest.
    pub attend: u64,
    /// The current vCPU may no longer be the one to run, or the timer must be set anew.
    pub reschedule: bool,
    /// When the current time slice began, in ticks.
    pub slice_start: u64,
    /// Who left while a physical SError was pending, which is thus its own.
    pub serror_of: Option<Slot>,
    /// Whose FP registers are in the hardware.
    pub fp_owner: Option<Slot>,
    /// By partition: which vCPU of it ran here last, so that siblings do not see each other's translations.
    pub last_ran: [u8; bulkhead::ids::MAX_PARTITIONS],
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
    /// The console, on the pCPU that serves it.
    pub console: Option<&'static mut crate::terminal::Server>,
    /// Top of its stack.
    pub stack_top: u64,
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
            "pCPU {} has fewer list registers than the first",
            self.id.0
        );
        self.shape.count = models;
        self.features = Features::of_this_pcpu();
        self.injection =
            inject::Features::from_id_registers(read::id_aa64mmfr1_el1(), id::read(4, 1));
        if self.features.pmu {
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
        let mut left = vcpus;
        while left != 0 {
            let index = left.trailing_zeros() as u8;
            left &= left - 1;
            let Some(place) = partition.place(VcpuId(index)) else {
                return;
            };
            if place.pcpu == self.id {
                self.attend |= 1u64.checked_shl(place.slot.0.into()).unwrap_or(0);
            } else if let Some(mailbox) = self.system.mailboxes.get(usize::from(place.pcpu.0)) {
                mailbox.post(place.slot);
            }
        }
    }
}
