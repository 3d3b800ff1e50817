//! The life of a partition: loading, running, stopping, and what follows.
//!
//! A partition stops one vCPU at a time, each on its own pCPU; the last one to leave carries out what was asked. The
//! caller holds the partition's lock.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

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
    /// Its vCPUs leave.
    Stopping(After),
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

    /// Returns how often it was started.
    pub const fn starts(&self) -> u32 {
        self.starts
    }

    /// Begins to load a stopped partition; vCPU 0's pCPU does the work. Returns false when it is not stopped.
    pub const fn start(&mut self) -> bool {
        let stopped = matches!(self.phase, Phase::Stopped);
        if stopped {
            self.phase = Phase::Loading;
            self.starts = self.starts.wrapping_add(1);
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

    /// Asks all vCPUs to leave. Returns their mask, or 0 when the partition is stopped or leaving already; a stop then
    /// wins over a restart.
    pub const fn leave(&mut self, after: After) -> u16 {
        match self.phase {
            Phase::Loading | Phase::Running => {
                self.phase = Phase::Stopping(after);
                self.leaving = ((1u32 << self.vcpus) - 1) as u16;
                self.leaving
            }
            Phase::Stopping(After::Restart) if matches!(after, After::Stop) => {
                self.phase = Phase::Stopping(After::Stop);
                0
            }
            Phase::Stopping(_) | Phase::Stopped => 0,
        }
    }

    /// Notes that a vCPU has left its pCPU. Returns what follows when it was the last one: the partition is stopped
    /// then, and the caller tears it down before it starts it again.
    pub fn left(&mut self, vcpu: VcpuId) -> Option<After> {
        let Phase::Stopping(after) = self.phase else {
            return None;
        };
        let bit = 1u16.checked_shl(vcpu.0.into()).unwrap_or(0);
        if self.leaving & bit == 0 {
            return None;
        }
        self.leaving &= !bit;
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
        assert_eq!(life.leave(After::Restart), 0b11);
        assert_eq!(life.left(VcpuId(1)), None);
        assert_eq!(life.left(VcpuId(1)), None, "only once");
        assert_eq!(life.left(VcpuId(0)), Some(After::Restart));
        assert_eq!(life.phase(), Phase::Stopped);
        assert!(life.start());
        assert_eq!(life.starts(), 2);
    }

    #[test]
    fn second_request_asks_nobody_again() {
        let mut life = running();
        life.leave(After::Restart);
        assert_eq!(life.leave(After::Restart), 0);
    }

    #[test]
    fn stop_wins_over_restart() {
        let mut life = running();
        life.leave(After::Restart);
        assert_eq!(life.leave(After::Stop), 0);
        life.left(VcpuId(0));
        assert_eq!(life.left(VcpuId(1)), Some(After::Stop));
    }

    #[test]
    fn stop_while_loading_keeps_it_from_running() {
        let mut life = Lifecycle::new(16);
        life.start();
        assert_eq!(life.leave(After::Stop), 0xffff);
        assert!(!life.loaded());
        assert!(life.must_leave(VcpuId(15)));
    }

    #[test]
    fn stopped_partition_cannot_leave() {
        assert_eq!(Lifecycle::new(1).leave(After::Stop), 0);
        assert_eq!(Lifecycle::new(1).left(VcpuId(0)), None);
    }
}
