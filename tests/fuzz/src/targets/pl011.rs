//! The emulated UART.
//!
//! # Source
//! Arm DDI 0183, "Programmers Model"; what is ours is the documentation of `bulkhead::device::pl011`.

use std::collections::VecDeque;

use bulkhead::device::pl011::{FIFO_BYTES, Overflow, Pl011, WINDOW_BYTES};
use bulkhead::device::ring::TxRing;
use bulkhead::trap::access::Width;

use crate::bytes::Bytes;

/// Bytes of the transmit ring, one of which ends lines alone.
const RING: usize = 64;
/// Most steps of one run.
const LONGEST: usize = 400;

/// Interrupt bits.
const RX: u16 = 1 << 4;
const TX: u16 = 1 << 5;
const RT: u16 = 1 << 6;

/// The UART in its plainest form.
struct Model {
    overflow: Overflow,
    /// What the wire has to carry.
    ring: VecDeque<u8>,
    last: u8,
    dropped: u32,
    received: VecDeque<u8>,
    raw: u16,
    mask: u16,
    line: bool,
    /// The producer waits to hear of room.
    waiting: bool,
    unseen: bool,
    /// ILPR, IBRD, FBRD, LCR_H, CR, IFLS, DMACR by offset.
    plain: [(u64, u32, u32); 7],
}

impl Model {
    fn new(overflow: Overflow) -> Self {
        Self {
            overflow,
            ring: VecDeque::new(),
            last: b'\n',
            dropped: 0,
            received: VecDeque::new(),
            raw: 0,
            mask: 0,
            line: false,
            waiting: false,
            unseen: false,
            plain: [
                (0x20, 0xff, 0),
                (0x24, 0xffff, 0),
                (0x28, 0x3f, 0),
                (0x2c, 0xff, 0),
                (0x30, 0xff87, 0x300),
                (0x34, 0x3f, 0x12),
                (0x48, 7, 0),
            ],
        }
    }

    fn plain(&self, offset: u64) -> Option<u32> {
        let mut found = self.plain.iter().filter(|(at, ..)| *at == offset);
        found.next().map(|(.., value)| *value)
    }

    fn has_fifo(&self) -> bool {
        self.plain(0x2c).unwrap_or(0) & 0x10 != 0
    }

    fn loops_back(&self) -> bool {
        self.plain(0x30).unwrap_or(0) & 0x80 != 0
    }

    fn room(&self) -> usize {
        RING - 1 - self.ring.len()
    }

    fn receive(&mut self, byte: u8) -> bool {
        let depth = if self.has_fifo() { FIFO_BYTES } else { 1 };
        let fits = self.received.len() < depth;
        if fits {
            self.received.push_back(byte);
            self.raw |= RX | RT;
        }
        fits
    }

    fn transmit(&mut self, byte: u8) -> bool {
        if self.loops_back() {
            self.receive(byte);
            self.raw |= TX;
            return false;
        }
        self.unseen = false;
        let silent = byte == 0 || byte == b'\r' && self.last == b'\r';
        let sent = !silent && self.room() > 0;
        let lost = !silent && !sent;
        if sent {
            self.ring.push_back(byte);
            self.last = byte;
        }
        self.dropped += u32::from(lost);
        let more = !lost && self.room() >= FIFO_BYTES;
        if more || self.overflow == Overflow::Drop || self.room() >= FIFO_BYTES {
            self.raw |= TX;
        } else {
            // Half of the ring is more than a FIFO's worth: who waits has not got that.
            self.waiting = self.ring.len() > RING / 2;
            if self.waiting {
                self.raw &= !TX;
            } else {
                self.raw |= TX;
            }
        }
        sent
    }

    fn flags(&self) -> u64 {
        let transmit = match (self.overflow, self.room()) {
            (Overflow::Drop, _) | (_, FIFO_BYTES..) => 0x80,
            (_, 0) => 0x28,
            _ => 0x08,
        };
        let receive = match self.received.len() {
            0 => 0x10,
            FIFO_BYTES => 0x40,
            _ if !self.has_fifo() => 0x40,
            _ => 0,
        };
        transmit | receive
    }

    fn read(&mut self, offset: u64) -> u64 {
        match offset {
            0x00 => match self.received.pop_front() {
                Some(byte) => {
                    match self.received.is_empty() {
                        true => self.raw &= !(RX | RT),
                        false => self.raw |= RX | RT,
                    }
                    byte.into()
                }
                None => 0,
            },
            0x18 => {
                self.unseen = false;
                self.flags()
            }
            0x38 => self.mask.into(),
            0x3c => {
                self.unseen = false;
                self.raw.into()
            }
            0x40 => {
                self.unseen = false;
                (self.raw & self.mask).into()
            }
            0xfe0..0x1000 => {
                let identity = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];
                identity[(offset as usize - 0xfe0) / 4]
            }
            _ => self.plain(offset).unwrap_or(0).into(),
        }
    }

    fn write(&mut self, offset: u64, value: u64) -> bool {
        match offset {
            0x00 => return self.transmit(value as u8),
            0x38 => self.mask = value as u16 & 0x7ff,
            0x44 => {
                let clear = value as u16;
                let kept = if self.unseen { TX } else { 0 };
                self.raw &= !clear | kept;
                self.unseen &= clear & TX == 0;
            }
            _ => {
                let fifo = self.has_fifo();
                for (at, mask, register) in &mut self.plain {
                    if *at == offset {
                        *register = value as u32 & *mask;
                    }
                }
                if self.has_fifo() != fifo {
                    self.received.clear();
                    self.raw &= !(RX | RT);
                }
            }
        }
        false
    }

    /// The console takes bytes out; says whether the guest hears of room.
    fn drain(&mut self, count: usize) -> bool {
        self.ring.drain(..count);
        let told = self.waiting && self.ring.len() <= RING / 2;
        self.waiting &= !told;
        if told {
            self.raw |= TX;
            self.unseen = true;
        }
        told
    }

    fn take_line_change(&mut self) -> Option<bool> {
        let line = self.raw & self.mask != 0;
        let changed = line != self.line;
        self.line = line;
        changed.then_some(line)
    }
}

/// Lets a guest, a keyboard and a console use the UART, and compares all that can be seen.
pub fn run(bytes: &[u8]) {
    let mut bytes = Bytes(bytes);
    let overflow = match bytes.byte() & 1 {
        0 => Overflow::Wait,
        _ => Overflow::Drop,
    };
    let (mut uart, ring) = (Pl011::new(overflow), TxRing::<RING>::new());
    let mut model = Model::new(overflow);
    for _ in 0..LONGEST {
        if bytes.is_empty() {
            break;
        }
        step(&mut bytes, &mut uart, &ring, &mut model);
        assert_eq!(uart.line(), model.raw & model.mask != 0);
        assert_eq!(ring.dropped(), model.dropped);
        assert_eq!(ring.room() as usize, model.room());
        assert_eq!(uart.take_line_change(), model.take_line_change());
    }
    let reader = ring.reader();
    let left: Vec<u8> = (0..reader.available()).map(|at| reader.peek(at)).collect();
    assert_eq!(left, Vec::from(model.ring));
}

/// Does one thing to both.
fn step(bytes: &mut Bytes<'_>, uart: &mut Pl011, ring: &TxRing<RING>, model: &mut Model) {
    let what = bytes.byte();
    let (width, bits) = match what >> 4 & 3 {
        0 => (Width::Word, 32),
        1 => (Width::Byte, 8),
        2 => (Width::Half, 16),
        _ => (Width::Double, 64),
    };
    match what & 0xf {
        0 => {
            let byte = bytes.byte();
            assert_eq!(uart.push_received(byte), model.receive(byte));
        }
        1 => {
            let count = usize::from(bytes.byte()) % (model.ring.len() + 1);
            let reader = ring.reader();
            let lines = model.ring.iter().take(count).filter(|byte| **byte == b'\n');
            let told = reader.advance(count as u32, lines.count() as u32);
            if told {
                uart.transmit_room();
            }
            assert_eq!(told, model.drain(count));
        }
        2 => {
            if let Some(flags) = uart.look(ring) {
                assert_eq!(flags, model.read(0x18));
            }
        }
        3 => {
            let byte = bytes.byte();
            if uart.send(byte, ring) {
                assert!(model.transmit(byte));
            }
        }
        4 => {
            uart.reset();
            let fresh = Model::new(model.overflow);
            let ring = std::mem::take(&mut model.ring);
            let (last, dropped, waiting) = (model.last, model.dropped, model.waiting);
            *model = Model {
                ring,
                last,
                dropped,
                waiting,
                ..fresh
            };
        }
        5..=9 => {
            let offset = bytes.number(2) % WINDOW_BYTES;
            let regular = offset.is_multiple_of(4) && bits < 64;
            let wanted = if regular { model.read(offset) } else { 0 };
            assert_eq!(uart.read(offset, width, ring), wanted, "{offset:#x}");
        }
        _ => {
            let (offset, value) = (bytes.number(2) % WINDOW_BYTES, bytes.number(2));
            let regular = offset.is_multiple_of(4) && bits < 64;
            let wanted = regular && model.write(offset, value);
            assert_eq!(
                uart.write(offset, width, value, ring),
                wanted,
                "{offset:#x}"
            );
        }
    }
}

/// Makes runs that fill, drain, receive, loop back, and touch every register.
pub fn seeds() -> Vec<Vec<u8>> {
    let put = |n: u8| [0x0a, 0, 0, n, 0];
    let fill: Vec<u8> = (0..80).flat_map(|n| put(n | 0x40)).collect();
    let quick: Vec<u8> = (0..80).flat_map(|n| [3, n | 0x40, 2]).collect();
    let registers = (0..0x50u8)
        .step_by(4)
        .flat_map(|at| [0x0a, at, 0, 0xff, 0xff, 5, at, 0]);
    let identity = (0xe0..=0xfcu8).step_by(4).flat_map(|at| [5, at, 0x0f]);
    let typed: Vec<u8> = (0..40).flat_map(|n| [0, n, 5, 0x18, 0]).collect();
    let fifo = [0x0a, 0x2c, 0, 0x70, 0, 0x0a, 0x38, 0, 0x70, 0];
    let lines = b"a\r\r\n\0b\n".iter().flat_map(|byte| put(*byte));
    vec![
        [&[0][..], &fill, &[1, 40, 5, 0x3c, 0], &fill].concat(),
        [&[1][..], &fill].concat(),
        [
            &[0][..],
            &fifo,
            &quick,
            &[1, 20, 1, 20, 0x0a, 0x44, 0, 0x20, 0],
        ]
        .concat(),
        [&[0][..], &fifo, &typed, &[5, 0, 0, 5, 0, 0]].concat(),
        [0].into_iter().chain(registers).collect(),
        [0].into_iter().chain(identity).collect(),
        [0].into_iter().chain(lines).collect(),
        [&[0, 0x0a, 0x30, 0, 0x80, 3][..], &fill, &[4], &typed].concat(),
        [&[0][..], &typed].concat(),
    ]
}
