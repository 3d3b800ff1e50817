//! `image`.

use super::Image;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{At, Keys, Value};
use crate::rule::Rule;

/// The kinds of image: the key that makes the kind, and the keys that go with it.
const KINDS: [(&str, &[&str]); 5] = [
    ("guest", &[]),
    ("recipe", &["cmdline"]),
    ("kernel", &["initrd", "cmdline"]),
    ("elf", &[]),
    ("raw", &["load", "entry"]),
];
/// The longest command line that Linux takes on arm64, without the final zero.
const CMDLINE_CHARACTERS: usize = 2047;

/// Reads an image.
pub fn read(value: Value<'_>, out: &mut Diagnostics) -> Option<At<Image>> {
    let keys = Keys::open(value, &keys::IMAGE, out)?;
    let kind = kind(&keys, out)?;
    let cmdline = cmdline(&keys, out);
    let image = match kind {
        "guest" => Image::Guest(keys.text("guest", out)?),
        "recipe" => Image::Recipe {
            name: keys.text("recipe", out)?,
            cmdline,
        },
        "kernel" => Image::Kernel {
            kernel: keys.text("kernel", out)?,
            initrd: keys.text("initrd", out),
            cmdline,
        },
        "elf" => Image::Elf(keys.text("elf", out)?),
        _ => raw(&keys, out)?,
    };
    Some(At::new(image, value.span()))
}

/// Reads a raw image.
fn raw(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<Image> {
    let file = keys.text("raw", out);
    keys.require("load", out);
    let load = keys.address("load", out)?;
    let entry = keys.address("entry", out).unwrap_or_else(|| load.clone());
    Some(Image::Raw {
        file: file?,
        load,
        entry,
    })
}

/// Finds the one kind that the keys make, and refuses keys of another.
fn kind(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<&'static str> {
    let mut present = KINDS.iter().filter(|(kind, _)| keys.get(kind).is_some());
    let first = present.next();
    let Some((kind, companions)) = first else {
        if keys.get("preloaded").is_none() {
            let title = "an image is one of `guest`, `recipe`, `kernel`, `elf` and `raw`";
            let found = Diagnostic::new(Rule::ImageKind, title, keys.span.clone(), "none of them");
            out.push(found.help("write for example `image = { guest = \"hello\" }`"));
        }
        return None;
    };
    for (other, _) in present {
        let title = format!("an image is one thing: `{kind}` or `{other}`, not both");
        let found = Diagnostic::new(Rule::ImageKind, title, keys.key_span(other), "the other");
        out.push(
            found
                .and(keys.key_span(kind), "one")
                .help("take one of them out"),
        );
    }
    for extra in ["initrd", "cmdline", "load", "entry"] {
        if keys.get(extra).is_some() && !companions.contains(&extra) {
            let title = format!("`{extra}` does not go with `{kind}`");
            let found = Diagnostic::new(Rule::ImageKind, title, keys.key_span(extra), "not used");
            let of: Vec<String> = KINDS
                .iter()
                .filter(|(_, companions)| companions.contains(&extra))
                .map(|(kind, _)| format!("`{kind}`"))
                .collect();
            out.push(found.help(format!("`{extra}` goes with {}", of.join(" and "))));
        }
    }
    Some(kind)
}

/// Reads a command line.
fn cmdline(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<At<String>> {
    let cmdline = keys.text("cmdline", out)?;
    let length = cmdline.value.len();
    let text = if length > CMDLINE_CHARACTERS {
        format!("{length} characters")
    } else if cmdline.value.contains(['\n', '\r', '\0']) {
        "a line end or a NUL is in it".to_owned()
    } else {
        return Some(cmdline);
    };
    let title = format!("a command line is one line of at most {CMDLINE_CHARACTERS} characters");
    out.push(Diagnostic::new(Rule::BadCmdline, title, cmdline.span, text));
    None
}
