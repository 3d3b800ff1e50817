//! Exceptions: interrupt handlers, faults that a test expects, and crash reports for the rest.

use crate::{console, esr, smccc, smp};
use core::arch::global_asm;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

global_asm!(include_str!("vectors.S"), frame_bytes = const size_of::<Frame>());

/// Everything that an exception keeps: the state it interrupted. `vectors.S` knows this layout.
#[repr(C, align(16))]
pub struct Frame {
    /// x0 to x30.
    pub x: [u64; 31],
    /// Where it continues.
    pub elr: u64,
    /// PSTATE with which it continues.
    pub spsr: u64,
    /// Why it happened.
    pub esr: u64,
    /// The address at fault, when the syndrome says that there is one.
    pub far: u64,
    /// The virtual count when the vector was entered.
    pub entered: u64,
    /// FPSR and FPCR.
    pub fp_status: [u64; 2],
    /// V0 to V31.
    pub v: [u128; 32],
}

const _: () = assert!(core::mem::offset_of!(Frame, v) == 304 && size_of::<Frame>() == 816);

/// An interrupt handler. It acknowledges and ends the interrupt itself.
pub type IrqHandler = fn(&mut Frame);

/// A fault that was caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `ESR_EL1`.
    pub esr: u64,
    /// `FAR_EL1`.
    pub far: u64,
    /// Address of the instruction.
    pub elr: u64,
}

static IRQ_HANDLER: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Expected {
    armed: AtomicBool,
    count: AtomicU64,
    esr: AtomicU64,
    far: AtomicU64,
    elr: AtomicU64,
}

static EXPECTED: [Expected; smp::MAX_VCPUS] = [const {
    Expected {
        armed: AtomicBool::new(false),
        count: AtomicU64::new(0),
        esr: AtomicU64::new(0),
        far: AtomicU64::new(0),
        elr: AtomicU64::new(0),
    }
}; smp::MAX_VCPUS];

/// Installs the interrupt handler of all vCPUs.
pub fn set_irq_handler(handler: IrqHandler) {
    IRQ_HANDLER.store(handler as usize, Ordering::Release);
}

/// Runs `body` while synchronous exceptions of this vCPU are expected, and returns the last of them beside its result.
///
/// A faulting instruction is skipped (a load leaves its destination as it was). A faulting fetch continues at x30, so a
/// jump into nothing has to be a call.
pub fn catch<T>(body: impl FnOnce() -> T) -> (T, Option<Fault>) {
    let expected = &EXPECTED[smp::index()];
    expected.count.store(0, Ordering::Relaxed);
    expected.armed.store(true, Ordering::SeqCst);
    let result = body();
    crate::sysreg::isb();
    expected.armed.store(false, Ordering::SeqCst);
    if expected.count.load(Ordering::SeqCst) == 0 {
        return (result, None);
    }
    let fault = Fault {
        esr: expected.esr.load(Ordering::Relaxed),
        far: expected.far.load(Ordering::Relaxed),
        elr: expected.elr.load(Ordering::Relaxed),
    };
    (result, Some(fault))
}

/// Returns how many exceptions the last [`catch`] on this vCPU met.
pub fn caught() -> u64 {
    EXPECTED[smp::index()].count.load(Ordering::Relaxed)
}

fn take_expected(frame: &mut Frame) -> bool {
    let expected = &EXPECTED[smp::index()];
    if !expected.armed.load(Ordering::Relaxed) {
        return false;
    }
    expected.count.store(
        expected.count.load(Ordering::Relaxed) + 1,
        Ordering::Relaxed,
    );
    expected.esr.store(frame.esr, Ordering::Relaxed);
    expected.far.store(frame.far, Ordering::Relaxed);
    expected.elr.store(frame.elr, Ordering::Relaxed);
    frame.elr = match esr::class(frame.esr) {
        esr::EC_INSTRUCTION_ABORT => frame.x[30],
        esr::EC_SVC => frame.elr, // SVC, HVC and SMC that were taken already point past themselves
        _ => frame.elr.wrapping_add(4),
    };
    true
}

#[unsafe(no_mangle)]
extern "C" fn runtime_exception(frame: &mut Frame, kind: u64) {
    let handled = match kind {
        4 if crate::el0::refused(frame) => crate::el0::leave(frame),
        4 => take_expected(frame),
        5 | 9 | 13 => interrupt(frame),
        8 | 12 => crate::el0::leave(frame),
        _ => false,
    };
    if !handled {
        crash(frame, kind);
    }
}

fn interrupt(frame: &mut Frame) -> bool {
    let handler = IRQ_HANDLER.load(Ordering::Acquire);
    if handler == 0 {
        return false;
    }
    // SAFETY: only `set_irq_handler` stores here, and it stores an `IrqHandler`.
    let handler: IrqHandler = unsafe { core::mem::transmute::<usize, IrqHandler>(handler) };
    handler(frame);
    true
}

fn crash(frame: &Frame, kind: u64) -> ! {
    const KINDS: [&str; 4] = [
        "synchronous exception",
        "interrupt without a handler",
        "FIQ",
        "SError",
    ];
    const FROM: [&str; 4] = ["EL1 on SP_EL0", "EL1", "EL0", "EL0 in AArch32"];
    let what = KINDS.get(kind as usize & 3).unwrap_or(&"?");
    let from = FROM.get(kind as usize >> 2 & 3).unwrap_or(&"?");
    let esr = frame.esr;
    console::print_anyway(format_args!(
        "\nCRASH vCPU {}: {what} at {from}: {}\n",
        smp::index(),
        esr::class_name(esr)
    ));
    if esr::is_abort(esr) {
        console::print_anyway(format_args!(
            "  {} at address {:#x}\n",
            esr::status_name(esr),
            frame.far
        ));
    }
    console::print_anyway(format_args!(
        "  pc {:#018x} pstate {:#x} esr {esr:#x} far {:#x}\n",
        frame.elr, frame.spsr, frame.far
    ));
    for (row, values) in frame.x.chunks(4).enumerate() {
        for (column, value) in values.iter().enumerate() {
            console::print_anyway(format_args!("  x{:02} {value:#018x}", row * 4 + column));
        }
        console::print_anyway(format_args!("\n"));
    }
    smccc::system_off()
}
