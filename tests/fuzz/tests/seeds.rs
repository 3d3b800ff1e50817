//! Every seed, as it is and with each of a few changes that are always the same.

use bulkhead_fuzz::TARGETS;

/// Changed copies of each seed.
const CHANGES: u64 = 8;

/// Returns a number that depends on another one (splitmix64).
fn mixed(number: u64) -> u64 {
    let z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

#[test]
fn every_target_has_seeds_and_bears_them() {
    for target in &TARGETS {
        let seeds = target.seeds();
        assert!(
            seeds.len() >= 5,
            "{} has {} seeds",
            target.name,
            seeds.len()
        );
        for seed in &seeds {
            assert!(
                seed.len() <= target.longest,
                "{}: {}",
                target.name,
                seed.len()
            );
            (target.run)(seed);
        }
    }
}

#[test]
fn changed_seeds_are_borne() {
    for target in &TARGETS {
        for (seed, number) in target.seeds().iter().zip(0..) {
            for change in 0..CHANGES {
                let dice = mixed(number * CHANGES + change);
                let mut bytes = seed.clone();
                let length = bytes.len().max(1);
                if let Some(byte) = bytes.get_mut(dice as usize % length) {
                    *byte ^= (dice >> 32) as u8 | 1;
                }
                if change == 0 {
                    bytes.truncate((dice >> 40) as usize % length);
                }
                (target.run)(&bytes);
            }
        }
    }
}

#[test]
fn the_readme_counts_the_seeds() {
    let readme = include_str!("../../../README.md");
    let before = readme.split(" seeds, as they are and changed").next();
    let said = before.and_then(|text| text.rsplit(' ').next());
    let said: usize = said.and_then(|word| word.parse().ok()).expect("a number");
    let seeds: usize = TARGETS.iter().map(|target| target.seeds().len()).sum();
    // No more than there are, and little less.
    assert!(
        said <= seeds && seeds - said <= seeds / 20,
        "the README says {said} seeds, there are {seeds}"
    );
}
