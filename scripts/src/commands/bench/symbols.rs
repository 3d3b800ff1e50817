//! What the addresses of a linked program mean.

use std::ops::Range;
use std::path::Path;

use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::failure::{Failure, Outcome};
use crate::workspace::read;

/// A program's functions and instructions.
#[derive(Debug, Default)]
pub struct Symbols {
    /// Address, size and readable name, by address.
    functions: Vec<(u64, u64, String)>,
    /// Address and bytes of the sections with instructions.
    code: Vec<(u64, Vec<u8>)>,
    /// Pairs of addresses in the sections that were asked for.
    marks: Vec<(u64, u64)>,
}

impl Symbols {
    /// Reads an ELF file; `marks` names a section of pairs of addresses.
    ///
    /// # Errors
    /// It is no ELF file.
    pub fn read(elf: &Path, marks: &str) -> Outcome<Self> {
        let bytes = read(elf)?;
        let file = ElfFile64::<Endianness>::parse(bytes.as_slice())
            .map_err(|error| Failure::file(elf, error))?;
        let mut symbols = Self::default();
        for symbol in file.symbols().filter(|s| s.is_definition()) {
            if matches!(
                symbol.kind(),
                SymbolKind::Text | SymbolKind::Label | SymbolKind::Unknown
            ) && let Ok(name) = symbol.name()
                && !name.is_empty()
                && !name.starts_with('$')
            {
                symbols
                    .functions
                    .push((symbol.address(), symbol.size(), readable(name)));
            }
        }
        symbols.functions.sort();
        for section in file.sections() {
            let data = section.data().unwrap_or_default();
            if section.kind() == object::SectionKind::Text {
                symbols.code.push((section.address(), data.to_vec()));
            }
            if section.name() == Ok(marks) {
                symbols.marks = pairs(data);
            }
        }
        Ok(symbols)
    }

    /// Returns the pairs of addresses in the section of marks.
    pub fn marks(&self) -> &[(u64, u64)] {
        &self.marks
    }

    /// Returns the instruction at an address.
    pub fn word(&self, address: u64) -> Option<u32> {
        self.code.iter().find_map(|(start, bytes)| {
            let at = usize::try_from(address.checked_sub(*start)?).ok()?;
            let word = bytes.get(at..at.checked_add(4)?)?;
            Some(u32::from_le_bytes(word.try_into().ok()?))
        })
    }

    /// Returns the addresses of a function, by the end of its name.
    pub fn range(&self, name: &str) -> Option<Range<u64>> {
        let mut functions = self.functions.iter();
        let (start, size, _) = functions.find(|(.., readable)| readable.ends_with(name))?;
        Some(*start..start + size)
    }

    /// Returns the name of the function that holds an address.
    pub fn function(&self, address: u64) -> Option<&str> {
        let behind = self
            .functions
            .partition_point(|(start, ..)| *start <= address);
        let (_, _, name) = self.functions.get(behind.checked_sub(1)?)?;
        Some(name)
    }
}

/// Reads pairs of 64-bit words.
fn pairs(data: &[u8]) -> Vec<(u64, u64)> {
    let word = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).unwrap_or_default();
    data.chunks_exact(16)
        .map(|pair| {
            let (first, second) = pair.split_at(8);
            (word(first), word(second))
        })
        .collect()
}

/// Makes Rust's linker names readable: `_ZN3run8schedule6resume17h...E` is `run::schedule::resume`.
fn readable(name: &str) -> String {
    let Some(mut rest) = name.strip_prefix("_ZN") else {
        return name.to_owned();
    };
    let mut parts = Vec::new();
    while let Some(end) = rest.find(|c: char| !c.is_ascii_digit()) {
        let (digits, tail) = rest.split_at(end);
        let length = digits.parse().unwrap_or(0);
        let Some(part) = tail.get(..length).filter(|part| !part.is_empty()) else {
            break;
        };
        parts.push(part);
        rest = tail.get(length..).unwrap_or_default();
    }
    // The last part is a hash.
    parts.pop();
    let mut text = parts.join("::");
    for (code, meaning) in [
        ("$LT$", "<"),
        ("$GT$", ">"),
        ("$u20$", " "),
        ("$u7b$", "{"),
        ("$u7d$", "}"),
        ("$RF$", "&"),
        ("..", "::"),
    ] {
        text = text.replace(code, meaning);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linker_names_become_readable() {
        let name = "_ZN8bulkhead3run8schedule38_$LT$impl$u20$bulkhead..pcpu..Pcpu$GT$6resume17h510d45bc29ded3b1E";
        assert_eq!(
            readable(name),
            "bulkhead::run::schedule::_<impl bulkhead::pcpu::Pcpu>::resume"
        );
        assert_eq!(readable("guest_synchronous"), "guest_synchronous");
    }

    #[test]
    fn an_address_belongs_to_the_function_before_it() {
        let symbols = Symbols {
            functions: vec![(0x100, 0x20, "a".to_owned()), (0x200, 0, "b".to_owned())],
            ..Symbols::default()
        };
        assert_eq!(symbols.function(0xff), None);
        assert_eq!(symbols.function(0x11c), Some("a"));
        assert_eq!(symbols.function(0x280), Some("b"));
        assert_eq!(symbols.range("a"), Some(0x100..0x120));
        assert_eq!(symbols.range("c"), None);
    }
}
