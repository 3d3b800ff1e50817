//! A manager's calls, in the order of what happens to those that it manages.

use guest_runtime::manage::{self, phase};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, tests, timer};

use crate::team::{crash_has, crash_word, log, number, wait};

/// The tests of this module.
pub const TESTS: &[Test] = tests![
    c_own_calls_have_another_revision,
    c_a_manager_sees_whom_it_manages,
    c_others_and_nobody_are_refused,
    c_there_is_no_watchdog_to_kick,
    c_a_restart_ends_in_a_crash_that_is_recorded,
    c_a_forgotten_watchdog_restarts_its_partition,
    c_a_stop_holds_and_a_start_begins_anew,
    c_a_partition_that_did_not_start_is_started,
    c_a_log_is_read_from_its_oldest_byte_on,
];

/// Waits for the victim's waiting life.
fn victim() -> u64 {
    number("victim").unwrap_or(u64::MAX)
}

fn c_own_calls_have_another_revision() -> Outcome {
    let [major, minor, ..] = manage::call(0x8600_ff03, [0; 2]);
    expect!(
        (major, minor) == (1, 2),
        "the revision of our own calls: {major}.{minor}"
    );
    let served = manage::ask(0x8600_0000, 0);
    expect_eq!(served & 0x7f03_0007, 0x7f03_0007, "features");
    Ok(())
}

fn c_a_manager_sees_whom_it_manages() -> Outcome {
    let [x0, count, mask, own, ..] = manage::call(manage::LIST, [0; 2]);
    expect_eq!(x0, 0, "partition_list");
    expect!(
        mask >> count == 0 && own < count,
        "{count} partitions, manages {mask:#x}, is {own}"
    );
    expect_eq!(mask.count_ones(), 3, "partitions that it manages");
    let info = manage::info(own).unwrap_or_default();
    expect_eq!(info.phase(), phase::RUNNING, "its own phase");
    expect_eq!(info.starts(), 2, "its own starts: it restarted itself");
    let (holds, info) = wait(victim(), |info| info.phase() == phase::RUNNING);
    expect!(holds, "the victim does not run: {:#x}", info.state);
    expect_eq!(info.state >> 8 & 0xff, 1, "the victim's vCPUs");
    expect_eq!(info.state >> 16 & 1, 1, "the victim's watchdog");
    expect_eq!(info.starts(), 1, "the victim's starts");
    expect_eq!(info.crashes, 0, "the victim's crashes");
    expect_eq!(info.log >> 32, 2048, "bytes of log that are kept");
    Ok(())
}

fn c_others_and_nobody_are_refused() -> Outcome {
    let [_, count, mask, ..] = manage::call(manage::LIST, [0; 2]);
    for function in manage::ABOUT_ONE {
        for id in (0..count).filter(|id| mask >> id & 1 == 0) {
            expect_eq!(
                manage::ask(function, id),
                manage::DENIED,
                "a partition of others"
            );
        }
        for id in [count, 63, 64, 65, 255, 256, 1 << 32, u64::MAX] {
            expect_eq!(manage::ask(function, id), manage::NO_SUCH, "no partition");
        }
    }
    let unknown = manage::ask(0xc600_001f, 0);
    expect_eq!(unknown, -1, "a call behind the last one");
    Ok(())
}

fn c_there_is_no_watchdog_to_kick() -> Outcome {
    expect_eq!(manage::kick(), manage::DENIED, "a kick");
    Ok(())
}

fn c_a_restart_ends_in_a_crash_that_is_recorded() -> Outcome {
    let victim = victim();
    expect_eq!(
        manage::ask(manage::START, victim),
        manage::RUNS,
        "a start of what runs"
    );
    expect_eq!(
        manage::ask(manage::RESTART, victim),
        manage::DONE,
        "a restart"
    );
    let (holds, info) = wait(victim, |info| info.crashes == 1 && info.starts() == 3);
    expect!(holds, "state {:#x}, {} crashes", info.state, info.crashes);
    let head = crash_word(victim, 0);
    expect_eq!(head & 0xff_ffff, 0x1_0001, "version, vCPU and cause");
    expect_eq!(head >> 32, 2, "the life that crashed");
    expect_eq!(crash_word(victim, 18 + 19), 0x1234, "x19");
    expect_eq!(crash_word(victim, 13), 0xb000_0000, "VBAR_EL1");
    // Of the instruction that began it: undefined, in the guest's own memory.
    expect_eq!(
        crash_word(victim, 9) >> 21,
        0x200,
        "ELR_EL1, in pieces of 2 MiB"
    );
    expect_eq!(crash_word(victim, 11) >> 26, 0, "the class in ESR_EL1");
    expect!(crash_word(victim, 1) != 0, "the time is zero");
    expect!(
        crash_word(victim, 2) >> 26 & 0x3f == 0x20,
        "ESR_EL2 {:#x}",
        crash_word(victim, 2)
    );
    expect!(
        crash_has(victim, 96, 104, "vector cannot be executed"),
        "the cause in words"
    );
    expect!(
        crash_has(victim, 104, 112, "instruction abort"),
        "the syndrome in words"
    );
    expect!(
        crash_has(victim, 112, 176, "famous last words"),
        "the last lines"
    );
    let records = head >> 24 & 0xff;
    expect!((1..=16).contains(&records), "{records} trace records");
    for record in 0..records {
        let kind = crash_word(victim, 65 + 2 * record) & 0xff;
        expect!((1..=12).contains(&kind), "a trace record of kind {kind}");
    }
    let behind = if records < 16 {
        crash_word(victim, 64 + 2 * records)
    } else {
        0
    };
    expect_eq!(behind, 0, "behind the last trace record");
    expect_eq!(crash_word(victim, 176), 0, "behind the record");
    expect_eq!(crash_word(victim, u64::MAX), 0, "far behind the record");
    Ok(())
}

fn c_a_forgotten_watchdog_restarts_its_partition() -> Outcome {
    let victim = victim();
    let begun = timer::now();
    let (holds, info) = wait(victim, |info| info.crashes == 2 && info.starts() == 4);
    expect!(holds, "state {:#x}, {} crashes", info.state, info.crashes);
    let waited = timer::ticks_to_ns(timer::now() - begun) / 1_000_000;
    // It kicked twenty times, every 2 ms at least, in less than its 20 ms.
    expect!(
        waited >= 20,
        "it was restarted after {waited} ms, while it kicked"
    );
    let head = crash_word(victim, 0);
    expect_eq!(head & 0xff_ffff, 0x2_0001, "version, vCPU and cause");
    expect_eq!(head >> 32, 3, "the life that forgot");
    expect!(crash_has(victim, 96, 104, "watchdog"), "the cause in words");
    expect!(
        crash_has(victim, 112, 176, "kicks no more"),
        "the last lines"
    );
    expect_eq!(crash_word(victim, 2), 0, "ESR_EL2");
    Ok(())
}

fn c_a_stop_holds_and_a_start_begins_anew() -> Outcome {
    let victim = victim();
    expect_eq!(manage::ask(manage::STOP, victim), manage::DONE, "a stop");
    let at_once = manage::ask(manage::START, victim);
    let fits = at_once == manage::STOPS || at_once == manage::DONE;
    expect!(fits, "a start right after a stop: {at_once}");
    if at_once == manage::STOPS {
        let (holds, info) = wait(victim, |info| info.phase() == phase::STOPPED);
        expect!(holds, "state {:#x}", info.state);
        expect_eq!(
            manage::ask(manage::STOP, victim),
            manage::DONE,
            "a stop of what is stopped"
        );
        timer::spin(30_000_000);
        let info = manage::info(victim).unwrap_or_default();
        expect_eq!(
            info.phase(),
            phase::STOPPED,
            "the phase, after a watchdog's time"
        );
        expect_eq!(manage::ask(manage::START, victim), manage::DONE, "a start");
    }
    let (holds, info) = wait(victim, |info| info.phase() == phase::RUNNING);
    expect!(holds && info.starts() == 5, "state {:#x}", info.state);
    expect_eq!(info.crashes, 2, "crashes: a stop is none");
    // It kicks: nothing ends this life.
    timer::spin(60_000_000);
    let info = manage::info(victim).unwrap_or_default();
    expect!(
        (info.phase(), info.starts()) == (phase::RUNNING, 5),
        "state {:#x}",
        info.state
    );
    Ok(())
}

fn c_a_partition_that_did_not_start_is_started() -> Outcome {
    let Some(dormant) = number("dormant") else {
        guest_runtime::fail!("there is no `dormant`");
    };
    let info = manage::info(dormant).unwrap_or_default();
    expect!(
        (info.phase(), info.starts()) == (phase::STOPPED, 0),
        "state {:#x}",
        info.state
    );
    expect_eq!(
        manage::ask(manage::RESTART, dormant),
        manage::DONE,
        "a restart of what is stopped"
    );
    let (holds, info) = wait(dormant, |info| {
        info.phase() == phase::STOPPED && info.end() != 0
    });
    expect!(holds && info.starts() == 1, "state {:#x}", info.state);
    expect_eq!(info.crashes, 0, "crashes: it turned itself off");
    expect_eq!(crash_word(dormant, 0), 0, "its crash record");
    Ok(())
}

fn c_a_log_is_read_from_its_oldest_byte_on() -> Outcome {
    let Some(dormant) = number("dormant") else {
        guest_runtime::fail!("there is no `dormant`");
    };
    let end = u64::from(manage::info(dormant).unwrap_or_default().end());
    // A hundred lines of hello are less than 2048 bytes.
    let (bytes, count, first) = log(dormant, 0);
    let oldest = end.saturating_sub(2048);
    expect!(
        (count, first) == (112, oldest),
        "bytes and position of the oldest ones: {count} from {first}"
    );
    if oldest == 0 {
        expect!(
            bytes.starts_with(b"line 1 of 100\r\n") || bytes.starts_with(b"line 1 of 100\n"),
            "the first line"
        );
    }
    let (bytes, count, first) = log(dormant, end - 5);
    expect!(
        (count, first) == (5, end - 5),
        "the last bytes: {count} from {first}"
    );
    expect!(
        bytes[..5].ends_with(b"\n") && bytes[5..].iter().all(|byte| *byte == 0),
        "{bytes:?}"
    );
    let (_, count, first) = log(dormant, end);
    expect!((count, first) == (0, end), "the end: {count} from {first}");
    let (_, count, first) = log(dormant, end + 1);
    expect!(
        (count, first) == (112, oldest),
        "behind the end: the oldest: {count} from {first}"
    );
    Ok(())
}
