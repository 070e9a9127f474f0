//! The curve `1 / (1 + a d^(2b))` that turns a distance in the layout into a degree of nearness.
//!
//! `a` and `b` are the least-squares fit to 1 up to the minimum distance and `exp(-(d - minimum) / spread)`
//! beyond, at 300 distances up to three spreads.

/// Parameters of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Curve {
    /// Scale.
    pub a: f64,
    /// Steepness.
    pub b: f64,
}

const SAMPLES: usize = 300;

impl Curve {
    /// Fits the curve by damped Gauss-Newton steps (Levenberg and Marquardt) from `a = b = 1`.
    pub fn fit(minimum_distance: f64, spread: f64) -> Self {
        let target = Target { minimum_distance, spread };
        let mut curve = Self { a: 1.0, b: 1.0 };
        let mut error = target.error(curve);
        let mut damping = 1e-3;
        for _ in 0..500 {
            let next = target.step(curve, damping);
            let next_error = target.error(next);
            if next.a > 0.0 && next.b > 0.0 && next_error < error {
                (curve, error, damping) = (next, next_error, damping / 3.0);
            } else {
                damping *= 4.0;
            }
        }
        curve
    }

    /// How near two points at this distance are, in [0, 1].
    pub fn nearness(self, distance: f64) -> f64 {
        1.0 / (1.0 + self.a * distance.powf(2.0 * self.b))
    }

    /// Derivatives of the nearness with respect to `a` and `b`.
    fn derivatives(self, distance: f64) -> [f64; 2] {
        if distance == 0.0 {
            return [0.0; 2];
        }
        let (power, nearness) = (distance.powf(2.0 * self.b), self.nearness(distance));
        [-power * nearness * nearness, -2.0 * self.a * power * distance.ln() * nearness * nearness]
    }
}

struct Target {
    minimum_distance: f64,
    spread: f64,
}

impl Target {
    /// The sampled distances and the nearness wanted there.
    fn samples(&self) -> impl Iterator<Item = (f64, f64)> {
        (0..SAMPLES).map(|sample| {
            let distance = 3.0 * self.spread * sample as f64 / (SAMPLES - 1) as f64;
            let beyond = distance - self.minimum_distance;
            (distance, if beyond < 0.0 { 1.0 } else { (-beyond / self.spread).exp() })
        })
    }

    fn error(&self, curve: Curve) -> f64 {
        self.samples().map(|(distance, wanted)| (curve.nearness(distance) - wanted).powi(2)).sum()
    }

    /// Solves the damped normal equations `(J^T J + damping diag(J^T J)) step = -J^T residual`.
    fn step(&self, curve: Curve, damping: f64) -> Curve {
        let (mut aa, mut ab, mut bb, mut ra, mut rb) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (distance, wanted) in self.samples() {
            let [da, db] = curve.derivatives(distance);
            let residual = curve.nearness(distance) - wanted;
            aa += da * da;
            ab += da * db;
            bb += db * db;
            ra += da * residual;
            rb += db * residual;
        }
        let (aa, bb) = (aa * (1.0 + damping), bb * (1.0 + damping));
        let determinant = aa * bb - ab * ab;
        Curve {
            a: curve.a - (bb * ra - ab * rb) / determinant,
            b: curve.b - (aa * rb - ab * ra) / determinant,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fit_is_umap_learns() {
        // find_ab_params(spread, min_dist) of umap-learn 0.5.
        for (minimum, spread, a, b) in
            [(0.0, 1.0, 1.93280839734, 0.790494973419), (0.1, 1.0, 1.57694346041, 0.895060878053)]
        {
            let curve = Curve::fit(minimum, spread);
            assert!((curve.a - a).abs() < 1e-4 && (curve.b - b).abs() < 1e-4, "{curve:?}");
        }
    }
}
