//! The distributor's register map, with one security state and affinity routing always on.
//!
//! # Source
//! Arm IHI 0069, "The Distributor register map" and the register pages. What the map reserves, a width that a register
//! does not support, and a misaligned access read as zero and ignore writes: the choice that the architecture allows for
//! all of them, and the one that cannot surprise a guest with an abort.

use super::bank::{BankId, Irq, NOBODY, at, put, vcpu_bit};
use super::queue::flag;
use super::registers::BitRegister;
use super::{Effects, LAST_SPI, Route, Vgic};
use crate::ids::{Mpidr, VcpuId};

const CTLR: u32 = 0x0000;
const TYPER: u32 = 0x0004;
const IIDR: u32 = 0x0008;
const ISPENDR: u32 = 0x0200;
const ISACTIVER: u32 = 0x0300;
const IPRIORITYR: u32 = 0x0400;
const ITARGETSR: u32 = 0x0800;
const ICFGR: u32 = 0x0c00;
const IGRPMODR: u32 = 0x0d00;
const IROUTER: u32 = 0x6100;
const IROUTER_LAST: u32 = 0x6000 + 8 * LAST_SPI as u32 + 7;

/// GICD_CTLR.ARE (one security state) and DS: as set for ever.
const CTLR_FIXED: u32 = 1 << 4 | 1 << 6;
/// GICD_TYPER: 10 bits of INTID, Aff3 may be other than zero, no 1-of-N delivery.
const TYPER_FIXED: u32 = 9 << 19 | 1 << 24 | 1 << 25;
/// GICD_IIDR and GICR_IIDR: Arm as the implementer of the architecture, a product number of our own.
pub(super) const IIDR_VALUE: u32 = 0x4200_043b;

impl Vgic<'_> {
    /// Says whether an access at this offset of the distributor or of a redistributor reads or changes what list
    /// registers hold, so that the current vCPU is to be folded first.
    pub const fn wants_fold(offset: u64) -> bool {
        let offset = offset & 0xffff;
        offset >= ISPENDR as u64 && offset < IPRIORITYR as u64
    }

    /// Returns, for a distributor read that shows pending states, the first INTID and the mask of those interrupts whose
    /// physical GICD_ISPENDR bits the caller ORs to what [`Vgic::distributor_read`] returns: the distributor's own
    /// pending state has not reached the model yet.
    pub fn physical_pending_bits(&self, offset: u64) -> Option<(u16, u32)> {
        let offset = u32::try_from(offset).ok()?;
        if !(ISPENDR..ISACTIVER).contains(&offset) {
            return None;
        }
        let id = shared(offset)?;
        let mask = self.bank(id)?.hardware;
        (mask != 0).then_some((id.first(), mask))
    }

    /// Reads `width` bytes (1, 2, 4, 8) at an offset of the distributor (0..0x10000).
    pub fn distributor_read(&self, offset: u64, width: u8) -> u64 {
        let Ok(offset) = u32::try_from(offset) else {
            return 0;
        };
        if let Some((id, register)) = bit_register(offset, width) {
            return self
                .bank(id)
                .map_or(0, |bank| bank.read_bits(register).into());
        }
        match width {
            4 if offset & 3 == 0 => self.read_word(offset).into(),
            1 if (IPRIORITYR..ITARGETSR).contains(&offset) => {
                let index = (offset - IPRIORITYR) as u16;
                let irq = Irq {
                    vcpu: 0,
                    intid: index,
                };
                match irq.is_private() {
                    true => 0,
                    false => self
                        .bank_at(irq)
                        .map_or(0, |bank| bank.read_priorities(irq.index(), 1).into()),
                }
            }
            8 if offset & 7 == 0 => self
                .router(offset)
                .map_or(0, |(_, affinity)| unpack(affinity)),
            _ => 0,
        }
    }

    /// Reads a 32-bit register as [`Vgic::distributor_read`] does, when it is one that guests read often: the control
    /// register, and the enables and groups of SPIs.
    #[inline(always)]
    pub fn quick_read(&self, offset: u32) -> Option<u32> {
        if offset == CTLR {
            return Some(CTLR_FIXED | u32::from(self.groups));
        }
        if offset & 3 != 0 {
            return None;
        }
        let index = (offset as usize >> 2 & 0x1f).wrapping_sub(1);
        let bank = self.spis.get(index).map(|spis| &spis.bank)?;
        match offset >> 7 {
            1 => Some(bank.group),
            2 | 3 => Some(bank.enabled),
            _ => None,
        }
    }

    /// Writes a 32-bit register as [`Vgic::distributor_write`] does, when it enables or disables SPIs of which none is
    /// pending and none has hardware behind it. Returns false, with nothing changed, when it is not that.
    #[inline(always)]
    pub fn quick_write(&mut self, offset: u32, value: u32) -> bool {
        let index = (offset as usize >> 2 & 0x1f).wrapping_sub(1);
        let Some(spis) = self.spis.get_mut(index).filter(|_| offset & 3 == 0) else {
            return false;
        };
        let bank = &mut spis.bank;
        let changed = match offset >> 7 {
            2 => value & bank.owned & !bank.enabled,
            3 => value & bank.enabled,
            _ => return false,
        };
        let plain = changed & (bank.deliverable() | bank.hardware) == 0;
        if plain {
            bank.enabled ^= changed;
        }
        plain
    }

    /// Writes `width` bytes (1, 2, 4, 8) at an offset of the distributor (0..0x10000).
    pub fn distributor_write(&mut self, offset: u64, width: u8, value: u64) -> Effects {
        let Ok(offset) = u32::try_from(offset) else {
            return Effects::NONE;
        };
        if let Some((id, register)) = bit_register(offset, width) {
            return self.write_bits(id, register, value as u32);
        }
        match width {
            4 if offset & 3 == 0 => self.write_word(offset, value as u32),
            1 if (IPRIORITYR..ITARGETSR).contains(&offset) => {
                let intid = (offset - IPRIORITYR) as usize;
                shared_at(intid >> 5).map_or(Effects::NONE, |id| {
                    self.write_priorities(id, intid & 31, 1, value as u32)
                })
            }
            8 if offset & 7 == 0 => match self.router(offset) {
                Some((irq, _)) => self.write_router(irq, pack(value)),
                None => Effects::NONE,
            },
            _ => Effects::NONE,
        }
    }

    /// Reads a 32-bit register at an aligned offset.
    fn read_word(&self, offset: u32) -> u32 {
        match offset {
            CTLR => CTLR_FIXED | u32::from(self.groups),
            TYPER => TYPER_FIXED | self.spis.len() as u32,
            IIDR => IIDR_VALUE,
            IPRIORITYR..ITARGETSR => {
                let intid = (offset - IPRIORITYR) as usize;
                shared_at(intid >> 5)
                    .and_then(|id| self.bank(id))
                    .map_or(0, |bank| bank.read_priorities(intid & 31, 4))
            }
            ICFGR..IGRPMODR => {
                let half = (offset - ICFGR) >> 2;
                shared_at(half as usize >> 1)
                    .and_then(|id| self.bank(id))
                    .map_or(0, |bank| bank.read_config(half & 1 != 0))
            }
            IROUTER..=IROUTER_LAST => match self.router(offset & !7) {
                Some((_, affinity)) if offset & 4 == 0 => unpack(affinity) as u32,
                Some((_, affinity)) => affinity >> 24,
                None => 0,
            },
            _ => identification(offset),
        }
    }

    /// Writes a 32-bit register at an aligned offset.
    fn write_word(&mut self, offset: u32, value: u32) -> Effects {
        match offset {
            CTLR => self.write_ctlr(value),
            IPRIORITYR..ITARGETSR => {
                let intid = (offset - IPRIORITYR) as usize;
                shared_at(intid >> 5).map_or(Effects::NONE, |id| {
                    self.write_priorities(id, intid & 31, 4, value)
                })
            }
            ICFGR..IGRPMODR => {
                let half = (offset - ICFGR) >> 2;
                shared_at(half as usize >> 1).map_or(Effects::NONE, |id| {
                    self.write_config(id, half & 1 != 0, value)
                })
            }
            IROUTER..=IROUTER_LAST => match self.router(offset & !7) {
                Some((irq, affinity)) if offset & 4 == 0 => {
                    self.write_router(irq, affinity & 0xff00_0000 | value & 0x00ff_ffff)
                }
                Some((irq, affinity)) => {
                    self.write_router(irq, affinity & 0x00ff_ffff | value << 24)
                }
                None => Effects::NONE,
            },
            _ => Effects::NONE,
        }
    }

    /// Writes GICD_CTLR: only the two group enables can change.
    pub(super) fn write_ctlr(&mut self, value: u32) -> Effects {
        let mut effects = Effects::NONE;
        let groups = value as u8 & 3;
        if groups == self.groups {
            return effects;
        }
        self.groups = groups;
        for (number, cpu) in self.cpus.iter_mut().enumerate() {
            if cpu.stage.used != 0 || cpu.stage.is(flag::WAITING) {
                cpu.stage.flags |= flag::RESTAGE;
                effects.kick |= vcpu_bit(number as u8);
            }
        }
        effects
    }

    /// Returns the SPI whose IROUTER lies at a multiple of 8, if the guest owns it, and the affinity in it.
    fn router(&self, offset: u32) -> Option<(Irq, u32)> {
        if !(IROUTER..=IROUTER_LAST).contains(&offset) {
            return None;
        }
        let irq = Irq {
            vcpu: 0,
            intid: ((offset - 0x6000) >> 3) as u16,
        };
        let spis = self.spis.get((irq.intid as usize >> 5).checked_sub(1)?)?;
        (spis.bank.owned & irq.bit() != 0).then(|| (irq, at(&spis.router, irq.index())))
    }

    /// Routes an SPI to a packed affinity.
    fn write_router(&mut self, irq: Irq, affinity: u32) -> Effects {
        let mut effects = Effects {
            first: irq.intid & !31,
            ..Effects::NONE
        };
        let target = self.vcpu_at(affinity);
        let bank = (irq.intid as usize >> 5).checked_sub(1);
        let Some(spis) = bank.and_then(|bank| self.spis.get_mut(bank)) else {
            return effects;
        };
        put(&mut spis.router, irq.index(), affinity);
        if at(&spis.target, irq.index()) == target {
            return effects;
        }
        put(&mut spis.target, irq.index(), target);
        if spis.bank.hardware & irq.bit() != 0 {
            effects.route = Some(Route {
                intid: irq.intid,
                vcpu: (target != NOBODY).then_some(VcpuId(target)),
            });
        }
        self.update(irq, &mut effects.kick);
        effects
    }

    /// Returns the vCPU with a packed affinity, or [`NOBODY`].
    pub(super) fn vcpu_at(&self, affinity: u32) -> u8 {
        let index = affinity >> 4 & 0xf0 | affinity & 0x0f;
        let vcpu = index as u8;
        if index < self.cpus.len() as u32 && Mpidr::of_vcpu(VcpuId(vcpu)).packed() == affinity {
            vcpu
        } else {
            NOBODY
        }
    }
}

/// Returns bank and kind of the register with one bit for each SPI at an offset, if that is one and the access fits.
#[inline]
pub(super) fn bit_register(offset: u32, width: u8) -> Option<(BankId, BitRegister)> {
    if width != 4 || offset & 3 != 0 {
        return None;
    }
    Some((shared(offset)?, BitRegister::at(offset)?))
}

/// Returns the SPI bank of a register with one bit for each interrupt. The first register of each block belongs to the
/// redistributors.
fn shared(offset: u32) -> Option<BankId> {
    shared_at((offset as usize & 0x7f) >> 2)
}

/// Returns the SPI bank of the INTIDs from 32 x `number`.
fn shared_at(number: usize) -> Option<BankId> {
    let index = number.checked_sub(1)?;
    Some(BankId::Shared(index as u8))
}

/// Reads an identification register: peripheral and component identifiers of a GICv3, alike in all frames.
pub(super) const fn identification(offset: u32) -> u32 {
    match offset {
        0xffd0 => 0x44,
        0xffe0 => 0x92,
        0xffe4 => 0xb4,
        0xffe8 => 0x3b,
        0xfff0 => 0x0d,
        0xfff4 => 0xf0,
        0xfff8 => 0x05,
        0xfffc => 0xb1,
        _ => 0,
    }
}

/// Packs the affinity of a 64-bit IROUTER value; its any-CPU bit is dropped.
const fn pack(value: u64) -> u32 {
    Mpidr::from_raw(value).packed()
}

/// Returns the 64-bit IROUTER value of a packed affinity.
const fn unpack(affinity: u32) -> u64 {
    (affinity as u64 >> 24) << 32 | affinity as u64 & 0x00ff_ffff
}
