//! Mapping and looking up.

use super::descriptor::{Attributes, Entry, decode, entry_bytes, leaf, table};
use super::{GUEST_BITS, Maintenance, MapError, TABLE_ENTRIES, TableStore};
use crate::addr::{GuestPhysAddr, HostPhysAddr, PAGE_BYTES, Range};

/// First host address that a descriptor cannot hold.
const HOST_END: u64 = 1 << 48;

/// One partition's stage-2 tables, named by their root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    root: HostPhysAddr,
}

/// Where a guest address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// The host address of that very byte.
    pub hpa: HostPhysAddr,
    /// Bytes from there to the end of the block or page: all lead on without a gap, with the same attributes.
    pub bytes: u64,
    /// What is granted.
    pub attributes: Attributes,
}

/// A mapping under way: what is left of it.
struct Span {
    gpa: u64,
    hpa: u64,
    left: u64,
    attributes: Attributes,
}

impl Span {
    /// Moves on behind a number of bytes.
    fn advance(&mut self, bytes: u64) {
        self.gpa += bytes;
        self.hpa += bytes;
        self.left -= bytes;
    }

    /// Says whether a block or page of `bytes` fits at the front.
    fn fits(&self, bytes: u64) -> bool {
        self.left >= bytes && (self.gpa | self.hpa) & (bytes - 1) == 0
    }
}

/// Returns the index of an address in a table of a level.
fn index(gpa: u64, level: u8) -> usize {
    (gpa / entry_bytes(level)) as usize % TABLE_ENTRIES
}

impl Stage2 {
    /// Takes a root page from the store: nothing is mapped. `None`: the store is used up.
    pub fn new(store: &mut impl TableStore) -> Option<Self> {
        store.allocate().map(|root| Self { root })
    }

    /// Returns the root page, for [`super::vttbr`].
    pub fn root(self) -> HostPhysAddr {
        self.root
    }

    /// Maps `size` bytes at `gpa` to those at `hpa`, with pages and with 2 MiB and 1 GiB blocks where both sides are
    /// aligned alike.
    ///
    /// # Errors
    /// Every [`MapError`]. After [`MapError::Overlap`] and [`MapError::NoTable`] a front part of the range is mapped:
    /// start-up refuses to go on, so nothing takes it back.
    // Not inlined: it has many callers.
    #[inline(never)]
    pub fn map(
        self,
        store: &mut impl TableStore,
        gpa: GuestPhysAddr,
        hpa: HostPhysAddr,
        size: u64,
        attributes: Attributes,
    ) -> Result<Maintenance, MapError> {
        if size == 0 || (gpa.0 | hpa.0 | size) & (PAGE_BYTES - 1) != 0 {
            return Err(MapError::Misaligned { gpa, hpa, size });
        }
        let within = |start, bits| Range::new(start, size).is_some_and(|r| r.last() >> bits == 0);
        if !within(gpa.0, GUEST_BITS) || !within(hpa.0, HOST_END.trailing_zeros()) {
            return Err(MapError::OutOfRange { gpa, hpa, size });
        }
        let mut span = Span {
            gpa: gpa.0,
            hpa: hpa.0,
            left: size,
            attributes,
        };
        fill(store, self.root, 1, &mut span)?;
        Ok(Maintenance::Publish)
    }

    /// Looks a guest address up as the hardware would. `None`: nothing is mapped there.
    pub fn translate(self, store: &impl TableStore, gpa: GuestPhysAddr) -> Option<Translation> {
        if gpa.0 >> GUEST_BITS != 0 {
            return None;
        }
        let mut at = self.root;
        for level in 1..=3 {
            match decode(store.read(at, index(gpa.0, level)), level) {
                Entry::Invalid => return None,
                Entry::Table(next) => at = next,
                Entry::Leaf(hpa, attributes) => {
                    let offset = gpa.0 & (entry_bytes(level) - 1);
                    return Some(Translation {
                        hpa: HostPhysAddr(hpa.0 | offset),
                        bytes: entry_bytes(level) - offset,
                        attributes,
                    });
                }
            }
        }
        None
    }

    /// Takes everything away from the partition, for good: the root is cleared, the tables below it are not used
    /// again. Its vCPUs are stopped; what they have in TLBs goes with the [`Maintenance`].
    pub fn unmap_all(self, store: &mut impl TableStore) -> Maintenance {
        for index in 0..TABLE_ENTRIES {
            store.write(self.root, index, 0);
        }
        Maintenance::InvalidatePartition
    }
}

/// Fills one table from `span` as far as it reaches. Calls itself for lower levels: two deep at most.
fn fill(
    store: &mut impl TableStore,
    at: HostPhysAddr,
    level: u8,
    span: &mut Span,
) -> Result<(), MapError> {
    let bytes = entry_bytes(level);
    for index in index(span.gpa, level)..TABLE_ENTRIES {
        let gpa = GuestPhysAddr(span.gpa);
        match decode(store.read(at, index), level) {
            Entry::Leaf(..) => return Err(MapError::Overlap { gpa }),
            Entry::Invalid if span.fits(bytes) => {
                let descriptor = leaf(HostPhysAddr(span.hpa), span.attributes, level);
                store.write(at, index, descriptor);
                span.advance(bytes);
            }
            Entry::Table(next) => fill(store, next, level + 1, span)?,
            Entry::Invalid => {
                let next = store.allocate().ok_or(MapError::NoTable { gpa })?;
                fill(store, next, level + 1, span)?;
                // Linked when it is filled, so that a walk never meets a half-made table.
                store.write(at, index, table(next));
            }
        }
        if span.left == 0 {
            return Ok(());
        }
    }
    Ok(())
}
