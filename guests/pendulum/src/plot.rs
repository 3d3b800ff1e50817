//! A line of text that shows the rod: lines below each other are a plot over time.

use crate::rig::Reading;
use core::fmt;

/// Columns on either side of upright.
const HALF: i32 = 24;
/// Thousandths of a degree for each column.
const COLUMN_MDEG: i32 = 250;

/// A reading as a line: `|` is upright, `*` the rod, then the angle and the cart's position.
///
/// A rod that leans more than the line is wide is a `<` or a `>` at its edge.
#[derive(Clone, Copy, Debug)]
pub struct Line(pub Reading);

impl Line {
    /// Returns the column of the rod, counted from upright, and its mark.
    fn rod(&self) -> (i32, char) {
        let angle = self.0.angle_mdeg;
        let rounded = angle.saturating_add(COLUMN_MDEG / 2 * angle.signum()) / COLUMN_MDEG;
        match rounded {
            column if column < -HALF => (-HALF, '<'),
            column if column > HALF => (HALF, '>'),
            column => (column, '*'),
        }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rod, mark) = self.rod();
        for column in -HALF..=HALF {
            let dot = match column {
                _ if column == rod => mark,
                0 => '|',
                _ => ' ',
            };
            fmt::Write::write_char(out, dot)?;
        }
        if self.0.fallen {
            return out.write_str("  fallen");
        }
        let angle = self.0.angle_mdeg;
        let sign = if angle < 0 { '-' } else { '+' };
        let size = angle.unsigned_abs();
        let (degrees, tenths) = (size / 1000, size % 1000 / 100);
        write!(out, "  {sign}{degrees}.{tenths} deg")?;
        write!(out, " {:+} mm", self.0.position_mm)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::String;

    fn line(angle_mdeg: i32) -> String {
        let reading = Reading {
            angle_mdeg,
            position_mm: -7,
            ..Reading::default()
        };
        format!("{}", Line(reading))
    }

    #[test]
    fn the_rod_stands_where_it_leans() {
        assert_eq!(
            line(-1000),
            "                    *   |                          -1.0 deg -7 mm"
        );
        assert_eq!(
            line(1130),
            "                        |    *                     +1.1 deg -7 mm"
        );
        assert_eq!(
            line(100),
            "                        *                          +0.1 deg -7 mm"
        );
    }

    #[test]
    fn a_rod_beyond_the_edge_is_shown_at_it() {
        assert_eq!(line(-7000).find('<'), Some(0));
        assert_eq!(line(i32::MAX).find('>'), Some(48));
    }

    #[test]
    fn a_fallen_rod_is_called_so() {
        let reading = Reading {
            angle_mdeg: 46_000,
            fallen: true,
            ..Reading::default()
        };
        assert!(format!("{}", Line(reading)).ends_with(">  fallen"));
    }
}
