//! What sending a byte costs the vCPU that wrote it, by waiting until the line is sent: right where the console's device takes
//! no time.

use super::operations::next_byte;
use guest_runtime::exception::catch;
use guest_runtime::{console, layout};

/// A write of the UART's data register with everything that sending it costs this vCPU: a line of bytes until it is sent, shared out on its bytes.
pub fn pl011_data_write_with_drain() -> Option<u64> {
    const BYTES: usize = 64;
    if !console::is_present() || catch(console::flush).1.is_some() {
        return None;
    }
    let line: [u8; BYTES] = core::array::from_fn(|_| next_byte() as u8);
    // A line has room: a look at the flags before each byte is a row of its own.
    let ticks = ticks!(
        [
            "2: ldrb {byte:w}, [{from}], #1",
            "str {byte:w}, [{uart}]",
            "cmp {from}, {end}",
            "b.ne 2b",
            "3: ldr {byte:w}, [{uart}, #{flags}]",
            "tbz {byte:w}, #{empty}, 3b"
        ],
        byte = out(reg) _, from = inout(reg) line.as_ptr() => _, end = in(reg) line.as_ptr_range().end,
        uart = in(reg) layout::UART + console::DR, flags = const console::FR,
        empty = const console::FR_TXFE.trailing_zeros(), options(nostack)
    );
    Some(ticks / BYTES as u64)
}
