//! The redistributors' register map: the control frame (64 KiB) and the SGI frame (64 KiB) of each vCPU, without LPIs.
//!
//! # Source
//! Arm IHI 0069, "The Redistributor register map" and the register pages. Reserved, misaligned and odd-width accesses
//! read as zero and ignore writes, as in the distributor.

use super::bank::BankId;
use super::distributor::{IIDR_VALUE, identification};
use super::registers::BitRegister;
use super::{Effects, Vgic};
use crate::ids::{Mpidr, VcpuId};

/// Where the SGI frame begins.
const SGI_FRAME: u32 = 0x1_0000;
const FRAMES_END: u32 = 0x2_0000;

const IIDR: u32 = 0x0004;
const TYPER: u32 = 0x0008;
const TYPER_UPPER: u32 = 0x000c;
const WAKER: u32 = 0x0014;

const IPRIORITYR: u32 = 0x0400;
const IPRIORITYR_END: u32 = 0x0420;
const ICFGR0: u32 = 0x0c00;
const ICFGR1: u32 = 0x0c04;

/// GICR_WAKER.ProcessorSleep.
const PROCESSOR_SLEEP: u32 = 1 << 1;
/// GICR_WAKER.ChildrenAsleep.
const CHILDREN_ASLEEP: u32 = 1 << 2;

impl Vgic<'_> {
    /// Reads `width` bytes (1, 2, 4, 8) at an offset of the redistributor (0..0x20000) of a vCPU, whoever asks.
    pub fn redistributor_read(&self, vcpu: VcpuId, offset: u64, width: u8) -> u64 {
        if vcpu.0 as usize >= self.cpus.len() || offset >= FRAMES_END.into() {
            return 0;
        }
        let offset = offset as u32;
        match width {
            4 if offset & 3 != 0 => 0,
            4 if offset < SGI_FRAME => self.read_control(vcpu, offset).into(),
            4 => self.read_sgi_frame(vcpu, offset - SGI_FRAME).into(),
            8 if offset == TYPER => self.redistributor_type(vcpu),
            1 => match offset.wrapping_sub(SGI_FRAME) {
                at @ IPRIORITYR..IPRIORITYR_END => self.read_private_priorities(vcpu, at, 1).into(),
                _ => 0,
            },
            _ => 0,
        }
    }

    /// Writes `width` bytes (1, 2, 4, 8) at an offset of the redistributor (0..0x20000) of a vCPU, whoever asks.
    pub fn redistributor_write(
        &mut self,
        vcpu: VcpuId,
        offset: u64,
        width: u8,
        value: u64,
    ) -> Effects {
        if vcpu.0 as usize >= self.cpus.len() || offset >= FRAMES_END.into() {
            return Effects::NONE;
        }
        let (offset, value) = (offset as u32, value as u32);
        let at = offset.wrapping_sub(SGI_FRAME);
        match width {
            4 if offset & 3 == 0 && offset >= SGI_FRAME => self.write_sgi_frame(vcpu, at, value),
            4 if offset == WAKER => {
                if let Some(cpu) = self.cpus.get_mut(vcpu.0 as usize) {
                    cpu.asleep = value & PROCESSOR_SLEEP != 0;
                }
                Effects::NONE
            }
            1 if (IPRIORITYR..IPRIORITYR_END).contains(&at) => {
                let index = (at - IPRIORITYR) as usize;
                self.write_priorities(BankId::Private(vcpu), index, 1, value)
            }
            _ => Effects::NONE,
        }
    }

    /// Returns GICR_TYPER: affinity, processor number, and whether this is the last redistributor.
    fn redistributor_type(&self, vcpu: VcpuId) -> u64 {
        let last = u64::from(vcpu.0 as usize + 1 == self.cpus.len());
        u64::from(Mpidr::of_vcpu(vcpu).packed()) << 32 | u64::from(vcpu.0) << 8 | last << 4
    }

    /// Reads a 32-bit register of the control frame at an aligned offset.
    fn read_control(&self, vcpu: VcpuId, offset: u32) -> u32 {
        match offset {
            IIDR => IIDR_VALUE,
            TYPER => self.redistributor_type(vcpu) as u32,
            TYPER_UPPER => (self.redistributor_type(vcpu) >> 32) as u32,
            WAKER => match self.cpus.get(vcpu.0 as usize) {
                Some(cpu) if cpu.asleep => PROCESSOR_SLEEP | CHILDREN_ASLEEP,
                _ => 0,
            },
            _ => identification(offset),
        }
    }

    /// Reads a 32-bit register of the SGI frame at an aligned offset.
    fn read_sgi_frame(&self, vcpu: VcpuId, offset: u32) -> u32 {
        let Some(bank) = self.bank(BankId::Private(vcpu)) else {
            return 0;
        };
        match offset {
            IPRIORITYR..IPRIORITYR_END => self.read_private_priorities(vcpu, offset, 4),
            ICFGR0 => bank.read_config(false),
            ICFGR1 => bank.read_config(true),
            _ if offset & 0x7f == 0 => {
                BitRegister::at(offset).map_or(0, |register| bank.read_bits(register))
            }
            _ => identification(offset),
        }
    }

    /// Writes a 32-bit register of the SGI frame at an aligned offset.
    fn write_sgi_frame(&mut self, vcpu: VcpuId, offset: u32, value: u32) -> Effects {
        let id = BankId::Private(vcpu);
        match offset {
            IPRIORITYR..IPRIORITYR_END => {
                self.write_priorities(id, (offset - IPRIORITYR) as usize, 4, value)
            }
            ICFGR1 => self.write_config(id, true, value),
            _ if offset & 0x7f == 0 => match BitRegister::at(offset) {
                Some(register) => self.write_bits(id, register, value),
                None => Effects::NONE,
            },
            _ => Effects::NONE,
        }
    }

    /// Reads bytes of a vCPU's IPRIORITYR.
    fn read_private_priorities(&self, vcpu: VcpuId, offset: u32, count: usize) -> u32 {
        let index = (offset - IPRIORITYR) as usize;
        self.bank(BankId::Private(vcpu))
            .map_or(0, |bank| bank.read_priorities(index, count))
    }
}
