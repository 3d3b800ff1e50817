//! The work of the loop: it balances a simulated pendulum, and says how that goes.

use core::fmt::Write;
use guest_runtime::channel::{self, Window, Writer};
use guest_runtime::queue::Queue;
use guest_runtime::timer;
use pendulum::plot::Line;
use pendulum::{Event, Rig, Sample, sample};

/// Milliseconds from one line of the plot to the next.
const PLOT_MS: u64 = 200;
/// Milliseconds from one message to the next.
const SEND_MS: u64 = 10;

/// A pendulum in real time.
pub struct Demo {
    rig: Rig,
    /// The count at the start, and that until which the physics has come.
    start: u64,
    until: u64,
    plotting: bool,
    /// When the last line and the last message went out, in units of their intervals.
    plotted: u64,
    sent: u64,
    /// Where messages go, if the table has a channel for them.
    writer: Option<Writer<Window>>,
}

impl Demo {
    /// Sets the pendulum up now.
    pub fn new() -> Self {
        let start = timer::now();
        Self {
            rig: Rig::new(),
            start,
            until: start,
            plotting: false,
            plotted: 0,
            sent: 0,
            writer: channel::find(sample::CHANNEL).and_then(|channel| channel.writer()),
        }
    }

    /// Balances the pendulum: to be called once in each period. Queues a line when it falls or is set up again, sends
    /// where it is and plots it when it is time to.
    pub fn balance(&mut self, output: &mut Queue) {
        let now = timer::now();
        let passed = timer::ticks_to_ns(now.wrapping_sub(self.until));
        self.until = now;
        // A queue takes all text or drops it; it never fails.
        let _ = match self.rig.period(passed) {
            None => Ok(()),
            Some(Event::Fell { stood_ms, alone_ms }) => writeln!(
                output,
                "pendulum FELL after {stood_ms} ms, at worst {alone_ms} ms without control"
            ),
            Some(Event::SetUp) => writeln!(output, "pendulum set up again"),
        };
        let time_ms = timer::ticks_to_ns(now.wrapping_sub(self.start)) / 1_000_000;
        if is_due(&mut self.sent, time_ms / SEND_MS) {
            self.send(time_ms);
        }
        if is_due(&mut self.plotted, time_ms / PLOT_MS) && self.plotting {
            let _ = writeln!(output, "{}", Line(self.rig.reading()));
        }
    }

    /// Queues where the pendulum is.
    pub fn report(&self, output: &mut Queue) {
        let now = self.rig.reading();
        let _ = writeln!(
            output,
            "pendulum angle_mdeg {} position_mm {}",
            now.angle_mdeg, now.position_mm
        );
    }

    /// Starts to plot, or stops.
    pub fn toggle_plot(&mut self) {
        self.plotting = !self.plotting;
    }

    /// Sends where the pendulum is, to whoever looks: the loop never waits for them, and rings nobody.
    fn send(&mut self, time_ms: u64) {
        let reading = self.rig.reading();
        let sample = Sample { time_ms, reading };
        if let Some(writer) = &mut self.writer {
            // Only a message as long as half the memory is refused.
            let _ = writer.send(&sample.to_bytes());
        }
    }
}

/// Says whether the interval that `done` counts is over, and begins the next one.
fn is_due(done: &mut u64, now: u64) -> bool {
    let due = now != *done;
    *done = now;
    due
}
