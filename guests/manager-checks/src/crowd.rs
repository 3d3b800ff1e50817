//! A partition with vCPUs on several pCPUs, all of them busy, is stopped and started again and again.

use guest_runtime::manage::{self, phase};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, tests};

use crate::team::{number, wait};

/// The tests of this module.
pub const TESTS: &[Test] = tests![c_vcpus_on_other_pcpus_leave_and_come_again];

/// The partition's name.
pub const NAME: &str = "crowd";
/// Rounds of a restart, a stop and a start.
const ROUNDS: u32 = 8;

fn c_vcpus_on_other_pcpus_leave_and_come_again() -> Outcome {
    let crowd = number(NAME).unwrap_or(u64::MAX);
    let runs = |starts: u32| {
        let (holds, info) = wait(crowd, |info| {
            info.phase() == phase::RUNNING && info.starts() == starts
        });
        expect!(holds, "state {:#x}, awaited start {starts}", info.state);
        Ok(())
    };
    runs(1)?;
    let mut starts = 1;
    for _ in 0..ROUNDS {
        expect_eq!(
            manage::ask(manage::RESTART, crowd),
            manage::DONE,
            "a restart"
        );
        starts += 1;
        runs(starts)?;
        // A stop wins over a restart that is under way; where that was quick, it ends the next life.
        expect_eq!(
            manage::ask(manage::RESTART, crowd),
            manage::DONE,
            "a restart"
        );
        expect_eq!(manage::ask(manage::STOP, crowd), manage::DONE, "a stop");
        let (holds, info) = wait(crowd, |info| info.phase() == phase::STOPPED);
        expect!(holds, "state {:#x} after a stop", info.state);
        let more = info.starts() - starts;
        expect!(more <= 1, "{more} starts by one restart");
        expect_eq!(manage::ask(manage::START, crowd), manage::DONE, "a start");
        starts += more + 1;
        runs(starts)?;
    }
    Ok(())
}
