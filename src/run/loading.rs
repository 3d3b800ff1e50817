//! Filling a partition's memory before it starts: zeros, images, random seeds, in pieces of at most a page.
//!
//! It runs as vCPU 0's own work at vCPU 0's priority, so that an urgent partition starts while others still load, and a
//! restart of a large one delays nobody who is more urgent.

use crate::arch::aarch64::{cache, copy};
use crate::events::Event;
use crate::pcpu::{Activity, Pcpu};
use crate::system::Partition;
use bulkhead::addr::{GuestPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::config::record::SegmentRecord;
use bulkhead::sched::Slot;
use bulkhead::smccc::psci::Entry;

/// How far the loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Zeroing memory region `index`, `done` bytes of it are zero.
    Zero {
        /// Region.
        index: u16,
        /// Bytes.
        done: u64,
    },
    /// Copying segment `index`, `done` bytes of it are there.
    Copy {
        /// Segment.
        index: u16,
        /// Bytes.
        done: u64,
    },
    /// Filling random seed `index`.
    Seed {
        /// Seed.
        index: u16,
    },
}

impl Cursor {
    /// Begins: with zeros when the partition lived before.
    pub const fn new(scrub: bool) -> Self {
        if scrub {
            Self::Zero { index: 0, done: 0 }
        } else {
            Self::Copy { index: 0, done: 0 }
        }
    }
}

impl Pcpu {
    /// Does one piece of a partition's loading. After the last one its vCPU 0 is ready to run.
    pub fn load_piece(&mut self, slot: Slot) {
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let partition = vcpu.partition;
        let Activity::Loading(cursor) = vcpu.activity else {
            return;
        };
        let next = match cursor {
            Cursor::Zero { index, done } => self.zero_piece(partition, index, done),
            Cursor::Copy { index, done } => self.copy_piece(partition, index, done),
            Cursor::Seed { index } => self.seed_piece(partition, index),
        };
        match next {
            Some(next) => {
                if let Some(vcpu) = self.vcpu(slot) {
                    vcpu.activity = Activity::Loading(next);
                }
            }
            None => self.loaded(slot, partition),
        }
    }

    /// Zeroes the next page of a region.
    fn zero_piece(
        &mut self,
        partition: &'static Partition,
        index: u16,
        done: u64,
    ) -> Option<Cursor> {
        let Some(memory) = partition.memory.get(usize::from(index)) else {
            return Some(Cursor::Copy { index: 0, done: 0 });
        };
        if done >= memory.guest.size() {
            return Some(Cursor::Zero {
                index: index + 1,
                done: 0,
            });
        }
        self.fill(
            partition,
            memory.guest.start() + done,
            PAGE_BYTES,
            |to, bytes| {
                // SAFETY: `fill` maps this range for us alone.
                unsafe { copy::zero(to, bytes) };
            },
        );
        Some(Cursor::Zero {
            index,
            done: done + PAGE_BYTES,
        })
    }

    /// Copies up to a page of a segment, and zeroes what its memory has beyond its file.
    fn copy_piece(
        &mut self,
        partition: &'static Partition,
        index: u16,
        done: u64,
    ) -> Option<Cursor> {
        let segments: &'static [SegmentRecord] = self.system.payload.segments(partition.record);
        let Some(segment) = segments.get(usize::from(index)) else {
            return Some(Cursor::Seed { index: 0 });
        };
        if done >= segment.memory_bytes {
            return Some(Cursor::Copy {
                index: index + 1,
                done: 0,
            });
        }
        let at = segment.gpa + done;
        let end = if done < segment.file_bytes {
            segment.file_bytes
        } else {
            segment.memory_bytes
        };
        let from = self.system.payload_base + segment.offset + done;
        let copies = done < segment.file_bytes;
        let bytes = self.fill(partition, at, end - done, |to, bytes| {
            // SAFETY: `fill` maps the target for us alone; the source lies in the payload, which was checked to hold
            // the whole segment and is mapped for good.
            unsafe {
                match copies {
                    true => copy::copy(HypVirtAddr(from), to, bytes),
                    false => copy::zero(to, bytes),
                }
            }
        });
        Some(Cursor::Copy {
            index,
            done: done + bytes,
        })
    }

    /// Fills one random seed, a page's worth at most.
    fn seed_piece(&mut self, partition: &'static Partition, index: u16) -> Option<Cursor> {
        let seed = self
            .system
            .payload
            .seeds(partition.record)
            .get(usize::from(index))?;
        let system = self.system;
        let mut at = seed.gpa;
        let end = seed.gpa.saturating_add(seed.bytes.min(PAGE_BYTES));
        while at < end {
            at += self.fill(partition, at, end - at, |to, bytes| {
                // SAFETY: `fill` maps the range for us alone.
                let bytes =
                    unsafe { core::slice::from_raw_parts_mut(to.0 as *mut u8, bytes as usize) };
                system.random.lock().fill(bytes);
            });
        }
        Some(Cursor::Seed { index: index + 1 })
    }

    /// Maps the page that holds `gpa`, lets `work` change up to `most` bytes of it, and cleans them to memory. Returns
    /// how many bytes it was given, at least 1 so that loading always ends.
    fn fill(
        &mut self,
        partition: &Partition,
        gpa: u64,
        most: u64,
        work: impl FnOnce(HypVirtAddr, u64),
    ) -> u64 {
        let in_page = gpa % PAGE_BYTES;
        let bytes = most.min(PAGE_BYTES - in_page).max(1);
        let Some((hpa, _)) = partition.host_address(gpa) else {
            return bytes;
        };
        // SAFETY: the address is this partition's memory, and the partition does not run while it loads.
        unsafe {
            self.window.with_page(hpa, |page| {
                let at = HypVirtAddr(page.0 + in_page);
                work(at, bytes);
                cache::clean_and_invalidate(at, bytes);
            });
        }
        bytes
    }

    /// All is in place: vCPU 0 starts as Linux's booting protocol says.
    fn loaded(&mut self, slot: Slot, partition: &'static Partition) {
        cache::invalidate_instructions();
        let entry = Entry {
            address: GuestPhysAddr(partition.record.entry),
            context: partition.record.dtb,
        };
        let mut state = partition.state.lock();
        let runs = state.life.loaded();
        if runs {
            state.power.boot(entry);
        }
        let starts = state.life.starts();
        drop(state);
        self.retire(slot);
        if runs {
            self.report(Event::Started {
                partition: partition.id,
                starts,
            });
        }
        self.attend |= 1u64.checked_shl(slot.0.into()).unwrap_or(0);
    }
}
