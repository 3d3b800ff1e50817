//! EL2 watched from outside: QEMU's log of every instruction that it runs, cut into stays.
//!
//! A stay begins at the exception that enters EL2 and ends at the return from it. The log is read as it comes; QEMU is
//! ended when enough was seen.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::failure::{Failure, Outcome};
use crate::qemu::ICOUNT;
use crate::session::Emulator;
use crate::system::Built;
use crate::trace::qmp::{self, Monitor};
use crate::workspace;

/// EL2's addresses: what is linked there, with room.
const ADDRESSES: &str = "0x7fc0000000+0x200000";
/// Where EL2's addresses begin: guests' lie below.
const HYPERVISOR: u64 = 0x7f_c000_0000;
/// Events on their way from the log's reader.
const ON_THE_WAY: usize = 1024;

/// Why EL2 was entered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// QEMU's name of the exception: `IRQ`, `Data Abort`, `Hypervisor Call`.
    pub exception: String,
    /// The syndrome.
    pub esr: u64,
    /// The address at fault; of an abort alone.
    pub far: u64,
    /// Where the guest was.
    pub elr: u64,
}

/// One visit to EL2.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stay {
    /// Why it began.
    pub cause: Cause,
    /// The addresses of all its instructions.
    pub trace: Vec<u64>,
    /// Where the guest that was entered goes on.
    pub back: u64,
}

/// What is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A visit to EL2 is over.
    Stay(Stay),
    /// The log ends with a visit that is not over.
    Open(Stay),
    /// A guest runs the instruction at this address, one of those that were asked for.
    Mark(u64),
}

/// How a run is watched.
pub struct Watch<'a> {
    /// The system.
    pub built: &'a Built,
    /// Where the console goes.
    pub console: PathBuf,
    /// Guests' instructions to watch too.
    pub marks: Vec<u64>,
    /// Longest time.
    pub timeout: Duration,
    /// Memory to read when it has seen enough: where, and how many bytes.
    pub memory: Option<(u64, u64)>,
}

/// What remains of a run.
#[derive(Debug, Default)]
pub struct Watched {
    /// What the instructions are in words.
    pub listing: Listing,
    /// The memory that was asked for.
    pub memory: Vec<u8>,
}

/// QEMU's own disassembly, by address.
pub type Listing = BTreeMap<u64, String>;

/// Runs a system and calls `visit` with each event until it says false, QEMU ends, or the time is up. Where memory is to be
/// read the system is stopped first, and `visit` gets what happened until then, too.
///
/// # Errors
/// QEMU cannot be started, or not be asked.
pub fn watch(watch: &Watch<'_>, mut visit: impl FnMut(Event) -> bool) -> Outcome<Watched> {
    let end = Instant::now() + watch.timeout;
    let mut command = command(watch)?;
    let socket = watch.console.with_extension("qmp");
    if watch.memory.is_some() {
        qmp::open(&mut command, &socket)?;
    }
    let mut emulator = Emulator::start(command)?;
    let Some(log) = emulator.take_errors() else {
        return Err(Failure::failed("QEMU's log is gone"));
    };
    let (sender, events) = sync_channel(ON_THE_WAY);
    let reader = thread::spawn(move || {
        let mut reader = Reader::default();
        reader.read(BufReader::with_capacity(1 << 20, log), &sender);
        reader.listing
    });
    let mut monitor = watch.memory.map(|_| begin(&socket)).transpose()?;
    let mut stopper = None;
    // Ends with QEMU, too.
    while let Ok(event) = events.recv_timeout(end.saturating_duration_since(Instant::now())) {
        if visit(event) || stopper.is_some() {
            continue;
        }
        let Some((monitor, (at, bytes))) = monitor.take().zip(watch.memory) else {
            break;
        };
        // QEMU stops only while its log is read on.
        stopper = Some(thread::spawn(move || stop(monitor, at, bytes)));
    }
    drop(events);
    drop(emulator);
    let gone = |_| Failure::failed("reading QEMU's log");
    let listing = reader.join().map_err(gone)?;
    let memory = match stopper {
        Some(stopper) => stopper.join().map_err(gone)??,
        None => Vec::new(),
    };
    Ok(Watched { listing, memory })
}

/// Lets a system begin that waits for its monitor.
fn begin(socket: &Path) -> Outcome<Monitor> {
    let mut monitor = Monitor::connect(socket, || false)?;
    monitor.execute("cont", json!({}))?;
    Ok(monitor)
}

/// Stops a system, reads its memory, and ends it.
fn stop(mut monitor: Monitor, at: u64, bytes: u64) -> Outcome<Vec<u8>> {
    monitor.execute("stop", json!({}))?;
    let memory = monitor.memory(at, bytes);
    // It closes the socket before it answers.
    let _ = monitor.execute("quit", json!({}));
    memory
}

/// Returns the call of QEMU: one instruction a block, each of EL2's logged.
fn command(watch: &Watch<'_>) -> Outcome<std::process::Command> {
    let board = watch.built.qemu_board()?.without_randomness();
    let mut command = board.command();
    command.arg("-kernel").arg(&watch.built.image);
    if let Some(folder) = watch.console.parent() {
        workspace::make_folder(folder)?;
    }
    command
        .arg("-serial")
        .arg(format!("file:{}", watch.console.display()));
    command.args(ICOUNT).args(single_step(&board.program)?);
    let marks = watch.marks.iter().map(|mark| format!("{mark:#x}+4"));
    let addresses: Vec<String> = [ADDRESSES.to_owned()].into_iter().chain(marks).collect();
    command.args([
        "-d",
        "in_asm,int,exec,nochain",
        "-dfilter",
        &addresses.join(","),
    ]);
    command.stderr(std::process::Stdio::piped());
    Ok(command)
}

/// Returns QEMU's option for one instruction a block; it changed its name in version 8.1.
fn single_step(program: &Path) -> Outcome<&'static [&'static str]> {
    let said = workspace::capture(std::process::Command::new(program).arg("--version"), "QEMU")?;
    let major = said
        .split("version ")
        .nth(1)
        .and_then(|rest| rest.split('.').next()?.parse::<u32>().ok())
        .unwrap_or(0);
    Ok(match major {
        0..=7 => &["-singlestep"],
        8.. => &["-accel", "tcg,one-insn-per-tb=on"],
    })
}

/// Reads the log.
#[derive(Default)]
struct Reader {
    listing: Listing,
    /// The pCPU that ran last, or took an exception: under icount they run one after the other.
    pcpu: u8,
    /// An exception whose lines have not all come.
    coming: Cause,
    /// The stay of each pCPU that has not ended.
    open: BTreeMap<u8, Stay>,
}

impl Reader {
    /// Reads to the end, or until nobody wants more.
    fn read(&mut self, mut log: impl BufRead, events: &SyncSender<Event>) {
        let mut line = Vec::new();
        loop {
            line.clear();
            if !log
                .read_until(b'\n', &mut line)
                .is_ok_and(|bytes| bytes != 0)
            {
                break;
            }
            let text = String::from_utf8_lossy(&line);
            if let Some(event) = self.line(text.trim_end())
                && events.send(event).is_err()
            {
                return;
            }
        }
        for stay in std::mem::take(&mut self.open).into_values() {
            // Nobody may want it.
            let _ = events.send(Event::Open(stay));
        }
    }

    /// Takes one line; returns what it completes.
    fn line(&mut self, line: &str) -> Option<Event> {
        if let Some(rest) = line.strip_prefix("Trace ") {
            self.pcpu = rest.split(':').next()?.parse().ok()?;
            let address = hex(rest.split('/').nth(1)?);
            match self.open.get_mut(&self.pcpu) {
                Some(stay) => stay.trace.push(address),
                None if address < HYPERVISOR => return Some(Event::Mark(address)),
                None => {}
            }
        } else if line.starts_with("Stopped execution") || line.starts_with("cpu_io_recompile") {
            // The block that was named last has not run: it comes again.
            if let Some(stay) = self.open.get_mut(&self.pcpu) {
                stay.trace.pop();
            }
        } else if let Some(rest) = line.strip_prefix("Taking exception ") {
            let name = rest.split(['[', ']']).nth(1).unwrap_or_default();
            let pcpu = rest.rsplit(' ').next().and_then(|word| word.parse().ok());
            self.pcpu = pcpu.unwrap_or(self.pcpu);
            self.coming = Cause {
                exception: name.to_owned(),
                ..Cause::default()
            };
        } else if let Some(rest) = line.strip_prefix("...with ") {
            match rest.split_once(' ') {
                Some(("ESR", value)) => self.coming.esr = hex(value.split('/').nth(1)?),
                Some(("FAR", value)) => self.coming.far = hex(value),
                Some(("ELR", value)) => self.coming.elr = hex(value),
                _ => {}
            }
        } else if line.starts_with("...to EL2 PC ") {
            let cause = std::mem::take(&mut self.coming);
            let stay = Stay {
                cause,
                ..Stay::default()
            };
            self.open.insert(self.pcpu, stay);
        } else if line.starts_with("Exception return from AArch64 EL2 to AArch64") {
            let mut stay = self.open.remove(&self.pcpu)?;
            stay.back = hex(line.rsplit(' ').next()?);
            return Some(Event::Stay(stay));
        } else if line.starts_with("0x")
            && let Some((address, text)) = line.split_once(": ")
        {
            let words: Vec<&str> = text.split_whitespace().skip(1).collect();
            self.listing.insert(hex(address), words.join(" "));
        }
        None
    }
}

/// Reads a hexadecimal number, with or without `0x`; 0 when it is none.
fn hex(text: &str) -> u64 {
    let text = text.trim();
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "IN: \n\
        0x7fc0000c00:  a90007e0  stp      x0, x1, [sp]\n\
        Taking exception 4 [Data Abort] on CPU 0\n\
        ...from EL1 to EL2\n\
        ...with ESR 0x24/0x938a0045\n\
        ...with FAR 0x9000038\n\
        ...with ELR 0x40002648\n\
        ...to EL2 PC 0x7fc0000c00 PSTATE 0x3c9\n\
        Trace 0: 0x7f22583ae7c0 [0000000000000000/0000007fc0000c00/00000261/ff020201] \n\
        Trace 0: 0x7f22583ae7c1 [0000000000000000/0000007fc0000c04/00000261/ff020201] \n\
        Stopped execution of TB chain before 0x7f22583ae7c1 [0000007fc0000c04] \n\
        Trace 0: 0x7f22583ae7c1 [0000000000000000/0000007fc0000c04/00000261/ff020201] \n\
        Exception return from AArch64 EL2 to AArch64 EL1 PC 0x4000264c\n\
        Trace 0: 0x7f22583ae7c2 [0000000000000000/0000000040001000/00000261/ff020201] \n\
        Exception return from AArch64 EL1 to AArch64 EL0 PC 0x40002000\n";

    #[test]
    fn a_stay_is_cut_out_of_the_log() {
        let mut reader = Reader::default();
        let events: Vec<Event> = LOG.lines().filter_map(|line| reader.line(line)).collect();
        let expected = Stay {
            cause: Cause {
                exception: "Data Abort".to_owned(),
                esr: 0x938a_0045,
                far: 0x900_0038,
                elr: 0x4000_2648,
            },
            trace: vec![0x7f_c000_0c00, 0x7f_c000_0c04],
            back: 0x4000_264c,
        };
        assert_eq!(events, [Event::Stay(expected), Event::Mark(0x4000_1000)]);
        assert_eq!(reader.listing[&0x7f_c000_0c00], "stp x0, x1, [sp]");
    }
}
