//! The start-up pool: carved while the system is built, then never again. Whole pages come from its end and all else from
//! its start, so that nothing is lost to alignment between them.

use super::refuse;
use crate::arch::aarch64::mmu::{self, Kind, Tables};
use crate::arch::aarch64::probe;
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::message::Show;
use bulkhead::stage2::TableStore;

/// Refuses memory that the device tree invents.
pub fn refuse_memory(whose: &dyn Show, at: HostPhysAddr) -> ! {
    refuse(
        "no memory answers at {}, where {} is to be by the device tree",
        &[&at, whose],
    )
}

/// The pool.
pub struct Arena {
    hpa: HostPhysAddr,
    bytes: u64,
    /// The first byte that is free.
    next: u64,
    /// The one behind the last that is free, at a page.
    end: u64,
}

impl Arena {
    /// Maps the pool and takes charge of it.
    pub fn new(tables: &mut Tables, hpa: HostPhysAddr, bytes: u64) -> Self {
        if bytes > mmu::POOL_MAX_BYTES {
            refuse(
                "the table needs {} bytes of EL2's pool, and {} can be mapped",
                &[&bytes, &mmu::POOL_MAX_BYTES],
            );
        }
        // SAFETY: the placement function gave this range to the pool alone.
        let mapped = unsafe { tables.map(mmu::POOL_BASE, hpa, bytes, Kind::ReadWrite) };
        mapped.unwrap_or_else(|error| refuse("bulkhead cannot map its pool: {}", &[&error]));
        for page in (0..bytes).step_by(PAGE_BYTES as usize) {
            // SAFETY: mapped just now, and not given out yet.
            if !unsafe { probe::keeps(HypVirtAddr(mmu::POOL_BASE.0 + page)) } {
                refuse_memory(&"bulkhead's own memory", HostPhysAddr(hpa.0 + page));
            }
        }
        Self {
            hpa,
            bytes,
            next: mmu::POOL_BASE.0,
            end: mmu::POOL_BASE.0 + bytes,
        }
    }

    /// Makes a value that lives as long as the system.
    pub fn value<T>(&mut self, value: T) -> &'static mut T {
        let place = self.carve(size_of::<T>(), align_of::<T>()) as *mut T;
        // SAFETY: `carve` gives out each byte once, mapped and aligned.
        unsafe {
            place.write(value);
            &mut *place
        }
    }

    /// Makes a slice that lives as long as the system, its elements in order.
    pub fn slice<T>(&mut self, count: usize, mut make: impl FnMut(usize) -> T) -> &'static mut [T] {
        let place = self.carve(size_of::<T>() * count, align_of::<T>()) as *mut T;
        for index in 0..count {
            let element = make(index);
            // SAFETY: inside what `carve` gave out.
            unsafe { place.add(index).write(element) };
        }
        // SAFETY: all elements are written.
        unsafe { core::slice::from_raw_parts_mut(place, count) }
    }

    /// Reserves room for `count` values that are made one by one, while the pool serves what they refer to.
    pub fn reserve<T>(&mut self, count: usize) -> Reserved<T> {
        let first = self.carve(size_of::<T>() * count, align_of::<T>()) as *mut T;
        Reserved {
            first,
            count,
            filled: 0,
        }
    }

    /// Carves whole pages and returns where they are on the board.
    pub fn pages(&mut self, count: u64) -> HostPhysAddr {
        self.end = self.end.saturating_sub(count * PAGE_BYTES);
        self.check(self.next);
        HostPhysAddr(self.hpa.0 + (self.end - mmu::POOL_BASE.0))
    }

    /// Returns where on the board something lies that was carved.
    pub fn host_address<T>(&self, carved: &[T]) -> HostPhysAddr {
        HostPhysAddr(self.hpa.0 + (carved.as_ptr() as u64 - mmu::POOL_BASE.0))
    }

    /// Returns the bytes that were carved so far.
    pub fn carved(&self) -> u64 {
        self.bytes - (self.end - self.next)
    }

    // Not inlined: there are many callers.
    #[inline(never)]
    fn carve(&mut self, bytes: usize, alignment: usize) -> u64 {
        let at = self.next.next_multiple_of(alignment as u64);
        let next = at + bytes as u64;
        self.check(next);
        self.next = next;
        at
    }

    /// Refuses to start when what is carved up to `next` meets the pages at the end.
    fn check(&self, next: u64) {
        if next > self.end {
            refuse(
                "EL2's pool is too small by {} bytes: this is a bug of bulkhead",
                &[&(next - self.end)],
            );
        }
    }

    fn address(&self, table: HostPhysAddr, index: usize) -> *mut u64 {
        let offset = table.0.wrapping_sub(self.hpa.0);
        let at = HypVirtAddr(mmu::POOL_BASE.0 + offset);
        debug_assert!(offset < self.bytes && index < 512, "a table of this pool");
        (at.0 + index as u64 * 8) as *mut u64
    }
}

impl TableStore for Arena {
    fn allocate(&mut self) -> Option<HostPhysAddr> {
        let table = self.pages(1);
        // SAFETY: a page that was carved just now.
        unsafe { self.address(table, 0).write_bytes(0, 512) };
        Some(table)
    }

    fn read(&self, table: HostPhysAddr, index: usize) -> u64 {
        // SAFETY: an aligned word of a page that `allocate` gave out.
        unsafe { self.address(table, index).read_volatile() }
    }

    fn write(&mut self, table: HostPhysAddr, index: usize, descriptor: u64) {
        // SAFETY: as for `read`; no CPU walks the tables before start-up ends.
        unsafe { self.address(table, index).write_volatile(descriptor) };
    }
}

/// Room for values that are made one by one.
pub struct Reserved<T> {
    first: *mut T,
    count: usize,
    filled: usize,
}

impl<T: 'static> Reserved<T> {
    /// Puts the next value in; one too many is dropped.
    #[inline(always)]
    pub fn push(&mut self, value: T) {
        if self.filled < self.count {
            // SAFETY: inside what `reserve` carved, not written before.
            unsafe { self.first.add(self.filled).write(value) };
            self.filled += 1;
        }
    }

    /// Returns the values that were put in.
    pub fn finish(self) -> &'static mut [T] {
        // SAFETY: the first `filled` values are written, and nobody else has them.
        unsafe { core::slice::from_raw_parts_mut(self.first, self.filled) }
    }
}
