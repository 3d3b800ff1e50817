//! Whatever a table's text is, it is compiled or refused, and the refusal can be shown.

use std::cell::RefCell;

use bulkhead_platforms::{Request, compile};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::board::{self, Board};
use crate::{Bench, EL2_BYTES, qemu_virt};

/// Pieces that tables are made of, so that random texts get past the first key.
const PIECES: [&str; 46] = [
    "[system]\n",
    "version = 1\n",
    "platform = \"qemu-virt\"\n",
    "focus = \"a\"\n",
    "[[partition]]\n",
    "name = \"a\"\n",
    "image = { guest = \"hello\" }\n",
    "image = { raw = \"program.bin\", load = 0x4000_0000 }\n",
    "memory = \"2M\"\n",
    "memory = [{ gpa = 0x4000_0000, size = \"2M\", hpa = \"identity\" }]\n",
    "memory = [{ gpa = 0xffff_ffff_ffff_f000, size = \"4K\" }]\n",
    "memory = [{ gpa = 0, size = \"9999999G\" }]\n",
    "vcpus = [{ pcpu = 0, priority = 10 }]\n",
    "vcpus = [{ pcpu = -1, priority = 1e9 }]\n",
    "console = \"none\"\n",
    "console = { model = \"pl011\", gpa = 0xffff_ffff_ffff_ffff }\n",
    "devices = [\"/\", \"\", \"//\", \"serial0\"]\n",
    "devices = [{ reg = [[0, 0]], intid = [1] }]\n",
    "devices = [{ reg = [[0xffff_ffff_ffff_fff0, \"1K\"]] }]\n",
    "devices = [{ path = \"rtc0\", gpa = 0xffff_ffff_ffff_f000 }]\n",
    "devices = [{ path = \"/disk@b006000\", dma = \"identity\", clocks = [1, 4294967295] }]\n",
    "devices = [\"/wrapper@b007000/core@0\", \"/wrapper@b007000\", \"/disk\", \"/supply\"]\n",
    "dtb = { file = \"text.txt\", at = 8 }\n",
    "dtb = { overlay = \"clock.dtbo\" }\n",
    "dtb = { generated = true, overlay = \"text.txt\", at = 1 }\n",
    "on_fault = { restart = 1, within = \"1s\" }\n",
    "[[pcpu]]\n",
    "id = 0\n",
    "exclusive = true\n",
    "major_frame = \"10ms\"\n",
    "windows = [{ start = \"1ms\", length = \"9ms\", partitions = [\"a\"] }]\n",
    "windows = [{ start = \"18446744073s\", length = \"18446744073s\", partitions = [] }, {}]\n",
    "vcpus = [{ pcpu = 0, priority = 10, budget = \"1ms\", period = \"18446744073s\" }]\n",
    "layout = \"board\"\n",
    "image = { elf = \"program.elf\" }\n",
    "image = { kernel = \"Image\", initrd = \"initrd.img\" }\n",
    "memory = \"64M\"\n",
    "[[channel]]\n",
    "x.y.z = 1\n",
    "\"\" = \"\\u0000\"\n",
    "# é\n",
    "'''\n",
    "[",
    "}",
    "= ",
    "\u{7f}",
];

/// Runs a property with one folder of images for all cases.
fn check<S: Strategy>(name: &str, strategy: &S, property: impl Fn(&mut Bench, S::Value)) {
    let bench = RefCell::new(Bench::new(name));
    let mut runner = TestRunner::new(ProptestConfig {
        cases: 128,
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let outcome = runner.run(strategy, |value| {
        property(&mut bench.borrow_mut(), value);
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{name}: {failure}");
    }
}

/// Compiles a text and shows what is wrong with it.
fn survives(bench: &mut Bench, text: &[u8], board: &[u8]) {
    let table = bench.put("table.toml", text);
    let result = compile(Request {
        table: &table,
        platform: &qemu_virt(),
        dtb: board,
        hypervisor_bytes: EL2_BYTES,
        images: &mut bench.folder,
        trace: None,
        letters: false,
    });
    match result {
        Ok(system) => assert!(!system.report().is_empty()),
        Err(list) => {
            assert!(list.has_errors());
            assert!(list.render(true).len() > list.len());
            assert!(list.to_json().contains("diagnostics"));
        }
    }
}

/// Returns the text of the table that ships as the default.
fn default_table() -> Vec<u8> {
    std::fs::read(qemu_virt().table("default")).expect("a table")
}

#[test]
fn any_text_is_compiled_or_refused() {
    let board = board::tree(&Board::default());
    check("any", &"\\PC{0,200}", |bench, text| {
        survives(bench, text.as_bytes(), &board)
    });
}

#[test]
fn any_pieces_are_compiled_or_refused() {
    let board = board::tree(&Board::default());
    let pieces = prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24);
    check("pieces", &pieces, |bench, pieces| {
        survives(bench, pieces.concat().as_bytes(), &board)
    });
}

#[test]
fn a_good_table_with_a_changed_byte_is_compiled_or_refused() {
    let board = board::tree(&Board::default());
    let good = default_table();
    check(
        "changed",
        &(0..good.len(), any::<u8>()),
        |bench, (at, byte)| {
            let mut text = good.clone();
            text[at] = byte;
            survives(bench, &text, &board);
        },
    );
}

#[test]
fn a_damaged_board_is_refused_or_used() {
    let good = board::tree(&Board::default());
    let table = default_table();
    check("damaged", &(0..good.len(), 0u8..8), |bench, (at, bit)| {
        let mut dtb = good.clone();
        dtb[at] ^= 1 << bit;
        survives(bench, &table, &dtb);
    });
}
