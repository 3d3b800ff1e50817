//! An entry of `vcpus`.

use bulkhead::config::payload::MAX_PERIOD_NS;

use super::Vcpu;
use super::system::{cpu, priority};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::keys;
use crate::reader::{At, Keys, Value};
use crate::rule::Rule;
use crate::units::show_time;

/// The shortest time slice and budget, in nanoseconds. EL2's own work at a switch is a part of either: with much less, no
/// guest would execute an instruction.
const SHORTEST_NS: u64 = 10_000;

/// Reads one vCPU.
pub fn vcpu(value: Value<'_>, out: &mut Diagnostics) -> Option<Vcpu> {
    let keys = Keys::open(value, &keys::VCPU, out)?;
    let pcpu = keys.require("pcpu", out);
    let urgency = keys.require("priority", out);
    let fp = [("lazy", false), ("eager", true)];
    let (budget_ns, period_ns) = budget(&keys, out);
    let slice = keys.time_ns("time_slice", out);
    check_turn("time_slice", slice.as_ref(), out);
    Some(Vcpu {
        pcpu: pcpu.and_then(|value| cpu(value, "pcpu", out)),
        priority: urgency.and_then(|value| priority(value, "priority", out)),
        time_slice_ns: slice.map_or(0, |slice| slice.value),
        budget_ns,
        period_ns,
        background: exhaustion(&keys, out),
        fp_eager: keys.word("fp", &fp, out).is_some_and(|w| w.value),
        span: value.span(),
    })
}

/// Reads budget and period.
fn budget(keys: &Keys<'_>, out: &mut Diagnostics) -> (u64, u64) {
    let budget = keys.time_ns("budget", out);
    check_turn("budget", budget.as_ref(), out);
    let period = keys.time_ns("period", out);
    if let Some(period) = &period {
        check_period("period", period, out);
    }
    let Some(budget) = budget else {
        return (0, period.map_or(0, |period| period.value));
    };
    let Some(period) = period else {
        // A period that cannot be read has been refused already.
        if keys.get("period").is_none() {
            let title = "`budget` is time in every `period`, and there is none";
            let text = "in every what?";
            let found = Diagnostic::new(Rule::BudgetNeedsPeriod, title, budget.span, text);
            out.push(found.help("add for example `period = \"1ms\"`"));
        }
        return (0, 0);
    };
    if budget.value > period.value {
        let (most, title) = (
            show_time(period.value),
            "`budget` is at most its `period`: a CPU has no more time than that",
        );
        let text = format!("{} in every {most}", show_time(budget.value));
        let found = Diagnostic::new(Rule::BudgetTooLarge, title, budget.span, text);
        out.push(found.and(period.span, "the period"));
        return (0, period.value);
    }
    (budget.value, period.value)
}

/// Refuses a time slice or a budget in which no guest would get anywhere.
fn check_turn(name: &str, time: Option<&At<u64>>, out: &mut Diagnostics) {
    if let Some(time) = time.filter(|time| time.value < SHORTEST_NS) {
        let least = show_time(SHORTEST_NS);
        let title = format!("`{name}` is at least {least}: EL2's own work is a part of it");
        let text = show_time(time.value);
        out.refuse(Rule::TimeTooShort, title, &time.span, text);
    }
}

/// Refuses a period that EL2 does not count.
pub fn check_period(name: &str, period: &At<u64>, out: &mut Diagnostics) {
    if period.value > MAX_PERIOD_NS {
        let most = MAX_PERIOD_NS / 1_000_000_000;
        let title = format!("`{name}` is at most an hour, {most} s");
        let text = show_time(period.value);
        out.refuse(Rule::PeriodTooLong, title, &period.span, text);
    }
}

/// Reads whether a used-up budget sends the vCPU to the background.
fn exhaustion(keys: &Keys<'_>, out: &mut Diagnostics) -> bool {
    let words = [("throttle", false), ("background", true)];
    let Some(word) = keys.word("on_exhaustion", &words, out) else {
        return false;
    };
    if keys.get("budget").is_none() {
        let title = "`on_exhaustion` says what follows a used-up budget, and there is no `budget`";
        let text = "never happens";
        let found = Diagnostic::new(Rule::ExhaustionNeedsBudget, title, word.span, text);
        let example = keys.example("budget");
        out.push(found.help(format!("add for example `{example}`, or take this out")));
        return false;
    }
    word.value
}
