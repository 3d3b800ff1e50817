//! `bulkhead`: manages other partitions from Linux, as the table allows (`manages`). User space cannot make calls, so it
//! takes the pages of registers that the device tree names, mapped by `/dev/mem`; no driver is needed.
//!
//! Static, without a library, like `bulkhead-channel`.
#![no_std]
#![no_main]

mod crash;
mod page;

use linux_program::{Arguments, Errno, File, Text, now_ms, program, sleep_ms};
use page::{Page, Phase};

const USAGE: &str = "\
usage: bulkhead status [NAME]   how the partitions are that this one manages
       bulkhead stop NAME       stops one, and waits until it has stopped
       bulkhead start NAME      starts one that is stopped, and waits until it runs
       bulkhead restart NAME    starts one from its images, whatever it does
       bulkhead crash NAME      its last crash: cause, registers, trace, last output
       bulkhead log NAME        what it sent to its console last
exit code: 0 done, 1 failed, 2 usage, 124 time is up
";

/// How long a partition may take to do as it is told, in milliseconds.
const PATIENCE_MS: u64 = 30_000;
/// Sleep between two looks.
const LOOK_MS: u64 = 5;

/// Why the program ends.
pub enum Stop {
    /// What it was to do makes no sense.
    Usage,
    /// Something failed: what.
    Failed(&'static str),
    /// Linux refused something: what, and why.
    Linux(&'static str, Errno),
    /// The time is up.
    Time,
}

program!(run);

/// The program; it ends with the exit code that this returns.
fn run(arguments: Arguments) -> u8 {
    let mut words = arguments.skip(1).map(|word| word.to_str().unwrap_or(""));
    let (text, code) = match command(words.next(), words.next()) {
        Ok(()) => return 0,
        Err(Stop::Usage) => {
            let _ = File::ERROR.write_all(USAGE.as_bytes()); // there is nobody else to tell
            return 2;
        }
        Err(Stop::Linux(text, Errno(error))) => {
            say_to(
                File::ERROR,
                format_args!("bulkhead: {text}: error {error}\n"),
            );
            return 1;
        }
        Err(Stop::Failed(text)) => (text, 1),
        Err(Stop::Time) => ("time is up", 124),
    };
    say_to(File::ERROR, format_args!("bulkhead: {text}\n"));
    code
}

/// Tells the person something.
fn say_to(file: File, text: core::fmt::Arguments<'_>) {
    let _ = Text::write(file, text); // there is nobody else to tell
}

/// Prints text.
pub fn say(text: core::fmt::Arguments<'_>) {
    say_to(File::OUTPUT, text);
}

fn command(verb: Option<&str>, name: Option<&str>) -> Result<(), Stop> {
    let verb = verb.ok_or(Stop::Usage)?;
    if verb == "status" && name.is_none() {
        for page in page::all()? {
            status(&page);
        }
        return Ok(());
    }
    let act: fn(&Page) -> Result<(), Stop> = match verb {
        "status" => |page| {
            status(page);
            Ok(())
        },
        "stop" => stop,
        "start" => start,
        "restart" => restart,
        "crash" => crash::show,
        "log" => log,
        _ => return Err(Stop::Usage),
    };
    let name = name.ok_or(Stop::Usage)?;
    let page = page::all()?.find(|page| page.is(name));
    act(&page.ok_or(Stop::Failed(
        "this partition manages none of that name; try `status`",
    ))?)
}

/// Says how a partition is.
fn status(page: &Page) {
    let (name, state) = (page.name(), page.state());
    let watchdog = if state.watched { ", watchdog" } else { "" };
    say(format_args!(
        "{:16}  {}, start {}, vCPUs {}, crashes {}{watchdog}\n",
        name.as_str(),
        state.phase.word(),
        state.starts,
        state.vcpus,
        page.crashes(),
    ));
}

/// Waits until a condition holds.
fn wait(holds: impl Fn() -> bool) -> Result<(), Stop> {
    let end = now_ms() + PATIENCE_MS;
    while !holds() {
        if now_ms() >= end {
            return Err(Stop::Time);
        }
        sleep_ms(LOOK_MS);
    }
    Ok(())
}

fn stop(page: &Page) -> Result<(), Stop> {
    page.order(page::STOP);
    wait(|| page.state().phase == Phase::Stopped)
}

fn start(page: &Page) -> Result<(), Stop> {
    if matches!(page.state().phase, Phase::Loading | Phase::Running) {
        return Err(Stop::Failed("it runs already"));
    }
    begin(page, page::START)
}

fn restart(page: &Page) -> Result<(), Stop> {
    begin(page, page::RESTART)
}

/// Orders a start, again where it is refused because the partition is still stopping, and waits for it.
fn begin(page: &Page, order: u32) -> Result<(), Stop> {
    let before = page.state().starts;
    wait(|| {
        let state = page.state();
        if state.starts != before {
            return !matches!(state.phase, Phase::Loading);
        }
        if !matches!(state.phase, Phase::Stopping | Phase::Restarting) {
            page.order(order);
        }
        false
    })
}

/// Prints what a partition sent last.
fn log(page: &Page) -> Result<(), Stop> {
    let (end, kept) = page.log();
    let mut bytes = [0; page::OUTPUT_BYTES];
    let count = page.output(end, kept, &mut bytes);
    let _ = File::OUTPUT.write_all(bytes.get(..count).unwrap_or_default()); // there is nobody to tell
    Ok(())
}
