//! Guest images, built for the tests.

use std::fs;
use std::path::{Path, PathBuf};

use bulkhead_platforms::{Images, RecipeImage};
use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// Makes an arm64 `Image` of `bytes` bytes that takes `memory` bytes.
pub fn kernel(memory: u64, bytes: usize) -> Vec<u8> {
    let mut image = vec![0x11; bytes];
    image[8..16].fill(0);
    image[16..24].copy_from_slice(&memory.to_le_bytes());
    image[24..32].copy_from_slice(&[0b1010, 0, 0, 0, 0, 0, 0, 0]);
    image[56..60].copy_from_slice(b"ARM\x64");
    image
}

/// Makes an ELF program with a segment of `bytes` bytes for each of the addresses, `memory` bytes large in memory.
pub fn program(addresses: &[u64], bytes: usize, memory: u64) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01".to_vec();
    file.resize(16, 0);
    file.extend([2, 0, 183, 0, 1, 0, 0, 0]);
    for field in [addresses[0], 64, 0] {
        file.extend(u64::to_le_bytes(field));
    }
    file.extend([0; 4]);
    for field in [64u16, 56, addresses.len() as u16, 64, 0, 0] {
        file.extend(field.to_le_bytes());
    }
    for address in addresses {
        file.extend([1, 0, 0, 0, 7, 0, 0, 0]);
        for field in [0x1000, *address, *address, bytes as u64, memory, 0x1000] {
            file.extend(u64::to_le_bytes(field));
        }
    }
    file.resize(0x1000, 0);
    file.resize(0x1000 + bytes, 0x22);
    file
}

/// Makes an overlay that adds a node below the one at `path`, with a reference to a label and one to its own first child.
fn overlay(path: &str, label: &str) -> Vec<u8> {
    let node = |name: &str, properties: &[(&str, Vec<u8>)], children: Vec<DeviceTreeNode>| {
        let mut node = DeviceTreeNode::new(name).expect("a node's name");
        for (name, value) in properties {
            let property = DeviceTreeProperty::new(*name, value.as_slice());
            node.add_property(property.expect("a property's name"));
        }
        for child in children {
            node.add_child(child);
        }
        node
    };
    let cell = |cell: u32| cell.to_be_bytes().to_vec();
    let text = |text: &str| [text.as_bytes(), &[0]].concat();
    let part = node("part", &[("phandle", cell(1))], vec![]);
    let links = [("link", cell(0xffff_ffff)), ("part", cell(1))];
    let added = node("added", &links, vec![part]);
    let fragment = node(
        "fragment@0",
        &[("target-path", text(path))],
        vec![node("__overlay__", &[], vec![added])],
    );
    let fixup = text("/fragment@0/__overlay__/added:link:0");
    let local = node("added", &[("part", cell(0))], vec![]);
    let local = node("__overlay__", &[], vec![local]);
    let local = node("fragment@0", &[], vec![local]);
    let mut tree = DeviceTree::new();
    tree.root = node(
        "",
        &[],
        vec![
            fragment,
            node("__fixups__", &[(label, fixup)], vec![]),
            node("__local_fixups__", &[], vec![local]),
        ],
    );
    tree.to_dtb()
}

/// Images in a folder.
pub struct Folder {
    /// The folder.
    pub path: PathBuf,
}

impl Folder {
    /// Fills a folder with one image of each kind.
    pub fn fill(path: &Path) -> Self {
        let write = |name: &str, bytes: &[u8]| fs::write(path.join(name), bytes).expect("a file");
        write("Image", &kernel(34 << 20, 1 << 20));
        let mut offset = kernel(1 << 20, 1 << 16);
        offset[8..16].copy_from_slice(&0x8_0000u64.to_le_bytes());
        write("offset.img", &offset);
        write("initrd.img", &vec![0x33; 1 << 20]);
        write("program.elf", &program(&[0x4000_0000], 0x8000, 0x1_0000));
        write("large.elf", &program(&[0x4000_0000], 0x8000, 4 << 20));
        write(
            "twice.elf",
            &program(&[0x4000_0000, 0x4000_4000], 0x8000, 0x8000),
        );
        write("full.elf", &program(&[0x4000_0000], 0x8000, 0x20_0000));
        write("data.elf", &program(&[0x8000], 0x8000, 0x8000));
        write("program.bin", &[0x44; 0x100]);
        write("clock.dtbo", &overlay("/pl031@9010000", "rtc0"));
        write("wrong-path.dtbo", &overlay("/pl013@9010000", "rtc0"));
        write("wrong-label.dtbo", &overlay("/pl031@9010000", "rtc1"));
        write("source.dts", b"/dts-v1/;");
        write(
            "text.txt",
            b"This is not an image. It is a text that is long enough to have a header of its own.",
        );
        Self {
            path: path.to_owned(),
        }
    }
}

impl Images for Folder {
    fn guest(&mut self, name: &str) -> Result<PathBuf, String> {
        match name {
            "broken" => {
                Err("error: could not compile `broken`: run `cargo xtask build --verbose`".into())
            }
            _ => Ok(self.path.join("program.elf")),
        }
    }

    fn recipe(&mut self, _name: &str) -> Result<RecipeImage, String> {
        Ok(RecipeImage {
            kernel: self.path.join("Image"),
            initrd: Some(self.path.join("initrd.img")),
            cmdline: Some("console=ttyAMA0 quiet".to_owned()),
        })
    }

    fn guests(&self) -> Vec<String> {
        [
            "bench",
            "bench-channel",
            "bench-cycles",
            "bench-pairs",
            "bench-yield",
            "broken",
            "checks",
            "control-loop",
            "hello",
            "load",
            "victim",
            "smp-checks",
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn recipes(&self) -> Vec<String> {
        ["debian-linux", "debian-linux-rt-tests"]
            .map(str::to_owned)
            .to_vec()
    }
}
