//! U-Boot's flattened image tree: EL2 with its payload and its sum, which U-Boot checks before it starts it.
//!
//! Source: Flat Image Tree specification (v0.8), "Image nodes", "Hash nodes", "Configurations node".

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};
use sha2::{Digest, Sha256};

/// The one configuration.
pub const CONFIGURATION: &str = "conf-1";

/// Wraps an arm64 `Image` that U-Boot is to move to `load`, a multiple of 2 MiB, before it starts it. It carries no time: the
/// same image is the same file.
pub fn image(image: &[u8], load: u64) -> Vec<u8> {
    let load = load.to_be_bytes();
    let hash = [
        text("algo", "sha256"),
        bytes("value", &Sha256::digest(image)),
    ];
    let kernel = [
        text("description", "Bulkhead with its partitions"),
        text("type", "kernel"),
        text("arch", "arm64"),
        text("os", "linux"),
        text("compression", "none"),
        bytes("load", &load),
        bytes("entry", &load),
        bytes("data", image),
    ];
    let only = [text("description", "Bulkhead"), text("kernel", "kernel-1")];
    let about = [
        text("description", "Bulkhead"),
        bytes("timestamp", &[0; 4]),
        bytes("#address-cells", &2_u32.to_be_bytes()),
    ];
    let kernel = node("kernel-1", kernel, [node("hash-1", hash, [])]);
    let default = [text("default", CONFIGURATION)];
    let parts = [
        node("images", [], [kernel]),
        node("configurations", default, [node(CONFIGURATION, only, [])]),
    ];
    let mut tree = DeviceTree::new();
    tree.root = node("", about, parts);
    tree.to_dtb()
}

/// Makes a node of one of the names above.
fn node<const P: usize, const C: usize>(
    name: &str,
    properties: [DeviceTreeProperty; P],
    children: [DeviceTreeNode; C],
) -> DeviceTreeNode {
    let mut node = DeviceTreeNode::new_unchecked(name);
    properties
        .into_iter()
        .for_each(|property| node.add_property(property));
    children.into_iter().for_each(|child| node.add_child(child));
    node
}

fn text(name: &str, value: &str) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

fn bytes(name: &str, value: &[u8]) -> DeviceTreeProperty {
    DeviceTreeProperty::new_unchecked(name, value)
}

#[cfg(test)]
mod tests {
    use dtoolkit::fdt::Fdt;
    use dtoolkit::{Node, Property};

    use super::*;

    #[test]
    fn the_tree_holds_the_image_and_its_sum() {
        let tree = image(b"an image", 0x4020_0000);
        let fdt = Fdt::new(&tree).expect("a tree");
        let images = fdt.root().child("images").expect("images");
        let kernel = images.child("kernel-1").expect("a kernel");
        let data = kernel.property("data").expect("data");
        assert_eq!(data.value(), b"an image");
        let load = kernel.property("load").expect("an address");
        assert_eq!(load.value(), [0, 0, 0, 0, 0x40, 0x20, 0, 0]);
        let hash = kernel.child("hash-1").expect("a hash");
        let value = hash.property("value").expect("its value");
        assert_eq!(value.value(), &Sha256::digest(b"an image")[..]);
    }
}
