//! System registers that a guest owns.

use crate::ROUNDS;
use guest_runtime::exception::catch;
use guest_runtime::random::{below, random};
use guest_runtime::suite::Outcome;
use guest_runtime::{expect, println, read_sysreg, sysreg, write_sysreg};

/// A register: its name, the bits that may hold anything while this guest runs, and how it is read and written.
struct Register {
    name: &'static str,
    free: u64,
    read: fn() -> u64,
    write: fn(u64),
}

macro_rules! registers {
    ($($name:literal $free:expr $(, but $clear:literal clears)?;)*) => {
        [$(Register {
            name: $name,
            free: $free,
            read: || read_sysreg!($name),
            // SAFETY: only the free bits ever change; those are chosen so that this guest's memory, stack and exceptions
            // stay as they are.
            write: |value| unsafe {
                $(write_sysreg!($clear, !value & WORD);)?
                write_sysreg!($name, value)
            },
        }),*]
    };
}

const ALL: u64 = u64::MAX;
const WORD: u64 = 0xffff_ffff;
/// The cycle counter's bit and the first event counter's. Neither counts while the monitors as a whole are off.
const COUNTERS: u64 = 1 << 31 | 1;
/// `PMCCFILTR_EL0.NSH`: cycles at EL2 count too, where whoever is there allows it; and `PMCR_EL0.E`.
const AT_EL2: u64 = 1 << 27;
const ON: u64 = 1;
/// What moves while the monitors are on, or is changed to have them so.
const MOVING: [&str; 6] = [
    "pmccntr_el0",
    "pmevcntr0_el0",
    "pmovsset_el0",
    "pmccfiltr_el0",
    "pmcntenset_el0",
    "pmcr_el0",
];

/// How many registers the list has.
const COUNT: usize = 58;

/// Interrupts stay masked throughout, and nothing here faults between a write and the read that follows: so the registers of
/// exceptions change only when somebody else changes them, and the vectors may be anywhere.
static REGISTERS: [Register; COUNT] = registers![
    "tpidr_el0" ALL;
    "tpidrro_el0" ALL;
    "tpidr_el1" ALL & !7; // the runtime keeps the vCPU's index in the low bits
    "sp_el0" ALL;
    "elr_el1" ALL;
    "spsr_el1" 0xf000_0000;
    "esr_el1" WORD;
    "far_el1" ALL;
    "afsr0_el1" WORD;
    "afsr1_el1" WORD;
    "amair_el1" ALL;
    "contextidr_el1" WORD;
    "par_el1" 0xffff_ffff_f000;
    "ttbr0_el1" 0;
    "ttbr1_el1" 0xff_ffff_f000; // walks by it are off
    "mair_el1" 0xffff_ffff_ffff_0000; // two attributes are in use
    "tcr_el1" 1 << 38;
    "sctlr_el1" 1 << 26 | 1 << 15 | 1 << 14 | 1 << 9; // what EL0 may do
    "cpacr_el1" 1 << 21; // FP at EL0
    "vbar_el1" 0x7f_ffff_f800;
    "csselr_el1" 3;
    "cntkctl_el1" 0x303;
    "cntv_cval_el0" ALL;
    "cntv_ctl_el0" 2;
    "cntp_cval_el0" ALL;
    "cntp_ctl_el0" 2;
    "mdscr_el1" 1 << 12 | 1; // a step comes at EL0 alone, where this guest never is
    "dbgbvr0_el1" 0xffff_ffff_fffc;
    "dbgbcr0_el1" 0x1e0;
    "dbgwvr0_el1" 0xffff_ffff_fffc;
    "dbgwcr0_el1" 0x1fe0;
    "pmuserenr_el0" 0xf;
    "pmccntr_el0" ALL;
    "pmccfiltr_el0" 0xc000_0000;
    "pmcr_el0" 1 << 6;
    "pmselr_el0" 0x1f;
    "pmevcntr0_el0" WORD;
    "pmevtyper0_el0" 0xffff;
    "pmcntenset_el0" COUNTERS, but "pmcntenclr_el0" clears;
    "pmintenset_el1" COUNTERS, but "pmintenclr_el1" clears;
    "pmovsset_el0" COUNTERS, but "pmovsclr_el0" clears;
    "icc_pmr_el1" 0x78;
    "icc_bpr0_el1" 7;
    "icc_bpr1_el1" 7;
    "icc_ctlr_el1" 2;
    "icc_igrpen0_el1" 1;
    "s3_3_c13_c0_5" ALL; // TPIDR2_EL0
    "s3_0_c12_c1_1" 0x81ff_ffff; // DISR_EL1
    "s3_0_c2_c1_0" ALL; // pointer authentication keys, from APIAKeyLo_EL1
    "s3_0_c2_c1_1" ALL;
    "s3_0_c2_c1_2" ALL;
    "s3_0_c2_c1_3" ALL;
    "s3_0_c2_c2_0" ALL;
    "s3_0_c2_c2_1" ALL;
    "s3_0_c2_c2_2" ALL;
    "s3_0_c2_c2_3" ALL;
    "s3_0_c2_c3_0" ALL;
    "s3_0_c2_c3_1" ALL;
];

/// Finds out which registers are there; says which are not. Those of a kind that is `left_out`, by the first letters of its
/// names, are not touched.
fn present(left_out: &[&str]) -> [bool; COUNT] {
    core::array::from_fn(|place| {
        let register = &REGISTERS[place];
        if left_out.iter().any(|kind| register.name.starts_with(kind)) {
            return false;
        }
        let there = catch(|| (register.write)((register.read)())).1.is_none();
        if !there {
            println!("not there: {}", register.name);
        }
        there
    })
}

/// Who this vCPU is: `MIDR_EL1` and `MPIDR_EL1`.
fn identity() -> [u64; 2] {
    [read_sysreg!("midr_el1"), read_sysreg!("mpidr_el1")]
}

/// Draws a value for a register, writes it, and returns what it then holds.
fn fill(register: &Register) -> u64 {
    let value = (register.read)() & !register.free | random() & register.free;
    (register.write)(value);
    sysreg::isb();
    (register.read)()
}

/// Lets the monitors count, at EL2 too, until [`stop_counting`]: a neighbour whose counters stand would see if they went on
/// counting while its registers come.
fn start_counting() {
    // SAFETY: counters change no memory.
    unsafe {
        write_sysreg!(
            "pmccfiltr_el0",
            read_sysreg!("pmccfiltr_el0") & WORD >> 2 | AT_EL2
        );
        write_sysreg!("pmcntenset_el0", 1u64 << 31);
        write_sysreg!("pmcr_el0", read_sysreg!("pmcr_el0") | ON);
    }
    sysreg::isb();
}

fn stop_counting() {
    // SAFETY: counters change no memory.
    unsafe {
        write_sysreg!("pmcr_el0", read_sysreg!("pmcr_el0") & !ON);
        write_sysreg!("pmccfiltr_el0", read_sysreg!("pmccfiltr_el0") & !AT_EL2);
    }
    sysreg::isb();
}

/// Fills all registers but those that are `left_out`, lets time pass, and compares, many times over. Where the monitors are not
/// left out they count in every second round or so, and what moves then is not compared.
pub fn survive(pass: fn(), left_out: &[&str]) -> Outcome {
    let present = present(left_out);
    let monitors = (0..COUNT).any(|place| present[place] && REGISTERS[place].name == MOVING[0]);
    let first: [u64; COUNT] = core::array::from_fn(|place| {
        if present[place] {
            (REGISTERS[place].read)()
        } else {
            0
        }
    });
    let mut changed = [false; COUNT];
    let identity = identity();
    for round in 0..ROUNDS {
        let wanted: [u64; COUNT] = core::array::from_fn(|place| {
            if present[place] {
                fill(&REGISTERS[place])
            } else {
                0
            }
        });
        let counts = monitors && below(2) == 0;
        let compared = match counts {
            true => core::array::from_fn(|place| {
                present[place] && !MOVING.contains(&REGISTERS[place].name)
            }),
            false => present,
        };
        if counts {
            start_counting();
        }
        pass();
        compare(round, &compared, &wanted, &mut changed);
        if counts {
            stop_counting();
        }
        let [main, affinity] = self::identity();
        expect!(
            [main, affinity] == identity,
            "round {round}: MIDR_EL1 and MPIDR_EL1 are {main:#x} and {affinity:#x}, were {identity:x?}"
        );
    }
    for place in (0..COUNT).filter(|place| present[*place]) {
        (REGISTERS[place].write)(first[place]);
    }
    sysreg::isb();
    let count = changed.iter().filter(|changed| **changed).count();
    expect!(count == 0, "{count} registers changed, named above");
    Ok(())
}

/// Compares all registers; each that changed is told of once, so that one does not hide another.
fn compare(
    round: u64,
    present: &[bool; COUNT],
    wanted: &[u64; COUNT],
    changed: &mut [bool; COUNT],
) {
    for place in (0..COUNT).filter(|place| present[*place]) {
        let register = &REGISTERS[place];
        let (found, wanted) = ((register.read)(), wanted[place]);
        if found != wanted && !changed[place] {
            changed[place] = true;
            println!(
                "changed in round {round}: {} is {found:#x}, was {wanted:#x}",
                register.name
            );
        }
    }
}
