//! The bench's budgets, held by the tests: exact counts, so that a path that grew by one instruction is seen.

use super::{Case, Found};
use crate::args::{self, Target, Test};
use crate::commands::bench;
use crate::failure::Outcome;

/// Judges: how many rows are right, and what is wrong.
type Judge = fn(&args::Bench) -> Outcome<(usize, Vec<String>)>;

/// Returns the tests.
pub fn all() -> Vec<Case> {
    let bench = "no row of the bench exceeds its budget, nor does its path";
    let gicv2 = "no row of the bench exceeds its budget on a GICv2";
    let cycles = "the guest that boards measure with finds what the bench finds";
    let stays = "no stay at EL2 exceeds its budget on a GICv2, whatever a guest does";
    let scaling = "no row of the bench costs more with 64 partitions, or with 8 pCPUs";
    vec![
        case("bench", bench, bench::judge),
        case("gicv2-bench", gicv2, |args| {
            bench::judge_gicv2(&args::Bench {
                gic: Some(2),
                ..args.clone()
            })
        }),
        case("bench-cycles", cycles, bench::judge_cycles),
        Case {
            long: true,
            ..case("gicv2-longest", stays, |args| {
                bench::judge_gicv2_stays(&args::Bench {
                    gic: Some(2),
                    ..args.clone()
                })
            })
        },
        case("scaling", scaling, bench::judge_scaling),
    ]
}

fn case(name: &str, about: &str, judge: Judge) -> Case {
    Case {
        name: name.to_owned(),
        about: about.to_owned(),
        long: false,
        alone: false,
        run: Box::new(move |args| match judge(&measured(args)) {
            Ok((passed, failures)) => Found {
                passed,
                failures,
                ..Found::default()
            },
            Err(failure) => Found::fail(failure.message),
        }),
    }
}

/// Returns the command line of a bench that measures all but Linux.
fn measured(args: &Test) -> args::Bench {
    args::Bench {
        target: Target {
            consent: args.consent,
            ..Target::default()
        },
        qemu: args.qemu.clone(),
        ..args::Bench::default()
    }
}
