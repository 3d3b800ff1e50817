//! Where everything goes in the board's memory. One pure function: the host runs it for its report, EL2 at start-up
//! on the tree that it was really given.
//!
//! First the demands whose place the table fixes, then the others from the lowest address that has room, in the
//! order of the demands: EL2's own pool, then every partition's regions in table order. The same ground and demands
//! always give the same places. Every violation is reported, not only the first.

mod demand;
mod violation;

pub use demand::{
    CONSOLE_BYTES, Demand, Owner, PARTITION_BYTES, PCPU_BYTES, VCPU_BYTES, demands, pool_bytes,
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
    let mut violations = 0;
    let mut report = |violation| {
        violations += 1;
        report(violation);
    };
    places.fill(ANYWHERE);
    let found = demands.clone().count();
    if found > places.len() {
        let limit = places.len();
        report(Violation::TooMany { found, limit });
    }
    for (position, demand) in demands.clone().enumerate() {
        if demand.hpa != ANYWHERE {
            let earlier = placed(demands.clone(), places).take(position);
            check_fixed(ground, &demand, earlier, &mut report);
            if let Some(place) = places.get_mut(position) {
                *place = demand.hpa;
            }
        }
    }
    for (position, demand) in demands.clone().enumerate() {
        if demand.hpa == ANYWHERE {
            let taken = || {
                placed(demands.clone(), places)
                    .flatten()
                    .map(|(_, range)| range)
            };
            let mut search = Search::new(&demand);
            search.run(ground, taken);
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
        }
    }
    violations
}

/// Pairs the demands with the ranges that they have got so far.
fn placed<'a>(
    demands: impl Iterator<Item = Demand<'a>>,
    places: &[u64],
) -> impl Iterator<Item = Option<(Owner<'a>, Range)>> {
    demands.zip(places).map(|(demand, place)| {
        let range = Range::new(*place, demand.size).filter(|_| *place != ANYWHERE)?;
        Some((demand.owner, range))
    })
}

/// Reports all that is wrong with a place that the table fixes.
fn check_fixed<'a>(
    ground: &Ground<'a>,
    demand: &Demand<'a>,
    earlier: impl Iterator<Item = Option<(Owner<'a>, Range)>>,
    report: &mut dyn FnMut(Violation<'a>),
) {
    let owner = demand.owner;
    let (hpa, size) = (demand.hpa, demand.size);
    let Some(range) = Range::new(hpa, size) else {
        return report(Violation::NoRange { owner, hpa, size });
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
    for (other, other_range) in earlier.flatten() {
        if other_range.overlaps(range) {
            report(Violation::OverlapsOther {
                owner,
                range,
                other,
                other_range,
            });
        }
    }
}

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
    fn run<I: Iterator<Item = Range>>(&mut self, ground: &Ground<'_>, taken: impl Fn() -> I) {
        let obstacles = || {
            let reserved = ground.reserved.iter().map(|reserved| reserved.range);
            core::iter::once(ground.hypervisor)
                .chain(reserved)
                .map(|range| range.align_out(PAGE_BYTES))
                .chain(taken())
        };
        for memory in ground.memory {
            let mut cursor = memory.start().checked_next_multiple_of(PAGE_BYTES);
            while let Some(start) = cursor.filter(|start| *start <= memory.last()) {
                if let Some(inside) = obstacles().find(|obstacle| obstacle.holds(start)) {
                    cursor = inside.last().checked_add(1);
                    continue;
                }
                let next = obstacles()
                    .map(Range::start)
                    .filter(|obstacle| *obstacle > start)
                    .min();
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
