//! Hands the guests' linker script to the linker: every package under `guests/` names this file as its build script.

use std::env;

/// Says which script, and that pages of 4 KiB are enough.
pub fn main() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../linker/guest.ld");
    println!("cargo:rerun-if-changed={script}");
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{script}");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
    }
}
