//! The bare-metal hypervisor. The order of start-up is in `boot`, the life of a pCPU in `run`; the map of the whole is
//! the library's documentation.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod boot;
#[cfg(target_os = "none")]
mod errata;
#[cfg(target_os = "none")]
mod events;
#[cfg(target_os = "none")]
mod hw;
#[cfg(target_os = "none")]
mod panic;
#[cfg(target_os = "none")]
mod pcpu;
#[cfg(target_os = "none")]
mod random;
#[cfg(target_os = "none")]
mod report;
#[cfg(target_os = "none")]
mod run;
#[cfg(target_os = "none")]
mod system;
#[cfg(target_os = "none")]
mod terminal;

/// On a host there is nothing to run: the image is built by `cargo xtask build`.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("this is a bare-metal program: build and run it with `cargo xtask run`");
}
