//! Every message about a board's device tree, word by word.

use super::super::tree::TreeError;
use super::super::*;

/// Checks what an error says.
fn says(error: BoardError<'_>, wanted: &str) {
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn says_what_is_wrong_with_the_tree() {
    let tree = |error, wanted| says(BoardError::Tree(error), wanted);
    tree(
        TreeError::Short { bytes: 3 },
        "the device tree has 3 bytes, fewer than its header (40)",
    );
    tree(
        TreeError::Magic { found: 0x1234 },
        "no device tree: it starts with 0x00001234 instead of 0xd00dfeed; was its address handed over in x0?",
    );
    tree(
        TreeError::Version {
            version: 19,
            compatible: 18,
        },
        "the device tree has version 19 (compatible with 18), 17 is needed: compile it with a current dtc",
    );
    tree(
        TreeError::Block {
            offset: 0x40,
            size: 0x100,
            bytes: 0x80,
        },
        "the device tree is damaged: a block of 0x100 bytes at 0x40 does not fit into its 0x80 bytes",
    );
    tree(
        TreeError::Truncated { offset: 0x20 },
        "the device tree is cut off: structure block, offset 0x20",
    );
    tree(
        TreeError::Token {
            found: 7,
            offset: 0x24,
        },
        "the device tree is damaged: unexpected token 0x7 in the structure block at offset 0x24",
    );
    tree(
        TreeError::Name { offset: 0x99 },
        "the device tree is damaged: a property's name lies at 0x99, outside the strings block",
    );
    tree(
        TreeError::Unbalanced,
        "the device tree is damaged: its nodes do not nest",
    );
    tree(
        TreeError::Deep { limit: 16 },
        "the device tree nests deeper than 16 nodes",
    );
}

#[test]
fn says_what_the_board_lacks() {
    says(
        BoardError::NoMemory,
        "the device tree has no memory: an enabled /memory node with a range is needed (a tree from a file may leave it to the firmware)",
    );
    says(
        BoardError::ManyReserved { limit: 32 },
        "the device tree reserves more than 32 ranges of memory",
    );
    says(BoardError::NoCpus, "the device tree has no CPU under /cpus");
    says(
        BoardError::NoGic,
        "the device tree has no interrupt controller that Bulkhead knows (arm,gic-v3, arm,gic-400); QEMU wants gic-version=3",
    );
    says(
        BoardError::NoTimer,
        "the device tree has no arm,armv8-timer node",
    );
    says(
        BoardError::ConsolePath { path: b"/uart" },
        "/chosen: stdout-path names \"/uart\", which is not in the tree",
    );
    says(
        BoardError::NoDevice { path: "/gone" },
        "the device tree has no node or alias \"/gone\" (full paths start with /)",
    );
}

#[test]
fn says_which_node_is_wrong_and_how() {
    let node: &[u8] = b"thing@1";
    let says = |error, detail| says(error, &std::format!("device tree node thing@1: {detail}"));
    says(
        BoardError::Reg { node },
        "reg does not fit #address-cells and #size-cells of the node above (0 to 2 each)",
    );
    says(
        BoardError::NotOnBus {
            node,
            address: 0x1000,
            size: 0x20,
        },
        "its 0x20 bytes at 0x1000 are not passed on by the ranges of the buses above",
    );
    says(
        BoardError::CpuTwice { node, mpidr: 0x101 },
        "an earlier CPU has reg 0x101 too",
    );
    says(
        BoardError::GicRegisters {
            node,
            needed: 2,
            found: 1,
        },
        "1 register ranges, 2 are needed (distributor first)",
    );
    says(
        BoardError::ManyGicRanges { node, limit: 8 },
        "more than 8 register ranges of one kind",
    );
    says(
        BoardError::GicCells { node, cells: 2 },
        "#interrupt-cells is 2, 3 or 4 is needed",
    );
    says(
        BoardError::TimerInterrupt {
            node,
            timer: "virtual",
        },
        "interrupts lacks the virtual timer's",
    );
    says(
        BoardError::Specifier {
            node,
            kind: 1,
            number: 99,
        },
        "interrupts is cut short or names what a GIC has not: <1 99 ..>",
    );
    says(
        BoardError::InterruptParent { node, phandle: 0 },
        "neither it nor a node above has an interrupt-parent",
    );
    says(
        BoardError::InterruptParent { node, phandle: 5 },
        "its interrupt goes to phandle 0x5, which is not the GIC",
    );
    says(
        BoardError::ConsoleRegisters { node },
        "a console needs registers (reg)",
    );
    says(
        BoardError::LargeDevice { node, limit: 4 },
        "more than 4 register ranges or more than 4 interrupts",
    );
}
