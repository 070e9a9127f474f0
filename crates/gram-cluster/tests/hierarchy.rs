//! Clustering as a user sees it, on a small world whose topics and looks are known.
#![allow(clippy::unwrap_used)]

mod world;

use std::collections::BTreeSet;
use std::sync::Mutex;

use gram_cluster::{
    ChcInput, ChcSettings, ClusterError, Clusters, Counts, Piece, Rows, Stage, StagesIn, cluster, make_pieces,
};
use ndarray::Array2;
use world::{LOOKS, PAIRS_EACH, THINGS, World};

/// What a pair's key says of it.
fn thing_and_look(key: &str) -> (usize, usize) {
    let mut numbers = key.split('-').skip(1).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

/// Some pairs of a world, in this order.
fn select(world: &World, order: &[usize]) -> World {
    World {
        keys: order.iter().map(|row| world.keys[*row].clone()).collect(),
        captions: order.iter().map(|row| world.captions[*row].clone()).collect(),
        similarities: order.iter().map(|row| world.similarities[*row]).collect(),
        image_features: world.image_features.select(order),
        caption_embeddings: world.caption_embeddings.select(order),
    }
}

/// Key, topic, domain, strength and point on the map.
type Place = (String, Option<usize>, Option<usize>, f64, Option<[f32; 2]>);

/// Where every pair is, in the order of the keys.
fn places(clusters: &Clusters) -> Vec<Place> {
    let places = clusters.pairs.iter().zip(&clusters.layout);
    let mut places: Vec<Place> = places
        .map(|(pair, place)| (pair.key.clone(), pair.topic, pair.domain, pair.strength, *place))
        .collect();
    places.sort_by(|one, other| one.0.cmp(&other.0));
    places
}

#[test]
fn topics_are_the_things_and_domains_their_looks() {
    let world = World::new();
    let clusters = world.cluster(&ChcSettings::default()).unwrap();

    let labels: BTreeSet<&str> = clusters.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(labels, BTreeSet::from(THINGS));
    assert_eq!(clusters.topics.len(), THINGS.len());
    let placed = clusters.pairs.iter().filter(|pair| pair.topic.is_some()).count();
    assert!(placed * 10 >= clusters.pairs.len() * 9, "{placed} of {}", clusters.pairs.len());
    for pair in &clusters.pairs {
        let (thing, _) = thing_and_look(&pair.key);
        assert!(pair.topic.is_none_or(|topic| clusters.topics[topic].name == THINGS[thing]), "{}", pair.key);
        assert_eq!(pair.topic.is_some(), pair.domain.is_some());
        assert_eq!(pair.topic.is_some(), pair.strength > 0.0);
    }
    for domains in clusters.members() {
        assert_eq!(domains.len(), LOOKS.len());
        let look = |pair: &usize| thing_and_look(&clusters.pairs[*pair].key).1;
        assert!(domains.iter().all(|domain| domain.iter().map(look).collect::<BTreeSet<_>>().len() == 1));
    }
}

#[test]
fn sizes_and_counts_add_up() {
    let clusters = World::new().cluster(&ChcSettings::default()).unwrap();
    let Counts { filtered, noise, dropped, .. } = clusters.counts;
    let sizes: Vec<usize> = clusters.topics.iter().map(|topic| topic.size).collect();
    assert_eq!(filtered + noise + dropped + sizes.iter().sum::<usize>(), clusters.pairs.len());
    assert!(sizes.is_sorted_by(|one, other| one >= other));
    for (topic, domains) in clusters.topics.iter().zip(clusters.members()) {
        let found: Vec<usize> = domains.iter().map(Vec::len).collect();
        assert_eq!((&found, found.iter().sum()), (&topic.domains, topic.size));
        assert!(found.is_sorted_by(|one, other| one >= other));
    }
}

#[test]
fn neither_the_order_of_pairs_nor_the_number_of_threads_changes_anything() {
    let world = World::new();
    let given = world.cluster(&ChcSettings::default()).unwrap();
    let order: Vec<usize> = (0..world.keys.len()).map(|row| row * 5 % world.keys.len()).collect();
    assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), world.keys.len());
    let reordered = select(&world, &order).cluster(&ChcSettings::default()).unwrap();
    assert_eq!(places(&reordered), places(&given));
    assert_eq!(reordered.topics, given.topics);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let found = pool.install(|| world.cluster(&ChcSettings::default())).unwrap();
        assert_eq!(found, given, "{threads} threads");
    }
}

#[test]
fn another_seed_draws_another_map() {
    let world = World::new();
    let map = |seed| {
        cluster(&world.input(), &ChcSettings::default(), seed, StagesIn::Memory, &mut |_| ()).unwrap().layout
    };
    assert_ne!(map(1), map(2));
}

#[test]
fn pairs_that_do_not_match_are_left_out_and_counted() {
    let world = World::new();
    // Similarities run from 0.20 to 0.33: as many pairs at every step.
    let settings = ChcSettings { minimum_similarity: Some(0.215), ..ChcSettings::default() };
    let clusters = world.cluster(&settings).unwrap();
    assert_eq!(clusters.counts.filtered, 2 * THINGS.len() * LOOKS.len());
    for (pair, place) in clusters.pairs.iter().zip(&clusters.layout) {
        assert_eq!(pair.kept, pair.similarity >= 0.215);
        assert_eq!(pair.kept, place.is_some());
        assert!(pair.kept || pair.topic.is_none());
    }
    let settings = ChcSettings { similarity_quantile: 0.5, ..ChcSettings::default() };
    let clusters = world.cluster(&settings).unwrap();
    assert_eq!(clusters.counts.filtered, world.keys.len() / 2);
}

#[test]
fn topics_too_small_for_a_domain_or_without_a_word_are_dropped_and_counted() {
    let mut world = World::new();
    // Of the tigers all but twelve go, and nothing is said of pears.
    let mut tigers = 0;
    let order: Vec<usize> = (0..world.keys.len())
        .filter(|row| {
            let tiger = thing_and_look(&world.keys[*row]).0 == 0;
            tigers += usize::from(tiger);
            !tiger || tigers <= 12
        })
        .collect();
    world = select(&world, &order);
    world.captions.iter_mut().filter(|caption| caption.ends_with("pear")).for_each(|caption| caption.clear());
    let settings = ChcSettings { minimum_domain_size: 20, ..ChcSettings::default() };
    let clusters = world.cluster(&settings).unwrap();

    let labels: BTreeSet<&str> = clusters.topics.iter().map(|topic| topic.name.as_str()).collect();
    assert_eq!(labels, BTreeSet::from(["teapot", "rocket", "violin", "castle"]));
    let Counts { small_topics, unnamed_topics, dropped, .. } = clusters.counts;
    assert_eq!((small_topics, unnamed_topics), (1, 1));
    assert!(dropped > PAIRS_EACH * LOOKS.len() && dropped <= 12 + PAIRS_EACH * LOOKS.len());
    let nameless = |key: &str| [0, 5].contains(&thing_and_look(key).0);
    assert!(clusters.pairs.iter().filter(|pair| nameless(&pair.key)).all(|pair| pair.topic.is_none()));
}

#[test]
fn every_stage_is_reported_in_order() {
    let mut stages = vec![];
    cluster(&World::new().input(), &ChcSettings::default(), 7, StagesIn::Memory, &mut |stage| {
        stages.push(stage)
    })
    .unwrap();
    assert_eq!(stages, Stage::ALL);
}

#[test]
fn input_with_holes_is_refused_by_name() {
    let refused = |change: fn(&mut World)| {
        let mut world = World::new();
        change(&mut world);
        world.cluster(&ChcSettings::default()).unwrap_err().to_string()
    };
    let found = refused(|world| world.similarities.truncate(251));
    assert_eq!(found, "similarities: 251 rows for 252 pairs: give one row per pair");
    let found = refused(|world| world.image_features[[3, 1]] = f32::NAN);
    assert!(found.starts_with("image features of pair `00-1-0` is not finite"), "{found}");
    let found = refused(|world| world.caption_embeddings.row_mut(1).fill(0.0));
    assert!(found.starts_with("caption embedding of pair `00-0-1` is all zeros"), "{found}");
    let found = refused(|world| world.similarities[0] = f32::INFINITY);
    assert!(found.starts_with("similarity of pair `00-0-0` is not finite"), "{found}");
    let found = refused(|world| world.keys[1] = world.keys[0].clone());
    assert!(found.starts_with("key `00-0-0` names two pairs"), "{found}");
}

#[test]
fn too_few_pairs_and_no_topic_are_errors_that_say_what_to_do() {
    let world = World::new();
    let few = select(&world, &[0, 1, 2]).cluster(&ChcSettings::default());
    assert!(matches!(few, Err(ClusterError::TooFewPairs { found: 3, given: 3, needed: 20 })));
    let none = select(&world, &[]).cluster(&ChcSettings::default());
    assert!(matches!(none, Err(ClusterError::TooFewPairs { found: 0, given: 0, needed: 20 })));
    let coarse = ChcSettings { minimum_domain_size: 1000, ..ChcSettings::default() };
    let message = world.cluster(&coarse).unwrap_err().to_string();
    assert!(message.starts_with("no topic found among 252 pairs: "), "{message}");
    assert!(message.ends_with("give more pairs, or lower minimum_domain_size (now 1000)"), "{message}");
}

#[test]
fn groups_without_words_are_told_from_groups_that_are_too_small() {
    let mut world = World::new();
    world.captions.fill("a photo of it".to_owned());
    let message = world.cluster(&ChcSettings::default()).unwrap_err().to_string();
    let counted = format!("in groups without a word ({})", THINGS.len());
    assert!(
        message.contains(&counted) && message.contains("captions of different groups need words"),
        "{message}"
    );
    assert!(!message.contains("lower hdbscan.min_cluster_size"), "{message}");
}

#[test]
fn without_similarities_pairs_are_clustered_but_not_filtered() {
    let world = World::new();
    let input = ChcInput { similarities: None, ..world.input() };
    let unknown = cluster(&input, &ChcSettings::default(), 7, StagesIn::Memory, &mut |_| ()).unwrap();
    assert_eq!(places(&unknown), places(&world.cluster(&ChcSettings::default()).unwrap()));
    assert!(unknown.pairs.iter().all(|pair| pair.similarity.is_nan()));
    let filters = [
        ChcSettings { similarity_quantile: 0.1, ..ChcSettings::default() },
        ChcSettings { minimum_similarity: Some(0.2), ..ChcSettings::default() },
    ];
    for settings in filters {
        let error = cluster(&input, &settings, 7, StagesIn::Memory, &mut |_| ()).unwrap_err().to_string();
        assert!(error.contains("of two models, so that their similarity cannot be computed"), "{error}");
    }
}

/// Two thirds of the pairs are laid out.
fn of_a_sample(world: &World) -> ChcSettings {
    ChcSettings { fit_sample: Some(world.keys.len() * 2 / 3), ..ChcSettings::default() }
}

#[test]
fn pairs_that_are_not_laid_out_join_the_topics_of_their_neighbours() {
    let world = World::new();
    let clusters = world.cluster(&of_a_sample(&world)).unwrap();
    assert_eq!(clusters.topics.len(), THINGS.len());
    assert!(clusters.counts.noise * 20 < world.keys.len(), "{:?}", clusters.counts);
    assert!(clusters.layout.iter().all(Option::is_some));
    for pair in clusters.pairs.iter().filter(|pair| pair.topic.is_some()) {
        let label = &clusters.topics[pair.topic.unwrap()].name;
        assert_eq!(label, THINGS[thing_and_look(&pair.key).0], "{}", pair.key);
    }
}

/// Rows that know how often each was asked for.
struct Counted<'a> {
    rows: &'a dyn Rows,
    asked: Mutex<Vec<usize>>,
}

impl Rows for Counted<'_> {
    fn shape(&self) -> (usize, usize) {
        self.rows.shape()
    }

    fn read(&self, row: usize, into: &mut [f32]) {
        self.rows.read(row, into);
    }

    fn select(&self, rows: &[usize]) -> Array2<f32> {
        let mut asked = self.asked.lock().unwrap();
        rows.iter().for_each(|row| asked[*row] += 1);
        self.rows.select(rows)
    }
}

#[test]
fn neighbours_of_others_are_searched_once_for_topics_and_map() {
    let world = World::new();
    let count = world.keys.len();
    let embeddings = Counted { rows: &world.caption_embeddings, asked: Mutex::new(vec![0; count]) };
    let input = ChcInput { caption_embeddings: &embeddings, ..world.input() };
    let folder = tempfile::tempdir().unwrap();
    let settings = of_a_sample(&world);
    let whole = cluster(&input, &settings, 7, StagesIn::Folder(folder.path()), &mut |_| ()).unwrap();
    let mut asked = std::mem::replace(&mut *embeddings.asked.lock().unwrap(), vec![0; count]);
    asked.sort_unstable();
    let (others, fitted) = asked.split_at(count / 3);
    // For their neighbours, and for the middle of their topic.
    assert!(others.iter().all(|times| *times == 2), "{others:?}");
    // For their own neighbours, for those of the others, and for the middle of their topic.
    assert!(fitted.iter().all(|times| *times == 3), "{fitted:?}");

    for lost in ["topics", "map"] {
        std::fs::remove_file(folder.path().join(lost).with_extension("safetensors")).unwrap();
    }
    let again = cluster(&input, &settings, 7, StagesIn::Folder(folder.path()), &mut |_| ()).unwrap();
    assert_eq!(again, whole);
    // For the middle of their topic alone.
    assert!(embeddings.asked.lock().unwrap().iter().all(|times| *times <= 1));
}

#[test]
fn a_clustering_that_is_stopped_in_any_stage_goes_on_to_the_same_clusters() {
    let world = World::new();
    let neighbours = (Stage::Neighbours, "neighbours.safetensors");
    let others = (Stage::Neighbours, "others-0.safetensors");
    let later = [
        (Stage::Reduction, "reduction.safetensors"),
        (Stage::Topics, "topics.safetensors"),
        (Stage::Domains, "domains-0.safetensors"),
        (Stage::Map, "map.safetensors"),
    ];
    stopped_in_any_stage(&world, &ChcSettings::default(), &[&[neighbours][..], &later].concat());
    stopped_in_any_stage(&world, &of_a_sample(&world), &[&[neighbours, others][..], &later].concat());
}

/// Stops in each stage, after which the files of those before are there, and goes on.
fn stopped_in_any_stage(world: &World, settings: &ChcSettings, files: &[(Stage, &str)]) {
    let unbroken = world.cluster(settings).unwrap();
    for stopped in Stage::ALL {
        let folder = tempfile::tempdir().unwrap();
        let mut until = |stage| assert_ne!(stage, stopped, "stopped here");
        let run = std::panic::AssertUnwindSafe(|| {
            cluster(&world.input(), settings, 7, StagesIn::Folder(folder.path()), &mut until)
        });
        assert!(std::panic::catch_unwind(run).is_err());
        let kept = std::fs::read_dir(folder.path()).unwrap();
        let kept: BTreeSet<String> =
            kept.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        let before = files.iter().filter(|(stage, _)| *stage < stopped);
        assert_eq!(kept, before.map(|(_, file)| (*file).to_owned()).collect(), "{stopped:?}");
        // A file that was half written when the machine stopped is no file.
        std::fs::write(folder.path().join("map.partial"), b"half").unwrap();
        let found =
            cluster(&world.input(), settings, 7, StagesIn::Folder(folder.path()), &mut |_| ()).unwrap();
        assert_eq!(found, unbroken, "{stopped:?}");
    }
}

#[test]
fn pieces_that_other_processes_make_end_in_the_same_clusters() {
    let world = World::new();
    let settings = of_a_sample(&world);
    let folder = tempfile::tempdir().unwrap();
    let asked = Mutex::new(Vec::new());
    let make = |pieces: &[Piece]| {
        asked.lock().unwrap().push(pieces.to_vec());
        // A piece that is not made is made by whoever asked for it.
        let made = if pieces.contains(&Piece::Map) { &pieces[..1] } else { pieces };
        Ok(make_pieces(&world.input(), &settings, 7, folder.path(), made)?)
    };
    let shared = || {
        let stages = StagesIn::Shared(folder.path(), &make);
        cluster(&world.input(), &settings, 7, stages, &mut |_| ()).unwrap()
    };
    let whole = world.cluster(&settings).unwrap();
    assert_eq!(shared(), whole);
    let first = vec![Piece::Layout, Piece::Others(0)];
    assert_eq!(*asked.lock().unwrap(), [first, vec![Piece::Map, Piece::Domains(0)]]);
    // What is there is not asked for again.
    assert_eq!(shared(), whole);
    assert_eq!(asked.lock().unwrap().len(), 2);
}

#[test]
fn pieces_of_no_clustering_or_of_one_of_other_pairs_are_refused() {
    let world = World::new();
    let (settings, folder) = (of_a_sample(&world), tempfile::tempdir().unwrap());
    let piece = |world: &World| {
        let made = make_pieces(&world.input(), &settings, 7, folder.path(), &[Piece::Layout]);
        made.map_err(|error| error.to_string())
    };
    assert!(piece(&world).unwrap_err().contains("no clustering that other processes share was begun here"));
    let make = |_: &[Piece]| Err("no machine is there".into());
    let stages = StagesIn::Shared(folder.path(), &make);
    let stopped = cluster(&world.input(), &settings, 7, stages, &mut |_| ()).unwrap_err();
    assert_eq!(stopped.to_string(), "pieces of the clustering: no machine is there");
    assert_eq!(piece(&world), Ok(()));
    let refused = "this process reads other features than the one that began the clustering here";
    assert!(piece(&select(&world, &[0, 1, 2])).unwrap_err().contains(refused));
    let mut changed = World::new();
    changed.caption_embeddings.row_mut(3).mapv_inplace(|value| -value);
    assert!(piece(&changed).unwrap_err().contains(refused));
    let of_seed = make_pieces(&world.input(), &settings, 8, folder.path(), &[Piece::Layout]).unwrap_err();
    assert!(of_seed.to_string().contains("other settings or another seed"), "{of_seed}");
}

#[test]
fn stages_of_another_clustering_are_not_gone_on_from() {
    let world = World::new();
    let settings = ChcSettings::default();
    let folder = tempfile::tempdir().unwrap();
    let kept = |world: &World, settings, seed| {
        cluster(&world.input(), settings, seed, StagesIn::Folder(folder.path()), &mut |_| ()).unwrap()
    };
    kept(&world, &settings, 7);
    assert_eq!(
        kept(&world, &settings, 8),
        cluster(&world.input(), &settings, 8, StagesIn::Memory, &mut |_| ()).unwrap()
    );
    let mut other = World::new();
    other.caption_embeddings.row_mut(3).mapv_inplace(|value| -value);
    assert_eq!(kept(&other, &settings, 7), other.cluster(&settings).unwrap());
    let noisier = ChcSettings {
        hdbscan: gram_cluster::HdbscanSettings { min_cluster_size: 12, min_samples: Some(4) },
        ..ChcSettings::default()
    };
    assert_eq!(kept(&world, &noisier, 7), world.cluster(&noisier).unwrap());
    let sample = of_a_sample(&world);
    kept(&world, &sample, 7);
    // Of three pairs in the order of keys, the third is not laid out.
    let mut keys: Vec<usize> = (0..world.keys.len()).collect();
    keys.sort_by_key(|row| &world.keys[*row]);
    let mut other = World::new();
    other.caption_embeddings.row_mut(keys[2]).mapv_inplace(|value| -value);
    assert_eq!(kept(&other, &sample, 7), other.cluster(&sample).unwrap());
    std::fs::write(folder.path().join("reduction.safetensors"), b"damaged").unwrap();
    assert_eq!(kept(&world, &settings, 7), world.cluster(&settings).unwrap());
}
