//! The flat arm64 `Image`: EL2's bytes from the linked ELF, then the payload.

use std::fmt::Write as _;

use object::elf::{SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_NOBITS};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionFlags};
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome};

/// Bytes in the header of an arm64 `Image`.
pub const HEADER_BYTES: usize = 64;
/// Where the header says how much memory the image takes.
const IMAGE_SIZE_AT: usize = 16;
/// Where the header has its magic number, and what that is.
const MAGIC_AT: usize = 56;
const MAGIC: &[u8] = b"ARM\x64";
const PAGE: usize = 4096;
/// Images start and end at a multiple of this.
const BLOCK: u64 = 2 << 20;

/// Bytes of EL2 by kind of section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// Instructions.
    pub text: u64,
    /// Constants.
    pub rodata: u64,
    /// Variables with a start value.
    pub data: u64,
    /// Variables that start as zero, stacks included.
    pub bss: u64,
}

/// EL2 as it lies in memory.
#[derive(Clone, Debug)]
pub struct Hypervisor {
    /// From the header to the page boundary behind the last byte, zeros included.
    pub bytes: Vec<u8>,
    /// By kind of section.
    pub sizes: Sizes,
}

impl Hypervisor {
    /// Lays out a linked ELF file.
    ///
    /// # Errors
    /// It is no 64-bit ELF file, or has no `Image` header at its start.
    pub fn from_elf(elf: &[u8]) -> Outcome<Self> {
        let bad = |what: &str| Failure::failed(format!("the hypervisor's ELF file: {what}"));
        let file = ElfFile64::<Endianness>::parse(elf).map_err(|error| bad(&error.to_string()))?;
        let bytes = flatten(&file).ok_or_else(|| bad("its segments are damaged"))?;
        if bytes.get(MAGIC_AT..MAGIC_AT + MAGIC.len()) != Some(MAGIC) {
            return Err(bad("it does not start with the header of an arm64 Image"));
        }
        Ok(Self {
            bytes,
            sizes: sizes(&file),
        })
    }

    /// Returns the SHA-256 digest of EL2's bytes without the header, whose size field depends on the payload.
    pub fn digest(&self) -> String {
        let body = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        Sha256::digest(body)
            .iter()
            .fold(String::new(), |mut text, byte| {
                // Writing to a String does not fail.
                let _ = write!(text, "{byte:02x}");
                text
            })
    }

    /// Returns the bootable image: EL2, the payload, and the size of both in the header.
    pub fn with_payload(&self, payload: &[u8]) -> Vec<u8> {
        let mut image = self.bytes.clone();
        image.extend_from_slice(payload);
        let size = (image.len() as u64).next_multiple_of(BLOCK);
        if let Some(field) = image.get_mut(IMAGE_SIZE_AT..IMAGE_SIZE_AT + 8) {
            field.copy_from_slice(&size.to_le_bytes());
        }
        image
    }
}

/// Returns how far into EL2's image a symbol lies.
///
/// # Errors
/// The ELF file is damaged, or has no such symbol.
pub fn symbol_offset(elf: &[u8], name: &str) -> Outcome<u64> {
    let bad = |what: &str| Failure::failed(format!("the hypervisor's ELF file: {what}"));
    let file = ElfFile64::<Endianness>::parse(elf).map_err(|error| bad(&error.to_string()))?;
    let symbol = file.symbol_by_name(name);
    let symbol = symbol.ok_or_else(|| bad(&format!("it has no symbol {name}")))?;
    let segments = file.segments();
    let base = segments
        .filter(|s| s.size() != 0)
        .map(|s| s.address())
        .min();
    let offset = base.and_then(|base| symbol.address().checked_sub(base));
    offset.ok_or_else(|| bad("its segments are damaged"))
}

/// Returns a program in whose file other words stand at a symbol.
///
/// # Errors
/// The ELF file is damaged, has no such symbol, or no bytes for it.
pub fn patched(elf: &[u8], name: &str, words: &[u64]) -> Outcome<Vec<u8>> {
    let bad = |what: &str| Failure::failed(format!("the guest's ELF file: {what}"));
    let file = ElfFile64::<Endianness>::parse(elf).map_err(|error| bad(&error.to_string()))?;
    let symbol = file.symbol_by_name(name);
    let symbol = symbol.ok_or_else(|| bad(&format!("it has no symbol {name}")))?;
    let place = file.segments().find_map(|segment| {
        let (at, bytes) = segment.file_range();
        let into = symbol.address().checked_sub(segment.address())?;
        (into < bytes).then_some(at + into)
    });
    let mut patched = elf.to_vec();
    let at = place.and_then(|place| usize::try_from(place).ok());
    let field = at.and_then(|at| patched.get_mut(at..at.checked_add(words.len() * 8)?));
    let field = field.ok_or_else(|| bad(&format!("{name} has no bytes in it")))?;
    for (to, word) in field.chunks_exact_mut(8).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    Ok(patched)
}

/// Copies the loadable segments to their places, counted from the lowest.
fn flatten(file: &ElfFile64<'_, Endianness>) -> Option<Vec<u8>> {
    let endian = file.endian();
    let header = file.elf_header();
    let segments: Vec<_> = header
        .program_headers(endian, file.data())
        .ok()?
        .iter()
        .filter(|s| s.p_type(endian) == object::elf::PT_LOAD && s.p_memsz(endian) != 0)
        .collect();
    let first = segments.iter().map(|s| s.p_paddr(endian)).min()?;
    let end = segments
        .iter()
        .filter_map(|s| s.p_paddr(endian).checked_add(s.p_memsz(endian)))
        .max()?;
    let length = usize::try_from(end.checked_sub(first)?).ok()?;
    let mut bytes = vec![0; length.next_multiple_of(PAGE)];
    for segment in segments {
        let from = segment.data(endian, file.data()).ok()?;
        let at = usize::try_from(segment.p_paddr(endian) - first).ok()?;
        bytes
            .get_mut(at..at.checked_add(from.len())?)?
            .copy_from_slice(from);
    }
    Some(bytes)
}

/// Adds up sections by what they may do.
fn sizes(file: &ElfFile64<'_, Endianness>) -> Sizes {
    let mut sizes = Sizes::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags, .. } = section.flags() else {
            continue;
        };
        let has = |flag: object::elf::SectionFlags| sh_flags.0 & flag.0 != 0;
        if !has(SHF_ALLOC) {
            continue;
        }
        let empty = section.elf_section_header().sh_type.get(file.endian()) == SHT_NOBITS;
        let kind = match (has(SHF_EXECINSTR), has(SHF_WRITE), empty) {
            (true, _, _) => &mut sizes.text,
            (_, true, true) => &mut sizes.bss,
            (_, true, false) => &mut sizes.data,
            _ => &mut sizes.rodata,
        };
        *kind += section.size();
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hypervisor() -> Hypervisor {
        Hypervisor {
            bytes: (0..=255).cycle().take(PAGE).collect(),
            sizes: Sizes::default(),
        }
    }

    #[test]
    fn the_payload_follows_and_the_size_covers_both() {
        let image = hypervisor().with_payload(&[7; 10]);
        assert_eq!(image.len(), PAGE + 10);
        assert_eq!(image[PAGE..], [7; 10]);
        assert_eq!(image[16..24], [0, 0, 0x20, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn two_payloads_leave_all_but_the_header_alone() {
        let one = hypervisor().with_payload(&[1; 10]);
        let other = hypervisor().with_payload(&vec![2; 3 << 20]);
        assert_ne!(one[..HEADER_BYTES], other[..HEADER_BYTES]);
        assert_eq!(one[HEADER_BYTES..PAGE], other[HEADER_BYTES..PAGE]);
    }

    #[test]
    fn the_digest_is_sha256_of_what_follows_the_header() {
        let mut hypervisor = hypervisor();
        hypervisor.bytes = [vec![9; HEADER_BYTES], b"abc".to_vec()].concat();
        // FIPS 180, example "abc".
        assert!(hypervisor.digest().starts_with("ba7816bf8f01cfea"));
    }

    #[test]
    fn a_foreign_file_is_refused() {
        assert!(Hypervisor::from_elf(b"no ELF").is_err());
    }
}
