//! U-Boot's `booti`, typed and by a script on a disk, with Debian's build of U-Boot for QEMU's board.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use super::{Boot, check_hello, found, load, system};
use crate::args::Test;
use crate::commands;
use crate::commands::test::Found;
use crate::commands::test::flash::{self, Loop};
use crate::failure::{Failure, Outcome};
use crate::medium::{self, card};
use crate::session::Ending;
use crate::setup::alone;
use crate::setup::debian::Mirror;
use crate::workspace::{products, read, shown, write};

/// Where the image lies when U-Boot starts.
const IMAGE_AT: u64 = 0x5000_0000;
/// Longest time: U-Boot looks at every bus first.
const SECONDS: u64 = 90;
/// Longest time with Linux behind it.
const LINUX_SECONDS: u64 = 300;
const PACKAGE: &str = "u-boot-qemu";
const FILE: &str = "usr/lib/u-boot/qemu_arm64/u-boot.bin";

/// Boots by `booti` with U-Boot's own device tree.
pub fn booti(args: &Test) -> Outcome<Found> {
    let name = "start-u-boot";
    let Some(firmware) = firmware()? else {
        return Ok(Found::skip(name));
    };
    let built = system(args, "hello")?;
    let names = built.names();
    let mut command = built.qemu_board()?.command();
    command.arg("-bios").arg(firmware);
    load(&mut command, &built.image, IMAGE_AT);
    let steps = [
        ("stop autoboot", "\\r"),
        ("^=> $", "booti 0x50000000 - ${fdtcontroladdr}"),
    ]
    .map(|(when, send)| (when.to_owned(), send.to_owned()));
    let mut boot = Boot::new(name, command, &names);
    (boot.steps, boot.seconds) = (&steps, SECONDS);
    let finished = boot.run(args)?;
    Ok(found(name, &finished, check_hello(&finished)))
}

/// Boots what `cargo xtask flash` wrote, as a virtio disk, from power-on to a shell in Linux. The disk is a block device of the
/// kernel's where this machine gives one, else a file.
pub fn disk(args: &Test) -> Outcome<Found> {
    let name = "start-u-boot-disk";
    let Some(firmware) = firmware()? else {
        return Ok(Found::skip("start-u-boot"));
    };
    let built = system(args, "default")?;
    let names = built.names();
    let disk = products(&["test", "flashed.disk"]);
    let bytes = card::image(&medium::of(&built)?.files)?.len();
    flash::used(&disk, bytes + (1 << 20))?;
    let attached = Loop::attach(&disk, &[]);
    let to = attached.as_ref().map_or(disk.as_path(), Loop::path);
    commands::flash::run(&flash::onto(args, "default", to))?;
    drop(attached);
    let mut command = built.qemu_board()?.command();
    command.arg("-bios").arg(firmware);
    let drive = format!(
        "file={},if=none,format=raw,readonly=on,id=card",
        disk.display()
    );
    command.args(["-drive", &drive, "-device", "virtio-blk-device,drive=card"]);
    let steps = [
        ("^Starting Bulkhead", "\\c"),
        ("sha256\\+ OK", "\\c"),
        ("linux:^LINUX UP: 2 CPUs", "\\c"),
    ]
    .map(|(when, send)| (when.to_owned(), send.to_owned()));
    let mut boot = Boot::new(name, command, &names);
    (boot.steps, boot.seconds) = (&steps, LINUX_SECONDS);
    boot.until = Some("loop:^period [0-9]+ missed");
    let finished = boot.run(args)?;
    let mut wrong = Vec::new();
    if finished.ending != Ending::Matched {
        wrong.push(format!("it did not come up: {:?}", finished.ending));
    }
    Ok(found(name, &finished, wrong))
}

/// Returns U-Boot, fetched at the first time. `None`: this machine has no apt to fetch it with.
pub fn firmware() -> Outcome<Option<PathBuf>> {
    static FETCHING: Mutex<()> = Mutex::new(());
    let _alone = alone(&FETCHING);
    let kept = products(&["cache", "u-boot", "u-boot.bin"]);
    if kept.is_file() {
        return Ok(Some(kept));
    }
    let Ok(mirror) = Mirror::arm64() else {
        return Ok(None);
    };
    let unpacked = products(&["cache", "u-boot", "unpacked"]);
    let pattern = format!("./{FILE}");
    let first = mirror.unpack(PACKAGE, &[&pattern], &unpacked);
    let fetched = first.or_else(|_| {
        mirror.update()?;
        mirror.unpack(PACKAGE, &[&pattern], &unpacked)
    });
    fetched.map_err(|failure| {
        Failure::new(
            failure.code,
            format!(
                "{failure}\nGet {FILE} out of Debian's package {PACKAGE} and put it at {}",
                shown(&kept)
            ),
        )
    })?;
    write(&kept, &read(&unpacked.join(FILE))?)?;
    fs::remove_dir_all(&unpacked).map_err(|error| Failure::file(&unpacked, error))?;
    Ok(Some(kept))
}
