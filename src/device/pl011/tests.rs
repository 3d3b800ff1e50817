use super::*;

const DR: u64 = 0x00;
const FR: u64 = 0x18;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;

struct Uart {
    device: Pl011,
    ring: TxRing<64>,
}

impl Uart {
    fn new(overflow: Overflow) -> Self {
        Self {
            device: Pl011::new(overflow),
            ring: TxRing::new(),
        }
    }

    fn read(&mut self, offset: u64) -> u64 {
        self.device.read(offset, Width::Word, &self.ring)
    }

    fn write(&mut self, offset: u64, value: u64) -> bool {
        self.device.write(offset, Width::Word, value, &self.ring)
    }

    fn sent(&self) -> Vec<u8> {
        let reader = self.ring.reader();
        (0..reader.available()).map(|at| reader.peek(at)).collect()
    }
}

#[test]
fn identifies_as_r1p5() {
    let mut uart = Uart::new(Overflow::Wait);
    let id = (0..4).fold(0, |id, n| id | uart.read(0xfe0 + 4 * n) << (8 * n));
    let cell = (0..4).fold(0, |id, n| id | uart.read(0xff0 + 4 * n) << (8 * n));
    assert_eq!((id, cell), (0x0034_1011, 0xb105_f00d));
}

#[test]
fn resets_as_the_manual_says() {
    let mut uart = Uart::new(Overflow::Wait);
    for (offset, value) in [
        (0x04, 0),
        (FR, 0x90),
        (0x24, 0),
        (LCR_H, 0),
        (CR, 0x300),
        (0x34, 0x12),
        (IMSC, 0),
        (RIS, 0),
        (MIS, 0),
    ] {
        assert_eq!(uart.read(offset), value, "offset {offset:#x}");
    }
    assert_eq!(uart.device.take_line_change(), None);
}

#[test]
fn what_is_sent_is_in_the_ring() {
    let mut uart = Uart::new(Overflow::Wait);
    for byte in b"hi\n" {
        assert!(uart.write(DR, u64::from(*byte) | 0xffff_ff00));
    }
    assert_eq!(uart.sent(), b"hi\n");
    assert_eq!(uart.read(FR), 0x90, "as fast as the ring");
}

#[test]
fn what_leaves_nothing_on_the_wire_takes_no_place() {
    let mut uart = Uart::new(Overflow::Wait);
    for byte in b"\0a\r\0\r\r\nb\rc\0\0\n" {
        if !uart.device.send(*byte, &uart.ring) {
            uart.write(DR, (*byte).into());
        }
        assert_eq!(uart.read(RIS), 0x20, "as if it had gone");
    }
    assert_eq!(uart.sent(), b"a\r\nb\rc\n");
    assert!(!uart.write(DR, 0), "nothing for the console's server");
    assert_eq!(uart.ring.dropped(), 0);
}

#[test]
fn full_ring_shows_as_full_uart() {
    let mut uart = Uart::new(Overflow::Wait);
    (0..31).for_each(|_| {
        uart.write(DR, 0x41);
    });
    assert_eq!(uart.read(FR), 0x90, "room for a FIFO's worth");
    uart.write(DR, 0x41);
    assert_eq!(uart.read(FR), 0x18, "busy");
    while uart.read(FR) & 0x20 == 0 {
        assert!(uart.write(DR, 0x41));
    }
    assert_eq!(uart.sent().len(), 63);
    assert!(!uart.write(DR, 0x42));
    assert_eq!(uart.ring.dropped(), 1);
    uart.ring.reader().advance(1, 0);
    assert_eq!(uart.read(FR), 0x18);
}

#[test]
fn dropping_uart_never_looks_full() {
    let mut uart = Uart::new(Overflow::Drop);
    (0..100).for_each(|_| {
        uart.write(DR, 0x41);
    });
    assert_eq!(uart.read(FR), 0x90);
    assert_eq!(uart.ring.dropped(), 37);
    assert_eq!(uart.read(RIS), 0x20);
}

#[test]
fn transmit_interrupt_falls_without_room_and_rises_with_it() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(IMSC, 0x20);
    assert!(!uart.device.line(), "not before the first byte");
    uart.write(DR, 0x41);
    assert_eq!(uart.device.take_line_change(), Some(true));
    while uart.read(FR) & 0x20 == 0 {
        uart.write(DR, 0x41);
    }
    assert_eq!(uart.device.take_line_change(), Some(false));
    assert!(!uart.ring.reader().advance(16, 0));
    assert!(uart.ring.reader().advance(16, 0), "half is free");
    uart.device.transmit_room();
    assert_eq!(uart.device.take_line_change(), Some(true));
    assert_eq!(uart.device.take_line_change(), None);
    assert_eq!(uart.read(MIS), 0x20);
    uart.write(ICR, 0x20);
    assert_eq!(uart.device.take_line_change(), Some(false));
}

#[test]
fn room_that_comes_before_the_clear_is_not_lost() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(IMSC, 0x20);
    while uart.read(FR) & 0x20 == 0 {
        uart.write(DR, 0x41);
    }
    // Full, says the flag. Now the console drains, and only then the handler clears the interrupt.
    assert!(uart.ring.reader().advance(63, 0));
    uart.device.transmit_room();
    uart.write(ICR, 0x7f0);
    assert!(uart.device.line(), "raised after the guest looked");
    uart.write(ICR, 0x20);
    assert!(!uart.device.line(), "once");
    // A guest that has seen it clears it at once.
    for seen in [FR, RIS, MIS] {
        uart.device.transmit_room();
        uart.read(seen);
        uart.write(ICR, 0x20);
        assert!(!uart.device.line(), "seen at {seen:#x}");
    }
}

#[test]
fn clearing_others_leaves_room_that_nobody_saw() {
    for (first, left) in [(0x10, true), (0x20, false)] {
        let mut uart = Uart::new(Overflow::Wait);
        uart.write(IMSC, 0x20);
        uart.write(DR, 0x41);
        while uart.read(FR) & 0x20 == 0 {
            uart.write(DR, 0x41);
        }
        assert!(!uart.ring.reader().advance(16, 0));
        assert!(uart.ring.reader().advance(16, 0), "half is free");
        uart.device.transmit_room();
        // The first clear of the transmitter's own comes too early to be believed, and no other counts for it.
        uart.write(ICR, first);
        uart.write(ICR, 0x20);
        assert_eq!(uart.device.line(), left, "{first:#x}");
    }
}

#[test]
fn a_reset_lowers_the_line_and_masks_all() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(IMSC, 0x20);
    uart.write(DR, 0x41);
    assert!(uart.device.line());
    uart.device.reset();
    assert!(!uart.device.line());
    assert_eq!(uart.read(IMSC), 0);
}

#[test]
fn a_single_byte_raises_receive_and_timeout() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(LCR_H, 0x70);
    uart.write(IMSC, 0x50);
    assert!(uart.device.push_received(b'x'));
    assert_eq!(uart.device.take_line_change(), Some(true));
    assert_eq!((uart.read(RIS), uart.read(MIS)), (0x50, 0x50));
    assert_eq!(uart.read(FR), 0x80);
    assert_eq!(uart.read(DR), u64::from(b'x'));
    assert_eq!(uart.device.take_line_change(), Some(false));
    assert_eq!(uart.read(FR), 0x90);
    assert_eq!(uart.read(DR), 0, "empty");
}

#[test]
fn clearing_between_two_bytes_loses_none() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(LCR_H, 0x70);
    uart.write(IMSC, 0x10);
    uart.device.push_received(b'a');
    uart.device.push_received(b'b');
    uart.write(ICR, 0x50);
    assert!(!uart.device.line());
    assert_eq!(uart.read(DR), u64::from(b'a'));
    assert!(uart.device.line(), "one more to read");
    assert_eq!(uart.read(DR), u64::from(b'b'));
    assert!(!uart.device.line());
}

#[test]
fn receiver_holds_thirty_two_or_one() {
    let mut uart = Uart::new(Overflow::Wait);
    assert!(uart.device.push_received(0));
    assert!(!uart.device.push_received(1));
    assert_eq!(uart.read(FR), 0xc0);
    uart.write(LCR_H, 0x10);
    assert_eq!(uart.read(FR), 0x90, "switching the FIFO empties it");
    for turn in 0..3u8 {
        assert!((0..32).all(|n| uart.device.push_received(turn ^ n)));
        assert!(!uart.device.push_received(0));
        assert_eq!(uart.read(FR), 0xc0);
        assert!((0..32).all(|n| uart.read(DR) == u64::from(turn ^ n)));
    }
}

#[test]
fn switching_the_fifos_empties_the_receiver_alone() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(DR, 0x41);
    uart.device.push_received(b'x');
    assert_eq!(uart.read(RIS), 0x70);
    uart.write(LCR_H, 0x60);
    assert_eq!(
        (uart.read(RIS), uart.read(FR)),
        (0x70, 0xc0),
        "not switched"
    );
    uart.write(LCR_H, 0x70);
    assert_eq!((uart.read(RIS), uart.read(FR)), (0x20, 0x90));
    uart.device.push_received(b'y');
    uart.write(LCR_H, 0x10);
    assert_eq!(
        (uart.read(RIS), uart.read(FR)),
        (0x70, 0x80),
        "not switched"
    );
}

#[test]
fn the_mask_hides_what_is_raised() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(DR, 0x41);
    uart.write(IMSC, 0x50);
    assert_eq!((uart.read(RIS), uart.read(MIS)), (0x20, 0));
}

#[test]
fn loop_back_stays_inside() {
    let mut uart = Uart::new(Overflow::Wait);
    uart.write(CR, 0x381);
    assert!(!uart.write(DR, 0x55));
    assert_eq!(uart.read(RIS), 0x70);
    assert_eq!(uart.sent(), b"");
    assert_eq!(uart.read(DR), 0x55);
}

#[test]
fn registers_keep_their_bits_alone() {
    let mut uart = Uart::new(Overflow::Wait);
    for (offset, mask) in [
        (0x20, 0xff),
        (0x24, 0xffff),
        (0x28, 0x3f),
        (LCR_H, 0xff),
        (CR, 0xff87),
        (0x34, 0x3f),
        (IMSC, 0x7ff),
        (0x48, 7),
    ] {
        uart.write(offset, 0xffff_ffff);
        assert_eq!(uart.read(offset), mask, "offset {offset:#x}");
    }
}

#[test]
fn odd_accesses_read_zero_and_change_nothing() {
    let known = [
        0x00, 0x04, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c, 0x40, 0x44, 0x48,
    ];
    for offset in 0..WINDOW_BYTES {
        for width in [Width::Byte, Width::Half, Width::Word, Width::Double] {
            let regular = offset & 3 == 0
                && width != Width::Double
                && (known.contains(&offset) || offset >= 0xfe0);
            if regular {
                continue;
            }
            let mut uart = Uart::new(Overflow::Wait);
            let before = uart.device.clone();
            assert_eq!(
                uart.device.read(offset, width, &uart.ring),
                0,
                "{offset:#x}"
            );
            assert!(!uart.device.write(offset, width, u64::MAX, &uart.ring));
            assert_eq!(uart.device, before, "{offset:#x} {width:?}");
            assert_eq!(uart.sent(), b"");
        }
    }
}

/// What Linux's amba-pl011 does to print with interrupts: fill until full, then in each interrupt again.
#[test]
fn interrupt_driven_writer_ends_with_everything_sent() {
    let mut uart = Uart::new(Overflow::Wait);
    let text: Vec<u8> = (0..1000u32).map(|n| n as u8 | 0x80).collect();
    let mut left = text.iter();
    let mut got = Vec::new();
    uart.write(LCR_H, 0x70);
    uart.write(IMSC, 0x20);
    let mut interrupts = 0;
    let mut fill = true;
    while got.len() < text.len() {
        if fill {
            while uart.read(FR) & 0x20 == 0 {
                let Some(byte) = left.next() else {
                    uart.write(IMSC, 0);
                    break;
                };
                uart.write(DR, u64::from(*byte));
            }
            fill = false;
        }
        let reader = uart.ring.reader();
        if reader.available() > 0 {
            got.push(reader.peek(0));
            if reader.advance(1, 0) {
                uart.device.transmit_room();
            }
        }
        if uart.device.take_line_change() == Some(true) {
            interrupts += 1;
            fill = true;
        }
    }
    assert_eq!(got, text);
    assert!(interrupts > 10, "woken by the interrupt, not by luck");
}

/// The writer sleeps on a full UART until its interrupt; the drain runs on another CPU. A wake-up that gets lost
/// between the two would hang the writer.
#[test]
fn sleeping_writer_is_always_woken() {
    use std::sync::Mutex;
    use std::time::{Duration, Instant};

    let bytes = if cfg!(miri) { 300 } else { 100_000u32 };
    let ring = TxRing::<64>::new();
    let device = Mutex::new(Pl011::new(Overflow::Wait));
    let write = |offset, value| {
        let mut device = device.lock().unwrap();
        device.write(offset, Width::Word, value, &ring)
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            write(IMSC, 0x20);
            for n in 0..bytes {
                let started = Instant::now();
                while !write(DR, u64::from(n | 0x80)) {
                    // Full: only the interrupt says when to go on.
                    while !device.lock().unwrap().line() {
                        assert!(started.elapsed() < Duration::from_secs(20), "lost at {n}");
                        std::thread::yield_now();
                    }
                }
            }
        });
        for n in 0..bytes {
            let reader = ring.reader();
            while reader.available() == 0 {
                std::thread::yield_now();
            }
            assert_eq!(reader.peek(0), n as u8 | 0x80);
            if reader.advance(1, 0) {
                device.lock().unwrap().transmit_room();
            }
        }
    });
}

#[test]
fn a_quick_look_shows_what_the_flags_say() {
    let ring = TxRing::<64>::new();
    let mut uart = Pl011::new(Overflow::Wait);
    let flags = |uart: &mut Pl011| uart.read(offset::FR, Width::Word, &ring);
    assert_eq!(uart.look(&ring), Some(flags(&mut uart)));
    uart.push_received(b'x');
    assert_eq!(uart.look(&ring), None, "something came");
    uart.read(offset::DR, Width::Byte, &ring);
    assert_eq!(uart.look(&ring), Some(flags(&mut uart)));
    while ring.room() >= FIFO_BYTES as u32 {
        ring.push(b'x');
    }
    assert_eq!(uart.look(&ring), None, "no room for a FIFO");
}

#[test]
fn a_byte_that_raises_the_interrupt_is_no_quick_one() {
    let mut uart = Uart::new(Overflow::Wait);
    assert!(!uart.device.send(b'x', &uart.ring));
    assert_eq!(uart.sent(), b"");
    uart.write(DR, b'x'.into());
    assert!(uart.device.send(b'y', &uart.ring));
    assert_eq!(uart.sent(), b"xy");
}

#[test]
fn a_quick_byte_goes_as_any_other_or_not_at_all() {
    let mut quick = 0;
    for overflow in [Overflow::Wait, Overflow::Drop] {
        for (control, mask, inside) in (0..64).flat_map(|inside| {
            [(0x300, 0), (0x300, 0x20), (0x380, 0x20)].map(|(c, mask)| (c, mask, inside))
        }) {
            for line in [b'x', b'\n'] {
                let [mut one, mut other] = [Uart::new(overflow), Uart::new(overflow)];
                for uart in [&mut one, &mut other] {
                    for _ in 0..inside {
                        uart.write(DR, b'a'.into());
                    }
                    uart.write(CR, control);
                    uart.write(IMSC, mask);
                    uart.device.transmit_room();
                    uart.device.take_line_change();
                }
                let before = one.device.clone();
                if one.device.send(line, &one.ring) {
                    quick += 1;
                    assert!(other.write(DR, line.into()));
                    assert_eq!(other.device.take_line_change(), None);
                    assert_eq!(one.device, other.device);
                } else {
                    assert_eq!(one.device, before);
                }
                assert_eq!(one.sent(), other.sent());
                let lines = [&one, &other].map(|uart| uart.ring.reader().has_line());
                assert_eq!(lines[0], lines[1]);
            }
        }
    }
    assert_eq!(
        quick,
        2 * 2 * 2 * 31,
        "as long as a FIFO's worth fits behind it"
    );
}
