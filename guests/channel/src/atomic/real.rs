//! The CPU's own.

pub use core::sync::atomic::{Ordering, fence};
