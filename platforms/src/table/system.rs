//! `[system]` and `[[pcpu]]`.

use toml::de::DeValue;

use super::{CpuName, Pcpu, System, window};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{self, At, Keys, Value};
use crate::rule::Rule;

/// The version of the format that this crate reads.
const VERSION: u64 = 1;

/// Reads `[system]`.
pub fn read(root: &Keys<'_>, out: &mut Diagnostics) -> System {
    let Some(value) = root.require("system", out) else {
        return System::default();
    };
    let Some(keys) = Keys::open(value, &keys::SYSTEM, out) else {
        return System::default();
    };
    check_version(&keys, out);
    let words = [("park", false), ("reset", true)];
    let pcpu = keys.get("console_pcpu");
    System {
        platform: keys.need_text("platform", out),
        focus: keys.text("focus", out),
        console_pcpu: pcpu.and_then(|value| cpu(value, "console_pcpu", out)),
        console_priority: keys
            .get("console_priority")
            .and_then(|value| priority(value, "console_priority", out))
            .map_or(0, |priority| priority.value),
        reset_on_panic: keys
            .word("on_panic", &words, out)
            .is_some_and(|word| word.value),
        scrub_at_boot: keys
            .boolean("scrub_at_boot", out)
            .is_some_and(|truth| truth.value),
        trace: keys.size("trace", out),
    }
}

/// Refuses another version.
fn check_version(keys: &Keys<'_>, out: &mut Diagnostics) {
    let Some(value) = keys.require("version", out) else {
        return;
    };
    let example = keys.example("version");
    let Some(version) = reader::number(value, "version", 0..u64::MAX, example, out) else {
        return;
    };
    if version.value != VERSION {
        let title = format!("version {} of partition tables is not known", version.value);
        let found = Diagnostic::new(Rule::WrongVersion, title, version.span, "unknown version");
        out.push(found.help(format!(
            "this is version {VERSION}: write `version = {VERSION}`"
        )));
    }
}

/// Reads every `[[pcpu]]`.
pub fn read_pcpus(root: &Keys<'_>, out: &mut Diagnostics) -> Vec<Pcpu> {
    let mut pcpus = Vec::new();
    for value in root.list("pcpu", out).unwrap_or_default() {
        let Some(keys) = Keys::open(value, &keys::PCPU, out) else {
            continue;
        };
        let exclusive = keys.boolean("exclusive", out);
        let allow_overload = keys.boolean("allow_overload", out);
        let (major_frame_ns, windows) = window::read(&keys, out);
        let id = keys.require("id", out);
        let Some(id) = id.and_then(|value| cpu(value, "id", out)) else {
            continue;
        };
        pcpus.push(Pcpu {
            id,
            exclusive: exclusive.filter(|e| e.value).map(|e| e.span),
            allow_overload: allow_overload.is_some_and(|truth| truth.value),
            major_frame_ns,
            windows,
            span: keys.span.clone(),
        });
    }
    pcpus
}

/// Reads the name of a CPU: a position or `{ mpidr = ... }`.
pub fn cpu(value: Value<'_>, name: &str, out: &mut Diagnostics) -> Option<At<CpuName>> {
    if let DeValue::Table(_) = value.get_ref() {
        let keys = Keys::open(value, &keys::CPU, out)?;
        let mpidr = keys.require("mpidr", out)?;
        let example = keys.example("mpidr");
        let mpidr = reader::number(mpidr, "mpidr", 0..1 << 40, example, out)?;
        return Some(At::new(CpuName::Mpidr(mpidr.value), value.span()));
    }
    let example = format!("{name} = 0");
    let position = reader::number(value, name, 0..u64::from(u32::MAX), &example, out)?;
    Some(At::new(CpuName::Position(position.value), position.span))
}

/// Reads an urgency.
pub fn priority(value: Value<'_>, name: &str, out: &mut Diagnostics) -> Option<At<u8>> {
    let Some(number) = reader::whole(value) else {
        let what = format!("`{name}` is a whole number from 0 to 255");
        reader::wrong_type(value, &what, &format!("{name} = 10"), out);
        return None;
    };
    match u8::try_from(number) {
        Ok(priority) => Some(At::new(priority, value.span())),
        Err(_) => {
            let title = format!("`{name}` is 0 to 255, not {number}");
            let found = Diagnostic::new(
                Rule::PriorityOutOfRange,
                title,
                value.span(),
                "out of range",
            );
            out.push(found.help("a larger number is more urgent: 255 is the most urgent there is"));
            None
        }
    }
}
