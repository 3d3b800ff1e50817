//! What the rows are called: as `cargo xtask bench` calls them.

const LABELS: &[(&str, &str)] = &[
    ("untrapped_load", "untrapped load"),
    ("hypercall_hvc", "hypercall, by HVC"),
    ("hypercall_smc", "hypercall, by SMC"),
    ("call_smccc_version", "SMCCC_VERSION"),
    ("call_psci_features", "PSCI_FEATURES"),
    ("call_features", "our own call: features"),
    ("call_unknown", "a call that nobody serves"),
    ("call_fp_live", "hypercall with FP live"),
    (
        "call_full_vgic",
        "hypercall with more pending than list registers",
    ),
    ("gicd_ctlr_read", "GICD_CTLR read"),
    ("gicd_isenabler_read", "GICD_ISENABLER read"),
    ("gicd_isenabler_write", "GICD_ISENABLER write"),
    ("pl011_flag_read", "emulated PL011: flag read"),
    ("pl011_data_write", "emulated PL011: data write"),
    ("self_sgi", "self SGI: write to handler"),
    ("timer_busy", "virtual timer deadline to handler, busy"),
    ("timer_wfi", "virtual timer deadline to handler, in WFI"),
    (
        "timer_full_vgic",
        "virtual timer deadline to handler, vGIC full",
    ),
    ("spi_passed_through", "passed-through SPI to handler"),
    ("ispendr_to_handler", "GICD_ISPENDR write to handler"),
];

/// Returns what people call a row.
pub fn of(name: &'static str) -> &'static str {
    let found = LABELS.iter().find(|(known, _)| *known == name);
    found.map_or(name, |(_, label)| *label)
}
