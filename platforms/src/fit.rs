//! Fits image, RAM disk and device tree into a partition's memory.

use std::sync::Arc;

use bulkhead::addr::{PAGE_BYTES, Range};
use dtoolkit::fdt::Fdt;

use crate::diagnostic::{Diagnostic, Diagnostics, shown_path};
use crate::image::{Loaded, Store, behind};
use crate::overlay;
use crate::plan::{Load, Plan, Region};
use crate::reader::{At, Span};
use crate::rule::Rule;
use crate::table::{Image, Partition, Tree};
use crate::tree::{self, Words};
use crate::units::{show_size, suggest_size};

/// Puts the image of a partition into its plan: `cpus` are the vCPUs' `compatible` texts.
pub fn fit(
    plan: &mut Plan,
    partition: &Partition,
    cpus: &[String],
    store: &mut Store<'_>,
    out: &mut Diagnostics,
) {
    let Some(image) = &partition.image else {
        return;
    };
    check_tree_needed(image, &partition.tree, out);
    let main = plan.regions.first().cloned();
    let ram = main
        .as_ref()
        .map_or(plan.layout.ram, |main| main.guest.start());
    // Without memory the image is loaded all the same: what is wrong with it shows in the same run.
    let (Some(mut loaded), Some(main)) = (store.load(image, ram, out), main) else {
        return;
    };
    let cmdline = loaded.cmdline.take();
    let Some(initrd) = fit_image(plan, &main, image, loaded, out) else {
        return;
    };
    match &partition.tree.value {
        Tree::None => {}
        Tree::File { file, at } => add_tree_file(plan, file, at, store, out),
        Tree::Generated { overlay } => {
            let cmdline = cmdline.as_deref();
            let mut generated = tree::generate(plan, cpus, Words { cmdline, initrd });
            let overlay = overlay
                .as_ref()
                .and_then(|file| overlay::read(file, store, out));
            if let Some(overlay) = overlay {
                overlay.apply(&mut generated, plan, out);
            }
            let generated = tree::flatten(&generated);
            add_generated(plan, &main, generated, &partition.tree.span, out);
        }
    }
}

/// Puts image and RAM disk into memory. Returns where the RAM disk is, if there is one; `None` when something has no
/// room, so that a device tree would be a guess.
fn fit_image(
    plan: &mut Plan,
    main: &Region,
    image: &At<Image>,
    loaded: Loaded,
    out: &mut Diagnostics,
) -> Option<Option<(u64, u64)>> {
    plan.entry = loaded.entry;
    plan.loads = loaded.loads;
    let initrd = loaded.initrd;
    let more = initrd.as_ref().map_or(0, |initrd| initrd.len() as u64);
    if !check_inside(plan, &image.span, more, out) {
        return None;
    }
    check_apart(plan, &image.span, out);
    check_entry(plan, image, out);
    match initrd {
        Some(bytes) => add_initrd(plan, main, bytes, &image.span, out).map(Some),
        None => Some(None),
    }
}

/// Refuses a RAM disk or a command line that has no way into the guest.
fn check_tree_needed(image: &At<Image>, tree: &At<Tree>, out: &mut Diagnostics) {
    if matches!(tree.value, Tree::Generated { .. }) {
        return;
    }
    let (initrd, cmdline) = match &image.value {
        Image::Kernel {
            initrd, cmdline, ..
        } => (initrd.as_ref(), cmdline.as_ref()),
        Image::Recipe { cmdline, .. } => (None, cmdline.as_ref()),
        _ => (None, None),
    };
    for (name, span) in [("initrd", initrd), ("cmdline", cmdline)] {
        if let Some(at) = span {
            let title = format!("`{name}` is handed over in a generated device tree");
            let found = Diagnostic::new(Rule::TreeNeeded, title, at.span.clone(), "goes nowhere");
            let found = found.and(tree.span.clone(), "no generated tree");
            out.push(found.help("write `dtb = \"generated\"`, or put it into your own tree"));
        }
    }
}

/// Refuses pieces of an image that lie outside the partition's memory; returns whether there are none.
fn check_inside(plan: &Plan, span: &Span, more: u64, out: &mut Diagnostics) -> bool {
    let mut all_inside = true;
    for load in &plan.loads {
        let range = load.range();
        let inside = |range| plan.regions.iter().any(|r| r.guest.contains(range));
        if range.is_some_and(inside) {
            continue;
        }
        let starts = plan.regions.iter().find(|r| r.guest.holds(load.gpa));
        let found = match starts {
            Some(region) => too_large(load, region, more, span),
            None => outside(load, plan, span),
        };
        out.push(found);
        all_inside = false;
    }
    all_inside
}

/// Words an image that is larger than its memory; `more` bytes are to follow it.
fn too_large(load: &Load, region: &Region, more: u64, span: &Span) -> Diagnostic {
    let offset = load.gpa - region.guest.start();
    let need = offset.saturating_add(load.memory_bytes);
    let title = format!(
        "the {} takes {} in memory, the partition has {}",
        load.what,
        show_size(need),
        show_size(region.guest.size()),
    );
    let text = format!("ends at {:#x}", load.gpa.saturating_add(load.memory_bytes));
    let memory = format!(
        "memory ends at {:#x}",
        region.guest.last().saturating_add(1)
    );
    let found = Diagnostic::new(Rule::ImageTooLarge, title, span.clone(), text);
    let need = need.saturating_add(more).saturating_add(0x1_0000);
    found
        .and(region.span.clone(), memory)
        .help(format!("give it at least {}", suggest_size(need)))
}

/// Words an image that lies elsewhere.
fn outside(load: &Load, plan: &Plan, span: &Span) -> Diagnostic {
    let end = load.gpa.saturating_add(load.memory_bytes.saturating_sub(1));
    let title = format!("the {} lies outside the partition's memory", load.what);
    let text = format!("goes to {:#x}..={end:#x}", load.gpa);
    let mut found = Diagnostic::new(Rule::ImageOutsideMemory, title, span.clone(), text);
    for region in &plan.regions {
        found = found.and(region.span.clone(), format!("memory is {}", region.guest));
    }
    found.help("link it to run there, or give `memory` as a list with the `gpa` that it wants")
}

/// Refuses pieces of an image that lie on each other.
fn check_apart(plan: &Plan, span: &Span, out: &mut Diagnostics) {
    for (index, load) in plan.loads.iter().enumerate() {
        for other in &plan.loads[..index] {
            let (Some(a), Some(b)) = (load.range(), other.range()) else {
                continue;
            };
            if a.overlaps(b) {
                out.push(on_each_other(load, a, other, b, span));
            }
        }
    }
}

/// Words two pieces that lie on each other.
fn on_each_other(load: &Load, a: Range, other: &Load, b: Range, span: &Span) -> Diagnostic {
    let title = format!("the {} at {a} lies on the {} at {b}", load.what, other.what);
    Diagnostic::new(
        Rule::ImageOverlap,
        title,
        span.clone(),
        "would be overwritten",
    )
}

/// Refuses an entry where the guest cannot execute.
fn check_entry(plan: &Plan, image: &At<Image>, out: &mut Diagnostics) {
    let span = match &image.value {
        Image::Raw { entry, .. } => entry.span.clone(),
        _ => image.span.clone(),
    };
    let home = plan
        .regions
        .iter()
        .find(|region| region.guest.holds(plan.entry));
    let (text, place) = match home {
        None => ("outside memory", None),
        Some(region) if !region.is_executable() => ("must not be executed", Some(region)),
        Some(_) if !plan.entry.is_multiple_of(4) => ("not a multiple of 4", None),
        Some(_) => return,
    };
    let title = format!(
        "the first instruction at {:#x} cannot be executed",
        plan.entry
    );
    let mut found = Diagnostic::new(Rule::BadEntry, title, span, text);
    if let Some(region) = place {
        let text = format!("{} is {}", region.guest, region.rights());
        found = found.and(region.span.clone(), text);
    }
    out.push(found.help("`entry` lies in memory with the access right x"));
}

/// Puts a RAM disk at the first place behind the kernel; returns its first and behind-last address.
fn add_initrd(
    plan: &mut Plan,
    main: &Region,
    bytes: Arc<[u8]>,
    span: &Span,
    out: &mut Diagnostics,
) -> Option<(u64, u64)> {
    let size = bytes.len() as u64;
    let gpa = behind(&plan.loads, main.guest.start());
    let range = gpa.and_then(|gpa| Range::new(gpa, size));
    let Some(range) = range.filter(|range| main.guest.contains(*range)) else {
        let free = gpa.map_or(0, |gpa| {
            main.guest.last().saturating_add(1).saturating_sub(gpa)
        });
        let title = format!(
            "the initial RAM disk takes {}, behind the kernel there are {}",
            show_size(size),
            show_size(free),
        );
        let need = gpa.unwrap_or(0).saturating_sub(main.guest.start());
        let need = need.saturating_add(size).saturating_add(0x1_0000);
        let found = Diagnostic::new(Rule::InitrdTooLarge, title, span.clone(), "does not fit");
        let text = format!("memory is {}", main.guest);
        let found = found.and(main.span.clone(), text);
        out.push(found.help(format!("give it at least {}", suggest_size(need))));
        return None;
    };
    plan.loads.push(Load {
        what: "initial RAM disk".to_owned(),
        gpa: range.start(),
        bytes,
        memory_bytes: size,
    });
    Some((range.start(), range.start() + size))
}

/// Puts a generated tree at the end of memory, below whatever is loaded there.
fn add_generated(
    plan: &mut Plan,
    main: &Region,
    generated: tree::Generated,
    span: &Span,
    out: &mut Diagnostics,
) {
    let size = generated.bytes.len() as u64;
    let Some(range) = highest_gap(main.guest, &plan.loads, size) else {
        let title = format!(
            "there is no room for the device tree of {}",
            show_size(size)
        );
        let found = Diagnostic::new(Rule::TreeTooLarge, title, span.clone(), "does not fit");
        let text = format!("memory is {}", main.guest);
        let need = main.guest.size().saturating_add(size);
        out.push(
            found
                .and(main.span.clone(), text)
                .help(format!("give it at least {}", suggest_size(need))),
        );
        return;
    };
    plan.dtb = range.start();
    let seeds = generated.seeds.iter();
    plan.seeds = seeds
        .map(|&(at, bytes)| (range.start() + at, bytes))
        .collect();
    plan.loads.push(Load {
        what: "device tree".to_owned(),
        gpa: range.start(),
        bytes: generated.bytes.into(),
        memory_bytes: size,
    });
}

/// Finds the highest page-aligned place for `size` bytes in `memory` that is clear of `loads`.
fn highest_gap(memory: Range, loads: &[Load], size: u64) -> Option<Range> {
    let mut end = memory.last().checked_add(1)?;
    loop {
        let start = end.checked_sub(size)? & !(PAGE_BYTES - 1);
        let range = Range::new(start, size).filter(|range| memory.contains(*range))?;
        let ranges = loads.iter().filter_map(Load::range);
        match ranges
            .filter(|taken| taken.overlaps(range))
            .map(|t| t.start())
            .min()
        {
            Some(lower) => end = lower,
            None => return Some(range),
        }
    }
}

/// Puts a tree from a file where the table says.
fn add_tree_file(
    plan: &mut Plan,
    file: &At<String>,
    at: &At<u64>,
    store: &mut Store<'_>,
    out: &mut Diagnostics,
) {
    let file = store.beside_table(file);
    let Some(bytes) = store.file(&file, out) else {
        return;
    };
    if let Err(error) = Fdt::new(&bytes) {
        let name = shown_path(&file.value);
        let title = format!("`{name}` is not a device tree: {error}");
        let found = Diagnostic::new(Rule::NotATree, title, file.span.clone(), "this file");
        out.push(found.help("a flattened tree is meant (`.dtb`), as `dtc` makes it from source"));
        return;
    }
    let load = Load {
        what: "device tree".to_owned(),
        gpa: at.value,
        memory_bytes: bytes.len() as u64,
        bytes,
    };
    check_tree_place(plan, &load, &at.span, out);
    plan.dtb = at.value;
    plan.loads.push(load);
}

/// Refuses a tree that lies outside memory, on something else, or at an odd address.
fn check_tree_place(plan: &Plan, load: &Load, span: &Span, out: &mut Diagnostics) {
    if !load.gpa.is_multiple_of(8) {
        let title = "`at` of a device tree is a multiple of 8";
        let text = format!("{:#x} is not", load.gpa);
        out.refuse(Rule::MemoryMisaligned, title, span, text);
    }
    let inside = |range: &Range| plan.regions.iter().any(|r| r.guest.contains(*range));
    let Some(range) = load.range().filter(inside) else {
        out.push(outside(load, plan, span));
        return;
    };
    for other in &plan.loads {
        if let Some(taken) = other.range().filter(|taken| taken.overlaps(range)) {
            out.push(on_each_other(load, range, other, taken, span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(gpa: u64, size: u64) -> Load {
        Load {
            what: String::new(),
            gpa,
            bytes: Arc::new([]),
            memory_bytes: size,
        }
    }

    #[test]
    fn tree_goes_to_the_end_below_what_is_there() {
        let memory = Range::new(0x4000_0000, 0x20_0000).unwrap();
        let start = |loads: &[Load]| highest_gap(memory, loads, 0x1800).map(Range::start);
        assert_eq!(start(&[]), Some(0x401f_e000));
        assert_eq!(start(&[load(0x401f_f000, 0x10)]), Some(0x401f_d000));
        assert_eq!(start(&[load(0x4000_0000, 0x1f_f000)]), None);
    }
}
