//! `major_frame` and `windows` of a `[[pcpu]]`.

use bulkhead::config::payload::MAX_TIME_WINDOWS;

use super::Window;
use super::vcpu::check_period;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{self, At, Keys, Value};
use crate::rule::Rule;

/// Reads the major frame and the windows; both are there or neither.
pub fn read(keys: &Keys<'_>, out: &mut Diagnostics) -> (Option<At<u64>>, Vec<Window>) {
    let frame = keys.time_ns("major_frame", out);
    if let Some(frame) = &frame {
        check_period("major_frame", frame, out);
    }
    let list = keys.list("windows", out).unwrap_or_default();
    let there = |name| keys.get(name).is_some();
    if there("windows") && !there("major_frame") {
        let title = "`windows` lie in a `major_frame`, and there is none";
        let span = keys.key_span("windows");
        let text = "which come again after what time?";
        let found = Diagnostic::new(Rule::WindowsNeedFrame, title, span, text);
        out.push(found.help(format!("add for example `{}`", keys.example("major_frame"))));
    }
    if let Some(frame) = frame.as_ref().filter(|_| list.is_empty()) {
        let title = "a `major_frame` without `windows` leaves no time to anybody";
        let span = frame.span.clone();
        let found = Diagnostic::new(Rule::FrameNeedsWindows, title, span, "nobody runs here");
        out.push(found.help(format!("add for example `{}`", keys.example("windows"))));
    }
    if let Some(extra) = list.get(MAX_TIME_WINDOWS) {
        let title = format!("a pCPU has at most {MAX_TIME_WINDOWS} time windows");
        let text = format!("window number {}", MAX_TIME_WINDOWS + 1);
        out.refuse(Rule::TooManyWindows, title, &extra.span(), text);
    }
    let windows = list.iter().take(MAX_TIME_WINDOWS);
    let windows = windows.filter_map(|value| window(value, out)).collect();
    (frame, windows)
}

/// Reads one window.
fn window(value: Value<'_>, out: &mut Diagnostics) -> Option<Window> {
    let keys = Keys::open(value, &keys::WINDOW, out)?;
    for key in ["start", "length", "partitions"] {
        keys.require(key, out);
    }
    let start = keys.instant_ns("start", out);
    let length = keys.time_ns("length", out);
    let names = keys.list("partitions", out);
    if names.as_ref().is_some_and(Vec::is_empty) {
        let title = "a time window is open for a partition at least";
        let span = keys.key_span("partitions");
        let found = Diagnostic::new(Rule::OutOfRange, title, span, "for nobody");
        out.push(found.help("take the window out: nobody runs outside of all windows"));
    }
    let example = "loop";
    let names = names.unwrap_or_default().into_iter();
    let partitions = names.filter_map(|name| reader::text(name, "partitions", example, out));
    Some(Window {
        partitions: partitions.collect(),
        start_ns: start?.value,
        length_ns: length?.value,
        span: value.span(),
    })
}
