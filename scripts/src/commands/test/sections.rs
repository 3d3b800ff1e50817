//! What EL2's image has: no data that is initialised and writable, so no table of functions that could be changed; nothing
//! that is writable and executable; nothing to relocate.

use object::elf::{
    SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHT_DYNAMIC, SHT_NOBITS, SHT_REL, SHT_RELA, SectionFlags,
    SectionType,
};
use object::read::elf::{ElfFile64, SectionHeader};
use object::{Object, ObjectSection};

use super::{Case, Found};
use crate::failure::{Failure, Outcome};
use crate::system::build_hypervisor;
use crate::workspace::read;

/// Returns the gate.
pub fn case() -> Case {
    Case {
        name: "sections".to_owned(),
        about: "EL2's image has no writable function tables and nothing to relocate".to_owned(),
        long: false,
        alone: false,
        run: Box::new(|_| of_hypervisor(judge)),
    }
}

/// Builds the hypervisor and lets `judge` look at its image.
pub fn of_hypervisor(judge: impl Fn(&ElfFile64<'_>) -> Found) -> Found {
    let judged = || -> Outcome<Found> {
        let (elf, _) = build_hypervisor()?;
        let bytes = read(&elf)?;
        let file =
            ElfFile64::parse(bytes.as_slice()).map_err(|error| Failure::file(&elf, error))?;
        Ok(judge(&file))
    };
    judged().unwrap_or_else(|failure| Found::fail(failure.message))
}

/// Looks at its sections.
fn judge(file: &ElfFile64<'_>) -> Found {
    let mut found = Found::default();
    for section in file.sections() {
        let header = section.elf_section_header();
        let (flags, kind) = (
            header.sh_flags(file.endian()),
            header.sh_type(file.endian()),
        );
        match wrong(flags, kind, section.size()) {
            Some(why) => {
                let name = section.name().unwrap_or("?");
                found.failures.push(format!("section {name}: {why}"));
            }
            None => found.passed += usize::from(has(flags, SHF_ALLOC)),
        }
    }
    found
}

fn has(flags: SectionFlags, flag: SectionFlags) -> bool {
    flags.0 & flag.0 != 0
}

/// Says what is wrong with a section.
fn wrong(flags: SectionFlags, kind: SectionType, bytes: u64) -> Option<&'static str> {
    let has = |flag| has(flags, flag);
    if !has(SHF_ALLOC) || bytes == 0 {
        return None;
    }
    if matches!(kind, SHT_DYNAMIC | SHT_REL | SHT_RELA) {
        return Some("it is to be relocated");
    }
    if has(SHF_WRITE) && has(SHF_EXECINSTR) {
        return Some("it is writable and executable");
    }
    if has(SHF_WRITE) && kind != SHT_NOBITS {
        return Some("it is writable and initialised: a place for pointers that could be changed");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::SHT_PROGBITS;

    #[test]
    fn what_may_be_in_an_image() {
        let (alloc, write, execute) = (SHF_ALLOC.0, SHF_WRITE.0, SHF_EXECINSTR.0);
        let wrong = |flags, kind, bytes| wrong(SectionFlags(flags), kind, bytes);
        assert_eq!(wrong(alloc | execute, SHT_PROGBITS, 4), None);
        assert_eq!(wrong(alloc, SHT_PROGBITS, 4), None);
        assert_eq!(wrong(alloc | write, SHT_NOBITS, 4), None);
        assert_eq!(wrong(alloc | write, SHT_PROGBITS, 0), None);
        assert_eq!(wrong(0, SHT_RELA, 4), None, "debug information");
        for (flags, kind) in [
            (alloc | write, SHT_PROGBITS),
            (alloc | write | execute, SHT_NOBITS),
            (alloc, SHT_RELA),
        ] {
            assert!(wrong(flags, kind, 4).is_some(), "{flags:#x} {kind:?}");
        }
    }
}
