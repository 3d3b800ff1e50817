//! What must come of each interrupt of a partition, and what may: no list registers, no lists, no order of folds.

use std::collections::{BTreeMap, BTreeSet};

/// One cause of interrupts as a guest sees it: whose it is (an SPI is nobody's), INTID, and who sent it, for an SGI of GICv2.
pub type Cause = (Option<u8>, u16, u8);
/// One interrupt: whose it is, and INTID.
pub type Line = (Option<u8>, u16);

/// Returns the interrupt of a cause.
pub fn line_of(cause: Cause) -> Line {
    (cause.0, cause.1)
}

/// Returns how a vCPU names an interrupt.
pub fn line(vcpu: u8, intid: u16) -> Line {
    ((intid < 32).then_some(vcpu), intid)
}

/// What is known of an active state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Active {
    /// As guests left it.
    Known(bool),
    /// Written, and nobody took or ended the interrupt since.
    Written(bool),
    /// Written and taken or ended at about the same time.
    Raced,
}

/// What a cause came to.
#[derive(Clone, Copy, Debug, Default)]
struct Debt {
    /// It came since the guest took the interrupt last, and nobody took it back.
    must: bool,
    /// How often it came and was not taken.
    may: u32,
}

/// The account of a partition's interrupts.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    debts: BTreeMap<Cause, Debt>,
    active: BTreeMap<Line, Active>,
    /// Which vCPU has which interrupt in hand.
    hands: BTreeMap<Line, u8>,
    /// Lines of emulated devices.
    pub lines: BTreeMap<Line, bool>,
    /// Those that were high since all was settled last.
    high: BTreeSet<Line>,
    /// Those whose end is not seen yet.
    late: BTreeSet<Line>,
}

impl Ledger {
    /// An interrupt's cause came to EL2.
    pub fn cause(&mut self, cause: Cause) {
        let debt = self.debts.entry(cause).or_default();
        debt.must = true;
        debt.may += 1;
    }

    /// The line of an emulated device moves.
    pub fn drive(&mut self, line: Line, level: bool) {
        self.lines.insert(line, level);
        if level {
            self.high.insert(line);
        }
    }

    /// Somebody takes the pending states of a line back.
    pub fn forgive(&mut self, line: Line) {
        for (cause, debt) in &mut self.debts {
            if line_of(*cause) == line {
                debt.must = false;
            }
        }
    }

    /// A vCPU takes an interrupt. Returns false when one had it in hand, and somebody cleared that at about the same time.
    pub fn take(&mut self, vcpu: u8, cause: Cause) -> bool {
        let line = line_of(cause);
        let holder = self.hands.insert(line, vcpu);
        let raced = self.active.get(&line) == Some(&Active::Raced);
        assert!(
            holder.is_none() || raced,
            "{line:?} is active on vCPUs {vcpu} and {holder:?}"
        );
        let debt = self.debts.entry(cause).or_default();
        let by_line = self.high.contains(&line);
        assert!(debt.may > 0 || by_line, "{cause:?} came from nowhere");
        // Who pends one that its line shows already may have come behind the acknowledge, for all that EL2 can tell: once more.
        if !by_line {
            debt.may = debt.may.saturating_sub(1);
        }
        debt.must = false;
        self.moved(line, true);
        holder.is_none()
    }

    /// A vCPU ends an interrupt that it has in hand.
    pub fn end(&mut self, vcpu: u8, line: Line) {
        assert_eq!(self.hands.remove(&line), Some(vcpu));
        if self.lines.get(&line) == Some(&true) {
            self.high.insert(line);
        }
        self.moved(line, false);
    }

    /// An end of an interrupt is not seen before others may write its active state.
    pub fn ends_late(&mut self, line: Line) {
        self.late.insert(line);
    }

    /// A guest took or ended an interrupt.
    fn moved(&mut self, line: Line, active: bool) {
        let state = self.active.entry(line).or_insert(Active::Known(false));
        *state = match *state {
            Active::Known(_) => Active::Known(active),
            Active::Written(_) | Active::Raced => Active::Raced,
        };
    }

    /// Somebody writes an active state, at once or in pieces. Whoever had the interrupt in hand has it no more when it is
    /// cleared.
    pub fn write_active(&mut self, line: Line, active: bool, whole: bool) {
        let state = match whole && !self.late.contains(&line) {
            true => Active::Written(active),
            false => Active::Raced,
        };
        self.active.insert(line, state);
        if !active {
            self.hands.remove(&line);
        }
    }

    /// Says whether any vCPU, or this one, has an interrupt in hand.
    pub fn holder(&self, line: Line) -> Option<u8> {
        self.hands.get(&line).copied()
    }

    /// All is settled, and a cause is shown as pending or not.
    pub fn settle_pending(&mut self, cause: Cause, pending: bool) {
        let line = line_of(cause);
        let debt = self.debts.entry(cause).or_default();
        assert!(!debt.must || pending, "{cause:?} was lost: {debt:?}");
        let by_line = self.lines.get(&line) == Some(&true);
        assert!(
            !pending || by_line || debt.may > 0,
            "{cause:?} is pending by nobody"
        );
        if !by_line {
            self.high.remove(&line);
        }
        if !pending {
            debt.may = 0;
        }
    }

    /// All is settled, and an interrupt is shown as active or not. Returns false when it was taken at about the time at which
    /// somebody cleared it, and that came later: nobody has it in hand any more.
    pub fn settle_active(&mut self, line: Line, shown: bool) -> bool {
        let state = self.active.entry(line).or_insert(Active::Known(false));
        self.late.remove(&line);
        let raced = *state == Active::Raced;
        let known = match *state {
            Active::Known(known) | Active::Written(known) => known,
            Active::Raced => shown,
        };
        assert_eq!(shown, known, "{line:?} active");
        *state = Active::Known(shown);
        let held = self.hands.contains_key(&line);
        assert!(!held || shown || raced, "{line:?} is in hand");
        if held && !shown {
            self.hands.remove(&line);
        }
        shown || !held
    }
}
