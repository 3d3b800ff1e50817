//! The controller: what was measured goes in, the motor's force comes out.
//!
//! It feeds back all of the state by four fixed factors. They are the solution of the linear quadratic regulator for the
//! plant, made linear about upright and sampled each 50 ms, with the costs 1 for a metre off the middle, 4 for a metre a
//! second, 10 for a radian, 1 for a radian a second, and 1 for a newton. Sampled for 50 ms and run each 1 ms: such factors
//! stay calm when a period comes late.

use crate::noise::Noise;
use crate::plant::State;

/// The factors, in N for a metre, a metre a second, a radian, a radian a second.
const GAINS: State = State {
    position: 1.245,
    velocity: 1.706,
    angle: 22.10,
    rate: 2.856,
};
/// The strongest force of the motor in N. Above a lean of some twenty degrees it cannot catch the rod any more.
pub const FORCE_N: f64 = 4.0;
/// Greatest error of what is measured; of velocities, which are known less well, ten times as much.
const ERROR: f64 = 0.001;

/// Returns what sensors say of a state.
pub fn measure(state: State, errors: &mut Noise) -> State {
    State {
        position: state.position + ERROR * errors.draw(),
        velocity: state.velocity + 10.0 * ERROR * errors.draw(),
        angle: state.angle + ERROR * errors.draw(),
        rate: state.rate + 10.0 * ERROR * errors.draw(),
    }
}

/// Returns the force in N for a measured state.
pub fn force(measured: State) -> f64 {
    let wanted = GAINS.position * measured.position
        + GAINS.velocity * measured.velocity
        + GAINS.angle * measured.angle
        + GAINS.rate * measured.rate;
    wanted.clamp(-FORCE_N, FORCE_N)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives_the_cart_under_the_rod_and_never_too_hard() {
        let lean = |angle| State {
            angle,
            ..State::default()
        };
        assert!(force(lean(0.01)) > 0.0);
        assert_eq!(force(lean(1.0)), FORCE_N);
        assert_eq!(force(lean(-1.0)), -FORCE_N);
    }

    #[test]
    fn errors_stay_within_their_bounds() {
        let mut errors = Noise::new(3);
        for _ in 0..1000 {
            let measured = measure(State::default(), &mut errors);
            assert!(measured.angle.abs() <= ERROR && measured.rate.abs() <= 10.0 * ERROR);
        }
    }
}
