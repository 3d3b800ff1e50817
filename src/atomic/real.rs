//! The CPU's own.

pub use core::hint::spin_loop;
pub use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};

/// Returns bytes that are all line ends.
#[inline(always)]
pub const fn line_ends<const N: usize>() -> [AtomicU8; N] {
    [const { AtomicU8::new(b'\n') }; N]
}

/// Makes functions that make atomics usable in constants, where atomics are.
macro_rules! where_constant {
    ($(#[$about:meta])* $visible:vis fn $($rest:tt)*) => {
        $(#[$about])*
        $visible const fn $($rest)*
    };
}
pub(crate) use where_constant;
