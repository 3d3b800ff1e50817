//! Emulated devices: register models that know nothing of stage 2, of the vGIC or of the physical UART.
//!
//! A device answers reads and writes at offsets and says when its interrupt line changes; the caller moves that
//! to the vGIC. Accesses that hardware leaves open (odd widths, misaligned, holes) read as zero and are ignored.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod doorbell;
pub mod manager;
pub mod pl011;
pub mod ring;
