//! Which pairs are drawn: of every topic its share, taken at equal steps.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use gram_cluster::Clusters;

/// The pairs that are drawn.
#[derive(Debug, PartialEq)]
pub(super) struct Sample {
    /// Their places in [`Clusters::pairs`], by topic and domain; those without a topic are last.
    pub(super) points: Vec<usize>,
    /// Drawn pairs of every domain of every topic.
    pub(super) of_domains: Vec<Vec<usize>>,
    /// Pairs that have a place on the map, drawn or not.
    pub(super) placed: usize,
}

impl Sample {
    /// At most `most` pairs that have a place, and at least one of every topic that has one. (If there are
    /// more topics than that, of the first ones.)
    pub(super) fn of(clusters: &Clusters, most: usize) -> Self {
        let mut groups = clusters.members();
        groups.push(vec![
            (0..clusters.pairs.len()).filter(|index| clusters.pairs[*index].topic.is_none()).collect(),
        ]);
        for domain in groups.iter_mut().flatten() {
            domain.retain(|index| place(clusters, *index).is_some());
        }
        let sizes: Vec<usize> = groups.iter().map(|domains| domains.iter().map(Vec::len).sum()).collect();
        let mut sample = Self { points: vec![], of_domains: vec![], placed: sizes.iter().sum() };
        for (domains, quota) in groups.iter().zip(quotas(&sizes, most)) {
            let members: Vec<(usize, usize)> = domains
                .iter()
                .enumerate()
                .flat_map(|(domain, members)| members.iter().map(move |index| (domain, *index)))
                .collect();
            let mut counts = vec![0; domains.len()];
            for (domain, index) in equal_steps(members.len(), quota).map(|step| members[step]) {
                counts[domain] += 1;
                sample.points.push(index);
            }
            sample.of_domains.push(counts);
        }
        sample.of_domains.pop();
        sample
    }

    /// Where the drawn pairs lie, in a square of 16 bits a side with their proportions kept.
    pub(super) fn places(&self, clusters: &Clusters) -> Vec<[u16; 2]> {
        let places: Vec<[f64; 2]> = self.points.iter().filter_map(|index| place(clusters, *index)).collect();
        let low = |axis: usize| places.iter().map(|place| place[axis]).fold(f64::INFINITY, f64::min);
        let high = |axis: usize| places.iter().map(|place| place[axis]).fold(f64::NEG_INFINITY, f64::max);
        let least = [low(0), low(1)];
        let side = (high(0) - least[0]).max(high(1) - least[1]).max(f64::MIN_POSITIVE);
        let whole = |value: f64| (value / side * f64::from(u16::MAX)).round() as u16;
        places.iter().map(|place| [whole(place[0] - least[0]), whole(place[1] - least[1])]).collect()
    }
}

/// Where a pair lies, if it has a place.
fn place(clusters: &Clusters, index: usize) -> Option<[f64; 2]> {
    let place = clusters.layout.get(index).copied().flatten()?;
    place.iter().all(|value| value.is_finite()).then_some(place.map(f64::from))
}

/// How many of each group are taken: one, and of the rest of all groups the same share.
fn quotas(sizes: &[usize], most: usize) -> Vec<usize> {
    let all: usize = sizes.iter().sum();
    if all <= most {
        return sizes.to_vec();
    }
    let firsts = sizes.iter().filter(|size| **size > 0).count();
    let (spare, rest) = (most.saturating_sub(firsts), (all - firsts).max(1));
    let mut left = most;
    let quota = |size: &usize| {
        let quota = size.checked_sub(1).map_or(0, |others| 1 + others * spare / rest).min(left);
        left -= quota;
        quota
    };
    sizes.iter().map(quota).collect()
}

/// `taken` of `all` places, from the first on at equal steps.
pub(super) fn equal_steps(all: usize, taken: usize) -> impl Iterator<Item = usize> {
    (0..taken).map(move |step| step * all / taken)
}

/// Places as the script reads them: x and y of one after the other, little-endian.
pub(super) fn base64(places: &[[u16; 2]]) -> String {
    let bytes: Vec<u8> = places.iter().flatten().flat_map(|value| value.to_le_bytes()).collect();
    STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::clusters_page::tests::clusters;

    #[test]
    fn few_pairs_are_all_drawn_by_topic_and_domain() {
        let sample = Sample::of(&clusters(&[&[3, 2], &[2]], 4), 100);
        assert_eq!(sample.points, (0..11).collect::<Vec<_>>());
        assert_eq!(sample.of_domains, [vec![3, 2], vec![2]]);
        assert_eq!(sample.placed, 11);
    }

    #[test]
    fn of_many_pairs_every_topic_keeps_its_share_and_at_least_one() {
        let clusters = clusters(&[&[600, 300], &[90], &[1]], 2_000);
        let sample = Sample::of(&clusters, 100);
        assert_eq!(sample.placed, 2_991);
        assert_eq!(sample.of_domains, [vec![20, 9], vec![3], vec![1]]);
        assert!((95..=100).contains(&sample.points.len()), "{}", sample.points.len());
        assert_eq!(sample.points[..3], [0, 31, 62]);
        assert_eq!(sample, Sample::of(&clusters, 100));
    }

    #[test]
    fn of_more_topics_than_points_the_first_are_drawn() {
        let sample = Sample::of(&clusters(&[&[5], &[4], &[3]], 9), 2);
        assert_eq!(sample.of_domains, [vec![1], vec![1], vec![0]]);
        assert_eq!(sample.points, [0, 5]);
    }

    #[test]
    fn pairs_without_a_finite_place_are_not_drawn() {
        let mut clusters = clusters(&[&[3]], 1);
        clusters.layout[1] = None;
        clusters.layout[2] = Some([f32::NAN, 0.0]);
        let sample = Sample::of(&clusters, 100);
        assert_eq!(sample.points, [0, 3]);
        assert_eq!(sample.of_domains, [vec![1]]);
    }

    #[test]
    fn places_keep_their_proportions() {
        let mut clusters = clusters(&[&[3]], 0);
        clusters.layout = vec![Some([-1.0, 5.0]), Some([1.0, 5.0]), Some([0.0, 6.0])];
        let places = Sample::of(&clusters, 100).places(&clusters);
        assert_eq!(places, [[0, 0], [65_535, 0], [32_768, 32_768]]);
        clusters.layout = vec![Some([7.0, 7.0]); 3];
        assert_eq!(Sample::of(&clusters, 100).places(&clusters), [[0, 0]; 3]);
    }
}
