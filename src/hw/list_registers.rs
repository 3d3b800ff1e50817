//! The virtual CPU interface's hardware: list registers, active priorities and the guest's own controls.
//!
//! Source: Arm IHI 0069, register pages `ICH_*_EL2`.

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
    /// `ICH_HCR_EL2.TDIR` exists.
    pub traps_deactivate: bool,
}

impl Shape {
    /// Reads the shape of this pCPU's interface.
    pub fn of_this_pcpu() -> Self {
        let vtr = read::ich_vtr_el2();
        let preemption_bits = (vtr >> 26 & 0x7) + 1;
        Self {
            count: (vtr & 0x1f) as u8 + 1,
            active_priorities: match preemption_bits {
                0..=5 => 1,
                6 => 2,
                _ => 4,
            },
            traps_deactivate: vtr & 1 << 19 != 0,
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
    /// Reads the interface out of the hardware.
    pub fn save(&mut self, shape: Shape) {
        self.vmcr = read::ich_vmcr_el2();
        self.active_group0[0] = read::ich_ap0r0_el2();
        self.active_group1[0] = read::ich_ap1r0_el2();
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

    /// Writes the interface into the hardware.
    pub fn restore(&self, shape: Shape) {
        write::ich_vmcr_el2(self.vmcr);
        write::ich_ap0r0_el2(self.active_group0[0]);
        write::ich_ap1r0_el2(self.active_group1[0]);
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

/// Reads list register `index`; one that does not exist reads as zero.
pub fn read_list_register(index: u8) -> u64 {
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
pub fn write_list_register(index: u8, value: u64) {
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
