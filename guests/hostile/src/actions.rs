//! The things it does.

use crate::encodings;
use crate::is_native;
use core::arch::asm;
use guest_runtime::random::{below, random};
use guest_runtime::smccc::{self, Conduit};
use guest_runtime::{console, gic, layout, mmu, sysreg, timer, write_sysreg};

/// Does one thing, drawn at random.
pub fn one() {
    match below(16) {
        0..=2 => access(gic_address()),
        3 => access(uart_address()),
        4 => access(anywhere()),
        5 => undecodable(if below(2) == 0 {
            gic_address()
        } else {
            anywhere()
        }),
        6 => jump(),
        7 => encodings::read(),
        8 => encodings::write(),
        9 => encodings::operate(),
        10 => encodings::read_at_el0(),
        11 => call(),
        12 => gic::write_sgi1r(random()),
        13 => set_timers(),
        14 => window(),
        _ => rest(),
    }
}

/// An address in the distributor or the redistributor; sometimes just beyond.
fn gic_address() -> usize {
    let base = [
        layout::GICD,
        layout::GICR,
        layout::GICR + gic::SGI_FRAME,
        layout::GICR + layout::GICR_STRIDE,
    ];
    (base[below(4) as usize] + below(0x1_0000) as usize) & !(below(4) as usize)
}

/// An address in the UART's window, but for its data: that would only litter the console.
fn uart_address() -> usize {
    layout::UART + 4 + below(0xffc) as usize
}

/// An address anywhere but in RAM.
fn anywhere() -> usize {
    let address = random() as usize;
    match below(4) {
        0 => address & 0x3fff_ffff,
        1 => layout::MEMORY_HOLE | address & 0xfff_ffff,
        2 => address | 1 << 45,
        _ => mmu::WINDOW_GIB << 30 | address & 0x3fff_ffff,
    }
}

/// Whether a store there would break a machine that has no hypervisor: flash, tables of LPIs, firmware's devices.
fn spare(address: usize) -> bool {
    is_native() && !(layout::GICD..layout::GICD + 0x1_0000).contains(&address)
}

/// A load or store of any width.
fn access(address: usize) {
    let value = random();
    // SAFETY: the address is no memory of this guest.
    unsafe {
        match below(8) {
            0 => asm!("ldrb w9, [{a}]", a = in(reg) address, out("x9") _, options(nostack)),
            1 => asm!("ldrsh x9, [{a}]", a = in(reg) address, out("x9") _, options(nostack)),
            2 => asm!("ldr w9, [{a}]", a = in(reg) address, out("x9") _, options(nostack)),
            3 => asm!("ldr x9, [{a}]", a = in(reg) address, out("x9") _, options(nostack)),
            _ if spare(address) => {}
            4 => {
                asm!("strb {v:w}, [{a}]", a = in(reg) address, v = in(reg) value, options(nostack))
            }
            5 => {
                asm!("strh {v:w}, [{a}]", a = in(reg) address, v = in(reg) value, options(nostack))
            }
            6 => asm!("str {v:w}, [{a}]", a = in(reg) address, v = in(reg) value, options(nostack)),
            _ => asm!("str {v}, [{a}]", a = in(reg) address, v = in(reg) value, options(nostack)),
        }
    }
}

/// An access whose syndrome describes no register.
fn undecodable(address: usize) {
    if spare(address) {
        return;
    }
    // SAFETY: the address is no memory of this guest.
    unsafe {
        match below(8) {
            0 => {
                asm!("ldp x9, x10, [{a}]", a = in(reg) address, out("x9") _, out("x10") _, options(nostack))
            }
            1 => asm!("stp xzr, xzr, [{a}]", a = in(reg) address, options(nostack)),
            2 => {
                asm!("ldxr w9, [{a}]", "clrex", a = in(reg) address, out("x9") _, options(nostack))
            }
            3 => asm!("stxr w9, wzr, [{a}]", a = in(reg) address, out("x9") _, options(nostack)),
            4 => asm!("dc zva, {a}", a = in(reg) address, options(nostack)),
            5 => asm!("ldr q0, [{a}]", a = in(reg) address, out("v0") _, options(nostack)),
            6 => {
                asm!("ldr w9, [{a}], #4", a = inout(reg) address => _, out("x9") _, options(nostack))
            }
            _ => asm!("st1 {{v0.16b}}, [{a}]", a = in(reg) address, options(nostack)),
        }
    }
}

/// A jump to where nothing is.
fn jump() {
    let hole = layout::MEMORY_HOLE | random() as usize & 0xfff_fffc;
    let address = if below(4) == 0 {
        random() as usize | 1 << 45
    } else {
        hole
    };
    // SAFETY: nothing is there to be run; the abort returns to after the call.
    unsafe { asm!("blr {a}", a = in(reg) address, out("x30") _, clobber_abi("C")) };
}

/// A call that neither stops nor restarts this partition.
fn call() {
    let function = match below(3) {
        0 => random() as u32,
        1 => 0x8400_0000 | (random() as u32 & 0x4000_005f),
        _ => 0x8000_0000 | (random() as u32 & 0x4f00_00ff),
    };
    let number = function & 0x8f00_ffff;
    // CPU_SUSPEND, CPU_OFF, SYSTEM_OFF, SYSTEM_RESET, the suspends, SYSTEM_RESET2 and later ones.
    let ends = matches!(number, 0x8400_0001..=0x8400_0002 | 0x8400_0008..=0x8400_0009 | 0x8400_000c..=0x8400_0015);
    // Our own calls that stop or restart partitions take their number in x1.
    let arguments = [random() | 1 << 62, random(), random()];
    if !ends {
        let conduit = if below(2) == 0 || is_native() {
            Conduit::Hvc
        } else {
            Conduit::Smc
        };
        smccc::call(conduit, function, arguments);
    }
}

/// Deadlines in the past, now, soon, never; masks and enables at random.
fn set_timers() {
    let distance = [0, 1, 100, 10_000, 1 << 40, u64::MAX / 2][below(6) as usize];
    let (control, deadline) = (
        random() & 3,
        timer::now()
            .wrapping_add(distance)
            .wrapping_sub(below(1000)),
    );
    // SAFETY: timers change no memory; their interrupts have a handler.
    unsafe {
        if below(2) == 0 {
            write_sysreg!("cntv_cval_el0", deadline);
            write_sysreg!("cntv_ctl_el0", control);
        } else {
            write_sysreg!("cntp_cval_el0", deadline);
            write_sysreg!("cntp_ctl_el0", control);
        }
    }
}

/// Maps the window to anywhere that stage 1 can name: blocks of any memory type, or a table that is none.
fn window() {
    let address = random() & 0xffff_c000_0000;
    // Never RAM: that would be a second way to this guest's own memory.
    if address >> 30 != 1 {
        let kind = [mmu::BLOCK_NORMAL, mmu::BLOCK_DEVICE, 3][below(3) as usize];
        mmu::set_window(0, if is_native() { 0 } else { address | kind });
    }
}

/// Waits a little, or lets everything that is due come.
fn rest() {
    match below(4) {
        0 => {
            // Masked, and with a GIC that lets the timer through: else it might sleep for ever.
            sysreg::mask_irqs();
            gic::init();
            gic::enable(layout::VIRTUAL_TIMER_INTID, 0x80);
            timer::set_virtual(timer::now() + below(1000));
            sysreg::wfi();
            sysreg::unmask_irqs();
        }
        1 => {
            sysreg::sev();
            sysreg::wfe();
        }
        2 => {
            console::UART.write32(console::IMSC, random() as u32 & 0x7ff);
            console::UART.write32(console::ICR, random() as u32);
        }
        _ => timer::spin(1000),
    }
}
