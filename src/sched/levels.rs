//! Interrupts have the priority of the vCPU that takes them: how that is said to the physical GIC.
//!
//! A *rank* is the number of distinct priorities on a pCPU that are more urgent: equals share one. Each rank gets a level
//! of its own as far as the GIC has them; the most urgent ranks come first, and all that find none share the last one.
//! Such an interrupt may come while somebody more urgent of the same level runs: once, for it stays active until its
//! owner has dealt with it, and an active interrupt is not signalled again, be it an edge or a level.
//!
//! A GIC keeps the upper bits of a priority, smaller values being more urgent, and a mask lets through what is smaller
//! than itself. So of 2^n values 2^n - 1 can be used: 31 on QEMU's `virt`, 15 where the firmware has the upper half. The
//! first one is EL2's own: its timer, its kicks, maintenance, and the virtual timer of whoever runs.
//!
//! With two security states the distributor shows us the upper half of the hardware's priorities as if it were the whole. The
//! mask does the same where the firmware keeps group 0 to itself, as it usually does; where it does not, a mask is written as
//! the hardware has it ([`Levels::with_whole_masks`]).
//!
//! # Source
//! Arm IHI 0069, "Interrupt prioritization", "Software accesses of interrupt priority"; register pages `GICD_IPRIORITYR<n>`, `ICC_PMR_EL1`.

/// The priority of what EL2 takes whoever runs.
pub const OWN: u8 = 0;
/// A priority that no mask lets through.
pub const SILENT: u8 = u8::MAX;
/// A mask that lets all through but [`SILENT`].
pub const OPEN: u8 = u8::MAX;

/// The priority levels of a GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The bits of a priority that are kept.
    kept: u8,
    /// Masks are written as the hardware has them, and priorities as its non-secure half sees them.
    whole_masks: bool,
}

impl Levels {
    /// Takes the levels that all registers have, from what each returned after ones were written to it. `None` when they
    /// do not leave two: EL2's and one more.
    pub fn from_read_back(values: &[u8]) -> Option<Self> {
        let common = values.iter().fold(u8::MAX, |common, value| common & value);
        // A bit below one that is not kept is of no use.
        let kept = !(u8::MAX.checked_shr(common.leading_ones()).unwrap_or(0));
        (kept.count_ones() >= 2).then_some(Self {
            kept,
            whole_masks: false,
        })
    }

    /// Makes the levels of a GIC of which `usable` can pass a mask: one less than a power of two.
    pub fn from_usable(usable: u8) -> Option<Self> {
        let bits = usable.trailing_ones();
        let kept = !(u8::MAX.checked_shr(bits).unwrap_or(0));
        (usable.checked_shr(bits).unwrap_or(0) == 0 && bits >= 2).then_some(Self {
            kept,
            whole_masks: false,
        })
    }

    /// Returns the same levels for a GIC whose priorities are the non-secure half's while its masks are not: two security
    /// states, and a firmware that leaves group 0 to us (`SCR_EL3.FIQ` = 0).
    pub const fn with_whole_masks(self, whole_masks: bool) -> Self {
        Self {
            whole_masks,
            ..self
        }
    }

    /// Says whether a register that returned `value` after ones were written to it has these levels.
    pub const fn fit(self, value: u8) -> bool {
        value & self.kept == self.kept
    }

    /// Returns how many levels there are for vCPUs.
    pub const fn for_vcpus(self) -> u8 {
        u8::MAX / self.step() - 1
    }

    /// Returns the priority of the interrupts of those at a rank.
    pub fn priority(self, rank: u8) -> u8 {
        self.step()
            .saturating_mul(rank.min(self.for_vcpus() - 1) + 1)
    }

    /// Returns the mask while one at a rank runs: what is at least as urgent comes through.
    pub fn mask(self, rank: u8) -> u8 {
        let mask = self.priority(rank).saturating_add(self.step());
        match self.whole_masks {
            // What the non-secure half writes as p lies at 0x80 + p / 2.
            true => 0x80 | mask >> 1,
            false => mask,
        }
    }

    /// Returns the distance of two levels.
    const fn step(self) -> u8 {
        1 << self.kept.trailing_zeros()
    }
}

/// Counts the distinct priorities of a pCPU's vCPUs that are more urgent than `priority`.
pub fn rank(priority: u8, others: impl IntoIterator<Item = u8>) -> u8 {
    let mut seen = [0u64; 4];
    for other in others.into_iter().filter(|other| *other > priority) {
        if let Some(word) = seen.get_mut(usize::from(other >> 6)) {
            *word |= 1 << (other & 63);
        }
    }
    seen.iter().map(|word| word.count_ones() as u8).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// GICs by what their registers keep of eight ones, and the levels that they have for vCPUs.
    const GICS: [(u8, u8); 5] = [(0xc0, 2), (0xf0, 14), (0xf8, 30), (0xfc, 62), (0xff, 254)];

    #[test]
    fn kept_bits_give_the_number_of_levels() {
        for (kept, levels) in GICS {
            let found = Levels::from_read_back(&[kept]).unwrap();
            assert_eq!(found.for_vcpus(), levels, "{kept:#x}");
        }
    }

    #[test]
    fn the_coarsest_register_decides() {
        let levels = Levels::from_read_back(&[0xf8, 0xf0, 0xff]).unwrap();
        assert_eq!(levels.for_vcpus(), 14);
        assert!(levels.fit(0xf0) && levels.fit(0xf8) && !levels.fit(0xe0));
    }

    #[test]
    fn too_few_bits_are_refused() {
        for value in [0x00, 0x80, 0x78, 0x7f] {
            assert_eq!(Levels::from_read_back(&[0xf8, value]), None, "{value:#x}");
        }
    }

    #[test]
    fn boards_say_how_many_can_be_used() {
        for (usable, levels) in [(3, 2), (15, 14), (31, 30), (63, 62), (127, 126), (255, 254)] {
            assert_eq!(Levels::from_usable(usable).unwrap().for_vcpus(), levels);
        }
        for wrong in [0, 1, 14, 16, 30, 32, 254] {
            assert_eq!(Levels::from_usable(wrong), None, "{wrong}");
        }
    }

    /// What the hardware does: a kept priority passes a kept mask when it is smaller.
    fn passes(kept: u8, priority: u8, mask: u8) -> bool {
        priority & kept < mask & kept
    }

    #[test]
    fn each_hears_what_is_as_urgent_and_nothing_else() {
        for (kept, count) in GICS {
            let levels = Levels::from_read_back(&[kept]).unwrap();
            for running in 0..=u8::MAX {
                let mask = levels.mask(running);
                for rank in 0..=u8::MAX {
                    let shared = rank >= count - 1 && running >= count - 1;
                    let heard = passes(kept, levels.priority(rank), mask);
                    assert_eq!(
                        heard,
                        rank <= running || shared,
                        "{kept:#x} {rank} {running}"
                    );
                }
                assert!(passes(kept, OWN, mask));
                assert!(!passes(kept, SILENT, mask));
            }
        }
    }

    #[test]
    fn whole_masks_let_the_same_through() {
        // The hardware keeps a bit more than the non-secure half sees of it.
        for kept in [0xe0_u8, 0xf0, 0xf8, 0xfe] {
            let levels = Levels::from_read_back(&[kept]).unwrap();
            let whole = levels.with_whole_masks(true);
            let held = |mask: u8| mask & (kept >> 1 | 0x80);
            for running in 0..=u8::MAX {
                for priority in (0..=u8::MAX).filter(|priority| priority & kept == *priority) {
                    assert_eq!(
                        0x80 | priority >> 1 < held(whole.mask(running)),
                        priority < levels.mask(running) & kept,
                        "{kept:#x} {running} {priority:#x}"
                    );
                }
            }
        }
    }

    #[test]
    fn an_open_mask_hears_all_but_the_silent() {
        for (kept, count) in GICS {
            let levels = Levels::from_read_back(&[kept]).unwrap();
            assert!((0..count).all(|rank| passes(kept, levels.priority(rank), OPEN)));
            assert!(!passes(kept, SILENT, OPEN));
        }
    }

    #[test]
    fn with_14_levels_the_tail_shares_one() {
        let levels = Levels::from_read_back(&[0xf0]).unwrap();
        let first: Vec<u8> = (0..13).map(|rank| levels.priority(rank)).collect();
        assert_eq!(first[..3], [0x10, 0x20, 0x30]);
        assert_eq!(first[12], 0xd0);
        assert!((13..64).all(|rank| levels.priority(rank) == 0xe0));
        assert_eq!(levels.mask(63), 0xf0);
    }

    #[test]
    fn with_30_levels_the_tail_shares_one() {
        let levels = Levels::from_read_back(&[0xf8]).unwrap();
        assert_eq!(levels.priority(0), 0x08);
        assert_eq!(levels.priority(28), 0xe8);
        assert!((29..64).all(|rank| levels.priority(rank) == 0xf0));
        assert_eq!(levels.mask(63), 0xf8);
    }

    #[test]
    fn equals_have_one_rank() {
        let all = [200, 10, 10, 200, 7, 0, 255];
        let ranks: Vec<u8> = all.iter().map(|own| rank(*own, all)).collect();
        assert_eq!(ranks, [1, 2, 2, 1, 3, 4, 0]);
        assert_eq!(rank(100, all), 2, "the console's, between two");
    }
}
