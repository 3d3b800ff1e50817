//! `cargo xtask run`: boots a system under QEMU.

use std::env;
use std::io::{self, IsTerminal};
use std::process::Command;
use std::time::Duration;

use crate::args::{Play, Run};
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Code, Failure, Outcome};
use crate::guests::folders;
use crate::recipe;
use crate::selection::boards;
use crate::session::{Ending, Finished, Peer, Plan, run as run_session};
use crate::system::{Built, build};

/// Longest run without a person, unless `--timeout` says otherwise.
const HEADLESS_SECONDS: u64 = 300;

/// Runs the command.
pub fn run(args: &Run) -> Outcome {
    if args.list {
        return list(args.target.json);
    }
    let built = build(&args.target, &args.machine)?;
    let plan = plan(
        launch(&built, args)?.into(),
        built.names(),
        &args.play,
        args.gdb.is_some(),
    )?;
    if let Some(port) = args.gdb {
        println!(
            "Stopped before the first instruction: `cargo xtask debug --port {port}` in another terminal."
        );
    }
    verdict(&run_session(plan)?, args.play.until.is_some())
}

/// Returns how the console of a system is played, as the command line says.
pub fn plan(peer: Peer, names: Vec<String>, args: &Play, survive_panic: bool) -> Outcome<Plan> {
    let pairs: Vec<_> = args
        .when
        .iter()
        .cloned()
        .zip(args.send.iter().cloned())
        .collect();
    let script = Script::new(&pairs, args.until.as_deref(), &args.fail_on, &names)?;
    let seconds = args.timeout.or(args.headless.then_some(HEADLESS_SECONDS));
    if !args.headless {
        println!(
            "Console: Ctrl-G x quits, Ctrl-G n gives the keyboard to the next partition, Ctrl-G ? says more."
        );
    }
    Ok(Plan {
        peer,
        names,
        script,
        timeout: seconds.map(Duration::from_secs),
        style: Style {
            colour: !args.headless
                && env::var_os("NO_COLOR").is_none()
                && io::stdout().is_terminal(),
            ..Style::default()
        },
        attached: !args.headless,
        log: args.log.clone(),
        survive_panic,
    })
}

/// Returns the call of QEMU.
fn launch(built: &Built, args: &Run) -> Outcome<Command> {
    let Some(port) = args.gdb else {
        let mut command = built.launch(args.icount)?;
        command.args(&args.extra);
        return Ok(command);
    };
    let mut command = built.launch_on(&built.qemu_board()?.held(), args.icount)?;
    waiting_for_gdb(&mut command, port);
    command.args(&args.extra);
    Ok(command)
}

/// Lets QEMU stop before the first instruction and wait for gdb.
pub fn waiting_for_gdb(command: &mut Command, port: u16) {
    command.args(["-S", "-gdb", &format!("tcp::{port}")]);
}

/// Turns a run's end into an exit code.
pub fn verdict(finished: &Finished, awaiting: bool) -> Outcome {
    let awaited = finished.awaited.as_deref();
    let waiting = awaited.map_or_else(String::new, |text| format!(", waiting for `{text}`"));
    match &finished.ending {
        Ending::Matched | Ending::Quit => Ok(()),
        Ending::Ended(status) if status.success() && awaited.is_none() && !awaiting => Ok(()),
        Ending::Ended(status) => Err(Failure::new(
            Code::EndedEarly,
            format!("QEMU ended ({status}){waiting}"),
        )),
        Ending::Timeout => Err(Failure::new(
            Code::Timeout,
            format!("time is up after {} s{waiting}", finished.time.as_secs()),
        )),
        Ending::Forbidden(pattern) => {
            Err(Failure::failed(format!("`{pattern}` was seen (--fail-on)")))
        }
        Ending::Panic => Err(Failure::new(Code::Panic, "EL2 panicked")),
        Ending::NotStarted => Err(Failure::new(Code::BadTable, "EL2 refused to start")),
        Ending::Closed => Err(Failure::new(
            Code::EndedEarly,
            format!("the serial line is gone{waiting}"),
        )),
        Ending::Interrupted => Err(Failure::new(Code::Interrupted, "")),
    }
}

/// Lists what can be named.
fn list(json: bool) -> Outcome {
    let boards = boards()?;
    let guests = folders("guests", "src/main.rs");
    let recipes = recipe::names();
    if json {
        let platforms: Vec<_> = boards
            .iter()
            .map(|b| serde_json::json!({ "name": b.name, "description": b.description, "tables": b.tables() }))
            .collect();
        let all =
            serde_json::json!({ "platforms": platforms, "guests": guests, "recipes": recipes });
        println!("{all:#}");
        return Ok(());
    }
    for board in &boards {
        println!("platform {}: {}", board.name, board.description);
        println!("  tables: {}", board.tables().join(", "));
    }
    println!("guests: {}", guests.join(", "));
    println!("recipes: {}", recipes.join(", "));
    Ok(())
}
