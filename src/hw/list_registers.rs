//! The virtual CPU interface's hardware: list registers, active priorities and the guest's own controls. This is GICv3's,
//! by system registers; a [`Shape`] leads to whichever is there.
//!
//! Source: Arm IHI 0069, register pages `ICH_*_EL2`.

use super::{gic, gich};
use crate::arch::aarch64::sysreg::{read, write};

/// `ICH_HCR_EL2.En`: the virtual interface signals.
pub const HCR_ENABLE: u64 = 1;

/// What this implementation has, from `ICH_VTR_EL2`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Number of list registers, 1 to 16.
    pub count: u8,
    /// Number of active-priority registers a group: 1, 2 or 4.
    pub active_priorities: u8,
    /// Whose it is.
    pub kind: Kind,
}

/// Whose virtual interface there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// GICv3's, which cannot trap `ICC_DIR_EL1` alone.
    Plain,
    /// GICv3's with `ICH_HCR_EL2.TDIR`.
    TrapsDeactivate,
    /// GICv2's, which is memory: [`gich`].
    Memory,
}

impl Shape {
    /// Reads the shape of this pCPU's interface.
    pub fn of_this_pcpu() -> Self {
        if gic::is_memory_mapped() {
            return gich::shape();
        }
        let vtr = read::ich_vtr_el2();
        let preemption_bits = (vtr >> 26 & 0x7) + 1;
        Self {
            count: (vtr & 0x1f) as u8 + 1,
            active_priorities: match preemption_bits {
                0..=5 => 1,
                6 => 2,
                _ => 4,
            },
            kind: match vtr & 1 << 19 {
                0 => Kind::Plain,
                _ => Kind::TrapsDeactivate,
            },
        }
    }

    /// Says whether it is GICv2's.
    #[inline(always)]
    pub const fn is_memory_mapped(self) -> bool {
        matches!(self.kind, Kind::Memory)
    }

    /// Reads `ICH_HCR_EL2`.
    #[inline(always)]
    pub fn control(self) -> u64 {
        match self.is_memory_mapped() {
            false => read::ich_hcr_el2(),
            true => gich::control(),
        }
    }

    /// Writes `ICH_HCR_EL2`.
    #[inline(always)]
    pub fn set_control(self, value: u64) {
        match self.is_memory_mapped() {
            false => write::ich_hcr_el2(value),
            true => gich::set_control(value),
        }
    }

    /// Reads `ICH_VMCR_EL2`.
    #[inline(always)]
    pub fn vmcr(self) -> u64 {
        match self.is_memory_mapped() {
            false => read::ich_vmcr_el2(),
            true => gich::vmcr(),
        }
    }

    /// Reads list register `index`; one that does not exist reads as zero.
    #[inline(always)]
    pub fn read_list_register(self, index: u8) -> u64 {
        match self.is_memory_mapped() {
            false => read_list_register(index),
            true => gich::read_list_register(index),
        }
    }

    /// Writes the list registers that a mask names.
    #[inline(always)]
    pub fn write_list_registers(self, mask: u16, values: &[u64; 16]) {
        match self.is_memory_mapped() {
            false => write_list_registers(mask, values),
            true => gich::write_list_registers(mask, values),
        }
    }

    /// Returns the list registers that hold nothing, as a mask.
    #[inline(always)]
    pub fn empty_list_registers(self) -> u16 {
        match self.is_memory_mapped() {
            false => read::ich_elrsr_el2() as u16,
            true => gich::empty(),
        }
    }
}

/// A guest's view of its interface, saved while it is off the pCPU. List registers are kept by the vGIC model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Interface {
    /// `ICH_VMCR_EL2`: masks, binary points, EOI mode, group enables.
    pub vmcr: u64,
    /// `ICH_AP0R<n>_EL2`.
    pub active_group0: [u64; 4],
    /// `ICH_AP1R<n>_EL2`.
    pub active_group1: [u64; 4],
}

impl Interface {
    /// [`Self::save`] for one with a single active-priority register a group.
    #[inline(always)]
    pub fn save_shallow(&mut self) {
        self.vmcr = read::ich_vmcr_el2();
        self.active_group0[0] = read::ich_ap0r0_el2();
        self.active_group1[0] = read::ich_ap1r0_el2();
    }

    /// [`Self::restore`] likewise.
    #[inline(always)]
    pub fn restore_shallow(&self) {
        write::ich_vmcr_el2(self.vmcr);
        write::ich_ap0r0_el2(self.active_group0[0]);
        write::ich_ap1r0_el2(self.active_group1[0]);
    }

    /// Reads the interface out of the hardware.
    pub fn save(&mut self, shape: Shape) {
        if shape.is_memory_mapped() {
            return gich::save(self);
        }
        self.save_shallow();
        if shape.active_priorities >= 2 {
            self.active_group0[1] = read::ich_ap0r1_el2();
            self.active_group1[1] = read::ich_ap1r1_el2();
        }
        if shape.active_priorities >= 4 {
            self.active_group0[2] = read::ich_ap0r2_el2();
            self.active_group0[3] = read::ich_ap0r3_el2();
            self.active_group1[2] = read::ich_ap1r2_el2();
            self.active_group1[3] = read::ich_ap1r3_el2();
        }
    }

    /// Returns the controls and the active priorities of both groups, as far as they decide what is signalled. `live` says
    /// that they are in the hardware, of a shape.
    #[inline(always)]
    pub fn as_signals(&self, live: Option<Shape>) -> (u32, u32, u32) {
        match live {
            Some(shape) => signals(shape.is_memory_mapped()),
            None => (
                self.vmcr as u32,
                self.active_group0[0] as u32,
                self.active_group1[0] as u32,
            ),
        }
    }

    /// Writes the interface into the hardware.
    pub fn restore(&self, shape: Shape) {
        if shape.is_memory_mapped() {
            return gich::restore(self);
        }
        self.restore_shallow();
        if shape.active_priorities >= 2 {
            write::ich_ap0r1_el2(self.active_group0[1]);
            write::ich_ap1r1_el2(self.active_group1[1]);
        }
        if shape.active_priorities >= 4 {
            write::ich_ap0r2_el2(self.active_group0[2]);
            write::ich_ap0r3_el2(self.active_group0[3]);
            write::ich_ap1r2_el2(self.active_group1[2]);
            write::ich_ap1r3_el2(self.active_group1[3]);
        }
    }
}

/// Reads the guest's controls and the active priorities of both groups, as far as they decide what is signalled.
#[inline(always)]
pub fn signals(memory_mapped: bool) -> (u32, u32, u32) {
    let (vmcr, active0, active1) = match memory_mapped {
        true => (gich::vmcr(), gich::active(), 0),
        false => (
            read::ich_vmcr_el2(),
            read::ich_ap0r0_el2(),
            read::ich_ap1r0_el2(),
        ),
    };
    (vmcr as u32, active0 as u32, active1 as u32)
}

/// `ICH_LR<n>_EL2.State`.
pub const STATE: u64 = 3 << 62;

/// Writes list register `index` unless it holds an interrupt, pending or active, and says whether it did. Knows the first
/// four: what lies beyond them is not worth the instructions, and goes the long way.
#[inline(always)]
pub fn fill_first(index: usize, value: u64) -> bool {
    macro_rules! fill {
        ($register:ident) => {{
            let free = read::$register() & STATE == 0;
            if free {
                write::$register(value);
            }
            free
        }};
    }
    match index {
        0 => fill!(ich_lr0_el2),
        1 => fill!(ich_lr1_el2),
        2 => fill!(ich_lr2_el2),
        3 => fill!(ich_lr3_el2),
        _ => false,
    }
}

/// [`fill_first`] for any list register.
pub fn fill(index: usize, value: u64) -> bool {
    let free = read_any(index as u8) & STATE == 0;
    if free {
        write_list_register(index as u8, value);
    }
    free
}

/// Writes the list registers that a mask names; most often it is the first one.
#[inline(always)]
pub fn write_list_registers(mask: u16, values: &[u64; 16]) {
    match mask {
        1 => write_first(values[0]),
        _ => write_several(mask, values),
    }
}

/// Writes the first list register.
#[inline(always)]
pub fn write_first(value: u64) {
    write::ich_lr0_el2(value);
}

/// Writes the first list register, and empties the others that a mask names.
#[inline(always)]
pub fn write_first_alone(value: u64, others: u16) {
    match others {
        0 | 1 => write_first(value),
        _ => {
            let mut values = [0; 16];
            values[0] = value;
            write_several(others | 1, &values);
        }
    }
}

/// [`write_list_registers`] of any.
#[inline(never)]
fn write_several(mask: u16, values: &[u64; 16]) {
    let [first, second, third, fourth, ..] = values;
    if mask & 1 != 0 {
        write::ich_lr0_el2(*first);
    }
    if mask & 1 << 1 != 0 {
        write::ich_lr1_el2(*second);
    }
    if mask & 1 << 2 != 0 {
        write::ich_lr2_el2(*third);
    }
    if mask & 1 << 3 != 0 {
        write::ich_lr3_el2(*fourth);
    }
    let mut left = mask & !0xf;
    while left != 0 {
        let index = left.trailing_zeros() as u8;
        left &= left - 1;
        write_list_register(index, values.get(usize::from(index)).copied().unwrap_or(0));
    }
}

/// Reads list register `index`, the first four in few instructions; one that does not exist reads as zero.
#[inline(always)]
pub fn read_list_register(index: u8) -> u64 {
    match index {
        0 => read::ich_lr0_el2(),
        1 => read::ich_lr1_el2(),
        2 => read::ich_lr2_el2(),
        3 => read::ich_lr3_el2(),
        _ => read_any(index),
    }
}

/// [`read_list_register`] by a table.
#[inline(never)]
fn read_any(index: u8) -> u64 {
    match index {
        0 => read::ich_lr0_el2(),
        1 => read::ich_lr1_el2(),
        2 => read::ich_lr2_el2(),
        3 => read::ich_lr3_el2(),
        4 => read::ich_lr4_el2(),
        5 => read::ich_lr5_el2(),
        6 => read::ich_lr6_el2(),
        7 => read::ich_lr7_el2(),
        8 => read::ich_lr8_el2(),
        9 => read::ich_lr9_el2(),
        10 => read::ich_lr10_el2(),
        11 => read::ich_lr11_el2(),
        12 => read::ich_lr12_el2(),
        13 => read::ich_lr13_el2(),
        14 => read::ich_lr14_el2(),
        15 => read::ich_lr15_el2(),
        _ => 0,
    }
}

/// Writes list register `index`; one that does not exist is ignored.
#[inline(never)]
fn write_list_register(index: u8, value: u64) {
    match index {
        0 => write::ich_lr0_el2(value),
        1 => write::ich_lr1_el2(value),
        2 => write::ich_lr2_el2(value),
        3 => write::ich_lr3_el2(value),
        4 => write::ich_lr4_el2(value),
        5 => write::ich_lr5_el2(value),
        6 => write::ich_lr6_el2(value),
        7 => write::ich_lr7_el2(value),
        8 => write::ich_lr8_el2(value),
        9 => write::ich_lr9_el2(value),
        10 => write::ich_lr10_el2(value),
        11 => write::ich_lr11_el2(value),
        12 => write::ich_lr12_el2(value),
        13 => write::ich_lr13_el2(value),
        14 => write::ich_lr14_el2(value),
        15 => write::ich_lr15_el2(value),
        _ => {}
    }
}
