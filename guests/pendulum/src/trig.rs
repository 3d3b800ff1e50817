//! Sine and cosine by polynomials: `core` has none without an operating system's library of mathematics.

/// Returns the sine of an angle in radians between -π/2 and π/2; the error is below 1e-7.
///
/// Taylor's series to the eleventh power: on this range its error is less than its next term.
pub fn sine(angle: f64) -> f64 {
    const TERMS: [f64; 6] = [
        -1.0 / 39_916_800.0,
        1.0 / 362_880.0,
        -1.0 / 5040.0,
        1.0 / 120.0,
        -1.0 / 6.0,
        1.0,
    ];
    angle * horner(&TERMS, angle * angle)
}

/// Returns the cosine of an angle in radians between -π/2 and π/2; the error is below 1e-8.
pub fn cosine(angle: f64) -> f64 {
    const TERMS: [f64; 7] = [
        1.0 / 479_001_600.0,
        -1.0 / 3_628_800.0,
        1.0 / 40_320.0,
        -1.0 / 720.0,
        1.0 / 24.0,
        -0.5,
        1.0,
    ];
    horner(&TERMS, angle * angle)
}

/// Returns the polynomial with these factors, the highest power's first, at `x`.
fn horner(factors: &[f64], x: f64) -> f64 {
    factors.iter().fold(0.0, |sum, factor| sum * x + factor)
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;

    #[test]
    fn follows_the_exact_functions_on_its_range() {
        for step in -1570..=1570 {
            let angle = f64::from(step) / 1000.0;
            assert!((sine(angle) - angle.sin()).abs() < 1e-7, "sine {angle}");
            assert!((cosine(angle) - angle.cos()).abs() < 1e-8, "cosine {angle}");
        }
    }
}
