//! Overlays: what a partition changes in its generated tree.
//!
//! A fragment names its target by path (`target-path`, or `&{/path}` in source) or by label. Labels are those of the board's
//! source, where its tree has them (`__symbols__`), the aliases, and `gic` and `uart` for what EL2 emulates.

use std::path::Path;

use bulkhead::board::{Tree, TreeError};
use dtoolkit::error::OverlayError;
use dtoolkit::model::overlay::OverlayApplier;
use dtoolkit::model::{DeviceTree, DeviceTreeNode};
use dtoolkit::overlay::NODE_SYMBOLS;
use dtoolkit::{Node, Property};

use crate::board::nodes_of;
use crate::diagnostic::{Diagnostic, Diagnostics, shown_path};
use crate::image::Store;
use crate::nearest::nearest_paths;
use crate::node::index::handle;
use crate::plan::Plan;
use crate::reader::At;
use crate::rule::Rule;
use crate::tree::{node, put};

/// An overlay, and the name of its file for messages.
pub struct Overlay {
    tree: DeviceTree,
    file: At<String>,
}

/// Reads an overlay; source is compiled.
pub fn read(file: &At<String>, store: &mut Store<'_>, out: &mut Diagnostics) -> Option<Overlay> {
    let path = store.beside_table(file);
    let name = shown_path(&path.value);
    let bytes = match is_source(&path.value) {
        true => store.compiled(&path, out)?,
        false => store.file(&path, out)?,
    };
    let tree = Tree::new(&bytes).and_then(|tree| nodes_of(&tree));
    let bad = |title: String, text: &str| {
        let found = Diagnostic::new(Rule::BadOverlay, title, file.span.clone(), text);
        found.help(
            "an overlay is meant: `.dtbo`, or its source (`.dts`, `.dtso`), which begins with `/dts-v1/; /plugin/;`",
        )
    };
    match tree {
        Err(TreeError::Magic { .. }) => {
            out.push(bad(
                format!("`{name}` is no flattened device tree"),
                "this file",
            ));
        }
        Err(error) => out.push(bad(format!("`{name}` is no overlay: {error}"), "this file")),
        Ok(tree) if !has_fragments(&tree) => out.push(bad(
            format!("`{name}` is a device tree and no overlay"),
            "nothing in it says what it changes",
        )),
        Ok(tree) => {
            let file = At::new(name, file.span.clone());
            return Some(Overlay { tree, file });
        }
    }
    None
}

/// Says whether a file has to be compiled.
fn is_source(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str());
    ending.is_some_and(|ending| ["dts", "dtso"].contains(&ending))
}

/// Says whether a tree has changes for another one.
fn has_fragments(tree: &DeviceTree) -> bool {
    let mut children = tree.root.children();
    children.any(|child| child.child("__overlay__").is_some())
}

impl Overlay {
    /// Changes a partition's tree; says what cannot be done.
    pub fn apply(self, tree: &mut DeviceTree, plan: &Plan, out: &mut Diagnostics) {
        let labels = labels(tree, plan);
        let names: Vec<String> = labels.properties().map(|it| it.name().to_owned()).collect();
        give_handles(tree, &labels);
        tree.root.add_child(labels);
        let result = OverlayApplier::new(tree).apply_overlay_tree(self.tree);
        tree.root.remove_child(NODE_SYMBOLS);
        if let Err(error) = result {
            out.push(refused(&error, &self.file, tree, &names));
        }
    }
}

/// Makes the node with the labels that an overlay may use.
fn labels(tree: &DeviceTree, plan: &Plan) -> DeviceTreeNode {
    let mut labels = node(NODE_SYMBOLS);
    let aliases = tree.root.child("aliases").into_iter();
    for alias in aliases.flat_map(|aliases| aliases.properties()) {
        labels.add_property(alias.clone());
    }
    put(&mut labels, "gic", format!("/intc@{:x}", plan.layout.gicd));
    if let Some(console) = &plan.console {
        put(&mut labels, "uart", format!("/pl011@{:x}", console.gpa));
    }
    for (label, place) in &plan.nodes.labels {
        put(&mut labels, label, place.as_str());
    }
    labels
}

/// Gives every node with a label a handle. The library would hand out those of the overlay's own nodes a second time.
fn give_handles(tree: &mut DeviceTree, labels: &DeviceTreeNode) {
    let mut next = last_handle(&tree.root) + 1;
    let paths = labels.properties().map(|label| label.value().to_vec());
    for path in paths {
        let path = String::from_utf8_lossy(&path);
        let target = tree.find_node_mut(path.trim_end_matches('\0'));
        if let Some(target) = target.filter(|target| handle(target).is_none()) {
            put(target, "phandle", next);
            next += 1;
        }
    }
}

/// Returns the largest handle of a node and those below it.
fn last_handle(node: &DeviceTreeNode) -> u32 {
    let below = node.children().map(last_handle);
    below.chain(handle(node)).max().unwrap_or(0)
}

/// Words an overlay that does not fit the tree.
fn refused(
    error: &OverlayError,
    file: &At<String>,
    tree: &DeviceTree,
    labels: &[String],
) -> Diagnostic {
    let name = &file.value;
    let new = |title, text: &str| Diagnostic::new(Rule::BadOverlay, title, file.span.clone(), text);
    match error {
        OverlayError::TargetNotFound(path) => {
            let title = format!("`{name}` changes `{path}`, which the guest's tree does not have");
            let mut paths = Vec::new();
            collect(&tree.root, "", &mut paths);
            let paths = paths.iter().map(String::as_str);
            new(title, "this overlay").help(nearest_paths(path, paths, "the tree is empty"))
        }
        OverlayError::UnresolvedSymbol(label) => {
            let title = format!(
                "`{name}` refers to `&{label}`, a label that the guest's tree does not have"
            );
            let list: Vec<String> = labels.iter().map(|label| format!("`&{label}`")).collect();
            new(title, "this overlay")
                .help(format!("there are {}", list.join(", ")))
                .help("every node can be named by its path: `&{/pl031@9010000}`")
        }
        other => new(
            format!("`{name}` cannot be applied: {other}"),
            "this overlay",
        ),
    }
}

/// Collects the paths below a node.
fn collect(node: &DeviceTreeNode, path: &str, out: &mut Vec<String>) {
    for child in node.children() {
        let path = format!("{path}/{}", child.name());
        collect(child, &path, out);
        out.push(path);
    }
}
