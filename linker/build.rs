//! Hands the hypervisor's linker script to the linker when the target is bare metal.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=linker");
    let root = env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{root}/linker/bulkhead.ld");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
        // Functions of the same instructions are one: nothing compares their addresses.
        println!("cargo:rustc-link-arg-bins=--icf=all");
        // Cortex-A53's erratum: an ADRP at the end of a page, and what follows it.
        println!("cargo:rustc-link-arg-bins=--fix-cortex-a53-843419");
    }
}
