//! Filling a partition's memory before it starts: zeros, images, random seeds, in pieces of at most a page, or two of zeros. And tearing it
//! down: interrupts given back by the bank, partners told one at a time.
//!
//! The first runs as vCPU 0's own work at vCPU 0's priority, so that an urgent partition starts while others still load,
//! and a restart of a large one delays nobody who is more urgent; the second as that of the vCPU that left last.

use super::watchdog::KEPT;
use crate::arch::aarch64::{cache, copy};
use crate::events::Event;
use crate::pcpu::{Activity, Pcpu};
use crate::system::Partition;
use bulkhead::addr::{GuestPhysAddr, HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::config::record::SegmentRecord;
use bulkhead::device::doorbell::Presence;
use bulkhead::sched::Slot;
use bulkhead::smccc::psci::Entry;
use bulkhead::smccc::result;
use core::sync::atomic::Ordering;

/// Pages that are zeroed in one piece: that takes a quarter of the instructions of a copy.
const ZEROED: usize = 2;
/// Interrupts that are routed in one piece.
const ROUTES: u16 = 16;

/// How far the loading is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cursor {
    /// Returning the virtual GIC to its power-on state.
    Reset {
        /// Step of the latter.
        step: u16,
    },
    /// Sending interrupts from number `first` of the table on to where a first life finds them. Not before: until the virtual
    /// GIC is as new, another pCPU may give one the priority that it had in the former life.
    Route {
        /// Interrupt.
        first: u16,
    },
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
    /// Seeing that the memory of channel `index` was zeroed once.
    Share {
        /// Which of the partition's channels.
        index: u16,
    },
    /// It runs: telling the partner at channel `index`, before vCPU 0 enters the guest.
    Greet {
        /// Which of the partition's channels.
        index: u16,
    },
    /// All vCPUs have left after a crash: keeping what its console was sent last, from this word on.
    Keep {
        /// Word.
        from: u16,
    },
    /// All vCPUs have left: giving back the interrupts of a bank.
    Quiet {
        /// Bank of SPIs, counted from the first one.
        bank: u16,
    },
    /// Telling the partner at channel `index` that the partition has stopped.
    Part {
        /// Which of the partition's channels.
        index: u16,
    },
}

impl Cursor {
    /// Begins: with the interrupt controller and zeros when the partition lived before.
    pub const fn new(scrub: bool) -> Self {
        if scrub {
            Self::Reset { step: 0 }
        } else {
            Self::Copy { index: 0, done: 0 }
        }
    }
}

impl Pcpu {
    /// Does one piece of a partition's loading, after the last one of which its vCPU 0 is ready to run, or of its
    /// tear-down, after which it is stopped.
    pub fn load_piece(&mut self, slot: Slot) {
        let Some(vcpu) = self.vcpus.get(slot.index()) else {
            return;
        };
        let partition = vcpu.partition;
        let Activity::Loading(cursor) = vcpu.activity else {
            return;
        };
        let next = match cursor {
            Cursor::Reset { step } => self.reset_piece(partition, step),
            Cursor::Route { first } => self.route_piece(partition, first),
            Cursor::Zero { index, done } => self.zero_piece(partition, index, done),
            Cursor::Copy { index, done } => self.copy_piece(partition, index, done),
            Cursor::Seed { index } => self.seed_piece(partition, index),
            Cursor::Share { index } => self.share_piece(slot, partition, index),
            // vCPU 0 enters the guest when all partners know.
            Cursor::Greet { index } => match self.tell(partition, index) {
                true => Some(Cursor::Greet { index: index + 1 }),
                false => self.enter_life(slot, partition),
            },
            Cursor::Keep { from } => Some(match self.keep_output(partition, from) {
                true => Cursor::Keep { from: from + KEPT },
                false => Cursor::Quiet { bank: 0 },
            }),
            Cursor::Quiet { bank } => Some(self.quiet_piece(partition, bank)),
            Cursor::Part { index } => match self.tell(partition, index) {
                true => Some(Cursor::Part { index: index + 1 }),
                false => self.ended(slot, partition),
            },
        };
        if let (Some(next), Some(vcpu)) = (next, self.vcpu(slot)) {
            vcpu.activity = Activity::Loading(next);
        }
    }

    /// Does the next step of making the virtual GIC as new, while the partition does not run.
    fn reset_piece(&mut self, partition: &'static Partition, step: u16) -> Option<Cursor> {
        let more = partition.state.lock_by_call().vgic.reset_step(step.into());
        Some(match more {
            true => Cursor::Reset { step: step + 1 },
            false => Cursor::Route { first: 0 },
        })
    }

    /// Routes the next few interrupts. None comes meanwhile: they are off since the former life.
    fn route_piece(&mut self, partition: &'static Partition, first: u16) -> Option<Cursor> {
        let end = first.saturating_add(ROUTES);
        Some(
            match self.route_interrupts(partition, first.into()..end.into()) {
                true => Cursor::Route { first: end },
                false => Cursor::Zero { index: 0, done: 0 },
            },
        )
    }

    /// Zeroes the next pages of a region.
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
        let (start, size) = (memory.guest.start(), memory.guest.size());
        let bytes = self.zero_guest(partition, start + done, size - done);
        Some(Cursor::Zero {
            index,
            done: done + bytes,
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
        let bytes = if done < segment.file_bytes {
            let from = self.system.payload_base + segment.offset + done;
            self.fill(partition, at, segment.file_bytes - done, |to, bytes| {
                // SAFETY: `fill` maps the target for us alone; the source lies in the payload, which was checked to hold
                // the whole segment and is mapped for good.
                unsafe { copy::copy(HypVirtAddr(from), to, bytes) };
            })
        } else {
            self.zero_guest(partition, at, segment.memory_bytes - done)
        };
        Some(Cursor::Copy {
            index,
            done: done + bytes,
        })
    }

    /// Zeroes up to `most` bytes of guest memory, and no more than [`ZEROED`] pages. Returns how many.
    fn zero_guest(&mut self, partition: &Partition, gpa: u64, most: u64) -> u64 {
        let mut done = 0;
        for _ in 0..ZEROED {
            if done < most {
                done += self.fill(partition, gpa + done, most - done, |to, bytes| {
                    // SAFETY: `fill` maps this range for us alone.
                    unsafe { copy::zero(to, bytes) };
                });
            }
        }
        done
    }

    /// Fills one random seed, a page's worth at most.
    fn seed_piece(&mut self, partition: &'static Partition, index: u16) -> Option<Cursor> {
        let seeds = self.system.payload.seeds(partition.record);
        let Some(seed) = seeds.get(usize::from(index)) else {
            return Some(Cursor::Share { index: 0 });
        };
        let system = self.system;
        let mut at = seed.gpa;
        let end = seed.gpa.saturating_add(seed.bytes.min(PAGE_BYTES));
        while at < end {
            at += self.fill(partition, at, end - at, |to, bytes| {
                // SAFETY: `fill` maps the range for us alone.
                let bytes =
                    unsafe { core::slice::from_raw_parts_mut(to.0 as *mut u8, bytes as usize) };
                system.random.lock_by_call().fill(bytes);
            });
        }
        Some(Cursor::Seed { index: index + 1 })
    }

    /// Zeroes a page of a channel's memory, if it was not yet.
    fn share_piece(
        &mut self,
        slot: Slot,
        partition: &'static Partition,
        index: u16,
    ) -> Option<Cursor> {
        let Some(end) = partition.channels.get(usize::from(index)) else {
            return self.loaded(slot, partition);
        };
        let done = self.zero_shared(end.shared);
        Some(Cursor::Share {
            index: index + u16::from(done),
        })
    }

    /// Zeroes a page of memory that no guest runs with yet.
    pub fn zero_page(&mut self, page: HostPhysAddr) {
        // SAFETY: the placement gave the page to a channel, whose partitions do not run before it is zero.
        unsafe {
            self.window.with_page(page, |page| {
                copy::zero(page, PAGE_BYTES);
                cache::clean_and_invalidate(page, PAGE_BYTES);
            });
        }
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

    /// Tells the partner at a channel that the partition runs, or has stopped. Returns false behind the last channel.
    #[inline(never)]
    fn tell(&mut self, partition: &'static Partition, index: u16) -> bool {
        self.ring(partition, index.into()) != result::INVALID_PARAMETERS
    }

    /// vCPU 0 is done with the work of its partition: what it is told from here on is for the guest.
    #[inline(never)]
    fn enter_life(&mut self, slot: Slot, partition: &Partition) -> Option<Cursor> {
        self.retire(slot);
        self.watch(slot, partition);
        self.attend |= 1u64.checked_shl(slot.0.into()).unwrap_or(0);
        None
    }

    /// Gives a bank of interrupts back: whatever state they are in, the next life finds them as new.
    #[inline(never)]
    fn quiet_piece(&mut self, partition: &'static Partition, bank: u16) -> Cursor {
        let mask = partition
            .state
            .lock_by_call()
            .vgic
            .hardware_spis(bank.into());
        let Some(mask) = mask else {
            return Cursor::Part { index: 0 };
        };
        if mask != 0 {
            let (gic, number) = (self.system.distributor, u32::from(bank) + 1);
            gic.disable(number, mask);
            gic.clear_pending(number, mask);
            gic.deactivate(number, mask);
        }
        Cursor::Quiet { bank: bank + 1 }
    }

    /// All is in place: vCPU 0 starts as Linux's booting protocol says, once its partners know.
    fn loaded(&mut self, slot: Slot, partition: &'static Partition) -> Option<Cursor> {
        cache::invalidate_instructions();
        let entry = Entry {
            address: GuestPhysAddr(partition.record.entry),
            context: partition.record.dtb,
        };
        let mut state = partition.state.lock_by_call();
        let runs = state.life.loaded();
        if runs {
            state.power.boot(entry);
            partition.exhaustions.store(0, Ordering::Relaxed);
        }
        let starts = state.life.starts();
        drop(state);
        if runs {
            let presence = Presence {
                generation: starts,
                runs: true,
            };
            partition.presence.store(presence.raw(), Ordering::Release);
            self.report(Event::Started {
                partition: partition.id,
                starts,
            });
            if !partition.channels.is_empty() {
                return Some(Cursor::Greet { index: 0 });
            }
        }
        self.enter_life(slot, partition)
    }
}
