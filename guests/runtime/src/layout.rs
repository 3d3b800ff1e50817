//! Where things are: the fixed layout of QEMU's `virt` machine, which Bulkhead's `layout = "virt"` repeats.
//!
//! # Source
//! QEMU, `hw/arm/virt.c`, the memory map of the `virt` machine.

/// First byte of the GICv3 distributor (64 KiB).
pub const GICD: usize = 0x0800_0000;
/// First byte of the GICv2 CPU interface (two pages), where that is what there is.
pub const GICC: usize = 0x0801_0000;
/// First byte of the first vCPU's redistributor (two 64 KiB frames a vCPU, one vCPU after the other).
pub const GICR: usize = 0x080a_0000;
/// Distance from one vCPU's redistributor to the next one's, in bytes.
pub const GICR_STRIDE: usize = 0x2_0000;
/// First byte of the PL011 console.
pub const UART: usize = 0x0900_0000;
/// The PL011's interrupt (SPI 1).
pub const UART_INTID: u32 = 33;
/// First byte of the PL031 real-time clock, where a partition owns it.
pub const RTC: usize = 0x0901_0000;
/// The PL031's interrupt (SPI 2).
pub const RTC_INTID: u32 = 34;
/// First byte of RAM.
pub const RAM: usize = 0x4000_0000;
/// The virtual timer's interrupt.
pub const VIRTUAL_TIMER_INTID: u32 = 27;
/// The physical timer's interrupt.
pub const PHYSICAL_TIMER_INTID: u32 = 30;
/// An address where neither `virt` nor a partition without extra devices has anything; mapped as device memory.
pub const DEVICE_HOLE: usize = 0x0b00_0000;
/// An address above RAM of up to 1 GiB where nothing is; mapped as normal, executable memory.
pub const MEMORY_HOLE: usize = 0xb000_0000;
