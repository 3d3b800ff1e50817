//! Many rings, one wire: picks the next byte for the physical UART.
//!
//! # On the wire
//! * A line is `NAME| text` CR LF. A line that is complete in its ring goes out whole, and lines of different
//!   sources take turns, EL2's own first.
//! * An unfinished line (a prompt) goes out after [`QUIET_NS`] without further output of its source, and what the
//!   source adds later just continues it. It is held back while its source was merely stopped in the middle of it.
//! * When an unfinished line must give way, NUL CR LF cuts it; it comes again from its beginning later: when its
//!   source says more, or when the line is free again. NULs of guests are dropped, so none can fake a cut.
//! * Guests end lines by LF, with any number of CRs before it. A CR alone (a redrawn prompt, a progress bar) goes out
//!   as CR and the prefix again, so that the prefix is never overwritten and no guest can pretend to be another.
//! * An unfinished line that outgrows its ring is broken into several lines.
//!
//! # Invariants
//! The bytes of an unfinished line stay in the ring until it ends, hence it can be shown again; only a line that is
//! known to end, or one that outgrows the ring, leaves while it is being shown. Every step is bounded, whatever the
//! number of sources: a search looks at those that may have something to say, a few at a time.

mod search;

use crate::device::ring::Reader;
use crate::ids::MAX_PARTITIONS;
use core::sync::atomic::Ordering;
pub use search::LOOKS;
use search::{Found, Search};

/// Time after which an unfinished line is shown, in nanoseconds.
pub const QUIET_NS: u64 = 20_000_000;
/// Largest number of sources: EL2 and every partition.
pub const MAX_SOURCES: usize = MAX_PARTITIONS + 1;
/// The source that is EL2 itself.
pub const OWN: usize = 0;
/// Bytes of a line after which room is given back to its source.
const CHUNK: u32 = 256;
/// What stands between a source's name and its text.
const SEPARATOR: &[u8] = b"| ";

/// Who speaks on the line: source 0 is EL2, source n + 1 the partition at position n of the table.
pub trait Sources {
    /// Returns a source's name: at least one byte, no control characters.
    fn name(&self, source: usize) -> &[u8];

    /// Returns a source's ring, or `None` when it has no console.
    fn reader(&self, source: usize) -> Option<Reader<'_>>;

    /// Returns the partitions that may have something in their rings: bit n is source n + 1.
    fn speaking(&self) -> u64;

    /// Hears that a partition's ring was found empty: it need not be among those that speak until something comes.
    fn fell_silent(&self, source: usize);

    /// Says whether a source has more to say but does not run: its unfinished line is then not a prompt.
    fn is_descheduled(&self, source: usize) -> bool;

    /// Returns the source that has the keyboard: of several unfinished lines, its is shown again first.
    fn focus(&self) -> usize;
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this byte.
    Byte(u8),
    /// Nothing to send from this step, but ask again: it was cut short to stay bounded. It may have looked at
    /// [`LOOKS`] sources.
    Again,
    /// Nothing to send until a ring changes or the deadline passes.
    Idle {
        /// Ask again at this time, in nanoseconds, even if no ring changes.
        deadline: Option<u64>,
    },
}

/// Where the wire is within a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Between lines.
    Between,
    /// The prefix of the current source, from this byte on.
    Prefix(u8),
    /// The text of the current source.
    Text,
    /// CR LF comes next; the source is done with.
    End,
    /// LF comes next.
    LineFeed,
}

/// What is remembered about a source.
#[derive(Clone, Copy, Debug)]
struct Memory {
    /// Bytes in its ring when last looked at.
    seen: u32,
    /// Bytes of its unfinished line that were shown before it was cut.
    cut: u32,
    /// When `seen` last changed, or the source was last found descheduled.
    quiet_since_ns: u64,
}

/// The multiplexer. One per physical UART, used by its server alone.
#[derive(Clone, Debug)]
pub struct Multiplexer {
    stage: Stage,
    /// The source whose line is on the wire, in all stages but `Between`.
    current: usize,
    /// Bytes of the current line shown and still in the ring.
    shown: u32,
    /// The current line is known to end.
    whole: bool,
    /// Some of the current line has left the ring.
    streamed: bool,
    /// Something of the current line has been shown behind its prefix.
    begun: bool,
    /// Where the search for the next line starts.
    turn: usize,
    /// A source that waits for room in its ring has it again and has not been told.
    roomy: Option<usize>,
    search: Search,
    memories: [Memory; MAX_SOURCES],
}

impl Multiplexer {
    /// Returns a multiplexer at the beginning of a line.
    pub const fn new() -> Self {
        Self {
            stage: Stage::Between,
            current: OWN,
            shown: 0,
            whole: false,
            streamed: false,
            begun: false,
            turn: OWN,
            roomy: None,
            search: Search::of(None),
            memories: [Memory {
                seen: 0,
                cut: 0,
                quiet_since_ns: 0,
            }; MAX_SOURCES],
        }
    }

    /// Says whether the wire is in the middle of a line: who must speak at once, as a panic does, ends it first.
    pub fn is_mid_line(&self) -> bool {
        self.stage != Stage::Between
    }

    /// Says whether somebody is to be told of room: ask [`Self::take_room`] before the next step.
    #[inline(always)]
    pub const fn owes_room(&self) -> bool {
        self.roomy.is_some()
    }

    /// Returns the source that waited for room in its ring and has it again, once.
    pub const fn take_room(&mut self) -> Option<usize> {
        self.roomy.take()
    }

    /// Returns what to do next. `now_ns` never goes back.
    pub fn next<S: Sources>(&mut self, now_ns: u64, sources: &S) -> Step {
        match self.stage {
            Stage::Text => self.text(now_ns, sources),
            Stage::Prefix(at) => self.prefix(at, sources),
            Stage::End => {
                self.stage = Stage::LineFeed;
                Step::Byte(b'\r')
            }
            Stage::LineFeed => {
                self.stage = Stage::Between;
                Step::Byte(b'\n')
            }
            Stage::Between => self.between(now_ns, sources),
        }
    }

    /// Sends the prefix, or plain text, of the current line as long as `send` takes it, `most` bytes at most; returns how many
    /// went. Each of them is what [`Self::next`] would have returned as a [`Step::Byte`], in fewer instructions. Where there is more
    /// to do than to send a byte, the next step is [`Self::next`]'s.
    pub fn run<S: Sources>(
        &mut self,
        sources: &S,
        most: usize,
        mut send: impl FnMut(u8) -> bool,
    ) -> usize {
        let mut sent = 0;
        if let Stage::Prefix(at) = self.stage {
            sent = self.run_prefix(at, sources.name(self.current), most, &mut send);
        }
        if self.stage != Stage::Text {
            return sent;
        }
        let Some(reader) = sources.reader(self.current) else {
            return sent;
        };
        let begin = self.shown;
        let end = reader.available().min(CHUNK);
        let most = (end.saturating_sub(begin) as usize).min(most.saturating_sub(sent));
        let mut count = 0;
        for byte in reader.from(begin).iter().take(most) {
            let byte = byte.load(Ordering::Relaxed);
            if byte < b' ' || !send(byte) {
                break;
            }
            count += 1;
        }
        if count != 0 {
            self.shown = begin.saturating_add(count);
            self.begun = true;
        }
        sent.saturating_add(count as usize)
    }

    /// [`Self::run`] within the prefix, from byte `at` on.
    fn run_prefix(
        &mut self,
        at: u8,
        name: &[u8],
        most: usize,
        send: &mut impl FnMut(u8) -> bool,
    ) -> usize {
        let mut sent = 0;
        let mut at = usize::from(at);
        while sent < most
            && let Some(byte) = prefix_byte(name, at)
            && send(byte)
        {
            at += 1;
            sent += 1;
        }
        self.stage = stage_at(name, at);
        sent
    }

    /// Sends the prefix of the current source.
    fn prefix<S: Sources>(&mut self, at: u8, sources: &S) -> Step {
        let name = sources.name(self.current);
        let at = usize::from(at);
        self.stage = stage_at(name, at.saturating_add(1));
        Step::Byte(prefix_byte(name, at).unwrap_or(b' '))
    }

    /// Sends the next byte of the current source's text.
    #[inline]
    fn text<S: Sources>(&mut self, now_ns: u64, sources: &S) -> Step {
        let Some(reader) = sources.reader(self.current) else {
            self.stage = Stage::End;
            return Step::Again;
        };
        if self.shown >= CHUNK && (self.whole || self.outgrown(reader)) {
            return self.give_room(now_ns, reader, sources);
        }
        let available = reader.available();
        if self.shown >= available {
            return self.caught_up(available, now_ns, reader, sources);
        }
        let byte = reader.peek(self.shown);
        if byte >= b' ' {
            self.shown += 1;
            self.begun = true;
            return Step::Byte(byte);
        }
        self.control(byte, available, now_ns, reader, sources)
    }

    /// Sends, or does not send, a control character.
    fn control<S: Sources>(
        &mut self,
        byte: u8,
        available: u32,
        now_ns: u64,
        reader: Reader<'_>,
        sources: &S,
    ) -> Step {
        match byte {
            b'\n' => {
                self.take(self.shown.wrapping_add(1), 1, now_ns, reader);
                self.stage = Stage::LineFeed;
                return Step::Byte(b'\r');
            }
            b'\r' if self.shown + 1 == available => {
                // What follows decides what it is.
                return self.caught_up(available, now_ns, reader, sources);
            }
            b'\r' => {
                self.shown += 1;
                if self.begun && !matches!(reader.peek(self.shown), b'\n' | b'\r') {
                    self.stage = Stage::Prefix(0);
                    return Step::Byte(b'\r');
                }
            }
            0 => self.shown += 1,
            byte => {
                self.shown += 1;
                self.begun = true;
                return Step::Byte(byte);
            }
        }
        Step::Again
    }

    /// Gives the shown part of a line back to its ring, when the line need not come again.
    #[inline(never)]
    fn give_room<S: Sources>(&mut self, now_ns: u64, reader: Reader<'_>, sources: &S) -> Step {
        self.take(self.shown, 0, now_ns, reader);
        self.streamed = true;
        if !self.whole {
            self.whole = reader.has_line();
        }
        if !self.whole
            && let Found::Source(_) = self.search(now_ns, sources, Some(self.current))
        {
            // Without end in sight: the others have their turn now and then.
            self.stage = Stage::End;
        }
        Step::Again
    }

    /// The current line is unfinished and all `available` bytes of it are shown, but for a CR at the end: continues,
    /// waits, or gives way.
    fn caught_up<S: Sources>(
        &mut self,
        available: u32,
        now_ns: u64,
        reader: Reader<'_>,
        sources: &S,
    ) -> Step {
        if !self.whole && reader.has_line() {
            self.whole = true;
            return Step::Again;
        }
        if self.shown > 0 && self.outgrown(reader) {
            return self.give_room(now_ns, reader, sources);
        }
        match self.search(now_ns, sources, Some(self.current)) {
            Found::Source(_) => self.give_way(available, now_ns, reader),
            Found::Nobody(deadline) => Step::Idle { deadline },
            Found::NotYet => Step::Again,
        }
    }

    /// Cuts the current, unfinished line.
    fn give_way(&mut self, available: u32, now_ns: u64, reader: Reader<'_>) -> Step {
        self.stage = Stage::End;
        if self.streamed {
            // Its beginning is gone: what was shown stands as a line of its own.
            self.take(self.shown, 0, now_ns, reader);
            return Step::Again;
        }
        if let Some(memory) = self.memories.get_mut(self.current) {
            memory.cut = available;
            memory.seen = available;
            memory.quiet_since_ns = now_ns;
        }
        Step::Byte(0)
    }

    /// Takes bytes out of the current source's ring.
    fn take(&mut self, count: u32, lines: u32, now_ns: u64, reader: Reader<'_>) {
        if reader.advance(count, lines) {
            self.roomy = Some(self.current);
        }
        self.shown = 0;
        if let Some(memory) = self.memories.get_mut(self.current) {
            memory.cut = 0;
            memory.seen = reader.available();
            memory.quiet_since_ns = now_ns;
        }
    }

    /// Says whether a line without end in sight fills most of its ring.
    fn outgrown(&self, reader: Reader<'_>) -> bool {
        self.streamed || outgrows(reader)
    }

    /// Picks the next line.
    fn between<S: Sources>(&mut self, now_ns: u64, sources: &S) -> Step {
        let source = match self.search(now_ns, sources, None) {
            Found::Source(source) => source,
            Found::Nobody(deadline) => return Step::Idle { deadline },
            Found::NotYet => return Step::Again,
        };
        let Some(reader) = sources.reader(source) else {
            return Step::Idle { deadline: None };
        };
        if source != OWN {
            self.turn = source + 1;
        }
        self.current = source;
        self.shown = 0;
        self.whole = reader.has_line();
        self.streamed = false;
        self.begun = false;
        self.stage = Stage::Prefix(0);
        self.prefix(0, sources)
    }
}

impl Default for Multiplexer {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a byte of a prefix, `None` behind its end.
fn prefix_byte(name: &[u8], at: usize) -> Option<u8> {
    match at.checked_sub(name.len()) {
        None => name.get(at).copied(),
        Some(behind) => SEPARATOR.get(behind).copied(),
    }
}

/// Returns where the wire is when a prefix was sent up to a byte.
fn stage_at(name: &[u8], at: usize) -> Stage {
    match at < name.len().saturating_add(SEPARATOR.len()) {
        true => Stage::Prefix(at as u8),
        false => Stage::Text,
    }
}

/// Says whether an unfinished line takes three quarters of its ring or more.
fn outgrows(reader: Reader<'_>) -> bool {
    reader.available() >= reader.capacity() / 4 * 3
}

#[cfg(test)]
mod tests;
