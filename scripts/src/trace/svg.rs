//! A piece of a trace as a picture: a row for each pCPU, a row for each vCPU.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::names::interrupt;
use super::perfetto::running;
use super::recording::Recording;
use super::timeline::{Lane, MarkKind, Timeline, Vcpu, Who};
use crate::args::Window;

/// Length of the piece that is drawn unless another is asked for.
const LENGTH_NS: u64 = 5_000_000;
/// Measures, in pixels.
const LEFT: f64 = 130.0;
const WIDTH: f64 = 960.0;
const TOP: f64 = 34.0;
const ROW: f64 = 34.0;
const BAR: f64 = 22.0;
/// Pieces narrower than this are drawn this wide.
const NARROWEST: f64 = 0.4;
/// Colours of partitions, in table order, over again when there are more.
const COLOURS: [&str; 8] = [
    "#3b7dd8", "#e08a2c", "#4ea567", "#b0569c", "#8a7a3d", "#3aa6a0", "#c75454", "#6d6bc2",
];
const EL2: &str = "#222222";
const READY: &str = "#d5d5d5";
const INTERRUPT: &str = "#d02020";

/// The picture as it grows.
struct Picture<'a> {
    of: &'a Recording,
    /// First and last tick that are drawn.
    from: u64,
    to: u64,
    /// Tick that counts as 0.
    zero: u64,
    rows: usize,
    out: String,
}

/// Draws a piece.
pub fn picture(timeline: &Timeline, of: &Recording, window: Option<Window>) -> String {
    let ticks = |ns: u64| (u128::from(ns) * u128::from(of.frequency) / 1_000_000_000) as u64;
    let (from, to) = match window {
        Some(window) => {
            let from = (timeline.from + ticks(window.from_ns)).min(timeline.to);
            (from, from + ticks(window.length_ns).max(1))
        }
        None => (timeline.to.saturating_sub(ticks(LENGTH_NS)), timeline.to),
    };
    let mut picture = Picture {
        of,
        from: from.max(timeline.from),
        to: to.max(from + 1),
        zero: timeline.from,
        rows: 0,
        out: String::new(),
    };
    for lane in &timeline.lanes {
        picture.lane(lane);
    }
    let mut interrupts: BTreeMap<Vcpu, Vec<(u64, u16)>> = BTreeMap::new();
    for mark in &timeline.marks {
        if let MarkKind::Interrupt(intid, _) = mark.what {
            interrupts
                .entry(mark.vcpu)
                .or_default()
                .push((mark.at, intid));
        }
    }
    for (vcpu, slices) in running(timeline) {
        picture.vcpu(vcpu, &slices);
        for (at, intid) in interrupts.get(&vcpu).into_iter().flatten() {
            picture.interrupt(*at, *intid);
        }
    }
    picture.finish(timeline)
}

impl Picture<'_> {
    /// Returns where a tick is, from the left.
    fn x(&self, tick: u64) -> f64 {
        let share = (tick.clamp(self.from, self.to) - self.from) as f64;
        LEFT + WIDTH * share / (self.to - self.from) as f64
    }

    /// Begins a row.
    fn row(&mut self, name: &str) {
        let y = self.y() + ROW;
        self.rows += 1;
        let middle = y + BAR / 2.0 + 4.0;
        self.text(LEFT - 8.0, middle, "end", name);
    }

    /// Returns the upper edge of the current row.
    fn y(&self) -> f64 {
        TOP + ROW * self.rows as f64 - ROW
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        // Names have no characters that XML knows; writing to a String does not fail.
        let _ = writeln!(
            self.out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// Draws a bar in the current row, `high` of its height from the top.
    fn bar(&mut self, from: u64, to: u64, high: f64, colour: &str, title: &str) {
        if to <= self.from || from >= self.to {
            return;
        }
        let (x, end, y) = (self.x(from), self.x(to), self.y());
        let (width, height) = ((end - x).max(NARROWEST), BAR * high);
        let ns = self.of.ns(to - from);
        let _ = writeln!(
            self.out,
            "<rect x=\"{x:.2}\" y=\"{y:.1}\" width=\"{width:.2}\" height=\"{height:.1}\" \
             fill=\"{colour}\"><title>{title}, {ns} ns</title></rect>"
        );
    }

    /// Draws a pCPU: whom it works for, and EL2 in the upper half.
    fn lane(&mut self, lane: &Lane) {
        self.row(&format!("pCPU {}", lane.pcpu));
        for group in lane.spans.chunk_by(|a, b| a.who == b.who) {
            let (Some(first), Some(last)) = (group.first(), group.last()) else {
                continue;
            };
            if let Who::Vcpu(vcpu) | Who::Loading(vcpu) = first.who {
                let name = self.of.vcpu_name(vcpu);
                self.bar(first.from, last.to, 1.0, colour(vcpu), &name);
            }
        }
        for span in lane.spans.iter().filter(|span| span.el2) {
            self.bar(span.from, span.to, 0.5, EL2, "EL2");
        }
    }

    /// Draws a vCPU: when it runs, and when it would.
    fn vcpu(&mut self, vcpu: Vcpu, slices: &[(String, u64, u64)]) {
        self.row(&self.of.vcpu_name(vcpu));
        for (name, from, to) in slices {
            match name.starts_with("ready") {
                true => self.bar(*from, *to, 0.4, READY, name),
                false => self.bar(*from, *to, 1.0, colour(vcpu), name),
            }
        }
    }

    /// Draws an interrupt as a wedge under the current row's bar.
    fn interrupt(&mut self, at: u64, intid: u16) {
        if at < self.from || at > self.to {
            return;
        }
        let (x, y) = (self.x(at), self.y() + BAR);
        let (left, right, low) = (x - 3.0, x + 3.0, y + 7.0);
        let name = interrupt(intid);
        let _ = writeln!(
            self.out,
            "<path d=\"M{x:.2} {y:.1}L{left:.2} {low:.1}L{right:.2} {low:.1}Z\" \
             fill=\"{INTERRUPT}\"><title>{name}</title></path>"
        );
    }

    /// Draws the axis and the legend, and puts all together.
    fn finish(mut self, timeline: &Timeline) -> String {
        let bottom = TOP + ROW * self.rows as f64;
        let step = nice_step(self.of.ns(self.to - self.from));
        let first = self.of.ns(self.from - self.zero).next_multiple_of(step);
        let mut grid = String::new();
        let mut ns = first;
        let tick =
            |ns: u64| (u128::from(ns) * u128::from(self.of.frequency) / 1_000_000_000) as u64;
        while self.zero + tick(ns) <= self.to {
            let x = self.x(self.zero + tick(ns));
            let label = format!("{} ms", ns as f64 / 1e6);
            let _ = writeln!(
                grid,
                "<line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{bottom:.1}\" stroke=\"#e4e4e4\"/>\n\
                 <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                TOP - 8.0,
                TOP - 14.0
            );
            ns += step;
        }
        let height = bottom + 34.0;
        self.legend(timeline, bottom + 20.0);
        let width = LEFT + WIDTH + 40.0;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" \
             font-family=\"sans-serif\" font-size=\"12\">\n\
             <rect width=\"{width:.0}\" height=\"{height:.0}\" fill=\"#ffffff\"/>\n{grid}{}</svg>\n",
            self.out
        )
    }

    fn legend(&mut self, timeline: &Timeline, y: f64) {
        let partitions: std::collections::BTreeSet<u8> = timeline
            .lanes
            .iter()
            .flat_map(|lane| &lane.spans)
            .filter_map(|span| match span.who {
                Who::Vcpu((partition, _)) | Who::Loading((partition, _)) => Some(partition),
                _ => None,
            })
            .collect();
        let mut entries: Vec<(String, String)> = partitions
            .into_iter()
            .map(|partition| (self.of.name(partition), colour((partition, 0)).to_owned()))
            .collect();
        entries.push(("EL2".to_owned(), EL2.to_owned()));
        entries.push(("ready, waits for its pCPU".to_owned(), READY.to_owned()));
        entries.push(("interrupt".to_owned(), INTERRUPT.to_owned()));
        let mut x = LEFT;
        for (name, colour) in entries {
            let top = y - 10.0;
            let _ = writeln!(
                self.out,
                "<rect x=\"{x:.0}\" y=\"{top:.0}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"
            );
            self.text(x + 17.0, y, "start", &name);
            x += 40.0 + 7.0 * name.len() as f64;
        }
    }
}

fn colour((partition, _): Vcpu) -> &'static str {
    COLOURS[usize::from(partition) % COLOURS.len()]
}

/// Returns a round distance of lines, so that there are some four to ten of them.
fn nice_step(ns: u64) -> u64 {
    let powers = (0..18).map(|exponent| 10_u64.pow(exponent));
    let mut steps = powers.flat_map(|power| [1, 2, 5].map(|digit| digit * power));
    steps.find(|step| ns / step <= 10).unwrap_or(u64::MAX)
}
