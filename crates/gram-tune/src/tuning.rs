//! Where rates are chosen: inside the base classes, on training and validation images. Test images and new
//! classes have no part in it.

use gram_data::{ClassSubset, LabelledDataset, LabelledImage, Split};

/// The base classes of a dataset as a dataset of their own, whose base and new halves are halves of them. In
/// its base half training images are tuned on, and validation images stand in the place of test images; of
/// its new half, which is not tuned on, both do. `None` if there are fewer than four base classes.
pub fn among_base_classes(dataset: &LabelledDataset) -> Option<LabelledDataset> {
    let base = ClassSubset::Base.indices(dataset.classes.len());
    if base.len() < 4 {
        return None;
    }
    let tuned = ClassSubset::Base.indices(base.len());
    let image = |image: &LabelledImage| {
        let split = match image.split {
            Split::Train if tuned.contains(&image.class) => Split::Train,
            Split::Train | Split::Validation => Split::Test,
            Split::Test => return None,
        };
        base.contains(&image.class).then(|| LabelledImage { split, ..image.clone() })
    };
    Some(LabelledDataset {
        name: dataset.name.clone(),
        classes: dataset.classes[base.clone()].to_vec(),
        domains: dataset.domains.clone(),
        benchmark: dataset.benchmark,
        images: dataset.images.iter().filter_map(image).collect(),
        templates: dataset.templates.clone(),
        left_out: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gram_data::ImageFile;

    #[test]
    fn no_test_image_and_no_new_class_is_left() {
        let image = |class, split, name: &str| LabelledImage {
            key: name.into(),
            image: ImageFile::Path(name.into()),
            class,
            domain: None,
            split,
        };
        let images = (0..8).flat_map(|class| {
            [(Split::Train, "train"), (Split::Validation, "validation"), (Split::Test, "test")]
                .map(|(split, name)| image(class, split, name))
        });
        let dataset = LabelledDataset {
            name: "eight".into(),
            classes: (0..8).map(|class| format!("class {class}")).collect(),
            domains: Vec::new(),
            images: images.collect(),
            ..LabelledDataset::default()
        };
        let inside = among_base_classes(&dataset).unwrap();
        assert_eq!(inside.classes, ["class 0", "class 1", "class 2", "class 3"]);
        assert_eq!(inside.images.len(), 8);
        assert!(inside.images.iter().all(|image| image.image != ImageFile::Path("test".into())));
        let tested = |classes| inside.select(Split::Test, classes, None).len();
        assert_eq!((tested(ClassSubset::Base), tested(ClassSubset::New)), (2, 4));
    }
}
