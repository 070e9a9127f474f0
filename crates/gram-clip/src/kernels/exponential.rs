//! Exponential and error function without branches, so that they are computed in vectors.

/// `e^x` to within 2 units in the last place; 0 below -87.3, where f32 has no full precision.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // x = n ln 2 + r with |r| <= ln 2 / 2. Adding this constant rounds to a whole number, which then stands
    // in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let bounded = x.clamp(-87.3, 88.7);
    let rounded = bounded * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = (bounded - n * LN_2_HIGH) - n * LN_2_LOW;
    // Taylor's series to r^7: the next term is below 6e-9.
    let mut series = 1.0 / 5040.0;
    for factor in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        series = series * r + factor;
    }
    // 2^n, in two steps: 2^128 is no number of f32.
    let half = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let n = rounded.to_bits() as i32 - ROUND.to_bits() as i32;
    let power = series * half(n >> 1) * half(n - (n >> 1));
    if x < -87.3 { 0.0 } else { power }
}

/// The logistic function.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    // Of a negative number, so that nothing overflows.
    let small = exp(-x.abs());
    let of_negative = small / (1.0 + small);
    if x < 0.0 { of_negative } else { 1.0 / (1.0 + small) }
}

/// The error function to within 5e-7, by the rational approximation that Eigen and XLA use in f32.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    #[allow(clippy::excessive_precision, reason = "as they are published")]
    const ABOVE: [f32; 7] = [
        -2.72614225801306e-10,
        2.77068142495902e-08,
        -2.10102402082508e-06,
        -5.69250639462346e-05,
        -7.34990630326855e-04,
        -2.95459980854025e-03,
        -1.60960333262415e-02,
    ];
    #[allow(clippy::excessive_precision, reason = "as they are published")]
    const BELOW: [f32; 5] = [
        -1.45660718464996e-05,
        -2.13374055278905e-04,
        -1.68282697438203e-03,
        -7.37332916720468e-03,
        -1.42647390514189e-02,
    ];
    // 1 beyond: it is 1 to all digits there.
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let polynomial = |factors: &[f32]| factors.iter().fold(0.0, |sum, factor| sum * square + factor);
    x * polynomial(&ABOVE) / polynomial(&BELOW)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(from: f32, to: f32) -> impl Iterator<Item = f32> {
        (0..=100_000).map(move |step| from + (to - from) * step as f32 / 1e5)
    }

    #[test]
    fn exp_is_that_of_f64_to_its_last_places() {
        for x in steps(-87.3, 88.7) {
            let expected = f64::from(x).exp();
            assert!((f64::from(exp(x)) / expected - 1.0).abs() < 2.5e-7, "exp {x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!([-1e9, f32::NEG_INFINITY, -88.0].map(exp), [0.0; 3]);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn sigmoid_is_that_of_f64() {
        for x in steps(-100.0, 100.0) {
            let expected = 1.0 / (1.0 + (-f64::from(x)).exp());
            assert!((f64::from(sigmoid(x)) - expected).abs() < 2e-7, "sigmoid {x}");
        }
    }

    #[test]
    fn erf_is_its_series() {
        // 2 / sqrt(pi) sum (-1)^k x^(2k+1) / (k! (2k+1)), in f64.
        let series = |x: f64| {
            let (mut power, mut sum) = (x, x);
            for k in 1..120 {
                power *= -x * x / f64::from(k);
                sum += power / f64::from(2 * k + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        for x in steps(-4.0, 4.0) {
            assert!((f64::from(erf(x)) - series(f64::from(x))).abs() < 5e-7, "erf {x}");
        }
        for x in [-30.0_f32, -4.0, 4.0, 30.0] {
            assert_eq!(erf(x), x.signum());
        }
    }
}
