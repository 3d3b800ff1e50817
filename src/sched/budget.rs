//! A vCPU's budget: a sporadic server. A slice that began to execute at t is replenished at t + period.
//!
//! Two things hold, and are tested against a plain reference:
//!
//! * In any window of one period a vCPU executes at most its budget, and what EL2 lets it overrun: the time from the end
//!   of the budget until the timer's interrupt is served. An overrun is paid from the next replenishment.
//! * In any window of one period in which it wants to run and nobody more urgent does, it executes at least its budget,
//!   as long as the list of replenishments is not full.
//!
//! # Decisions
//! * A slice ends where execution does: with a preemption, a wait, the end of the budget. What the whole slice used comes
//!   back at once, one period after its start; spent one after the other, no unit of time comes back early. POSIX lets a
//!   server that waited keep its old start, which gives out more than the budget.
//! * The list is bounded. Slices that touch share an entry. When there is no room, the two neighbours join whose joint
//!   entry, at the later of their times, loses least: a full list loses time, and never gains any.
//!
//! Source: M. Stanovich, T. P. Baker, A.-I. A. Wang, M. González Harbour, "Defects of the POSIX Sporadic Server and How
//! to Correct Them", RTAS 2010.

/// Replenishments that a budget can have under way; a power of two.
pub const MAX_REFILLS: usize = 16;

/// Execution time that becomes available.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Refill {
    /// When, in ticks.
    at: u64,
    /// How much, in ticks.
    amount: u64,
}

/// The place of the last entry of a full list.
const LAST: usize = MAX_REFILLS - 1;
/// No entry.
const NOTHING: Refill = Refill { at: 0, amount: 0 };

/// A vCPU's budget. Times are ticks of the counter.
#[derive(Clone, Debug)]
pub struct Budget {
    budget: u64,
    period: u64,
    /// A ring, by time, and used up in this order. Together they are the whole budget; what is not available is under way.
    refills: [Refill; MAX_REFILLS],
    first: usize,
    count: usize,
}

impl Budget {
    /// Makes a budget that is full. It holds at least one tick, and no more than its period.
    pub fn new(budget: u64, period: u64) -> Self {
        let budget = budget.min(period).max(1);
        let full = Refill {
            at: 0,
            amount: budget,
        };
        Self {
            budget,
            period,
            refills: [full; MAX_REFILLS],
            first: 0,
            count: 1,
        }
    }

    /// Returns when there is something to spend: not later than now, unless the budget is exhausted.
    pub fn replenished_at(&self) -> u64 {
        self.refill(0).at
    }

    /// Says whether there is nothing to spend.
    pub fn is_exhausted(&self, now: u64) -> bool {
        self.replenished_at() > now
    }

    /// Returns when the budget ends if execution goes on from `start`.
    pub fn lasts_until(&self, start: u64) -> u64 {
        let mut end = start;
        for place in 0..self.count {
            let refill = self.refill(place);
            if refill.at > end {
                break;
            }
            end = end.saturating_add(refill.amount);
        }
        end
    }

    /// Pays for a slice of execution. Slices do not overlap and come in order.
    pub fn charge(&mut self, start: u64, end: u64) {
        // What goes beyond a whole budget is not carried on: the list would no longer say when the budget is full.
        let used = end.saturating_sub(start).min(self.budget);
        if used == 0 {
            return;
        }
        self.spend(used);
        self.join_available(end);
        let refill = Refill {
            at: start.saturating_add(self.period),
            amount: used,
        };
        self.replenish(refill);
    }

    /// Takes time from the front of the list.
    fn spend(&mut self, used: u64) {
        let mut left = used;
        while self.count != 0 {
            let Refill { at, amount } = self.refill(0);
            if amount > left {
                let amount = amount - left;
                return self.set(0, Refill { at, amount });
            }
            left -= amount;
            self.drop_first();
        }
    }

    /// Makes one entry of all that is available.
    fn join_available(&mut self, now: u64) {
        while self.count > 1 && self.refill(1).at <= now {
            let joins = self.refill(0);
            self.drop_first();
            self.add(0, joins.amount);
        }
    }

    /// Puts a slice's replenishment at the end of the list.
    fn replenish(&mut self, refill: Refill) {
        if self.count != 0 {
            let last = self.refill(self.count - 1);
            if last.at.saturating_add(last.amount) >= refill.at {
                // Before it can be spent, all that is in the last entry has to be, and by then its own time has come.
                return self.add(self.count - 1, refill.amount);
            }
        }
        if self.count == MAX_REFILLS {
            // Nobody has prepared for the slice: the last entry waits with it.
            self.add(LAST, refill.amount);
            let amount = self.refill(LAST).amount;
            return self.set(LAST, Refill { amount, ..refill });
        }
        self.set(self.count, refill);
        self.count += 1;
    }

    /// Makes sure that the slice that begins now has room in the list: joins the two neighbours that lose least by it. That is
    /// done before a slice, on its own time, rather than behind it, where somebody more urgent may wait.
    pub fn prepare(&mut self, now: u64) {
        if self.count < MAX_REFILLS {
            return;
        }
        let mut least = (u64::MAX, 0);
        let mut refill = self.refill(0);
        refill.at = refill.at.max(now); // when it is available, it can be spent from now on
        for place in 0..LAST {
            let next = self.refill(place + 1);
            let waits = next.at.saturating_sub(refill.at);
            let loss = waits.saturating_mul(refill.amount);
            if loss < least.0 {
                least = (loss, place);
            }
            refill = next;
        }
        let joins = self.refill(least.1);
        for place in (0..least.1).rev() {
            self.set(place + 1, self.refill(place));
        }
        self.drop_first();
        self.add(least.1, joins.amount);
    }

    fn drop_first(&mut self) {
        self.first = (self.first + 1) % MAX_REFILLS;
        self.count -= 1;
    }

    /// Adds time to an entry.
    fn add(&mut self, place: usize, more: u64) {
        let Refill { at, amount } = self.refill(place);
        let amount = amount + more;
        self.set(place, Refill { at, amount });
    }

    #[inline(always)]
    fn refill(&self, place: usize) -> Refill {
        let at = self.first.wrapping_add(place) % MAX_REFILLS;
        self.refills.get(at).copied().unwrap_or(NOTHING)
    }

    #[inline(always)]
    fn set(&mut self, place: usize, refill: Refill) {
        let at = self.first.wrapping_add(place) % MAX_REFILLS;
        if let Some(there) = self.refills.get_mut(at) {
            *there = refill;
        }
    }
}

#[cfg(test)]
mod tests;
