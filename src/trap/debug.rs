//! The self-hosted debug registers of one vCPU, kept in software until the guest really uses them.
//!
//! Every access traps (`MDCR_EL2.TDA`, `TDOSA`, `TDRA`): kernels write these registers at start-up and then leave
//! them alone. Only what a guest has armed is loaded into the hardware: the caller writes
//! [`DebugState::mdscr`] at every switch to the vCPU, and the comparators while
//! [`DebugState::uses_comparators`]. With `MDCR_EL2.TDE` = 0 nothing here can stop EL2.

use super::sysreg::SysReg;

/// Number of breakpoints, and of watchpoints, that every CPU has and a guest sees.
pub const COMPARATORS: usize = 2;

/// A debug register that a guest may touch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DebugRegister {
    /// `MDSCR_EL1`.
    SystemControl,
    /// `OSLAR_EL1`, write-only.
    OsLockAccess,
    /// `OSLSR_EL1`, read-only.
    OsLockStatus,
    /// `DBGBVR<n>_EL1`, n below [`COMPARATORS`].
    BreakpointValue(u8),
    /// `DBGBCR<n>_EL1`.
    BreakpointControl(u8),
    /// `DBGWVR<n>_EL1`.
    WatchpointValue(u8),
    /// `DBGWCR<n>_EL1`.
    WatchpointControl(u8),
    /// `DBGCLAIMSET_EL1`: reads give the implemented tags (all eight).
    ClaimSet,
    /// `DBGCLAIMCLR_EL1`: reads give the claimed tags.
    ClaimClear,
    /// Reads as zero, writes are ignored: the communication channel, `OSDLR_EL1`, `DBGPRCR_EL1`, `MDRAR_EL1`,
    /// `DBGAUTHSTATUS_EL1`, `OSECCR_EL1`.
    Zero,
}

impl DebugRegister {
    /// Names the debug register of an encoding with `Op0` 2, or returns `None` for one that does not exist, is
    /// another CPU feature's, or does not go in that direction.
    pub const fn decode(register: SysReg, write: bool) -> Option<Self> {
        let crm = register.crm();
        let (op1, crn, op2) = (register.op1(), register.crn(), register.op2());
        let n = crm as u8;
        Some(match (op1, crn, op2) {
            (0, 0, 2) => match crm {
                2 => Self::SystemControl,
                // OSDTRRX_EL1, OSDTRTX_EL1, OSECCR_EL1.
                0 | 3 | 6 => Self::Zero,
                _ => return None,
            },
            // MDCCINT_EL1.
            (0, 0, 0) if crm == 2 => Self::Zero,
            (0, 0, 4) if crm < COMPARATORS as u32 => Self::BreakpointValue(n),
            (0, 0, 5) if crm < COMPARATORS as u32 => Self::BreakpointControl(n),
            (0, 0, 6) if crm < COMPARATORS as u32 => Self::WatchpointValue(n),
            (0, 0, 7) if crm < COMPARATORS as u32 => Self::WatchpointControl(n),
            // MDRAR_EL1.
            (0, 1, 0) if crm == 0 && !write => Self::Zero,
            (0, 1, 4) => match (crm, write) {
                (0, true) => Self::OsLockAccess,
                (1, false) => Self::OsLockStatus,
                // OSDLR_EL1, DBGPRCR_EL1.
                (3 | 4, _) => Self::Zero,
                _ => return None,
            },
            (0, 7, 6) => match (crm, write) {
                (8, _) => Self::ClaimSet,
                (9, _) => Self::ClaimClear,
                // DBGAUTHSTATUS_EL1.
                (14, false) => Self::Zero,
                _ => return None,
            },
            // MDCCSR_EL0 (read-only), DBGDTR_EL0, DBGDTRRX_EL0 and DBGDTRTX_EL0.
            (3, 0, 0) => match (crm, write) {
                (1, false) | (4 | 5, _) => Self::Zero,
                _ => return None,
            },
            _ => return None,
        })
    }
}

/// A breakpoint or a watchpoint as the hardware is to have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Comparator {
    /// `DBGBVR<n>_EL1` or `DBGWVR<n>_EL1`.
    pub value: u64,
    /// `DBGBCR<n>_EL1` or `DBGWCR<n>_EL1`.
    pub control: u32,
}

/// `MDSCR_EL1`: software step, DCC trap for EL0, kernel debug enable, monitor debug enable.
const MDSCR_KEPT: u64 = MDSCR_SS | 1 << 12 | MDSCR_KDE | MDSCR_MDE;
const MDSCR_SS: u64 = 1 << 0;
const MDSCR_KDE: u64 = 1 << 13;
const MDSCR_MDE: u64 = 1 << 15;
/// `E`, `PMC`, `BAS`: an unlinked address match at EL1 or EL0.
const BREAKPOINT_KEPT: u32 = 0x01e7;
/// `BT`, `LBN`: context matching and linking, which are not offered.
const BREAKPOINT_LINK: u32 = 0x00ff_0000;
/// `E`, `PAC`, `LSC`, `BAS`, `MASK`.
const WATCHPOINT_KEPT: u32 = 0x1f00_1fff;
/// `WT`, `LBN`.
const WATCHPOINT_LINK: u32 = 0x001f_0000;
/// `E`.
const ENABLED: u32 = 1;
/// `OSLSR_EL1.OSLM`: an OS lock is implemented.
const OSLSR_OSLM: u64 = 1 << 3;
/// `OSLSR_EL1.OSLK`.
const OSLSR_OSLK: u64 = 1 << 1;

/// The debug registers of one vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebugState {
    /// Breakpoints, for the hardware while [`Self::uses_comparators`].
    pub breakpoints: [Comparator; COMPARATORS],
    /// Watchpoints, likewise.
    pub watchpoints: [Comparator; COMPARATORS],
    /// `MDSCR_EL1` as the guest has it, and as it is live.
    written: u64,
    mdscr: u64,
    claimed: u8,
    locked: bool,
}

impl DebugState {
    /// Returns the state after a reset: everything off, the OS lock taken.
    pub const fn new() -> Self {
        let off = Comparator {
            value: 0,
            control: 0,
        };
        Self {
            breakpoints: [off; COMPARATORS],
            watchpoints: [off; COMPARATORS],
            written: 0,
            mdscr: 0,
            claimed: 0,
            locked: true,
        }
    }

    /// Returns what a guest reads.
    pub fn read(&self, register: DebugRegister) -> u64 {
        match register {
            DebugRegister::SystemControl => self.written,
            DebugRegister::OsLockStatus if self.locked => OSLSR_OSLM | OSLSR_OSLK,
            DebugRegister::OsLockStatus => OSLSR_OSLM,
            DebugRegister::BreakpointValue(n) => at(&self.breakpoints, n).value,
            DebugRegister::BreakpointControl(n) => at(&self.breakpoints, n).control.into(),
            DebugRegister::WatchpointValue(n) => at(&self.watchpoints, n).value,
            DebugRegister::WatchpointControl(n) => at(&self.watchpoints, n).control.into(),
            DebugRegister::ClaimSet => 0xff,
            DebugRegister::ClaimClear => self.claimed.into(),
            DebugRegister::OsLockAccess | DebugRegister::Zero => 0,
        }
    }

    /// Takes a guest's write.
    pub fn write(&mut self, register: DebugRegister, value: u64) {
        match register {
            DebugRegister::SystemControl => self.written = value & MDSCR_KEPT,
            DebugRegister::OsLockAccess => self.locked = value & 1 != 0,
            DebugRegister::BreakpointValue(n) => {
                if let Some(comparator) = self.breakpoints.get_mut(usize::from(n)) {
                    comparator.value = value & !3;
                }
            }
            DebugRegister::BreakpointControl(n) => {
                let control = offered(value as u32, BREAKPOINT_KEPT, BREAKPOINT_LINK);
                if let Some(comparator) = self.breakpoints.get_mut(usize::from(n)) {
                    comparator.control = control;
                }
            }
            DebugRegister::WatchpointValue(n) => {
                if let Some(comparator) = self.watchpoints.get_mut(usize::from(n)) {
                    comparator.value = value & !3;
                }
            }
            DebugRegister::WatchpointControl(n) => {
                let control = offered(value as u32, WATCHPOINT_KEPT, WATCHPOINT_LINK);
                if let Some(comparator) = self.watchpoints.get_mut(usize::from(n)) {
                    comparator.control = control;
                }
            }
            DebugRegister::ClaimSet => self.claimed |= value as u8,
            DebugRegister::ClaimClear => self.claimed &= !(value as u8),
            DebugRegister::OsLockStatus | DebugRegister::Zero => {}
        }
        self.mdscr = match self.locked {
            // The OS lock stops debug exceptions; the hardware's own lock is not the guest's.
            true => self.written & !(MDSCR_SS | MDSCR_KDE | MDSCR_MDE),
            false => self.written,
        };
    }

    /// Returns what `MDSCR_EL1` is to hold while the vCPU runs.
    #[inline(always)]
    pub const fn mdscr(&self) -> u64 {
        self.mdscr
    }

    /// Says whether a breakpoint or a watchpoint can match, so that they must be in the hardware.
    pub fn uses_comparators(&self) -> bool {
        self.mdscr() & MDSCR_MDE != 0
            && self
                .breakpoints
                .iter()
                .chain(&self.watchpoints)
                .any(|comparator| comparator.control & ENABLED != 0)
    }
}

impl Default for DebugState {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a comparator by number; one that does not exist reads as off.
fn at(comparators: &[Comparator; COMPARATORS], n: u8) -> Comparator {
    comparators.get(usize::from(n)).copied().unwrap_or_default()
}

/// Cuts a control value to the fields on offer; a comparator that asks for linking is disabled.
const fn offered(value: u32, kept: u32, link: u32) -> u32 {
    if value & link != 0 {
        value & kept & !ENABLED
    } else {
        value & kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_lock_is_taken_at_reset_and_freed_by_the_guest() {
        let mut state = DebugState::new();
        assert_eq!(state.read(DebugRegister::OsLockStatus), 0b1010);
        state.write(DebugRegister::OsLockAccess, 0);
        assert_eq!(state.read(DebugRegister::OsLockStatus), 0b1000);
    }

    #[test]
    fn locked_vcpu_raises_no_debug_exception() {
        let mut state = DebugState::new();
        state.write(DebugRegister::SystemControl, u64::MAX);
        assert_eq!(state.read(DebugRegister::SystemControl), 0xb001);
        assert_eq!(state.mdscr(), 0x1000);
        state.write(DebugRegister::OsLockAccess, 0);
        assert_eq!(state.mdscr(), 0xb001);
    }

    #[test]
    fn comparators_are_live_when_enabled_and_unlocked() {
        let mut state = DebugState::new();
        // What Linux writes for a 4-byte user breakpoint: BAS 0xf, PMC EL0, E.
        state.write(DebugRegister::BreakpointControl(1), 0x1e5);
        state.write(DebugRegister::SystemControl, 0x8000);
        assert!(!state.uses_comparators());
        state.write(DebugRegister::OsLockAccess, 0);
        assert!(state.uses_comparators());
        assert_eq!(state.breakpoints[1].control, 0x1e5);
        state.write(DebugRegister::BreakpointControl(1), 0);
        assert!(!state.uses_comparators());
    }

    #[test]
    fn comparators_never_match_at_el2_and_never_link() {
        let mut state = DebugState::new();
        state.write(DebugRegister::BreakpointControl(0), 0xffff_ffff);
        assert_eq!(state.breakpoints[0].control, 0x1e6);
        // HMC and SSC, which select EL2, are dropped.
        state.write(DebugRegister::BreakpointControl(0), 0xe1e7);
        assert_eq!(state.breakpoints[0].control, 0x1e7);
        state.write(DebugRegister::WatchpointControl(0), 0x1f00_ffff);
        assert_eq!(state.watchpoints[0].control, 0x1f00_1fff);
        state.write(DebugRegister::WatchpointControl(0), 0x0010_0001);
        assert_eq!(state.watchpoints[0].control, 0);
    }

    #[test]
    fn comparators_watch_words() {
        let mut state = DebugState::new();
        for register in [
            DebugRegister::BreakpointValue(1),
            DebugRegister::WatchpointValue(1),
        ] {
            state.write(register, 0xffff_8000_1234_5677);
            assert_eq!(state.read(register), 0xffff_8000_1234_5674, "{register:?}");
        }
    }

    #[test]
    fn registers_exist_in_their_directions() {
        // (Op1, CRn, CRm, Op2), reads, writes.
        for (name, (op1, crn, crm, op2), read, write) in [
            ("OSDTRRX_EL1", (0, 0, 0, 2), true, true),
            ("MDCCINT_EL1", (0, 0, 2, 0), true, true),
            ("MDSCR_EL1", (0, 0, 2, 2), true, true),
            ("OSECCR_EL1", (0, 0, 6, 2), true, true),
            ("DBGBVR1_EL1", (0, 0, 1, 4), true, true),
            ("DBGBVR2_EL1", (0, 0, 2, 4), false, false),
            ("DBGBCR1_EL1", (0, 0, 1, 5), true, true),
            ("DBGBCR2_EL1", (0, 0, 2, 5), false, false),
            ("DBGWVR1_EL1", (0, 0, 1, 6), true, true),
            ("DBGWVR2_EL1", (0, 0, 2, 6), false, false),
            ("DBGWCR1_EL1", (0, 0, 1, 7), true, true),
            ("DBGWCR2_EL1", (0, 0, 2, 7), false, false),
            ("DBGWCR15_EL1", (0, 0, 15, 7), false, false),
            ("MDRAR_EL1", (0, 1, 0, 0), true, false),
            ("OSLAR_EL1", (0, 1, 0, 4), false, true),
            ("OSLSR_EL1", (0, 1, 1, 4), true, false),
            ("OSDLR_EL1", (0, 1, 3, 4), true, true),
            ("DBGPRCR_EL1", (0, 1, 4, 4), true, true),
            ("DBGCLAIMSET_EL1", (0, 7, 8, 6), true, true),
            ("DBGCLAIMCLR_EL1", (0, 7, 9, 6), true, true),
            ("DBGAUTHSTATUS_EL1", (0, 7, 14, 6), true, false),
            ("MDCCSR_EL0", (3, 0, 1, 0), true, false),
            ("DBGDTR_EL0", (3, 0, 4, 0), true, true),
            ("DBGDTRRX_EL0", (3, 0, 5, 0), true, true),
            ("DBGVCR32_EL2", (4, 0, 7, 0), false, false),
        ] {
            let register = SysReg::new(2, op1, crn, crm, op2);
            let exists = |write| DebugRegister::decode(register, write).is_some();
            assert_eq!((exists(false), exists(true)), (read, write), "{name}");
        }
    }

    #[test]
    fn claim_tags_set_and_clear() {
        let mut state = DebugState::new();
        state.write(DebugRegister::ClaimSet, 0x1a5);
        assert_eq!(state.read(DebugRegister::ClaimSet), 0xff);
        assert_eq!(state.read(DebugRegister::ClaimClear), 0xa5);
        state.write(DebugRegister::ClaimClear, 0x05);
        assert_eq!(state.read(DebugRegister::ClaimClear), 0xa0);
    }
}
