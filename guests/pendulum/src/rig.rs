//! Plant and controller over time: it stands, it falls, it is set up again.

use crate::controller;
use crate::noise::Noise;
use crate::plant::{Plant, State};

/// Lean at which the rod counts as fallen, in radians: 45 degrees.
const FALLEN: f64 = core::f64::consts::FRAC_PI_4;
/// How long a fallen rod lies until it is set up again.
pub const LYING_NS: u64 = 3_000_000_000;
/// Nanoseconds of a second.
const SECOND_NS: f64 = 1e9;

/// What happened in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The rod fell.
    Fell {
        /// How long it had stood.
        stood_ms: u64,
        /// The longest time of this that nobody controlled it.
        alone_ms: u64,
    },
    /// It was set upright again.
    SetUp,
}

/// What people and programs want to know of the rig.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Angle of the rod in thousandths of a degree, to the right.
    pub angle_mdeg: i32,
    /// Position of the cart in mm, to the right.
    pub position_mm: i32,
    /// Force of the motor in mN.
    pub force_mn: i32,
    /// Does the rod lie?
    pub fallen: bool,
}

/// A pendulum and its controller.
#[derive(Clone, Copy, Debug)]
pub struct Rig {
    plant: Plant,
    errors: Noise,
    force: f64,
    stood_ns: u64,
    /// The longest time since it was set up that passed between two periods.
    alone_ns: u64,
    /// How long the rod has lain; nothing while it stands.
    lying_ns: Option<u64>,
    set_ups: u64,
}

impl Rig {
    /// Stands the rod upright.
    pub fn new() -> Self {
        Self::nth(1)
    }

    /// Stands it upright for the `set_ups`th time: each time other pushes come.
    fn nth(set_ups: u64) -> Self {
        Self {
            plant: Plant::new(set_ups.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            errors: Noise::new(set_ups),
            force: 0.0,
            stood_ns: 0,
            alone_ns: 0,
            lying_ns: None,
            set_ups,
        }
    }

    /// Lets `elapsed_ns` go by, the time since the last call, then measures and sets the motor's force.
    ///
    /// A long time takes long to compute, but no longer than some hundreds of steps: without control the rod falls.
    pub fn period(&mut self, elapsed_ns: u64) -> Option<Event> {
        if let Some(lying_ns) = self.lying_ns {
            let lying_ns = lying_ns.saturating_add(elapsed_ns);
            self.lying_ns = Some(lying_ns);
            if lying_ns < LYING_NS {
                return None;
            }
            *self = Self::nth(self.set_ups.wrapping_add(1));
            return Some(Event::SetUp);
        }
        let elapsed = elapsed_ns as f64 / SECOND_NS;
        let mut left = elapsed;
        while left > 0.0 && self.stands() {
            left = self.plant.advance(left, self.force);
        }
        let stood_ns = elapsed_ns - ((left * SECOND_NS) as u64).min(elapsed_ns);
        self.stood_ns = self.stood_ns.saturating_add(stood_ns);
        self.alone_ns = self.alone_ns.max(stood_ns);
        if self.stands() {
            let measured = controller::measure(self.plant.state(), &mut self.errors);
            self.force = controller::force(measured);
            return None;
        }
        self.lying_ns = Some(0);
        self.force = 0.0;
        Some(Event::Fell {
            stood_ms: self.stood_ns / 1_000_000,
            alone_ms: self.alone_ns / 1_000_000,
        })
    }

    /// Returns where everything is.
    pub fn reading(&self) -> Reading {
        let State {
            position, angle, ..
        } = self.plant.state();
        Reading {
            angle_mdeg: thousandths(angle.to_degrees()),
            position_mm: thousandths(position),
            force_mn: thousandths(self.force),
            fallen: self.lying_ns.is_some(),
        }
    }

    fn stands(&self) -> bool {
        self.plant.state().angle.abs() < FALLEN
    }
}

impl Default for Rig {
    fn default() -> Self {
        Self::new()
    }
}

/// Returns a number in thousandths, to the nearest.
fn thousandths(number: f64) -> i32 {
    // A conversion of a float takes the nearest number that there is; it never fails.
    (number * 1000.0 + 0.5_f64.copysign(number)) as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    /// Lets so many milliseconds pass under control; returns false when the rod fell.
    fn controlled(rig: &mut Rig, ms: u64) -> bool {
        (0..ms).all(|_| rig.period(MS).is_none())
    }

    /// Returns how many of a thousand pauses of so many milliseconds made the rod fall, a pause in about two seconds.
    fn falls(pause_ms: u64) -> u32 {
        let mut rig = Rig::new();
        let mut falls = 0;
        for turn in 0..1000 {
            let stood = controlled(&mut rig, 1500 + turn * 7 % 1000)
                && rig.period(pause_ms * MS).is_none()
                && controlled(&mut rig, 1000);
            if !stood {
                falls += 1;
                while rig.period(LYING_NS) != Some(Event::SetUp) {}
            }
        }
        falls
    }

    #[test]
    fn an_hour_of_punctual_periods_stands_near_the_middle() {
        let mut rig = Rig::new();
        for period in 0..3_600_000 {
            assert_eq!(rig.period(MS), None, "period {period}");
            let reading = rig.reading();
            assert!(reading.angle_mdeg.abs() < 9_000, "{reading:?}");
            assert!(reading.position_mm.abs() < 900, "{reading:?}");
        }
    }

    #[test]
    fn it_leans_enough_to_be_seen() {
        let mut rig = Rig::new();
        let mut widest = 0;
        for _ in 0..10_000 {
            rig.period(MS);
            widest = widest.max(rig.reading().angle_mdeg.abs());
        }
        assert!(widest > 1_500, "{widest}");
    }

    #[test]
    fn pauses_of_150_ms_are_harmless() {
        assert_eq!(falls(150), 0);
    }

    #[test]
    fn pauses_of_400_ms_make_it_fall_about_every_other_time() {
        assert!((400..600).contains(&falls(400)), "{}", falls(400));
    }

    #[test]
    fn a_pause_of_a_second_and_a_half_always_makes_it_fall() {
        assert_eq!(falls(1500), 1000);
    }

    #[test]
    fn a_host_that_stops_it_all_the_time_for_100_ms_does_not_make_it_fall() {
        let mut rig = Rig::new();
        let mut host = Noise::new(11);
        for turn in 0..10_000 {
            let run = 1 + (2.0 * (host.draw() + 1.0)) as u64;
            let stop = 20 + (40.0 * (host.draw() + 1.0)) as u64;
            let stood = controlled(&mut rig, run) && rig.period(stop * MS).is_none();
            assert!(stood, "turn {turn}");
        }
    }

    #[test]
    fn it_tells_how_it_fell_once_and_is_set_up_again() {
        let mut rig = Rig::new();
        assert!(controlled(&mut rig, 2000));
        let Some(Event::Fell { stood_ms, alone_ms }) = rig.period(5000 * MS) else {
            panic!("it stands")
        };
        assert!((100..2000).contains(&alone_ms), "{alone_ms}");
        assert_eq!(stood_ms, 2000 + alone_ms);
        assert!(rig.reading().fallen && rig.reading().angle_mdeg.abs() >= 45_000);
        assert!((1..3000).all(|_| rig.period(MS).is_none()));
        assert_eq!(rig.period(MS), Some(Event::SetUp));
        assert_eq!(rig.reading(), Reading::default());
        assert!(controlled(&mut rig, 2000));
    }

    #[test]
    fn a_fall_that_comes_after_the_pause_tells_the_pause() {
        let mut rig = Rig::new();
        let event = (300..).step_by(10).find_map(|pause| {
            let mut all = (0..1000)
                .map(|_| MS)
                .chain([pause * MS])
                .chain((0..1000).map(|_| MS));
            Some((pause, all.find_map(|ns| rig.period(ns))?))
        });
        let Some((pause, Event::Fell { alone_ms, .. })) = event else {
            panic!("{event:?}")
        };
        assert!((pause - 1..=pause).contains(&alone_ms), "{event:?}");
    }

    #[test]
    fn the_shortest_and_the_longest_time_are_no_trouble() {
        let mut rig = Rig::new();
        assert_eq!(rig.period(0), None);
        assert!(matches!(rig.period(u64::MAX), Some(Event::Fell { .. })));
        assert_eq!(rig.period(u64::MAX), Some(Event::SetUp));
    }

    #[test]
    fn thousandths_are_rounded_to_the_nearest() {
        assert_eq!(
            [0.0014, 0.0016, -0.0014, -0.0016, 1e30].map(thousandths),
            [1, 2, -1, -2, i32::MAX]
        );
    }
}
