//! One bounded run of a system: its console played against a script, its end in every case. The system is at the other
//! end of QEMU's standard input and output, or of a serial line.

mod peer;

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use self::peer::Far;
pub use self::peer::{Emulator, Peer};
use crate::console::screen::{Screen, Style};
use crate::console::script::{Player, Reaction, Script};
use crate::console::transcript::Transcript;
use crate::console::wire::{Event, Wire};
use crate::failure::{Failure, Outcome};
use crate::terminal::RawMode;
use crate::workspace;

/// An unfinished line is matched after this long without output.
const QUIET: Duration = Duration::from_millis(15);
/// After a panic, output is shown until it has been quiet for this long.
const LAST_WORDS_QUIET: Duration = Duration::from_millis(500);
/// Longest wait for last words.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// The escape key: Ctrl-G.
const ESCAPE: u8 = 7;

/// What to run, and how.
#[derive(Debug)]
pub struct Plan {
    /// Where the system is.
    pub peer: Peer,
    /// The partitions' names.
    pub names: Vec<String>,
    /// What to wait for and to type.
    pub script: Script,
    /// Longest time; `None` only with a person attached.
    pub timeout: Option<Duration>,
    /// How to show the console.
    pub style: Style,
    /// Attach the terminal's keyboard.
    pub attached: bool,
    /// Write the console to this file too.
    pub log: Option<PathBuf>,
    /// Go on after EL2 panicked: a debugger may be attached.
    pub survive_panic: bool,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The awaited text was seen.
    Matched,
    /// QEMU ended by itself.
    Ended(ExitStatus),
    /// The serial line was closed: its adapter is unplugged, for example.
    Closed,
    /// The time was up.
    Timeout,
    /// A forbidden text was seen: the pattern.
    Forbidden(String),
    /// EL2 panicked.
    Panic,
    /// EL2 refused to start.
    NotStarted,
    /// The person quit.
    Quit,
    /// A signal came.
    Interrupted,
}

/// A run that is over.
#[derive(Debug)]
pub struct Finished {
    /// Why it ended.
    pub ending: Ending,
    /// What was printed.
    pub transcript: Transcript,
    /// What the script was still waiting for.
    pub awaited: Option<String>,
    /// How long it took.
    pub time: Duration,
}

/// What reaches the main loop.
enum Message {
    Output(Vec<u8>),
    OutputClosed,
    Key(Vec<u8>),
    Signal,
}

/// Plays until the script, the time, a signal or the other side ends it.
///
/// # Errors
/// QEMU cannot be started, or the output is gone.
pub fn run(plan: Plan) -> Outcome<Finished> {
    run_then(plan, || {})
}

/// [`run`], and does something before QEMU is ended.
///
/// # Errors
/// As for [`run`].
pub fn run_then(plan: Plan, before_end: impl FnOnce()) -> Outcome<Finished> {
    let started = Instant::now();
    let mut far = plan.peer.open()?;
    let (sender, messages) = channel();
    read_output(&mut far, sender.clone());
    let signals = watch_signals(sender.clone())?;
    let terminal = plan.attached.then(RawMode::enter).flatten();
    if plan.attached {
        read_keyboard(sender.clone());
    }
    let style = Style {
        raw: terminal.is_some(),
        ..plan.style
    };
    let log = plan.log.as_deref().map(create_log).transpose()?;
    let mut session = Session {
        far,
        messages,
        wire: Wire::new(&plan.names),
        player: Player::new(plan.script),
        screen: Screen::new(style, log),
        escaped: false,
        survive_panic: plan.survive_panic,
    };
    let deadline = plan.timeout.map(|time| started + time);
    let ending = session.until_over(deadline);
    signals.close();
    let ending = ending.and_then(|ending| session.last_words(ending));
    before_end();
    let shown = session
        .screen
        .close_line()
        .and_then(|()| session.screen.flush());
    drop(terminal);
    let ending = ending.or_else(gone)?;
    shown.or_else(|error| gone(error).map(|_| ()))?;
    Ok(Finished {
        ending,
        awaited: session.player.awaited().map(str::to_owned),
        transcript: std::mem::take(&mut session.player.transcript),
        time: started.elapsed(),
    })
}

/// A reader of our output that went away (`| head`) ends the run like a signal; other errors are failures.
fn gone(error: io::Error) -> Outcome<Ending> {
    match error.kind() {
        io::ErrorKind::BrokenPipe => Ok(Ending::Interrupted),
        _ => Err(Failure::failed(format!("writing the console: {error}"))),
    }
}

/// Makes the log file.
fn create_log(path: &std::path::Path) -> Outcome<File> {
    if let Some(folder) = path.parent() {
        workspace::make_folder(folder)?;
    }
    File::create(path).map_err(|error| Failure::file(path, error))
}

/// Passes the system's output on.
fn read_output(far: &mut Far, sender: Sender<Message>) {
    let Some(mut output) = far.output.take() else {
        return;
    };
    thread::spawn(move || {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(count) = output.read(&mut buffer) {
            let piece = buffer.get(..count).unwrap_or_default().to_vec();
            if piece.is_empty() || sender.send(Message::Output(piece)).is_err() {
                break;
            }
        }
        // Nobody listens any more when the run is over.
        let _ = sender.send(Message::OutputClosed);
    });
}

/// Passes the person's keys on. The thread ends with the process: a blocked read cannot be called off.
fn read_keyboard(sender: Sender<Message>) {
    thread::spawn(move || {
        let mut buffer = [0; 256];
        while let Ok(count) = io::stdin().lock().read(&mut buffer) {
            let keys = buffer.get(..count).unwrap_or_default().to_vec();
            if keys.is_empty() || sender.send(Message::Key(keys)).is_err() {
                break;
            }
        }
    });
}

/// Turns signals into messages, so that QEMU and the terminal are put in order before we end.
fn watch_signals(sender: Sender<Message>) -> Outcome<signal_hook::iterator::Handle> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])
        .map_err(|error| Failure::failed(format!("signals: {error}")))?;
    let handle = signals.handle();
    thread::spawn(move || {
        for _ in &mut signals {
            if sender.send(Message::Signal).is_err() {
                break;
            }
        }
    });
    Ok(handle)
}

/// A run in progress.
struct Session {
    far: Far,
    messages: Receiver<Message>,
    wire: Wire,
    player: Player,
    screen: Screen,
    escaped: bool,
    survive_panic: bool,
}

impl Session {
    /// Deals with messages until something ends the run.
    fn until_over(&mut self, deadline: Option<Instant>) -> io::Result<Ending> {
        let mut quiet = true;
        loop {
            let left = deadline.map(|end| end.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(Ending::Timeout);
            }
            let wait = if quiet { Duration::from_secs(1) } else { QUIET };
            let message = self
                .messages
                .recv_timeout(left.map_or(wait, |left| left.min(wait)));
            let ending = match message {
                Ok(Message::Output(bytes)) => {
                    quiet = false;
                    self.output(&bytes)?
                }
                Ok(Message::OutputClosed) | Err(RecvTimeoutError::Disconnected) => {
                    return self.ended();
                }
                Ok(Message::Key(keys)) => self.keys(&keys),
                Ok(Message::Signal) => Some(Ending::Interrupted),
                Err(RecvTimeoutError::Timeout) if quiet => None,
                Err(RecvTimeoutError::Timeout) => {
                    quiet = true;
                    self.fell_quiet()?
                }
            };
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    /// The console is closed: waits for QEMU's end. A last line without a line end counts.
    fn ended(&mut self) -> io::Result<Ending> {
        let events = self.wire.flush();
        let last = match self.events(&events)? {
            Some(ending) => Some(ending),
            None => self.fell_quiet()?,
        };
        let ended = match self.far.status()? {
            Some(status) => Ending::Ended(status),
            None => Ending::Closed,
        };
        Ok(last.unwrap_or(ended))
    }

    /// Shows output and plays the script.
    fn output(&mut self, bytes: &[u8]) -> io::Result<Option<Ending>> {
        let events = self.wire.feed(bytes);
        let ending = self.events(&events)?;
        self.screen.flush()?;
        Ok(ending)
    }

    /// Nothing came for a moment: an unfinished line may be a prompt. What may become a prefix waits for its rest: on a
    /// busy machine that takes longer.
    fn fell_quiet(&mut self) -> io::Result<Option<Ending>> {
        self.screen.flush()?;
        let reactions = self.player.quiet();
        Ok(self.react(reactions))
    }

    /// Shows events and plays them. What comes behind the end is shown too.
    fn events(&mut self, events: &[Event]) -> io::Result<Option<Ending>> {
        let mut ending = None;
        for event in events {
            self.screen.show(event)?;
            let reactions = self.player.take(event);
            if ending.is_none() {
                ending = self.react(reactions);
            }
        }
        Ok(ending)
    }

    /// Does what the script says.
    fn react(&mut self, reactions: Vec<Reaction>) -> Option<Ending> {
        for reaction in reactions {
            match reaction {
                Reaction::Send(bytes) => self.send(&bytes),
                Reaction::Matched => return Some(Ending::Matched),
                Reaction::Forbidden(pattern) => return Some(Ending::Forbidden(pattern)),
                Reaction::Panic if self.survive_panic => {}
                Reaction::Panic => return Some(Ending::Panic),
                Reaction::NotStarted => return Some(Ending::NotStarted),
            }
        }
        None
    }

    /// Types. A QEMU that has ended takes nothing more, which its closed output tells too.
    fn send(&mut self, bytes: &[u8]) {
        let _ = self
            .far
            .input
            .write_all(bytes)
            .and_then(|()| self.far.input.flush());
    }

    /// Passes keys on; Ctrl-G x quits.
    fn keys(&mut self, keys: &[u8]) -> Option<Ending> {
        let mut pass = Vec::new();
        for &key in keys {
            if std::mem::take(&mut self.escaped) {
                if key == b'x' {
                    return Some(Ending::Quit);
                }
                pass.extend([ESCAPE, key]);
            } else if key == ESCAPE {
                self.escaped = true;
            } else {
                pass.push(key);
            }
        }
        self.send(&pass);
        None
    }

    /// Shows what still comes after a panic or a forbidden text: registers, a backtrace. A refusal is over when it ends
    /// the run: its last line says so.
    fn last_words(&mut self, ending: Ending) -> io::Result<Ending> {
        if !matches!(ending, Ending::Panic | Ending::Forbidden(_)) {
            return Ok(ending);
        }
        let end = Instant::now() + LAST_WORDS;
        while Instant::now() < end {
            let Ok(Message::Output(bytes)) = self.messages.recv_timeout(LAST_WORDS_QUIET) else {
                break;
            };
            for event in self.wire.feed(&bytes) {
                self.screen.show(&event)?;
                // What the script makes of it no longer counts.
                let _ = self.player.take(&event);
            }
        }
        Ok(ending)
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Runs a shell script in QEMU's place.
    fn play(shell: &str, pairs: &[(&str, &str)], until: Option<&str>) -> Finished {
        let names = vec!["a".to_owned(), "b".to_owned()];
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(when, send)| (when.to_string(), send.to_string()))
            .collect();
        let mut command = Command::new("sh");
        command.args(["-c", shell]);
        let plan = Plan {
            peer: command.into(),
            script: Script::new(&pairs, until, &["bad".to_owned()], &names).unwrap(),
            names,
            timeout: Some(Duration::from_secs(5)),
            style: Style {
                hidden: true,
                ..Style::default()
            },
            attached: false,
            log: None,
            survive_panic: false,
        };
        run(plan).unwrap()
    }

    #[test]
    fn ends_at_the_awaited_text_though_the_program_goes_on() {
        let finished = play("printf 'a| up\\r\\n'; exec sleep 60", &[], Some("up"));
        assert_eq!(finished.ending, Ending::Matched);
        assert!(finished.time < Duration::from_secs(4));
    }

    #[test]
    fn types_at_a_prompt() {
        let shell = "printf 'a| > '; read x; printf 'a| <%s>\\r\\n' \"$x\"; exec sleep 60";
        let finished = play(shell, &[("> $", "ls\\n")], Some("<ls>"));
        assert_eq!(finished.ending, Ending::Matched);
    }

    #[test]
    fn tells_an_early_end_from_a_timeout() {
        let finished = play("printf 'a| up\\r\\n'", &[], Some("never"));
        assert!(matches!(finished.ending, Ending::Ended(status) if status.success()));
        assert_eq!(finished.awaited.as_deref(), Some("never"));
        let finished = play("exec sleep 60", &[], Some("never"));
        assert_eq!(finished.ending, Ending::Timeout);
    }

    #[test]
    fn keeps_what_follows_a_panic() {
        let shell = "printf 'bulkhead| PANIC: x\\r\\nbulkhead| ELR 0\\r\\n'; exec sleep 60";
        let finished = play(shell, &[], Some("never"));
        assert_eq!(finished.ending, Ending::Panic);
        assert_eq!(
            finished.transcript.tail(9),
            ["bulkhead| PANIC: x", "bulkhead| ELR 0"]
        );
    }

    #[test]
    fn a_prefix_may_come_in_pieces() {
        let shell = "printf bulkh; sleep 0.2; printf 'ead| PANIC: x\\r\\n'; exec sleep 60";
        assert_eq!(play(shell, &[], Some("never")).ending, Ending::Panic);
    }

    #[test]
    fn a_last_line_without_line_end_counts() {
        let finished = play("printf 'a| done'", &[], Some("done"));
        assert_eq!(finished.ending, Ending::Matched);
        let finished = play("printf 'a| bad'", &[], Some("done"));
        assert_eq!(finished.ending, Ending::Forbidden("bad".to_owned()));
    }
}
