//! The UART that EL2 keeps as its console: whether one is there, and its registers for the drivers of [`bulkhead::uart`].

use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use bulkhead::addr::HypVirtAddr;
use bulkhead::uart::{self, Model, Port};

/// The console UART.
pub type Uart = uart::Uart<Registers<4096>>;

impl Port for Registers<4096> {
    #[inline(always)]
    fn read(self, offset: u32) -> u32 {
        Self::read(self, offset)
    }

    #[inline(always)]
    fn write(self, offset: u32, value: u32) {
        Self::write(self, offset, value);
    }

    fn read8(self, offset: u32) -> u8 {
        Self::read8(self, offset)
    }

    fn write8(self, offset: u32, value: u8) {
        Self::write8(self, offset, value);
    }
}

/// Says whether something answers where a UART has a register that may be read without effect.
///
/// # Safety
/// The page of `base` is mapped as device registers, during start-up.
pub unsafe fn answers(model: Model, base: HypVirtAddr) -> bool {
    let at = HypVirtAddr(base.0 + u64::from(model.status_register()));
    // SAFETY: the caller's claim; reading it changes nothing that matters.
    unsafe { probe::word(at) }.is_some()
}

/// Says whether what answers calls itself a PL011.
///
/// # Safety
/// As for [`answers`].
pub unsafe fn is_pl011(base: HypVirtAddr) -> bool {
    let mut id = 0;
    for word in 0..8 {
        let at = HypVirtAddr(base.0 + u64::from(uart::IDENTIFICATION) + word * 4);
        // SAFETY: the caller's claim; identification registers have no side effects.
        let Some(found) = (unsafe { probe::word(at) }) else {
            return false;
        };
        id = id >> 8 | u64::from(found & 0xff) << 56;
    }
    uart::is_identified(id)
}
