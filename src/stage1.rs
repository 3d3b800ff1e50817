//! EL2's own stage 1, read back: what its tables map, as runs, for a check that start-up makes before any guest runs.
//!
//! Three rules: nothing is writable and executable; nothing but the image's text is executable; no memory of a guest is
//! mapped. The tables are built by code that means to keep them. This looks at what came of it.
//!
//! # Source
//! Arm DDI 0487, "VMSAv8-64 descriptor formats"; EL2 without E2H: `AP[2]` is read-only, bit 54 is `XN`.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

use crate::addr::{HostPhysAddr, HypVirtAddr};

/// Descriptors in a table.
pub const ENTRIES: usize = 512;
/// A descriptor's valid bit.
const VALID: u64 = 1;
/// `AP[2]`: no writes.
const READ_ONLY: u64 = 1 << 7;
/// `XN`: never executed.
const NEVER_EXECUTE: u64 = 1 << 54;
/// Where a page or block lies, without the attributes; a block's low address bits are zero.
const ADDRESS: u64 = 0xffff_ffff_f000;
/// No descriptor that is valid; and none that is written to a table, where 0 says that nothing is there.
const INVALID: u64 = 2;
/// Descriptors that are looked at together, to pass by empty ones.
pub const GROUP: usize = 16;
/// Groups of them likewise, in descriptors.
const PART: usize = 4 * GROUP;

/// Neighbouring pages or blocks with the same rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Where it is mapped.
    pub va: HypVirtAddr,
    /// What it maps.
    pub pa: HostPhysAddr,
    /// Its bytes.
    pub bytes: u64,
    /// EL2 may write it.
    pub writable: bool,
    /// EL2 may execute it.
    pub executable: bool,
}

/// What is wrong with a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsound {
    /// It can be written and executed.
    WritableText,
    /// It can be executed, and is not all text.
    StrayText,
}

impl Run {
    /// Checks the run by itself; `text` is the image's text, first byte and the one behind the last.
    pub fn unsound(&self, text: (HypVirtAddr, HypVirtAddr)) -> Option<Unsound> {
        let inside = text.0.0 <= self.va.0 && self.va.0 + self.bytes <= text.1.0;
        match (self.executable, self.writable) {
            (true, true) => Some(Unsound::WritableText),
            (true, false) if !inside => Some(Unsound::StrayText),
            _ => None,
        }
    }
}

/// Says whether a group, or some of them, have no entry at all.
#[inline(always)]
pub fn is_empty<const N: usize>(group: &[u64; N]) -> bool {
    group.iter().fold(0, |bits, descriptor| bits | descriptor) == 0
}

/// Says whether the descriptors of a group go on from `next`, each with the pages or blocks behind the one before.
fn is_row(group: &[u64; GROUP], next: u64, bytes: u64) -> bool {
    let wanted = (0..).map(|index: u64| next.wrapping_add(index.wrapping_mul(bytes)));
    let differences = group.iter().zip(wanted);
    differences.fold(0, |bits, (found, wanted)| bits | (found ^ wanted)) == 0
}

/// A walk over tables, by rising addresses.
pub struct Walk<'a> {
    run: Run,
    /// The descriptor that would go on with the run.
    next: u64,
    bytes: u64,
    each: &'a mut dyn FnMut(&Run),
}

impl<'a> Walk<'a> {
    /// Starts a walk that hands every run to `each`.
    pub fn new(each: &'a mut dyn FnMut(&Run)) -> Self {
        Self {
            run: Run {
                va: HypVirtAddr(0),
                pa: HostPhysAddr(0),
                bytes: 0,
                writable: false,
                executable: false,
            },
            next: INVALID,
            bytes: 0,
            each,
        }
    }

    /// Takes descriptors of pages or blocks of `bytes` bytes each, the first for `va`. Those that are invalid map nothing.
    pub fn leaves(&mut self, va: HypVirtAddr, bytes: u64, descriptors: &[u64; ENTRIES]) {
        for (index, part) in (0..).zip(descriptors.as_chunks().0) {
            if is_empty::<PART>(part) {
                self.end();
            } else {
                self.part(va, index * PART as u64, bytes, part);
            }
        }
    }

    /// Takes a part of a table; its first descriptor is number `first` behind `va`.
    #[inline(never)]
    fn part(&mut self, va: HypVirtAddr, first: u64, bytes: u64, part: &[u64; PART]) {
        for (index, group) in (0..).zip(part.as_chunks().0) {
            // Most groups are empty, and most others go on with the one before.
            if is_empty(group) {
                self.end();
            } else if is_row(group, self.next, bytes) {
                self.grow(GROUP as u64, bytes);
            } else {
                self.group(va, first + index * GROUP as u64, bytes, group);
            }
        }
    }

    /// Takes a group one by one; its first is number `first` behind `va`.
    #[inline(never)]
    fn group(&mut self, va: HypVirtAddr, first: u64, bytes: u64, group: &[u64; GROUP]) {
        for (index, descriptor) in (first..).zip(group) {
            self.leaf(HypVirtAddr(va.0 + index * bytes), bytes, *descriptor);
        }
    }

    /// Takes one descriptor.
    #[inline(always)]
    pub fn leaf(&mut self, va: HypVirtAddr, bytes: u64, descriptor: u64) {
        if descriptor == self.next {
            self.grow(1, bytes);
        } else if descriptor & VALID == 0 {
            self.end();
        } else {
            self.begin(va, bytes, descriptor);
        }
    }

    /// Lets the run go on over a number of pages or blocks. There are far fewer than 2^64 bytes.
    fn grow(&mut self, count: u64, bytes: u64) {
        let more = count.wrapping_mul(bytes);
        self.run.bytes = self.run.bytes.wrapping_add(more);
        self.next = self.next.wrapping_add(more);
    }

    /// Ends a run, and begins another.
    #[inline(never)]
    fn begin(&mut self, va: HypVirtAddr, bytes: u64, descriptor: u64) {
        self.end();
        self.run = Run {
            va,
            pa: HostPhysAddr(descriptor & ADDRESS),
            bytes,
            writable: descriptor & READ_ONLY == 0,
            executable: descriptor & NEVER_EXECUTE == 0,
        };
        self.next = descriptor.wrapping_add(bytes);
    }

    /// Ends a run, if there is any: nothing is mapped here.
    #[inline(always)]
    pub fn end(&mut self) {
        if self.next != INVALID {
            self.hand_over();
        }
    }

    #[inline(never)]
    fn hand_over(&mut self) {
        self.bytes = self.bytes.wrapping_add(self.run.bytes);
        self.next = INVALID;
        (self.each)(&self.run);
    }

    /// Ends the walk, and returns how many bytes are mapped.
    pub fn finish(mut self) -> u64 {
        self.end();
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x7f_c000_0000;
    const TEXT: (HypVirtAddr, HypVirtAddr) = (HypVirtAddr(BASE), HypVirtAddr(BASE + 0x4000));

    /// Walks one table of pages.
    fn walk(entries: &[(usize, u64)]) -> (Vec<Run>, u64) {
        let mut table = [0; ENTRIES];
        for (index, descriptor) in entries {
            table[*index] = *descriptor;
        }
        let mut runs = Vec::new();
        let mut each = |run: &Run| runs.push(*run);
        let mut walk = Walk::new(&mut each);
        walk.leaves(HypVirtAddr(BASE), 4096, &table);
        let bytes = walk.finish();
        (runs, bytes)
    }

    #[test]
    fn neighbours_with_the_same_rights_are_one_run() {
        let text = 3 | READ_ONLY;
        let data = 3 | NEVER_EXECUTE;
        let (runs, bytes) = walk(&[
            (0, 0x4000_0000 | text),
            (1, 0x4000_1000 | text),
            // Other rights, then a hole, then another place.
            (2, 0x4000_2000 | data),
            (4, 0x4000_4000 | data),
            (5, 0x5000_0000 | data),
            (511, 0x5000_1000 | data),
        ]);
        let seen: Vec<_> = runs
            .iter()
            .map(|run| ((run.va.0 - BASE) >> 12, run.pa.0, run.bytes >> 12))
            .collect();
        assert_eq!(
            seen,
            [
                (0, 0x4000_0000, 2),
                (2, 0x4000_2000, 1),
                (4, 0x4000_4000, 1),
                (5, 0x5000_0000, 1),
                (511, 0x5000_1000, 1)
            ]
        );
        assert_eq!(bytes, 6 << 12);
        assert!(runs[0].executable && !runs[0].writable);
        assert!(!runs[1].executable && runs[1].writable);
    }

    #[test]
    fn what_is_executable_is_text_and_never_written() {
        let of = |descriptor| walk(&[(3, descriptor)]).0[0].unsound(TEXT);
        assert_eq!(of(3 | READ_ONLY), None);
        assert_eq!(of(3 | READ_ONLY | NEVER_EXECUTE), None);
        assert_eq!(of(3 | NEVER_EXECUTE), None);
        assert_eq!(of(3), Some(Unsound::WritableText));
        let outside = walk(&[(4, 3 | READ_ONLY)]).0[0].unsound(TEXT);
        assert_eq!(outside, Some(Unsound::StrayText));
        // A run that begins in the text and ends behind it.
        let across = walk(&[(3, 0x3003 | READ_ONLY), (4, 0x4003 | READ_ONLY)]).0[0];
        assert_eq!(across.unsound(TEXT), Some(Unsound::StrayText));
    }

    #[test]
    fn groups_are_told_at_a_glance() {
        let mut group = [0; GROUP];
        assert!(is_empty(&group));
        group[15] = VALID;
        assert!(!is_empty(&group));
        let mut row = [0; GROUP];
        for (descriptor, page) in row.iter_mut().zip(0..) {
            *descriptor = 0x4000_0003 + page * 4096;
        }
        assert!(is_row(&row, 0x4000_0003, 4096));
        assert!(!is_row(&row, 0x4000_1003, 4096));
        assert!(!is_row(&row, 0x4000_0003, 2 << 20));
        row[15] |= READ_ONLY;
        assert!(!is_row(&row, 0x4000_0003, 4096));
    }

    #[test]
    fn nothing_is_no_run() {
        assert_eq!(walk(&[]), (vec![], 0));
        assert_eq!(walk(&[(7, 0x4000_0008)]), (vec![], 0));
    }

    #[test]
    fn pages_go_on_over_the_end_of_a_table() {
        let mut runs = Vec::new();
        let mut each = |run: &Run| runs.push(*run);
        let mut walk = Walk::new(&mut each);
        let [first, second] = [0, 1].map(|half| {
            let mut table = [0; ENTRIES];
            for (page, entry) in (half * 512..)
                .zip(&mut table)
                .skip(500 * usize::from(half == 0))
            {
                *entry = 0x4000_0003 + page * 4096;
            }
            table
        });
        walk.leaves(HypVirtAddr(BASE), 4096, &first);
        walk.leaves(HypVirtAddr(BASE + (2 << 20)), 4096, &second);
        assert_eq!(walk.finish(), (12 + 512) << 12);
        assert_eq!(runs.len(), 1);
        assert_eq!((runs[0].pa.0, runs[0].bytes), (0x401f_4000, 524 << 12));
    }
}
