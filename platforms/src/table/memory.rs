//! `memory`.

use bulkhead::addr::PAGE_BYTES;
use bulkhead::config::record::access;
use toml::de::DeValue;

use super::{Place, Region};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{self, At, Keys, Value};
use crate::rule::Rule;
use crate::units::{show_size, suggest_size};

/// What a `memory` key looks like.
const EXAMPLE: &str = "memory = \"256M\"";

/// Reads the memory of a partition: a size, or a list of pieces.
pub fn read(value: Value<'_>, out: &mut Diagnostics) -> Vec<Region> {
    let DeValue::Array(list) = value.get_ref() else {
        let size = reader::size(value, "memory", EXAMPLE, out);
        let size = size.and_then(|size| whole_pages(size, out));
        return size.map(|size| anywhere(&size)).into_iter().collect();
    };
    if list.is_empty() {
        let title = "a partition needs memory";
        let found = Diagnostic::new(Rule::NoMemory, title, value.span(), "no pieces");
        out.push(found.help(format!("write for example `{EXAMPLE}`")));
    }
    list.iter().filter_map(|piece| region(piece, out)).collect()
}

/// Makes a region of a bare size.
fn anywhere(size: &At<u64>) -> Region {
    Region {
        gpa: None,
        size: size.value,
        hpa: Place::Anywhere,
        access: access::READ | access::WRITE | access::EXECUTE,
        span: size.span.clone(),
    }
}

/// Reads one piece.
fn region(value: Value<'_>, out: &mut Diagnostics) -> Option<Region> {
    let keys = Keys::open(value, &keys::REGION, out)?;
    keys.require("gpa", out);
    keys.require("size", out);
    let gpa = keys.address("gpa", out);
    let gpa = gpa.and_then(|gpa| page_aligned(gpa, "gpa", out));
    let size = keys.size("size", out);
    let size = size.and_then(|size| whole_pages(size, out));
    let hpa = place(&keys, out);
    let access = rights(&keys, out);
    Some(Region {
        gpa: Some(gpa?.value),
        size: size?.value,
        hpa: hpa?,
        access: access?,
        span: value.span(),
    })
}

/// Reads `hpa`.
fn place(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<Place> {
    let Some(value) = keys.get("hpa") else {
        return Some(Place::Anywhere);
    };
    if let DeValue::String(_) = value.get_ref() {
        let words = [("identity", Place::Identity)];
        return keys.word("hpa", &words, out).map(|word| word.value);
    }
    let hpa = keys.address("hpa", out)?;
    let hpa = page_aligned(hpa, "hpa", out)?;
    Some(Place::Fixed(hpa.value))
}

/// Reads `access`.
fn rights(keys: &Keys<'_>, out: &mut Diagnostics) -> Option<u32> {
    let Some(written) = keys.get("access") else {
        return Some(access::READ | access::WRITE | access::EXECUTE);
    };
    let written = reader::text(written, "access", keys.example("access"), out)?;
    let mut bits = 0;
    let mut bad = written.value.is_empty();
    for letter in written.value.chars() {
        let bit = match letter {
            'r' => access::READ,
            'w' => access::WRITE,
            'x' => access::EXECUTE,
            _ => 0,
        };
        bad |= bit == 0 || bits & bit != 0;
        bits |= bit;
    }
    if bad || bits & access::READ == 0 {
        let title = "`access` is made of the letters r, w and x, each once, r always";
        let text = "not such letters";
        let found = Diagnostic::new(Rule::BadAccess, title, written.span, text);
        out.push(found.help("write one of \"r\", \"rw\", \"rx\" and \"rwx\""));
        return None;
    }
    Some(bits)
}

/// Refuses a size that is no whole number of pages.
fn whole_pages(size: At<u64>, out: &mut Diagnostics) -> Option<At<u64>> {
    if size.value == 0 {
        let title = "a partition needs memory";
        out.push(Diagnostic::new(Rule::NoMemory, title, size.span, "nothing"));
        return None;
    }
    if size.value.is_multiple_of(PAGE_BYTES) {
        return Some(size);
    }
    let title = "memory is made of whole pages of 4 KiB";
    let text = format!("{} is not", show_size(size.value));
    let found = Diagnostic::new(Rule::MemoryMisaligned, title, size.span, text);
    out.push(found.help(format!(
        "the next larger size is {}",
        suggest_size(size.value)
    )));
    None
}

/// Refuses an address inside a page.
fn page_aligned(address: At<u64>, name: &str, out: &mut Diagnostics) -> Option<At<u64>> {
    if address.value.is_multiple_of(PAGE_BYTES) {
        return Some(address);
    }
    let low = address.value & !(PAGE_BYTES - 1);
    let title = format!("`{name}` of memory is a multiple of 4 KiB");
    let text = format!("{:#x} is not", address.value);
    let found = Diagnostic::new(Rule::MemoryMisaligned, title, address.span, text);
    let near = match low.checked_add(PAGE_BYTES) {
        Some(high) => format!("the nearest ones are {low:#x} and {high:#x}"),
        None => format!("the nearest one is {low:#x}"),
    };
    out.push(found.help(near));
    None
}
