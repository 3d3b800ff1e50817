//! What is measured: the rows that need one partition alone.

use super::{interrupts, operations};

/// A row.
pub struct Row {
    /// Its name, for programs.
    pub name: &'static str,
    /// How many times what two reads of the count cost is in what it measures.
    pub overheads: u64,
    /// Measures it once; `None` where what it measures is not there.
    pub measure: fn() -> Option<u64>,
}

const fn row(name: &'static str, overheads: u64, measure: fn() -> Option<u64>) -> Row {
    Row {
        name,
        overheads,
        measure,
    }
}

/// All rows, in the order in which they run. What sends goes last: nothing is on its way then while others run.
pub const ROWS: &[Row] = &[
    row("untrapped_load", 1, operations::untrapped_load),
    row("hypercall_hvc", 1, operations::hypercall_hvc),
    row("hypercall_smc", 1, operations::hypercall_smc),
    row("call_smccc_version", 1, operations::call_smccc_version),
    row("call_psci_features", 1, operations::call_psci_features),
    row("call_features", 1, operations::call_features),
    row("call_unknown", 1, operations::call_unknown),
    row("call_fp_live", 1, operations::call_fp_live),
    row("call_full_vgic", 1, operations::call_full_vgic),
    row("gicd_ctlr_read", 1, operations::gicd_ctlr_read),
    row("gicd_isenabler_read", 1, operations::gicd_isenabler_read),
    row("gicd_isenabler_write", 1, operations::gicd_isenabler_write),
    row("pl011_flag_read", 1, operations::pl011_flag_read),
    row("self_sgi", 1, interrupts::self_sgi),
    row("timer_busy", 0, interrupts::timer_busy),
    row("timer_wfi", 0, interrupts::timer_wfi),
    row("timer_full_vgic", 0, interrupts::timer_full_vgic),
    row("spi_passed_through", 1, interrupts::spi_passed_through),
    row("ispendr_to_handler", 1, interrupts::ispendr_to_handler),
    row("pl011_data_write", 1, operations::pl011_data_write),
];
