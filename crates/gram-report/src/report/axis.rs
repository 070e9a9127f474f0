//! Round numbers along one side of a plot.

/// About how many steps an axis is cut into.
const STEPS: f64 = 5.0;

/// The range of one side of a plot, with a tick at both of its ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
    step: f64,
}

impl Axis {
    /// The smallest range between round numbers that holds every value; none of nothing. The values are
    /// finite.
    pub(super) fn around(values: impl Iterator<Item = f64>, whole_numbers: bool) -> Option<Self> {
        let (low, high) = values
            .fold(None, |range, value| match range {
                None => Some((value, value)),
                Some((low, high)) => Some((value.min(low), value.max(high))),
            })
            .map(widened)?;
        let step = round_step((high - low) / STEPS);
        let step = if whole_numbers { step.max(1.0) } else { step };
        Some(Axis { low: (low / step).floor() * step, high: (high / step).ceil() * step, step })
    }

    /// Where a value lies: 0 at the low end, 1 at the high end.
    pub(super) fn place(&self, value: f64) -> f64 {
        (value - self.low) / (self.high - self.low)
    }

    /// The value that lies there: the inverse of [`place`](Self::place).
    pub(super) fn value(&self, place: f64) -> f64 {
        self.low + place * (self.high - self.low)
    }

    /// Every tick with its label, from low to high.
    pub(super) fn ticks(&self) -> Vec<(f64, String)> {
        let count = ((self.high - self.low) / self.step).round() as usize;
        (0..=count)
            .map(|number| self.low + number as f64 * self.step)
            .map(|tick| (tick, self.label(tick)))
            .collect()
    }

    fn label(&self, tick: f64) -> String {
        if self.low.abs().max(self.high.abs()) >= 1e6 {
            return format!("{tick:.1e}");
        }
        let decimals = (-self.step.log10().floor()).max(0.0) as usize;
        let label = format!("{tick:.decimals$}");
        if label.trim_matches(['-', '0', '.']).is_empty() {
            label.replace('-', "")
        } else {
            label.replace('-', "−")
        }
    }
}

/// A range without width gets one, or there would be nothing to divide by.
fn widened((low, high): (f64, f64)) -> (f64, f64) {
    let least = (low.abs().max(high.abs()) * 1e-6).max(1e-6);
    if high - low >= least { (low, high) } else { (low - least, high + least) }
}

/// The next of 1, 2, 5 times a power of ten.
fn round_step(least: f64) -> f64 {
    let power = 10f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= least * (1.0 - 1e-9));
    factor.unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(values: &[f64], whole_numbers: bool) -> Vec<String> {
        let axis = Axis::around(values.iter().copied(), whole_numbers).unwrap();
        axis.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_the_values() {
        assert_eq!(labels(&[60.0, 81.0], false), ["60", "65", "70", "75", "80", "85"]);
        assert_eq!(labels(&[-0.31, 0.2], false), ["−0.4", "−0.2", "0.0", "0.2"]);
        assert_eq!(labels(&[0.0, 2e6], false).last().unwrap(), "2.0e6");
    }

    #[test]
    fn epochs_have_no_halves() {
        assert_eq!(labels(&[0.0, 2.0], true), ["0", "1", "2"]);
    }

    #[test]
    fn a_single_value_lies_inside_a_range_of_some_width() {
        for value in [0.0, 75.0, -1e15] {
            let axis = Axis::around([value].into_iter(), false).unwrap();
            assert!((0.0..=1.0).contains(&axis.place(value)), "{axis:?}");
            assert!(axis.ticks().len() <= 12);
        }
        assert_eq!(Axis::around([].into_iter(), false), None);
    }
}
