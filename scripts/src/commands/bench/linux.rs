//! Linux's way to `LINUX UP`, under Bulkhead and natively.
//!
//! Both boot the same kernel, initial RAM disk, command line and device tree on one CPU under icount: the native
//! machine gets the tree that was generated for the partition, so it has the same devices.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use bulkhead::config::payload::Payload;
use bulkhead_platforms::Images;
use regex::Regex;
use zerocopy::IntoBytes;

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
/// The partition's memory in `tests/systems/linux-alone.toml`, and its command line.
const MEMORY: &str = "256M";
const CMDLINE: &str = "console=ttyAMA0 nokaslr";

/// Seconds of kernel time at `LINUX UP`.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// On the bare machine.
    pub native_s: f64,
    /// Under Bulkhead.
    pub ours_s: f64,
}

impl Times {
    /// Returns ours over native.
    pub fn ratio(&self) -> f64 {
        self.ours_s / self.native_s
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
    let ours_s = boot(built.launch(true)?, built.names(), args)?;
    let native_s = boot(native(&built, args)?, Vec::new(), args)?;
    Ok(Times { native_s, ours_s })
}

/// Boots to `LINUX UP` and returns the kernel's time.
fn boot(command: Command, names: Vec<String>, args: &Bench) -> Outcome<f64> {
    let finished = session::run(Plan {
        command,
        script: Script::new(&[], Some(UP), &["Kernel panic".to_owned()], &names)?,
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
    let regex = Regex::new(UP).map_err(|error| Failure::failed(error.to_string()))?;
    let texts = finished
        .transcript
        .lines
        .iter()
        .map(|line| line.text.as_str());
    let seconds = texts
        .rev()
        .find_map(|text| regex.captures(text)?.get(1)?.as_str().parse().ok());
    seconds.ok_or_else(|| {
        let tail = finished.transcript.tail(10).join("\n  ");
        Failure::failed(format!(
            "Linux did not come up ({:?}):\n  {tail}",
            finished.ending
        ))
    })
}

/// Returns the call of QEMU for the native boot.
fn native(built: &Built, args: &Bench) -> Outcome<Command> {
    let sources = Sources {
        kernel: args.target.kernel.clone(),
        busybox: args.target.busybox.clone(),
    };
    let recipe = Workshop::new(sources)
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
    let bad = || Failure::failed("the payload holds no device tree for Linux");
    // Records are read in place, so the bytes must be aligned as EL2 finds them.
    let mut words = vec![0_u64; bytes.len().div_ceil(size_of::<u64>())];
    let aligned = words.as_mut_bytes();
    aligned
        .get_mut(..bytes.len())
        .ok_or_else(bad)?
        .copy_from_slice(bytes);
    let payload = Payload::new(aligned).map_err(|_| bad())?;
    let partition = payload.partitions().first().ok_or_else(bad)?;
    let mut segments = payload.segments(partition).iter();
    let segment = segments
        .find(|segment| segment.gpa == partition.dtb)
        .ok_or_else(bad)?;
    let start = usize::try_from(segment.offset).map_err(|_| bad())?;
    let length = usize::try_from(segment.file_bytes).map_err(|_| bad())?;
    let tree = bytes
        .get(start..start.saturating_add(length))
        .ok_or_else(bad)?;
    let file = products(&["bench", "linux-alone.dtb"]);
    workspace::write(&file, tree)?;
    Ok(file)
}
