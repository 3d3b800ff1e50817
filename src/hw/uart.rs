//! The physical PL011 that EL2 keeps as its console. The firmware's line settings stay.
//!
//! Its transmit interrupt is never cleared, only masked: once it has come, unmasking it is enough to be called when there is
//! room ([`bulkhead::console::sender`]).
//!
//! Source: Arm DDI 0183, "Programmer's Model".

use crate::arch::aarch64::mmio::Registers;
use crate::arch::aarch64::probe;
use bulkhead::addr::HypVirtAddr;

const DR: u32 = 0x00;
const FR: u32 = 0x18;
const CR: u32 = 0x30;
const LCRH: u32 = 0x2c;
const IMSC: u32 = 0x38;
const RIS: u32 = 0x3c;
const ICR: u32 = 0x44;

/// `UARTPeriphID0` to `3` and `UARTPCellID0` to `3`, eight registers of eight bits each.
const IDENTIFICATION: u64 = 0xfe0;
/// A PrimeCell, part 0x011, designer 0x41, of any revision and configuration.
const PL011_ID: u64 = 0xb105_f00d_0004_1011;
const ID_MASK: u64 = 0xffff_ffff_000f_ffff;

const FR_RX_EMPTY: u32 = 1 << 4;
const FR_TX_FULL: u32 = 1 << 5;
const INTERRUPT_RX: u32 = 1 << 4;
const INTERRUPT_TX: u32 = 1 << 5;
const INTERRUPT_RX_TIMEOUT: u32 = 1 << 6;
const CR_ENABLE_BOTH_WAYS: u32 = 1 << 9 | 1 << 8 | 1;
const LCRH_FIFO: u32 = 1 << 4;
const LCRH_EIGHT_BITS: u32 = 0b11 << 5;

/// Says whether something answers at a UART's flag register.
///
/// # Safety
/// The page of `base` is mapped as device registers, during start-up.
pub unsafe fn answers(base: HypVirtAddr) -> bool {
    // SAFETY: the caller's claim; the flag register has no side effects.
    unsafe { probe::word(HypVirtAddr(base.0 + u64::from(FR))) }.is_some()
}

/// Says whether what answers calls itself a PL011.
///
/// # Safety
/// As for [`answers`].
pub unsafe fn is_pl011(base: HypVirtAddr) -> bool {
    let mut id = 0;
    for word in 0..8 {
        // SAFETY: the caller's claim; identification registers have no side effects.
        let found = unsafe { probe::word(HypVirtAddr(base.0 + IDENTIFICATION + word * 4)) };
        let Some(found) = found else { return false };
        id = id >> 8 | u64::from(found & 0xff) << 56;
    }
    id & ID_MASK == PL011_ID
}

/// The console UART.
#[derive(Clone, Copy)]
pub struct Uart {
    registers: Registers<4096>,
}

impl Uart {
    /// Takes charge of the UART's registers.
    pub const fn new(registers: Registers<4096>) -> Self {
        Self { registers }
    }

    /// Turns both directions and the FIFOs on, interrupts masked.
    pub fn start(self) {
        self.registers.write(IMSC, 0);
        if self.registers.read(LCRH) & LCRH_FIFO == 0 {
            self.registers.write(LCRH, LCRH_EIGHT_BITS | LCRH_FIFO);
        }
        self.registers
            .write(CR, self.registers.read(CR) | CR_ENABLE_BOTH_WAYS);
        self.registers
            .write(ICR, INTERRUPT_RX | INTERRUPT_RX_TIMEOUT);
    }

    /// Sends a byte when there is room, and says whether there was.
    #[inline(always)]
    pub fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.registers.write(DR, byte.into());
        }
        room
    }

    /// Says whether the transmit FIFO has room.
    #[inline(always)]
    pub fn has_room(self) -> bool {
        self.registers.read(FR) & FR_TX_FULL == 0
    }

    /// Says whether the transmit interrupt stands, masked or not.
    pub fn has_risen(self) -> bool {
        self.registers.read(RIS) & INTERRUPT_TX != 0
    }

    /// Takes a received byte. A byte with a line error is taken as it came.
    #[inline(always)]
    pub fn try_receive(self) -> Option<u8> {
        (self.registers.read(FR) & FR_RX_EMPTY == 0).then(|| self.registers.read(DR) as u8)
    }

    /// Asks for interrupts on input, and on room for output when `transmit` says so.
    #[inline(always)]
    pub fn listen(self, receive: bool, transmit: bool) {
        let receive = if receive {
            INTERRUPT_RX | INTERRUPT_RX_TIMEOUT
        } else {
            0
        };
        self.registers
            .write(IMSC, receive | if transmit { INTERRUPT_TX } else { 0 });
    }
}
