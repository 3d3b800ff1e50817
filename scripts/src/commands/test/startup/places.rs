//! Where the image lies, and where it finds its device tree.

use std::path::PathBuf;
use std::process::Command;

use super::super::gates::sum;
use super::{Boot, check_hello, enter, found, load, system};
use crate::args::Test;
use crate::commands::test::Found;
use crate::failure::Outcome;
use crate::system::Built;
use crate::workspace::{products, write};

/// Where the stub of [`with_tree`] lies.
const STUB_AT: u64 = 0x6000_0000;
/// Where [`with_tree`] puts the image.
pub const IMAGE_AT: u64 = 0x5000_0000;
/// Where a tree that x0 points at lies.
pub const TREE_AT: u64 = 0x6100_0000;
/// Addresses of the image: where `-kernel` puts it, in the middle, and near the end of the board's RAM.
const PLACES: [u64; 3] = [0x4020_0000, 0x5000_0000, 0x7e00_0000];

/// Starts the same image at several addresses, and with the tree's address in x0.
pub fn anywhere(args: &Test) -> Outcome<Found> {
    let built = system(args, "hello")?;
    let names = built.names();
    let mut all = Vec::new();
    for place in PLACES {
        let name = format!("start-at-{place:x}");
        // x0 is 0 then, and QEMU's tree lies at the start of RAM.
        let mut command = built.qemu_board()?.command();
        load(&mut command, &built.image, place);
        enter(&mut command, place);
        let finished = Boot::new(&name, command, &names).run(args)?;
        all.push(found(&name, &finished, check_hello(&finished)));
    }
    let name = "start-tree-in-x0";
    let tree = built.qemu_board()?.device_tree()?;
    let command = with_tree(&built, name, &tree, TREE_AT)?;
    let finished = Boot::new(name, command, &names).run(args)?;
    all.push(found(name, &finished, check_hello(&finished)));
    Ok(sum(all))
}

/// Returns a call of QEMU that starts the image with `tree` at `at` and that address in x0.
pub fn with_tree(built: &Built, name: &str, tree: &[u8], at: u64) -> Outcome<Command> {
    let mut command = built.qemu_board()?.command();
    image_and_tree(&mut command, built, name, tree)?;
    load(&mut command, &kept(name, "stub", &stub(at))?, STUB_AT);
    enter(&mut command, STUB_AT);
    Ok(command)
}

/// Lets QEMU put the image and a tree into memory.
pub fn image_and_tree(command: &mut Command, built: &Built, name: &str, tree: &[u8]) -> Outcome {
    load(command, &built.image, IMAGE_AT);
    load(command, &kept(name, "dtb", used(tree))?, TREE_AT);
    Ok(())
}

/// Writes a file of a test.
pub fn kept(name: &str, ending: &str, bytes: &[u8]) -> Outcome<PathBuf> {
    let file = products(&["test", &format!("{name}.{ending}")]);
    write(&file, bytes)?;
    Ok(file)
}

/// Returns a tree without the unused end: QEMU's own has a mebibyte, most of it zeros.
fn used(tree: &[u8]) -> &[u8] {
    let end = tree
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    tree.get(..end.next_multiple_of(8)).unwrap_or(tree)
}

/// Returns code that jumps to the image with `tree` in x0.
fn stub(tree: u64) -> Vec<u8> {
    // ldr x0, .+16; ldr x1, .+20; br x1; padding.
    let code = [0x5800_0080_u32, 0x5800_00a1, 0xd61f_0020, 0];
    let code = code.into_iter().flat_map(u32::to_le_bytes);
    code.chain(tree.to_le_bytes())
        .chain(IMAGE_AT.to_le_bytes())
        .collect()
}
