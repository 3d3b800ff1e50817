//! A crash record in words. Its layout is that of version 1.

use linux_program::File;

use crate::page::Page;
use crate::{Stop, say};

/// Where parts begin, in words.
const GPR: usize = 18;
const TRACE: usize = 64;
const CAUSE: usize = 96;
const SYNDROME: usize = 104;
const CONSOLE: usize = 112;
const CONSOLE_BYTES: usize = 512;

/// Names of words 7 to 16.
const SYSTEM: [&str; 10] = [
    "sp_el0",
    "sp_el1",
    "elr_el1",
    "spsr_el1",
    "esr_el1",
    "far_el1",
    "vbar_el1",
    "sctlr_el1",
    "ttbr0_el1",
    "ttbr1_el1",
];

/// Names of trace records by their kind.
const KINDS: [&str; 13] = [
    "?",
    "run",
    "load",
    "idle",
    "awake",
    "trap",
    "interrupt",
    "serror",
    "enter",
    "inject",
    "wake",
    "block",
    "budget",
];

/// Text in a record.
struct Words([u8; 64]);

impl Words {
    fn read(page: &Page, first: usize) -> Self {
        let mut bytes = [0; 64];
        for (index, bytes) in bytes.chunks_exact_mut(8).enumerate() {
            bytes.copy_from_slice(&page.crash(first + index).to_le_bytes());
        }
        Self(bytes)
    }

    fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(64);
        core::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or("?")
    }
}

/// Prints a partition's last crash.
pub fn show(page: &Page) -> Result<(), Stop> {
    let head = page.crash(0);
    if page.crashes() == 0 {
        return Err(Stop::Failed("it has not crashed"));
    }
    if head as u8 != 1 {
        return Err(Stop::Failed("its crash record is of another version"));
    }
    say(format_args!(
        "{}: crash {} in start {}, vCPU {}, at count {}: {}\n",
        page.name().as_str(),
        page.crashes(),
        head >> 32,
        head >> 8 & 0xff,
        page.crash(1),
        Words::read(page, CAUSE).as_str(),
    ));
    if page.crash(2) != 0 {
        say(format_args!(
            "last trap: {} (esr {:#x}), far {:#x}, guest-physical {:#x}\n",
            Words::read(page, SYNDROME).as_str(),
            page.crash(2),
            page.crash(3),
            page.crash(4),
        ));
    }
    registers(page);
    for record in 0..(head >> 24 & 0xff) as usize {
        let (ticks, what) = (
            page.crash(TRACE + 2 * record),
            page.crash(TRACE + 2 * record + 1),
        );
        let kind = KINDS.get(what as usize & 0xff).unwrap_or(&"?");
        say(format_args!(
            "trace: count {ticks} {kind} {:#x} {:#x}\n",
            what >> 16 & 0xffff,
            what >> 32
        ));
    }
    console(page);
    Ok(())
}

/// Prints the registers.
fn registers(page: &Page) {
    say(format_args!(
        "pc {:#018x}  pstate {:#x}\n",
        page.crash(5),
        page.crash(6)
    ));
    for first in (0..31).step_by(3) {
        for register in first..31.min(first + 3) {
            let value = page.crash(GPR + register);
            say(format_args!("x{register:<2} {value:#018x}  "));
        }
        say(format_args!("\n"));
    }
    for (index, name) in SYSTEM.iter().enumerate() {
        let end = if index % 2 == 1 { "\n" } else { "  " };
        say(format_args!(
            "{name:9} {:#018x}{end}",
            page.crash(7 + index)
        ));
    }
}

/// Prints what was sent last, beginning with a whole line where one is there.
fn console(page: &Page) {
    let mut bytes = [0; CONSOLE_BYTES];
    for (index, bytes) in bytes.chunks_exact_mut(8).enumerate() {
        bytes.copy_from_slice(&page.crash(CONSOLE + index).to_le_bytes());
    }
    let count = (page.crash(17) as usize).min(CONSOLE_BYTES);
    let bytes = bytes.get(..count).unwrap_or_default();
    let line_end = bytes.iter().position(|byte| *byte == b'\n');
    let first = match (count == CONSOLE_BYTES, line_end) {
        (true, Some(at)) if at + 1 < count => at + 1,
        _ => 0,
    };
    say(format_args!("last output:\n"));
    let _ = File::OUTPUT.write_all(bytes.get(first..).unwrap_or_default()); // there is nobody to tell
}
