//! `pendulum [--log FILE] [SECONDS]`: shows the pendulum that the control loop balances, a line of text five times a
//! second: `|` is upright, `*` the rod. With `--log` all that the loop sends, a hundred times a second, goes to a file as
//! comma-separated values instead. Without a time it goes on until Ctrl-C.
#![no_std]
#![no_main]

mod shared;

use core::ffi::CStr;
use linux_program::{Arguments, Errno, File, Text, program, sleep_ms};
use pendulum::plot::Line;
use pendulum::{Sample, sample};
use shared::{Error, Listener};

/// Milliseconds from one look at the channel to the next.
const LOOK_MS: u64 = 200;
/// Looks without a message after which that is said.
const SILENT_LOOKS: u64 = 5;
/// Messages taken at one look at most: more than the channel holds.
const MESSAGES: usize = 10_000;

/// What the command line asks for.
struct Wish {
    log: Option<&'static CStr>,
    looks: u64,
}

program!(run);

/// The program; it ends with the exit code that this returns.
fn run(arguments: Arguments) -> u8 {
    let Some(wish) = read(arguments) else {
        say(format_args!("usage: pendulum [--log FILE] [SECONDS]\n"));
        return 2;
    };
    let mut listener = match Listener::open(sample::CHANNEL) {
        Ok(listener) => listener,
        Err(Error::Missing) => {
            say(format_args!(
                "pendulum: this partition has no channel named `{}`\n",
                sample::CHANNEL
            ));
            return 1;
        }
        Err(Error::Linux(Errno(number))) => {
            say(format_args!(
                "pendulum: cannot map the channel, error {number}\n"
            ));
            return 1;
        }
    };
    let done = match wish.log {
        None => show(&mut listener, wish.looks),
        Some(path) => log(&mut listener, wish.looks, path),
    };
    match done {
        Ok(()) => 0,
        Err(Errno(number)) => {
            say(format_args!("pendulum: cannot write, error {number}\n"));
            1
        }
    }
}

/// Tells the person something.
fn say(text: core::fmt::Arguments<'_>) {
    let _ = Text::write(File::ERROR, text); // there is nobody else to tell
}

/// Reads the command line.
fn read(arguments: Arguments) -> Option<Wish> {
    let mut wish = Wish {
        log: None,
        looks: u64::MAX,
    };
    let mut arguments = arguments.skip(1);
    while let Some(argument) = arguments.next() {
        if argument == c"--log" {
            wish.log = Some(arguments.next()?);
        } else {
            let seconds: u64 = argument.to_str().ok()?.parse().ok()?;
            wish.looks = seconds.checked_mul(1000)? / LOOK_MS;
        }
    }
    Some(wish)
}

/// Takes all new messages, hands each on, and returns how many there were.
fn take(
    listener: &mut Listener,
    mut each: impl FnMut(Sample) -> Result<(), Errno>,
) -> Result<usize, Errno> {
    let mut bytes = [0; Sample::BYTES];
    for count in 0..MESSAGES {
        match listener.receive(&mut bytes) {
            Ok(Some(Sample::BYTES)) => each(Sample::from_bytes(&bytes))?,
            Ok(None) => return Ok(count),
            // Messages were lost, or are none of ours: the next one is as good.
            Ok(Some(_)) | Err(_) => {}
        }
    }
    Ok(MESSAGES)
}

/// Plots the newest message of each look.
fn show(listener: &mut Listener, looks: u64) -> Result<(), Errno> {
    let mut silent = 0;
    // What is in the channel already is past.
    take(listener, |_| Ok(()))?;
    for _ in 0..looks {
        sleep_ms(LOOK_MS);
        let mut newest = None;
        take(listener, |sample| {
            newest = Some(sample);
            Ok(())
        })?;
        let Some(sample) = newest else {
            silent += 1;
            if silent == SILENT_LOOKS {
                Text::write(File::OUTPUT, format_args!("no word from the loop\n"))?;
            }
            continue;
        };
        silent = 0;
        Text::write(File::OUTPUT, format_args!("{}\n", Line(sample.reading)))?;
    }
    Ok(())
}

/// Writes every message to a file.
fn log(listener: &mut Listener, looks: u64, path: &CStr) -> Result<(), Errno> {
    let file = File::create(path)?;
    let head = "time_ms,angle_mdeg,position_mm,force_mn,fallen\n";
    Text::write(file, format_args!("{head}"))?;
    take(listener, |_| Ok(()))?;
    for _ in 0..looks {
        sleep_ms(LOOK_MS);
        take(listener, |sample| {
            let reading = sample.reading;
            Text::write(
                file,
                format_args!(
                    "{},{},{},{},{}\n",
                    sample.time_ms,
                    reading.angle_mdeg,
                    reading.position_mm,
                    reading.force_mn,
                    u8::from(reading.fallen)
                ),
            )
        })?;
    }
    Ok(())
}
