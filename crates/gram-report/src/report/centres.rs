//! Where topics lie on a map.

use std::cmp::Reverse;

/// Where a topic lies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Centre {
    pub(super) topic: usize,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Points on the map.
    pub(super) size: usize,
}

/// The middle of every topic that has a point, largest topic first. Points are `(topic, x, y)`.
pub(super) fn centres(points: impl Iterator<Item = (usize, f64, f64)>, topics: usize) -> Vec<Centre> {
    let mut centres: Vec<Centre> =
        (0..topics).map(|topic| Centre { topic, x: 0.0, y: 0.0, size: 0 }).collect();
    for (topic, x, y) in points {
        let centre = &mut centres[topic];
        centre.x += x;
        centre.y += y;
        centre.size += 1;
    }
    centres.retain(|centre| centre.size > 0);
    for centre in &mut centres {
        centre.x /= centre.size as f64;
        centre.y /= centre.size as f64;
    }
    centres.sort_by_key(|centre| Reverse(centre.size));
    centres
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_centre_is_the_mean_of_its_points_and_the_largest_comes_first() {
        let points = [(0, 1.0, 2.0), (2, 3.0, 4.0), (2, 5.0, 8.0)];
        let small = Centre { topic: 0, x: 1.0, y: 2.0, size: 1 };
        let large = Centre { topic: 2, x: 4.0, y: 6.0, size: 2 };
        assert_eq!(centres(points.into_iter(), 3), [large, small]);
    }
}
