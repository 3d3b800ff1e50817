//! Budgets and time windows, which `bulkhead::sched::limits` keeps: where they meet the run queue, the deadlines and the
//! clock. A pCPU without either takes none of these ways.

use crate::events::Event;
use crate::hw::timer;
use crate::pcpu::{Activity, Pcpu};
use bulkhead::ids::PartitionId;
use bulkhead::sched::deadlines::NEVER;
use bulkhead::sched::limits::{Front, Limits};
use bulkhead::sched::{Gate, Slot};
use bulkhead::trace::{BudgetEvent, What};
use core::sync::atomic::Ordering;

impl Pcpu {
    /// Carries out something that depends on the limits, or, without any, on the run queue and the deadlines alone.
    #[inline(always)]
    fn ruled<R>(
        &mut self,
        limited: impl FnOnce(&mut Limits, &mut Front) -> R,
        plain: impl FnOnce(&mut Front) -> R,
    ) -> R {
        let mut front = Front {
            queue: &mut self.queue,
            deadlines: &mut self.deadlines,
        };
        match &mut self.limits {
            None => plain(&mut front),
            Some(limits) => limited(limits, &mut front),
        }
    }

    /// Notes that a vCPU wants to run.
    pub fn enqueue(&mut self, slot: Slot) {
        self.ruled(
            |limits, front| limits.make_ready(slot, front),
            |front| front.queue.make_ready(slot),
        );
    }

    /// Notes that a vCPU does not want to run.
    pub fn dequeue(&mut self, slot: Slot) {
        self.ruled(
            |limits, front| limits.block(slot, front),
            |front| front.queue.block(slot),
        );
    }

    /// Moves a vCPU behind its equals.
    #[inline(always)]
    pub fn rotate(&mut self, slot: Slot) {
        self.ruled(
            |limits, front| limits.rotate(slot, front),
            |front| front.queue.rotate(slot),
        );
    }

    /// Sets when a vCPU is to be woken.
    pub fn set_wake(&mut self, slot: Slot, at: u64) {
        self.ruled(
            |limits, front| limits.set_wake(slot, at, front),
            |front| front.deadlines.set(slot, at),
        );
    }

    /// Notes a vCPU's replenishment, if that is what is due.
    pub fn replenish(&mut self, slot: Slot, now: u64) -> bool {
        let left = self.ruled(|limits, front| limits.replenish(slot, now, front), |_| None);
        if let Some(left) = left {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let event = BudgetEvent::Replenished;
            self.trace(slot, What::Budget { event, left });
        }
        left.is_some()
    }

    /// Says whether an equal of a vCPU waits behind it.
    pub fn has_waiting_equal(&self, slot: Slot) -> bool {
        match &self.limits {
            None => self.queue.has_waiting_equal(slot),
            Some(limits) => limits.has_waiting_equal(slot, &self.queue),
        }
    }

    /// Begins a choice: charges who ran until now, and opens and closes windows. The first time in its life that a guest's
    /// budget ends before its work is a health event; further ones are counted.
    pub fn settle_limits(&mut self, now: u64) {
        let Some(slot) = self.ruled(|limits, front| limits.settle(now, front), |_| None) else {
            return;
        };
        let event = BudgetEvent::Exhausted;
        self.trace(slot, What::Budget { event, left: 0 });
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        if matches!(vcpu.activity, Activity::Loading(_)) {
            return; // its partition's memory takes as long as it takes
        }
        let (partition, id) = (vcpu.partition, vcpu.id);
        if partition.exhaustions.fetch_add(1, Ordering::Relaxed) == 0 {
            self.report(Event::Exhausted {
                partition: partition.id,
                vcpu: id,
            });
        }
    }

    /// Moves the rest of those that a window's edge opened or closed it for. Returns false when an interrupt came in
    /// between, after which the choice begins anew.
    #[inline(never)]
    pub fn end_crossing(&mut self) -> bool {
        while self
            .limits
            .as_ref()
            .is_some_and(|limits| limits.is_crossing())
        {
            if self.look_for_interrupts() {
                return false;
            }
            self.ruled(|limits, front| limits.go_on_crossing(front), |_| ());
        }
        true
    }

    /// Looks after somebody in the background whose deadline is over, if nobody more urgent runs there.
    pub fn wake_background(&mut self, now: u64) -> bool {
        let Some(limits) = &mut self.limits else {
            return false;
        };
        let behind = |slot: Slot| {
            let vcpu = self.vcpus.get(slot.index());
            vcpu.map_or(slot, |vcpu| vcpu.equals.1)
        };
        let Some(slot) = limits.expired(now, behind) else {
            return false;
        };
        self.for_slot(slot, |pcpu| pcpu.expire(slot, now));
        true
    }

    /// Ends a choice: who runs is the one in front, or one in the background, or nobody.
    pub fn run_within_limits(&mut self, front: Option<Slot>, now: u64) -> Option<Slot> {
        let limits = self.limits.as_mut()?;
        let chosen = front.or_else(|| limits.most_urgent());
        limits.run(chosen, now);
        chosen
    }

    /// Returns when limits have something to do while nobody runs.
    pub fn idle_limits_due(&self) -> u64 {
        self.limits
            .as_ref()
            .map_or(NEVER, |limits| limits.idle_due())
    }

    /// Returns when something is due while `slot` runs, limits included; `due` is what is due without them, `behind` the
    /// slot behind those that may interrupt it.
    pub fn limited(&self, slot: Slot, behind: Slot, due: u64) -> u64 {
        match &self.limits {
            None => due,
            Some(limits) => due.min(limits.due_while(slot, behind, &self.deadlines)),
        }
    }

    /// Returns what may interrupt `slot` with limits; `gate` is what may without them.
    pub fn limited_gate(&self, slot: Option<Slot>, gate: Gate) -> Gate {
        match (&self.limits, slot) {
            (Some(limits), Some(slot)) => limits.gate(slot, gate),
            _ => gate,
        }
    }

    /// [`Pcpu::on_account_of`] the partition of a vCPU that lives here, and on that one's budget, unless it is the one that
    /// runs.
    #[inline(always)]
    pub fn for_slot(&mut self, slot: Slot, work: impl FnOnce(&mut Self)) {
        let vcpu = self.vcpus.get(slot.index());
        let who = vcpu.map(|vcpu| vcpu.partition.id);
        let since = match &self.limits {
            None => None,
            Some(limits) => limits.pays_apart(slot).then(timer::now),
        };
        self.on_account_of(who, work);
        if let Some(since) = since {
            self.charge(slot, since);
        }
    }

    /// Charges a vCPU that does not run for what EL2 did for it since then.
    #[inline(never)]
    fn charge(&mut self, slot: Slot, since: u64) {
        let now = timer::now();
        self.ruled(
            |limits, front| limits.charge(slot, since, now, front),
            |_| (),
        );
    }

    /// Does something that an interrupt, a deadline or another pCPU asks for, a partition's or EL2's own. The running vCPU
    /// does not pay for it unless that is its own partition. What a vCPU makes EL2 do for others by its own acts is not
    /// for this.
    #[inline(always)]
    pub fn on_account_of(&mut self, who: Option<PartitionId>, work: impl FnOnce(&mut Self)) {
        let account = match &self.limits {
            None => None,
            Some(_) => self.open_account(who),
        };
        work(self);
        if let Some(account) = account {
            self.close_account(account);
        }
    }

    /// Begins work for somebody. When the running vCPU does not pay for it, returns when it began, and which slots are to
    /// be attended on that one's own account.
    #[inline(never)]
    fn open_account(&mut self, who: Option<PartitionId>) -> Option<(u64, u64)> {
        if self.pays_for(who) {
            return None;
        }
        Some((timer::now(), core::mem::take(&mut self.attend)))
    }

    /// Ends what [`Pcpu::open_account`] began. Whom the work woke is woken on the same account.
    #[inline(never)]
    fn close_account(&mut self, (since, attend): (u64, u64)) {
        self.attend_slots();
        self.attend = attend;
        let ticks = timer::now().wrapping_sub(since);
        if let Some(limits) = &mut self.limits {
            limits.forgive(ticks);
        }
    }

    /// Says whether the running vCPU pays for what is done for somebody, or nobody pays for anything now.
    fn pays_for(&self, who: Option<PartitionId>) -> bool {
        let Some(limits) = self.limits.as_ref().filter(|limits| !limits.is_choosing()) else {
            return false;
        };
        let pays = limits
            .charged()
            .and_then(|slot| self.vcpus.get(slot.index()));
        pays.is_none_or(|vcpu| Some(vcpu.partition.id) == who)
    }
}
