//! QEMU: its command line for a board, and the device tree that it makes.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use bulkhead_platforms::QemuBoard;
use sha2::{Digest, Sha256};

use crate::args::Machine;
use crate::failure::{Failure, Outcome};
use crate::setup::alone;
use crate::workspace::{self, products};

/// How long QEMU may take to write a device tree.
const DUMP_TIME: Duration = Duration::from_secs(60);

/// One instruction is one nanosecond, and idle time costs nothing: every run is the same.
pub const ICOUNT: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// A board as QEMU runs it: the platform's description with what the command line changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Board {
    /// The emulator.
    pub program: PathBuf,
    /// Value of `-machine`.
    pub machine: String,
    /// Value of `-cpu`.
    pub cpu: String,
    /// Value of `-smp`.
    pub cpus: u32,
    /// Value of `-m`.
    pub memory: String,
    /// Further options of the platform.
    pub options: Vec<String>,
    /// Device tree that QEMU is given; without it QEMU makes one.
    pub dtb: Option<PathBuf>,
    /// The board's own tree, when it is handed over as it is.
    pub handover: Option<Handover>,
    /// UARTs before the one with the console.
    pub serial: u32,
    /// Option of the machine that makes its tree the same at each run.
    pub repeatable: Option<String>,
    /// Option of the machine that leaves EL2 out.
    pub native: Option<String>,
    /// File with lines for the monitor before the CPUs start; its last one starts them.
    pub monitor: Option<PathBuf>,
}

/// A start as by a boot loader that hands over a tree of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handover {
    /// The tree.
    pub tree: PathBuf,
    /// Bytes from the start of RAM to where it lies.
    pub tree_offset: u64,
    /// Bytes from the start of RAM to where the image lies.
    pub load_offset: u64,
}

impl Board {
    /// Puts the description, the command line and the table's need of CPUs together.
    pub fn new(
        program: PathBuf,
        dtb: Option<PathBuf>,
        board: &QemuBoard,
        machine: &Machine,
        needed: Option<u32>,
    ) -> Self {
        let chosen = match machine.gic {
            Some(gic) => with_option(&board.machine, "gic-version", &gic.to_string()),
            None => board.machine.clone(),
        };
        let cpu = machine.cpu.as_ref().unwrap_or(&board.cpu);
        Self {
            program,
            machine: chosen,
            cpu: affordable(cpu),
            cpus: machine.cpus.unwrap_or(board.cpus.max(needed.unwrap_or(0))),
            memory: machine
                .memory
                .clone()
                .unwrap_or_else(|| board.memory.clone()),
            options: board.options.clone(),
            dtb,
            handover: None,
            serial: board.serial,
            repeatable: board.repeatable.clone(),
            native: board.native.clone(),
            monitor: None,
        }
    }

    /// Has lines typed at QEMU's monitor before the CPUs start.
    ///
    /// # Errors
    /// The file that QEMU reads them from cannot be written.
    pub fn wired(mut self, name: &str, lines: &[String]) -> Outcome<Self> {
        if !lines.is_empty() {
            let file = products(&["cache", "monitor", name]);
            workspace::write(&file, (lines.join("\n") + "\ncont\n").as_bytes())?;
            let held = file.with_extension("held");
            workspace::write(&held, (lines.join("\n") + "\n").as_bytes())?;
            self.monitor = Some(file);
        }
        Ok(self)
    }

    /// Returns the same board with CPUs that wait for a debugger.
    pub fn held(&self) -> Self {
        let monitor = self.monitor.as_ref();
        Self {
            monitor: monitor.map(|file| file.with_extension("held")),
            ..self.clone()
        }
    }

    /// Returns the same board without EL2, for native runs to compare with.
    pub fn without_el2(&self) -> Self {
        let board = self.without_randomness();
        Self {
            machine: with_some(&board.machine, board.native.as_deref()),
            ..board
        }
    }

    /// Returns the same board with the same device tree at each run: no fresh random seed.
    pub fn without_randomness(&self) -> Self {
        Self {
            machine: with_some(&self.machine, self.repeatable.as_deref()),
            ..self.clone()
        }
    }

    /// Returns a call of QEMU with what describes the board.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(self.arguments());
        command
    }

    /// Has a call of QEMU start an image that lies at `address`.
    ///
    /// # Errors
    /// What jumps there cannot be written.
    pub fn load(&self, command: &mut Command, image: &Path, address: u64) -> Outcome {
        let Some(handover) = &self.handover else {
            command.arg("-kernel").arg(image);
            return Ok(());
        };
        let start = address.saturating_sub(handover.load_offset);
        let tree = start.saturating_add(handover.tree_offset);
        let jump = image.with_extension("jump");
        workspace::write(&jump, &jump_to(address, tree))?;
        command.arg("-kernel").arg(jump);
        // QEMU starts 64-bit kernels with a tree alone. Where it puts this one nobody looks.
        command.arg("-dtb").arg(&handover.tree);
        for (file, at) in [(image, address), (&handover.tree, tree)] {
            let loader = format!("loader,file={},addr={at:#x},force-raw=on", file.display());
            command.arg("-device").arg(loader);
        }
        Ok(())
    }

    /// Returns the arguments that describe the board.
    fn arguments(&self) -> Vec<String> {
        let cpus = self.cpus.to_string();
        let pairs = [
            ("-machine", &self.machine),
            ("-cpu", &self.cpu),
            ("-smp", &cpus),
            ("-m", &self.memory),
        ];
        let pairs = pairs
            .into_iter()
            .flat_map(|(name, value)| [name.to_owned(), value.clone()]);
        let display = ["-display", "none", "-monitor", "none"].map(str::to_owned);
        let dtb = self.dtb.iter();
        let dtb = dtb.flat_map(|file| ["-dtb".to_owned(), file.display().to_string()]);
        let unused = (0..self.serial).flat_map(|_| ["-serial", "null"].map(str::to_owned));
        pairs
            .chain(self.options.iter().cloned())
            .chain(display)
            .chain(dtb)
            .chain(unused)
            .chain(self.monitor.iter().flat_map(|file| typed(file)))
            .collect()
    }

    /// Returns the flattened device tree that QEMU hands to a kernel on this board; kept by options and QEMU's version.
    ///
    /// # Errors
    /// QEMU does not know an option.
    pub fn device_tree(&self) -> Outcome<Vec<u8>> {
        if let Some(handover) = &self.handover {
            return workspace::read(&handover.tree);
        }
        let stamp = std::fs::metadata(&self.program).and_then(|data| data.modified());
        let key = format!("{self:?} {:?}", stamp.ok());
        let digest = Sha256::digest(key.as_bytes());
        let key: String = digest
            .iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let file = products(&["cache", "device-trees", &format!("{key}.dtb")]);
        static DUMPING: Mutex<()> = Mutex::new(());
        let _alone = alone(&DUMPING);
        if !file.is_file() {
            self.dump(&file)?;
        }
        workspace::read(&file)
    }

    /// Lets QEMU write its device tree.
    fn dump(&self, file: &Path) -> Outcome {
        if let Some(folder) = file.parent() {
            workspace::make_folder(folder)?;
        }
        let fresh = file.with_extension(format!("{}.new", std::process::id()));
        let mut board = self.without_randomness();
        board.monitor = None;
        board.machine += &format!(",dumpdtb={}", fresh.display());
        let mut command = board.command();
        command.args(["-serial", "none"]);
        // Some boards' trees say how to call the firmware only when there is a kernel to call it.
        let kernel = file.with_extension("kernel");
        workspace::write(&kernel, &[0; 4096])?;
        command.arg("-kernel").arg(kernel);
        let output = bounded(&mut command, DUMP_TIME)?;
        // QEMU writes the tree and ends.
        std::fs::rename(&fresh, file).map_err(|_| {
            Failure::failed(format!(
                "QEMU makes no device tree for this board: {}",
                output.trim()
            ))
        })
    }
}

/// Runs a program for a bounded time and returns what it wrote on standard error.
fn bounded(command: &mut Command, time: Duration) -> Outcome<String> {
    let what = command.get_program().to_string_lossy().into_owned();
    let bad = |error: std::io::Error| Failure::failed(format!("{what}: {error}"));
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut child = command.spawn().map_err(bad)?;
    let end = std::time::Instant::now() + time;
    while child.try_wait().map_err(bad)?.is_none() {
        if std::time::Instant::now() > end {
            // An error means that it ended meanwhile.
            let _ = child.kill();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = child.wait_with_output().map_err(bad)?;
    Ok(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Returns the options that let QEMU read its monitor from a file before the CPUs start.
fn typed(file: &Path) -> [String; 5] {
    let from = file.display();
    let chardev = format!("file,id=monitor,path=/dev/null,input-path={from}");
    let mon = "chardev=monitor,mode=readline";
    ["-S", "-chardev", &chardev, "-mon", mon].map(str::to_owned)
}

/// Returns code that jumps to an image with a tree's address in x0, as the last step of a boot loader does.
fn jump_to(image: u64, tree: u64) -> Vec<u8> {
    // ldr x0, tree; ldr x4, image; br x4; nop
    let code: [u32; 4] = [0x5800_0080, 0x5800_00a4, 0xd61f_0080, 0xd503_201f];
    let code = code.into_iter().flat_map(u32::to_le_bytes);
    let places = [tree, image].into_iter().flat_map(u64::to_le_bytes);
    code.chain(places).collect()
}

/// Sets an option that is written as `name=value`, if there is one.
fn with_some(options: &str, option: Option<&str>) -> String {
    let parts = option.and_then(|option| option.split_once('='));
    match parts {
        Some((name, value)) => with_option(options, name, value),
        None => options.to_owned(),
    }
}

/// Sets `name=value` in a comma-separated list of options.
fn with_option(options: &str, name: &str, value: &str) -> String {
    let key = format!("{name}=");
    let others = options
        .split(',')
        .filter(|option| !option.starts_with(&key));
    let mut list: Vec<String> = others.map(str::to_owned).collect();
    list.push(format!("{key}{value}"));
    list.join(",")
}

/// `max` computes pointer-authentication codes by an algorithm that takes most of the time; QEMU 7.2 does so unless
/// told otherwise.
fn affordable(cpu: &str) -> String {
    if cpu.split(',').next() == Some("max") && !cpu.contains("pauth") {
        return format!("{cpu},pauth-impdef=on");
    }
    cpu.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described() -> QemuBoard {
        QemuBoard {
            machine: "virt,gic-version=3,virtualization=on".to_owned(),
            cpu: "cortex-a53".to_owned(),
            cpus: 2,
            memory: "1G".to_owned(),
            load_offset: 0x20_0000,
            options: vec!["-nic".to_owned(), "none".to_owned()],
            version: None,
            dtb: None,
            tree_offset: None,
            serial: 0,
            repeatable: Some("dtb-randomness=off".to_owned()),
            native: Some("virtualization=off".to_owned()),
            monitor: Vec::new(),
        }
    }

    #[test]
    fn a_console_behind_other_uarts_is_the_next_one_named() {
        let described = QemuBoard {
            serial: 1,
            repeatable: None,
            native: None,
            ..described()
        };
        let dtb = Some("t.dtb".into());
        let board = Board::new("q".into(), dtb, &described, &Machine::default(), None);
        let arguments = board.arguments().join(" ");
        assert!(
            arguments.ends_with("-dtb t.dtb -serial null"),
            "{arguments}"
        );
        assert_eq!(board.without_el2().machine, board.machine);
    }

    #[test]
    fn the_command_line_overrides_the_description() {
        let machine = Machine {
            cpu: Some("max".to_owned()),
            cpus: Some(4),
            gic: Some(2),
            ..Machine::default()
        };
        let board = Board::new("q".into(), None, &described(), &machine, Some(8));
        assert_eq!(board.machine, "virt,virtualization=on,gic-version=2");
        assert_eq!(board.cpu, "max,pauth-impdef=on");
        assert_eq!((board.cpus, board.memory.as_str()), (4, "1G"));
    }

    #[test]
    fn a_handed_over_tree_is_in_x0_at_the_image() {
        let code = jump_to(0x20_0000, 0x8_0000_0000);
        let word = |at: usize| u32::from_le_bytes(code[at..at + 4].try_into().unwrap());
        // LDR (literal): how far ahead it reads, in words from bit 5 on, and the register.
        for (at, register, value) in [(0, 0, 0x8_0000_0000_u64), (4, 4, 0x20_0000)] {
            let load = word(at);
            assert_eq!((load >> 24, load & 31), (0x58, register));
            let from = at + (load >> 5 & 0x7_ffff) as usize * 4;
            assert_eq!(code[from..from + 8], value.to_le_bytes());
        }
        assert_eq!(word(8), 0xd61f_0000 | 4 << 5);
    }

    #[test]
    fn a_table_gets_the_cpus_that_it_names() {
        let cpus =
            |needed| Board::new("q".into(), None, &described(), &Machine::default(), needed).cpus;
        assert_eq!((cpus(None), cpus(Some(1)), cpus(Some(8))), (2, 2, 8));
    }

    #[test]
    fn a_native_board_has_no_el2() {
        let board = Board::new("q".into(), None, &described(), &Machine::default(), None);
        assert_eq!(
            board.without_el2().machine,
            "virt,gic-version=3,dtb-randomness=off,virtualization=off"
        );
    }
}
