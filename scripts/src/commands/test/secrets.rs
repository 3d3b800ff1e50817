//! A partition's secrets are in neither EL2's log nor its trace: what its registers and its memory hold, and the random seeds
//! that EL2 itself drew for it.

use std::collections::BTreeSet;

use bulkhead::trace::What;
use bulkhead::trap::syndrome::{Trap, decode};

use super::trace::exact_run;
use super::{Case, Found};
use crate::args::Test;
use crate::commands::run::verdict;
use crate::commands::trace::{built, play};
use crate::failure::{Failure, Outcome};
use crate::session::Finished;
use crate::trace::recording::{Entry, Recording};

/// The guest's first secret; register n holds it rotated left by n.
const SECRET: u64 = 0x5ec2_e7a1_0ddb_a11d;
/// Registers, and words of memory that differ.
const SECRETS: u32 = 32;
/// The guest's own word about its seeds.
const INVERTED: &str = "inverted ";

/// What the log says of the guest's last deed.
const CRASH: &str = "its exception vector cannot be executed";

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "secrets".to_owned(),
        about: "what a guest's registers, memory and seeds hold is in neither log nor trace"
            .to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| match searched(args) {
            Ok(found) => found,
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Runs the guest and searches all that EL2 said and recorded.
fn searched(args: &Test) -> Outcome<Found> {
    let mut run = exact_run(args, "secretive", "secrets.log"); // three lives
    let built = built(&mut run)?;
    let (finished, recording) = play(&built, &run, !args.verbose)?;
    verdict(&finished, false)?;
    let recording = recording?;
    let secrets = secrets(&finished)?;
    let mut found = Found::default();
    for wrong in [in_log(&finished, &secrets), in_trace(&recording, &secrets)] {
        match wrong {
            Some(why) => found.failures.push(why),
            None => found.passed += 1,
        }
    }
    Ok(found)
}

/// Returns all secrets: what registers held, and the seeds of each life.
fn secrets(finished: &Finished) -> Outcome<BTreeSet<u64>> {
    let lines = finished.transcript.lines.iter();
    let inverted = lines.filter_map(|line| line.text.strip_prefix(INVERTED));
    let seeds: Vec<u64> = inverted
        .filter_map(|hex| u64::from_str_radix(hex, 16).ok().map(|word| !word))
        .collect();
    if seeds.is_empty() {
        return Err(Failure::failed("the guest says nothing of its seeds"));
    }
    let own = (0..SECRETS).map(|number| SECRET.rotate_left(number));
    Ok(seeds.into_iter().chain(own).collect())
}

/// Searches the log for any half of a secret, in hexadecimal or as a number.
fn in_log(finished: &Finished, secrets: &BTreeSet<u64>) -> Option<String> {
    let halves = secrets.iter().flat_map(|secret| halves(*secret));
    let texts: Vec<String> = halves
        .flat_map(|half| [format!("{half:x}"), half.to_string()])
        // A short one may be anything.
        .filter(|text| text.len() > 6)
        .collect();
    let mut lines = finished.transcript.lines.iter();
    if !lines.clone().any(|line| line.text.contains(CRASH)) {
        return Some("the log says nothing of a crash".to_owned());
    }
    let line = lines.find(|line| {
        let text = line.text.to_lowercase();
        !text.starts_with(INVERTED) && texts.iter().any(|one| text.contains(one))
    })?;
    Some(format!("a secret is in the log: {}", line.text))
}

/// Searches the trace for any half of a secret; and of a trap that is no call for anything that a register held.
fn in_trace(recording: &Recording, secrets: &BTreeSet<u64>) -> Option<String> {
    let halves: BTreeSet<u32> = secrets.iter().flat_map(|secret| halves(*secret)).collect();
    let entries = recording.tracks.iter().flat_map(|track| &track.entries);
    let mut traps = 0;
    for entry in entries {
        let Entry::Record(record) = entry else {
            return Some("records of the trace were lost".to_owned());
        };
        let leaks = match record.what {
            What::Trap { syndrome, call } => {
                traps += 1;
                let trap = decode(syndrome.into());
                let calls = matches!(trap, Trap::Hvc { .. } | Trap::Smc { .. });
                halves.contains(&syndrome) || !calls && call != 0
            }
            What::Interrupt { late, .. } | What::Inject { late, .. } => halves.contains(&late),
            What::Budget { left, .. } => halves.contains(&left),
            _ => false,
        };
        if leaks {
            return Some(format!(
                "something of a register is in the trace: {record:x?}"
            ));
        }
    }
    (traps == 0).then(|| "nothing was traced".to_owned())
}

fn halves(secret: u64) -> [u32; 2] {
    [secret as u32, (secret >> 32) as u32]
}
