//! The drivers against a file of registers that records every access.

use super::*;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// An access, as the hardware sees it: offset, bytes, value written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    Read(u32, u8),
    Write(u32, u8, u32),
}

use Access::{Read, Write};

/// Registers that keep what is written and note who did what.
#[derive(Default)]
struct Fake {
    values: RefCell<BTreeMap<u32, u32>>,
    accesses: RefCell<Vec<Access>>,
}

impl Fake {
    fn with(values: &[(u32, u32)]) -> Self {
        let fake = Self::default();
        fake.values.borrow_mut().extend(values.iter().copied());
        fake
    }

    fn get(&self, offset: u32) -> u32 {
        self.values.borrow().get(&offset).copied().unwrap_or(0)
    }

    fn set(&self, offset: u32, value: u32) {
        self.values.borrow_mut().insert(offset, value);
    }

    /// Returns what was written since the last call.
    fn written(&self) -> Vec<(u32, u32)> {
        let accesses = self.accesses.take().into_iter();
        accesses
            .filter_map(|access| match access {
                Write(offset, _, value) => Some((offset, value)),
                Read(..) => None,
            })
            .collect()
    }
}

impl Port for &Fake {
    fn read(self, offset: u32) -> u32 {
        self.accesses.borrow_mut().push(Read(offset, 4));
        self.get(offset)
    }

    fn write(self, offset: u32, value: u32) {
        self.accesses.borrow_mut().push(Write(offset, 4, value));
        self.set(offset, value);
    }

    fn read8(self, offset: u32) -> u8 {
        self.accesses.borrow_mut().push(Read(offset, 1));
        self.get(offset) as u8
    }

    fn write8(self, offset: u32, value: u8) {
        let access = Write(offset, 1, value.into());
        self.accesses.borrow_mut().push(access);
        self.set(offset, value.into());
    }
}

/// Checks room, sending and receiving of a driver: where its bits are and which way round.
fn check_bytes(model: Model, status: u32, full: (u32, u32), empty: (u32, u32), data: (u32, u32)) {
    let fake = Fake::with(&[(status, full.0), (data.1, 0x4a)]);
    let uart = Uart::new(model, &fake);
    assert!(!uart.has_room() && !uart.try_send(b'x'), "{model:?}");
    assert_eq!(
        fake.written(),
        [],
        "{model:?}: nothing goes into a full FIFO"
    );
    fake.set(status, full.1);
    assert!(uart.has_room() && uart.try_send(b'x'), "{model:?}");
    assert_eq!(fake.written(), [(data.0, 0x78)], "{model:?}");
    let fake = Fake::with(&[(status, empty.0), (data.1, 0x4a)]);
    let uart = Uart::new(model, &fake);
    assert_eq!(uart.try_receive(), None, "{model:?}");
    fake.set(status, empty.1);
    assert_eq!(uart.try_receive(), Some(0x4a), "{model:?}");
}

#[test]
fn bytes_go_where_each_manual_says() {
    check_bytes(Model::Pl011, 0x18, (0x20, 0), (0x10, 0), (0x00, 0x00));
    check_bytes(Model::Imx, 0xb4, (0x10, 0), (0x20, 0), (0x40, 0x00));
    check_bytes(Model::Cadence, 0x2c, (0x10, 0), (0x02, 0), (0x30, 0x30));
    for (shift, wide) in [(0, false), (2, false), (2, true), (3, true)] {
        let model = Model::Ns16550 { shift, wide };
        check_bytes(model, 5 << shift, (0, 0x60), (0, 0x01), (0, 0));
    }
}

#[test]
fn registers_of_a_16550_are_accessed_in_their_width() {
    for (wide, bytes) in [(false, 1), (true, 4)] {
        let fake = Fake::with(&[(0x14, 0x61)]);
        let uart = Uart::new(Model::Ns16550 { shift: 2, wide }, &fake);
        uart.try_send(7);
        uart.try_receive();
        uart.listen(true, true);
        let expected = [
            Read(0x14, bytes),
            Write(0, bytes, 7),
            Read(0x14, bytes),
            Read(0, bytes),
            Write(4, bytes, 3),
        ];
        assert_eq!(fake.accesses.take(), expected);
    }
}

#[test]
fn a_pl011_is_asked_for_interrupts_by_its_mask_alone() {
    let fake = Fake::with(&[(0x30, 0x8001), (0x2c, 0x70)]);
    let uart = Uart::new(Model::Pl011, &fake);
    uart.start();
    // The mask first; the line is set already; transmitter and receiver; what was received before.
    assert_eq!(fake.written(), [(0x38, 0), (0x30, 0x8301), (0x44, 0x50)]);
    uart.listen(true, false);
    uart.listen(false, true);
    assert_eq!(fake.written(), [(0x38, 0x50), (0x38, 0x20)]);
    fake.set(0x3c, 0x50);
    assert!(!uart.has_risen(), "other interrupts");
    fake.set(0x3c, 0x20);
    assert!(uart.has_risen());
}

#[test]
fn a_pl011_without_fifos_gets_them() {
    let fake = Fake::with(&[(0x2c, 0x60)]);
    Uart::new(Model::Pl011, &fake).start();
    assert_eq!(
        fake.written(),
        [(0x38, 0), (0x2c, 0x70), (0x30, 0x301), (0x44, 0x50)]
    );
}

#[test]
fn an_imx_keeps_what_the_firmware_set() {
    // The divisor's prescaler (RFDIV) and DCEDTE stay.
    let fake = Fake::with(&[(0x80, 0x2201), (0x84, 0x8001), (0x90, 0x0a41)]);
    let uart = Uart::new(Model::Imx, &fake);
    uart.start();
    assert_eq!(
        fake.written(),
        [
            (0x80, 0x0001),
            (0x84, 0x4027),
            (0x88, 0x0004),
            (0x90, 0x4241)
        ]
    );
    uart.listen(true, true);
    uart.listen(false, false);
    assert_eq!(fake.written(), [(0x80, 0x2201), (0x80, 0x0001)]);
    assert!(!uart.has_risen());
    fake.set(0x94, 0x2000);
    assert!(uart.has_risen());
}

#[test]
fn an_imx_has_all_interrupts_off_that_nobody_takes() {
    let fake = Fake::with(&[(0x80, 0xffff), (0x84, 0xffff)]);
    Uart::new(Model::Imx, &fake).start();
    assert_eq!(fake.written()[..2], [(0x80, 0xcd9f), (0x84, 0x7fe7)]);
}

#[test]
fn an_imx_that_is_off_is_turned_on() {
    let fake = Fake::default();
    Uart::new(Model::Imx, &fake).start();
    let written = [(0x80, 1), (0x84, 0x4027), (0x88, 4), (0x90, 0x4001)];
    assert_eq!(fake.written(), written);
}

#[test]
fn a_cadence_forgets_emptiness_while_its_fifo_holds_something() {
    let fake = Fake::with(&[(0x00, 0x128), (0x2c, 0)]);
    let uart = Uart::new(Model::Cadence, &fake);
    uart.start();
    assert_eq!(
        fake.written(),
        [(0x0c, 0x1fff), (0x00, 0x114), (0x20, 1), (0x14, 0x101)]
    );
    uart.listen(false, true);
    assert_eq!(fake.written(), [(0x0c, 0x101), (0x14, 0x08), (0x08, 0x08)]);
    fake.set(0x2c, 0x08);
    uart.listen(true, true);
    assert_eq!(fake.written(), [(0x14, 0x101), (0x08, 0x101), (0x08, 0x08)]);
    uart.listen(false, false);
    assert_eq!(fake.written(), [(0x0c, 0x101), (0x0c, 0x08)]);
    assert!(uart.may_miss());
}

#[test]
fn a_cadence_says_whether_its_fifo_became_empty() {
    let fake = Fake::with(&[(0x14, 0x01)]);
    let uart = Uart::new(Model::Cadence, &fake);
    assert!(!uart.has_risen(), "another interrupt");
    fake.set(0x14, 0x09);
    assert!(uart.has_risen());
}

#[test]
fn a_16550_starts_with_its_data_register_in_place() {
    let fake = Fake::with(&[(0x0c, 0x83), (0x10, 0x03)]);
    let uart = Uart::new(
        Model::Ns16550 {
            shift: 2,
            wide: true,
        },
        &fake,
    );
    uart.start();
    assert_eq!(
        fake.written(),
        [(0x0c, 0x03), (0x04, 0), (0x08, 1), (0x10, 0x0b)]
    );
    uart.start();
    let again = [(0x04, 0), (0x08, 1), (0x10, 0x0b)];
    assert_eq!(fake.written(), again, "it is in place");
}

#[test]
fn a_16550_calls_when_its_transmitter_is_empty() {
    let (shift, wide) = (0, false);
    let fake = Fake::with(&[(5, 0x41)]);
    let uart = Uart::new(Model::Ns16550 { shift, wide }, &fake);
    assert!(!uart.has_risen());
    fake.set(5, 0x20);
    assert!(uart.has_risen());
}

#[test]
fn each_model_has_its_bytes_and_its_status_where_its_manual_says() {
    let of_16550 = |shift, wide| Model::Ns16550 { shift, wide };
    for (model, transmit, status) in [
        (Model::Pl011, 0x00, 0x18),
        (Model::Imx, 0x40, 0xb4),
        (Model::Cadence, 0x30, 0x2c),
        (of_16550(0, false), 0, 4),
        (of_16550(2, true), 0, 0x1c),
    ] {
        let found = (model.transmit_register(), model.status_register());
        assert_eq!(found, (transmit, status), "{model:?}");
    }
}

#[test]
fn a_pl011_is_known_by_its_part_and_designer() {
    let id = 0xb105_f00d_0014_1011;
    assert!(pl011::is_identified(id) && pl011::is_identified(id | 0xfff0_0000));
    assert!(
        [1 << 4, 1 << 12, 1 << 40]
            .iter()
            .all(|bit| !pl011::is_identified(id ^ bit))
    );
    assert!(!pl011::is_identified(0));
}

#[test]
fn only_a_cadence_misses_interrupts() {
    let fake = Fake::default();
    let (shift, wide) = (0, false);
    let others = [Model::Pl011, Model::Imx, Model::Ns16550 { shift, wide }];
    assert!(
        others
            .iter()
            .all(|model| !Uart::new(*model, &fake).may_miss())
    );
    assert!(Uart::new(Model::Cadence, &fake).may_miss());
}

#[test]
fn models_survive_as_numbers_and_others_are_refused() {
    let all = [
        Model::Pl011,
        Model::Imx,
        Model::Cadence,
        Model::Ns16550 {
            shift: 0,
            wide: false,
        },
        Model::Ns16550 {
            shift: 8,
            wide: true,
        },
    ];
    let names = all.map(Model::name);
    assert_eq!(
        names,
        ["PL011", "i.MX UART", "Cadence UART", "16550", "16550"]
    );
    for model in all {
        assert_ne!(model.code(), 0);
        assert_eq!(Model::from_code(model.code()), Some(model));
    }
    for code in [0, 5, 0x101, 0x0904, 0x1_0004, 0x2_0204, u32::MAX] {
        assert_eq!(Model::from_code(code), None, "{code:#x}");
    }
    assert_eq!(Model::ns16550(2, 2), None);
    assert_eq!(Model::ns16550(0, 4), None);
}

#[test]
fn a_uart_without_a_driver_takes_every_byte_and_calls_nobody() {
    let uart: Uart<&Fake> = Uart::Silent;
    uart.start();
    uart.listen(true, true);
    assert!(uart.has_room() && uart.try_send(b'x'));
    assert!(!uart.has_risen() && !uart.may_miss());
    assert_eq!(uart.try_receive(), None);
}
