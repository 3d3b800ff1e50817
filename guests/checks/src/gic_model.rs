//! The interrupt controller against a model of it: what happens is drawn at random, and after each step every register
//! that shows it is compared.
//!
//! # Source
//! Arm IHI 0069 (GICv3/v4), "Interrupt handling state machine", "Interrupt prioritization".

use guest_runtime::mmio::Mmio;
use guest_runtime::random::{below, random, seed};
use guest_runtime::suite::{Outcome, Test};
use guest_runtime::{expect, expect_eq, gic, layout, println, read_sysreg, sysreg, tests, timer};

/// The tests of this module.
pub const TESTS: &[Test] = tests![a8_random_events_agree_with_a_model];

/// All SGIs and one SPI.
const COUNT: usize = 17;
/// The SPI's place.
const SPI: usize = 16;
/// Steps of a round, at whose end everything is brought back to rest.
const STEPS: u64 = 500;
/// Rounds: every other one ends and deactivates in two steps.
const ROUNDS: u64 = 60;
/// Steps that are told of when one goes wrong.
const LOG: usize = 24;
/// Priority of no interrupt.
const IDLE: u8 = 0xff;

/// An interrupt as the model sees it.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    enabled: bool,
    pending: bool,
    active: bool,
    priority: u8,
}

/// The model.
struct Model {
    states: [State; COUNT],
    /// Interrupts that run, the last the most urgent: their places and the priorities at which they were acknowledged.
    running: [(usize, u8); COUNT],
    depth: usize,
    /// Ending and deactivating are two steps.
    split: bool,
    /// The SPI is routed to this vCPU.
    routed: bool,
    mask: u8,
    frame: Mmio,
    /// What happened last: kind and place, the newest at `steps`.
    log: [(u64, usize); LOG],
    steps: usize,
}

/// Returns the INTID at a place.
const fn intid(place: usize) -> u32 {
    if place == SPI {
        layout::UART_INTID
    } else {
        place as u32
    }
}

impl Model {
    fn new(split: bool) -> Self {
        Self {
            states: core::array::from_fn(|place| State {
                enabled: gic::is_v2() && place != SPI,
                ..State::default()
            }),
            running: [(0, 0); COUNT],
            depth: 0,
            split,
            routed: true,
            mask: IDLE,
            frame: gic::bank(0),
            log: [(0, 0); LOG],
            steps: 0,
        }
    }

    /// Returns the bank of a place's registers, and the interrupt's bit there.
    fn bit(&self, place: usize, register: usize) -> (Mmio, usize, u32) {
        match place {
            SPI => (
                gic::DISTRIBUTOR,
                register + 4,
                1 << (layout::UART_INTID - 32),
            ),
            _ => (self.frame, register, 1 << place),
        }
    }

    fn write(&self, place: usize, register: usize) {
        match place {
            SPI => gic::write_bit(register, layout::UART_INTID),
            _ => gic::write_bit(register, place as u32),
        }
    }

    /// Returns the bits of all places as a register shows them.
    fn shown(&self, register: usize) -> u32 {
        let (bank, offset, bit) = self.bit(SPI, register);
        let spi = bank.read32(offset) & bit != 0;
        self.frame.read32(register) & 0xffff | u32::from(spi) << SPI
    }

    /// Returns the bits of all places that a question is true for.
    fn bits(&self, ask: impl Fn(&State) -> bool) -> u32 {
        let states = self.states.iter().enumerate();
        states
            .filter(|(_, state)| ask(state))
            .fold(0, |bits, (place, _)| bits | 1 << place)
    }

    /// Returns the priority of what runs.
    fn running(&self) -> u8 {
        match self.depth {
            0 => IDLE,
            depth => self.running[depth - 1].1,
        }
    }

    fn runs(&self, place: usize) -> bool {
        self.running[..self.depth]
            .iter()
            .any(|(one, _)| *one == place)
    }

    fn deliverable(&self, place: usize) -> bool {
        let state = self.states[place];
        state.enabled && state.pending && !state.active && (place != SPI || self.routed)
    }

    /// Returns the priority of the most urgent one that would be acknowledged now, if there is any.
    fn signalled(&self) -> Option<u8> {
        let waiting = (0..COUNT).filter(|place| self.deliverable(*place));
        let first = waiting.map(|place| self.states[place].priority).min()?;
        (first < self.mask && first < self.running()).then_some(first)
    }

    /// Lets one thing happen.
    fn step(&mut self) -> Outcome {
        let place = below(COUNT as u64) as usize;
        let kind = below(18);
        self.log[self.steps % LOG] = (kind, place);
        self.steps += 1;
        match kind {
            0 | 1 => {
                self.write(place, gic::ISENABLER);
                self.states[place].enabled = true;
            }
            2 => {
                self.write(place, gic::ICENABLER);
                // With GICv2 SGIs are enabled for good.
                self.states[place].enabled = gic::is_v2() && place != SPI;
            }
            3 | 4 => {
                self.write(place, gic::ISPENDR);
                self.states[place].pending = true;
            }
            5 => {
                self.write(place, gic::ICPENDR);
                self.states[place].pending = false;
            }
            6 if place != SPI => {
                gic::send_sgi(place as u32, sysreg::affinity());
                self.states[place].pending = true;
            }
            // What runs keeps its active state until it is ended. One that is active without having been acknowledged is told
            // from those that were by its deactivation alone: where ending deactivates, list registers do not say which.
            7 if self.split && !self.runs(place) => {
                self.write(place, gic::ISACTIVER);
                self.states[place].active = true;
            }
            8 if !self.runs(place) => {
                self.write(place, gic::ICACTIVER);
                self.states[place].active = false;
            }
            // The list registers know an active one by the priority at which it was acknowledged.
            9 if !self.states[place].active => {
                let priority = (below(31) << 3) as u8;
                gic::set_priority(intid(place), priority);
                self.states[place].priority = priority;
            }
            10 => {
                self.mask = if below(2) == 0 {
                    IDLE
                } else {
                    (below(32) << 3) as u8
                };
                gic::set_mask(self.mask.into());
            }
            11 => {
                // A GICv2 with a single CPU has no choice.
                self.routed = below(3) != 0 || gic::is_v2();
                let nobody = 0xff_00ff_ff00;
                gic::route(
                    layout::UART_INTID,
                    if self.routed {
                        sysreg::affinity()
                    } else {
                        nobody
                    },
                );
            }
            12 | 13 => self.end(),
            14 => self.deactivate(place),
            _ => self.acknowledge()?,
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Outcome {
        let wanted = self.signalled();
        let found = gic::acknowledge();
        let Some(priority) = wanted else {
            expect_eq!(found, gic::SPURIOUS, "INTID when none is to come");
            return Ok(());
        };
        let place = (0..COUNT).find(|place| intid(*place) == found);
        let Some(place) = place.filter(|place| self.deliverable(*place)) else {
            guest_runtime::fail!("acknowledged {found}, which is not to come");
        };
        expect_eq!(
            self.states[place].priority,
            priority,
            "priority of what came"
        );
        self.states[place].pending = false;
        self.states[place].active = true;
        self.running[self.depth] = (place, priority);
        self.depth += 1;
        Ok(())
    }

    /// Ends what was acknowledged last.
    fn end(&mut self) {
        let Some(depth) = self.depth.checked_sub(1) else {
            return;
        };
        let (place, _) = self.running[depth];
        gic::end(intid(place));
        self.depth = depth;
        if !self.split {
            self.states[place].active = false;
        }
    }

    /// Deactivates what was ended before.
    fn deactivate(&mut self, place: usize) {
        if self.split && self.states[place].active && !self.runs(place) {
            gic::deactivate(intid(place));
            self.states[place].active = false;
        }
    }

    /// Compares all that the registers show.
    fn compare(&self) -> Outcome {
        expect_eq!(
            self.shown(gic::ISENABLER),
            self.bits(|state| state.enabled),
            "enabled"
        );
        expect_eq!(
            self.shown(gic::ISPENDR),
            self.bits(|state| state.pending),
            "pending"
        );
        expect_eq!(
            self.shown(gic::ISACTIVER),
            self.bits(|state| state.active),
            "active"
        );
        expect_eq!(
            gic::running_priority(),
            u64::from(self.running()),
            "running priority"
        );
        let signalled = read_sysreg!("isr_el1") & 0x80 != 0;
        expect!(
            signalled == self.signalled().is_some(),
            "signalled: {signalled}, wanted {:?} below {:#x}",
            self.signalled(),
            self.running()
        );
        Ok(())
    }

    /// Prints the last steps, as `step` numbers them, and the state that they led to.
    fn tell(&self) {
        for step in self.steps.saturating_sub(LOG)..self.steps {
            let (kind, place) = self.log[step % LOG];
            println!("a8: step {step}: {kind} of {place}");
        }
        println!(
            "a8: split {}, mask {:#x}, runs {:x?}",
            self.split,
            self.mask,
            &self.running[..self.depth]
        );
        for (place, state) in self.states.iter().enumerate() {
            println!("a8: {place}: {state:x?}");
        }
    }

    /// Ends and deactivates everything.
    fn rest(&mut self) {
        while self.depth != 0 {
            self.end();
        }
        for place in 0..COUNT {
            for register in [gic::ICENABLER, gic::ICPENDR, gic::ICACTIVER] {
                self.write(place, register);
            }
        }
        gic::set_mask(gic::MASK_NONE);
        gic::route(layout::UART_INTID, sysreg::affinity());
    }
}

fn round(split: bool) -> Outcome {
    crate::fresh_gic();
    gic::split_end(split);
    let mut model = Model::new(split);
    model.rest();
    for place in 0..COUNT {
        gic::set_priority(intid(place), 0);
    }
    let mut outcome = Ok(());
    for _ in 0..STEPS {
        outcome = model.step().and_then(|()| model.compare());
        if outcome.is_err() {
            model.tell();
            break;
        }
    }
    model.rest();
    gic::split_end(false);
    outcome
}

fn a8_random_events_agree_with_a_model() -> Outcome {
    let start = timer::now() ^ timer::physical_now().rotate_left(32) | 1;
    seed(start);
    for number in 0..ROUNDS {
        let outcome = round(number % 2 == 1);
        if outcome.is_err() {
            println!("a8: seed {start:#x}, round {number}, {:#x} next", random());
            crate::fresh_gic();
            return outcome;
        }
    }
    crate::fresh_gic();
    Ok(())
}
