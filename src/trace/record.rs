//! One record: what it says, and its two words.

use crate::sched::Slot;

/// A number of ticks that is not known.
pub const UNKNOWN: u32 = u32::MAX;
/// Bits 7:0 of a record of an interrupt that came.
pub(super) const INTERRUPT: u8 = 6;
/// In a record: no vCPU.
const NO_SLOT: u8 = 0xff;

/// Shortens a function identifier of SMCCC: its owner in bits 15:10, its number in bits 9:0.
pub const fn call(identifier: u64) -> u16 {
    ((identifier >> 24 & 0x3f) << 10 | identifier & 0x3ff) as u16
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// From here on the pCPU works for the slot's vCPU: it was chosen to run.
    Run,
    /// The same, to fill its partition's memory or to tear it down.
    Load,
    /// The pCPU sleeps.
    Idle,
    /// It woke, this interrupt being the most urgent one.
    Awake {
        /// INTID.
        intid: u16,
    },
    /// The vCPU did something that EL2 answers.
    Trap {
        /// `ESR_EL2`, lower half.
        syndrome: u32,
        /// The guest's w0 as [`call`] shortens it: which call it was.
        call: u16,
    },
    /// An interrupt came while the vCPU ran.
    Interrupt {
        /// INTID of the most urgent one.
        intid: u16,
        /// Ticks since the virtual timer's deadline when it is that one, else [`UNKNOWN`].
        late: u32,
    },
    /// An SError came while the vCPU ran.
    SError,
    /// EL2 returns to the guest.
    Enter,
    /// It returns with a virtual interrupt pending that was not so before.
    Inject {
        /// INTID.
        intid: u16,
        /// Ticks since the virtual timer's deadline when it is that one, else [`UNKNOWN`].
        late: u32,
    },
    /// The vCPU wants to run.
    Wake,
    /// The vCPU waits.
    Block,
    /// Something about the vCPU's budget.
    Budget {
        /// What.
        event: BudgetEvent,
        /// Ticks that it has left.
        left: u32,
    },
}

/// What happened to a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetEvent {
    /// It is used up.
    Exhausted,
    /// Some of it came back.
    Replenished,
}

impl What {
    /// Returns bits 7:0, 31:16 and 63:32 of a record.
    #[inline(always)]
    const fn fields(self) -> (u8, u16, u32) {
        match self {
            Self::Run => (1, 0, 0),
            Self::Load => (2, 0, 0),
            Self::Idle => (3, 0, 0),
            Self::Awake { intid } => (4, intid, 0),
            Self::Trap { syndrome, call } => (5, call, syndrome),
            Self::Interrupt { intid, late } => (INTERRUPT, intid, late),
            Self::SError => (7, 0, 0),
            Self::Enter => (8, 0, 0),
            Self::Inject { intid, late } => (9, intid, late),
            Self::Wake => (10, 0, 0),
            Self::Block => (11, 0, 0),
            Self::Budget { event, left } => (12, event as u16, left),
        }
    }

    /// Returns word 1 of a record: what happened, and to whom. Where that is known when this is compiled, it costs nothing.
    #[inline(always)]
    pub const fn word(self, slot: Option<Slot>) -> u64 {
        let (kind, short, long) = self.fields();
        let slot = match slot {
            Some(slot) => slot.0,
            None => NO_SLOT,
        };
        kind as u64 | (slot as u64) << 8 | (short as u64) << 16 | (long as u64) << 32
    }

    /// Reads what [`Self::fields`] wrote; `None` for what it never writes.
    const fn from_fields(kind: u8, short: u16, long: u32) -> Option<Self> {
        Some(match kind {
            1 => Self::Run,
            2 => Self::Load,
            3 => Self::Idle,
            4 => Self::Awake { intid: short },
            5 => Self::Trap {
                syndrome: long,
                call: short,
            },
            INTERRUPT => Self::Interrupt {
                intid: short,
                late: long,
            },
            7 => Self::SError,
            8 => Self::Enter,
            9 => Self::Inject {
                intid: short,
                late: long,
            },
            10 => Self::Wake,
            11 => Self::Block,
            12 => Self::Budget {
                event: match short {
                    0 => BudgetEvent::Exhausted,
                    1 => BudgetEvent::Replenished,
                    _ => return None,
                },
                left: long,
            },
            _ => return None,
        })
    }
}

/// What happened, when, and to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// The counter, `CNTPCT_EL0`.
    pub ticks: u64,
    /// Whose it is.
    pub slot: Option<Slot>,
    /// What happened.
    pub what: What,
}

impl Record {
    /// Returns the record's two words.
    pub const fn words(self) -> [u64; 2] {
        [self.ticks, self.what.word(self.slot)]
    }

    /// Reads a record; `None` for words that no record has.
    pub const fn from_words([ticks, word]: [u64; 2]) -> Option<Self> {
        let what = What::from_fields(word as u8, (word >> 16) as u16, (word >> 32) as u32);
        let slot = match (word >> 8) as u8 {
            NO_SLOT => None,
            slot => Some(Slot(slot)),
        };
        match what {
            Some(what) => Some(Self { ticks, slot, what }),
            None => None,
        }
    }
}
