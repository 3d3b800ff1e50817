//! An emulated Arm PL011 UART (r1p5), wired to a partition's transmit ring and to the keyboard.
//!
//! The transmitter is as fast as the ring: while the ring has room for a FIFO's worth the UART looks empty, and a
//! full ring shows as a full FIFO, so that a guest which looks at its flags loses nothing. The receiver has 32
//! bytes and tells of every single one: both of its interrupts rise at the first byte, whatever `UARTIFLS` says.
//!
//! Baud rate, parity and modem lines are registers without effect. Enable bits are too, as many small guests never
//! set them.
//!
//! # Source
//! Arm DDI 0183, "PrimeCell UART (PL011) Technical Reference Manual", "Programmers Model".

use super::ring::{DEFAULT_BYTES, TxRing};
use crate::trap::access::Width;

/// Bytes in the register window.
pub const WINDOW_BYTES: u64 = 0x1000;
/// Bytes in the receive FIFO.
pub const FIFO_BYTES: usize = 32;

/// What a byte does that finds the transmit ring full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// The full flag is honest, and the guest waits.
    Wait,
    /// The UART never looks full; the byte is dropped and counted in the ring.
    Drop,
}

/// Register offsets.
mod offset {
    pub const DR: u64 = 0x000;
    pub const FR: u64 = 0x018;
    pub const ILPR: u64 = 0x020;
    pub const IBRD: u64 = 0x024;
    pub const FBRD: u64 = 0x028;
    pub const LCR_H: u64 = 0x02c;
    pub const CR: u64 = 0x030;
    pub const IFLS: u64 = 0x034;
    pub const IMSC: u64 = 0x038;
    pub const RIS: u64 = 0x03c;
    pub const MIS: u64 = 0x040;
    pub const ICR: u64 = 0x044;
    pub const DMACR: u64 = 0x048;
    pub const ID_FIRST: u64 = 0xfe0;
}

/// `UARTFR`: transmit FIFO empty.
const TXFE: u32 = 1 << 7;
/// `UARTFR`: receive FIFO full.
const RXFF: u32 = 1 << 6;
/// `UARTFR`: transmit FIFO full.
const TXFF: u32 = 1 << 5;
/// `UARTFR`: receive FIFO empty.
const RXFE: u32 = 1 << 4;
/// `UARTFR`: busy transmitting.
const BUSY: u32 = 1 << 3;
/// `UARTRIS` and its kin: receive timeout.
const RT: u16 = 1 << 6;
/// `UARTRIS` and its kin: transmit.
const TX: u16 = 1 << 5;
/// `UARTRIS` and its kin: receive.
const RX: u16 = 1 << 4;
/// `UARTLCR_H`: FIFOs enabled.
const FEN: u8 = 1 << 4;
/// `UARTCR`: loop back.
const LBE: u16 = 1 << 7;
/// `UARTCR` after a reset: transmitter and receiver enabled.
const CR_RESET: u16 = 0x0300;
/// Bits of `UARTCR` that exist.
const CR_MASK: u32 = 0xff87;
/// `UARTIFLS` after a reset: both at one half.
const IFLS_RESET: u8 = 0x12;
/// Bits of `UARTIMSC` that exist.
const INTERRUPTS: u32 = 0x7ff;
/// `UARTPeriphID0..3`, then `UARTPCellID0..3`: Arm's part 0x011, revision r1p5.
const IDENTITY: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// The registers of one UART. After every call that can change it, hand [`Self::take_line_change`] to the vGIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pl011 {
    /// `UARTRIS`.
    raw: u16,
    /// `UARTIMSC`.
    mask: u16,
    /// The level that the vGIC was last told.
    line: bool,
    overflow: Overflow,
    /// Room came after the guest last looked. It drains in bursts on another CPU, so a guest that found the UART
    /// full and then clears the interrupt would otherwise clear the very one that it is about to wait for.
    room_unseen: bool,
    received_first: u8,
    received_count: u8,
    received: [u8; FIFO_BYTES],
    control: u16,
    integer_divisor: u16,
    fractional_divisor: u8,
    line_control: u8,
    fifo_levels: u8,
    low_power_counter: u8,
    dma_control: u8,
}

impl Pl011 {
    /// Returns the UART after a reset.
    pub const fn new(overflow: Overflow) -> Self {
        Self {
            raw: 0,
            mask: 0,
            line: false,
            overflow,
            room_unseen: false,
            received_first: 0,
            received_count: 0,
            received: [0; FIFO_BYTES],
            control: CR_RESET,
            integer_divisor: 0,
            fractional_divisor: 0,
            line_control: 0,
            fifo_levels: IFLS_RESET,
            low_power_counter: 0,
            dma_control: 0,
        }
    }

    /// Resets the UART with its partition. Its interrupt line is low afterwards and so must the vGIC's be.
    pub const fn reset(&mut self) {
        *self = Self::new(self.overflow);
    }

    /// Answers a load from `offset` (below [`WINDOW_BYTES`]); anything that is not an aligned access of up to four
    /// bytes to a register reads as zero. The caller extends the value to the register.
    #[inline]
    pub fn read<const N: usize>(&mut self, offset: u64, width: Width, ring: &TxRing<N>) -> u64 {
        // Polled without end by boot loaders: decided first.
        if offset == offset::FR && width as u32 <= Width::Word as u32 {
            self.room_unseen = false;
            return self.flags(ring).into();
        }
        if offset & 3 != 0 || width == Width::Double {
            return 0;
        }
        self.read_register(offset)
    }

    /// Takes a store to `offset`; anything that is not an aligned access of up to four bytes to a register is
    /// ignored. Returns whether a byte went into the ring, so that the console's server may need a kick.
    #[inline]
    pub fn write<const N: usize>(
        &mut self,
        offset: u64,
        width: Width,
        value: u64,
        ring: &TxRing<N>,
    ) -> bool {
        if offset & 3 != 0 || width == Width::Double {
            return false;
        }
        if offset == offset::DR {
            return self.transmit(value as u8, ring);
        }
        self.write_register(offset, value as u32);
        false
    }

    /// Answers a load of `UARTFR` as [`Self::read`] does, when there is room to send and nothing was received.
    #[inline(always)]
    pub fn look<const N: usize>(&mut self, ring: &TxRing<N>) -> Option<u64> {
        let quiet = ring.room() >= FIFO_BYTES as u32 && self.received_count == 0;
        quiet.then(|| {
            self.room_unseen = false;
            (TXFE | RXFE).into()
        })
    }

    /// Takes a store to `UARTDR` as [`Self::write`] does, when it changes nothing but the ring: the byte shows, there is room
    /// for a FIFO's worth behind it, and the transmit interrupt says so already. Otherwise does nothing and returns false.
    #[inline(always)]
    pub fn send<const N: usize>(&mut self, byte: u8, ring: &TxRing<N>) -> bool {
        let shows = byte > b'\r' || !is_silent(byte, ring);
        let plain = self.control & LBE == 0 && self.raw & TX != 0 && shows;
        let sent = plain && ring.put_leaving(byte, FIFO_BYTES as u32);
        if sent {
            self.room_unseen = false;
        }
        sent
    }

    /// Takes a byte from the keyboard, or returns false when the FIFO is full and the byte must wait.
    pub fn push_received(&mut self, byte: u8) -> bool {
        let depth = if self.line_control & FEN != 0 {
            FIFO_BYTES as u8
        } else {
            1
        };
        if self.received_count >= depth {
            return false;
        }
        let at = usize::from(self.received_first.wrapping_add(self.received_count));
        if let Some(place) = self.received.get_mut(at % FIFO_BYTES) {
            *place = byte;
        }
        self.received_count += 1;
        self.raw |= RX | RT;
        true
    }

    /// Hears that the ring has room again, as [`super::ring::Reader::advance`] says.
    pub const fn transmit_room(&mut self) {
        self.raw |= TX;
        self.room_unseen = true;
    }

    /// Returns the level of the interrupt line.
    pub const fn line(&self) -> bool {
        self.raw & self.mask != 0
    }

    /// Returns the new level of the interrupt line when it differs from the one returned last.
    #[inline]
    pub const fn take_line_change(&mut self) -> Option<bool> {
        let line = self.line();
        if line == self.line {
            return None;
        }
        self.line = line;
        Some(line)
    }

    /// Returns `UARTFR`.
    #[inline(never)]
    fn flags<const N: usize>(&self, ring: &TxRing<N>) -> u32 {
        let room = ring.room();
        let transmit = if room >= FIFO_BYTES as u32 || self.overflow == Overflow::Drop {
            TXFE
        } else if room > 0 {
            BUSY
        } else {
            BUSY | TXFF
        };
        let receive = if self.received_count == 0 {
            RXFE
        } else if self.line_control & FEN == 0 || self.received_count >= FIFO_BYTES as u8 {
            RXFF
        } else {
            0
        };
        transmit | receive
    }

    /// Sends a byte, and raises the transmit interrupt when there is room for more.
    fn transmit<const N: usize>(&mut self, byte: u8, ring: &TxRing<N>) -> bool {
        if self.control & LBE != 0 {
            self.push_received(byte);
            self.raw |= TX;
            return false;
        }
        self.room_unseen = false;
        let fifo = FIFO_BYTES as u32;
        let silent = is_silent(byte, ring);
        let left = match silent {
            true => Some(ring.room()),
            false => ring.put(byte),
        };
        let more = left.is_some_and(|left| left >= fifo);
        if more || self.overflow == Overflow::Drop || ring.wait_for_room(fifo) {
            self.raw |= TX;
        } else {
            self.raw &= !TX;
        }
        left.is_some() && !silent
    }

    /// Takes the oldest byte out of the receive FIFO; 0 when it is empty.
    fn receive(&mut self) -> u8 {
        if self.received_count == 0 {
            return 0;
        }
        let first = usize::from(self.received_first);
        let byte = self.received.get(first).copied().unwrap_or(0);
        self.received_first = self.received_first.wrapping_add(1) % FIFO_BYTES as u8;
        self.received_count -= 1;
        if self.received_count == 0 {
            self.raw &= !(RX | RT);
        } else {
            // A handler that reads one byte and clears the interrupt hears of the next one.
            self.raw |= RX | RT;
        }
        byte
    }

    /// Answers a load from any register but `UARTFR`.
    #[inline(never)]
    fn read_register(&mut self, offset: u64) -> u64 {
        match offset {
            offset::DR => self.receive().into(),
            offset::ILPR => self.low_power_counter.into(),
            offset::IBRD => self.integer_divisor.into(),
            offset::FBRD => self.fractional_divisor.into(),
            offset::LCR_H => self.line_control.into(),
            offset::CR => self.control.into(),
            offset::IFLS => self.fifo_levels.into(),
            offset::IMSC => self.mask.into(),
            offset::RIS => {
                self.room_unseen = false;
                self.raw.into()
            }
            offset::MIS => {
                self.room_unseen = false;
                (self.raw & self.mask).into()
            }
            offset::DMACR => self.dma_control.into(),
            offset::ID_FIRST..WINDOW_BYTES => {
                let at = (offset - offset::ID_FIRST) as usize / 4;
                IDENTITY.get(at).copied().unwrap_or(0).into()
            }
            // UARTRSR: nothing is ever received in error.
            _ => 0,
        }
    }

    /// Takes a store to any register but `UARTDR`.
    #[inline(never)]
    fn write_register(&mut self, offset: u64, value: u32) {
        match offset {
            offset::ILPR => self.low_power_counter = value as u8,
            offset::IBRD => self.integer_divisor = value as u16,
            offset::FBRD => self.fractional_divisor = (value & 0x3f) as u8,
            offset::LCR_H => self.set_line_control(value as u8),
            offset::CR => self.control = (value & CR_MASK) as u16,
            offset::IFLS => self.fifo_levels = (value & 0x3f) as u8,
            offset::IMSC => self.mask = (value & INTERRUPTS) as u16,
            offset::ICR => self.clear(value as u16),
            offset::DMACR => self.dma_control = (value & 7) as u8,
            // UARTECR, which is UARTRSR's: there is no error to clear.
            _ => {}
        }
    }

    /// Clears interrupts; the transmitter's stays, once, when the guest cannot know why it rose.
    const fn clear(&mut self, interrupts: u16) {
        let kept = if self.room_unseen { TX } else { 0 };
        self.raw &= !interrupts | kept;
        if interrupts & TX != 0 {
            self.room_unseen = false;
        }
    }

    /// Sets `UARTLCR_H`; turning the FIFOs on or off empties the receiver's.
    fn set_line_control(&mut self, value: u8) {
        if (self.line_control ^ value) & FEN != 0 {
            self.received_first = 0;
            self.received_count = 0;
            self.raw &= !(RX | RT);
        }
        self.line_control = value;
    }
}

/// Says whether a byte leaves nothing on the wire, as [`crate::console::multiplexer`] has it: a NUL, or a CR behind a CR.
/// Such a byte stays out of the ring: the server would have to pass over it, and no wire would slow down who sends it.
fn is_silent<const N: usize>(byte: u8, ring: &TxRing<N>) -> bool {
    byte == 0 || byte == b'\r' && ring.ends_in(byte)
}

/// The ring of a partition's UART.
pub type UartRing = TxRing<DEFAULT_BYTES>;

#[cfg(test)]
mod tests;
