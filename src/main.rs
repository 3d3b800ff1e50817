//! The bare-metal hypervisor image.
#![cfg_attr(target_os = "none", no_std, no_main)]

/// On a host there is nothing to run: the image is built by `cargo xtask build`.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("this is a bare-metal program: build and run it with `cargo xtask run`");
}
