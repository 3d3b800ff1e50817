//! Addresses as types: guest-physical, host-physical and EL2-virtual never mix, and ranges never wrap.
#![forbid(unsafe_code)]

use core::fmt;

use crate::display_by_show;
use crate::message::{Form, Out, Show, put};

/// Bytes in a page: the 4 KiB granule is the only one used.
pub const PAGE_BYTES: u64 = 4096;
/// Bytes that a level-2 block descriptor maps.
pub const BLOCK_2M_BYTES: u64 = 2 << 20;
/// Bytes that a level-1 block descriptor maps.
pub const BLOCK_1G_BYTES: u64 = 1 << 30;

/// Makes an address type over `u64`; Arm's name for it goes into the documentation.
macro_rules! address {
    ($name:ident, $doc:literal) => {
        #[doc = $doc]
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// Adds a number of bytes, or returns `None` past the end of the address space.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// Says whether the address is a multiple of `bytes`, which is a power of two.
            pub const fn is_aligned(self, bytes: u64) -> bool {
                self.0 & (bytes - 1) == 0
            }

            /// Rounds down to a multiple of `bytes`, which is a power of two.
            pub const fn align_down(self, bytes: u64) -> Self {
                Self(self.0 & !(bytes - 1))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        display_by_show!($name);

        impl Show for $name {
            fn show(&self, out: &mut dyn Out, _: Form) {
                self.0.show(out, Form::Hex(1));
            }
        }
    };
}

address!(
    GuestPhysAddr,
    "A guest-physical address (GPA): what a guest calls physical, Arm's IPA."
);
address!(
    HostPhysAddr,
    "A host-physical address (HPA): a place on the board's bus, Arm's PA."
);
address!(HypVirtAddr, "A virtual address of EL2's own stage 1.");

/// A range of bytes `start..start + size` in one address space, never empty and never past 2^64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Range {
    start: u64,
    last: u64,
}

impl Range {
    /// Makes the range of `size` bytes at `start`, or `None` when it is empty or wraps.
    pub const fn new(start: u64, size: u64) -> Option<Self> {
        if size == 0 {
            return None;
        }
        match start.checked_add(size - 1) {
            Some(last) => Some(Self { start, last }),
            None => None,
        }
    }

    /// Makes the range from `start` to `last`, both included, or `None` when `last` lies before `start`.
    pub const fn inclusive(start: u64, last: u64) -> Option<Self> {
        if last < start {
            None
        } else {
            Some(Self { start, last })
        }
    }

    /// Returns the first byte.
    pub const fn start(self) -> u64 {
        self.start
    }

    /// Returns the last byte that belongs to the range.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// Returns the number of bytes, saturating for the whole address space.
    pub const fn size(self) -> u64 {
        (self.last - self.start).saturating_add(1)
    }

    /// Says whether both ranges share a byte.
    pub const fn overlaps(self, other: Self) -> bool {
        self.start <= other.last && other.start <= self.last
    }

    /// Says whether every byte of `other` lies in `self`.
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.last <= self.last
    }

    /// Says whether the byte at `address` lies in the range.
    pub const fn holds(self, address: u64) -> bool {
        self.start <= address && address <= self.last
    }

    /// Grows the range to whole multiples of `bytes`, a power of two.
    pub const fn align_out(self, bytes: u64) -> Self {
        Self {
            start: self.start & !(bytes - 1),
            last: self.last | (bytes - 1),
        }
    }
}

impl fmt::Debug for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}..={:#x}", self.start, self.last)
    }
}

display_by_show!(Range);

impl Show for Range {
    fn show(&self, out: &mut dyn Out, _: Form) {
        put(out, "{x}..={x}", &[&self.start, &self.last]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_empty_and_wrapping_ranges() {
        assert_eq!(Range::new(0x1000, 0), None);
        assert_eq!(Range::new(u64::MAX, 2), None);
        assert_eq!(Range::new(u64::MAX, 1).map(Range::last), Some(u64::MAX));
    }

    #[test]
    fn neighbours_do_not_overlap() {
        let low = Range::new(0x1000, 0x1000).unwrap();
        let high = Range::new(0x2000, 0x1000).unwrap();
        assert!(!low.overlaps(high) && !high.overlaps(low));
        assert!(low.overlaps(Range::new(0x1fff, 2).unwrap()));
    }

    #[test]
    fn ranges_are_sets_of_bytes() {
        let all = || (0..5).flat_map(|first| (first..5).map(move |last| (first, last)));
        for (first, last) in all() {
            let range = Range::inclusive(first, last).unwrap();
            assert_eq!(Range::new(first, last - first + 1), Some(range));
            assert_eq!(range.size(), last - first + 1);
            for byte in 0..6 {
                assert_eq!(range.holds(byte), (first..=last).contains(&byte));
            }
            for (start, end) in all() {
                let other = Range::inclusive(start, end).unwrap();
                let shared = (start..=end).filter(|byte| range.holds(*byte)).count() as u64;
                assert_eq!(range.contains(other), shared == other.size());
                assert_eq!(range.overlaps(other), shared > 0);
            }
        }
        assert_eq!(Range::inclusive(2, 1), None);
        let everything = Range::inclusive(0, u64::MAX).unwrap();
        assert_eq!(everything.size(), u64::MAX);
    }

    #[test]
    fn ranges_are_shown_by_their_ends() {
        let range = Range::new(0x1000, 0x20).unwrap();
        assert_eq!(
            format!("{range} {range:?}"),
            "0x1000..=0x101f 0x1000..=0x101f"
        );
        let address = GuestPhysAddr(0x4000);
        assert_eq!(format!("{address} {address:?}"), "0x4000 0x4000");
    }

    #[test]
    fn aligns_out_to_whole_pages() {
        let range = Range::new(0x1234, 0x10).unwrap().align_out(PAGE_BYTES);
        assert_eq!((range.start(), range.last()), (0x1000, 0x1fff));
    }
}
