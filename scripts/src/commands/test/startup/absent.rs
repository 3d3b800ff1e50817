//! A CPU that does not come up when the firmware is asked for it.

use std::process::Command;

use super::super::gates::sum;
use super::places::{IMAGE_AT, TREE_AT, image_and_tree, kept};
use super::{Boot, found, own_lines};
use crate::args::{Target, Test};
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::session::{Ending, Finished};
use crate::system::{Built, build};
use crate::workspace::{products, read, root, write};

/// What [`firmware`] answers to every call: PSCI's `SUCCESS` and `DENIED`.
const SUCCESS: i64 = 0;
const DENIED: i64 = -3;
/// Longest time.
const SECONDS: u64 = 60;

/// A run.
struct Absence {
    name: &'static str,
    /// The table.
    table: &'static str,
    /// Who serves the console.
    console_pcpu: u32,
    /// The firmware's answer to CPU_ON; the CPU stays where it is.
    answer: i64,
    /// What EL2 says of it, once each.
    says: &'static [&'static str],
    /// What shows that the rest goes on.
    until: &'static str,
}

const MISSING: &str = "pCPU 1 has not come up within a second: its vCPUs do not run";
const MOVED: &str = "warning: pCPU 1 did not come up: pCPU 0 serves the console in its place";

const RUNS: [Absence; 6] = [
    Absence {
        name: "start-cpu-missing-restart",
        table: "half-missing",
        console_pcpu: 0,
        answer: SUCCESS,
        says: &[MISSING],
        until: "manager:^DONE 2 passed 0 failed",
    },
    Absence {
        name: "start-cpu-denied",
        table: "two-loops",
        console_pcpu: 0,
        answer: DENIED,
        says: &[MISSING],
        until: "loop-0:^period 2000 ",
    },
    Absence {
        name: "start-cpu-never-comes",
        table: "two-loops",
        console_pcpu: 0,
        answer: SUCCESS,
        says: &[MISSING],
        until: "loop-0:^period 2000 ",
    },
    Absence {
        name: "start-console-cpu-denied",
        table: "two-loops",
        console_pcpu: 1,
        answer: DENIED,
        says: &[MOVED, MISSING],
        until: "loop-0:^period 2000 ",
    },
    Absence {
        name: "start-console-cpu-never-comes",
        table: "two-loops",
        console_pcpu: 1,
        answer: SUCCESS,
        says: &[MOVED, MISSING],
        until: "loop-0:^period 2000 ",
    },
    Absence {
        name: "start-console-cpu-alone-never-comes",
        table: "loop-elsewhere",
        console_pcpu: 1,
        answer: SUCCESS,
        says: &[MOVED, MISSING],
        until: "bulkhead:^pCPU 1 has not come up",
    },
];

/// Runs systems on two CPUs, of which one does not come up.
pub fn told(args: &Test) -> Outcome<Found> {
    let mut all = Vec::new();
    for absence in &RUNS {
        let built = built(args, absence)?;
        let command = with_firmware(&built, absence)?;
        let names = built.names();
        let mut boot = Boot::new(absence.name, command, &names);
        boot.until = Some(absence.until);
        boot.seconds = SECONDS;
        let finished = boot.run(args)?;
        all.push(found(absence.name, &finished, check(absence, &finished)));
    }
    Ok(sum(all))
}

/// Says what is wrong with a run.
fn check(absence: &Absence, finished: &Finished) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not go on: {:?}", finished.ending));
    }
    let said = own_lines(finished);
    for says in absence.says {
        if said.iter().filter(|line| *line == says).count() != 1 {
            wrong.push(format!("`{says}` was not said once"));
        }
    }
    wrong
}

/// Builds the system.
fn built(args: &Test, absence: &Absence) -> Outcome<Built> {
    let console_pcpu = absence.console_pcpu;
    let table = root().join(format!("tests/systems/{}.toml", absence.table));
    let table = read(&table)?;
    let table = String::from_utf8_lossy(&table).replace(
        "version  = 1\n",
        &format!("version  = 1\nconsole_pcpu = {console_pcpu}\n"),
    );
    let file = products(&["test", &format!("{}.toml", absence.name)]);
    write(&file, table.as_bytes())?;
    let target = Target {
        partitions: Some(file.to_string_lossy().into_owned()),
        consent: args.consent,
        ..Target::default()
    };
    let machine = crate::args::Machine {
        qemu: args.qemu.clone(),
        ..crate::args::Machine::default()
    };
    build(&target, &machine)
}

/// Returns a call of QEMU with a firmware at EL3 in place of its own.
fn with_firmware(built: &Built, absence: &Absence) -> Outcome<Command> {
    let board = built.qemu_board()?;
    let tree = board.device_tree()?;
    let mut secure = board.clone();
    secure.machine.push_str(",secure=on");
    let mut command = secure.command();
    image_and_tree(&mut command, built, absence.name, &tree)?;
    let firmware = kept(absence.name, "bios", &firmware(absence.answer))?;
    command.arg("-bios").arg(firmware);
    Ok(command)
}

/// Returns a firmware for address 0 that enters the image at EL2 on the first CPU, keeps the others, and gives every call by
/// SMC the same answer.
fn firmware(answer: i64) -> Vec<u8> {
    const VECTORS_AT: usize = 0x800;
    /// Where the vectors have a synchronous exception from EL2.
    const CALL_AT: usize = VECTORS_AT + 0x400;
    let start = [
        0xd538_00a0_u32, // mrs x0, mpidr_el1
        0x9240_1c00,     // and x0, x0, #0xff
        0xb500_0280,     // cbnz x0, park
        0x1000_3fa0,     // adr x0, vectors
        0xd51e_c000,     // msr vbar_el3, x0
        0xd280_a020,     // mov x0, #0x501: NS, HCE, RW
        0xd51e_1100,     // msr scr_el3, x0
        0xd280_01e0,     // mov x0, #0xf: SRE and who may enable it
        0xd51e_cca0,     // msr icc_sre_el3, x0
        0xd503_3fdf,     // isb
        0x5800_01c1,     // ldr x1, gicd
        0x5280_0800,     // mov w0, #0x40: DS, one security state
        0xb900_0020,     // str w0, [x1]
        0xd286_1a00,     // mov x0, #0x30d0
        0xf2a6_18a0,     // movk x0, #0x30c5, lsl #16: what is one
        0xd51c_1000,     // msr sctlr_el2, x0
        0xd280_7920,     // mov x0, #0x3c9: EL2h, masked
        0xd51e_4000,     // msr spsr_el3, x0
        0x5800_0100,     // ldr x0, image
        0xd51e_4020,     // msr elr_el3, x0
        0x5800_0100,     // ldr x0, tree
        0xd69f_03e0,     // eret
        0xd503_207f,     // park: wfi
        0x17ff_ffff,     // b park
    ];
    // ldr x0, .+8; eret.
    let call = [0x5800_0040_u32, 0xd69f_03e0];
    let words = |code: &[u32]| -> Vec<u8> { code.iter().flat_map(|it| it.to_le_bytes()).collect() };
    let mut bytes = words(&start);
    for value in [0x800_0000, IMAGE_AT, TREE_AT] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.resize(CALL_AT, 0);
    bytes.extend(words(&call));
    bytes.extend(answer.to_le_bytes());
    bytes
}
