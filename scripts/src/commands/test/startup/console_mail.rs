//! Other pCPUs that call for the console while its server takes a turn: how late somebody more urgent wakes then.
//!
//! Under icount all CPUs share one clock, so a second one would be counted too. The test plants what others do in a copy of the
//! image: in about half of its turns, and about half of the times that it is going to look who runs, the pCPU finds itself
//! called for the console as by another.

use super::patient::{Patient, branch};
use super::{Boot, found, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};
use crate::qemu::ICOUNT;
use crate::session::{Ending, Finished};
use crate::workspace::root;

/// A loop above a partition that prints without end.
const TABLE: &str = "tests/systems/loop-storm.toml";
/// Code that only a panic comes to: room for what is planted.
const UNUSED: &str = "hypervisor_crash";
/// `str xzr, [x0, #offset]`, whatever the offset: a turn takes the server out of its place.
const CLEARS: u32 = 0xf900_001f;
const OFFSET: u32 = 0xfff << 10;
/// Instructions of a turn until then, at most.
const EARLY: u64 = 40;
/// What the loop says when it has counted long enough, and what it may have waited at most, in nanoseconds.
const UNTIL: &str = "loop:^period 3000 ";
const WORST: &str = "missed 0 worst_ns ";
const MOST: u64 = 3000;
/// Longest time in seconds.
const SECONDS: u64 = 240;

/// Bounds the wake-ups of a loop beside a console that others call for.
pub fn bounded(args: &Test) -> Outcome<Found> {
    let name = "console-mail-latency";
    let table = root().join(TABLE);
    let built = system(args, &table.to_string_lossy())?;
    let mut patient = Patient::new(&built)?;
    let turn = patient.function("take_console_turn")?;
    let call = patient.function("call_console")?;
    let taken = taken(&patient, turn)?;
    let server_at = patient.instruction(taken)? & OFFSET;
    let mut room = patient.symbol(UNUSED)?;
    for place in [taken, patient.function("resume_by_loop")?] {
        let code = interlude(patient.instruction(place)?, server_at, room, call);
        let end = room + 4 * code.len() as u64;
        patient.plant(room, &code)?;
        patient.plant(end, &[branch(end, place + 4)])?;
        patient.plant(place, &[branch(place, room)])?;
        room = end + 4;
    }
    let names = built.names();
    let mut command = patient.boot(&built, name)?;
    command.args(ICOUNT);
    let mut boot = Boot::new(name, command, &names);
    (boot.until, boot.seconds) = (Some(UNTIL), SECONDS);
    let finished = boot.run(args)?;
    Ok(found(name, &finished, check(&finished)))
}

/// Finds where a turn takes the server out of its place.
fn taken(patient: &Patient, turn: u64) -> Outcome<u64> {
    for place in (turn..turn + 4 * EARLY).step_by(4) {
        if patient.instruction(place)? & !OFFSET == CLEARS {
            return Ok(place);
        }
    }
    Err(Failure::failed("a turn does not take the server"))
}

/// What stands in the place of an instruction at which x0 has the pCPU's state: by two bits of the counter, a call for the
/// console of a server that is somewhere else, and that instruction. Keeps all registers.
fn interlude(replaced: u32, server_at: u32, room: u64, call: u64) -> Vec<u32> {
    /// Pairs of registers that a call may change.
    const PAIRS: [(u32, u32); 10] = [
        (0, 1),
        (2, 3),
        (4, 5),
        (6, 7),
        (8, 9),
        (10, 11),
        (12, 13),
        (14, 15),
        (16, 17),
        (18, 30),
    ];
    /// `ldr` and `str` of 64 bits, and offsets of the frame: x0, the flags, and where the server was.
    const LOAD: u32 = 0xf940_0000;
    const STORE: u32 = 0xf900_0000;
    const SP: u32 = 31 << 5;
    const FLAGS: u32 = 20 << 10;
    const SERVER: u32 = 21 << 10;
    let pairs = |word: u32| {
        let pairs = (0_u32..).zip(PAIRS);
        pairs.map(move |(at, (first, second))| word | at << 16 | second << 10 | SP | first)
    };
    let mut code = vec![0xd102_c3ff]; // sub sp, sp, #176
    code.extend(pairs(0xa900_0000)); // stp
    code.extend([
        0xd53b_4202, // mrs x2, nzcv
        STORE | FLAGS | SP | 2,
        0xd53b_e021,          // mrs x1, cntpct_el0
        0xca41_1021,          // eor x1, x1, x1, lsr #4
        0x3600_0001 | 8 << 5, // tbz w1, #0, past it
        LOAD | server_at | 1,
        STORE | SERVER | SP | 1,
        CLEARS | server_at,
    ]);
    let here = room + 4 * code.len() as u64;
    code.extend([
        0x8000_0000 | branch(here, call), // bl
        LOAD | SP,
        LOAD | SERVER | SP | 1,
        STORE | server_at | 1,
        LOAD | FLAGS | SP | 2,
        0xd51b_4202, // msr nzcv, x2
    ]);
    code.extend(pairs(0xa940_0000)); // ldp
    code.extend([0x9102_c3ff, replaced]); // add sp, sp, #176
    code
}

/// Says what is wrong with a run.
fn check(finished: &Finished) -> Vec<String> {
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not go on: {:?}", finished.ending));
    }
    let lines = finished.transcript.lines.iter();
    for line in lines.filter(|line| line.text.contains("worst_ns")) {
        let number = line.text.split_once(WORST).map(|(_, rest)| rest);
        let number = number.and_then(|rest| rest.split(' ').next()?.parse().ok());
        if number.is_none_or(|number: u64| number > MOST) {
            wrong.push(format!("out of bounds: {}", line.text));
        }
    }
    wrong
}
