use std::collections::BTreeSet;

use ndarray::Array2;

use super::*;

fn english() -> TopicWordSettings {
    TopicWordSettings { languages: vec!["en".into()], ..TopicWordSettings::default() }
}

fn named(topics: &[Vec<&str>], settings: &TopicWordSettings) -> Vec<TopicName> {
    topic_names(topics, settings).into_iter().map(Option::unwrap).collect()
}

#[test]
fn scores_are_equation_3_by_hand() {
    let topics = [vec!["a red cat", "the cat sleeps"], vec!["red dog"], vec!["green bird", "bird"]];
    let found = named(&topics, &english());
    // Topic 0: cat 2, red 1, sleeps 1 of 4 words; cat is in 1 topic of 3, red in 2.
    let expected = [("cat", 0.5 * 1.5_f64.ln()), ("sleeps", 0.25 * 1.5_f64.ln()), ("red", 0.0)];
    assert_eq!(found[0].words.len(), 3);
    for ((word, score), (expected_word, expected_score)) in found[0].words.iter().zip(expected) {
        assert_eq!(word, expected_word);
        assert!((score - expected_score).abs() < 1e-15);
    }
    assert_eq!(found.iter().map(|topic| topic.word.as_str()).collect::<Vec<_>>(), ["cat", "dog", "bird"]);
    assert_eq!((found[0].name.as_str(), found[0].coverage), ("cat", 1.0));
}

#[test]
fn a_word_in_every_topic_scores_below_zero() {
    let found = named(&[vec!["blue sky"], vec!["blue sea"]], &english());
    assert_eq!(found[0].words[0], ("sky".to_owned(), 0.0));
    assert!((found[0].words[1].1 - 0.5 * (2.0_f64 / 3.0).ln()).abs() < 1e-15);
}

/// Captions of dogs in the snow and with a ball, of girls there and with one, and of cats.
fn dogs_and_others() -> [Vec<&'static str>; 5] {
    [
        vec!["a dog runs in the snow", "dogs play in the snow", "the black dog", "a dog in snow"],
        vec!["a dog with a ball", "the dog bites a red ball", "a dog", "two dogs chase a ball"],
        vec!["a girl in the snow", "the girl in deep snow", "two girls", "snow and a girl"],
        vec!["a girl with a ball", "the girl and her ball", "a ball for the girl", "girls"],
        vec!["a cat sleeps", "the cat on a sofa", "cats", "a black cat"],
    ]
}

#[test]
fn topics_of_one_word_share_it_and_have_names_that_set_them_apart() {
    let found = named(&dogs_and_others(), &english());
    let names: Vec<&str> = found.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(names, ["dog snow", "dog ball", "girl snow", "girl ball", "cat"]);
    let words: Vec<&str> = found.iter().map(|topic| topic.word.as_str()).collect();
    assert_eq!(words, ["dog", "dog", "girl", "girl", "cat"]);
    let coverages: Vec<f64> = found.iter().map(|topic| topic.coverage).collect();
    assert_eq!(coverages, [0.75, 0.75, 0.75, 0.75, 1.0]);
    let overlaps: Vec<&[usize]> = found.iter().map(|topic| topic.overlaps.as_slice()).collect();
    assert_eq!(overlaps, [&[1, 2][..], &[0, 3], &[0, 3], &[1, 2], &[]]);
}

#[test]
fn what_describes_or_acts_never_names_a_topic() {
    let things = ["girl", "boy", "man", "woman", "dog", "horse"];
    let young: Vec<String> = things.iter().map(|thing| format!("a young {thing} in a hat")).collect();
    let holding: Vec<String> = things.iter().map(|thing| format!("the {thing} holding a rope")).collect();
    let topics = [&young, &holding].map(|captions| captions.iter().map(String::as_str).collect::<Vec<_>>());
    let found = named(&[topics[0].clone(), topics[1].clone(), vec!["a cat on a sofa"]], &english());
    assert_eq!([&found[0].name, &found[1].name], ["hat", "rope"]);
    let words: BTreeSet<&str> = found[0].words.iter().map(|(word, _)| word.as_str()).collect();
    assert!(words.contains("young"), "{words:?}");
}

#[test]
fn a_topic_of_which_no_thing_is_said_enough_is_in_no_episode() {
    let things = ["sea", "sun", "fog", "hill", "lake", "moor", "tree", "path"];
    let mixed: Vec<String> = things.iter().map(|thing| format!("a {thing}")).collect();
    let found =
        named(&[mixed.iter().map(String::as_str).collect(), vec!["a cat"], vec!["a dog"]], &english());
    assert_eq!(found[0].left_out, Some(LeftOut::NoName));
    assert_eq!(found[1].left_out, None);
    // Three in eight say "cat": enough for a name, too few for what a topic is about.
    let some: Vec<&str> = mixed.iter().map(String::as_str).take(5).chain(["a cat"; 3]).collect();
    let wide = |settings: &TopicWordSettings| named(&[some.clone(), vec!["a dog"]], settings)[0].left_out;
    assert_eq!(wide(&english()), Some(LeftOut::NoName));
    assert_eq!(wide(&TopicWordSettings { minimum_main_coverage: 0.3, ..english() }), None);
    let all = TopicWordSettings { minimum_coverage: 0.0, minimum_main_coverage: 0.0, ..english() };
    assert_eq!(named(&[mixed.iter().map(String::as_str).collect(), vec!["a cat"]], &all)[0].left_out, None);
}

#[test]
fn a_topic_whose_captions_say_nothing_has_no_name() {
    let found = topic_names(&[vec!["a photo of it", "12"], vec!["a cat"]], &english());
    assert_eq!(found[0], None);
    assert!(found[1].is_some());
}

#[test]
fn a_phrase_is_written_as_it_is_said() {
    let topics = [
        vec!["a rock band on stage", "the rock band", "a rock band with a singer", "a band"],
        vec!["a brass band", "the brass band in the park", "brass bands", "band"],
        vec!["a rock in the sea", "the rock", "a red rock", "rocks"],
        vec!["a ring of brass", "brass", "the brass door", "brass"],
    ];
    let found = named(&topics, &english());
    assert_eq!([&found[0].name, &found[1].name], ["rock band", "brass band"]);
    let phrases = TopicWordSettings { phrases: true, ..english() };
    let found = named(&topics, &phrases);
    // Of a phrase the last word says what it is.
    assert_eq!((found[0].word.as_str(), found[0].main_word.as_str()), ("rock band", "band"));
}

#[test]
fn chinese_names_are_words_without_spaces_between() {
    let settings = TopicWordSettings { languages: vec!["zh".into()], ..TopicWordSettings::default() };
    let topics = [
        vec!["一只狗在雪地里奔跑", "两只狗在雪地上", "雪地里的狗"],
        vec!["一个女孩在微笑", "女孩", "女孩在唱歌"],
        vec!["网球运动员", "一名网球运动员", "网球运动员在球场上"],
    ];
    let found = named(&topics, &settings);
    let silent = ["一只", "两只", "一个", "一名", "在"];
    assert!(found.iter().all(|topic| topic.words.iter().all(|(word, _)| !silent.contains(&word.as_str()))));
    assert!(found[0].words.iter().any(|(word, _)| word == "雪地"), "{:?}", found[0].words);
    assert_eq!(found[1].name, "女孩");
    assert!(!found[2].name.contains(' '), "{}", found[2].name);
}

#[test]
fn the_order_of_captions_changes_nothing() {
    let topics = dogs_and_others();
    let turned = topics.clone().map(|captions| captions.into_iter().rev().collect());
    assert_eq!(named(&topics, &english()), named(&turned, &english()));
}

#[test]
fn clip_decides_among_names_that_captions_bear_out_alike() {
    // Every caption says both words; the images are what the second one means.
    let topics = [vec!["hot pepper"; 8], vec!["cat"; 8], vec!["dog"; 8]];
    let scored = ScoredTopics::new(&topics, &english());
    let row = |name: &str| match name {
        "hot" => [1.0, 0.0, 0.0, 0.0],
        "hot pepper" | "pepper" => [0.0, 1.0, 0.0, 0.0],
        "cat" => [0.0, 0.0, 1.0, 0.0],
        _ => [0.0, 0.0, 0.0, 1.0],
    };
    let features = |names: &[String]| {
        Ok(Array2::from_shape_fn((names.len(), 4), |(name, column)| row(&names[name])[column]))
    };
    let seen =
        Array2::from_shape_fn((24, 4), |(image, column)| row(["pepper", "cat", "dog"][image / 8])[column]);
    let members: Vec<Vec<usize>> = (0..3).map(|topic| (topic * 8..topic * 8 + 8).collect()).collect();
    let images = Images {
        features: &seen,
        members: members.iter().map(Vec::as_slice).collect(),
        names: &features,
        seed: 1,
    };
    let found = scored.names(&[0, 1, 2], &english(), Some(&images)).unwrap();
    assert_eq!((found[0].name.as_str(), found[0].recognition), ("hot pepper", Some(1.0)));
    assert!(found.iter().all(|topic| topic.left_out.is_none() && topic.overlaps.is_empty()));
    // A model that sees "cat" and "dog" as one keeps them apart, and one that sees nothing names nothing.
    let same = |names: &[String]| Ok(Array2::from_elem((names.len(), 4), 0.5));
    let images = Images { names: &same, ..images };
    let found = scored.names(&[0, 1, 2], &english(), Some(&images)).unwrap();
    assert_eq!(found[1].overlaps, [0, 2]);
    assert_eq!(found[1].left_out, Some(LeftOut::Recognition));
}

#[test]
fn words_of_one_family_are_known() {
    for (one, other) in [("climb", "climber"), ("skiing", "ski"), ("surfer", "surf"), ("dog", "dog")] {
        assert!(one == other || of_one_family(one, other), "{one}, {other}");
    }
    for (one, other) in [("dog", "door"), ("cat", "car"), ("ball", "basket"), ("狗", "狗玩耍")] {
        assert!(!of_one_family(one, other), "{one}, {other}");
    }
}

#[test]
fn coverage_counts_all_forms() {
    let captions = ["a dog in the snow", "dogs in snow", "snow", "a cat"];
    assert_eq!(coverage("dog snow", captions.iter().copied(), &english()), 0.5);
    assert_eq!(coverage("unicorn", captions.iter().copied(), &english()), 0.0);
    assert_eq!(coverage("of the", captions.iter().copied(), &english()), 0.0);
    assert_eq!(coverage("dog", std::iter::empty(), &english()), 0.0);
}
