//! The node of a manager's registers: a page for each partition that it manages, in the order of the table.
//!
//! | property | meaning |
//! | --- | --- |
//! | `compatible` | `bulkhead,manager`, `generic-uio` |
//! | `reg` | the pages, consecutive |
//! | `bulkhead,manages` | the partitions' names, in the same order |

use dtoolkit::model::DeviceTreeNode;

use super::{cells, node, put};
use crate::plan::Plan;

/// Adds the node, if the partition manages others.
pub fn add(root: &mut DeviceTreeNode, plan: &Plan) {
    if plan.manages == 0 {
        return;
    }
    let mut manager = node(format!("manager@{:x}", plan.manager));
    let compatible: &[&str] = &["bulkhead,manager", "generic-uio"];
    put(&mut manager, "compatible", compatible);
    put(
        &mut manager,
        "reg",
        cells(&[plan.manager, plan.manager_bytes()]),
    );
    let names: Vec<&str> = plan.managed.iter().map(String::as_str).collect();
    put(&mut manager, "bulkhead,manages", names.as_slice());
    root.add_child(manager);
}
