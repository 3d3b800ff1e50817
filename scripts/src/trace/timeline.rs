//! Who did what, from when to when.

use std::collections::BTreeMap;

use bulkhead::sched::{MAX_SLOTS, Slot};
use bulkhead::trace::{BudgetEvent, Record, UNKNOWN, What};

use super::names::reason;
use super::recording::{Entry, Recording, Track};

/// A vCPU: partition and number.
pub type Vcpu = (u8, u8);

/// INTID of the virtual timer.
const VIRTUAL_TIMER: u16 = 27;
/// First INTID that pCPUs share.
const SHARED: u16 = 32;

/// Whom a pCPU works for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// A vCPU.
    Vcpu(Vcpu),
    /// A vCPU whose partition's memory is being filled.
    Loading(Vcpu),
    /// Nobody: it sleeps.
    Idle,
    /// Nobody yet: EL2 looks who.
    Nobody,
    /// Not known: before the first record, or where records were lost.
    Unknown,
}

/// A piece of a pCPU's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// First tick.
    pub from: u64,
    /// First tick behind it.
    pub to: u64,
    /// For whom.
    pub who: Who,
    /// At EL2, not in the guest.
    pub el2: bool,
}

/// One stay at EL2, from the vector to the guest, to sleep, or to the loading of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// First tick.
    pub from: u64,
    /// First tick behind it.
    pub to: u64,
    /// Why EL2 was entered.
    pub reason: String,
    /// Whose trap it was; `None` out of sleep.
    pub vcpu: Option<Vcpu>,
}

/// Something that happened to a vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: u64,
    /// To whom.
    pub vcpu: Vcpu,
    /// What.
    pub what: MarkKind,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkKind {
    /// A virtual interrupt was shown to it, so many ticks after its cause where that is known.
    Interrupt(u16, Option<u64>),
    /// It wants to run.
    Wake,
    /// It waits.
    Block,
    /// Its budget changed; ticks left.
    Budget(BudgetEvent, u32),
}

/// One pCPU.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lane {
    /// Which.
    pub pcpu: u8,
    /// Its time, without a gap.
    pub spans: Vec<Span>,
    /// Its stays at EL2, in order.
    pub stays: Vec<Stay>,
    /// World switches: a vCPU was entered after another.
    pub switches: u64,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// First tick of the first record.
    pub from: u64,
    /// Tick of the last record.
    pub to: u64,
    /// The pCPUs.
    pub lanes: Vec<Lane>,
    /// What happened to vCPUs, in order of time.
    pub marks: Vec<Mark>,
    /// Ticks from a vCPU's wake-up to its entry.
    pub wakes: BTreeMap<Vcpu, Vec<u64>>,
}

/// A pCPU while its records are read.
struct Reader<'a> {
    track: &'a Track,
    lane: Lane,
    who: Who,
    el2: bool,
    since: u64,
    last: u64,
    stay: Option<Stay>,
    entered: Option<Slot>,
    woken: [Option<u64>; MAX_SLOTS],
}

impl Timeline {
    /// Reads a recording.
    pub fn new(recording: &Recording) -> Self {
        let records = in_order(recording);
        let from = records.first().map_or(0, |(_, first)| ticks(first));
        let mut timeline = Self {
            from,
            to: records
                .iter()
                .map(|(_, entry)| ticks(entry))
                .max()
                .unwrap_or(0),
            ..Self::default()
        };
        let tracks = recording.tracks.iter();
        let mut readers: Vec<_> = tracks.map(|track| Reader::new(track, from)).collect();
        let mut causes = BTreeMap::new();
        for (at, entry) in &records {
            let reader = &mut readers[*at];
            match entry {
                Timed::Record(record) => {
                    note_cause(&mut causes, *at, record, &recording.passed);
                    reader.take(record, &mut timeline);
                    timeline.mark(reader.track, *at, record, &mut causes);
                }
                Timed::Lost(_) => reader.lose(),
            }
        }
        let to = timeline.to;
        timeline.lanes = readers
            .into_iter()
            .map(|reader| reader.finish(to))
            .collect();
        timeline
    }

    /// Notes what a record says about a vCPU.
    fn mark(
        &mut self,
        track: &Track,
        lane: usize,
        record: &Record,
        causes: &mut BTreeMap<(usize, u16), u64>,
    ) {
        let Some(vcpu) = record.slot.and_then(|slot| track.resident(slot)) else {
            return;
        };
        let what = match record.what {
            What::Wake => MarkKind::Wake,
            What::Block => MarkKind::Block,
            What::Inject { intid, late } => {
                let cause = causes.remove(&place(lane, intid));
                let taken = cause.map(|cause| record.ticks.saturating_sub(cause));
                let due = (late != UNKNOWN).then_some(u64::from(late));
                MarkKind::Interrupt(intid, due.or(taken))
            }
            What::Budget { event, left } => MarkKind::Budget(event, left),
            _ => return,
        };
        let at = record.ticks;
        self.marks.push(Mark { at, vcpu, what });
    }
}

/// An entry with a time.
enum Timed {
    Record(Record),
    Lost(u64),
}

fn ticks(entry: &Timed) -> u64 {
    match entry {
        Timed::Record(record) => record.ticks,
        Timed::Lost(ticks) => *ticks,
    }
}

/// Returns all entries in order of time, each with the position of its track. A gap has the time of the record before it.
fn in_order(recording: &Recording) -> Vec<(usize, Timed)> {
    let mut all = Vec::with_capacity(recording.records());
    for (at, track) in recording.tracks.iter().enumerate() {
        let first = track.entries.iter().find_map(|entry| match entry {
            Entry::Record(record) => Some(record.ticks),
            Entry::Lost(_) => None,
        });
        let mut last = first.unwrap_or(0);
        for entry in &track.entries {
            all.push((
                at,
                match *entry {
                    Entry::Record(record) => {
                        // A pCPU's counter never goes back; its order is the truth.
                        last = last.max(record.ticks);
                        Timed::Record(Record {
                            ticks: last,
                            ..record
                        })
                    }
                    Entry::Lost(_) => Timed::Lost(last),
                },
            ));
        }
    }
    all.sort_by_key(|(_, entry)| ticks(entry));
    all
}

/// Returns the key of an interrupt: a private one is its pCPU's.
fn place(lane: usize, intid: u16) -> (usize, u16) {
    (if intid < SHARED { lane } else { usize::MAX }, intid)
}

/// Notes when an interrupt of a guest was taken.
fn note_cause(
    causes: &mut BTreeMap<(usize, u16), u64>,
    lane: usize,
    record: &Record,
    passed: &[u16],
) {
    let (What::Interrupt { intid, .. } | What::Awake { intid }) = record.what else {
        return;
    };
    if intid == VIRTUAL_TIMER || passed.contains(&intid) {
        causes.entry(place(lane, intid)).or_insert(record.ticks);
    }
}

impl<'a> Reader<'a> {
    fn new(track: &'a Track, from: u64) -> Self {
        Self {
            track,
            lane: Lane {
                pcpu: track.pcpu,
                ..Lane::default()
            },
            who: Who::Unknown,
            el2: false,
            since: from,
            last: from,
            stay: None,
            entered: None,
            woken: [None; MAX_SLOTS],
        }
    }

    /// Ends the current piece of time where something else begins.
    fn turn(&mut self, at: u64, who: Who, el2: bool) {
        if (who, el2) == (self.who, self.el2) {
            return;
        }
        if at > self.since {
            self.lane.spans.push(Span {
                from: self.since,
                to: at,
                who: self.who,
                el2: self.el2,
            });
        }
        (self.who, self.el2, self.since) = (who, el2, at);
    }

    /// Ends a stay at EL2.
    fn leave(&mut self, at: u64) {
        if let Some(stay) = self.stay.take() {
            self.lane.stays.push(Stay { to: at, ..stay });
        }
    }

    /// Takes a record.
    fn take(&mut self, record: &Record, timeline: &mut Timeline) {
        let at = record.ticks;
        self.last = at;
        let vcpu = record.slot.and_then(|slot| self.track.resident(slot));
        let own = vcpu.map_or(Who::Unknown, Who::Vcpu);
        match record.what {
            What::Run => self.turn(at, own, true),
            What::Load => {
                self.leave(at);
                // It has nothing to run yet.
                if let Some(woken) = record
                    .slot
                    .and_then(|slot| self.woken.get_mut(slot.index()))
                {
                    *woken = None;
                }
                self.turn(at, vcpu.map_or(Who::Unknown, Who::Loading), true);
            }
            What::Idle => {
                self.leave(at);
                self.turn(at, Who::Idle, false);
            }
            What::Awake { .. } => self.enter_el2(at, Who::Nobody, record.what, None),
            What::Trap { .. } | What::Interrupt { .. } | What::SError => {
                self.enter_el2(at, own, record.what, vcpu);
            }
            What::Enter => {
                self.leave(at);
                self.turn(at, own, false);
                self.enter_guest(at, record.slot, timeline);
            }
            What::Wake => self.wake(at, record.slot),
            What::Block | What::Inject { .. } | What::Budget { .. } => {}
        }
    }

    fn enter_el2(&mut self, at: u64, who: Who, what: What, vcpu: Option<Vcpu>) {
        self.leave(at);
        self.turn(at, who, true);
        self.stay = Some(Stay {
            from: at,
            to: at,
            reason: reason(what).unwrap_or_default(),
            vcpu,
        });
    }

    fn wake(&mut self, at: u64, slot: Option<Slot>) {
        if let Some(woken) = slot.and_then(|slot| self.woken.get_mut(slot.index())) {
            woken.get_or_insert(at);
        }
    }

    /// Counts switches and how long a woken vCPU waited.
    fn enter_guest(&mut self, at: u64, slot: Option<Slot>, timeline: &mut Timeline) {
        let Some(slot) = slot else { return };
        if self
            .entered
            .replace(slot)
            .is_some_and(|other| other != slot)
        {
            self.lane.switches += 1;
        }
        let woken = self.woken.get_mut(slot.index()).and_then(Option::take);
        if let (Some(woken), Some(vcpu)) = (woken, self.track.resident(slot)) {
            let waited = at.saturating_sub(woken);
            timeline.wakes.entry(vcpu).or_default().push(waited);
        }
    }

    /// Records are missing from here on.
    fn lose(&mut self) {
        self.stay = None;
        self.entered = None;
        self.woken = [None; MAX_SLOTS];
        self.turn(self.last, Who::Unknown, false);
    }

    /// Ends the last piece of time.
    fn finish(mut self, to: u64) -> Lane {
        if to > self.since {
            self.lane.spans.push(Span {
                from: self.since,
                to,
                who: self.who,
                el2: self.el2,
            });
        }
        self.lane
    }
}

#[cfg(test)]
pub(in crate::trace) mod tests;
