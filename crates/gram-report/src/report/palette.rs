//! Colours that people with any kind of colour vision tell apart, after Okabe and Ito.
//!
//! There are more topics than such colours, so colours repeat; what matters on a map is that neighbours
//! differ.

use super::centres::Centre;

/// Class names of the style sheet.
pub(super) const COLOURS: [&str; 7] = ["blue", "orange", "green", "purple", "sky", "vermillion", "olive"];

/// A topic keeps its colour apart from those of this many topics, the most important ones.
const MOST_COMPARED: usize = 2_000;

/// A place in [`COLOURS`] for each topic. `centres` are topics with their places on the map, the most
/// important first: each takes the colour whose nearest bearer so far is farthest away.
pub(super) fn colours(topics: usize, centres: &[Centre]) -> Vec<usize> {
    let mut colours = vec![0; topics];
    for (number, centre) in centres.iter().enumerate() {
        let mut nearest = [f64::INFINITY; COLOURS.len()];
        for other in &centres[..number.min(MOST_COMPARED)] {
            let distance = (centre.x - other.x).hypot(centre.y - other.y);
            let colour = colours[other.topic];
            nearest[colour] = nearest[colour].min(distance);
        }
        let farthest = nearest.iter().copied().fold(0.0, f64::max);
        colours[centre.topic] = nearest.iter().position(|distance| *distance == farthest).unwrap_or(0);
    }
    colours
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_a_row(topics: usize) -> Vec<Centre> {
        (0..topics).map(|topic| Centre { topic, x: topic as f64, y: 0.0, size: 1 }).collect()
    }

    #[test]
    fn as_many_topics_as_colours_all_differ() {
        assert_eq!(colours(7, &in_a_row(7)), [0, 1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_repeated_colour_is_taken_from_far_away() {
        assert_eq!(colours(8, &in_a_row(8))[7], 0);
    }
}
