//! Whether every pCPU has the time that its budgets promise.

use crate::analysis::{Budget, Costs, Load, Model, Promise, Task, Window};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::{Pcpu, Plan, Vcpu};
use crate::rule::Rule;
use crate::units::{bound_time, percent, show_time};

/// A vCPU by the position of its partition and its own, and what the table says of it.
#[derive(Clone, Copy, Debug)]
pub struct User<'a> {
    /// Its partition's name.
    pub name: &'a str,
    /// Its number.
    pub index: usize,
    /// Position of the partition in the table.
    pub partition: usize,
    /// The vCPU.
    pub vcpu: &'a Vcpu,
}

impl User<'_> {
    /// Returns what to call it.
    pub fn label(&self) -> String {
        format!("`{}` vCPU {}", self.name, self.index)
    }

    /// Returns its budget in words.
    pub fn budget(&self) -> String {
        let Vcpu {
            budget_ns,
            period_ns,
            ..
        } = self.vcpu;
        format!("{} every {}", show_time(*budget_ns), show_time(*period_ns))
    }
}

/// What the analysis says of a pCPU.
#[derive(Clone, Debug)]
pub struct PcpuTime<'a> {
    /// Its position.
    pub position: u32,
    /// Who runs there, the most urgent first.
    pub users: Vec<User<'a>>,
    /// The load.
    pub load: Load,
    /// What each of them can count on.
    pub promises: Vec<Promise>,
}

/// Analyses every pCPU that somebody runs on. What is wrong goes to `out`.
pub fn check<'a>(
    plans: &'a [Plan],
    pcpus: &[Pcpu],
    costs: Costs,
    out: &mut Diagnostics,
) -> Vec<PcpuTime<'a>> {
    let vcpus = plans.iter().flat_map(|plan| &plan.vcpus);
    let mut positions: Vec<u32> = vcpus.map(|vcpu| vcpu.pcpu).collect();
    positions.sort_unstable();
    positions.dedup();
    let times = positions.into_iter().map(|position| {
        let described = pcpus.iter().find(|pcpu| pcpu.position == position);
        let users = users(plans, position);
        let model = model(&users, described, costs);
        let time = PcpuTime {
            position,
            load: model.load(),
            promises: model.promises(),
            users,
        };
        judge(
            &time,
            described.is_some_and(|pcpu| pcpu.allow_overload),
            out,
        );
        time
    });
    times.collect()
}

/// Lists the vCPUs on a pCPU, the most urgent first.
fn users(plans: &[Plan], position: u32) -> Vec<User<'_>> {
    let all = plans.iter().enumerate().flat_map(|(partition, plan)| {
        let vcpus = plan.vcpus.iter().enumerate();
        vcpus.map(move |(index, vcpu)| User {
            name: &plan.name,
            index,
            partition,
            vcpu,
        })
    });
    let mut users: Vec<_> = all.filter(|user| user.vcpu.pcpu == position).collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.vcpu.priority));
    users
}

/// Makes the model of a pCPU.
fn model(users: &[User<'_>], described: Option<&Pcpu>, costs: Costs) -> Model {
    let task = |user: &User<'_>| {
        let Vcpu {
            budget_ns,
            period_ns,
            ..
        } = *user.vcpu;
        Task {
            priority: user.vcpu.priority,
            budget: (budget_ns != 0).then_some(Budget {
                budget_ns,
                period_ns,
            }),
            time_slice_ns: user.vcpu.time_slice_ns,
            partitions: 1 << user.partition,
        }
    };
    let windows = described.map_or(&[][..], |pcpu| &pcpu.windows).iter();
    let windows = windows.map(|window| Window {
        start_ns: window.start_ns,
        end_ns: window.start_ns.saturating_add(window.length_ns),
        partitions: window.partitions,
    });
    Model {
        tasks: users.iter().map(task).collect(),
        frame_ns: described.map_or(0, |pcpu| pcpu.major_frame_ns),
        windows: windows.collect(),
        costs,
    }
}

/// Says what is wrong with a pCPU.
fn judge(time: &PcpuTime<'_>, allowed: bool, out: &mut Diagnostics) {
    warn_of_no_guarantee(time, out);
    let users = time.users.iter().zip(&time.promises).enumerate();
    let late = users.filter_map(|(at, (user, promise))| late_budget(time, at, user, promise));
    let mut found: Vec<Diagnostic> = late.collect();
    // Sums say it all where they are too large; EL2's share counts where somebody is late.
    let Load {
        budgets_ppm,
        with_el2_ppm,
        available_ppm,
        ..
    } = time.load;
    if budgets_ppm > available_ppm || with_el2_ppm > available_ppm && !found.is_empty() {
        found = overload(time).into_iter().collect();
    }
    for mut diagnostic in found {
        if allowed {
            diagnostic.rule = Rule::OverloadAllowed;
            diagnostic.help.clear();
            diagnostic
                .help
                .push("`allow_overload` says that this is meant".to_owned());
        }
        out.push(diagnostic);
    }
}

/// Says how to insist.
fn insist(position: u32) -> String {
    format!("or insist, with `allow_overload = true` in the `[[pcpu]]` of `id = {position}`")
}

/// Words a pCPU whose budgets do not fit its time: all of them, and the sum.
fn overload(time: &PcpuTime<'_>) -> Option<Diagnostic> {
    let Load {
        budgets_ppm,
        with_el2_ppm,
        available_ppm,
        tasks_ppm,
    } = &time.load;
    let with = time.users.iter().zip(tasks_ppm);
    let with: Vec<_> = with.filter(|(user, _)| user.vcpu.budget_ns != 0).collect();
    let each = with
        .iter()
        .map(|(user, ppm)| format!("{} {}", user.label(), percent(**ppm)));
    let title = format!(
        "pCPU {} is overloaded: budgets of {} in sum, {} with EL2's work, of {}: {}",
        time.position,
        percent(*budgets_ppm),
        percent(*with_el2_ppm),
        percent(*available_ppm),
        each.collect::<Vec<_>>().join(", "),
    );
    let (last, others) = with.split_last()?;
    let words = |(user, _): &(&User<'_>, &u64)| (user.vcpu.span.clone(), user.budget());
    let (span, text) = words(last);
    let found = Diagnostic::new(Rule::OverloadedPcpu, title, span, text);
    let found = others
        .iter()
        .map(words)
        .fold(found, |found, (span, text)| found.and(span, text));
    let help = "make budgets smaller or periods longer, or move a vCPU to another pCPU";
    Some(found.help(help).help(insist(time.position)))
}

/// Words a vCPU that may get its budget later than its period.
fn late_budget(
    time: &PcpuTime<'_>,
    at: usize,
    user: &User<'_>,
    promise: &Promise,
) -> Option<Diagnostic> {
    let Vcpu {
        budget_ns,
        period_ns,
        ..
    } = *user.vcpu;
    let late = promise
        .response_ns
        .is_none_or(|response| response > period_ns);
    if budget_ns == 0 || !late || !promise.starved_by.is_empty() {
        return None;
    }
    let takes = match promise.response_ns {
        Some(response) => format!("may take {}", bound_time(response)),
        None => "may take any time".to_owned(),
    };
    let title = format!(
        "{} cannot count on its budget on pCPU {}: {} {takes}, more than the period of {}",
        user.label(),
        time.position,
        show_time(budget_ns),
        show_time(period_ns),
    );
    let found = Diagnostic::new(
        Rule::BudgetNotMet,
        title,
        user.vcpu.span.clone(),
        user.budget(),
    );
    let others = time.users.iter().enumerate().filter(|(other, with)| {
        *other != at && with.vcpu.budget_ns != 0 && with.vcpu.priority >= user.vcpu.priority
    });
    let found = others.fold(found, |found, (_, with)| {
        found.and(
            with.vcpu.span.clone(),
            format!("goes first: {}", with.budget()),
        )
    });
    let help = "give it a longer period, those before it smaller budgets, or it a higher priority";
    Some(found.help(help).help(insist(time.position)))
}

/// Warns of vCPUs that have a budget or a period, and no promise of any time.
fn warn_of_no_guarantee(time: &PcpuTime<'_>, out: &mut Diagnostics) {
    for (user, promise) in time.users.iter().zip(&time.promises) {
        let hogs = promise
            .starved_by
            .iter()
            .filter_map(|hog| time.users.get(*hog));
        let hogs: Vec<_> = hogs.collect();
        if user.vcpu.period_ns == 0 || hogs.is_empty() {
            continue;
        }
        let names: Vec<String> = hogs.iter().map(|hog| hog.label()).collect();
        let title = format!(
            "{} has no guarantee of any time on pCPU {}: {} may run for ever",
            user.label(),
            time.position,
            names.join(" and "),
        );
        let text = format!("priority {}", user.vcpu.priority);
        let found = Diagnostic::new(Rule::NoGuarantee, title, user.vcpu.span.clone(), text);
        let found = hogs.iter().fold(found, |found, hog| {
            let text = format!("priority {}, no budget", hog.vcpu.priority);
            found.and(hog.vcpu.span.clone(), text)
        });
        out.push(found.help("give whoever goes first `budget` and `period`"));
    }
}
