//! Memory that another partition writes too.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::Memory;

/// Shared memory at an address. Accesses are single 64-bit loads and stores, which device mappings take too.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    base: *const AtomicU64,
    words: usize,
}

// SAFETY: all accesses are atomic.
unsafe impl Send for Window {}
// SAFETY: as above.
unsafe impl Sync for Window {}

impl Window {
    /// Names `bytes` of shared memory at `base`.
    ///
    /// # Safety
    /// `base` is a multiple of 8; the bytes are mapped, for good, readable, and writable if anything is written; nothing of
    /// this program lies there that is no atomic.
    pub const unsafe fn new(base: *mut u8, bytes: usize) -> Self {
        Self {
            base: base.cast_const().cast::<AtomicU64>(),
            words: bytes / 8,
        }
    }

    /// Returns the word at an offset, if it lies inside.
    fn word(&self, offset: usize) -> Option<&AtomicU64> {
        let index = offset / 8;
        // SAFETY: the index was compared with the size that `new`'s caller vouched for.
        (index < self.words).then(|| unsafe { &*self.base.add(index) })
    }
}

impl Memory for Window {
    fn size(&self) -> usize {
        self.words * 8
    }

    fn acquire(&self, offset: usize) -> u64 {
        self.word(offset).map_or(0, |w| w.load(Ordering::Acquire))
    }

    fn release(&self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Release);
        }
    }

    fn read(&self, offset: usize) -> u64 {
        self.word(offset).map_or(0, |w| w.load(Ordering::Relaxed))
    }

    fn write(&self, offset: usize, value: u64) {
        if let Some(word) = self.word(offset) {
            word.store(value, Ordering::Relaxed);
        }
    }
}
