//! The pCPU's own block, found through `TPIDR_EL2`.

use super::sysreg::{read, write};

/// Makes a block this pCPU's own.
///
/// # Safety
/// Called once on a pCPU, before its first [`this`]; `T` is the one type used with [`this`].
pub unsafe fn set<T: Sync>(block: &'static T) {
    // SAFETY: `TPIDR_EL2` is used by this module alone.
    unsafe { write::tpidr_el2(core::ptr::from_ref(block) as u64) };
}

/// Returns this pCPU's block, or `None` before [`set`].
///
/// # Safety
/// `T` is the type given to [`set`].
#[inline(always)]
pub unsafe fn this<T: Sync>() -> Option<&'static T> {
    let block = read::tpidr_el2() as *const T;
    // SAFETY: null, or what `set` was given; start-up zeroes the register.
    unsafe { block.as_ref() }
}
