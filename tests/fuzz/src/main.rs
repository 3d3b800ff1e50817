//! The engine's program: runs the target that `BULKHEAD_FUZZ_TARGET` names. `cargo xtask inputs` builds and calls it.
#![no_main]

use std::env;
use std::sync::OnceLock;

use bulkhead_fuzz::{Target, target};

static CHOSEN: OnceLock<&Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(
    init: {
        let name = env::var("BULKHEAD_FUZZ_TARGET").unwrap_or_default();
        let found = target(&name).unwrap_or_else(|| panic!("no target `{name}`"));
        CHOSEN.get_or_init(|| found);
    },
    |data: &[u8]| {
        if let Some(target) = CHOSEN.get() {
            (target.run)(data);
        }
    }
);
