//! Accesses to what is emulated and to what is not there, and exceptions of other kinds.

use core::arch::asm;
use guest_runtime::exception::catch;
use guest_runtime::{channel, console, el0, layout, manage, sysreg, timer};

/// Every register of the UART, and what no device has.
pub fn all() {
    for offset in (0..0x1000).step_by(4) {
        let identity = offset >= 0xfe0;
        if offset < 0x60 || offset % 0x100 == 0 || identity {
            load(layout::UART + offset);
            // Nothing that would be typed at the person who watches.
            if offset != console::DR {
                store(layout::UART + offset, 0);
                store(layout::UART + offset, u64::MAX);
            }
        }
    }
    console::init();
    for address in [
        layout::DEVICE_HOLE,
        layout::MEMORY_HOLE,
        0,
        layout::GICD - 4,
        layout::GICR + 16 * layout::GICR_STRIDE,
        1 << 38,
    ] {
        load(address);
        store(address, 0);
        undecodable(address);
        jump(address);
    }
    doorbells();
    manager();
    undecodable(layout::GICD);
    undecodable(layout::UART);
    narrow();
    waits();
    // SAFETY: the page holds a return alone; the MMU is on.
    unsafe { el0::run(layout::MEMORY_HOLE, 0) };
}

/// Every register of the channels' doorbells, whether the partner runs or not.
fn doorbells() {
    for number in 0..3 {
        let Some(channel) = channel::number(number) else {
            return;
        };
        for offset in (0..0x40).step_by(4) {
            load(channel.registers.base() + offset);
            store(channel.registers.base() + offset, 1);
        }
        channel.signal();
    }
}

/// Every kind of register of a partition that this one manages, and every order.
fn manager() {
    let Some((page, _)) = manage::pages() else {
        return;
    };
    for offset in (0..0x1000).step_by(0x20) {
        load(page.base() + offset);
        load(page.base() + offset + 8);
    }
    for order in 0..5 {
        store(page.base(), order);
    }
}

#[inline(never)]
fn load(address: usize) {
    // SAFETY: the address is no memory of this guest.
    catch(|| unsafe {
        asm!("ldr w9, [{a}]", a = in(reg) address, out("x9") _, options(nostack));
    });
}

#[inline(never)]
fn store(address: usize, value: u64) {
    // SAFETY: the address is no memory of this guest.
    catch(|| unsafe {
        asm!("str {v:w}, [{a}]", a = in(reg) address, v = in(reg) value, options(nostack));
    });
}

/// Accesses whose syndrome describes no register, and cache upkeep.
#[inline(never)]
fn undecodable(address: usize) {
    // SAFETY: the address is no memory of this guest.
    catch(|| unsafe {
        asm!(
            "ldp x9, x10, [{a}]", "stp xzr, xzr, [{a}]", "ldxr w9, [{a}]", "clrex", "dc zva, {a}", "dc civac, {a}",
            "dc ivac, {a}", "ic ivau, {a}", "at s1e1r, {a}", "prfm pldl1keep, [{a}]", "ldr q31, [{a}]",
            a = in(reg) address, out("x9") _, out("x10") _, out("v31") _, options(nostack)
        );
    });
}

#[inline(never)]
fn jump(address: usize) {
    // SAFETY: nothing is there to be run; the abort returns to after the call.
    catch(|| unsafe {
        asm!("blr {a}", a = in(reg) address, out("x30") _, clobber_abi("C"));
    });
}

/// Every width, at an address that is not a multiple of it.
fn narrow() {
    for address in [
        layout::GICD + 0x401,
        layout::UART + 0x19,
        layout::GICD + 0x6108,
    ] {
        // SAFETY: the address is no memory of this guest.
        catch(|| unsafe {
            asm!(
                "ldrb w9, [{a}]", "ldrh w9, [{a}]", "ldrsb x9, [{a}]", "ldr x9, [{a}]", "strb wzr, [{a}]",
                "strh wzr, [{a}]", "str xzr, [{a}]",
                a = in(reg) address, out("x9") _, options(nostack)
            );
        });
    }
}

/// WFI and WFE with a deadline near, in the past, and now.
fn waits() {
    for distance in [0_i64, 1, 50, 500, 5_000, -1_000] {
        timer::set_virtual(timer::now().wrapping_add_signed(distance));
        sysreg::wfi();
        timer::set_physical(timer::physical_now().wrapping_add_signed(distance));
        sysreg::wfi();
        timer::stop_virtual();
        timer::stop_physical();
    }
    sysreg::sev();
    sysreg::wfe();
}
