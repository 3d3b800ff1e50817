//! `[[partition]]`.

use bulkhead::config::record::{MAX_WATCHDOG_NS, MIN_WATCHDOG_NS};
use toml::de::DeValue;

use super::vcpu::vcpu;
use super::{
    Console, Device, DeviceSource, OnFault, Partition, Tree, Vcpu, Watchdog, image, memory,
};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::dma::Dma;
use crate::keys;
use crate::reader::{self, At, Keys, Value};
use crate::rule::Rule;
use crate::units::show_time;

/// The interrupts that a peripheral can have: shared peripheral interrupts.
pub const SPIS: std::ops::Range<u64> = 32..1020;

/// Reads every `[[partition]]`.
pub fn read_all(root: &Keys<'_>, out: &mut Diagnostics) -> Vec<Partition> {
    let list = match root.get("partition") {
        Some(value) => reader::list(value, "partition", "[[partition]]", out),
        None => Some(Vec::new()),
    };
    let Some(list) = list else {
        return Vec::new();
    };
    if list.is_empty() {
        let found = Diagnostic::outside(Rule::NoPartition, "the table has no partition");
        out.push(found.help("start one with a line `[[partition]]` and give it `name`, `image`, `memory` and `vcpus`"));
    }
    let partitions = list.iter().enumerate();
    partitions
        .filter_map(|(index, value)| partition(value, index, out))
        .collect()
}

/// Reads one partition.
fn partition(value: Value<'_>, index: usize, out: &mut Diagnostics) -> Option<Partition> {
    let keys = Keys::open(value, &keys::PARTITION, out)?;
    let name = keys.need_text("name", out);
    let name = name.unwrap_or_else(|| At::new(format!("#{index}"), keys.span.clone()));
    let image = keys.require("image", out);
    let memory = keys.require("memory", out);
    let layout = [("virt", false), ("board", true)];
    Some(Partition {
        image: image.and_then(|value| image::read(value, out)),
        memory: memory.map_or_else(Vec::new, |value| memory::read(value, out)),
        vcpus: vcpus(&keys, out),
        console: console(&keys, &name, out),
        devices: devices(&keys, out),
        board_layout: keys.word("layout", &layout, out).is_some_and(|w| w.value),
        tree: tree(&keys, &name, out),
        on_fault: on_fault(&keys, out).unwrap_or(OnFault::Stop),
        stopped: keys
            .boolean("autostart", out)
            .filter(|truth| !truth.value)
            .map(|truth| truth.span),
        manages: manages(&keys, out),
        watchdog: watchdog(&keys, out),
        counts_el2: keys.boolean("counts_el2", out).is_some_and(|t| t.value),
        name,
    })
}

/// Reads `vcpus`.
fn vcpus(keys: &Keys<'_>, out: &mut Diagnostics) -> Vec<Vcpu> {
    let Some(value) = keys.require("vcpus", out) else {
        return Vec::new();
    };
    let Some(list) = reader::list(value, "vcpus", keys.example("vcpus"), out) else {
        return Vec::new();
    };
    if list.is_empty() {
        let title = "a partition needs a vCPU";
        let found = Diagnostic::new(Rule::NoVcpu, title, value.span(), "an empty list");
        out.push(found.help(format!("write for example `{}`", keys.example("vcpus"))));
    }
    list.iter().filter_map(|value| vcpu(value, out)).collect()
}

/// Reads `console`; a partition has one unless it says otherwise.
fn console(keys: &Keys<'_>, name: &At<String>, out: &mut Diagnostics) -> Option<Console> {
    let plain = |span| Console {
        gpa: None,
        intid: None,
        drop: false,
        span,
    };
    let Some(value) = keys.get("console") else {
        return Some(plain(name.span.clone()));
    };
    let models = [("pl011", true), ("none", false)];
    if !value.get_ref().is_table() {
        let has = keys.word("console", &models, out);
        return has.is_none_or(|w| w.value).then(|| plain(value.span()));
    }
    let keys = Keys::open(value, &keys::CONSOLE, out)?;
    keys.require("model", out);
    let overflow = [("wait", false), ("drop", true)];
    let has = keys.word("model", &models, out);
    has.is_none_or(|w| w.value).then(|| Console {
        gpa: keys.address("gpa", out),
        intid: keys.number("intid", SPIS, out),
        drop: keys
            .word("overflow", &overflow, out)
            .is_some_and(|w| w.value),
        span: value.span(),
    })
}

/// Reads `devices`.
fn devices(keys: &Keys<'_>, out: &mut Diagnostics) -> Vec<Device> {
    let list = keys.list("devices", out).unwrap_or_default();
    list.iter().filter_map(|value| device(value, out)).collect()
}

/// Reads one device.
fn device(value: Value<'_>, out: &mut Diagnostics) -> Option<Device> {
    if let DeValue::String(path) = value.get_ref() {
        return Some(Device {
            source: DeviceSource::Path(path.clone().into_owned()),
            gpa: None,
            dma: None,
            clocks: None,
            span: value.span(),
        });
    }
    let keys = Keys::open(value, &keys::DEVICE, out)?;
    let words = [
        ("none", Some(Dma::None)),
        ("identity", Some(Dma::Identity)),
        ("smmu", None),
    ];
    let dma = keys.word("dma", &words, out);
    if let Some(At { value: None, span }) = &dma {
        out.push(reader::not_built(
            "smmu",
            "transfers through an SMMU",
            span.clone(),
        ));
    }
    let dma = dma.and_then(|dma| Some(At::new(dma.value?, dma.span)));
    let gpa = keys.address("gpa", out);
    let clocks = clocks(&keys, out);
    Some(Device {
        source: source(&keys, out)?,
        gpa,
        dma,
        clocks,
        span: value.span(),
    })
}

/// Reads the rates of a device's clocks.
fn clocks(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<At<Vec<u32>>> {
    let rates = keys.list("clocks", out)?;
    let example = keys.example("clocks");
    let rates = rates.into_iter().filter_map(|value| {
        let hz = reader::number(value, "clocks", 1..1 << 32, example, out)?;
        Some(hz.value as u32)
    });
    let rates = rates.collect();
    Some(At::new(rates, keys.get("clocks")?.span()))
}

/// Reads which device is meant.
fn source(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<DeviceSource> {
    if keys.get("reg").is_none() {
        let path = keys.need_text("path", out)?;
        for extra in ["intid", "compatible"] {
            if keys.get(extra).is_some() {
                out.push(not_both(extra, keys));
            }
        }
        return Some(DeviceSource::Path(path.value));
    }
    if keys.get("path").is_some() {
        out.push(not_both("reg", keys));
    }
    let reg = keys.list("reg", out)?;
    let reg = reg.iter().filter_map(|value| window(value, out)).collect();
    let intid = keys.list("intid", out).unwrap_or_default();
    let example = keys.example("intid");
    let intid = intid.iter();
    Some(DeviceSource::Parts {
        reg,
        intid: intid
            .filter_map(|value| reader::number(value, "intid", SPIS, example, out))
            .collect(),
        compatible: keys.text("compatible", out).map(|text| text.value),
    })
}

/// Words a device that is named by its path and described as well.
fn not_both(key: &str, keys: &Keys<'_>) -> Diagnostic {
    let title = format!("`{key}` describes a device that is in no tree, `path` names one that is");
    let found = Diagnostic::new(
        Rule::WrongType,
        title,
        keys.key_span(key),
        "not with `path`",
    );
    found
        .and(keys.key_span("path"), "this names it already")
        .help("take one of them out")
}

/// Reads one register window: `[HPA, BYTES]`.
fn window(value: Value<'_>, out: &mut Diagnostics) -> Option<(u64, u64)> {
    let example = "reg = [[0x0901_0000, 0x1000]]";
    let pair = reader::list(value, "reg", example, out)?;
    let [start, size] = pair.as_slice() else {
        let what = "a register window is a pair of address and bytes";
        reader::wrong_type(value, what, example, out);
        return None;
    };
    let start = reader::number(start, "reg", 0..u64::MAX, example, out)?.value;
    let bytes = match size.get_ref() {
        DeValue::String(_) => reader::size(size, "reg", example, out)?.value,
        _ => reader::number(size, "reg", 1..1 << 40, example, out)?.value,
    };
    if start.checked_add(bytes).is_none() || bytes == 0 {
        let title = "a register window is not empty and ends below 2^64";
        out.push(Diagnostic::new(
            Rule::OutOfRange,
            title,
            value.span(),
            "this does not",
        ));
        return None;
    }
    Some((start, bytes))
}

/// Reads `dtb`.
fn tree(keys: &Keys<'_>, name: &At<String>, out: &mut Diagnostics) -> At<Tree> {
    let generated = |span| At::new(Tree::Generated { overlay: None }, span);
    let Some(value) = keys.get("dtb") else {
        return generated(name.span.clone());
    };
    if !value.get_ref().is_table() {
        let words = [("generated", true), ("none", false)];
        return match keys.word("dtb", &words, out) {
            Some(At { value: false, span }) => At::new(Tree::None, span),
            _ => generated(value.span()),
        };
    }
    let Some(keys) = Keys::open(value, &keys::TREE, out) else {
        return generated(value.span());
    };
    let made = ["generated", "overlay"].into_iter();
    if keys.get("file").is_none() && made.clone().any(|key| keys.get(key).is_some()) {
        if let Some(At { value: false, span }) = keys.boolean("generated", out) {
            let title = "`generated` is true or absent";
            let found = Diagnostic::new(Rule::OutOfRange, title, span, "false");
            out.push(found.help("write `dtb = \"none\"` for no device tree"));
        }
        let overlay = keys.text("overlay", out);
        return At::new(Tree::Generated { overlay }, value.span());
    }
    for key in made.filter(|key| keys.get(key).is_some()) {
        let title = format!("`{key}` is about a generated tree, `file` names one that is finished");
        let span = keys.key_span(key);
        let found = Diagnostic::new(Rule::WrongType, title, span, "not with `file`");
        let found = found.and(keys.key_span("file"), "a finished tree");
        out.push(
            found.help("take one of them out: what an overlay changes can be in the file itself"),
        );
    }
    let file = keys.need_text("file", out);
    keys.require("at", out);
    match (file, keys.address("at", out)) {
        (Some(file), Some(at)) => At::new(Tree::File { file, at }, value.span()),
        _ => generated(value.span()),
    }
}

/// Reads `manages`.
fn manages(keys: &Keys<'_>, out: &mut Diagnostics) -> Vec<At<String>> {
    let names = keys.list("manages", out).unwrap_or_default().into_iter();
    let names = names.filter_map(|name| reader::text(name, "manages", "loop", out));
    names.collect()
}

/// Reads `watchdog`.
fn watchdog(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<Watchdog> {
    let keys = Keys::open(keys.get("watchdog")?, &keys::WATCHDOG, out)?;
    keys.require("timeout", out);
    let timeout = keys.time_ns("timeout", out);
    let restarts = keys.word("action", &[("stop", false), ("restart", true)], out);
    let timeout = timeout?;
    if timeout.value > MAX_WATCHDOG_NS {
        let title = "a watchdog's `timeout` is at most a day";
        let text = show_time(timeout.value);
        out.refuse(Rule::WatchdogTooLong, title, &timeout.span, text);
        return None;
    }
    if timeout.value < MIN_WATCHDOG_NS {
        let title = "a watchdog's `timeout` is at least 100 us";
        let text = show_time(timeout.value);
        out.refuse(Rule::WatchdogTooShort, title, &timeout.span, text);
        return None;
    }
    Some(Watchdog {
        timeout_ns: timeout.value,
        restarts: restarts.is_some_and(|word| word.value),
    })
}

/// Reads `on_fault`.
fn on_fault(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<OnFault> {
    let value = keys.get("on_fault")?;
    if !value.get_ref().is_table() {
        let words = [("stop", OnFault::Stop), ("restart", OnFault::Restart)];
        return keys.word("on_fault", &words, out).map(|w| w.value);
    }
    let keys = Keys::open(value, &keys::FAULT, out)?;
    keys.require("restart", out);
    keys.require("within", out);
    let restarts = keys.number("restart", 1..1 << 31, out)?;
    let within = keys.time_ns("within", out)?;
    Some(OnFault::Limited {
        restarts: restarts.value as u32,
        within_ns: within.value,
    })
}
