//! gdb on a running system: `run --gdb` and `debug` together.

use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::Duration;

use super::{Case, Found, machine, target};
use crate::args::Test;
use crate::commands::run::{verdict, waiting_for_gdb};
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::session::{self, Plan};
use crate::setup::{GDB, ensure};
use crate::system::{Built, build};
use crate::workspace::{capture, products};

/// The system to look at.
const TABLE: &str = "hello";
/// Where the guest stops.
const SYMBOL: &str = "hello::main";
/// Longest time for all of it.
const TIME: Duration = Duration::from_secs(120);

/// Returns the test.
pub fn case() -> Case {
    Case {
        name: "debug".to_owned(),
        about: "gdb stops a guest at a symbol and reads its registers; then the guest goes on"
            .to_owned(),
        long: false,
        alone: false,
        run: Box::new(|args| {
            if let Err(failure) = ensure(&[GDB], args.consent) {
                println!("{failure}");
                return Found::skip("debug");
            }
            match stopped(args) {
                Ok(found) => found,
                Err(failure) => Found::fail(failure.message),
            }
        }),
    }
}

/// Runs the system and gdb beside it, and judges what gdb says.
fn stopped(args: &Test) -> Outcome<Found> {
    let built = build(&target(args, TABLE), &machine(args))?;
    let port = free_port()?;
    let plan = plan(&built, port, args.verbose)?;
    let system = thread::spawn(move || session::run(plan));
    let said = gdb(port);
    let finished = system
        .join()
        .map_err(|_| Failure::failed("the run of QEMU panicked"))??;
    let said = said?;
    let mut found = Found {
        details: said.lines().map(str::to_owned).collect(),
        ..Found::default()
    };
    // EL1 is 1 in bits 3..2 of what gdb calls CPSR, and a guest's memory begins at 1 GiB.
    for expected in [
        format!("Breakpoint 1, {SYMBOL}"),
        "level 1 at 0x4000".to_owned(),
    ] {
        if !said.contains(&expected) {
            found.failures.push(format!("gdb did not say `{expected}`"));
        }
    }
    if let Err(failure) = verdict(&finished, true) {
        let what = "the guest does not go on without gdb";
        found.failures.push(format!("{what}: {failure}"));
    }
    found.passed = usize::from(found.failures.is_empty());
    Ok(found)
}

/// Returns how the system runs: stopped before its first instruction, until the guest's last line.
fn plan(built: &Built, port: u16, verbose: bool) -> Outcome<Plan> {
    let names = built.names();
    let mut command = built.launch(false)?;
    waiting_for_gdb(&mut command, port);
    Ok(Plan {
        peer: command.into(),
        script: Script::new(&[], Some("hello:^line 100 of 100"), &[], &names)?,
        names,
        timeout: Some(TIME),
        style: Style {
            hidden: !verbose,
            ..Style::default()
        },
        attached: false,
        log: Some(products(&["test", "debug.log"])),
        survive_panic: true,
    })
}

/// Attaches gdb, stops the guest once, and returns what gdb said; at its end the guest goes on.
fn gdb(port: u16) -> Outcome<String> {
    let program = std::env::current_exe().map_err(|error| Failure::failed(error.to_string()))?;
    let mut command = Command::new(program);
    command.args(["debug", "--no-install", "--partitions", TABLE]);
    command.args(["--port", &port.to_string(), "--", "-batch"]);
    let commands = [
        format!("break {SYMBOL}"),
        "continue".to_owned(),
        // Rust's expressions have no comma.
        "set language c".to_owned(),
        r#"printf "level %d at 0x%lx\n", ($cpsr >> 2) & 3, $pc"#.to_owned(),
    ];
    for line in commands {
        command.args(["-ex", &line]);
    }
    capture(&mut command, "cargo xtask debug")
}

/// Returns a port that nobody listens on.
fn free_port() -> Outcome<u16> {
    let bound = TcpListener::bind(("localhost", 0)).and_then(|listener| listener.local_addr());
    bound
        .map(|address| address.port())
        .map_err(|error| Failure::failed(error.to_string()))
}
