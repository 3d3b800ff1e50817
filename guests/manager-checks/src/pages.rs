//! A manager's registers, which show what the calls show.

use guest_runtime::manage::{self, phase, register};
use guest_runtime::mmio::Mmio;
use guest_runtime::suite::{Outcome, Test, Verdict};
use guest_runtime::{expect, expect_eq, fail, tests};

use crate::team::{crash_word, log, number, wait};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_registers_show_what_calls_show,
    c_registers_show_the_crash_record_and_the_log,
    c_registers_take_orders,
    c_stores_elsewhere_are_ignored,
];

/// Returns the page of a partition.
fn page(id: u64) -> Result<Mmio, Verdict> {
    let Some((first, count)) = manage::pages() else {
        fail!("the tree has no registers of a manager");
    };
    let mask = manage::call(manage::LIST, [0; 2])[2];
    expect_eq!(count, mask.count_ones() as usize, "pages");
    let before = (mask & ((1 << id) - 1)).count_ones() as usize;
    // SAFETY: one of the pages of registers.
    Ok(unsafe { Mmio::new(first.base() + 4096 * before) })
}

fn victim() -> u64 {
    number("victim").unwrap_or(0)
}

fn c_registers_show_what_calls_show() -> Outcome {
    let page = page(victim())?;
    let info = manage::info(victim()).unwrap_or_default();
    expect_eq!(page.read64(register::STATE), info.state, "STATE");
    expect_eq!(
        page.read32(register::STATE + 4),
        info.starts(),
        "the starts in STATE"
    );
    expect_eq!(
        page.read8(register::STATE),
        phase::RUNNING,
        "the phase in STATE"
    );
    expect_eq!(page.read64(register::CRASHES), info.crashes, "CRASHES");
    expect_eq!(
        page.read64(register::INFO) & 0xffff,
        1 | victim() << 8,
        "INFO"
    );
    expect_eq!(
        page.read64(register::INFO) >> 16,
        176,
        "words of a crash record"
    );
    expect_eq!(
        page.read64(register::LOG) >> 32,
        register::OUTPUT_BYTES as u64,
        "LOG"
    );
    for (at, byte) in info.name.iter().enumerate() {
        expect_eq!(page.read8(register::NAME + at), *byte, "a byte of NAME");
    }
    expect_eq!(page.read64(register::CONTROL), 0, "CONTROL");
    expect_eq!(page.read64(0x28), 0, "what is no register");
    Ok(())
}

fn c_registers_show_the_crash_record_and_the_log() -> Outcome {
    let page = page(victim())?;
    for word in 0..176 {
        let raw = page.read64(register::CRASH + 8 * word);
        expect_eq!(raw, crash_word(victim(), word as u64), "a word of CRASH");
    }
    let end = page.read32(register::LOG) as usize;
    let (bytes, count, first) = log(victim(), 0);
    for (at, byte) in bytes.iter().take(count).enumerate() {
        let place = (first as usize + at) % register::OUTPUT_BYTES;
        expect_eq!(
            page.read8(register::OUTPUT + place),
            *byte,
            "a byte of OUTPUT"
        );
    }
    expect!(
        count > 0 && first as usize + count <= end,
        "{count} bytes from {first} of {end}"
    );
    Ok(())
}

fn c_registers_take_orders() -> Outcome {
    let page = page(victim())?;
    let starts = page.read32(register::STATE + 4);
    page.write32(register::CONTROL, 1);
    let (holds, info) = wait(victim(), |info| info.phase() == phase::STOPPED);
    expect!(holds, "state {:#x} after a stop", info.state);
    expect_eq!(
        page.read8(register::STATE),
        phase::STOPPED,
        "the phase in STATE"
    );
    page.write32(register::CONTROL, 2);
    let (holds, info) = wait(victim(), |info| info.phase() == phase::RUNNING);
    expect!(
        holds && info.starts() == starts + 1,
        "state {:#x} after a start",
        info.state
    );
    page.write32(register::CONTROL, 2);
    page.write32(register::CONTROL, 3);
    let (holds, info) = wait(victim(), |info| {
        info.phase() == phase::RUNNING && info.starts() == starts + 2
    });
    expect!(holds, "state {:#x} after a restart", info.state);
    Ok(())
}

fn c_stores_elsewhere_are_ignored() -> Outcome {
    let page = page(victim())?;
    let before = manage::info(victim()).unwrap_or_default();
    for value in [0, 4, 5, 0xffff_ffff] {
        page.write32(register::CONTROL, value);
    }
    for offset in (4..4096).step_by(4) {
        page.write32(offset, 1);
    }
    let after = manage::info(victim()).unwrap_or_default();
    expect_eq!(after.state, before.state, "STATE");
    Ok(())
}
