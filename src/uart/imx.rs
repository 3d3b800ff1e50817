//! The UART of Freescale's (NXP's) i.MX processors.
//!
//! Its transmit interrupt is a level: the FIFO holds fewer bytes than its trigger level. It is masked, never cleared.
//!
//! Source: NXP IMX8MPRM, "Universal Asynchronous Receiver/Transmitter (UART)", "UART Memory Map/Register Definition".

use super::{Driver, Port};

const URXD: u32 = 0x00;
pub(super) const UTXD: u32 = 0x40;
const UCR1: u32 = 0x80;
const UCR2: u32 = 0x84;
const UCR3: u32 = 0x88;
const UFCR: u32 = 0x90;
const USR1: u32 = 0x94;
pub(super) const UTS: u32 = 0xb4;

/// UARTEN: the UART is on.
const UCR1_ENABLE: u32 = 1;
/// RRDYEN: interrupt when the receive FIFO has reached its trigger level.
const UCR1_RX_READY: u32 = 1 << 9;
/// TRDYEN: interrupt when the transmit FIFO is below its trigger level.
const UCR1_TX_READY: u32 = 1 << 13;
/// TXMPTYEN, RTSDEN, IDEN: interrupts that nobody takes.
const UCR1_OTHERS: u32 = 1 << 6 | 1 << 5 | 1 << 12;
/// SRST (1: no reset), RXEN, TXEN, WS (eight bits), IRTS (the RTS pin is ignored).
const UCR2_BOTH_WAYS: u32 = 1 | 1 << 1 | 1 << 2 | 1 << 5 | 1 << 14;
/// ESCEN, RTSEN and ATEN: interrupts that nobody takes.
const UCR2_OTHERS: u32 = 1 << 15 | 1 << 4 | 1 << 3;
/// RXDMUXSEL: must be one.
const UCR3_MUXED: u32 = 1 << 2;
/// RXTL and TXTL.
const UFCR_LEVELS: u32 = 0x3f | 0x3f << 10;
/// Called at the first byte received, and with fewer than sixteen to send.
const UFCR_CALLS: u32 = 1 | 16 << 10;
const USR1_TX_READY: u32 = 1 << 13;
const UTS_TX_FULL: u32 = 1 << 4;
const UTS_RX_EMPTY: u32 = 1 << 5;

/// The driver.
#[derive(Clone, Copy, Debug)]
pub struct Imx<P>(P);

impl<P> Imx<P> {
    /// Takes charge of the registers.
    pub const fn new(port: P) -> Self {
        Self(port)
    }
}

impl<P: Port> Driver for Imx<P> {
    fn start(self) {
        let masked = self.0.read(UCR1) & !(UCR1_RX_READY | UCR1_TX_READY | UCR1_OTHERS);
        self.0.write(UCR1, masked | UCR1_ENABLE);
        let kept = self.0.read(UCR2) & !UCR2_OTHERS;
        self.0.write(UCR2, kept | UCR2_BOTH_WAYS);
        self.0.write(UCR3, self.0.read(UCR3) | UCR3_MUXED);
        let kept = self.0.read(UFCR) & !UFCR_LEVELS;
        self.0.write(UFCR, kept | UFCR_CALLS);
    }

    fn has_room(self) -> bool {
        self.0.read(UTS) & UTS_TX_FULL == 0
    }

    fn try_send(self, byte: u8) -> bool {
        let room = self.has_room();
        if room {
            self.0.write(UTXD, byte.into());
        }
        room
    }

    fn has_risen(self) -> bool {
        self.0.read(USR1) & USR1_TX_READY != 0
    }

    fn try_receive(self) -> Option<u8> {
        (self.0.read(UTS) & UTS_RX_EMPTY == 0).then(|| self.0.read(URXD) as u8)
    }

    fn listen(self, receive: bool, transmit: bool) {
        let kept = self.0.read(UCR1) & !(UCR1_RX_READY | UCR1_TX_READY);
        let receive = if receive { UCR1_RX_READY } else { 0 };
        let transmit = if transmit { UCR1_TX_READY } else { 0 };
        self.0.write(UCR1, kept | receive | transmit);
    }
}
