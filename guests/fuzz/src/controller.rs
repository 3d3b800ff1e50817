//! Registers of the interrupt controller, by name. With GICv2 the rows of redistributors stand for its CPU interface.

use crate::step::Fuzzer;
use guest_runtime::mmio::Mmio;
use guest_runtime::{gic, gicv2, layout};

/// How the words of a register are laid out.
#[derive(Clone, Copy)]
enum Shape {
    /// One word.
    One,
    /// A word for each bank of 32 interrupts.
    Bits,
    /// Two words for each bank.
    Pairs,
    /// Eight words for each bank.
    Bytes,
    /// Two words an interrupt.
    Routes,
    /// Any word from here to the end of a page.
    Page,
}
use Shape::*;

/// Makes rows, one for reads and one for writes, of each register: its name, whether the distributor has it, its offset, and
/// its shape.
macro_rules! registers {
    ($($name:literal $distributor:literal $offset:literal $shape:ident;)*) => {
        /// The rows: a read and a write of each.
        pub const ROWS: &[&str] = &[$(concat!($name, " read"), concat!($name, " write")),*];
        const REGISTERS: &[(bool, usize, Shape)] = &[$(($distributor, $offset, $shape)),*];
    };
}

registers! {
    "GICD_CTLR" true 0 One;
    "GICD_TYPER" true 4 One;
    "GICD_IIDR" true 8 One;
    "GICD_TYPER2" true 0xc One;
    "GICD_STATUSR" true 0x10 One;
    "GICD_SETSPI_NSR" true 0x40 One;
    "GICD_CLRSPI_NSR" true 0x48 One;
    "GICD_IGROUPR" true 0x80 Bits;
    "GICD_ISENABLER" true 0x100 Bits;
    "GICD_ICENABLER" true 0x180 Bits;
    "GICD_ISPENDR" true 0x200 Bits;
    "GICD_ICPENDR" true 0x280 Bits;
    "GICD_ISACTIVER" true 0x300 Bits;
    "GICD_ICACTIVER" true 0x380 Bits;
    "GICD_IPRIORITYR" true 0x400 Bytes;
    "GICD_ITARGETSR" true 0x800 Bytes;
    "GICD_ICFGR" true 0xc00 Pairs;
    "GICD_IGRPMODR" true 0xd00 Bits;
    "GICD_NSACR" true 0xe00 Pairs;
    "GICD_SGIR" true 0xf00 One;
    "GICD_CPENDSGIR" true 0xf10 One;
    "GICD_SPENDSGIR" true 0xf20 One;
    "GICD_INMIR" true 0xf80 Bits;
    "GICD_IROUTER" true 0x6000 Routes;
    "GICD identification" true 0xf000 Page;
    "GICD hole" true 0x1000 Page;
    "GICR_CTLR" false 0 One;
    "GICR_IIDR" false 4 One;
    "GICR_TYPER" false 8 One;
    "GICR_STATUSR" false 0x10 One;
    "GICR_WAKER" false 0x14 One;
    "GICR_SETLPIR" false 0x40 One;
    "GICR_PROPBASER" false 0x70 One;
    "GICR_PENDBASER" false 0x78 One;
    "GICR_INVLPIR" false 0xa0 One;
    "GICR_SYNCR" false 0xc0 One;
    "GICR identification" false 0xf000 Page;
    "GICR_IGROUPR0" false 0x1_0080 One;
    "GICR_ISENABLER0" false 0x1_0100 One;
    "GICR_ICENABLER0" false 0x1_0180 One;
    "GICR_ISPENDR0" false 0x1_0200 One;
    "GICR_ICPENDR0" false 0x1_0280 One;
    "GICR_ISACTIVER0" false 0x1_0300 One;
    "GICR_ICACTIVER0" false 0x1_0380 One;
    "GICR_IPRIORITYR" false 0x1_0400 Bytes;
    "GICR_ICFGR" false 0x1_0c00 Pairs;
    "GICR_IGRPMODR0" false 0x1_0d00 One;
    "GICR_NSACR" false 0x1_0e00 One;
    "GICR hole" false 0x1_1000 Page;
}

/// GICv2's CPU interface has two pages, of which these words are known.
const INTERFACE_BYTES: usize = 0x2000;
const INTERFACE: [usize; 14] = [
    0x0, 0x4, 0x8, 0xc, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x24, 0x28, 0xd0, 0xfc, 0x1000,
];

/// Draws how far from a register's first word an access goes.
fn within(fuzzer: &Fuzzer, shape: Shape, distributor: bool) -> usize {
    // The vCPU's own bank, the board's first ones, and the one that is all the partition's; now and then any.
    let bank = match (distributor, fuzzer.below(8)) {
        (false, _) => 0,
        (true, 0) => fuzzer.below(32),
        (true, 1..=2) => fuzzer.below(2),
        (true, _) => 3,
    };
    match shape {
        One => 0,
        Bits => bank * 4,
        Pairs => bank * 8 + fuzzer.below(2) * 4,
        Bytes => bank * 32 + fuzzer.below(32),
        Routes => (bank * 32 + fuzzer.below(32)) * 8 + fuzzer.below(2) * 4,
        Page => fuzzer.below(0x1000) & !3,
    }
}

/// Reads or writes one, most often by the width that it has.
pub fn step(fuzzer: &Fuzzer, row: usize) {
    let (distributor, offset, shape) = REGISTERS[row / 2];
    if gic::is_v2() && !distributor {
        return interface(fuzzer, row);
    }
    let block = match distributor {
        // SAFETY: the distributor.
        true => unsafe { Mmio::new(layout::GICD) },
        false => gic::redistributor_at(match fuzzer.below(4) {
            0 => fuzzer.below(crate::power::count()),
            _ => fuzzer.index,
        }),
    };
    let at = offset + within(fuzzer, shape, distributor);
    let bytes = match (shape, fuzzer.below(16)) {
        (_, 0) => 1 << fuzzer.below(4),
        (Bytes, 1..=8) => 1,
        (Routes, 1..=8) => 8,
        _ => 4,
    };
    let aligned = if bytes == 1 { at } else { at & !3 };
    let value = match shape {
        // A vCPU that is there, most often; or any.
        Routes if fuzzer.below(4) != 0 => fuzzer.below(crate::power::count()) as u64,
        _ => fuzzer.value(),
    };
    match (row % 2, bytes) {
        (0, 1) => drop(block.read8(aligned)),
        (0, 2) => drop(block.read16(aligned)),
        (0, 8) => drop(block.read64(aligned)),
        (0, _) => drop(block.read32(aligned)),
        (_, 1) => block.write8(aligned, value as u8),
        (_, 2) => block.write16(aligned, value as u16),
        (_, 8) => block.write64(aligned, value),
        (_, _) => block.write32(aligned, value as u32),
    }
}

/// Reads or writes a word of GICv2's CPU interface: what stands there in the place of redistributors.
fn interface(fuzzer: &Fuzzer, row: usize) {
    let at = match fuzzer.below(8) {
        0 => fuzzer.below(INTERFACE_BYTES) & !3,
        _ => fuzzer.one_of(&INTERFACE),
    };
    match row % 2 {
        0 => drop(gicv2::INTERFACE.read32(at)),
        _ => gicv2::INTERFACE.write32(at, fuzzer.value() as u32),
    }
}
