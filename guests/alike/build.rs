//! As `linker/guest-build.rs`; but the guest is entered before its runtime.

#[path = "../../linker/guest-build.rs"]
mod guest_build;

fn main() {
    guest_build::main();
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=--entry=alike_first");
    }
}
