//! The bare-metal hypervisor image.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod arch;
#[cfg(target_os = "none")]
mod hw;
#[cfg(target_os = "none")]
mod panic;

/// On a host there is nothing to run: the image is built by `cargo xtask build`.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("this is a bare-metal program: build and run it with `cargo xtask run`");
}

#[cfg(target_os = "none")]
mod temp {
    use crate::arch::aarch64::*;
    use bulkhead::addr::*;
    #[unsafe(no_mangle)]
    extern "C" fn primary_start(tree: u64, image: u64) -> ! {
        let mut tables = unsafe { mmu::Tables::new(HostPhysAddr(image)) };
        let uart =
            unsafe { tables.map_next(HostPhysAddr(0x900_0000), 4096, mmu::Kind::Device) }.unwrap();
        crate::panic::set_uart(uart);
        crate::panic::say!(
            "tree {tree:#x} image {image:#x} bytes {:#x}",
            mmu::image_bytes()
        );
        unsafe { (0x1234 as *mut u64).write_volatile(1) };
        panic!("the end");
    }
    #[unsafe(no_mangle)]
    extern "C" fn secondary_start() -> ! {
        loop {}
    }
    #[unsafe(no_mangle)]
    extern "C" fn guest_synchronous() -> ! {
        loop {}
    }
    #[unsafe(no_mangle)]
    extern "C" fn guest_interrupt() -> ! {
        loop {}
    }
    #[unsafe(no_mangle)]
    extern "C" fn guest_serror() -> ! {
        loop {}
    }
}
