//! Who has the next line: one pass looks at all sources, a few of them at a step.

use super::{Multiplexer, OWN, QUIET_NS, Sources, outgrows};
use crate::device::ring::Reader;

/// Sources that one step of a search looks at, besides EL2.
pub const LOOKS: usize = 8;

/// A pass under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// Whose unfinished line is on the wire meanwhile.
    current: Option<usize>,
    /// The pass has begun.
    begun: bool,
    /// Partitions that are still to be looked at.
    left: u64,
    /// An unfinished line that is due and has never been shown.
    fresh: Option<usize>,
    /// One that is due and has been shown before it was cut.
    stale: Option<usize>,
    /// When the next unfinished line is due.
    deadline: Option<u64>,
}

/// What a step of a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This source has the next line.
    Source(usize),
    /// Nobody has, until something new is said or the deadline passes.
    Nobody(Option<u64>),
    /// Not all have been looked at.
    NotYet,
}

impl Search {
    /// Begins a pass, while the unfinished line of `current` is on the wire.
    pub const fn of(current: Option<usize>) -> Self {
        Self {
            current,
            begun: false,
            left: 0,
            fresh: None,
            stale: None,
            deadline: None,
        }
    }

    /// Returns what a pass found that met no complete line.
    fn result(&self) -> Found {
        match self.fresh.or(self.stale) {
            Some(source) => Found::Source(source),
            None => Found::Nobody(self.deadline),
        }
    }
}

impl Multiplexer {
    /// Goes on with the search for the next line. A complete line goes first, or one that outgrows its ring: EL2's, then
    /// of whose turn it is; then an unfinished line that has been quiet for long enough.
    ///
    /// While the unfinished line of `current` is shown, it is no answer itself, and of the other unfinished lines only those
    /// count that have never been shown: two prompts would push each other away for ever.
    ///
    /// What is said to a source that the pass has been at is found by the next pass: whoever is told [`Found::Nobody`] makes
    /// it known to the sources and then makes one more.
    pub(super) fn search<S: Sources>(
        &mut self,
        now_ns: u64,
        sources: &S,
        current: Option<usize>,
    ) -> Found {
        if self.search.current != current {
            self.search = Search::of(current);
        }
        let found = match sources.reader(OWN) {
            Some(reader) if current != Some(OWN) && is_ready(reader) => Found::Source(OWN),
            _ => self.look(now_ns, sources),
        };
        if found != Found::NotYet {
            self.search = Search::of(current);
        }
        found
    }

    /// Looks at the next few sources.
    fn look<S: Sources>(&mut self, now_ns: u64, sources: &S) -> Found {
        if !self.search.begun {
            self.search.begun = true;
            self.search.left = sources.speaking();
            self.consider(OWN, now_ns, sources);
        }
        for _ in 0..LOOKS {
            let Some(source) = self.next_source() else {
                return self.search.result();
            };
            if self.consider(source, now_ns, sources) {
                return Found::Source(source);
            }
        }
        match self.search.left {
            0 => self.search.result(),
            _ => Found::NotYet,
        }
    }

    /// Takes the next of the partitions that are to be looked at, beginning with whose turn it is.
    fn next_source(&mut self) -> Option<usize> {
        let turn = (self.turn.saturating_sub(1) & 63) as u32;
        let left = self.search.left.rotate_right(turn);
        let partition = left.trailing_zeros().wrapping_add(turn) & 63;
        self.search.left = (left & left.wrapping_sub(1)).rotate_left(turn);
        (left != 0).then_some(partition as usize + 1)
    }

    /// Looks at a source: says whether it has a line to show at once, or else notes whether it has an unfinished one, and
    /// since when.
    fn consider<S: Sources>(&mut self, source: usize, now_ns: u64, sources: &S) -> bool {
        let search = &mut self.search;
        let (Some(reader), Some(memory)) = (sources.reader(source), self.memories.get_mut(source))
        else {
            return false;
        };
        if search.current != Some(source) && is_ready(reader) {
            return true;
        }
        let available = reader.available();
        if memory.seen != available || (available > 0 && sources.is_descheduled(source)) {
            memory.seen = available;
            memory.quiet_since_ns = now_ns;
        }
        if available == 0 {
            sources.fell_silent(source);
        }
        let nothing = available == 0 || (available == 1 && reader.peek(0) == b'\r');
        let fresh = available > memory.cut;
        if nothing || search.current == Some(source) || (search.current.is_some() && !fresh) {
            return false;
        }
        let due = memory.quiet_since_ns.saturating_add(QUIET_NS);
        if due > now_ns {
            let deadline = search.deadline.map_or(due, |earlier| earlier.min(due));
            search.deadline = Some(deadline);
        } else if fresh {
            search.fresh = search.fresh.or(Some(source));
        } else if search.stale.is_none() || source == sources.focus() {
            search.stale = Some(source);
        }
        false
    }
}

/// Says whether a source has a line to show at once.
fn is_ready(reader: Reader<'_>) -> bool {
    reader.has_line() || outgrows(reader)
}
