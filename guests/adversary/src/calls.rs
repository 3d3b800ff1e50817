//! Every call that there is, each from a place of its own, so that whoever watches knows which one it was.

use core::arch::asm;
use guest_runtime::{smp, sysreg};

/// Makes a function for each call: its name, the halves of its identifier, the instruction, and whether it may be made with
/// whatever arguments.
macro_rules! calls {
    ($($name:ident $low:literal $high:literal $instruction:literal;)*) => {
        $(
            #[inline(never)]
            fn $name(arguments: [u64; 3]) {
                let [a, b, c] = arguments;
                // SAFETY: a call changes x0 to x17 alone, and none of these writes memory.
                unsafe {
                    asm!(concat!("mov x0, #", $low), concat!("movk x0, #", $high, ", lsl #16"), $instruction,
                        out("x0") _, inout("x1") a => _, inout("x2") b => _, inout("x3") c => _, out("x4") _, out("x5") _,
                        out("x6") _, out("x7") _, out("x8") _, out("x9") _, out("x10") _, out("x11") _, out("x12") _,
                        out("x13") _, out("x14") _, out("x15") _, out("x16") _, out("x17") _, options(nostack))
                };
            }
        )*
        const ALL: &[fn([u64; 3])] = &[$($name),*];
    };
}

calls! {
    psci_version 0 0x8400 "hvc #0";
    psci_version_by_smc 0 0x8400 "smc #0";
    cpu_suspend_standby 1 0xc400 "hvc #0";
    cpu_on 3 0xc400 "hvc #0";
    cpu_on_32 3 0x8400 "hvc #0";
    affinity_info 4 0xc400 "hvc #0";
    affinity_info_32 4 0x8400 "hvc #0";
    migrate 5 0xc400 "hvc #0";
    migrate_info_type 6 0x8400 "hvc #0";
    migrate_info_up_cpu 7 0xc400 "hvc #0";
    psci_features 10 0x8400 "hvc #0";
    cpu_freeze 11 0x8400 "hvc #0";
    cpu_default_suspend 12 0xc400 "hvc #0";
    node_hw_state 13 0xc400 "hvc #0";
    set_suspend_mode 15 0x8400 "hvc #0";
    stat_residency 16 0xc400 "hvc #0";
    mem_protect 19 0x8400 "hvc #0";
    smccc_version 0 0x8000 "hvc #0";
    smccc_arch_features 1 0x8000 "hvc #0";
    smccc_soc_id 2 0x8000 "hvc #0";
    smccc_workaround_1 0x8000 0x8000 "hvc #0";
    smccc_workaround_2 0x7fff 0x8000 "hvc #0";
    smccc_workaround_3 0x3fff 0x8000 "hvc #0";
    trng_version 0x50 0x8400 "hvc #0";
    trng_features 0x51 0x8400 "hvc #0";
    trng_get_uuid 0x52 0x8400 "hvc #0";
    trng_rnd_32 0x53 0x8400 "hvc #0";
    trng_rnd_64 0x53 0xc400 "hvc #0";
    own_features 0 0x8600 "hvc #0";
    own_yield 1 0x8600 "hvc #0";
    own_watchdog_kick 2 0x8600 "hvc #0";
    own_call_3 3 0x8600 "hvc #0";
    own_call_4 4 0x8600 "hvc #0";
    own_call_5 5 0x8600 "hvc #0";
    own_channel_signal 0x10 0x8600 "hvc #0";
    own_channel_status 0x11 0x8600 "hvc #0";
    own_partition_list 0x18 0x8600 "hvc #0";
    own_partition_info 0x19 0x8600 "hvc #0";
    own_partition_crash 0x1d 0x8600 "hvc #0";
    own_partition_log 0x1e 0x8600 "hvc #0";
    own_partition_stop 0x1a 0x8600 "hvc #0";
    own_partition_start 0x1b 0x8600 "hvc #0";
    own_partition_restart 0x1c 0x8600 "hvc #0";
    own_uid 0xff01 0x8600 "hvc #0";
    own_revision 0xff03 0x8600 "hvc #0";
    unknown_owner 0x1234 0x8700 "hvc #0";
    unknown_immediate 0 0x8400 "hvc #0xffff";
    unknown_immediate_by_smc 0 0x8400 "smc #0xffff";
}

/// Makes all of them, with arguments of several kinds.
pub fn all() {
    let here = sysreg::affinity();
    let there = smp::secondary_entry();
    // A power state for standby; an affinity that is on; the most bits of randomness; nonsense.
    for arguments in [
        [0, 0, 0],
        [here, there, 0],
        [here + 1, there, 0],
        [192, 0, 0],
        [0x8400_0001, 0, 0],
        [0xffff_ffff_0000_0001, u64::MAX, u64::MAX],
    ] {
        for call in ALL {
            // Something is pending, so that a standby ends at once.
            guest_runtime::gic::enable(5, 0x80);
            guest_runtime::gic::send_sgi(5, here);
            call(arguments);
        }
    }
}
