//! The payload and the board's device tree: found, mapped, read.

use super::refuse;
use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::mmu::{self, Kind, Tables};
use crate::hw::uart::{self, Uart};
use crate::panic;
use bulkhead::addr::{HostPhysAddr, HypVirtAddr, PAGE_BYTES};
use bulkhead::board::{self, Board, Tree};
use bulkhead::config::payload::{self, Payload};
use bulkhead::config::record::{Header, system_flags};
use bulkhead::console::steps::Step;
use bulkhead::uart::{Driver, Model};

/// Where a loader that passes no tree may have left it: the start of the gigabyte that the image lies in.
const GIGABYTE: u64 = 1 << 30;
/// Most bytes of a tree.
const MAX_TREE_BYTES: u64 = 2 << 20;
/// Bytes of the registers of a UART.
const UART_BYTES: u64 = 4096;

/// What start-up works on.
pub struct Inputs {
    /// The image's first byte.
    pub image: HostPhysAddr,
    /// The partition table, as the host compiled it.
    pub payload: Payload<'static>,
    /// Where the payload's first byte is mapped.
    pub payload_at: HypVirtAddr,
    /// The board's tree.
    pub tree: Tree<'static>,
    /// What the tree says.
    pub board: Board<'static>,
    /// The mapped console UART. The last words may have another one: the table's, when the tree's does not answer.
    pub uart: Option<(Model, HypVirtAddr)>,
}

/// Reads both, or refuses to start.
pub fn read(tables: &mut Tables, tree: HostPhysAddr, image: HostPhysAddr) -> Inputs {
    let (payload_at, first) = map_header(tables, image);
    let header = payload::header(first);
    let expected = header.ok().and_then(|it| {
        let model = Model::from_code(it.uart_kind)?;
        Some((model, HostPhysAddr(it.uart_hpa)))
    });
    // What is wrong with the tree is said there.
    let mut uart = expected.and_then(|uart| open_uart(tables, uart, expected));
    if header.is_ok_and(|it| it.flags & system_flags::LETTERS != 0) {
        panic::set_letters();
    }
    panic::done(Step::Mapped);
    let (tree, at) = map_tree(tables, tree, image);
    let board = Board::read(tree, Some(at)).unwrap_or_else(|error| refuse("{}", &[&error]));
    panic::done(Step::Tree);
    let real = board.console.as_ref().and_then(|console| {
        let at = HostPhysAddr(console.registers.start());
        Some((console.model()?, at))
    });
    if real != expected {
        uart = real.and_then(|uart| open_uart(tables, uart, expected));
    }
    // What is wrong with the payload is said at the tree's UART if its own is not known.
    let bytes = header.map(|header| map_records(tables, image, payload_at, header));
    let payload = bytes
        .and_then(Payload::new)
        .unwrap_or_else(|error| refuse("{}", &[&error]));
    map_blobs(tables, image, payload_at, &payload);
    panic::done(Step::Payload);
    Inputs {
        image,
        payload,
        payload_at,
        tree,
        board,
        uart,
    }
}

/// Maps a UART, if one answers there, turns it on, and lets the last words go to it. A PL011 that the table does not know
/// has to call itself one; the table's may call itself what it likes, as on some boards it does. Other kinds have no name.
fn open_uart(
    tables: &mut Tables,
    (model, uart): (Model, HostPhysAddr),
    expected: Option<(Model, HostPhysAddr)>,
) -> Option<(Model, HypVirtAddr)> {
    // SAFETY: the tree, or the board's table, says that these are a UART's registers.
    let page =
        unsafe { tables.map_next(uart.align_down(PAGE_BYTES), UART_BYTES, Kind::Device) }.ok()?;
    let at = HypVirtAddr(page.0 + uart.0 % PAGE_BYTES);
    // SAFETY: mapped just now; behind the page is a hole, where nothing answers.
    let is_there = unsafe {
        uart::answers(model, at)
            && (Some((model, uart)) == expected || model != Model::Pl011 || uart::is_pl011(at))
    };
    if !is_there {
        return None;
    }
    // SAFETY: as above; nobody else has it yet.
    Uart::new(model, unsafe { Registers::new(at) }).start();
    panic::set_uart(model, at);
    Some((model, at))
}

/// Maps the payload's first page and returns it, with where it is.
fn map_header(tables: &mut Tables, image: HostPhysAddr) -> (HypVirtAddr, &'static [u8]) {
    let start = HostPhysAddr(image.0 + mmu::image_bytes());
    let at = mmu::image_end();
    // SAFETY: the image builder puts the payload behind the image; it is read-only here.
    (at, unsafe { map_bytes(tables, at, start, 0, PAGE_BYTES) })
}

/// Maps the payload's records and returns them.
fn map_records(
    tables: &mut Tables,
    image: HostPhysAddr,
    at: HypVirtAddr,
    header: &Header,
) -> &'static [u8] {
    let start = HostPhysAddr(image.0 + mmu::image_bytes());
    let records = header.record_bytes.next_multiple_of(PAGE_BYTES);
    // SAFETY: as for the first page, which is mapped; the header was checked and bounds its records.
    unsafe { map_bytes(tables, at, start, PAGE_BYTES, records) }
}

/// Maps the rest of the payload: images and guests' trees.
fn map_blobs(tables: &mut Tables, image: HostPhysAddr, at: HypVirtAddr, payload: &Payload<'_>) {
    let start = HostPhysAddr(image.0 + mmu::image_bytes());
    let header = payload.header();
    // The limit is whole pages.
    if header.total_bytes > mmu::PAYLOAD_MAX_BYTES {
        refuse(
            "the payload has {} bytes, and {} can be mapped",
            &[&header.total_bytes, &mmu::PAYLOAD_MAX_BYTES],
        );
    }
    let total = header.total_bytes.next_multiple_of(PAGE_BYTES);
    let records = header
        .record_bytes
        .next_multiple_of(PAGE_BYTES)
        .max(PAGE_BYTES);
    if total > records {
        // SAFETY: the image builder put the whole payload there; it is read-only here.
        unsafe { map_bytes(tables, at, start, records, total) };
    }
}

/// Maps bytes `from..to` of something that starts at `hpa`, and returns its bytes from the first to `to`.
///
/// # Safety
/// The range is memory that nobody writes, and the bytes before `from` are mapped already.
unsafe fn map_bytes(
    tables: &mut Tables,
    at: HypVirtAddr,
    hpa: HostPhysAddr,
    from: u64,
    to: u64,
) -> &'static [u8] {
    if to > from {
        // SAFETY: the caller's claim.
        let mapped = unsafe {
            tables.map(
                HypVirtAddr(at.0 + from),
                HostPhysAddr(hpa.0 + from),
                to - from,
                Kind::ReadOnly,
            )
        };
        mapped.unwrap_or_else(|error| refuse("bulkhead cannot map its inputs: {}", &[&error]));
    }
    // SAFETY: mapped, read-only, for good.
    unsafe { core::slice::from_raw_parts(at.0 as *const u8, to as usize) }
}

/// Maps the device tree. Returns it and where it lies.
fn map_tree(
    tables: &mut Tables,
    given: HostPhysAddr,
    image: HostPhysAddr,
) -> (Tree<'static>, HostPhysAddr) {
    let start = if given.0 != 0 {
        given
    } else {
        image.align_down(GIGABYTE)
    };
    if !start.is_aligned(8) {
        refuse(
            "the device tree at {} is not on a multiple of 8 bytes",
            &[&start],
        );
    }
    let page = start.align_down(PAGE_BYTES);
    let offset = start.0 - page.0;
    // SAFETY: the loader's tree, or the start of RAM; read-only.
    let head = unsafe { map_bytes(tables, mmu::TREE_BASE, page, 0, 2 * PAGE_BYTES) };
    let head = head.get(offset as usize..).unwrap_or_default();
    let total =
        board::total_bytes(head).unwrap_or_else(|error| refuse("at {}: {}", &[&start, &error]));
    let end = (offset + u64::from(total))
        .next_multiple_of(PAGE_BYTES)
        .clamp(2 * PAGE_BYTES, MAX_TREE_BYTES);
    // SAFETY: as above.
    let bytes = unsafe { map_bytes(tables, mmu::TREE_BASE, page, 2 * PAGE_BYTES, end) };
    let bytes = bytes.get(offset as usize..).unwrap_or_default();
    let tree = Tree::new(bytes).unwrap_or_else(|error| refuse("at {}: {}", &[&start, &error]));
    (tree, start)
}
