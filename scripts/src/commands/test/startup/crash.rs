//! EL2's own failures. The built image has no way to make one, so the test plants a fault in a copy of it
//! ([`super::patient`]): code where the first instructions of a function stand that every trap of a guest comes to.

use super::patient::{Patient, UNUSED, branch};
use super::{Boot, found, own_lines, system};
use crate::args::Test;
use crate::commands::run::verdict;
use crate::commands::test::Found;
use crate::failure::{Code, Failure, Outcome};
use crate::session::Finished;

/// What every synchronous exception from a guest comes to first.
const HANDLER: &str = "quick_synchronous";
/// The fault comes when the counter has this many bits: after 4.3 s at QEMU's 62.5 MHz.
const COUNTER_BITS: u32 = 28;
/// Time for the fault, and for what may follow it although nothing should.
const SECONDS: u64 = 9;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// Lets two control loops run on two CPUs, then one of them into an undefined instruction at EL2.
pub fn exception(args: &Test) -> Outcome<Found> {
    let name = "start-crash";
    let table = crate::workspace::root().join("tests/systems/two-loops.toml");
    let built = system(args, &table.to_string_lossy())?;
    let mut patient = Patient::new(&built)?;
    let (handler, unused) = (patient.symbol(HANDLER)?, patient.symbol(UNUSED)?);
    let first = patient.instruction(handler)?;
    if first & 0x1f00_0000 == 0x1000_0000 || first & 0x1c00_0000 == 0x1400_0000 {
        return Err(Failure::failed(format!(
            "{HANDLER} begins with an instruction that depends on its place: {first:#010x}"
        )));
    }
    // mrs x16, cntpct_el0; lsr x16, x16, #COUNTER_BITS; cbz x16, .+8; undefined; what stood there; and back.
    let code = [
        0xd53b_e030,
        0xd340_fe10 | COUNTER_BITS << 16,
        0xb400_0050,
        0,
        first,
        branch(unused + 20, handler + 4),
    ];
    patient.plant(unused, &code)?;
    patient.plant(handler, &[branch(handler, unused)])?;
    let names = built.names();
    let mut boot = Boot::new(name, patient.boot(&built, name)?, &names);
    // Waits for what may follow.
    (boot.seconds, boot.survive_panic) = (SECONDS, true);
    let finished = boot.run(args)?;
    let vectors = patient.symbol("exception_vectors")?;
    let mut wrong = check_last_words(
        &finished,
        &[
            "PANIC: exception at EL2: undefined instruction",
            &format!("  pc {:#018x} esr 0x02000000 ", unused + 12),
        ],
    );
    wrong.extend(check_backtrace(&finished, unused + 12, vectors));
    wrong.extend(check_silence(&finished, &names));
    Ok(found(name, &finished, wrong))
}

/// Lets EL2 push without end.
pub fn stack_overflow(args: &Test) -> Outcome<Found> {
    let name = "start-stack-overflow";
    let built = system(args, "hello")?;
    let mut patient = Patient::new(&built)?;
    let handler = patient.symbol(HANDLER)?;
    // stp x29, x30, [sp, #-16]!; b .-4
    patient.plant(handler, &[0xa9bf_7bfd, 0x17ff_ffff])?;
    let names = built.names();
    let finished = Boot::new(name, patient.boot(&built, name)?, &names).run(args)?;
    let mut wrong = check_last_words(
        &finished,
        &[
            "PANIC: exception at EL2: data abort at EL2",
            "  fault translation fault",
            &format!("  pc {handler:#018x} esr 0x96"),
        ],
    );
    // `run` ends so at once.
    let code = verdict(&finished, true).err().map(|failure| failure.code);
    if code != Some(Code::Panic) {
        wrong.push(format!("exit code {code:?}, expected that of a panic"));
    }
    let lines = own_lines(&finished).join("\n");
    let address = number_behind(&lines, "address ");
    let stack = number_behind(&lines, " sp ");
    match address.zip(stack) {
        Some((address, stack)) if address % PAGE == PAGE - 16 && address == stack - 16 => {}
        _ => wrong.push(format!(
            "the fault is not in the last 16 bytes below the stack's page: address {address:x?}, sp {stack:x?}"
        )),
    }
    Ok(found(name, &finished, wrong))
}

/// Says what is missing in the last words: one PANIC, `texts` as beginnings of lines, all registers, the end.
fn check_last_words(finished: &Finished, texts: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    let lines = own_lines(finished);
    let starts = |text: &str| lines.iter().filter(|line| line.starts_with(text)).count();
    if starts("PANIC: ") != 1 {
        return vec![format!("{} lines say PANIC", starts("PANIC: "))];
    }
    for text in texts {
        if starts(text) != 1 {
            wrong.push(format!("no line begins with `{text}`"));
        }
    }
    let missing = missing_registers(&lines);
    if !missing.is_empty() {
        wrong.push(format!("missing: {}", missing.join(", ")));
    }
    for text in ["  backtrace: ", "  on pCPU with MPIDR 0x"] {
        if starts(text) != 1 {
            wrong.push(format!("no line begins with `{text}`"));
        }
    }
    if lines.last() != Some(&"parked") {
        wrong.push("the last line is not `parked`".to_owned());
    }
    wrong
}

/// Returns the general registers that no line tells.
fn missing_registers(lines: &[&str]) -> Vec<String> {
    let words: Vec<&str> = lines
        .iter()
        .flat_map(|line| line.split_whitespace())
        .collect();
    let hex = |text: &str| text.len() == 16 && u64::from_str_radix(text, 16).is_ok();
    let told = |name: &String| {
        let mut pairs = words.windows(2);
        pairs.any(|pair| matches!(pair, [word, value] if word == name && hex(value)))
    };
    let names = (0..=30).map(|number| format!("x{number}"));
    names.filter(|name| !told(name)).collect()
}

/// Says what is wrong with a backtrace whose innermost place is `pc`, called by the vectors.
fn check_backtrace(finished: &Finished, pc: u64, vectors: u64) -> Option<String> {
    let lines = own_lines(finished).join("\n");
    let here = number_behind(&lines, "backtrace: ");
    let caller = number_behind(&lines, &format!("backtrace: {pc:#x} "));
    let vectors = vectors..vectors + 0x800;
    match caller {
        Some(caller) if here == Some(pc) && vectors.contains(&caller) => None,
        _ => Some(format!(
            "the backtrace is not {pc:#x} from within {vectors:x?}: {here:x?} {caller:x?}"
        )),
    }
}

/// Says who did not speak before the panic, or spoke after it.
fn check_silence(finished: &Finished, names: &[String]) -> Vec<String> {
    let lines = &finished.transcript.lines;
    let panic = lines
        .iter()
        .position(|line| line.text.starts_with("PANIC: "));
    let parts = lines.split_at(panic.unwrap_or(lines.len()));
    let speaks = |part: &[_], name: &String| {
        part.iter()
            .any(|line: &crate::console::transcript::Line| line.speaker.as_ref() == Some(name))
    };
    let mut wrong = Vec::new();
    for name in names {
        if !speaks(parts.0, name) {
            wrong.push(format!("{name} did not run before the panic"));
        }
        if speaks(parts.1, name) {
            wrong.push(format!("{name} went on after the panic"));
        }
    }
    wrong
}

/// Returns the hexadecimal number behind a text.
fn number_behind(lines: &str, text: &str) -> Option<u64> {
    let (_, rest) = lines.split_once(text)?;
    let word = rest.split_whitespace().next()?;
    u64::from_str_radix(word.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_register_without_its_value_is_missing() {
        let all: Vec<String> = (0..=30).map(|n| format!("x{n} {n:016x}")).collect();
        let lines: Vec<&str> = all.iter().map(String::as_str).collect();
        assert!(missing_registers(&lines).is_empty());
        assert_eq!(missing_registers(&lines[..30]), ["x30"]);
    }

    #[test]
    fn a_number_is_found_behind_its_name() {
        assert_eq!(number_behind("a sp 0x1f0\nb", " sp "), Some(0x1f0));
        assert_eq!(number_behind("a sp none", " sp "), None);
    }
}
