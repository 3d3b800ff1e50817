//! A simulated inverted pendulum on a cart, and the controller that balances it.
//!
//! A rod of 25 cm stands on a cart, which a motor drives to and fro. Left alone it falls within half a second, all the
//! sooner as something pushes at its tip all the time; a controller that looks at it a thousand times a second keeps it
//! upright. The [`Rig`] is both together: [`Rig::period`] is called once in each period with the time that *really*
//! passed since the last call. Physics goes on for all of that time, with the motor's force as it was left. So a period
//! that comes late is harmless, a controller that gets no time is not: the rod falls, as a real one would.
//!
//! How late is too late was tried over a thousand pushes (`rig` has the tests): no pause of 150 ms made it fall, half of
//! those of 400 ms did, and a second without control always does.
//!
//! | module | is |
//! | --- | --- |
//! | [`plant`] | the physics: cart, rod, pushes |
//! | [`controller`] | measurement in, force out |
//! | [`noise`] | pushes and errors of measurement, the same in every run |
//! | [`rig`] | both together, over time |
//! | [`plot`] | a line of text that shows the rod |
//! | [`sample`] | a message that says where the rod is |
//! | [`trig`] | sine and cosine, which `core` lacks |
//!
//! All of it is plain arithmetic, without `unsafe`, and is tested on the host.
#![no_std]
#![forbid(unsafe_code)]

pub mod controller;
pub mod noise;
pub mod plant;
pub mod plot;
pub mod rig;
pub mod sample;
pub mod trig;

pub use rig::{Event, Reading, Rig};
pub use sample::Sample;
