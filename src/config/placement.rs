//! Where everything goes in the board's memory. One pure function: the host runs it for its report, EL2 at start-up
//! on the tree that it was really given.
//!
//! First the demands whose place the table fixes, then the others from the lowest address that has room, in the
//! order of the demands: EL2's own pool, then every partition's regions in table order, then the channels' memory. The
//! same ground and demands always give the same places. What is reserved goes to nobody, and where the loader put the image
//! or the tree on it, nothing starts. Every violation is reported, not only the first.

mod demand;
mod violation;

pub use demand::{
    BANK_BYTES, CHANNEL_BYTES, Demand, MANAGED_BYTES, Owner, PARTITION_BYTES, PCPU_BYTES,
    REGION_BYTES, STACK_BYTES, SYSTEM_BYTES, VCPU_BYTES, each_demand, pool_bytes, spi_banks,
};
pub use violation::Violation;

use super::record::ANYWHERE;
use crate::addr::{PAGE_BYTES, Range};
use crate::board::Reserved;

/// What there is to give out.
#[derive(Clone, Copy, Debug)]
pub struct Ground<'a> {
    /// The board's RAM, see [`crate::board::Board::memory`].
    pub memory: &'a [Range],
    /// What of it is reserved, see [`crate::board::Board::reserved`].
    pub reserved: &'a [Reserved<'a>],
    /// EL2's image with the payload behind it.
    pub hypervisor: Range,
}

/// Places every demand: `places[n]` becomes the host address of the n-th one. Returns the number of violations, each
/// of which `report` has seen; with any, `places` is good for nothing but messages.
///
/// `places` has room for as many as `demands` yields; what finds none is reported ([`Violation::TooMany`]). A place
/// that could not be found stays [`ANYWHERE`].
pub fn place<'a>(
    ground: &Ground<'a>,
    demands: impl Iterator<Item = Demand<'a>> + Clone,
    places: &mut [u64],
    report: &mut dyn FnMut(Violation<'a>),
) -> usize {
    place_shown(
        ground,
        &|each| demands.clone().for_each(each),
        places,
        report,
    )
}

/// Shows every demand. A value and no type, so that start-up has one copy of the walk and not one for each place that
/// looks at the demands.
pub type Demands<'w, 'a> = &'w dyn Fn(&mut dyn FnMut(Demand<'a>));

/// [`place`] for demands that are shown, in the same order each time.
pub fn place_shown<'a>(
    ground: &Ground<'a>,
    demands: Demands<'_, 'a>,
    places: &mut [u64],
    report: &mut dyn FnMut(Violation<'a>),
) -> usize {
    let mut violations = 0;
    let mut report = |violation| {
        violations += 1;
        report(violation);
    };
    // First, so that what the caller put there is not written at all.
    places.fill(ANYWHERE);
    for reserved in ground.reserved {
        if reserved.range.overlaps(ground.hypervisor) {
            report(Violation::HypervisorReserved {
                hypervisor: ground.hypervisor,
                reserved: *reserved,
            });
        }
    }
    let mut found = 0;
    demands(&mut |demand| {
        let position = found;
        found += 1;
        if demand.hpa == ANYWHERE {
            return;
        }
        if let Some(range) = check_fixed(ground, &demand, &mut report) {
            placed(demands, places, &mut |other, other_range| {
                if other_range.overlaps(range) {
                    report(Violation::OverlapsOther {
                        owner: demand.owner,
                        range,
                        other,
                        other_range,
                    });
                }
            });
        }
        if let Some(place) = places.get_mut(position) {
            *place = demand.hpa;
        }
    });
    if found > places.len() {
        let limit = places.len();
        report(Violation::TooMany { found, limit });
    }
    let mut next = 0;
    demands(&mut |demand| {
        let position = next;
        next += 1;
        if demand.hpa != ANYWHERE {
            return;
        }
        let mut search = Search::new(&demand);
        search.run(ground, &|each| {
            placed(demands, places, &mut |_, range| each(range));
        });
        match (search.found, places.get_mut(position)) {
            (Some(hpa), Some(place)) => *place = hpa,
            (None, _) => report(Violation::NoRoom {
                owner: demand.owner,
                size: demand.size,
                largest: search.largest,
            }),
            // Already reported: too many.
            (Some(_), None) => {}
        }
    });
    violations
}

/// Shows the demands that have a place so far, with the ranges that they have got.
fn placed<'a>(demands: Demands<'_, 'a>, places: &[u64], each: &mut dyn FnMut(Owner<'a>, Range)) {
    let mut places = places.iter();
    demands(&mut |demand| {
        let place = places.next().copied().unwrap_or(ANYWHERE);
        if let Some(range) = Range::new(place, demand.size)
            && place != ANYWHERE
        {
            each(demand.owner, range);
        }
    });
}

/// Reports what is wrong with a place that the table fixes, whatever else has a place, and returns its range.
fn check_fixed<'a>(
    ground: &Ground<'a>,
    demand: &Demand<'a>,
    report: &mut dyn FnMut(Violation<'a>),
) -> Option<Range> {
    let owner = demand.owner;
    let (hpa, size) = (demand.hpa, demand.size);
    let Some(range) = Range::new(hpa, size) else {
        report(Violation::NoRange { owner, hpa, size });
        return None;
    };
    let congruent = hpa & (demand.modulus - 1) == demand.gpa & (demand.modulus - 1);
    if !congruent {
        let (gpa, modulus) = (demand.gpa, demand.modulus);
        report(Violation::Incongruent {
            owner,
            hpa,
            gpa,
            modulus,
        });
    }
    if !ground.memory.iter().any(|memory| memory.contains(range)) {
        report(Violation::OutsideMemory { owner, range });
    }
    if ground.hypervisor.overlaps(range) {
        let hypervisor = ground.hypervisor;
        report(Violation::OverlapsHypervisor {
            owner,
            range,
            hypervisor,
        });
    }
    for reserved in ground.reserved {
        if reserved.range.align_out(PAGE_BYTES).overlaps(range) {
            let reserved = *reserved;
            report(Violation::OverlapsReserved {
                owner,
                range,
                reserved,
            });
        }
    }
    Some(range)
}

/// Shows ranges that are taken.
type Ranges<'w> = &'w dyn Fn(&mut dyn FnMut(Range));

/// The search for the lowest gap that a demand fits into.
struct Search {
    size: u64,
    /// What the place is to be modulo `modulus`.
    remainder: u64,
    modulus: u64,
    found: Option<u64>,
    /// Bytes of the largest gap seen.
    largest: u64,
}

impl Search {
    fn new(demand: &Demand<'_>) -> Self {
        Self {
            size: demand.size,
            remainder: demand.gpa & (demand.modulus - 1),
            modulus: demand.modulus,
            found: None,
            largest: 0,
        }
    }

    /// Goes through the gaps from the lowest address until one has room.
    fn run(&mut self, ground: &Ground<'_>, taken: Ranges<'_>) {
        // What an address is in, and where the next obstacle behind it starts.
        let look = |address: u64| {
            let (mut inside, mut next) = (None, None);
            let mut see = |obstacle: Range| {
                if obstacle.holds(address) {
                    inside = inside.max(Some(obstacle.last()));
                } else if obstacle.start() > address {
                    next = Some(next.unwrap_or(u64::MAX).min(obstacle.start()));
                }
            };
            see(ground.hypervisor.align_out(PAGE_BYTES));
            for reserved in ground.reserved {
                see(reserved.range.align_out(PAGE_BYTES));
            }
            taken(&mut see);
            (inside, next)
        };
        for memory in ground.memory {
            let mut cursor = memory.start().checked_next_multiple_of(PAGE_BYTES);
            while let Some(start) = cursor.filter(|start| *start <= memory.last()) {
                let (inside, next) = look(start);
                if let Some(inside) = inside {
                    cursor = inside.checked_add(1);
                    continue;
                }
                // `start` is in no obstacle, so the next one starts behind it.
                let last = next.map_or(memory.last(), |next| memory.last().min(next - 1));
                if self.fits(start, last) {
                    return;
                }
                cursor = last.checked_add(1);
            }
        }
    }

    /// Says whether the demand fits into the gap `start..=last`, and takes the place if so.
    fn fits(&mut self, start: u64, last: u64) -> bool {
        let Some(gap) = Range::inclusive(start, last) else {
            return false;
        };
        self.largest = self.largest.max(gap.size());
        let offset = self.remainder.wrapping_sub(start) & (self.modulus - 1);
        let place = start.checked_add(offset);
        let range = place.and_then(|place| Range::new(place, self.size));
        if range.is_some_and(|range| gap.contains(range)) {
            self.found = place;
        }
        self.found.is_some()
    }
}

#[cfg(test)]
mod tests;
