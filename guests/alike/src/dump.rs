//! The dump: words by class and key, in the memory of the channel, which outlasts a restart.
//!
//! | offset in the memory | what |
//! | --- | --- |
//! | 0 | what this guest asks of its partner |
//! | 8 | how many lives the partner has ended |
//! | 64 KiB | the dump of the first life |
//! | 128 KiB | the dump of this life |
//!
//! A dump is a number of entries and that many pairs of key and value; the keys rise.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use guest_runtime::manage;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// General registers and those that a start sets.
    General,
    /// FP and SIMD registers.
    Vector,
    /// System registers, by every encoding.
    System,
    /// The distributor.
    Distributor,
    /// The redistributors.
    Redistributor,
    /// The UART.
    Uart,
    /// Memory, by the page.
    Memory,
    /// The device tree.
    Tree,
    /// What calls say.
    Calls,
    /// The second vCPU's registers.
    Second,
    /// The second vCPU's FP and SIMD registers.
    SecondVector,
    /// The second vCPU's system registers.
    SecondSystem,
    /// What each vCPU's budget gives it.
    Budget,
}

/// Bytes of a dump.
pub const BYTES: usize = 64 * 1024;
/// Most entries.
const MOST: usize = BYTES / 16 - 1;
/// Puts between two kicks of the watchdog.
const KICK: usize = 64;

/// Where a dump is.
#[derive(Clone, Copy)]
pub struct Dump(usize);

/// Entries so far; not zeroed in between, since the runtime does that once the dump is made.
static COUNT: AtomicUsize = AtomicUsize::new(0);

impl Dump {
    /// Names a dump by the address of the channel's memory and its number, 1 or 2.
    pub const fn new(memory: usize, number: usize) -> Self {
        Self::at(memory + number * BYTES)
    }

    /// Names a dump by its address.
    pub const fn at(address: usize) -> Self {
        Self(address)
    }

    fn word(self, index: usize) -> *mut u64 {
        (self.0 + index * 8) as *mut u64
    }

    /// Begins anew.
    pub fn begin(self) {
        COUNT.store(0, Relaxed);
        self.end();
    }

    /// Adds an entry.
    pub fn put(self, class: Class, key: u64, value: u64) {
        let count = COUNT.load(Relaxed);
        if count.is_multiple_of(KICK) {
            manage::kick();
        }
        if count < MOST {
            // SAFETY: within this dump, which nobody but this guest writes.
            unsafe {
                self.word(2 * count + 2)
                    .write_volatile((class as u64) << 56 | key);
                self.word(2 * count + 3).write_volatile(value);
            }
            COUNT.store(count + 1, Relaxed);
        }
    }

    /// Adds an entry unless it is zero.
    pub fn put_unless_zero(self, class: Class, key: u64, value: u64) {
        if value != 0 {
            self.put(class, key, value);
        }
    }

    /// Says how many entries there are.
    pub fn end(self) {
        // SAFETY: as for an entry.
        unsafe { self.word(0).write_volatile(COUNT.load(Relaxed) as u64) };
    }

    /// Returns the number of entries, and [`usize::MAX`] when they were too many.
    pub fn entries(self) -> usize {
        // SAFETY: as for an entry.
        match unsafe { self.word(0).read_volatile() } as usize {
            MOST.. => usize::MAX,
            count => count,
        }
    }

    /// Returns an entry's key, with its class, and its value; behind the last one a key that is larger than all.
    pub fn entry(self, index: usize) -> (u64, u64) {
        if index >= self.entries() {
            return (u64::MAX, 0);
        }
        // SAFETY: as for writing it.
        unsafe {
            (
                self.word(2 * index + 2).read_volatile(),
                self.word(2 * index + 3).read_volatile(),
            )
        }
    }
}

impl Dump {
    /// Returns an entry's value.
    pub fn value(self, class: Class, key: u64) -> Option<u64> {
        let entries = (0..self.entries()).map(|index| self.entry(index));
        let mut found = entries.filter(|(there, _)| *there == (class as u64) << 56 | key);
        found.next().map(|(_, value)| value)
    }
}

/// Compares two dumps in a class: returns how many entries there are, and tells `differs` of each that is another or
/// missing: its key without the class, and both values.
pub fn compare(
    first: Dump,
    now: Dump,
    class: Class,
    mut differs: impl FnMut(u64, u64, u64),
) -> usize {
    let (mut one, mut other, mut count) = (0, 0, 0);
    loop {
        let (key, value) = first.entry(one);
        let (key_now, value_now) = now.entry(other);
        let least = key.min(key_now);
        if least == u64::MAX {
            return count;
        }
        let then = if key == least { value } else { 0 };
        let here = if key_now == least { value_now } else { 0 };
        if least >> 56 == class as u64 {
            count += 1;
            if (key, value) != (key_now, value_now) {
                differs(least & 0xff_ffff_ffff_ffff, then, here);
            }
        }
        one += usize::from(key == least);
        other += usize::from(key_now == least);
    }
}
