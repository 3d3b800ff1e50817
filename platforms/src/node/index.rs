//! The board's nodes by path and by handle.

use std::collections::BTreeMap;

use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::{Node, Property};

/// A node and its full path.
pub type Placed<'a> = (&'a str, &'a DeviceTreeNode);

/// The nodes of a board's tree.
pub struct Index<'a> {
    by_path: BTreeMap<String, &'a DeviceTreeNode>,
    by_handle: BTreeMap<u32, String>,
}

impl<'a> Index<'a> {
    /// Looks through a tree once.
    pub fn new(tree: &'a DeviceTree) -> Self {
        let mut index = Self {
            by_path: BTreeMap::new(),
            by_handle: BTreeMap::new(),
        };
        index.add(&tree.root, String::new());
        index
    }

    /// Adds a node and all below it; the root's path is empty.
    fn add(&mut self, node: &'a DeviceTreeNode, path: String) {
        if let Some(handle) = handle(node) {
            self.by_handle.insert(handle, path.clone());
        }
        for child in node.children() {
            self.add(child, format!("{path}/{}", child.name()));
        }
        self.by_path.insert(path, node);
    }

    /// Returns the node at a full path.
    pub fn at(&self, path: &str) -> Option<&'a DeviceTreeNode> {
        self.by_path.get(path).copied()
    }

    /// Returns the node that has a handle.
    pub fn of(&self, handle: u32) -> Option<Placed<'_>> {
        let path = self.by_handle.get(&handle)?;
        Some((path, self.at(path)?))
    }

    /// Returns the nodes above one, the nearest first and the root last, each with its path.
    pub fn above<'p>(&self, path: &'p str) -> impl Iterator<Item = (&'p str, &'a DeviceTreeNode)> {
        let paths = std::iter::successors(parent(path), |path| parent(path));
        paths.filter_map(|path| Some((path, self.at(path)?)))
    }

    /// Returns who takes a node's interrupts: the controller's handle, and its node's path.
    pub fn interrupt_parent(&self, path: &str) -> Option<u32> {
        let named = |node: &DeviceTreeNode| first_cell(node, "interrupt-parent");
        let own = self.at(path).and_then(named);
        own.or_else(|| {
            self.above(path).find_map(|(_, node)| {
                let is_one = node.property("#interrupt-cells").is_some();
                is_one
                    .then(|| handle(node))
                    .flatten()
                    .or_else(|| named(node))
            })
        })
    }
}

/// Returns the path of the node above, empty for the root's; `None` for the root itself.
pub fn parent(path: &str) -> Option<&str> {
    path.rsplit_once('/').map(|(above, _)| above)
}

/// Returns a node's own handle.
pub fn handle(node: &DeviceTreeNode) -> Option<u32> {
    first_cell(node, "phandle").or_else(|| first_cell(node, "linux,phandle"))
}

/// Returns the first cell of a property.
pub fn first_cell(node: &DeviceTreeNode, name: &str) -> Option<u32> {
    words(node.property(name)?.value()).first().copied()
}

/// Reads big-endian words.
pub fn words(bytes: &[u8]) -> Vec<u32> {
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|word| u32::from_be_bytes(*word)).collect()
}

/// Reads a list of texts.
pub fn texts(node: &DeviceTreeNode, name: &str) -> Vec<String> {
    let Some(list) = node.property(name) else {
        return Vec::new();
    };
    let parts = list.value().split(|byte| *byte == 0);
    let parts = parts.filter(|part| !part.is_empty());
    parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect()
}
