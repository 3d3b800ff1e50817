//! The physics: a rod that stands on a cart.
//!
//! The cart moves along a line without friction, the motor's force on it. A uniform rod turns about a hinge on the cart,
//! also without friction. Something pushes at the rod's tip, level: each push lasts [`PUSH_S`], then comes another one, of
//! another strength, to the same side or the other. Angles count from upright, to the right as positions and forces do.
//!
//! With `x` the position, `q` the angle, `l` half the rod's length, `m` its mass and `M` that of both, Lagrange's equations
//! for this body are
//!
//! ```text
//! M x'' + m l cos(q) q'' - m l q'^2 sin(q) = force + push
//! 4/3 m l^2 q'' + m l cos(q) x'' - m g l sin(q) = 2 l cos(q) push
//! ```

use crate::noise::Noise;
use crate::trig::{cosine, sine};

/// Standard gravity in m/s².
const GRAVITY: f64 = 9.806_65;
/// Mass of the rod in kg.
const ROD_KG: f64 = 0.1;
/// Mass of rod and cart in kg.
const ALL_KG: f64 = 1.1;
/// Half the rod's length in m.
const HALF_M: f64 = 0.125;
/// How long a push lasts, in seconds.
pub const PUSH_S: f64 = 0.5;
/// The strongest push in N; the weakest is half of it.
pub const PUSH_N: f64 = 0.02;
/// Longest step of the integration in seconds: a sixtieth of the time in which the rod's lean grows e-fold.
const STEP_S: f64 = 0.002;

/// Where cart and rod are and how they move: metres, radians, seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct State {
    /// Position of the cart.
    pub position: f64,
    /// Velocity of the cart.
    pub velocity: f64,
    /// Angle of the rod.
    pub angle: f64,
    /// Angular velocity of the rod.
    pub rate: f64,
}

impl State {
    /// Returns the state that is reached when `slope` goes on for `seconds`.
    fn along(self, slope: Self, seconds: f64) -> Self {
        Self {
            position: self.position + slope.position * seconds,
            velocity: self.velocity + slope.velocity * seconds,
            angle: self.angle + slope.angle * seconds,
            rate: self.rate + slope.rate * seconds,
        }
    }

    /// Returns how the state changes in a second under a force on the cart and a push at the tip, in N.
    fn slope(self, force: f64, push: f64) -> Self {
        let (sin, cos) = (sine(self.angle), cosine(self.angle));
        let driven = (force + push + ROD_KG * HALF_M * self.rate * self.rate * sin) / ALL_KG;
        let turning = GRAVITY * sin + 2.0 * push * cos / ROD_KG - cos * driven;
        let rate = turning / (HALF_M * (4.0 / 3.0 - ROD_KG * cos * cos / ALL_KG));
        Self {
            position: self.velocity,
            velocity: driven - ROD_KG * HALF_M * rate * cos / ALL_KG,
            angle: self.rate,
            rate,
        }
    }
}

/// Cart, rod, and what pushes it.
#[derive(Clone, Copy, Debug)]
pub struct Plant {
    state: State,
    pushes: Noise,
    push: f64,
    push_left: f64,
}

impl Plant {
    /// Stands the rod upright; `seed` chooses the pushes to come.
    pub fn new(seed: u64) -> Self {
        Self {
            state: State::default(),
            pushes: Noise::new(seed),
            push: 0.0,
            push_left: 0.0,
        }
    }

    /// Returns where everything is.
    pub const fn state(&self) -> State {
        self.state
    }

    /// Lets at most `seconds`, a positive time, go by with `force` in N on the cart: one step. Returns what is left of
    /// the time.
    ///
    /// The step is by the midpoint method. The angle has to be within a right angle.
    pub fn advance(&mut self, seconds: f64, force: f64) -> f64 {
        if self.push_left <= 0.0 {
            let strength = self.pushes.draw();
            self.push = PUSH_N / 2.0 * (strength + 1.0_f64.copysign(strength));
            self.push_left = PUSH_S;
        }
        let step = if seconds <= STEP_S { seconds } else { STEP_S };
        let slope = self.state.slope(force, self.push);
        let middle = self.state.along(slope, step / 2.0);
        self.state = self.state.along(middle.slope(force, self.push), step);
        self.push_left -= step;
        seconds - step
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    /// Returns a plant that nobody pushes, with the rod at an angle.
    fn quiet(angle: f64) -> Plant {
        let mut plant = Plant::new(1);
        plant.state.angle = angle;
        plant.push_left = f64::INFINITY;
        plant
    }

    fn energy(state: State) -> f64 {
        let cos = state.angle.cos();
        0.5 * ALL_KG * state.velocity * state.velocity
            + ROD_KG * HALF_M * cos * state.velocity * state.rate
            + 2.0 / 3.0 * ROD_KG * HALF_M * HALF_M * state.rate * state.rate
            + ROD_KG * GRAVITY * HALF_M * cos
    }

    #[test]
    fn falling_keeps_energy_and_momentum() {
        let mut plant = quiet(0.01);
        let before = energy(plant.state);
        while plant.state.angle < 1.5 {
            plant.advance(0.001, 0.0);
            let state = plant.state;
            assert!((energy(state) - before).abs() < 1e-5, "{state:?}");
            let momentum =
                ALL_KG * state.velocity + ROD_KG * HALF_M * state.angle.cos() * state.rate;
            assert!(momentum.abs() < 1e-5, "{state:?}");
        }
    }

    #[test]
    fn a_small_lean_grows_as_the_linear_solution_does() {
        let mut plant = quiet(0.001);
        for _ in 0..200 {
            plant.advance(0.001, 0.0);
        }
        let growth = (GRAVITY / (HALF_M * (4.0 / 3.0 - ROD_KG / ALL_KG))).sqrt();
        let expected = 0.001 * (growth * 0.2).cosh();
        assert!((plant.state.angle / expected - 1.0).abs() < 1e-3);
    }

    #[test]
    fn a_force_to_the_right_moves_the_cart_there_and_the_rod_leans_back() {
        let mut plant = quiet(0.0);
        assert_eq!(plant.advance(0.003, 1.0), 0.001);
        assert!(plant.state.position > 0.0 && plant.state.angle < 0.0);
    }

    #[test]
    fn pushes_last_their_time_and_keep_their_limits() {
        let mut plant = Plant::new(1);
        let mut changes = 0;
        for _ in 0..5000 {
            let before = plant.push;
            // On its own the rod would fall.
            plant.state = State::default();
            plant.advance(0.001, 0.0);
            changes += u32::from(plant.push != before);
            assert!((PUSH_N / 2.0..=PUSH_N).contains(&plant.push.abs()));
        }
        assert!((9..=11).contains(&changes), "{changes}");
    }
}
