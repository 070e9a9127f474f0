//! Visual domains: the images of one topic, divided by how they look.
//!
//! k-means on L2-normalised image features divides a topic into at most U domains (section 3.2, "Visual
//! Domain Clustering"). The paper does not say what becomes of tiny domains; here the smallest gives its
//! images to the nearest of the others until every domain is large enough to draw an episode's support images
//! from.

use gram_data::random::Stream;
use ndarray::{ArrayView2, Axis};

use crate::k_means::{KMeans, KMeansSettings, k_means};
use crate::matrix::{normalised_rows, squared_distance};

/// Divides a topic's `images` [images, width] into at most `domains` domains of at least `minimum_size`
/// images: the row numbers of each, ascending, larger domains first. `None` if there are too few images for
/// one. If the number is to be `chosen`, it is the one from 2 to `domains` that parts the images best, by
/// Calinski and Harabasz's index.
pub fn domains(
    images: ArrayView2<f32>,
    domains: usize,
    chosen: bool,
    minimum_size: usize,
    random: &mut Stream,
) -> Option<Vec<Vec<usize>>> {
    let minimum_size = minimum_size.max(1);
    if images.nrows() < minimum_size {
        return None;
    }
    let images = normalised_rows(images);
    let possible = domains.min(images.nrows() / minimum_size).max(1);
    let mut clusters = match chosen && possible > 2 {
        true => best_parted(images.view(), possible, random),
        false => k_means(images.view(), &KMeansSettings::new(possible), random),
    };
    while let Some(small) = smallest_below(&clusters, minimum_size) {
        dissolve(small, &mut clusters, images.view());
    }
    let mut members = vec![vec![]; clusters.centroids.nrows()];
    clusters.labels.iter().enumerate().for_each(|(row, label)| members[*label].push(row));
    members.sort_by_key(|rows| (std::cmp::Reverse(rows.len()), rows.first().copied()));
    Some(members)
}

/// Of 2 to `most` clusters those with the largest ratio of variance between them to variance within them,
/// each by its degrees of freedom (Calinski and Harabasz, "A dendrite method for cluster analysis",
/// Communications in Statistics 3, 1974).
fn best_parted(images: ArrayView2<f32>, most: usize, random: &mut Stream) -> KMeans {
    let whole = k_means(images, &KMeansSettings::new(1), random);
    let ratio = |found: &KMeans| {
        let (count, clusters) = (images.nrows() as f64, found.centroids.nrows() as f64);
        (whole.inertia - found.inertia) / (clusters - 1.0) / (found.inertia / (count - clusters))
    };
    let all = (2..=most).map(|clusters| k_means(images, &KMeansSettings::new(clusters), random));
    // Of equal ones the first, which has fewer clusters.
    let better = |best: KMeans, next: KMeans| if ratio(&next) > ratio(&best) { next } else { best };
    all.reduce(better).unwrap_or(whole.clone())
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
    use gram_data::random::{normal, stream};
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
        let found = domains(images(&[4, 6, 5]).view(), 3, false, 2, &mut stream(1, "domains"));
        let expected = vec![(4..10).collect(), (10..15).collect(), (0..4).collect::<Vec<usize>>()];
        assert_eq!(found, Some(expected));
    }

    #[test]
    fn a_domain_too_small_joins_another() {
        let found = domains(images(&[9, 1, 8]).view(), 3, false, 3, &mut stream(1, "domains"));
        let sizes: Vec<usize> = found.into_iter().flatten().map(|rows| rows.len()).collect();
        assert!(sizes == [10, 8] || sizes == [9, 9], "{sizes:?}");
    }

    #[test]
    fn the_number_of_domains_is_chosen_by_how_well_they_part() {
        let of = |counts: &[usize], chosen| {
            let mut random = stream(2, "noise");
            let looks: Vec<usize> =
                counts.iter().enumerate().flat_map(|(look, count)| vec![look; *count]).collect();
            let noisy = Array2::from_shape_fn((looks.len(), 8), |(row, axis)| {
                0.1 * normal(&mut random) + if axis == looks[row] { 1.0 } else { 0.0 }
            });
            let found = domains(noisy.view(), 6, chosen, 2, &mut stream(1, "domains"));
            found.map_or(0, |found| found.len())
        };
        assert_eq!((of(&[8, 6, 7], true), of(&[9, 9, 9, 9], true)), (3, 4));
        assert!(of(&[8, 6, 7], false) > 3);
    }

    #[test]
    fn too_few_images_are_no_domain_and_few_are_fewer_domains() {
        assert_eq!(domains(images(&[2]).view(), 3, false, 3, &mut stream(1, "domains")), None);
        let found = domains(images(&[2, 3]).view(), 5, false, 2, &mut stream(1, "domains"));
        assert_eq!(found.map(|found| found.len()), Some(2));
    }
}
