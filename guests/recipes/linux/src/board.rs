//! The board as Linux shows it to user space: the device tree that the kernel was started with, and physical memory.

use crate::{Errno, File};

/// The flattened tree, and the most bytes of it that are read.
const TREE: &core::ffi::CStr = c"/sys/firmware/fdt";
const TREE_BYTES: usize = 64 << 10;

/// Reads the flattened device tree and lets `then` look at it.
///
/// # Errors
/// As Linux says.
pub fn with_tree<T>(then: impl FnOnce(&[u8]) -> T) -> Result<T, Errno> {
    let mut bytes = [0; TREE_BYTES];
    let file = File::open(TREE)?;
    let length = file.read_all(&mut bytes)?;
    file.close();
    Ok(then(bytes.get(..length).unwrap_or_default()))
}
