//! The few shots that CoOp's code draws for a seed, image by image.
//!
//! Dassl seeds CPython's `random` and draws from the lists of the shared split, class by class in the order
//! in which the classes first appear, `random.sample(images, K)` of each; then the validation images from the
//! same generator. All classes are drawn for, base and new. So the published shots of seeds 1, 2 and 3 can be
//! had anywhere; not for ImageNet, whose lists there come in the order of a directory.

use rand_mt::Mt;

use crate::{LabelledDataset, Split};

use super::validation_shots;

/// Training and validation images of a seed, as indices into [`LabelledDataset::images`], in their order
/// there.
pub(super) fn draw(dataset: &LabelledDataset, shots: usize, seed: u64) -> (Vec<usize>, Vec<usize>) {
    let mut random = Python::new(seed);
    let mut sample = |split, shots| {
        let mut chosen: Vec<usize> = by_class(dataset, split)
            .into_iter()
            .flat_map(|images| random.sample(images.len(), shots).into_iter().map(move |place| images[place]))
            .collect();
        chosen.sort_unstable();
        chosen
    };
    let train = sample(Split::Train, shots);
    (train, sample(Split::Validation, validation_shots(shots)))
}

/// The images of a split by class, classes in the order in which they first appear.
fn by_class(dataset: &LabelledDataset, split: Split) -> Vec<Vec<usize>> {
    let mut places = vec![None; dataset.classes.len()];
    let mut classes: Vec<Vec<usize>> = Vec::new();
    for (index, image) in dataset.images.iter().enumerate().filter(|(_, image)| image.split == split) {
        let place = *places[image.class].get_or_insert_with(|| {
            classes.push(Vec::new());
            classes.len() - 1
        });
        classes[place].push(index);
    }
    classes
}

/// CPython's `random.Random`: the Mersenne Twister MT19937, seeded by `init_by_array`.
struct Python(Mt);

impl Python {
    fn new(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        let key: &[u32] = if high == 0 { &[low] } else { &[low, high] };
        Self(Mt::new_with_key(key.iter().copied()))
    }

    /// A number below `bound`: as many of a word's upper bits as it needs, drawn anew while they are too
    /// large.
    fn below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let drawn = (self.0.next_u32() >> (u32::BITS - bits)) as usize;
            if drawn < bound {
                return drawn;
            }
        }
    }

    /// `random.sample(range(of), count)`; all of them where there are not more.
    fn sample(&mut self, of: usize, count: usize) -> Vec<usize> {
        if of < count {
            return (0..of).collect();
        }
        // From a pool where that takes less memory than a set, as CPython reckons.
        let table = if count > 5 { 4_usize.pow(((3 * count) as f64).log(4.0).ceil() as u32) } else { 0 };
        if of <= 21 + table {
            let mut pool: Vec<usize> = (0..of).collect();
            return (0..count)
                .map(|drawn| {
                    let place = self.below(of - drawn);
                    let chosen = pool[place];
                    pool[place] = pool[of - drawn - 1];
                    chosen
                })
                .collect();
        }
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count {
            let drawn = self.below(of);
            if !chosen.contains(&drawn) {
                chosen.push(drawn);
            }
        }
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_those_of_cpython() {
        // CPython 3.11: random.seed(1); random.sample(range(50), 16); random.sample(range(300), 16); …
        let mut one = Python::new(1);
        assert_eq!(one.sample(50, 16), [8, 36, 4, 16, 7, 31, 28, 30, 41, 24, 13, 6, 44, 1, 40, 27]);
        assert_eq!(
            one.sample(300, 16),
            [1, 228, 136, 117, 52, 162, 15, 11, 13, 277, 4, 195, 110, 216, 14, 270]
        );
        assert_eq!(one.sample(7, 4), [1, 3, 5, 6]);
        let mut two = Python::new(2);
        assert_eq!(two.sample(85, 16), [7, 11, 10, 46, 21, 39, 32, 77, 27, 4, 74, 20, 55, 50, 65, 47]);
    }

    #[test]
    fn a_class_with_fewer_images_gives_them_all_and_draws_nothing() {
        let (mut one, mut other) = (Python::new(3), Python::new(3));
        assert_eq!(one.sample(3, 4), [0, 1, 2]);
        assert_eq!(one.sample(50, 4), other.sample(50, 4));
    }
}
