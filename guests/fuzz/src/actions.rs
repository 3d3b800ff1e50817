//! What is more than one instruction: interrupts, timers, exclusive loops, trips to EL0, faults of other kinds.

use crate::access::{REGIONS, address};
use crate::registers::{read_at_el0, run_at_el0};
use crate::step::Fuzzer;
use crate::{power, registers};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use guest_runtime::made::SVC;
use guest_runtime::{channel, console, gic, layout, smp, sysreg, timer};

/// An action.
type Action = fn(&Fuzzer);

macro_rules! actions {
    ($($name:literal $action:expr;)*) => {
        /// The rows.
        pub const ROWS: &[&str] = &[$($name),*];
        const ACTIONS: &[Action] = &[$($action),*];
    };
}

actions! {
    "takes interrupts" take_interrupts;
    "takes interrupts, ended in two steps" |fuzzer| { gic::split_end(true); take_interrupts(fuzzer); gic::split_end(false) };
    "acknowledges and ends" |_| gic::end(gic::acknowledge());
    "acknowledges and does not end" |_| { gic::acknowledge(); };
    "sends an SGI to itself" |fuzzer| gic::send_sgi(fuzzer.below(16) as u32, fuzzer.own);
    "sends an SGI to all others" |fuzzer| gic::send_sgi_to_others(fuzzer.below(16) as u32);
    "sends an SGI to a list" |fuzzer| gic::write_sgi1r((fuzzer.below(16) as u64) << 24 | fuzzer.draw() & 0xffff);
    "sends an SGI by any word" |fuzzer| gic::write_sgi1r(fuzzer.draw());
    "pends its own interrupt" |fuzzer| gic::write_bit(gic::ISPENDR, 96 + fuzzer.below(32) as u32);
    "routes to another" |fuzzer| gic::route(96 + fuzzer.below(32) as u32, power::draw_affinity(fuzzer));
    "sets the virtual timer" |fuzzer| timer::set_virtual(timer::now() + fuzzer.below(3000) as u64);
    "sets the physical timer" |fuzzer| timer::set_physical(timer::physical_now() + fuzzer.below(3000) as u64);
    "stops the timers" |_| { timer::stop_virtual(); timer::stop_physical() };
    "waits for an event" |_| { sysreg::sev(); sysreg::wfe() };
    "loops on an exclusive access" |fuzzer| increment(fuzzer, false);
    "loops on an exclusive access, interrupted" |fuzzer| increment(fuzzer, true);
    "uses FP" use_fp;
    "SVC at EL0" |_| run_at_el0(SVC, 0);
    "reads a register at EL0" read_at_el0;
    "HVC at EL0" |_| run_at_el0(0xd400_0002, 0);
    "SMC at EL0" |_| run_at_el0(0xd400_0003, 0);
    "loads at EL0" |fuzzer| run_at_el0(0xf940_0000, address(fuzzer, fuzzer.below(REGIONS.len())) as u64);
    "cache upkeep at EL0" |fuzzer| run_at_el0(0xd50b_7e20, address(fuzzer, fuzzer.below(REGIONS.len())) as u64);
    "jumps into a hole" |fuzzer| jump(layout::MEMORY_HOLE | fuzzer.below(0x1000_0000) & !3);
    "jumps to a device" |_| jump(layout::GICD);
    "jumps to no translation" |fuzzer| jump(1 << 45 | fuzzer.below(1 << 30) & !3);
    "BRK" |fuzzer| raise(fuzzer, 0);
    "UDF" |fuzzer| raise(fuzzer, 1);
    "HLT" |fuzzer| raise(fuzzer, 2);
    "signs a pointer" |fuzzer| raise(fuzzer, 3);
    "SVE" |fuzzer| raise(fuzzer, 4);
    "writes to the UART" write_uart;
    "UART interrupts" uart_interrupts;
    "rings a doorbell" |fuzzer| if let Some(channel) = channel::number(fuzzer.below(2) as u32) { channel.ring() };
    "looks at its partner" |fuzzer| if let Some(channel) = channel::number(fuzzer.below(2) as u32) { channel.peer(); channel.own(); };
    "turns the distributor off and on" |_| { gic::turn_distributor(false); gic::turn_distributor(true) };
    "sets everything pending" |_| { gic::DISTRIBUTOR.write32(gic::ISPENDR + 12, u32::MAX); gic::bank(0).write32(gic::ISPENDR, u32::MAX) };
    "sets everything active" |_| { gic::DISTRIBUTOR.write32(gic::ISACTIVER + 12, u32::MAX); gic::bank(0).write32(gic::ISACTIVER, u32::MAX) };
    "takes everything back" |_| { gic::DISTRIBUTOR.write32(gic::ICPENDR + 12, u32::MAX); gic::DISTRIBUTOR.write32(gic::ICACTIVER + 12, u32::MAX) };
    "reads a register twice" |fuzzer| { registers::read(fuzzer, fuzzer.below(registers::READ.len())); registers::read(fuzzer, 0) };
}

/// Does one.
pub fn step(fuzzer: &Fuzzer, row: usize) {
    ACTIONS[row](fuzzer);
}

/// Lets come what is due, in a moment or two.
fn take_interrupts(fuzzer: &Fuzzer) {
    gic::set_mask(gic::MASK_NONE);
    sysreg::unmask_irqs();
    timer::spend(8 + fuzzer.below(64) as u64);
    sysreg::mask_irqs();
}

/// What all vCPUs increment, and how often each did.
static SHARED: AtomicU32 = AtomicU32::new(0);
static DONE: [AtomicU32; smp::MAX_VCPUS] = [const { AtomicU32::new(0) }; smp::MAX_VCPUS];

/// Increments the shared number by hand, so that others, and interrupts, come in between.
fn increment(fuzzer: &Fuzzer, interrupted: bool) {
    if interrupted {
        sysreg::unmask_irqs();
    }
    for _ in 0..8 {
        // SAFETY: increments the number, whose address is given.
        unsafe {
            asm!("2: ldaxr w9, [{at}]", "add w9, w9, #1", "stlxr w10, w9, [{at}]", "cbnz w10, 2b",
                at = in(reg) SHARED.as_ptr(), out("x9") _, out("x10") _, options(nostack))
        };
        DONE[fuzzer.index].store(DONE[fuzzer.index].load(Relaxed).wrapping_add(1), Relaxed);
    }
}

/// Returns how many increments the shared number lacks.
pub fn lost_increments() -> u32 {
    let done = DONE
        .iter()
        .fold(0_u32, |sum, one| sum.wrapping_add(one.load(Relaxed)));
    done.wrapping_sub(SHARED.load(Relaxed))
}

/// Takes the FP registers from whoever has them.
fn use_fp(fuzzer: &Fuzzer) {
    // SAFETY: FP is on, and the registers are named.
    unsafe {
        asm!("fmov d31, x9", "fadd v30.4s, v31.4s, v31.4s", "fmov x9, d31", inout("x9") fuzzer.draw() => _,
            out("v30") _, out("v31") _, options(nostack))
    };
}

/// Jumps to where nothing is.
#[inline(never)]
fn jump(address: usize) {
    // SAFETY: nothing is there to be run; the abort returns to after the call.
    unsafe { asm!("blr {a}", a = in(reg) address, out("x30") _, clobber_abi("C")) };
}

/// An instruction that is an exception, or a feature's that is hidden.
fn raise(_: &Fuzzer, which: u8) {
    // SAFETY: none of them writes memory, and x9 is named. PACIA X9, SP and ADDVL X9, X9, #1 are given as words.
    unsafe {
        match which {
            0 => asm!("brk #7", options(nostack)),
            1 => asm!("udf #3", options(nostack)),
            2 => asm!("hlt #1", options(nostack)),
            3 => asm!(".inst 0xdac103e9", out("x9") _, options(nostack)),
            _ => asm!(".inst 0x04295029", out("x9") _, options(nostack)),
        }
    }
}

/// Characters of a line.
const LINE: u64 = 64;

/// Writes a character, if the UART is as it should be.
fn write_uart(_: &Fuzzer) {
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Relaxed);
    let byte = if number % LINE == LINE - 1 {
        b'\n'
    } else {
        b'~'
    };
    console::UART.write32(console::DR, u32::from(byte));
}

/// Lets the UART raise what it may.
fn uart_interrupts(fuzzer: &Fuzzer) {
    console::UART.write32(console::IMSC, fuzzer.value() as u32 & 0x7ff);
    console::UART.write32(console::ICR, fuzzer.value() as u32);
}
