//! `bulkhead-channel`: uses a channel from Linux. The kernel needs no patch and no driver: shared memory and doorbell
//! registers are mapped by `/dev/mem`. Ringing is a store; the own doorbell's interrupt comes as a key that is pressed
//! ([`bell`]), or where the kernel has no driver for keys, waiting is looking again every [`LOOK_MS`] milliseconds.
//!
//! Static, without a library: it is built for bare metal and makes Linux's system calls itself, so building it needs
//! nothing beside what bare-metal guests need.
#![no_std]
#![no_main]

mod bell;
mod device;

use device::Device;
use guest_channel::{Error, Link, Reader, State, Window};
use linux_program::{Arguments, Errno, File, Text, program, sleep_ms};
use linux_program::{count, now_ms, now_ns};

const USAGE: &str = "\
usage: bulkhead-channel list
       bulkhead-channel clock                the count that all partitions share, and Linux's time then
       bulkhead-channel NAME status          who is at the other end
       bulkhead-channel NAME signal          rings the partner's doorbell
       bulkhead-channel NAME bell [SECONDS]  waits until this side's doorbell rings
       bulkhead-channel NAME wait [SECONDS]  waits until there is a message
       bulkhead-channel NAME write TEXT      sends a message
       bulkhead-channel NAME read [COUNT]    prints messages, a line each: 1, or 0 for all that come
       bulkhead-channel NAME call TEXT       sends a message and prints the next one
       bulkhead-channel NAME follow [COUNT]  prints messages of a partner that never waits for a reader
exit code: 0 done, 1 failed, 2 usage, 3 the partner restarted or does not answer, 124 time is up
";

/// Longest message.
const LONGEST: usize = 64 << 10;
/// How long a partner may take to open its end, or to make room, in milliseconds.
const PATIENCE_MS: u64 = 10_000;
/// Sleep between two looks, where no interrupt ends it.
const LOOK_MS: u64 = 2;
/// The same where one does: the partner may have stopped without a ring.
const DOZE_MS: u64 = 100;

/// Why the program ends.
pub enum Stop {
    /// Done.
    Done,
    /// What it was to do makes no sense.
    Usage,
    /// Something failed: what.
    Failed(&'static str),
    /// Linux refused something: what, and why.
    Linux(&'static str, Errno),
    /// The partner is not there, or began anew.
    Partner(&'static str),
    /// The time is up.
    Time,
}

program!(run);

/// The program; it ends with the exit code that this returns.
fn run(arguments: Arguments) -> u8 {
    let (text, code) = match command(&Words(arguments)) {
        Ok(()) | Err(Stop::Done) => return 0,
        Err(Stop::Usage) => {
            let _ = File::ERROR.write_all(USAGE.as_bytes()); // there is nobody else to tell
            return 2;
        }
        Err(Stop::Linux(text, Errno(error))) => {
            say(
                File::ERROR,
                format_args!("bulkhead-channel: {text}: error {error}\n"),
            );
            return 1;
        }
        Err(Stop::Failed(text)) => (text, 1),
        Err(Stop::Partner(text)) => (text, 3),
        Err(Stop::Time) => ("time is up", 124),
    };
    say(File::ERROR, format_args!("bulkhead-channel: {text}\n"));
    code
}

/// Tells the person something.
fn say(file: File, text: core::fmt::Arguments<'_>) {
    let _ = Text::write(file, text); // there is nobody else to tell
}

/// The words of the command line.
struct Words(Arguments);

impl Words {
    /// Returns the n-th word, the program's name being number 0; `None` when it is missing or not UTF-8.
    fn get(&self, index: usize) -> Option<&'static str> {
        self.0.clone().nth(index)?.to_str().ok()
    }
}

fn command(arguments: &Words) -> Result<(), Stop> {
    let name = arguments.get(1).ok_or(Stop::Usage)?;
    match name {
        "list" => return device::list(),
        "clock" => {
            clock();
            return Ok(());
        }
        _ => {}
    }
    let verb = arguments.get(2).ok_or(Stop::Usage)?;
    let device = Device::open(name)?;
    let number = |otherwise: u64| match arguments.get(3) {
        None => Ok(otherwise),
        Some(text) => text.parse().map_err(|_| Stop::Usage),
    };
    let text = || arguments.get(3).ok_or(Stop::Usage);
    match verb {
        "status" => status(&device),
        "signal" => {
            device.ring();
            Ok(())
        }
        "bell" => listen(&device, number(0)?),
        "wait" => wait(&device, &mut link(&device)?, number(0)?),
        "write" => send(&device, &mut link(&device)?, text()?.as_bytes()),
        "read" => read(&device, &mut link(&device)?, number(1)?),
        "call" => {
            let mut link = link(&device)?;
            send(&device, &mut link, text()?.as_bytes())?;
            read(&device, &mut link, 1)
        }
        "follow" => follow(&device, number(1)?),
        _ => Err(Stop::Usage),
    }
}

/// Says what time it is by both clocks: what another partition stamped by the count can be put into Linux's time.
fn clock() {
    let ((count, frequency), now) = (count(), now_ns());
    say(
        File::OUTPUT,
        format_args!("count {count} at {frequency} Hz, kernel time {now} ns\n"),
    );
}

/// Says who is there.
fn status(device: &Device) -> Result<(), Stop> {
    let (peer, own) = (device.peer(), device.own());
    let runs = if peer.runs { "runs" } else { "does not run" };
    let rights = if device.writes() { "rw" } else { "r" };
    say(
        File::OUTPUT,
        format_args!(
            "partner {runs}, generation {}; this side is {} ({rights}), generation {}; {} bytes; doorbell {}\n",
            peer.generation,
            device.side(),
            own.generation,
            device.size(),
            if device.bell().interrupts() {
                "interrupts"
            } else {
                "is looked at"
            }
        ),
    );
    Ok(())
}

/// Waits until the own doorbell rings, for ever with 0 seconds.
fn listen(device: &Device, seconds: u64) -> Result<(), Stop> {
    if !device.bell().interrupts() {
        return Err(Stop::Failed("this kernel has no driver for the doorbell"));
    }
    let end = now_ms().saturating_add(seconds.saturating_mul(1000));
    while !device.bell().wait(DOZE_MS, LOOK_MS) {
        if seconds > 0 && now_ms() >= end {
            return Err(Stop::Time);
        }
    }
    Ok(())
}

/// Waits until there is a message, for ever with 0 seconds.
fn wait(device: &Device, link: &mut Link<Window>, seconds: u64) -> Result<(), Stop> {
    let end = now_ms().saturating_add(seconds.saturating_mul(1000));
    while !link.has_message().map_err(stop)? {
        if seconds > 0 && now_ms() >= end {
            return Err(Stop::Time);
        }
        look_again(device, link);
    }
    Ok(())
}

/// Waits for the doorbell, then looks at the partner.
fn look_again(device: &Device, link: &mut Link<Window>) {
    device.bell().wait(DOZE_MS, LOOK_MS);
    link.meet(device.peer());
}

/// Makes this end of the rings and meets the partner.
fn link(device: &Device) -> Result<Link<Window>, Stop> {
    if !device.writes() {
        return Err(Stop::Failed("this side may not write; try `follow`"));
    }
    let link = Link::new(device.memory(), device.side(), device.own().generation);
    let mut link = link.ok_or(Stop::Failed("the memory is too small for rings"))?;
    let end = now_ms() + PATIENCE_MS;
    loop {
        match link.meet(device.peer()) {
            State::Opened => {
                device.ring();
                return Ok(link);
            }
            State::Up => return Ok(link),
            State::Waiting => device.ring(),
            State::Down => {}
            State::Broken => return Err(Stop::Partner("the partner writes nonsense")),
        }
        if now_ms() >= end {
            return Err(Stop::Partner("the partner does not answer"));
        }
        device.bell().wait(DOZE_MS, LOOK_MS);
    }
}

/// Sends a message.
fn send(device: &Device, link: &mut Link<Window>, message: &[u8]) -> Result<(), Stop> {
    let end = now_ms() + PATIENCE_MS;
    loop {
        match link.send(message) {
            Ok(()) => {
                device.ring();
                return Ok(());
            }
            Err(Error::Full) if now_ms() < end => device.ring(),
            Err(error) => return Err(stop(error)),
        }
        look_again(device, link);
    }
}

/// Prints messages.
fn read(device: &Device, link: &mut Link<Window>, count: u64) -> Result<(), Stop> {
    let (mut done, mut buffer) = (0, [0; LONGEST]);
    while count == 0 || done < count {
        match link.receive(&mut buffer) {
            Ok(Some(length)) => {
                print(buffer.get(..length).unwrap_or(&[]));
                device.ring();
                done += 1;
            }
            Ok(None) => look_again(device, link),
            Err(error) => return Err(stop(error)),
        }
    }
    Ok(())
}

/// Prints messages of a side that never waits.
fn follow(device: &Device, count: u64) -> Result<(), Stop> {
    let reader = Reader::new(device.memory(), device.side());
    let mut reader = reader.ok_or(Stop::Failed("the memory is too small for a ring"))?;
    let (mut done, mut buffer) = (0, [0; LONGEST]);
    while count == 0 || done < count {
        match reader.receive(&mut buffer) {
            Ok(Some(length)) => {
                print(buffer.get(..length).unwrap_or(&[]));
                done += 1;
            }
            Ok(None) => sleep_ms(LOOK_MS),
            Err(Error::Down) => {
                if !reader.meet(device.peer()) {
                    sleep_ms(LOOK_MS);
                }
            }
            Err(Error::Lost) => {
                say(
                    File::ERROR,
                    format_args!("bulkhead-channel: too slow, messages are lost\n"),
                );
            }
            Err(error) => return Err(stop(error)),
        }
    }
    Ok(())
}

/// Prints a message as a line.
fn print(message: &[u8]) {
    for bytes in [message, b"\n"] {
        let _ = File::OUTPUT.write_all(bytes); // there is nobody to tell
    }
}

/// Words a link's error.
fn stop(error: Error) -> Stop {
    match error {
        Error::Down => Stop::Partner("the partner restarted or stopped"),
        Error::Full => Stop::Partner("the partner takes nothing out of the ring"),
        Error::Corrupt => Stop::Partner("the partner writes nonsense"),
        Error::TooLong { .. } => Stop::Failed("the message is too long"),
        Error::Lost => Stop::Failed("messages are lost"),
    }
}
