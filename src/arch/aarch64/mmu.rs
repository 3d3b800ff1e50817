//! EL2's own stage 1: one gigabyte of virtual addresses at the image's linked address.
//!
//! | address | what | how |
//! | --- | --- | --- |
//! | `IMAGE_BASE` | the image | pages, mapped by the start-up code |
//! | behind it, as on the board | the payload | pages, with the image's table, then blocks; read-only |
//! | 8 MiB before the end | devices, copy windows, stacks | pages, writable, never executable |
//! | 6 MiB before the end | the start-up pool | pages, writable, never executable |
//! | 2 MiB before the end | the device tree, during start-up | pages, read-only |
//!
//! The first pCPU alone changes the tables, before any guest runs; while it starts the others it maps what is the next one's
//! own, which was invalid and which nobody else uses. Afterwards only the copy windows change, each by the pCPU that owns it.

use super::entry::IMAGE_BASE;
use super::sysreg::read;
use super::tlb;
use bulkhead::addr::{BLOCK_2M_BYTES, HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::display_by_show;
use bulkhead::message::{Form, Out, Show, put};
use bulkhead::stage1::{self, Run, Walk};

/// Level-3 tables in the image beside the image's own: devices, pool (two), device tree, the payload's far end.
pub const SPARE_TABLES: usize = 5;

/// Behind EL2's last address.
const END: u64 = IMAGE_BASE + (1 << 30);
/// Where pages for devices, windows and stacks are given out.
pub const PAGES_BASE: HypVirtAddr = HypVirtAddr(END - 4 * BLOCK_2M_BYTES);
/// Where the start-up pool is mapped.
pub const POOL_BASE: HypVirtAddr = HypVirtAddr(END - 3 * BLOCK_2M_BYTES);
/// Most bytes that the pool can have.
pub const POOL_MAX_BYTES: u64 = 2 * BLOCK_2M_BYTES;
/// Where the device tree is mapped.
pub const TREE_BASE: HypVirtAddr = HypVirtAddr(END - BLOCK_2M_BYTES);
/// Most bytes that the payload can have, whatever the image before it takes of its 2 MiB.
pub const PAYLOAD_MAX_BYTES: u64 = (1 << 30) - 5 * BLOCK_2M_BYTES;

const ENTRIES: usize = 512;
const VALID: u64 = 1;
const TABLE_OR_PAGE: u64 = 0b11;
const ADDRESS: u64 = 0xffff_ffff_f000;
const DEVICE_INDEX: u64 = 1 << 2;
const COMMON: u64 = 1 << 10 | 0b11 << 8 | 1 << 6 | 1 << 54;

/// What a mapping is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Memory, writable.
    ReadWrite,
    /// Memory, read-only.
    ReadOnly,
    /// Device registers.
    Device,
}

impl Kind {
    const fn attributes(self) -> u64 {
        match self {
            Self::ReadWrite => COMMON,
            Self::ReadOnly => COMMON | 1 << 7,
            Self::Device => COMMON | DEVICE_INDEX,
        }
    }
}

/// Why EL2 could not map something for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MapError {
    /// The address lies outside EL2's gigabyte.
    OutsideWindow(HypVirtAddr),
    /// All spare tables are in use.
    OutOfTables,
    /// The page has a mapping already.
    Taken(HypVirtAddr),
    /// The CPU has no such physical address.
    NoSuchMemory(HostPhysAddr),
}

display_by_show!(MapError);

impl Show for MapError {
    fn show(&self, out: &mut dyn Out, _: Form) {
        let (what, at) = match *self {
            Self::OutsideWindow(at) => ("it has no virtual address", at.0),
            Self::OutOfTables => return out.bytes(b"its spare tables are used up"),
            Self::Taken(at) => ("there is a mapping already at the virtual address", at.0),
            Self::NoSuchMemory(at) => ("the CPU has no address", at.0),
        };
        put(out, "{} {x}", &[&what, &at])
    }
}

unsafe extern "C" {
    static mut level2_table: [u64; ENTRIES];
    static mut spare_tables: [[u64; ENTRIES]; SPARE_TABLES];
    static _image_start: u8;
    static _text_end: u8;
    static _image_end: u8;
    static _stack_bottom: u8;
    static _stack_top: u8;
}

/// EL2's tables, owned by the pCPU that starts the system.
pub struct Tables {
    image: HostPhysAddr,
    used: usize,
    next_page: HypVirtAddr,
}

impl Tables {
    /// Takes charge of the tables that the start-up code made for an image at `image`.
    ///
    /// # Safety
    /// Called once, before any other pCPU runs.
    pub unsafe fn new(image: HostPhysAddr) -> Self {
        Self {
            image,
            used: 0,
            next_page: PAGES_BASE,
        }
    }

    /// Returns the physical address of something inside the image.
    pub fn image_address<T: ?Sized>(&self, of: *const T) -> HostPhysAddr {
        HostPhysAddr(
            (of.cast::<u8>() as u64)
                .wrapping_sub(IMAGE_BASE)
                .wrapping_add(self.image.0),
        )
    }

    /// Maps `bytes` bytes at an address of the caller's choice, by pages, and by 2 MiB blocks where both agree.
    ///
    /// # Errors
    /// As [`MapError`]'s variants say; what was mapped before the error stays.
    ///
    /// # Safety
    /// The physical range is what `kind` says, and nobody holds a Rust reference to it by another mapping that would
    /// make two writers.
    pub unsafe fn map(
        &mut self,
        at: HypVirtAddr,
        to: HostPhysAddr,
        bytes: u64,
        kind: Kind,
    ) -> Result<(), MapError> {
        let last = to.0.checked_add(bytes.saturating_sub(1));
        if last.is_none_or(|last| !is_physical(HostPhysAddr(last))) {
            return Err(MapError::NoSuchMemory(to));
        }
        let mut done = 0;
        while done < bytes {
            let va = HypVirtAddr(at.0 + done);
            let pa = HostPhysAddr(to.0 + done);
            let block = va.is_aligned(BLOCK_2M_BYTES)
                && pa.is_aligned(BLOCK_2M_BYTES)
                && bytes - done >= BLOCK_2M_BYTES;
            if block {
                self.set_block(va, pa.0 | kind.attributes() | VALID)?;
                done += BLOCK_2M_BYTES;
            } else {
                // As many pages as the table has entries for, and no page of a whole block behind.
                let table = BLOCK_2M_BYTES - va.0 % BLOCK_2M_BYTES;
                let end = bytes.min(done + table);
                let mut entry = self.page_entry(va)?;
                while done < end {
                    let descriptor = (to.0 + done) | kind.attributes() | TABLE_OR_PAGE;
                    // SAFETY: `entry` points into a level-3 table of this image, which only this value writes; `end` is
                    // where that table's pages end, or before.
                    unsafe {
                        set(entry, HypVirtAddr(at.0 + done), descriptor)?;
                        entry = entry.add(1);
                    }
                    done += PAGE_BYTES;
                }
            }
        }
        tlb::publish_hypervisor_tables();
        Ok(())
    }

    /// Maps pages at the next free place and returns where. A hole of one page stays before them.
    ///
    /// # Errors
    /// As for [`Self::map`].
    ///
    /// # Safety
    /// As for [`Self::map`].
    #[inline(never)]
    pub unsafe fn map_next(
        &mut self,
        to: HostPhysAddr,
        bytes: u64,
        kind: Kind,
    ) -> Result<HypVirtAddr, MapError> {
        let at = HypVirtAddr(self.next_page.0 + PAGE_BYTES);
        self.next_page = HypVirtAddr(at.0 + bytes.next_multiple_of(PAGE_BYTES));
        // SAFETY: the caller's claim.
        unsafe { self.map(at, to, bytes.next_multiple_of(PAGE_BYTES), kind)? };
        Ok(at)
    }

    /// Gives out a copy window: one page of virtual addresses that maps nothing yet.
    ///
    /// # Errors
    /// As for [`Self::map`].
    pub fn window(&mut self) -> Result<Window, MapError> {
        let page = HypVirtAddr(self.next_page.0 + PAGE_BYTES);
        self.next_page = HypVirtAddr(page.0 + PAGE_BYTES);
        Ok(Window {
            entry: self.page_entry(page)?,
            page,
        })
    }

    /// Walks what the tables map and hands every run to `each`, in order of addresses; returns the bytes of all.
    pub fn walk(&self, each: &mut dyn FnMut(&Run)) -> u64 {
        let mut walk = Walk::new(each);
        // SAFETY: the table is this value's to write, which is borrowed.
        let blocks: &[u64; ENTRIES] = unsafe { &*(&raw const level2_table).cast() };
        for (group, descriptors) in blocks.as_chunks::<{ stage1::GROUP }>().0.iter().enumerate() {
            if stage1::is_empty(descriptors) {
                walk.end();
            } else {
                self.walk_group(group * stage1::GROUP, descriptors, &mut walk);
            }
        }
        walk.finish()
    }

    /// Walks what descriptors of level 2 map, of which the first is number `first`.
    fn walk_group(&self, first: usize, descriptors: &[u64], walk: &mut Walk<'_>) {
        for (index, descriptor) in (first as u64..).zip(descriptors) {
            let va = HypVirtAddr(IMAGE_BASE + index * BLOCK_2M_BYTES);
            if descriptor & TABLE_OR_PAGE == TABLE_OR_PAGE {
                let table: *const [u64; ENTRIES] = self.table_of(*descriptor).cast();
                // SAFETY: such entries lead to tables of this image, which only this value writes, and windows that are
                // closed.
                walk.leaves(va, PAGE_BYTES, unsafe { &*table });
            } else {
                walk.leaf(va, BLOCK_2M_BYTES, *descriptor);
            }
        }
    }

    /// Returns the level-3 table that a descriptor leads to.
    fn table_of(&self, descriptor: u64) -> *mut u64 {
        (descriptor & ADDRESS)
            .wrapping_sub(self.image.0)
            .wrapping_add(IMAGE_BASE) as *mut u64
    }

    fn set_block(&mut self, at: HypVirtAddr, descriptor: u64) -> Result<(), MapError> {
        let entry = level2_entry(at)?;
        // SAFETY: the entry lies in `level2_table`, which only this value writes.
        unsafe { set(entry, at, descriptor) }
    }

    /// Returns the level-3 entry of a page, taking a spare table where there is none yet.
    fn page_entry(&mut self, at: HypVirtAddr) -> Result<*mut u64, MapError> {
        let entry = level2_entry(at)?;
        // SAFETY: the entry lies in `level2_table`; no other pCPU writes it.
        let mut descriptor = unsafe { entry.read_volatile() };
        if descriptor & VALID == 0 {
            if self.used >= SPARE_TABLES {
                return Err(MapError::OutOfTables);
            }
            // SAFETY: `used` is inside the array; the pointer is not turned into a reference.
            let table = unsafe {
                (&raw mut spare_tables)
                    .cast::<[u64; ENTRIES]>()
                    .add(self.used)
            };
            self.used += 1;
            descriptor = self.image_address(table).0 | TABLE_OR_PAGE;
            // SAFETY: as for the read above.
            unsafe { entry.write_volatile(descriptor) };
        }
        if descriptor & TABLE_OR_PAGE != TABLE_OR_PAGE {
            return Err(MapError::Taken(at));
        }
        let table = self.table_of(descriptor);
        // SAFETY: the index is below 512 and the table is a page of this image.
        Ok(unsafe { table.add((at.0 >> 12) as usize % ENTRIES) })
    }
}

/// Says whether the CPU and EL2's tables have a physical address (`ID_AA64MMFR0_EL1.PARange`).
pub fn is_physical(address: HostPhysAddr) -> bool {
    let bits = match read::id_aa64mmfr0_el1() & 0xf {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        _ => 48,
    };
    address.0 >> bits == 0
}

/// Returns the bytes of EL2's image, behind which the payload begins, in virtual addresses as in physical ones.
pub fn image_bytes() -> u64 {
    (&raw const _image_end as u64).wrapping_sub(&raw const _image_start as u64)
}

/// Returns where EL2's image ends, which is where the payload is mapped.
pub fn image_end() -> HypVirtAddr {
    HypVirtAddr(&raw const _image_end as u64)
}

/// Returns where the image's text begins and ends.
pub fn text() -> (HypVirtAddr, HypVirtAddr) {
    let at = |symbol: *const u8| HypVirtAddr(symbol as u64);
    (at(&raw const _image_start), at(&raw const _text_end))
}

fn level2_entry(at: HypVirtAddr) -> Result<*mut u64, MapError> {
    let index =
        at.0.checked_sub(IMAGE_BASE)
            .ok_or(MapError::OutsideWindow(at))?
            >> 21;
    if index as usize >= ENTRIES {
        return Err(MapError::OutsideWindow(at));
    }
    // SAFETY: the index was checked; the pointer is not turned into a reference.
    Ok(unsafe { (&raw mut level2_table).cast::<u64>().add(index as usize) })
}

/// Writes a descriptor where none is.
///
/// # Safety
/// `entry` points into a live table that nobody else writes.
unsafe fn set(entry: *mut u64, at: HypVirtAddr, descriptor: u64) -> Result<(), MapError> {
    // SAFETY: the caller's claim.
    unsafe {
        if entry.read_volatile() & VALID != 0 {
            return Err(MapError::Taken(at));
        }
        entry.write_volatile(descriptor);
    }
    Ok(())
}

/// A pCPU's copy window: the only way from EL2 into guest memory, one page at a time.
pub struct Window {
    entry: *mut u64,
    page: HypVirtAddr,
}

// SAFETY: a window belongs to one pCPU; the pointer leads to an entry that only that window writes.
unsafe impl Send for Window {}

impl Window {
    /// Runs `work` on a page of guest memory, mapped for that time only.
    ///
    /// # Safety
    /// `page` is memory that the ledger gives to a partition which does not run, or to one whose table names it.
    #[inline]
    pub unsafe fn with_page<R>(
        &mut self,
        page: HostPhysAddr,
        work: impl FnOnce(HypVirtAddr) -> R,
    ) -> R {
        // SAFETY: the caller's claim.
        unsafe { self.with(page, Kind::ReadWrite, work) }
    }

    /// Runs `work` on a page of device registers, or of memory past the caches, mapped for that time only.
    ///
    /// # Safety
    /// `page` holds registers of a device that is EL2's, or is memory as for [`Self::with_page`].
    pub unsafe fn with_device_page<R>(
        &mut self,
        page: HostPhysAddr,
        work: impl FnOnce(HypVirtAddr) -> R,
    ) -> R {
        // SAFETY: the caller's claim.
        unsafe { self.with(page, Kind::Device, work) }
    }

    /// # Safety
    /// `page` is what `kind` says, and EL2's to touch.
    #[inline]
    unsafe fn with<R>(
        &mut self,
        page: HostPhysAddr,
        kind: Kind,
        work: impl FnOnce(HypVirtAddr) -> R,
    ) -> R {
        self.open(page, kind);
        let result = work(self.page);
        self.close();
        result
    }

    // Not inlined, as `close`: there are many kinds of work.
    #[inline(never)]
    fn open(&mut self, page: HostPhysAddr, kind: Kind) {
        let descriptor = page.align_down(PAGE_BYTES).0 | kind.attributes() | TABLE_OR_PAGE;
        // SAFETY: the entry is this window's own; it was invalid, so no translation of it is cached. Who uses the page
        // answers for what it is.
        unsafe { self.entry.write_volatile(descriptor) };
        tlb::publish_hypervisor_tables();
    }

    #[inline(never)]
    fn close(&mut self) {
        // SAFETY: the entry is this window's own, and nobody uses the page any more.
        unsafe { self.entry.write_volatile(0) };
        tlb::invalidate_hypervisor_page(self.page);
    }
}

/// Says whether EL2 keeps an address mapped that a stack may contain: the first pCPU's stack in the image, or a page
/// that was given out with its hole before it.
pub fn may_hold_stack(address: u64) -> bool {
    let in_image =
        (&raw const _stack_bottom as u64..&raw const _stack_top as u64).contains(&address);
    in_image || translates(HypVirtAddr(address))
}

/// Asks the MMU whether EL2 can read an address.
fn translates(address: HypVirtAddr) -> bool {
    let result: u64;
    // SAFETY: an address translation instruction; its result register is not otherwise used at EL2, and a guest's
    // value of it matters no more when this is called.
    unsafe {
        core::arch::asm!("at s1e2r, {}", "isb", "mrs {}, par_el1", in(reg) address.0, out(reg) result, options(nostack, preserves_flags));
    }
    result & 1 == 0
}
