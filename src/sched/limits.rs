//! What keeps vCPUs off a pCPU beside their priority: budgets and time windows.
//!
//! A pCPU whose vCPUs have neither has no [`Limits`], and pays nothing for them. With them, each vCPU that wants to run is
//! in one of three places:
//!
//! * in *front*: in the pCPU's run queue, by its priority;
//! * in the *background*: its budget is exhausted and the table lets it run below every priority. A second queue, asked
//!   when the first one is empty, keeps the priorities among such;
//! * *out*: it is throttled, or no window is open for it.
//!
//! Each vCPU has one deadline in the tree of the front: when something is to be done about it. That is its own wake-up, or,
//! while its budget is exhausted, the replenishment, but not before it wants to run; or never, while its window is closed.
//! So the replenishment of a less urgent vCPU interrupts nobody, nor does the timer of one that could not run anyway.
//! Wake-ups of those in the background are in a tree of their own, which counts while nobody in front runs.
//!
//! Time is charged from the choice of a vCPU to the next choice, so that EL2's work on its behalf is its own, its switch
//! into the registers and the loading of its partition included. What EL2 does meanwhile for others moves the start of
//! the slice ([`Limits::forgive`]), and is on the budget of whom it is for ([`Limits::charge`]).
//!
//! Choosing, charging and replenishing cost the same whatever the number of vCPUs; the edge of a window costs by those
//! that wait for it or have to leave, some at a time.

use super::budget::Budget;
use super::deadlines::NEVER;
use super::windows::Windows;
use super::{Deadlines, Gate, MAX_SLOTS, RunQueue, Slot};

/// How many an edge of a window moves before EL2 looks for interrupts.
pub const CROSS_AT_ONCE: usize = 8;

/// The limits of the vCPUs of one pCPU.
pub struct Limits<'a> {
    /// By slot.
    budgets: &'a mut [Option<Budget>],
    windows: Option<Windows<'a>>,
    /// Those whose exhausted budget sends them to the background.
    yielding: u64,
    /// Those whose budget is exhausted, until their replenishment was noticed.
    exhausted: u64,
    /// Those of them whose budget went on what EL2 did for them while they slept.
    drained: u64,
    /// Those whose window is open.
    open: u64,
    /// Those that a window's edge has yet to move.
    crossing: u64,
    /// Those that want to run.
    wanting: u64,
    /// The wake-up that each slot asked for.
    wakes: [u64; MAX_SLOTS],
    /// Those that asked for one.
    timed: u64,
    /// The background's queue.
    queue: RunQueue,
    /// Wake-ups of those in the background.
    deadlines: Deadlines,
    /// Who executes, and since when its slice is charged.
    running: Option<(Slot, u64)>,
    /// While a choice is made, which nobody pays for: the time that EL2 spent for others since it began.
    choice: Option<u64>,
}

/// A pCPU's own queue and tree.
pub struct Front<'a> {
    /// Who wants to run and may.
    pub queue: &'a mut RunQueue,
    /// When something is to be done.
    pub deadlines: &'a mut Deadlines,
}

impl<'a> Limits<'a> {
    /// Makes limits for a pCPU whose vCPUs have these budgets, by slot. `yielding` are those that run in the background
    /// when theirs is exhausted; `queue` is empty and knows the slots' priorities. `now` decides which window is open.
    pub fn new(
        budgets: &'a mut [Option<Budget>],
        yielding: u64,
        mut windows: Option<Windows<'a>>,
        queue: RunQueue,
        now: u64,
    ) -> Self {
        if let Some(windows) = &mut windows {
            windows.cross(now);
        }
        let open = windows.as_ref().map_or(u64::MAX, Windows::open);
        Self {
            budgets,
            windows,
            yielding,
            exhausted: 0,
            drained: 0,
            open,
            crossing: 0,
            wanting: 0,
            wakes: [NEVER; MAX_SLOTS],
            timed: 0,
            queue,
            deadlines: Deadlines::default(),
            running: None,
            choice: None,
        }
    }

    /// Notes that a slot wants to run.
    #[inline(never)]
    pub fn make_ready(&mut self, slot: Slot, front: &mut Front) {
        self.wanting |= bit(slot);
        if self.is_in_front(slot) {
            front.queue.make_ready(slot);
        } else {
            self.place(slot, front);
        }
    }

    /// Notes that a slot does not want to run.
    #[inline(never)]
    pub fn block(&mut self, slot: Slot, front: &mut Front) {
        self.wanting &= !bit(slot);
        self.place(slot, front);
    }

    /// Sets when a slot is to be woken; [`NEVER`] takes it out.
    // Not inlined, as other ways here: there are many callers, and it matters only to pCPUs with limits.
    #[inline(never)]
    pub fn set_wake(&mut self, slot: Slot, at: u64, front: &mut Front) {
        if let Some(wake) = self.wakes.get_mut(slot.index()) {
            *wake = at;
        }
        self.timed &= !bit(slot);
        if at != NEVER {
            self.timed |= bit(slot);
        }
        if self.is_in_front(slot) {
            front.deadlines.set(slot, at);
        } else {
            self.place(slot, front);
        }
    }

    /// Moves a slot behind its equals.
    #[inline(never)]
    pub fn rotate(&mut self, slot: Slot, front: &mut Front) {
        front.queue.rotate(slot);
        self.queue.rotate(slot);
    }

    /// Says whether an equal of a slot waits behind it, in the same place.
    pub fn has_waiting_equal(&self, slot: Slot, front: &RunQueue) -> bool {
        front.has_waiting_equal(slot) || self.queue.has_waiting_equal(slot)
    }

    /// Begins a choice: charges who ran until now, and begins to go to the window that is open. Returns whose budget that
    /// exhausted although it would go on. A choice may begin anew before it ends; whoever ran has paid then.
    pub fn settle(&mut self, now: u64, front: &mut Front) -> Option<Slot> {
        let mut cut = None;
        let again = self.choice.replace(0).is_some();
        if let Some((slot, since)) = self.running
            && !again
            && self.exhausted & bit(slot) == 0
            && let Some(budget) = self.budgets.get_mut(slot.index()).and_then(Option::as_mut)
        {
            budget.charge(since, now);
            if budget.is_exhausted(now) {
                self.exhausted |= bit(slot);
                self.place(slot, front);
                cut = Some(slot).filter(|slot| self.wanting & bit(*slot) != 0);
            }
        }
        if self
            .windows
            .as_ref()
            .is_some_and(|windows| windows.edge() <= now)
        {
            self.cross(now);
        }
        self.go_on_crossing(front);
        cut
    }

    /// Goes to another window: notes those that it opens or closes for, if they want to run or to be woken.
    fn cross(&mut self, now: u64) {
        let Some(windows) = &mut self.windows else {
            return;
        };
        windows.cross(now);
        let before = core::mem::replace(&mut self.open, windows.open());
        self.crossing |= (before ^ self.open) & (self.wanting | self.timed);
    }

    /// Moves some of those that the last edge opened or closed the window for. There may be more
    /// ([`Self::is_crossing`]): nobody is chosen before all are where they belong.
    pub fn go_on_crossing(&mut self, front: &mut Front) {
        for _ in 0..CROSS_AT_ONCE {
            if self.crossing == 0 {
                return;
            }
            let slot = Slot(self.crossing.trailing_zeros() as u8);
            self.crossing &= self.crossing - 1;
            self.place(slot, front);
        }
    }

    /// Says whether some are still to be moved over a window's edge.
    pub fn is_crossing(&self) -> bool {
        self.crossing != 0
    }

    /// Ends a choice that began at `now`: `slot` executes from now on, or nobody does. It pays for the choice, but not for
    /// what EL2 did for others meanwhile.
    pub fn run(&mut self, slot: Option<Slot>, now: u64) {
        let begin = now.saturating_add(self.choice.take().unwrap_or(0));
        self.running = slot.map(|slot| (slot, begin));
        if let Some(slot) = slot
            && let Some(Some(budget)) = self.budgets.get_mut(slot.index())
        {
            budget.prepare(begin);
        }
    }

    /// Says whether a choice has begun, and is to end.
    pub fn is_choosing(&self) -> bool {
        self.choice.is_some()
    }

    /// Returns who executes, if it pays for that. During a choice it has paid already.
    pub fn charged(&self) -> Option<Slot> {
        let (slot, _) = self.running.filter(|_| !self.is_choosing())?;
        let pays = self.exhausted & bit(slot) == 0
            && self.budgets.get(slot.index()).is_some_and(Option::is_some);
        pays.then_some(slot)
    }

    /// Takes time off the current slice that EL2 spent for others, or off the next one while that is chosen. The slice
    /// begins later by that, so its replenishment too.
    pub fn forgive(&mut self, ticks: u64) {
        if let Some(spent) = &mut self.choice {
            *spent = spent.saturating_add(ticks);
        } else if let Some((_, since)) = &mut self.running {
            *since = since.saturating_add(ticks);
        }
    }

    /// Charges a slot that does not execute for what EL2 did for it from `since` to `now`, such as reading its mail.
    pub fn charge(&mut self, slot: Slot, since: u64, now: u64, front: &mut Front) {
        let Some(budget) = self.budgets.get_mut(slot.index()).and_then(Option::as_mut) else {
            return;
        };
        budget.charge(since, now);
        if budget.is_exhausted(now) {
            self.exhausted |= bit(slot);
            self.drained |= bit(slot) & !self.wanting;
            self.place(slot, front);
        }
    }

    /// Says whether what EL2 does for a slot is to be charged to it: it has a budget, and does not execute.
    pub fn pays_apart(&self, slot: Slot) -> bool {
        let executes = self.running.is_some_and(|(running, _)| running == slot);
        !executes && self.budgets.get(slot.index()).is_some_and(Option::is_some)
    }

    /// Something is due for a slot. When it is its replenishment, returns how much there is to spend; otherwise it is its
    /// wake-up.
    pub fn replenish(&mut self, slot: Slot, now: u64, front: &mut Front) -> Option<u64> {
        if self.exhausted & bit(slot) == 0 {
            return None;
        }
        let budget = self.budgets.get(slot.index())?.as_ref()?;
        let left = budget.lasts_until(now) - now;
        if left == 0 {
            return None;
        }
        self.exhausted &= !bit(slot);
        self.drained &= !bit(slot);
        // What it executed in the background until now is not on the budget that it has from now on.
        if let Some((running, since)) = &mut self.running
            && *running == slot
        {
            *since = now;
        }
        self.place(slot, front);
        Some(left)
    }

    /// Returns the most urgent slot of the background.
    pub fn most_urgent(&self) -> Option<Slot> {
        self.queue.most_urgent()
    }

    /// Returns a slot of the background that is to be woken: of the most urgent one's equals, itself among them, or of those
    /// before them. `behind` gives the slot behind the equals of one.
    pub fn expired(&mut self, now: u64, behind: impl FnOnce(Slot) -> Slot) -> Option<Slot> {
        let end = self.most_urgent().map(behind);
        self.deadlines
            .expired(now)
            .filter(|slot| end.is_none_or(|end| *slot < end))
    }

    /// Returns when something is due while `slot` executes, which was chosen last: the end of its budget, the edge of a
    /// window, and while it is in the background whatever is due in front, or in the background for itself and for those
    /// before `behind`.
    pub fn due_while(&self, slot: Slot, behind: Slot, front: &Deadlines) -> u64 {
        let ends = self.ends();
        if !self.queue.is_ready(slot) {
            return ends;
        }
        let others = self.deadlines.earliest_before(behind);
        let own = self.deadlines.of(slot);
        ends.min(own).min(others).min(front.earliest())
    }

    /// Returns what may interrupt `slot`, which was chosen last; `gate` is what may without limits. Whoever is out does not,
    /// or in the background while somebody in front runs: what it is told waits until it may run. One that sleeps is heard
    /// while its window is open, even when its budget is exhausted, or nothing would wake it: its replenishment interrupts
    /// nobody as long as it does not want to run. But being told is on its budget, and who exhausts it so is not heard
    /// until its replenishment, which is looked at then. An interrupt of a device may come too, once, since it stays active
    /// until its owner has dealt with it.
    pub fn gate(&self, slot: Slot, gate: Gate) -> Gate {
        let free = self.open & !(self.exhausted & (self.wanting | self.drained));
        if !self.queue.is_ready(slot) {
            return gate.with_slots(gate.heard.slots & free);
        }
        let background = self.open & self.exhausted & self.yielding;
        Gate::OPEN.with_slots(free | gate.heard.slots & background)
    }

    /// Returns when a limit ends the execution of the slot that was chosen last: its budget, or a window's edge.
    fn ends(&self) -> u64 {
        let edge = self.windows.as_ref().map_or(NEVER, Windows::edge);
        let Some((slot, since)) = self.running else {
            return edge;
        };
        match self.budgets.get(slot.index()) {
            Some(Some(budget)) if self.exhausted & bit(slot) == 0 => {
                edge.min(budget.lasts_until(since))
            }
            _ => edge,
        }
    }

    /// Returns when a limit, or the background, has something to do while nobody executes. The edges of windows are left
    /// out while nobody waits for one.
    pub fn idle_due(&self) -> u64 {
        let background = self.deadlines.earliest();
        let Some(windows) = &self.windows else {
            return background;
        };
        if self.wanting & !self.open != 0 {
            return background.min(windows.edge());
        }
        let mut due = background;
        let mut waiting = self.timed & !self.open;
        while waiting != 0 {
            let wake = self.wake(Slot(waiting.trailing_zeros() as u8));
            due = due.min(wake.max(windows.edge()));
            waiting &= waiting - 1;
        }
        due
    }

    /// Says whether no limit holds for a slot now, so that its place is in front.
    #[inline(always)]
    fn is_in_front(&self, slot: Slot) -> bool {
        self.open & !self.exhausted & bit(slot) != 0
    }

    /// Puts a slot where it belongs, in the queues and in the trees.
    fn place(&mut self, slot: Slot, front: &mut Front) {
        let open = self.open & bit(slot) != 0;
        let wants = self.wanting & bit(slot) != 0;
        let exhausted = self.exhausted & bit(slot) != 0;
        let background = open && exhausted && self.yielding & bit(slot) != 0;
        enqueue(front.queue, slot, wants && open && !exhausted);
        enqueue(&mut self.queue, slot, wants && background);
        let waits = wants || self.drained & bit(slot) != 0;
        let wake = self.wake(slot);
        let due = match (open, exhausted, waits) {
            (false, ..) => NEVER,
            (true, false, _) => wake,
            (true, true, true) => self.replenished_at(slot),
            (true, true, false) => wake.max(self.replenished_at(slot)),
        };
        front.deadlines.set(slot, due);
        self.deadlines
            .set(slot, if background { wake } else { NEVER });
    }

    fn wake(&self, slot: Slot) -> u64 {
        self.wakes.get(slot.index()).copied().unwrap_or(NEVER)
    }

    fn replenished_at(&self, slot: Slot) -> u64 {
        match self.budgets.get(slot.index()) {
            Some(Some(budget)) => budget.replenished_at(),
            _ => 0,
        }
    }
}

/// Puts a slot into a queue or takes it out; one that is there already keeps its place.
#[inline(never)]
fn enqueue(queue: &mut RunQueue, slot: Slot, there: bool) {
    if there {
        queue.make_ready(slot);
    } else {
        queue.block(slot);
    }
}

/// Returns a slot's bit.
fn bit(slot: Slot) -> u64 {
    1u64.checked_shl(slot.0.into()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
