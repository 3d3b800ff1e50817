//! From the first instruction to the guest's own first function.

use crate::{console, mmu, smp};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};

global_asm!(
    include_str!("start.S"),
    sctlr_off = const mmu::SCTLR_OFF,
    sctlr_on = const mmu::SCTLR_ON,
    mair = const mmu::MAIR,
    tcr = const mmu::TCR,
    stack_bytes = const smp::STACK_BYTES,
);

/// Names the guest's first function, a `fn() -> !`.
#[macro_export]
macro_rules! entry {
    ($function:path) => {
        #[unsafe(no_mangle)]
        extern "C" fn guest_main() -> ! {
            let function: fn() -> ! = $function;
            function()
        }
    };
}

unsafe extern "C" {
    fn guest_main() -> !;
}

static DEVICE_TREE: AtomicU64 = AtomicU64::new(0);

/// Returns the address of the device tree that was handed over in x0, 0 when there is none.
pub fn device_tree() -> u64 {
    DEVICE_TREE.load(Ordering::Relaxed)
}

/// Says where the device tree is, to a guest that does something before the runtime starts.
pub fn set_device_tree(at: u64) {
    DEVICE_TREE.store(at, Ordering::Relaxed);
}

/// How the first vCPU was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryState {
    /// x1, x2 and x3, or-ed together.
    pub other_arguments: u64,
    /// The exception masks.
    pub daif: u64,
    /// `SCTLR_EL1`.
    pub sctlr: u64,
    /// The physical count at the first instruction.
    pub count: u64,
}

static ENTRY: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// Returns how the first vCPU was entered.
pub fn entry_state() -> EntryState {
    let [other_arguments, daif, sctlr, count] =
        [0, 1, 2, 3].map(|slot: usize| ENTRY[slot].load(Ordering::Relaxed));
    EntryState {
        other_arguments,
        daif,
        sctlr,
        count,
    }
}

#[unsafe(no_mangle)]
extern "C" fn runtime_first(
    device_tree: u64,
    other_arguments: u64,
    daif: u64,
    sctlr: u64,
    count: u64,
) -> ! {
    DEVICE_TREE.store(device_tree, Ordering::Relaxed);
    for (slot, value) in ENTRY.iter().zip([other_arguments, daif, sctlr, count]) {
        slot.store(value, Ordering::Relaxed);
    }
    console::init();
    // SAFETY: `entry!` defines it, with this type.
    unsafe { guest_main() }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    console::print_anyway(format_args!("\nPANIC: {info}\n"));
    crate::smccc::system_off()
}
