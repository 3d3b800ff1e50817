//! EL2's own map, spoiled: start-up walks its tables and refuses.

use super::patient::{Patient, UNUSED, branch};
use super::{Boot, check_refusal, own_lines, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::{Failure, Outcome};

/// What the start-up code gives data, so that it is never executed: `movk x3, #0x40, lsl #48`.
const NEVER_EXECUTE: u32 = 0xf2e0_0803;
const NOP: u32 = 0xd503_201f;
/// Instructions of the start-up code in which it stands.
const ENTRY: u64 = 64;
/// A page of memory, never executed.
const PAGE: u64 = 3 | 1 << 10 | 0b11 << 8 | 1 << 6 | 1 << 54;

/// Takes execute-never from the constants, then from data, then maps a page of a guest.
pub fn spoiled(args: &Test) -> Outcome<Found> {
    let built = system(args, "hello")?;
    let names = built.names();
    let patient = || Patient::new(&built);
    let sound = Boot {
        until: Some("bulkhead:hello: started"),
        ..Boot::new("start-own-map", patient()?.boot(&built, "own-map")?, &names)
    };
    let sound = sound.run(args)?;
    let guest = guest_memory(&own_lines(&sound))?;
    let mut constants = patient()?;
    let sections = never_executed(&constants)?;
    let [rodata, data, ..] = sections[..] else {
        return Err(Failure::failed("the start-up code maps other sections"));
    };
    constants.plant(rodata, &[NOP])?;
    let mut writable = patient()?;
    writable.plant(data, &[NOP])?;
    let mut mapped = patient()?;
    map_page(&mut mapped, guest)?;
    let mut found = Found::default();
    for (name, patient, reason) in [
        ("constants", constants, "can be executed, and is no text"),
        ("data", writable, "can be written and executed"),
        ("guest", mapped, "is wrong: hello's memory 0"),
    ] {
        let name = format!("start-own-map-{name}");
        let finished = Boot::new(&name, patient.boot(&built, &name)?, &names).run(args)?;
        let one = super::found(&name, &finished, check_refusal(&finished, &[reason]));
        found.passed += one.passed;
        found.failures.extend(one.failures);
        found.details.extend(one.details);
    }
    Ok(found)
}

/// Returns where the guest's memory is, as the start-up table says.
fn guest_memory(lines: &[&str]) -> Outcome<u64> {
    let place = lines.iter().find_map(|line| {
        let (_, behind) = line.split_once("0x40000000 -> 0x")?;
        u64::from_str_radix(behind.split_whitespace().next()?, 16).ok()
    });
    place.ok_or_else(|| Failure::failed("the start-up table does not say where hello's memory is"))
}

/// Returns where the start-up code says that a section is never executed: constants, data, the stack and tables.
fn never_executed(patient: &Patient) -> Outcome<Vec<u64>> {
    let entry = patient.symbol("primary_entry")?;
    let mut found = Vec::new();
    for at in (entry..).step_by(4).take(ENTRY as usize) {
        if patient.instruction(at)? == NEVER_EXECUTE {
            found.push(at);
        }
    }
    Ok(found)
}

/// Lets start-up map a page of a guest where the hole below the first stack is, before it walks its tables.
fn map_page(patient: &mut Patient, page: u64) -> Outcome {
    let walk = patient.function("own_map")?;
    let unused = patient.symbol(UNUSED)?;
    let hole = (patient.symbol("_guard")? - patient.symbol("_image_start")?) / 4096;
    let entry = patient.symbol("image_table")? + hole * 8;
    let mut code = Vec::new();
    constant(16, entry, &mut code);
    constant(17, page | PAGE, &mut code);
    // str x17, [x16]; what stood there; and back.
    code.push(0xf900_0211);
    code.push(patient.instruction(walk)?);
    code.push(branch(unused + 4 * code.len() as u64, walk + 4));
    patient.plant(unused, &code)?;
    patient.plant(walk, &[branch(walk, unused)])
}

/// Puts a number into a register: `movz`, `movk` three times.
fn constant(register: u32, value: u64, code: &mut Vec<u32>) {
    for quarter in 0..4 {
        let part = (value >> (16 * quarter) & 0xffff) as u32;
        let opcode = if quarter == 0 {
            0xd280_0000
        } else {
            0xf280_0000
        };
        code.push(opcode | quarter << 21 | part << 5 | register);
    }
}
