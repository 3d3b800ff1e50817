//! The life of a partition: loading, running, stopping, and what follows.
//!
//! A partition stops one vCPU at a time, each on its own pCPU; the last one to leave tears it down and carries out what
//! was asked. The caller holds the partition's lock.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod crash;

use crate::device::manager::Order;
use crate::ids::VcpuId;

/// What follows when all vCPUs of a partition have left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It stays stopped.
    Stop,
    /// It is loaded and started again.
    Restart,
}

/// Where a partition is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing of it runs.
    Stopped,
    /// Its memory is being filled, by vCPU 0's pCPU at vCPU 0's priority.
    Loading,
    /// Its vCPUs run as PSCI says.
    Running,
    /// Its vCPUs leave, and the last one tears it down.
    Stopping(After),
}

/// What follows from an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing: it is so already, or will be.
    Nothing,
    /// The vCPUs of the mask are asked to leave.
    Leave(u16, After),
    /// vCPU 0's pCPU begins to load.
    Load,
}

/// Why an order is not followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It was started already.
    Runs,
    /// It is still stopping.
    Stops,
}

/// How often a partition was restarted because of a fault or of its silence.
#[derive(Clone, Copy, Debug, Default)]
pub struct Restarts {
    /// When the current window began, in ticks.
    since: u64,
    /// Restarts since then.
    count: u32,
    /// The life that was counted last, by [`Lifecycle::starts`].
    life: u32,
}

impl Restarts {
    /// Counts the end of a life, once: two of its vCPUs may fault at the same time. Says what follows: a stop when there are more
    /// than `limit` `within` a number of ticks.
    pub const fn count(&mut self, life: u32, now: u64, within: u64, limit: u32) -> After {
        if self.life != life {
            self.life = life;
            if now.wrapping_sub(self.since) > within {
                self.since = now;
                self.count = 0;
            }
            self.count = self.count.saturating_add(1);
        }
        match self.count > limit {
            true => After::Stop,
            false => After::Restart,
        }
    }
}

/// The state machine.
#[derive(Clone, Copy, Debug)]
pub struct Lifecycle {
    phase: Phase,
    /// Bit n: vCPU n has not left yet.
    leaving: u16,
    vcpus: u8,
    starts: u32,
}

impl Lifecycle {
    /// Makes a stopped partition with a number of vCPUs, 1..=16.
    pub const fn new(vcpus: u8) -> Self {
        Self {
            phase: Phase::Stopped,
            leaving: 0,
            vcpus,
            starts: 0,
        }
    }

    /// Returns where the partition is.
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Returns how often it was started. Behind `u32::MAX` comes 2: 1 is the first time, before which nobody left anything.
    pub const fn starts(&self) -> u32 {
        self.starts
    }

    /// Begins to load a stopped partition; vCPU 0's pCPU does the work. Returns false when it is not stopped.
    pub const fn start(&mut self) -> bool {
        let stopped = matches!(self.phase, Phase::Stopped);
        if stopped {
            self.phase = Phase::Loading;
            self.starts = match self.starts {
                u32::MAX => 2,
                starts => starts + 1,
            };
        }
        stopped
    }

    /// Ends the loading. Returns false when a stop came in between.
    pub const fn loaded(&mut self) -> bool {
        let loading = matches!(self.phase, Phase::Loading);
        if loading {
            self.phase = Phase::Running;
        }
        loading
    }

    /// Asks all vCPUs to leave but the `absent` ones, whose pCPUs never came up: they have nothing to leave. Returns the
    /// mask of those that are asked, which may be empty; `None` when the partition is stopped or leaving already. A stop
    /// then wins over a restart.
    pub const fn leave(&mut self, after: After, absent: u16) -> Option<u16> {
        match self.phase {
            Phase::Loading | Phase::Running => {
                self.phase = Phase::Stopping(after);
                self.leaving = ((1u32 << self.vcpus) - 1) as u16 & !absent;
                Some(self.leaving)
            }
            Phase::Stopping(After::Restart) if matches!(after, After::Stop) => {
                self.phase = Phase::Stopping(After::Stop);
                None
            }
            Phase::Stopping(_) | Phase::Stopped => None,
        }
    }

    /// Does what a manager orders. `absent` are the vCPUs whose pCPUs never came up.
    ///
    /// # Errors
    /// [`Refusal::Runs`] for a start of what runs or loads; [`Refusal::Stops`] for a start while it stops, and for a restart
    /// while it stops for good.
    pub const fn obey(&mut self, order: Order, absent: u16) -> Result<Deed, Refusal> {
        let after = match order {
            Order::Restart => After::Restart,
            Order::Stop | Order::Start => After::Stop,
        };
        match (order, self.phase) {
            (Order::Stop, Phase::Stopped) | (Order::Restart, Phase::Stopping(After::Restart)) => {
                Ok(Deed::Nothing)
            }
            (Order::Start | Order::Restart, Phase::Stopped) => {
                self.start();
                Ok(Deed::Load)
            }
            (Order::Start, Phase::Loading | Phase::Running) => Err(Refusal::Runs),
            (Order::Start | Order::Restart, Phase::Stopping(_)) => Err(Refusal::Stops),
            (Order::Stop | Order::Restart, _) => match self.leave(after, absent) {
                Some(leaving) => Ok(Deed::Leave(leaving, after)),
                None => Ok(Deed::Nothing),
            },
        }
    }

    /// Returns STATE of [`crate::device::manager`], but for the watchdog.
    pub const fn word(&self) -> u64 {
        let phase = match self.phase {
            Phase::Stopped => 0,
            Phase::Loading => 1,
            Phase::Running => 2,
            Phase::Stopping(After::Stop) => 3,
            Phase::Stopping(After::Restart) => 4,
        };
        phase | (self.vcpus as u64) << 8 | (self.starts as u64) << 32
    }

    /// Notes that a vCPU has left its pCPU. Returns whether it was the last one: the caller tears the partition down
    /// then, and ends that by [`Self::ended`].
    #[must_use]
    pub fn left(&mut self, vcpu: VcpuId) -> bool {
        let bit = 1u16.checked_shl(vcpu.0.into()).unwrap_or(0);
        let leaves = self.leaving & bit != 0;
        self.leaving &= !bit;
        leaves && self.leaving == 0
    }

    /// Ends the tear-down: the partition is stopped. Returns what follows; what was asked for last counts. `None` when
    /// there was no tear-down.
    pub const fn ended(&mut self) -> Option<After> {
        let Phase::Stopping(after) = self.phase else {
            return None;
        };
        if self.leaving != 0 {
            return None;
        }
        self.phase = Phase::Stopped;
        Some(after)
    }

    /// Says whether a vCPU is asked to leave and has not left yet.
    pub fn must_leave(&self, vcpu: VcpuId) -> bool {
        self.leaving & 1u16.checked_shl(vcpu.0.into()).unwrap_or(0) != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Lifecycle {
        let mut life = Lifecycle::new(2);
        assert!(life.start() && life.loaded());
        life
    }

    #[test]
    fn last_vcpu_to_leave_carries_out_the_restart() {
        let mut life = running();
        assert_eq!(life.leave(After::Restart, 0), Some(0b11));
        assert!(!life.left(VcpuId(1)));
        assert!(!life.left(VcpuId(1)), "only once");
        assert_eq!(life.ended(), None, "one is still there");
        assert!(life.left(VcpuId(0)));
        assert!(!life.left(VcpuId(0)), "only once");
        assert_eq!(life.phase(), Phase::Stopping(After::Restart));
        assert!(!life.start(), "not before it was torn down");
        assert_eq!(life.ended(), Some(After::Restart));
        assert_eq!(life.ended(), None, "only once");
        assert_eq!(life.phase(), Phase::Stopped);
        assert!(life.start());
        assert_eq!(life.starts(), 2);
    }

    #[test]
    fn second_request_asks_nobody_again() {
        let mut life = running();
        life.leave(After::Restart, 0);
        assert_eq!(life.leave(After::Restart, 0), None);
    }

    #[test]
    fn a_restart_does_not_undo_a_stop_nor_a_second_one_make_it() {
        for (first, second) in [
            (After::Stop, After::Restart),
            (After::Restart, After::Restart),
        ] {
            let mut life = running();
            life.leave(first, 0);
            assert_eq!(life.leave(second, 0), None);
            assert!(!life.left(VcpuId(0)) && life.left(VcpuId(1)));
            assert_eq!(life.ended(), Some(first));
        }
    }

    #[test]
    fn stop_wins_over_restart() {
        let mut life = running();
        life.leave(After::Restart, 0);
        assert_eq!(life.leave(After::Stop, 0), None);
        assert!(!life.left(VcpuId(0)) && life.left(VcpuId(1)));
        assert_eq!(life.ended(), Some(After::Stop));
    }

    #[test]
    fn stop_wins_over_restart_even_during_the_tear_down() {
        let mut life = running();
        life.leave(After::Restart, 0);
        assert!(!life.left(VcpuId(0)) && life.left(VcpuId(1)));
        assert_eq!(
            life.leave(After::Stop, 0),
            None,
            "there is nobody left to ask"
        );
        assert!(!life.must_leave(VcpuId(1)));
        assert_eq!(life.ended(), Some(After::Stop));
    }

    #[test]
    fn stop_while_loading_keeps_it_from_running() {
        let mut life = Lifecycle::new(16);
        life.start();
        assert_eq!(life.leave(After::Stop, 0), Some(0xffff));
        assert!(!life.loaded());
        assert!(life.must_leave(VcpuId(15)));
    }

    #[test]
    fn orders_are_followed_or_refused_by_phase() {
        let mut life = Lifecycle::new(2);
        assert_eq!(life.obey(Order::Stop, 0), Ok(Deed::Nothing));
        assert_eq!(life.obey(Order::Start, 0), Ok(Deed::Load));
        assert_eq!((life.phase(), life.starts()), (Phase::Loading, 1));
        assert_eq!(life.obey(Order::Start, 0), Err(Refusal::Runs));
        assert!(life.loaded());
        assert_eq!(life.obey(Order::Start, 0), Err(Refusal::Runs));
        assert_eq!(
            life.obey(Order::Restart, 0),
            Ok(Deed::Leave(0b11, After::Restart))
        );
        assert_eq!(life.obey(Order::Restart, 0), Ok(Deed::Nothing));
        assert_eq!(life.obey(Order::Start, 0), Err(Refusal::Stops));
        assert_eq!(life.obey(Order::Stop, 0), Ok(Deed::Nothing));
        assert_eq!(life.phase(), Phase::Stopping(After::Stop));
        assert_eq!(life.obey(Order::Restart, 0), Err(Refusal::Stops));
        assert!(!life.left(VcpuId(0)) && life.left(VcpuId(1)));
        assert_eq!(life.ended(), Some(After::Stop));
        assert_eq!(life.obey(Order::Restart, 0), Ok(Deed::Load));
        assert_eq!(
            life.obey(Order::Stop, 0),
            Ok(Deed::Leave(0b11, After::Stop))
        );
    }

    #[test]
    fn word_shows_phase_vcpus_and_starts() {
        let mut life = Lifecycle::new(2);
        assert_eq!(life.word(), 0x200);
        life.start();
        assert_eq!(life.word(), 0x1_0000_0201);
        life.loaded();
        assert_eq!(life.word(), 0x1_0000_0202);
        life.leave(After::Restart, 0);
        assert_eq!(life.word(), 0x1_0000_0204);
        life.leave(After::Stop, 0);
        assert_eq!(life.word(), 0x1_0000_0203);
    }

    #[test]
    fn no_later_start_is_ever_taken_for_the_first() {
        let mut life = Lifecycle::new(1);
        life.starts = u32::MAX - 1;
        for _ in 0..4 {
            assert!(life.start());
            assert!(life.starts() > 1, "what is left of a life would stay");
            life.leave(After::Restart, 1);
            life.ended();
        }
    }

    #[test]
    fn restarts_are_counted_within_their_window() {
        let mut restarts = Restarts::default();
        let mut at = |life, now| restarts.count(life, now, 100, 2);
        assert_eq!([at(1, 1000), at(2, 1050)], [After::Restart; 2]);
        assert_eq!(at(3, 1100), After::Stop);
        assert_eq!([at(4, 1101), at(5, 1201)], [After::Restart; 2]);
        assert_eq!(at(6, 1201), After::Stop);
    }

    #[test]
    fn two_vcpus_that_fault_at_once_are_one_restart() {
        let mut restarts = Restarts::default();
        for life in 1..=2 {
            assert_eq!(restarts.count(life, 1000, 100, 2), After::Restart);
            assert_eq!(restarts.count(life, 1001, 100, 2), After::Restart);
        }
        assert_eq!(restarts.count(3, 1002, 100, 2), After::Stop);
        // The other one comes when the window has ended.
        assert_eq!(restarts.count(3, 1200, 100, 2), After::Stop);
    }

    #[test]
    fn those_that_never_came_have_nothing_to_leave() {
        let mut life = Lifecycle::new(3);
        life.start();
        assert_eq!(life.leave(After::Restart, 0b110), Some(0b001));
        assert!(!life.must_leave(VcpuId(1)));
        assert!(life.left(VcpuId(0)), "it is the last one");
        assert_eq!(life.ended(), Some(After::Restart));
        life.start();
        assert_eq!(life.leave(After::Stop, 0b111), Some(0), "nobody is there");
        assert_eq!(life.ended(), Some(After::Stop));
    }

    #[test]
    fn stopped_partition_cannot_leave() {
        assert_eq!(Lifecycle::new(1).leave(After::Stop, 0), None);
        assert!(!Lifecycle::new(1).left(VcpuId(0)));
        assert_eq!(Lifecycle::new(1).ended(), None);
    }
}
