//! No speculation past an exception return: what stands behind each ERET in the hypervisor's instructions.
//!
//! # Source
//! Arm DDI 0487, instruction pages `ERET`, `SB`, `DSB`, `ISB`.

use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, SectionKind};

use super::sections::of_hypervisor;
use super::{Case, Found};

/// `sb`
const SB: u32 = 0xd503_30ff;
/// `isb`
const ISB: u32 = 0xd503_3fdf;

/// Returns the gate.
pub fn case() -> Case {
    Case {
        name: "a17-barrier-behind-eret".to_owned(),
        about: "a speculation barrier stands behind each exception return of EL2".to_owned(),
        long: false,
        alone: false,
        run: Box::new(|_| of_hypervisor(judge)),
    }
}

/// Looks at all of its instructions.
fn judge(file: &ElfFile64<'_>) -> Found {
    let mut found = Found::default();
    for section in file.sections().filter(|s| s.kind() == SectionKind::Text) {
        let data = section.data().unwrap_or_default();
        let words: Vec<u32> = data
            .chunks_exact(4)
            .filter_map(|word| Some(u32::from_le_bytes(word.try_into().ok()?)))
            .collect();
        let (returns, bare) = returns(&words);
        found.passed += returns - bare.len();
        found.failures.extend(bare.into_iter().map(|place| {
            let at = section.address() + 4 * place as u64;
            format!("no barrier stands behind the ERET at {at:#x}")
        }));
    }
    if found.passed == 0 {
        found.failures.push("there is no ERET".to_owned());
    }
    found
}

/// Returns how many exception returns there are, and the places of those without a barrier behind them.
fn returns(words: &[u32]) -> (usize, Vec<usize>) {
    let all: Vec<usize> = (0..words.len())
        .filter(|place| is_return(words[*place]))
        .collect();
    let bare = all
        .iter()
        .copied()
        .filter(|place| !is_barrier(&words[place + 1..]));
    (all.len(), bare.collect())
}

/// ERET, ERETAA, ERETAB.
fn is_return(word: u32) -> bool {
    matches!(word, 0xd69f_03e0 | 0xd69f_0bff | 0xd69f_0fff)
}

/// SB, or DSB (of loads and stores) and ISB.
fn is_barrier(behind: &[u32]) -> bool {
    match behind {
        [SB, ..] => true,
        [dsb, ISB, ..] => dsb & 0xffff_f3ff == 0xd503_339f,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ERET: u32 = 0xd69f_03e0;
    const DSB_NSH: u32 = 0xd503_379f;
    const DSB_SY: u32 = 0xd503_3f9f;
    const DSB_ISHST: u32 = 0xd503_3a9f;

    #[test]
    fn a_return_needs_a_barrier_right_behind_it() {
        assert_eq!(returns(&[ERET, SB]), (1, vec![]));
        assert_eq!(returns(&[0, ERET, DSB_NSH, ISB]), (1, vec![]));
        assert_eq!(returns(&[ERET, DSB_SY, ISB, ERET, SB]), (2, vec![]));
        for behind in [&[][..], &[ISB], &[DSB_NSH], &[DSB_ISHST, ISB], &[0, SB]] {
            assert_eq!(returns(&[&[ERET], behind].concat()), (1, vec![0]));
        }
    }
}
