//! Drivers of the hardware that EL2 keeps for itself: registers, never policy.

pub mod gic;
pub mod gich;
pub mod gicv2;
pub mod gicv3;
pub mod list_registers;
pub mod timer;
pub mod uart;
