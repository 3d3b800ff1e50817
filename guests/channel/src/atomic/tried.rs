//! Loom's.

pub use loom::sync::atomic::{Ordering, fence};
