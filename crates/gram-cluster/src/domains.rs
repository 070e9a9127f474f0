//! Visual domains: the images of one topic, divided by how they look.
//!
//! k-means on L2-normalised image features divides a topic into at most U domains (section 3.2, "Visual Domain
//! Clustering"). The paper does not say what becomes of tiny domains; here the smallest gives its images to the nearest
//! of the others until every domain is large enough to draw an episode's support images from.

use gram_data::random::Stream;
use ndarray::{ArrayView2, Axis};

use crate::k_means::{KMeans, KMeansSettings, k_means};
use crate::matrix::{normalised_rows, squared_distance};

/// Divides a topic's `images` [images, width] into at most `domains` domains of at least `minimum_size` images:
/// the row numbers of each, ascending, larger domains first. `None` if there are too few images for one.
pub fn domains(
    images: ArrayView2<f32>,
    domains: usize,
    minimum_size: usize,
    random: &mut Stream,
) -> Option<Vec<Vec<usize>>> {
    let minimum_size = minimum_size.max(1);
    if images.nrows() < minimum_size {
        return None;
    }
    let images = normalised_rows(images);
    let possible = domains.min(images.nrows() / minimum_size).max(1);
    let mut clusters = k_means(images.view(), &KMeansSettings::new(possible), random);
    while let Some(small) = smallest_below(&clusters, minimum_size) {
        dissolve(small, &mut clusters, images.view());
    }
    let mut members = vec![vec![]; clusters.centroids.nrows()];
    clusters.labels.iter().enumerate().for_each(|(row, label)| members[*label].push(row));
    members.sort_by_key(|rows| (std::cmp::Reverse(rows.len()), rows.first().copied()));
    Some(members)
}

/// The smallest domain, if it is too small.
fn smallest_below(clusters: &KMeans, minimum_size: usize) -> Option<usize> {
    let mut sizes = vec![0; clusters.centroids.nrows()];
    clusters.labels.iter().for_each(|label| sizes[*label] += 1);
    let (smallest, size) = sizes.into_iter().enumerate().min_by_key(|(_, size)| *size)?;
    (size < minimum_size).then_some(smallest)
}

/// Takes a centroid away; its images go to the nearest of the others.
fn dissolve(domain: usize, clusters: &mut KMeans, images: ArrayView2<f32>) {
    clusters.centroids.remove_index(Axis(0), domain);
    let centroids = clusters.centroids.view();
    let nearest = |row: usize| {
        let distance = |centroid: &usize| squared_distance(images.row(row), centroids.row(*centroid));
        (0..centroids.nrows()).min_by(|one, other| distance(one).total_cmp(&distance(other))).unwrap_or(0)
    };
    for (row, label) in clusters.labels.iter_mut().enumerate() {
        match (*label).cmp(&domain) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => *label = nearest(row),
            std::cmp::Ordering::Greater => *label -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::random::stream;
    use ndarray::Array2;

    /// So many images along each axis, of different lengths.
    fn images(counts: &[usize]) -> Array2<f32> {
        let axes: Vec<usize> =
            counts.iter().enumerate().flat_map(|(axis, count)| vec![axis; *count]).collect();
        Array2::from_shape_fn((axes.len(), counts.len()), |(row, axis)| {
            if axis == axes[row] { 1.0 + row as f32 } else { 0.01 * (row % 3) as f32 }
        })
    }

    #[test]
    fn looks_are_domains_and_lengths_do_not_matter() {
        let found = domains(images(&[4, 6, 5]).view(), 3, 2, &mut stream(1, "domains"));
        let expected = vec![(4..10).collect(), (10..15).collect(), (0..4).collect::<Vec<usize>>()];
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_domain_too_small_joins_another() {
        let found = domains(images(&[9, 1, 8]).view(), 3, 3, &mut stream(1, "domains"));
        let sizes: Vec<usize> = found.into_iter().flatten().map(|rows| rows.len()).collect();
        assert!(sizes == [10, 8] || sizes == [9, 9], "{sizes:?}");
    }

    #[test]
    fn too_few_images_are_no_domain_and_few_are_fewer_domains() {
        assert_eq!(domains(images(&[2]).view(), 3, 3, &mut stream(1, "domains")), None);
        let found = domains(images(&[2, 3]).view(), 5, 2, &mut stream(1, "domains"));
        assert_eq!(found.map(|found| found.len()), Some(2));
    }
}
