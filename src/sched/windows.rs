//! Time windows of one pCPU: a major frame that repeats, and windows in it, each for some of the pCPU's vCPUs.
//!
//! Inside a window its vCPUs run by their priorities, and nobody else does; outside of any window nobody runs. Frames
//! begin at the multiples of their length, counted from the counter's zero: so the frames of all pCPUs keep step, and a
//! guest sees by its own counter where in the frame it is.

/// A window; times are ticks from the start of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first tick.
    pub start: u64,
    /// The tick behind its last one.
    pub end: u64,
    /// Bit n: slot n may run.
    pub slots: u64,
}

/// Where a pCPU is in its frame.
#[derive(Debug)]
pub struct Windows<'a> {
    frame: u64,
    /// In order, without overlap, inside the frame.
    windows: &'a [Window],
    /// When the current frame began.
    began: u64,
    /// The window that is open, or comes next in this frame.
    next: usize,
    open: u64,
    edge: u64,
}

impl<'a> Windows<'a> {
    /// Makes the windows of a pCPU; [`Self::cross`] opens the first one. They come in order and do not overlap.
    pub fn new(frame: u64, windows: &'a [Window]) -> Self {
        Self {
            frame: frame.max(1),
            windows,
            began: 0,
            next: 0,
            open: 0,
            edge: 0,
        }
    }

    /// Returns which slots may run.
    pub fn open(&self) -> u64 {
        self.open
    }

    /// Returns when [`Self::open`] changes next.
    pub fn edge(&self) -> u64 {
        self.edge
    }

    /// Goes to the window that `now` lies in. Takes a step for each edge that was missed in the frame: one, unless nobody
    /// wanted to run.
    pub fn cross(&mut self, now: u64) {
        let mut phase = now.saturating_sub(self.began);
        if phase >= self.frame {
            phase %= self.frame;
            self.began = now - phase;
            self.next = 0;
        }
        while let Some(window) = self.windows.get(self.next)
            && window.end <= phase
        {
            self.next += 1;
        }
        let edge = match self.windows.get(self.next) {
            Some(window) if window.start <= phase => {
                self.open = window.slots;
                window.end
            }
            gap => {
                self.open = 0;
                gap.map_or(self.frame, |window| window.start)
            }
        };
        self.edge = self.began.saturating_add(edge);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TWO: [Window; 2] = [
        Window {
            start: 10,
            end: 30,
            slots: 0b01,
        },
        Window {
            start: 30,
            end: 50,
            slots: 0b10,
        },
    ];

    fn at(windows: &mut Windows, now: u64) -> (u64, u64) {
        windows.cross(now);
        (windows.open(), windows.edge())
    }

    #[test]
    fn nobody_runs_outside_of_windows() {
        let mut windows = Windows::new(100, &TWO);
        assert_eq!(at(&mut windows, 0), (0, 10));
        assert_eq!(at(&mut windows, 50), (0, 100));
        assert_eq!(at(&mut windows, 100), (0, 110));
    }

    #[test]
    fn each_window_opens_at_its_first_tick_and_closes_behind_its_last() {
        let mut windows = Windows::new(100, &TWO);
        assert_eq!(at(&mut windows, 310), (0b01, 330));
        assert_eq!(at(&mut windows, 329), (0b01, 330));
        assert_eq!(at(&mut windows, 330), (0b10, 350));
        assert_eq!(at(&mut windows, 349), (0b10, 350));
    }

    #[test]
    fn frames_that_touch_leave_no_gap() {
        let all = [Window {
            start: 0,
            end: 100,
            slots: 0b11,
        }];
        let mut windows = Windows::new(100, &all);
        assert_eq!(at(&mut windows, 99), (0b11, 100));
        assert_eq!(at(&mut windows, 100), (0b11, 200));
    }

    proptest! {
        #[test]
        fn agrees_with_a_table_of_ticks(
            pieces in prop::collection::vec((0u64..20, 1u64..20, 0u64..8), 0..8),
            rest in 0u64..20,
            steps in prop::collection::vec(0u64..70, 1..60),
        ) {
            let mut table = Vec::new();
            let mut list = Vec::new();
            for (gap, length, slots) in pieces {
                table.extend((0..gap).map(|_| 0));
                let start = table.len() as u64;
                table.extend((0..length).map(|_| slots));
                list.push(Window { start, end: start + length, slots });
            }
            table.extend((0..=rest).map(|_| 0));
            let mut windows = Windows::new(table.len() as u64, &list);
            let mut now = 0;
            for step in steps {
                now += step;
                windows.cross(now);
                for tick in now..windows.edge() {
                    prop_assert_eq!(windows.open(), table[tick as usize % table.len()]);
                }
                prop_assert!(windows.edge() > now);
            }
        }
    }
}
