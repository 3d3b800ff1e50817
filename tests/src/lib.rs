//! Systems under QEMU.
