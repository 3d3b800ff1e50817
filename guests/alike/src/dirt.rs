//! Leaves as much behind as a life can.

use core::arch::asm;
use guest_runtime::exception::catch;
use guest_runtime::made::{Field, MSR, bearable, encoding, is_vital};
use guest_runtime::{console, gic, gicv2, layout, manage, sysreg, timer, write_sysreg};

/// What everything is filled with: no instruction, text or table has it by chance.
const PATTERN: u64 = 0x6e0b_0d1e_5afe_1e57;
/// Bytes of a page.
const PAGE: usize = 4096;
/// SPIs that nothing drives, as the table gives them to this guest: a bank of the distributor.
const BANK: usize = 3;

unsafe extern "C" {
    static __image_end: u8;
}

/// An instruction for each register that there could be.
static WRITES: Field<0x8000> = Field::new();

/// Makes the instructions of [`registers`].
pub fn prepare() {
    WRITES.fill(MSR);
}

/// Fills all memory behind the image, the device tree included.
pub fn memory() {
    let first = (&raw const __image_end as usize).next_multiple_of(PAGE);
    for page in (first..).step_by(PAGE) {
        manage::kick();
        let (_, fault) = catch(|| store(page));
        if fault.is_some() {
            return;
        }
        (page..page + PAGE).step_by(8).for_each(store);
    }
}

fn store(address: usize) {
    // SAFETY: nothing behind the image is used; behind the memory it faults.
    unsafe { asm!("str {v}, [{a}]", v = in(reg) PATTERN, a = in(reg) address, options(nostack)) };
}

/// Leaves interrupts enabled, pending, active, and more of them than there are list registers; and everything else of the
/// distributor and of this vCPU's redistributor as it was not.
pub fn controller() {
    gic::init_cpu();
    gic::DISTRIBUTOR.write32(gic::GICD_CTLR, 0x13);
    let private = gic::bank(0);
    for word in 0..8 {
        private.write32(
            gic::IPRIORITYR + word * 4,
            0x5040_3020 ^ (word as u32 * 0x0808_0808),
        );
        let at = gic::IPRIORITYR + BANK * 32 + word * 4;
        gic::DISTRIBUTOR.write32(at, 0x9080_7060 ^ (word as u32 * 0x0808_0808));
    }
    for intid in 96..128 {
        gic::route(intid, sysreg::affinity());
    }
    gic::DISTRIBUTOR.write32(gic::ICFGR + 2 * BANK * 4, 0xaaaa_0000);
    if gic::is_v2() {
        gicv2::change_sgis(true, 0xffff);
    }
    // With GICv2 what is in group 1 would not be acknowledged: it goes there at the end.
    let registers = [gic::IGROUPR, gic::ISENABLER, gic::ISPENDR];
    for register in registers.into_iter().skip(gic::is_v2().into()) {
        private.write32(register, u32::MAX);
        gic::DISTRIBUTOR.write32(register + BANK * 4, u32::MAX);
        gic::DISTRIBUTOR.write32(register + 4, u32::MAX);
    }
    // Acknowledged and not ended: active, in list registers and out of them, with priorities that stay active.
    for _ in 0..6 {
        gic::acknowledge();
    }
    private.write32(gic::IGROUPR, u32::MAX);
    gic::DISTRIBUTOR.write32(gic::IGROUPR + BANK * 4, u32::MAX);
    gic::DISTRIBUTOR.write32(gic::ISACTIVER + BANK * 4, 0x0f0f_0000);
    private.write32(gic::ISACTIVER, 0xff00);
    timer::set_physical(0);
    timer::set_virtual(timer::now() + 3000);
}

/// Half fills the UART, and sets what nobody sets.
pub fn uart() {
    for (offset, value) in [
        (0x24, 0x55),
        (0x28, 0x2a),
        (0x34, 0x09),
        (0x48, 3),
        (0x20, 7),
    ] {
        console::UART.write32(offset, value);
    }
    console::UART.write32(console::IMSC, 0x7ff);
    for byte in b"half a line" {
        console::UART.write32(console::DR, (*byte).into());
    }
}

/// Writes the pattern to the registers that do not hold up this guest, by every encoding or by name. Nothing can be said or
/// asked any more behind it.
pub fn registers(all: bool) {
    for number in (0..0x8000_u32).take_while(|_| all) {
        if number.is_multiple_of(256) {
            manage::kick();
        }
        let debug = number >> 14 == 0;
        if debug || !is_vital(number) {
            // What is written to a count of interrupts to be ended, or sent, is what it is.
            let value = PATTERN & bearable(number);
            // SAFETY: the register keeps this guest's memory, its stack and its vectors.
            catch(|| unsafe { WRITES.run(number, value) });
        }
    }
    // Keys of pointer authentication and TPIDR2_EL0, where the CPU has them.
    let keys = encoding(3, 0, 2, 1, 0)..=encoding(3, 0, 2, 3, 1);
    for number in keys.chain([encoding(3, 3, 13, 0, 5)]) {
        // SAFETY: nothing of this guest is signed, and it has no SME state.
        catch(|| unsafe { WRITES.run(number, PATTERN) });
    }
    // SAFETY: none of these is used by this guest from here on.
    unsafe {
        write_sysreg!("elr_el1", PATTERN);
        write_sysreg!("far_el1", PATTERN);
        write_sysreg!("par_el1", PATTERN);
        write_sysreg!("tpidr_el0", PATTERN);
        write_sysreg!("tpidrro_el0", PATTERN);
        write_sysreg!("contextidr_el1", PATTERN & 0xffff_ffff);
        write_sysreg!("sp_el0", PATTERN);
        write_sysreg!("cntkctl_el1", 0x3ff);
        write_sysreg!("amair_el1", PATTERN);
        write_sysreg!("pmcntenset_el0", 0x8000_0000);
        write_sysreg!("pmcr_el0", 1);
        write_sysreg!("cntv_ctl_el0", 1);
        write_sysreg!("cntp_ctl_el0", 1);
    }
}

/// Fills V0 to V31, FPCR and FPSR.
pub fn vectors() {
    // SAFETY: the V registers are declared as changed; rounding does not matter any more.
    unsafe {
        write_sysreg!("fpcr", 0x07c0_0000);
        write_sysreg!("fpsr", 0x0800_009f);
        asm!(
            ".irp n,0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30,31",
            "dup v\\n\\().2d, {p}",
            ".endr",
            p = in(reg) PATTERN,
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _, out("v6") _, out("v7") _,
            out("v8") _, out("v9") _, out("v10") _, out("v11") _, out("v12") _, out("v13") _, out("v14") _, out("v15") _,
            out("v16") _, out("v17") _, out("v18") _, out("v19") _, out("v20") _, out("v21") _, out("v22") _, out("v23") _,
            out("v24") _, out("v25") _, out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nostack)
        );
    }
}

/// Makes a call with the pattern in every other register; or, with [`NO_CALL`], falls into a fault that EL2 has no answer to.
pub fn last(function: u32) -> ! {
    // SAFETY: nothing runs here any more.
    unsafe {
        if function == NO_CALL {
            write_sysreg!("vbar_el1", layout::MEMORY_HOLE as u64);
        }
        sysreg::isb();
        asm!(
            ".irp n,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30",
            "mov x\\n, x1",
            ".endr",
            "mov sp, x1",
            "cbz x0, 2f",
            "3: hvc #0",
            "b 3b",
            "2: udf #0",
            in("x0") u64::from(function), in("x1") PATTERN, options(noreturn)
        )
    }
}

/// No function: a fault.
pub const NO_CALL: u32 = 0;
