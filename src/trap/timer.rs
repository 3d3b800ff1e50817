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
}

impl PhysicalTimer {
    /// Returns the timer after a reset: off.
    pub const fn new() -> Self {
        Self {
            compare: 0,
            control: 0,
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

    /// Takes a guest's write. The caller then sets the interrupt's level by [`Self::line`] and arms
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

    /// Returns the level of the timer's interrupt (PPI 30).
    pub const fn line(&self, now: u64) -> bool {
        self.is_due(now) && self.control & IMASK == 0
    }

    /// Returns the tick at which the interrupt's level rises, or `None` when it is high or cannot rise.
    pub const fn deadline(&self, now: u64) -> Option<u64> {
        if self.control & (ENABLE | IMASK) == ENABLE && now < self.compare {
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
        assert_eq!((timer.line(600), timer.deadline(0)), (false, None));
        timer.write(TimerRegister::Control, 1, 0);
        assert_eq!((timer.line(499), timer.deadline(499)), (false, Some(500)));
        assert_eq!((timer.line(500), timer.deadline(500)), (true, None));
        timer.write(TimerRegister::Control, 0xff, 0);
        assert_eq!(timer.read(TimerRegister::Control, 500), 7);
        assert_eq!(timer.read(TimerRegister::Control, 499), 3);
        assert_eq!((timer.line(500), timer.deadline(0)), (false, None));
    }
}
