//! One step: a ticket of the lottery.

use crate::{access, actions, calls, controller, counts, power, registers, upkeep};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use guest_runtime::random::Random;
use guest_runtime::{gic, smp, sysreg, timer};

/// Rows of one kind.
pub struct Group {
    /// What they are.
    pub name: &'static str,
    /// A name for each.
    pub rows: &'static [&'static str],
    /// Tickets of each.
    pub tickets: u64,
    /// Does one.
    pub step: fn(&Fuzzer, usize),
}

/// All that a step can be.
pub static GROUPS: [Group; 8] = [
    Group {
        name: "form",
        rows: access::FORMS,
        tickets: 1,
        step: access::step,
    },
    Group {
        name: "controller",
        rows: controller::ROWS,
        tickets: 1,
        step: controller::step,
    },
    Group {
        name: "read",
        rows: registers::READ,
        tickets: 1,
        step: registers::read,
    },
    Group {
        name: "write",
        rows: registers::WRITTEN,
        tickets: 1,
        step: registers::write,
    },
    Group {
        name: "call",
        rows: calls::ROWS,
        tickets: 1,
        step: calls::step,
    },
    Group {
        name: "upkeep",
        rows: upkeep::ROWS,
        tickets: 1,
        step: upkeep::step,
    },
    Group {
        name: "action",
        rows: actions::ROWS,
        tickets: 1,
        step: actions::step,
    },
    Group {
        // Not every one is done: the first vCPU stays on, and never do all sleep.
        name: "power",
        rows: power::ROWS,
        tickets: 2,
        step: power::step,
    },
];

/// What of a vCPU lasts while it is off.
pub struct State {
    random: Random,
    /// Steps that it has done, and that it has to do.
    pub done: AtomicU64,
    steps: AtomicU64,
    /// It sleeps, or is off: others bring it back.
    pub asleep: AtomicBool,
    pub off: AtomicBool,
    /// It has nothing left to do.
    pub finished: AtomicBool,
}

/// By index.
pub static STATES: [State; smp::MAX_VCPUS] = [const {
    State {
        random: Random::new(1),
        done: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        asleep: AtomicBool::new(false),
        off: AtomicBool::new(false),
        finished: AtomicBool::new(false),
    }
}; smp::MAX_VCPUS];

impl State {
    /// Sets it up.
    pub fn begin(&self, seed: u64, steps: u64) {
        // Seeds next to one another are nothing alike afterwards.
        let mixed = (seed ^ seed >> 31).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.random.seed((mixed ^ mixed >> 32).max(1));
        self.steps.store(steps, Relaxed);
    }

    /// Says whether something is left to do.
    pub fn goes_on(&self) -> bool {
        self.done.load(Relaxed) < self.steps.load(Relaxed)
    }
}

/// One vCPU at its work.
#[derive(Clone, Copy)]
pub struct Fuzzer {
    /// Which one.
    pub index: usize,
    /// Its affinity fields.
    pub own: u64,
    /// What lasts.
    pub state: &'static State,
}

impl Fuzzer {
    /// Returns the vCPU that runs.
    pub fn here() -> Self {
        let index = smp::index();
        Self {
            index,
            own: sysreg::affinity(),
            state: &STATES[index],
        }
    }

    /// Draws 64 bits.
    pub fn draw(&self) -> u64 {
        self.state.random.draw()
    }

    /// Draws a number below `limit`.
    pub fn below(&self, limit: usize) -> usize {
        self.state.random.below(limit as u64) as usize
    }

    /// Draws one of several.
    pub fn one_of<T: Copy>(&self, values: &[T]) -> T {
        values[self.below(values.len())]
    }

    /// Draws a value that a register may care about.
    pub fn value(&self) -> u64 {
        let drawn = self.draw();
        match drawn >> 60 {
            0..=2 => 0,
            3..=4 => u64::MAX,
            5..=7 => drawn & 0xff,
            8..=9 => 1 << (drawn & 63),
            10 => timer::now().wrapping_add(drawn & 0xffff),
            _ => drawn,
        }
    }

    /// Does one step.
    pub fn step(&self) {
        let all: u64 = GROUPS
            .iter()
            .map(|group| group.rows.len() as u64 * group.tickets)
            .sum();
        let mut ticket = self.below(all as usize) as u64;
        let mut first = 0;
        for group in &GROUPS {
            let tickets = group.rows.len() as u64 * group.tickets;
            if ticket < tickets {
                let row = (ticket / group.tickets) as usize;
                counts::add_row(self.index, first + row);
                return (group.step)(self, row);
            }
            ticket -= tickets;
            first += group.rows.len();
        }
    }

    /// Sets this vCPU's interrupts up afresh, and the first one the distributor.
    pub fn fresh(&self) {
        sysreg::mask_irqs();
        if self.index == 0 {
            gic::init_distributor();
        }
        gic::init_cpu();
        for intid in crate::interrupts() {
            gic::set_priority(intid, (self.draw() & 0xf8) as u8);
        }
        gic::bank(0).write32(gic::ISENABLER, u32::MAX);
        gic::DISTRIBUTOR.write32(gic::ISENABLER + 4, 1 << 1);
        gic::DISTRIBUTOR.write32(gic::ISENABLER + 12, u32::MAX);
    }
}
