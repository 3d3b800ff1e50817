//! The EL1 physical timer of one vCPU, kept in software: the real one is EL2's to give and no guest needs it.

/// A register of the EL1 physical timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerRegister {
    /// `CNTP_CTL_EL0`.
    Control,
    /// `CNTP_CVAL_EL0`.
    CompareValue,
    /// `CNTP_TVAL_EL0`.
    TimerValue,
}

/// `CNTP_CTL_EL0.ENABLE`.
const ENABLE: u64 = 1 << 0;
/// `CNTP_CTL_EL0.IMASK`.
const IMASK: u64 = 1 << 1;
/// `CNTP_CTL_EL0.ISTATUS`.
const ISTATUS: u64 = 1 << 2;

/// The timer's registers. `now` is `CNTPCT_EL0` as the guest sees it, in ticks.
///
/// # Source
/// Arm DDI 0487, "The Generic Timer in AArch64 state", and register pages `CNTP_*_EL0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysicalTimer {
    compare: u64,
    control: u64,
    /// The level that was told last.
    told: bool,
}

impl PhysicalTimer {
    /// Returns the timer after a reset: off.
    pub const fn new() -> Self {
        Self {
            compare: 0,
            control: 0,
            told: false,
        }
    }

    /// Returns what a guest reads.
    pub const fn read(&self, register: TimerRegister, now: u64) -> u64 {
        match register {
            TimerRegister::Control if self.is_due(now) => self.control | ISTATUS,
            TimerRegister::Control => self.control,
            TimerRegister::CompareValue => self.compare,
            TimerRegister::TimerValue => self.compare.wrapping_sub(now) & 0xffff_ffff,
        }
    }

    /// Takes a guest's write. The caller then sets the interrupt's level by [`Self::settle`] and arms
    /// [`Self::deadline`].
    pub const fn write(&mut self, register: TimerRegister, value: u64, now: u64) {
        match register {
            TimerRegister::Control => self.control = value & (ENABLE | IMASK),
            TimerRegister::CompareValue => self.compare = value,
            TimerRegister::TimerValue => {
                self.compare = now.wrapping_add(value as u32 as i32 as i64 as u64);
            }
        }
    }

    /// Returns the level of the timer's interrupt (PPI 30), which the caller tells the vGIC.
    pub const fn settle(&mut self, now: u64) -> bool {
        self.told = self.is_due(now) && self.control & IMASK == 0;
        self.told
    }

    /// Returns the tick at which the interrupt's level rises, past or to come, or `None` when the vGIC was told that it is
    /// high or it cannot rise. A rise that nobody has told of stays a deadline, whatever the time.
    pub const fn deadline(&self) -> Option<u64> {
        if self.control & (ENABLE | IMASK) == ENABLE && !self.told {
            Some(self.compare)
        } else {
            None
        }
    }

    /// Says whether the timer is enabled and its condition is met.
    const fn is_due(&self, now: u64) -> bool {
        self.control & ENABLE != 0 && now >= self.compare
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_value_is_a_signed_distance() {
        let mut timer = PhysicalTimer::new();
        timer.write(TimerRegister::TimerValue, 100, 1000);
        assert_eq!(timer.read(TimerRegister::CompareValue, 1000), 1100);
        assert_eq!(timer.read(TimerRegister::TimerValue, 1101), 0xffff_ffff);
        timer.write(TimerRegister::TimerValue, 0xffff_fff6, 1000);
        assert_eq!(timer.read(TimerRegister::CompareValue, 1000), 990);
    }

    #[test]
    fn line_follows_the_deadline_and_the_mask() {
        let mut timer = PhysicalTimer::new();
        timer.write(TimerRegister::CompareValue, 500, 0);
        assert_eq!((timer.settle(600), timer.deadline()), (false, None));
        timer.write(TimerRegister::Control, 1, 0);
        assert_eq!((timer.settle(499), timer.deadline()), (false, Some(500)));
        assert_eq!((timer.settle(500), timer.deadline()), (true, None));
        timer.write(TimerRegister::Control, 0xff, 0);
        assert_eq!(timer.read(TimerRegister::Control, 500), 7);
        assert_eq!(timer.read(TimerRegister::Control, 499), 3);
        assert_eq!((timer.settle(500), timer.deadline()), (false, None));
    }

    #[test]
    fn a_rise_that_nobody_told_of_stays_a_deadline() {
        let mut timer = PhysicalTimer::new();
        timer.write(TimerRegister::CompareValue, 500, 0);
        timer.write(TimerRegister::Control, 1, 0);
        assert!(!timer.settle(0));
        // The world switch asks at 600, after who chose had looked at 499.
        assert_eq!(timer.deadline(), Some(500));
        assert!(timer.settle(600));
        assert_eq!(timer.deadline(), None);
    }
}
