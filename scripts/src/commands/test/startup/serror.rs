//! An SError that is pending when its vCPU leaves: QEMU raises no physical one, so the test plants the two places where EL2
//! would meet it in a copy of the image.
//!
//! * Where a world switch asks `ISR_EL1` whether an SError is pending, it is told yes, once, when the first partition's vCPU
//!   leaves.
//! * Where the next guest would be entered, the CPU goes to the SError's vector instead, as it does when an SError is pending
//!   and no longer masked.
//!
//! All that follows is EL2's and QEMU's own: whose it is, the virtual SError, and its delivery when the owner runs again.
//!
//! # Source
//! Arm DDI 0487, register pages `ISR_EL1`, `HCR_EL2` (`AMO`, `VSE`); "Asynchronous exception routing".

use super::patient::{Patient, branch};
use super::{Boot, found, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};
use crate::session::Finished;
use crate::system::Built;
use crate::workspace::root;

/// Code that only a panic comes to: room for what is planted.
const UNUSED: &str = "hypervisor_crash";
/// `mrs x0, isr_el1`
const PENDING_ERRORS: u32 = 0xd538_c100;
/// `tbz w0, #8`, whatever its distance: bit A of `ISR_EL1`.
const IF_NO_SERROR: u32 = 0x3640_0000;
/// `eret`
const ERET: u32 = 0xd69f_03e0;
/// Offset of the vector for an SError from AArch64 at a lower level.
const SERROR_VECTOR: u64 = 0x580;
/// `VTTBR_EL2.VMID` of the first partition.
const OWNER: u32 = 1;
/// The SError comes when the counter has more bits than these: half a second after the start.
const COUNTER_BITS: u32 = 25;
/// States in `DBGBVR5_EL1`, a register that EL2 hides from guests and does not use: pending, taken.
const PENDING: u32 = 4;
const TAKEN: u32 = 8;

/// Lets an SError of `owner` be pending while it leaves, with `neighbour` the next one.
pub fn over_a_switch(args: &Test) -> Outcome<Found> {
    let name = "a13-serror-over-a-switch";
    let built = built(args, "serror")?;
    let patient = planted(&built)?;
    let names = built.names();
    let mut boot = Boot::new(name, patient.boot(&built, name)?, &names);
    let steps = [(
        "bulkhead:^owner: stopped".to_owned(),
        "neighbour:g\\c".to_owned(),
    )];
    (boot.steps, boot.until) = (&steps, Some("neighbour:^DONE"));
    let finished = boot.run(args)?;
    Ok(found(name, &finished, check(&finished)))
}

/// Lets an SError of `owner`, which masks it, be pending while it waits.
pub fn ends_a_wait(args: &Test) -> Outcome<Found> {
    let name = "a13-serror-ends-a-wait";
    let built = built(args, "serror-masked")?;
    let patient = planted(&built)?;
    let names = built.names();
    let mut boot = Boot::new(name, patient.boot(&built, name)?, &names);
    boot.until = Some("owner:^awake 4$");
    let finished = boot.run(args)?;
    let mut lines = finished.transcript.lines.iter();
    let wrong = match lines.any(|line| line.text == "awake 4") {
        true => Vec::new(),
        false => vec!["it slept over its SError".to_owned()],
    };
    Ok(found(name, &finished, wrong))
}

/// Builds a system of the tests.
fn built(args: &Test, table: &str) -> Outcome<Built> {
    let table = root().join("tests/systems").join(table);
    system(args, &table.with_extension("toml").to_string_lossy())
}

/// Plants the SError in a copy of a system.
fn planted(built: &Built) -> Outcome<Patient> {
    let mut patient = Patient::new(built)?;
    let mut room = patient.symbol(UNUSED)?;
    let questions = questions(&patient)?;
    if questions.is_empty() {
        return Err(Failure::failed("no world switch asks for an SError"));
    }
    for (place, register) in questions {
        let code = answer(register);
        let end = room + 4 * code.len() as u64;
        patient.plant(room, &code)?;
        patient.plant(end, &[branch(end, place + 4)])?;
        patient.plant(place, &[branch(place, room)])?;
        room = end + 4;
    }
    let vector = patient.symbol("exception_vectors")? + SERROR_VECTOR;
    let entry = entry(&patient)?;
    let code = on_entry();
    let end = room + 4 * code.len() as u64;
    patient.plant(room, &code)?;
    patient.plant(end, &[branch(end, vector)])?;
    patient.plant(entry, &[branch(entry, room)])?;
    Ok(patient)
}

/// Finds the world switches' reads of `ISR_EL1`: address and register.
fn questions(patient: &Patient) -> Outcome<Vec<(u64, u32)>> {
    let (first, words) = patient.text()?;
    let asks = |pair: &[u32]| match *pair {
        [read, test] if read & !0x1f == PENDING_ERRORS => {
            let register = read & 0x1f;
            (test & 0xfff8_001f == IF_NO_SERROR | register).then_some(register)
        }
        _ => None,
    };
    let places = (first..).step_by(4).zip(words.windows(2));
    Ok(places
        .filter_map(|(place, pair)| Some((place, asks(pair)?)))
        .collect())
}

/// Returns the exception return that enters a vCPU.
fn entry(patient: &Patient) -> Outcome<u64> {
    let begin = patient.symbol("resume_guest")?;
    for place in (begin..begin + 0x80).step_by(4) {
        if patient.instruction(place)? == ERET {
            return Ok(place);
        }
    }
    Err(Failure::failed("resume_guest does not return"))
}

/// What stands in the place of a read of `ISR_EL1` into a register: 0, but for bit A once. Keeps all else.
fn answer(register: u32) -> Vec<u32> {
    // A pair of which neither is the register.
    let scratch = if register < 2 { 2 } else { 0 };
    let s = |word: u32| word | scratch;
    let past = |from: u32, to: u32| s(0xb500_0000 | (to - from) << 5); // cbnz
    vec![
        0xa9bf_03e0 | (scratch + 1) << 10 | scratch, // stp pair, [sp, #-16]!
        0xd280_0000 | register,                      // mov register, #0
        s(0xd530_0580),                              // mrs scratch, dbgbvr5_el1
        past(3, 14),
        s(0xd53b_e020), // mrs scratch, cntpct_el0
        0xd340_fc00 | COUNTER_BITS << 16 | scratch << 5 | scratch, // lsr
        s(0xb400_0000 | (14 - 6) << 5), // cbz
        s(0xd53c_2100), // mrs scratch, vttbr_el2
        0xd370_fc00 | scratch << 5 | scratch, // lsr scratch, scratch, #48
        0xd100_0000 | OWNER << 10 | scratch << 5 | scratch, // sub
        past(10, 14),
        s(0xd280_0000 | PENDING << 5),               // mov
        s(0xd510_0580),                              // msr dbgbvr5_el1, scratch
        0xd280_2000 | register,                      // mov register, #1 << 8
        0xa8c1_03e0 | (scratch + 1) << 10 | scratch, // ldp pair, [sp], #16
    ]
}

/// What stands in the place of the exception return: goes on to what follows while the SError is pending. Keeps all
/// registers: x0 in another register of that kind.
fn on_entry() -> Vec<u32> {
    vec![
        0xd510_0480,                 // msr dbgbvr4_el1, x0
        0xd530_0580,                 // mrs x0, dbgbvr5_el1
        0xd100_0000 | PENDING << 10, // sub x0, x0, #PENDING
        0xb400_0000 | 5 << 5,        // cbz x0, .+20
        0xd530_0480,                 // mrs x0, dbgbvr4_el1
        ERET,
        0xd503_379f, // dsb nsh
        0xd503_3fdf, // isb
        0xd280_0000 | TAKEN << 5,
        0xd510_0580, // msr dbgbvr5_el1, x0
        0xd530_0480, // mrs x0, dbgbvr4_el1
    ]
}

/// Says what is wrong: the owner must crash of an SError, its neighbour must notice nothing.
fn check(finished: &Finished) -> Vec<String> {
    let lines = &finished.transcript.lines;
    let says = |name: &str, text: &str| {
        let mut own = lines
            .iter()
            .filter(|line| line.speaker.as_deref() == Some(name));
        own.any(|line| line.text.contains(text))
    };
    let mut wrong = Vec::new();
    if !says("owner", "SError at EL1") {
        wrong.push("the owner did not get its SError".to_owned());
    }
    if says("neighbour", "CRASH") || !says("neighbour", "DONE 5 passed 0 failed") {
        wrong.push("the neighbour was not left alone".to_owned());
    }
    wrong
}
