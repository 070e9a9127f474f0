//! The front door as a program uses it, on the built-in model and data.
#![allow(clippy::unwrap_used)]

use gram::{
    ClassSubset, Clip, Comparison, Dataset, Initialisation, MetaTrainer, Pairs, Prompt, Tuner, tables,
};

fn tiny() -> Clip {
    Clip::open("tiny").unwrap()
}

/// A meta-training of two small steps.
fn initialisation(model: &Clip) -> Initialisation {
    let pairs = Pairs::open("demo").unwrap();
    let clusters = model.cluster(&pairs, 1).unwrap();
    assert!(clusters.topics.len() > 200);
    let small = |settings: &mut gram_meta::MetaTrainingSettings| {
        (settings.meta_batch, settings.episodes.ways) = (1, 2);
    };
    MetaTrainer::textual(model).steps(2).settings(small).fit(&pairs, &clusters).unwrap()
}

#[test]
fn a_prompt_that_is_saved_classifies_as_the_one_that_was_tuned() {
    let (model, food) = (tiny(), Dataset::open("demo:food").unwrap());
    let tuner = Tuner::coop(&model).shots(1).epochs(2).seed(3).classes(ClassSubset::Base);
    let prompt = tuner.fit(&food).unwrap();
    assert_eq!((prompt.losses().len(), prompt.classes().len()), (2, 20));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("food.safetensors");
    prompt.save(&path).unwrap();
    let images: Vec<_> = food.images[..5].iter().map(|image| image.image.clone()).collect();
    let classify =
        |prompt: &Prompt| prompt.classifier(food.classes.clone()).unwrap().classify(&images).unwrap();
    let expected = classify(&prompt);
    assert_eq!(classify(&Prompt::open(&path, &model).unwrap()), expected);
    // The same seed gives the same prompt, another one another.
    assert_eq!(classify(&tuner.fit(&food).unwrap()), expected);
    assert_ne!(classify(&tuner.seed(4).fit(&food).unwrap()), expected);
}

#[test]
fn an_initialisation_is_tuned_from_by_its_own_methods_alone() {
    let (model, food) = (tiny(), Dataset::open("demo:food").unwrap());
    let initialisation = initialisation(&model);
    let tuned = Tuner::coop(&model).from(&initialisation).unwrap().shots(1).epochs(1).fit(&food).unwrap();
    assert!(tuned.losses()[0].is_finite());
    let refused = Tuner::vpt(&model).from(&initialisation).unwrap_err().to_string();
    assert!(refused.starts_with("vpt: "), "{refused}");
    let folder = tempfile::tempdir().unwrap();
    let comparison = || Comparison::new(&model, folder.path()).shots(1).seeds([1, 2]);
    assert!(comparison().method_from("coop", &initialisation).is_err());
    let few = |settings: &mut gram_experiments::protocol::ProtocolSettings| {
        (settings.baseline.epochs, settings.regulated.epochs) = (1, 1);
    };
    let comparison = comparison().method_from("coop-gram", &initialisation).unwrap().settings(few);
    let results = comparison.run(std::slice::from_ref(&food)).unwrap();
    assert_eq!(results.base_to_new.len(), 4);
    assert_eq!(tables::base_to_new_average(&results).unwrap().rows.len(), 2);
    // What is finished is not computed again.
    assert_eq!(comparison.run(&[food]).unwrap().base_to_new, results.base_to_new);
}

#[test]
fn what_cannot_be_opened_or_asked_for_is_refused_with_the_way_out() {
    let model = tiny();
    for (refused, told) in [
        (Clip::open("nowhere").map(drop), "`tiny`, which is built in"),
        (Dataset::open("demo:nothing").map(drop), "smileys, people, symbols"),
        (Pairs::open("nowhere.tar").map(drop), "nowhere.tar"),
        (model.tuner("copo").map(drop), "coop"),
        (model.classifier(["cat"], "no place").map(drop), "no place"),
        (model.classifier(Vec::<String>::new(), "a {}").map(drop), "no class"),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains(told) && !error.contains('\n'), "{error}");
    }
    let error = model.classifier(["cat", "dog"], "a {}").unwrap().predict(&["nowhere.png"]).unwrap_err();
    assert!(error.to_string().contains("nowhere.png"), "{error}");
}
