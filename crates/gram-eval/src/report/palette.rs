//! Colours that people with any kind of colour vision tell apart, after Okabe and Ito.
//!
//! There are more topics than such colours, so colours repeat; what matters on a map is that neighbours
//! differ.

/// Class names of the style sheet.
pub(super) const COLOURS: [&str; 7] = ["blue", "orange", "green", "purple", "sky", "vermillion", "olive"];

/// A place in [`COLOURS`] for each topic. `centres` are topics with their places on the map, the most
/// important first: each takes the colour whose nearest bearer so far is farthest away.
pub(super) fn colours(topics: usize, centres: &[(usize, f64, f64)]) -> Vec<usize> {
    let mut colours = vec![0; topics];
    for (number, (topic, x, y)) in centres.iter().enumerate() {
        let distance_to_nearest = |colour: usize| {
            let bearers = centres[..number].iter().filter(|(other, ..)| colours[*other] == colour);
            bearers
                .map(|(_, other_x, other_y)| (x - other_x).hypot(y - other_y))
                .fold(f64::INFINITY, f64::min)
        };
        let distances: Vec<f64> = (0..COLOURS.len()).map(distance_to_nearest).collect();
        let farthest = distances.iter().copied().fold(0.0, f64::max);
        colours[*topic] = distances.iter().position(|distance| *distance == farthest).unwrap_or(0);
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_topics_as_colours_all_differ() {
        let centres: Vec<_> = (0..7).map(|topic| (topic, topic as f64, 0.0)).collect();
        assert_eq!(colours(7, &centres), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_repeated_colour_is_taken_from_far_away() {
        let centres: Vec<_> = (0..8).map(|topic| (topic, topic as f64, 0.0)).collect();
        assert_eq!(colours(8, &centres)[7], 0);
    }
}
