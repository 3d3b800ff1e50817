//! The size of trace rings.

use bulkhead::trace::{MAX_TOTAL_BYTES, MIN_BYTES, is_valid_size};

use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::reader::At;
use crate::rule::Rule;
use crate::table::Table;
use crate::units::{show_size, suggest_size};

/// Returns the bytes of every CPU's ring, 0 for none: what was asked for on the command line, else what the table says.
pub fn bytes(table: &Table, asked: Option<u64>, cpus: usize, out: &mut Diagnostics) -> u64 {
    let said = table.system.trace.as_ref();
    let bytes = asked.or(said.map(|said| said.value)).unwrap_or(0);
    let cpus = cpus.max(1) as u64;
    let fits = |bytes: u64| bytes.saturating_mul(cpus) <= MAX_TOTAL_BYTES;
    if bytes == 0 || is_valid_size(bytes) && fits(bytes) {
        return bytes;
    }
    // The largest power of two that all CPUs can have.
    let most = (MAX_TOTAL_BYTES / cpus + 1).next_power_of_two() / 2;
    let title = format!(
        "a trace ring is a power of two from {} to {} on a board with {cpus} CPUs, not {}",
        show_size(MIN_BYTES),
        show_size(most),
        show_size(bytes)
    );
    let found = match said.filter(|_| asked.is_none()) {
        Some(At { span, .. }) => {
            Diagnostic::new(Rule::TraceSize, title, span.clone(), "no size of a ring")
        }
        None => Diagnostic::outside(Rule::TraceSize, title),
    };
    let near = bytes.clamp(MIN_BYTES, most).next_power_of_two();
    out.push(found.help(format!("the nearest one is {}", suggest_size(near))));
    0
}
