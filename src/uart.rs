//! Drivers of the UARTs that boards have as their console, over registers that a test can fake.
//!
//! The firmware's line settings stay: speed, parity and stop bits are whatever the boot loader talked with. A driver turns
//! both directions on, sends a byte when there is room, takes a received one, and asks for interrupts. None waits.
//!
//! # Decisions
//! * **An enum, not a trait object.** [`Uart`] picks a driver by one comparison. Who has a loop to run per byte compares
//!   once and runs it with the driver itself ([`Driver`] is generic).
//! * **Interrupts are never cleared to make them go away**, only masked, where the hardware allows it: the console's sender
//!   relies on a transmit interrupt that stands as long as there is room ([`crate::console::sender`]). Where the hardware
//!   remembers an event (Cadence), the driver forgets it while the event is not true.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod cadence;
mod imx;
mod ns16550;
mod pl011;
#[cfg(test)]
mod tests;

pub use cadence::Cadence;
pub use imx::Imx;
pub use ns16550::Ns16550;
pub use pl011::{IDENTIFICATION, Pl011, is_identified};

/// A UART's registers.
pub trait Port: Copy {
    /// Reads a register of 32 bits.
    fn read(self, offset: u32) -> u32;

    /// Writes a register of 32 bits.
    fn write(self, offset: u32, value: u32);

    /// Reads a register of eight bits.
    fn read8(self, offset: u32) -> u8;

    /// Writes a register of eight bits.
    fn write8(self, offset: u32, value: u8);
}

/// What the console wants of a UART.
pub trait Driver: Copy {
    /// Turns both directions and the FIFOs on, interrupts masked.
    fn start(self);

    /// Says whether the transmit FIFO has room.
    fn has_room(self) -> bool;

    /// Sends a byte when there is room, and says whether there was.
    fn try_send(self, byte: u8) -> bool;

    /// Says whether the transmit interrupt stands, masked or not.
    fn has_risen(self) -> bool;

    /// Takes a received byte. A byte with a line error is taken as it came.
    fn try_receive(self) -> Option<u8>;

    /// Asks for interrupts on input when `receive` says so, and on room for output when `transmit` does.
    fn listen(self, receive: bool, transmit: bool);

    /// Says whether the transmit interrupt may be missed now and then, so that somebody has to look by time too.
    fn may_miss(self) -> bool {
        false
    }
}

/// A kind of UART that there is a driver for, with what its registers look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// Arm PL011, and the part of it that the Server Base System Architecture asks for.
    Pl011,
    /// Freescale i.MX.
    Imx,
    /// Cadence, as in Xilinx Zynq and ZynqMP.
    Cadence,
    /// 16550 and its kin.
    Ns16550 {
        /// Distance between registers as a power of two, at most [`MAX_SHIFT`].
        shift: u8,
        /// Registers are read and written as 32 bits, not 8.
        wide: bool,
    },
}

/// Largest `reg-shift` of a 16550: its eight registers stay in a page.
pub const MAX_SHIFT: u32 = 8;

impl Model {
    /// Returns the model that a 16550's `reg-shift` and `reg-io-width` give, if there is a driver for it.
    pub fn ns16550(shift: u32, width: u32) -> Option<Self> {
        let wide = match width {
            1 => false,
            4 => true,
            _ => return None,
        };
        // Wide registers have to be apart.
        let fits = shift <= MAX_SHIFT && (!wide || shift >= 2);
        fits.then_some(Self::Ns16550 {
            shift: shift as u8,
            wide,
        })
    }

    /// Returns the model as a number that is never 0, see [`Self::from_code`].
    pub const fn code(self) -> u32 {
        match self {
            Self::Pl011 => 1,
            Self::Imx => 2,
            Self::Cadence => 3,
            Self::Ns16550 { shift, wide } => 4 | (shift as u32) << 8 | (wide as u32) << 16,
        }
    }

    /// Returns the model of a number.
    #[inline(never)]
    pub fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Pl011),
            2 => Some(Self::Imx),
            3 => Some(Self::Cadence),
            _ if code & 0xfffe_00ff == 4 => {
                Self::ns16550(code >> 8 & 0xff, if code >> 16 == 0 { 1 } else { 4 })
            }
            _ => None,
        }
    }

    /// Returns its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pl011 => "PL011",
            Self::Imx => "i.MX UART",
            Self::Cadence => "Cadence UART",
            Self::Ns16550 { .. } => "16550",
        }
    }

    /// Returns the offset of the register that a byte to send is written to. A write of 32 bits does for all but a 16550
    /// whose registers are bytes.
    pub const fn transmit_register(self) -> u32 {
        match self {
            Self::Pl011 => pl011::DR,
            Self::Imx => imx::UTXD,
            Self::Cadence => cadence::FIFO,
            Self::Ns16550 { .. } => 0,
        }
    }

    /// Returns the offset of a register that may be read without effect, to see whether anything answers.
    pub const fn status_register(self) -> u32 {
        match self {
            Self::Pl011 => pl011::FR,
            Self::Imx => imx::UTS,
            Self::Cadence => cadence::SR,
            // The word that holds the line status where registers are bytes, and the register itself where they are apart.
            Self::Ns16550 { shift, .. } => (ns16550::SCRATCH << shift) & !3,
        }
    }
}

/// A UART of any kind.
#[derive(Clone, Copy, Debug)]
pub enum Uart<P> {
    /// Arm PL011.
    Pl011(Pl011<P>),
    /// Freescale i.MX.
    Imx(Imx<P>),
    /// Cadence.
    Cadence(Cadence<P>),
    /// 16550.
    Ns16550(Ns16550<P>),
    /// None that anything here drives: it takes every byte and shows none.
    Silent,
}

impl<P: Port> Uart<P> {
    /// Takes charge of a UART's registers.
    pub const fn new(model: Model, port: P) -> Self {
        match model {
            Model::Pl011 => Self::Pl011(Pl011::new(port)),
            Model::Imx => Self::Imx(Imx::new(port)),
            Model::Cadence => Self::Cadence(Cadence::new(port)),
            Model::Ns16550 { shift, wide } => Self::Ns16550(Ns16550::new(port, shift, wide)),
        }
    }
}

/// Calls the same method of whatever driver it is; without one the answer is `$silent`.
macro_rules! each {
    ($uart:expr, $silent:expr, $driver:ident => $call:expr) => {
        match $uart {
            Uart::Silent => $silent,
            Uart::Pl011($driver) => $call,
            Uart::Imx($driver) => $call,
            Uart::Cadence($driver) => $call,
            Uart::Ns16550($driver) => $call,
        }
    };
}

impl<P: Port> Driver for Uart<P> {
    fn start(self) {
        each!(self, (), driver => driver.start());
    }

    fn has_room(self) -> bool {
        each!(self, true, driver => driver.has_room())
    }

    fn try_send(self, byte: u8) -> bool {
        each!(self, true, driver => driver.try_send(byte))
    }

    fn has_risen(self) -> bool {
        each!(self, false, driver => driver.has_risen())
    }

    fn try_receive(self) -> Option<u8> {
        each!(self, None, driver => driver.try_receive())
    }

    fn listen(self, receive: bool, transmit: bool) {
        each!(self, (), driver => driver.listen(receive, transmit));
    }

    fn may_miss(self) -> bool {
        each!(self, false, driver => driver.may_miss())
    }
}
