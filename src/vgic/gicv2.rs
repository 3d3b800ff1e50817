//! GICv2's distributor: banked for each vCPU below INTID 32, one security state.
//!
//! # Source
//! Arm IHI 0048 (GICv2), "Distributor register map" and the register pages. What the map reserves, a width that a register
//! does not support, and a misaligned access read as zero and ignore writes, as in GICv3's. SGIs are enabled for good, and
//! their pending states are written by `GICD_SPENDSGIR` and `GICD_CPENDSGIR` alone.
//!
//! # Decisions
//! * An interrupt with several targets goes to the lowest of them: the architecture lets any one of them have it.
//! * No physical interrupt is linked to its list register (`GICH_LRn.HW`): EL2 deactivates it when a maintenance interrupt
//!   tells of the guest's end. Not every GICv2 looks again at a line that is still high, or at an edge that came meanwhile,
//!   when a virtual CPU interface deactivates the physical interrupt: QEMU's does not, in any version up to 10, and a guest
//!   whose timer is due again before it ended the last interrupt would wait for ever.
//! * With a single vCPU the targets read as zero and ignore writes, and all SPIs are its own.

use super::bank::{BankId, Irq, NOBODY, at, put};
use super::distributor::IIDR_VALUE;
use super::registers::{BitRegister, Unfinished};
use super::senders::SGIS;
use super::{Effects, LAST_SPI, Route, Vgic};
use crate::ids::VcpuId;

const CTLR: u32 = 0x000;
const TYPER: u32 = 0x004;
const IIDR: u32 = 0x008;
const IPRIORITYR: u32 = 0x400;
const ITARGETSR: u32 = 0x800;
const ICFGR: u32 = 0xc00;
const ICFGR_END: u32 = 0xd00;
const SGIR: u32 = 0xf00;
const CPENDSGIR: u32 = 0xf10;
const SPENDSGIR: u32 = 0xf20;
const SPENDSGIR_END: u32 = 0xf30;
/// The bits of the SGIs in a private register.
const SGI_BITS: u32 = (1 << SGIS) - 1;

/// What a register of bytes holds.
#[derive(Clone, Copy)]
enum Bytes {
    Priority,
    Target,
    ClearSenders,
    SetSenders,
}

impl Vgic<'_> {
    /// Says whether an access at this offset of GICv2's distributor reads or changes what list registers hold, so that the
    /// current vCPU is to be folded first.
    pub const fn banked_wants_fold(offset: u64) -> bool {
        Self::wants_fold(offset) || offset >= CPENDSGIR as u64 && offset < SPENDSGIR_END as u64
    }

    /// Reads `width` bytes (1, 2, 4, 8) at an offset of GICv2's distributor, as a vCPU sees it.
    pub fn banked_read(&self, vcpu: VcpuId, offset: u64, width: u8) -> u64 {
        let Ok(offset) = u32::try_from(offset) else {
            return 0;
        };
        if let Some((bytes, first)) = byte_register(offset, width) {
            let places = (first..first + usize::from(width)).rev();
            let word = places.fold(0, |word, place| {
                word << 8 | u32::from(self.read_byte(vcpu, bytes, place))
            });
            return word.into();
        }
        if width != 4 || offset & 3 != 0 {
            return 0;
        }
        self.read_banked_word(vcpu, offset).into()
    }

    /// Reads a 32-bit register that is not made of bytes at an aligned offset.
    fn read_banked_word(&self, vcpu: VcpuId, offset: u32) -> u32 {
        if let Some(register) = BitRegister::at(offset) {
            let bank = self.bank(banked(vcpu, offset));
            return bank.map_or(0, |bank| bank.read_bits(register));
        }
        match offset {
            CTLR => self.groups.into(),
            TYPER => self.spis.len() as u32 | (self.cpus.len() as u32).wrapping_sub(1) << 5,
            IIDR => IIDR_VALUE,
            ICFGR..ICFGR_END => {
                let half = (offset - ICFGR) >> 2;
                let bank = self.bank(numbered(vcpu, half as usize >> 1));
                bank.map_or(0, |bank| bank.read_config(half & 1 != 0))
            }
            _ => identification(offset),
        }
    }

    /// Writes `width` bytes (1, 2, 4, 8) at an offset of GICv2's distributor, as a vCPU sees it.
    pub fn banked_write(&mut self, vcpu: VcpuId, offset: u64, width: u8, value: u64) -> Effects {
        let Ok(offset) = u32::try_from(offset) else {
            return Effects::NONE;
        };
        let value = value as u32;
        if let Some((bytes, first)) = byte_register(offset, width) {
            return self.write_bytes(vcpu, bytes, (first, width), value);
        }
        if width != 4 || offset & 3 != 0 {
            return Effects::NONE;
        }
        if let Some(register) = BitRegister::at(offset) {
            let id = banked(vcpu, offset);
            return self.write_bits(id, register, value & writable(id, register));
        }
        match offset {
            CTLR => self.write_ctlr(value),
            ICFGR..ICFGR_END => {
                let half = (offset - ICFGR) >> 2;
                self.write_config(numbered(vcpu, half as usize >> 1), half & 1 != 0, value)
            }
            SGIR => self.write_sgir(vcpu, value),
            _ => Effects::NONE,
        }
    }

    /// Reads a byte of a register of bytes.
    fn read_byte(&self, vcpu: VcpuId, bytes: Bytes, place: usize) -> u8 {
        match bytes {
            Bytes::Priority => {
                let bank = self.bank(numbered(vcpu, place >> 5));
                bank.map_or(0, |bank| bank.read_priorities(place & 31, 1) as u8)
            }
            Bytes::Target => self.read_target(vcpu, place),
            Bytes::ClearSenders | Bytes::SetSenders => self.senders_of(vcpu, place),
        }
    }

    /// Reads the targets of an interrupt; a private one's are the vCPU that asks.
    fn read_target(&self, vcpu: VcpuId, intid: usize) -> u8 {
        if self.cpus.len() <= 1 {
            return 0;
        }
        let irq = Irq {
            vcpu: vcpu.0,
            intid: intid as u16,
        };
        match (intid >> 5).checked_sub(1) {
            None => 1u8.wrapping_shl(vcpu.0.into()),
            // What the guest does not own was never given one.
            Some(bank) => self
                .spis
                .get(bank)
                .map_or(0, |spis| at(&spis.router, irq.index()) as u8),
        }
    }

    /// Writes bytes of a register of bytes: `at` is the place of the first one, and how many they are.
    fn write_bytes(
        &mut self,
        vcpu: VcpuId,
        bytes: Bytes,
        (first, width): (usize, u8),
        value: u32,
    ) -> Effects {
        match bytes {
            Bytes::Priority => {
                let id = numbered(vcpu, first >> 5);
                self.write_priorities(id, first & 31, width.into(), value)
            }
            Bytes::Target => self.write_targets(first as u16, width, value),
            Bytes::ClearSenders | Bytes::SetSenders => {
                let pends = matches!(bytes, Bytes::SetSenders);
                self.write_senders(vcpu, pends, (first as u8, width), value)
            }
        }
    }

    /// Writes who sent SGIs to a vCPU, of `bytes` SGIs from `sgi` on: of the first one, and leaves the others.
    pub(super) fn write_senders(
        &mut self,
        vcpu: VcpuId,
        pends: bool,
        (sgi, bytes): (u8, u8),
        value: u32,
    ) -> Effects {
        let mut effects = Effects {
            vcpu: vcpu.0,
            ..Effects::NONE
        };
        let irq = Irq {
            vcpu: vcpu.0,
            intid: sgi.into(),
        };
        match pends {
            true => self.pend_from(irq, value as u8 & self.everyone(), &mut effects.kick),
            false => self.unpend_from(irq, value as u8, &mut effects),
        }
        if bytes > 1 {
            effects.rest = Some(Unfinished::Senders {
                vcpu,
                pends,
                sgi: sgi.wrapping_add(1),
                bytes: bytes - 1,
                value: value >> 8,
            });
        }
        effects
    }

    /// Returns all vCPUs as a mask.
    fn everyone(&self) -> u8 {
        (u32::MAX >> (32 - self.cpus.len().clamp(1, 8) as u32)) as u8
    }

    /// Writes the targets of `bytes` interrupts from `intid` on: of the first one, and leaves the others.
    pub(super) fn write_targets(&mut self, intid: u16, bytes: u8, value: u32) -> Effects {
        let mut effects = self.write_target(intid, value as u8);
        if bytes > 1 {
            effects.rest = Some(Unfinished::Targets {
                intid: intid.wrapping_add(1),
                bytes: bytes - 1,
                value: value >> 8,
            });
        }
        effects
    }

    /// Writes the targets of an interrupt.
    fn write_target(&mut self, intid: u16, targets: u8) -> Effects {
        let irq = Irq { vcpu: 0, intid };
        let mut effects = Effects {
            first: intid & !31,
            ..Effects::NONE
        };
        let targets = targets & self.everyone();
        let single = self.cpus.len() <= 1;
        let bank = (intid as usize >> 5).checked_sub(1);
        let Some(spis) = bank
            .filter(|_| !single && intid <= LAST_SPI)
            .and_then(|bank| self.spis.get_mut(bank))
            .filter(|spis| spis.bank.owned & irq.bit() != 0)
        else {
            return effects;
        };
        let target = match targets {
            0 => NOBODY,
            _ => targets.trailing_zeros() as u8,
        };
        put(&mut spis.router, irq.index(), targets.into());
        if at(&spis.target, irq.index()) == target {
            return effects;
        }
        put(&mut spis.target, irq.index(), target);
        if spis.bank.hardware & irq.bit() != 0 {
            effects.route = Some(Route {
                intid,
                vcpu: (target != NOBODY).then_some(VcpuId(target)),
            });
        }
        self.update(irq, &mut effects.kick);
        effects
    }
}

/// Returns which register of bytes lies at an offset and the place of the first byte, if the access fits.
fn byte_register(offset: u32, width: u8) -> Option<(Bytes, usize)> {
    let fits = width == 1 || width == 4 && offset & 3 == 0;
    let (bytes, first) = match offset {
        IPRIORITYR..ITARGETSR => (Bytes::Priority, IPRIORITYR),
        ITARGETSR..ICFGR => (Bytes::Target, ITARGETSR),
        CPENDSGIR..SPENDSGIR => (Bytes::ClearSenders, CPENDSGIR),
        SPENDSGIR..SPENDSGIR_END => (Bytes::SetSenders, SPENDSGIR),
        _ => return None,
    };
    fits.then_some((bytes, (offset - first) as usize))
}

/// Returns the bits of a register that can be written.
const fn writable(id: BankId, register: BitRegister) -> u32 {
    match (id, register) {
        (
            BankId::Private(_),
            BitRegister::SetEnable
            | BitRegister::ClearEnable
            | BitRegister::SetPending
            | BitRegister::ClearPending,
        ) => !SGI_BITS,
        _ => u32::MAX,
    }
}

/// Returns the bank of a register with one bit for each interrupt.
const fn banked(vcpu: VcpuId, offset: u32) -> BankId {
    numbered(vcpu, (offset as usize & 0x7f) >> 2)
}

/// Returns the bank of the INTIDs from 32 x `number`.
const fn numbered(vcpu: VcpuId, number: usize) -> BankId {
    match number {
        0 => BankId::Private(vcpu),
        _ => BankId::Shared((number - 1) as u8),
    }
}

/// Reads an identification register: peripheral and component identifiers of a GICv2.
const fn identification(offset: u32) -> u32 {
    match offset {
        0xfd0 => 0x04,
        0xfe0 => 0x90,
        0xfe4 => 0xb4,
        0xfe8 => 0x2b,
        0xff0 => 0x0d,
        0xff4 => 0xf0,
        0xff8 => 0x05,
        0xffc => 0xb1,
        _ => 0,
    }
}
