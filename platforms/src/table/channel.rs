//! `[[channel]]`.

use bulkhead::addr::PAGE_BYTES;
use bulkhead::config::record::{MAX_CHANNEL_BYTES, access};

use super::Channel;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{self, At, Keys, Span, Value};
use crate::rule::Rule;
use crate::units::{show_size, suggest_size};

/// Reads every `[[channel]]`.
pub fn read_all(root: &Keys<'_>, out: &mut Diagnostics) -> Vec<Channel> {
    let list = root.list("channel", out).unwrap_or_default();
    list.iter()
        .filter_map(|value| channel(value, out))
        .collect()
}

/// Reads one channel.
fn channel(value: Value<'_>, out: &mut Diagnostics) -> Option<Channel> {
    let keys = Keys::open(value, &keys::CHANNEL, out)?;
    let name = keys.need_text("name", out);
    let between = keys.require("between", out);
    keys.require("size", out);
    let size = keys.size("size", out);
    let size = size.and_then(|size| sane(size, out));
    let access = access(&keys, out);
    let cached = keys.boolean("cached", out);
    let between = between.and_then(|value| pair(value, &keys, out));
    Some(Channel {
        name: name?,
        between: between?,
        size: size?,
        access: access?,
        cached: cached.is_some_and(|truth| truth.value),
        span: value.span(),
    })
}

/// Reads `between`: two names.
fn pair(value: Value<'_>, keys: &Keys<'_>, out: &mut Diagnostics) -> Option<[At<String>; 2]> {
    let example = keys.example("between");
    let list = reader::list(value, "between", example, out)?;
    let [one, other] = list.as_slice() else {
        let title = "a channel is between two partitions";
        let text = match list.len() {
            1 => "one name".to_owned(),
            count => format!("{count} names"),
        };
        let found = Diagnostic::new(Rule::ChannelEnds, title, value.span(), text);
        out.push(found.help(format!("write for example `{example}`")));
        return None;
    };
    let one = reader::text(one, "between", example, out);
    let other = reader::text(other, "between", example, out);
    Some([one?, other?])
}

/// Refuses a size that is no whole number of pages, or too large.
fn sane(size: At<u64>, out: &mut Diagnostics) -> Option<At<u64>> {
    let most = show_size(MAX_CHANNEL_BYTES);
    let text = match size.value {
        0 => "nothing to share".to_owned(),
        bytes if bytes > MAX_CHANNEL_BYTES => format!("more than {most}"),
        bytes if !bytes.is_multiple_of(PAGE_BYTES) => "not whole pages".to_owned(),
        _ => return Some(size),
    };
    let title = format!("a channel's memory is made of pages of 4 KiB, {most} of it at most");
    let found = Diagnostic::new(Rule::ChannelSize, title, size.span, text);
    let near = size.value.clamp(PAGE_BYTES, MAX_CHANNEL_BYTES);
    out.push(found.help(format!("`size = \"{}\"` would do", suggest_size(near))));
    None
}

/// Reads `access`: what each side may do, both all without it.
fn access(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<[u32; 2]> {
    const ALL: u32 = access::READ | access::WRITE;
    let Some(value) = keys.get("access") else {
        return Some([ALL; 2]);
    };
    let example = keys.example("access");
    let list = reader::list(value, "access", example, out)?;
    let texts: Option<Vec<At<String>>> = list
        .iter()
        .map(|value| reader::text(value, "access", example, out))
        .collect();
    let rights = |text: &At<String>| match text.value.as_str() {
        "r" => Some(access::READ),
        "rw" => Some(ALL),
        _ => None,
    };
    let rights: Vec<Option<u32>> = texts?.iter().map(rights).collect();
    match rights.as_slice() {
        [Some(access::READ), Some(access::READ)] => {
            let text = "nobody writes";
            out.push(bad_access(text, value.span(), example));
            None
        }
        [Some(one), Some(other)] => Some([*one, *other]),
        _ => {
            let text = "not two of \"r\" and \"rw\"";
            out.push(bad_access(text, value.span(), example));
            None
        }
    }
}

/// Words rights that make no channel.
fn bad_access(text: &str, span: Span, example: &str) -> Diagnostic {
    let title = "`access` says what each side of a channel may do: \"r\" or \"rw\", in the order of `between`";
    let found = Diagnostic::new(Rule::ChannelAccess, title, span, text);
    found.help(format!(
        "write for example `{example}`, or leave it out: both read and write"
    ))
}
