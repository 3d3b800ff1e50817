//! TLB maintenance.
//!
//! Source: Arm DDI 0487, "TLB maintenance instructions"; the operand holds the address shifted right by 12 whatever
//! the granule.

use bulkhead::addr::HypVirtAddr;
use core::arch::asm;

/// Drops EL2's own translation of one page on all pCPUs.
pub fn invalidate_hypervisor_page(page: HypVirtAddr) {
    // SAFETY: the translation is walked again; the tables were published before.
    unsafe {
        asm!("dsb ishst", "tlbi vae2is, {}", "dsb ish", "isb", in(reg) page.0 >> 12, options(nostack, preserves_flags));
    }
}

/// Publishes new EL2 descriptors that were invalid before: no stale translation can exist.
pub fn publish_hypervisor_tables() {
    // SAFETY: barriers.
    unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
}

/// Drops this pCPU's stage-1 and stage-2 translations of the VMID in `VTTBR_EL2`: its next vCPU is a sibling.
pub fn invalidate_local_guest() {
    // SAFETY: translations are walked again.
    unsafe {
        asm!(
            "dsb nshst",
            "tlbi vmalls12e1",
            "dsb nsh",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}

/// Drops every guest translation of every VMID on all pCPUs; at start-up, when the TLBs hold what the firmware left.
pub fn invalidate_all_guests() {
    // SAFETY: translations are walked again.
    unsafe {
        asm!(
            "dsb ishst",
            "tlbi alle1is",
            "dsb ish",
            "isb",
            options(nostack, preserves_flags)
        )
    };
}
