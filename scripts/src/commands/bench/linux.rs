//! Linux's way to `LINUX UP`, under Bulkhead and natively.
//!
//! Both boot the same kernel, initial RAM disk, command line and device tree on one CPU under icount: the native
//! machine gets the tree that was generated for the partition, so it has the same devices.
//!
//! Kernel time begins in the kernel. How much of the counter had passed by then, all that is done from reset on with the
//! images' copying in it, comes from one reading of both clocks at the shell: their distance stays the same.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bulkhead_platforms::Images;
use regex::Regex;

use super::machine;
use crate::args::{Bench, Target};
use crate::console::screen::Style;
use crate::console::script::Script;
use crate::failure::{Failure, Outcome};
use crate::guests::Workshop;
use crate::qemu::{Board, ICOUNT};
use crate::recipe::Sources;
use crate::session::{self, Plan};
use crate::system::{Built, build};
use crate::workspace::{self, products, root};

/// Longest boot: icount runs on one host CPU.
const TIMEOUT: Duration = Duration::from_secs(600);
const UP: &str = r"LINUX UP: \d+ CPUs, \d+ MiB, (\d+\.\d+) s";
/// What shows both clocks, and what it says.
const SHELL: &str = "^/root # ";
const CLOCK: &str = "bulkhead-channel clock";
const CLOCKS: &str = r"^count (\d+) at (\d+) Hz, kernel time (\d+) ns";
/// The partition's memory in `tests/systems/linux-alone.toml`, and its command line.
const MEMORY: &str = "256M";
const CMDLINE: &str = "console=ttyAMA0 nokaslr";

/// When it was `LINUX UP`, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Up {
    /// Of kernel time.
    pub kernel_s: f64,
    /// Since reset.
    pub reset_s: f64,
}

/// Both boots.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// On the bare machine.
    pub native: Up,
    /// Under Bulkhead.
    pub ours: Up,
}

impl Times {
    /// Returns ours over native.
    pub fn ratio(&self) -> f64 {
        self.ours.kernel_s / self.native.kernel_s
    }

    /// Returns the same from reset on. QEMU puts the native kernel into memory in no time.
    pub fn ratio_from_reset(&self) -> f64 {
        self.ours.reset_s / self.native.reset_s
    }
}

/// Boots both.
///
/// # Errors
/// One does not come up.
pub fn measure(args: &Bench) -> Outcome<Times> {
    let table = root().join("tests/systems/linux-alone.toml");
    let target = Target {
        partitions: Some(table.display().to_string()),
        ..args.target.clone()
    };
    let built = build(&target, &machine(args))?;
    let ours = boot(built.launch(true)?, built.names(), args)?;
    let native = boot(native(&built, args)?, Vec::new(), args)?;
    Ok(Times { native, ours })
}

/// Boots to the shell and returns when it was `LINUX UP`.
fn boot(command: Command, names: Vec<String>, args: &Bench) -> Outcome<Up> {
    let asks = [(SHELL.to_owned(), CLOCK.to_owned())];
    let finished = session::run(Plan {
        peer: command.into(),
        script: Script::new(&asks, Some(CLOCKS), &["Kernel panic".to_owned()], &names)?,
        names,
        timeout: Some(TIMEOUT),
        style: Style {
            hidden: !args.verbose,
            ..Style::default()
        },
        attached: false,
        log: None,
        survive_panic: false,
    })?;
    let lines = finished.transcript.lines.iter();
    up(lines.map(|line| line.text.as_str())).ok_or_else(|| {
        let tail = finished.transcript.tail(10).join("\n  ");
        Failure::failed(format!(
            "Linux did not come up ({:?}):\n  {tail}",
            finished.ending
        ))
    })
}

/// Reads off a console when it was `LINUX UP`.
fn up<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> Option<Up> {
    let numbers = |pattern: &str| {
        let regex = Regex::new(pattern).ok()?;
        let found = lines.clone().find_map(|line| regex.captures(line))?;
        let groups = found.iter().skip(1).flatten();
        Some(
            groups
                .filter_map(|group| group.as_str().parse().ok())
                .collect::<Vec<f64>>(),
        )
    };
    let [kernel_s] = numbers(UP)?[..] else {
        return None;
    };
    let [count, frequency, kernel_ns] = numbers(CLOCKS)?[..] else {
        return None;
    };
    let before_s = count / frequency - kernel_ns / 1e9;
    Some(Up {
        kernel_s,
        reset_s: kernel_s + before_s,
    })
}

/// Returns the call of QEMU for the native boot.
fn native(built: &Built, args: &Bench) -> Outcome<Command> {
    let sources = Sources {
        kernel: args.target.kernel.clone(),
        busybox: args.target.busybox.clone(),
    };
    let recipe = Workshop::new(sources, args.target.consent)
        .recipe("debian-linux")
        .map_err(Failure::failed)?;
    let board = Board {
        memory: MEMORY.to_owned(),
        ..built.qemu_board()?.without_el2()
    };
    let mut command = board.command();
    command.arg("-kernel").arg(recipe.kernel);
    if let Some(initrd) = recipe.initrd {
        command.arg("-initrd").arg(initrd);
    }
    command.arg("-dtb").arg(guest_tree(built)?);
    command
        .args(["-append", CMDLINE, "-serial", "stdio"])
        .args(ICOUNT);
    Ok(command)
}

/// Writes the partition's device tree, as it stands in the payload, to a file.
fn guest_tree(built: &Built) -> Outcome<PathBuf> {
    let bytes = built.system.payload();
    let place = built.with_payload(|payload| {
        let partition = payload.partitions().first()?;
        let mut segments = payload.segments(partition).iter();
        let segment = segments.find(|segment| segment.gpa == partition.dtb)?;
        let start = usize::try_from(segment.offset).ok()?;
        let length = usize::try_from(segment.file_bytes).ok()?;
        Some(start..start.checked_add(length)?)
    })?;
    let tree = place
        .and_then(|place| bytes.get(place))
        .ok_or_else(|| Failure::failed("the payload holds no device tree for Linux"))?;
    let file = products(&["bench", "linux-alone.dtb"]);
    workspace::write(&file, tree)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_reset_comes_from_both_clocks() {
        let lines = [
            "LINUX UP: 1 CPUs, 225 MiB, 0.750000 s",
            "/root # bulkhead-channel clock",
            "count 150000000 at 62500000 Hz, kernel time 2300000000 ns",
        ];
        let up = up(lines.into_iter()).unwrap();
        assert!((up.kernel_s - 0.75).abs() < 1e-9);
        assert!((up.reset_s - 0.85).abs() < 1e-9);
        assert!(super::up(lines.into_iter().take(2)).is_none());
    }
}
