//! Time that is there for a vCPU: all, or that of some windows of a frame.

/// A window of the major frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its first nanosecond in the frame.
    pub start_ns: u64,
    /// The nanosecond behind its last one.
    pub end_ns: u64,
    /// Bit n: partition n may run.
    pub partitions: u64,
}

/// The parts of a repeating frame in which there is time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supply {
    /// All time.
    Whole,
    /// These parts, by start, none empty: start and end.
    Parts {
        /// Length of the frame.
        frame: u64,
        /// The parts.
        parts: Vec<(u64, u64)>,
    },
}

impl Supply {
    /// Returns the points in the frame at which waking is worst: where a part ends.
    pub fn phases(&self) -> Vec<u64> {
        match self {
            Self::Whole => vec![0],
            Self::Parts { parts, .. } => parts.iter().map(|(_, end)| *end).collect(),
        }
    }

    /// Returns how long it takes from a phase until so much time was there, at least a nanosecond; `None` when never.
    pub fn time_for(&self, phase: u64, need: u64) -> Option<u64> {
        let Self::Parts { frame, parts } = self else {
            return Some(need);
        };
        let whole: u64 = parts.iter().map(|(start, end)| end - start).sum();
        if whole == 0 {
            return None;
        }
        // Whole frames first, one less than there could be; then part by part.
        let frames = (need / whole).saturating_sub(1);
        let mut left = need - frames * whole;
        let behind = parts.iter().map(|(start, end)| (*start, *end));
        let again = |n: u64| {
            parts
                .iter()
                .map(move |(s, e)| (s + n * frame, e + n * frame))
        };
        let ahead = behind.chain((1..4).flat_map(again));
        for (start, end) in ahead.filter(|(_, end)| *end > phase) {
            let start = start.max(phase);
            if left <= end - start {
                let passed = start + left - phase;
                return frames.checked_mul(*frame)?.checked_add(passed);
            }
            left -= end - start;
        }
        None
    }

    /// Returns the share of time that is there, in millionths.
    pub fn share_ppm(&self) -> u64 {
        match self {
            Self::Whole => 1_000_000,
            Self::Parts { frame, parts } => {
                let open: u64 = parts.iter().map(|(start, end)| end - start).sum();
                (u128::from(open) * 1_000_000 / u128::from((*frame).max(1))) as u64
            }
        }
    }
}
