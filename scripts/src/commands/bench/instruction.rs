//! Which instructions cost more on silicon than the one that a count of instructions says.
//!
//! # Source
//! Arm DDI 0487, "A64 instruction set encoding", "System instruction class encoding space".

/// What an instruction does that a count of instructions hides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Nothing of the kind.
    Plain,
    /// MRS or MSR of a register of the interrupt controller's CPU interface (`ICC_*`, `ICH_*`).
    Interface,
    /// MRS or MSR of another system register.
    Register,
    /// DSB, DMB, ISB, SB.
    Barrier,
    /// TLBI.
    Tlb,
    /// AT.
    Translation,
    /// IC or DC.
    Cache,
    /// WFI or WFE.
    Wait,
}

/// The fields of a system instruction: L, op0, op1, CRn, CRm, op2.
struct Fields {
    op0: u32,
    op1: u32,
    crn: u32,
    crm: u32,
    op2: u32,
}

impl Fields {
    /// Splits an instruction, if it is of the system class.
    fn of(word: u32) -> Option<Self> {
        (word >> 22 == 0b11_0101_0100).then_some(Self {
            op0: word >> 19 & 3,
            op1: word >> 16 & 7,
            crn: word >> 12 & 15,
            crm: word >> 8 & 15,
            op2: word >> 5 & 7,
        })
    }
}

impl Class {
    /// Classifies an instruction.
    pub fn of(word: u32) -> Self {
        let Some(fields) = Fields::of(word) else {
            return Self::Plain;
        };
        match (fields.op0, fields.crn) {
            (0, 2) => match (fields.crm, fields.op2) {
                (0, 2 | 3) => Self::Wait,
                _ => Self::Plain,
            },
            (0, 3) => match fields.op2 {
                4..=7 => Self::Barrier,
                _ => Self::Plain,
            },
            // MSR of a field of PSTATE.
            (0, _) => Self::Plain,
            (1, 7) => match fields.crm {
                8 | 9 => Self::Translation,
                _ => Self::Cache,
            },
            (1, 8 | 9) => Self::Tlb,
            (1, _) => Self::Plain,
            (3, 12) if fields.crm >= 8 => Self::Interface,
            // ICC_PMR_EL1
            (3, 4) if (fields.op1, fields.crm) == (0, 6) => Self::Interface,
            _ => Self::Register,
        }
    }
}

/// How many instructions of each class a path has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Costs {
    /// All instructions.
    pub instructions: u64,
    /// Accesses to system registers, those of the interrupt controller's CPU interface included.
    pub registers: u64,
    /// Of these, accesses to the interrupt controller's CPU interface.
    pub interface: u64,
    /// Barriers.
    pub barriers: u64,
    /// Operations on TLBs, caches, and address translations.
    pub maintenance: u64,
}

impl Costs {
    /// Counts one more instruction.
    pub fn add(&mut self, class: Class) {
        self.instructions += 1;
        match class {
            Class::Plain | Class::Wait => {}
            Class::Register => self.registers += 1,
            Class::Interface => {
                self.registers += 1;
                self.interface += 1;
            }
            Class::Barrier => self.barriers += 1,
            Class::Tlb | Class::Translation | Class::Cache => self.maintenance += 1,
        }
    }

    /// Returns the larger of each number.
    pub fn max(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.max(other.instructions),
            registers: self.registers.max(other.registers),
            interface: self.interface.max(other.interface),
            barriers: self.barriers.max(other.barriers),
            maintenance: self.maintenance.max(other.maintenance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_are_classified_by_the_manual() {
        // Encodings by the manual, checked against an assembler.
        for (word, class) in [
            (0xd53c_5201, Class::Register),    // mrs x1, esr_el2
            (0xd51c_4020, Class::Register),    // msr elr_el2, x0
            (0xd53b_e040, Class::Register),    // mrs x0, cntvct_el0
            (0xd53c_cbc0, Class::Interface),   // mrs x0, ich_... (op1 4, CRn 12, CRm 11)
            (0xd538_cc00, Class::Interface),   // mrs x0, icc_iar1_el1
            (0xd518_4600, Class::Interface),   // msr icc_pmr_el1, x0
            (0xd53c_c000, Class::Register),    // mrs x0, vbar_el2
            (0xd503_3fdf, Class::Barrier),     // isb
            (0xd503_3f9f, Class::Barrier),     // dsb sy
            (0xd503_3bbf, Class::Barrier),     // dmb ish
            (0xd50c_871f, Class::Tlb),         // tlbi alle2
            (0xd508_7840, Class::Translation), // at s1e0r, x0
            (0xd508_751f, Class::Cache),       // ic iallu
            (0xd50b_7420, Class::Cache),       // dc zva, x0
            (0xd503_207f, Class::Wait),        // wfi
            (0xd503_201f, Class::Plain),       // nop
            (0xd503_42df, Class::Plain),       // msr daifset, #2
            (0xd69f_03e0, Class::Plain),       // eret
            (0xa900_07e0, Class::Plain),       // stp x0, x1, [sp]
        ] {
            assert_eq!(Class::of(word), class, "{word:#x}");
        }
    }

    #[test]
    fn the_interrupt_controllers_registers_count_as_registers_too() {
        let mut costs = Costs::default();
        for word in [0xd538_cc00, 0xd53c_5201, 0xd503_3fdf, 0xa900_07e0] {
            costs.add(Class::of(word));
        }
        let expected = Costs {
            instructions: 4,
            registers: 2,
            interface: 1,
            barriers: 1,
            maintenance: 0,
        };
        assert_eq!(costs, expected);
    }
}
