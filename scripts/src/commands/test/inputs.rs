//! The fuzz targets of `tests/fuzz`: a few seconds each from a fixed seed, and with `--long` minutes from fresh ones.

use std::time::Instant;

use bulkhead_fuzz::TARGETS;

use super::{Case, Found};
use crate::args::Test;
use crate::commands::inputs::{Bounds, Engine};

/// The short run of each target, in seconds.
const SHORT: u64 = 3;
/// The long run of each target, in seconds.
const LONG: u64 = 120;
/// Executions that even a busy machine does in the short run.
const LEAST: u64 = 20;

/// Returns the tests.
pub fn all() -> Vec<Case> {
    let short = Bounds {
        seconds: SHORT,
        executions: None,
        keeps: false,
        seed: Some(1),
    };
    let long = Bounds {
        seconds: LONG,
        keeps: true,
        seed: None,
        ..short
    };
    vec![
        Case {
            name: "inputs".to_owned(),
            about: "inputs changed by coverage break no reader and no model, for seconds"
                .to_owned(),
            long: false,
            alone: false,
            run: Box::new(move |args| fuzz(args, short)),
        },
        Case {
            name: "long-inputs".to_owned(),
            about: "inputs changed by coverage break no reader and no model, for minutes"
                .to_owned(),
            long: true,
            alone: false,
            run: Box::new(move |args| fuzz(args, long)),
        },
    ]
}

/// Runs all targets.
fn fuzz(args: &Test, bounds: Bounds) -> Found {
    let engine = match Engine::build(args.consent) {
        Ok(engine) => engine,
        Err(failure) => return Found::fail(failure.message),
    };
    let mut found = Found::default();
    let mut executions = 0;
    for target in &TARGETS {
        let started = Instant::now();
        match engine.run(target, bounds) {
            Ok(ran) if ran.executions < LEAST => {
                let (name, count) = (target.name, ran.executions);
                found
                    .failures
                    .push(format!("{name} was run {count} times only"));
            }
            Ok(ran) => {
                found.passed += 1;
                executions += ran.executions;
                println!(
                    "     {:<12} {:>9} executions, {:>6} edges, {:.1} s",
                    target.name,
                    ran.executions,
                    ran.edges,
                    started.elapsed().as_secs_f32()
                );
            }
            Err(failure) => found
                .failures
                .push(format!("{}: {}", target.name, failure.message)),
        }
    }
    println!("     {executions} executions in all");
    found
}
