//! Classes that have fewer images than shots are asked for.

use std::fmt;

use crate::{ClassSubset, LabelledDataset, Split};

/// What is missing where a class has fewer training images than shots are asked for: it gives all that it
/// has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortfall {
    /// The dataset.
    pub dataset: String,
    /// Images of a class that are asked for.
    pub shots: usize,
    /// Classes that have fewer.
    pub short: usize,
    /// Classes that are drawn from.
    pub classes: usize,
    /// The images of the class that has fewest.
    pub fewest: usize,
    /// The first such class.
    pub example: String,
}

impl Shortfall {
    /// What is missing for `shots` training images of every class of a subset, in one domain if it is given;
    /// nothing if every class has them.
    pub fn of(
        dataset: &LabelledDataset,
        classes: ClassSubset,
        domain: Option<usize>,
        shots: usize,
    ) -> Option<Self> {
        let range = classes.indices(dataset.classes.len());
        let mut counts = vec![0; range.len()];
        for image in dataset.select(Split::Train, classes, domain) {
            counts[dataset.images[image].class - range.start] += 1;
        }
        let short = counts.iter().filter(|count| **count < shots).count();
        let (class, fewest) = counts.iter().enumerate().min_by_key(|(_, count)| **count)?;
        (short > 0).then(|| Self {
            dataset: dataset.name.clone(),
            shots,
            short,
            classes: range.len(),
            fewest: *fewest,
            example: dataset.classes[range.start + class].clone(),
        })
    }
}

impl fmt::Display for Shortfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { dataset, shots, short, classes, fewest, example } = self;
        write!(
            formatter,
            "{dataset}: {short} of {classes} classes have fewer than {shots} training images and give all they have; \
             `{example}` has fewest, {fewest}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageFile, LabelledImage};

    #[test]
    fn classes_with_fewer_images_than_shots_are_counted_and_the_smallest_is_named() {
        let image = |class: usize, split: Split| LabelledImage {
            key: String::new(),
            image: ImageFile::Path("a.png".into()),
            class,
            domain: Some(class % 2),
            split,
        };
        let counts = [9, 7, 10, 7];
        let train =
            counts.iter().enumerate().flat_map(|(class, count)| vec![image(class, Split::Train); *count]);
        let dataset = LabelledDataset {
            name: "flowers".into(),
            classes: ["aster", "daisy", "lily", "rose"].map(str::to_owned).into(),
            images: train.chain([image(1, Split::Test)]).collect(),
            ..LabelledDataset::default()
        };
        let of = |classes, shots| Shortfall::of(&dataset, classes, None, shots);
        assert_eq!(of(ClassSubset::All, 7), None);
        let found = of(ClassSubset::All, 10).unwrap();
        assert_eq!((found.short, found.classes, found.fewest, found.example.as_str()), (3, 4, 7, "daisy"));
        assert_eq!(
            found.to_string(),
            "flowers: 3 of 4 classes have fewer than 10 training images and give all they have; `daisy` has fewest, 7"
        );
        assert_eq!(of(ClassSubset::New, 10).unwrap().example, "rose");
        assert_eq!(Shortfall::of(&dataset, ClassSubset::All, Some(0), 9).unwrap().fewest, 0);
    }
}
