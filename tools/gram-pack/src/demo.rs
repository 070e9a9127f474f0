//! `gram-pack demo`: the data that the repository ships, pairs by the pool and labelled datasets by held-out
//! vendors.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, ensure};
use gram_data::random::stream;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::archive::{self, Member};
use crate::datasets::Dataset;
use crate::drawings::{Drawing, has_telling_name, is_unicode_emoji};
use crate::labelled::{self, Example};
use crate::looks::Look;
use crate::pairs::{Pair, PairSettings, jpeg};
use crate::svg::PaintError;

/// Concepts among the pairs.
const CONCEPTS: usize = 250;
/// Pairs of one concept.
const PAIRS: usize = 16;
/// Drawings that a concept needs, so that its pairs fall into several domains.
const LEAST_DRAWINGS: usize = 4;
/// Where the numbers of these pairs start: none of them is also a pair of pre-training.
const FIRST_NUMBER: usize = 1000;
/// The splits of a labelled dataset, with the pictures of each for every class and domain.
const SPLITS: [(&str, usize); 3] = [("train", 4), ("validation", 1), ("test", 3)];

/// Writes `pairs-00000.tar.gz`; prints what was written.
pub fn write_pairs(folder: &Path, pool: &[Drawing], settings: PairSettings) -> anyhow::Result<()> {
    let chosen = concepts_of_pairs(pool, settings.seed);
    let made: Vec<_> = chosen.par_iter().flat_map_iter(|drawings| pairs_of(drawings, settings)).collect();
    let mut pairs: Vec<Pair> = made.into_iter().collect::<Result<_, _>>()?;
    ensure!(!pairs.is_empty(), "no concept has {LEAST_DRAWINGS} drawings: unpack more sets below --icons");
    pairs.shuffle(&mut stream(settings.seed, "order of demo pairs"));
    let count = pairs.len();
    let members: Vec<Member> = pairs
        .into_iter()
        .enumerate()
        .flat_map(|(index, pair)| pair.members(&format!("{index:05}")))
        .collect();
    let bytes = archive::write_tar_gz(&folder.join("pairs-00000.tar.gz"), &members)?;
    println!("pairs: {} concepts, {count} pairs, {bytes} bytes", chosen.len());
    Ok(())
}

/// Some of the concepts that have enough drawings, each with its drawings in random order.
fn concepts_of_pairs(pool: &[Drawing], seed: u64) -> Vec<Vec<&Drawing>> {
    let mut drawings_of: BTreeMap<&str, Vec<&Drawing>> = BTreeMap::new();
    for drawing in pool {
        drawings_of.entry(&drawing.concept.slug).or_default().push(drawing);
    }
    let is_rich = |drawings: &Vec<&Drawing>| {
        let emoji = drawings.iter().filter(|drawing| is_unicode_emoji(drawing)).count();
        emoji >= LEAST_DRAWINGS && has_telling_name(&drawings[0].concept)
    };
    let mut rich: Vec<Vec<&Drawing>> = drawings_of.into_values().filter(is_rich).collect();
    let mut stream = stream(seed, "concepts of demo pairs");
    rich.shuffle(&mut stream);
    rich.truncate(CONCEPTS);
    for drawings in &mut rich {
        drawings.shuffle(&mut stream);
    }
    rich
}

/// One concept's pairs, dealt to its drawings in turn.
fn pairs_of(drawings: &[&Drawing], settings: PairSettings) -> Vec<Result<Pair, PaintError>> {
    let count = drawings.len();
    (0..PAIRS)
        .flat_map(|number| settings.pairs(drawings[number % count], [FIRST_NUMBER + number / count]))
        .collect()
}

/// Writes one labelled dataset; prints what was written.
pub fn write_dataset(
    folder: &Path,
    dataset: &Dataset,
    held_out: &[Drawing],
    settings: PairSettings,
) -> anyhow::Result<()> {
    let jobs = jobs_of(dataset, held_out)?;
    let examples: Vec<_> = jobs.par_iter().map(|job| job.example(dataset, settings)).collect();
    let examples: Vec<Example> = examples.into_iter().collect::<anyhow::Result<_>>()?;
    let count = examples.len();
    let bytes = labelled::write(&folder.join(format!("{}.tar.gz", dataset.name)), examples)?;
    println!("{}: {count} pictures, {bytes} bytes", dataset.name);
    Ok(())
}

/// One picture of a labelled dataset that is to be made.
struct Job<'a> {
    drawing: &'a Drawing,
    split: &'static str,
    number: usize,
}

fn jobs_of<'a>(dataset: &Dataset, held_out: &'a [Drawing]) -> anyhow::Result<Vec<Job<'a>>> {
    let mut jobs = Vec::new();
    for class in dataset.classes() {
        for set in dataset.sets {
            let drawing = held_out
                .iter()
                .find(|drawing| drawing.set.prefix == set && drawing.concept.slug == class)
                .with_context(|| {
                    format!(
                        "{}: {set} has no drawing of {class}: unpack the whole set below --icons",
                        dataset.name
                    )
                })?;
            for (split, count) in SPLITS {
                jobs.extend((0..count).map(|number| Job { drawing, split, number }));
            }
        }
    }
    Ok(jobs)
}

impl Job<'_> {
    fn example(&self, dataset: &Dataset, settings: PairSettings) -> anyhow::Result<Example> {
        let Self { drawing, split, number } = self;
        let set = drawing.set.prefix;
        let image = format!("{set}/{}-{split}-{number}.jpg", drawing.concept.slug);
        let mut stream = stream(settings.seed, &format!("{} {image}", dataset.name));
        let look = Look::vary(dataset.look, &mut stream);
        let picture = look.picture(&drawing.svg, settings.edge, &mut stream)?;
        let jpeg = jpeg(&picture, settings.quality)?;
        Ok(Example { image, label: drawing.concept.name.clone(), domain: set, split, jpeg })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::concepts::Concept;
    use crate::datasets::DATASETS;
    use crate::packages::Icon;
    use crate::sets;
    use crate::svg::Svg;

    const SETTINGS: PairSettings = PairSettings { edge: 16, quality: 80, seed: 4 };

    fn drawing(prefix: &str, slug: &str) -> Drawing {
        let icon = Icon {
            body: r##"<path fill="#c80000" d="M0 0h10v10H0z"/>"##.into(),
            view_box: [0.0, 0.0, 10.0, 10.0],
            ..Icon::default()
        };
        let set = sets::find(prefix).unwrap();
        let group = if set.kind == sets::Kind::Icons { "icons" } else { "animals" };
        Drawing {
            set,
            icon: slug.into(),
            concept: Concept { slug: slug.into(), name: slug.replace('-', " "), group },
            style: "flat",
            svg: Svg::new(&icon),
            average: None,
        }
    }

    #[test]
    fn a_dataset_has_its_manifest_first_and_eight_pictures_for_every_class_and_domain() {
        let dataset = &DATASETS[0];
        let held_out: Vec<Drawing> = dataset
            .classes()
            .into_iter()
            .flat_map(|class| dataset.sets.into_iter().map(move |set| drawing(set, class)))
            .collect();
        let folder = tempfile::tempdir().unwrap();
        write_dataset(folder.path(), dataset, &held_out, SETTINGS).unwrap();
        let file = std::fs::File::open(folder.path().join("animals.tar.gz")).unwrap();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
        let mut entries = archive.entries().unwrap();
        let mut first = entries.next().unwrap().unwrap();
        assert_eq!(first.path().unwrap().to_str(), Some("manifest.csv"));
        let mut manifest = String::new();
        first.read_to_string(&mut manifest).unwrap();
        let rows: Vec<&str> = manifest.lines().skip(1).collect();
        assert_eq!(rows.len(), 40 * 3 * 8);
        for (split, count) in SPLITS {
            let ending = format!(",ant,noto,{split}");
            assert_eq!(rows.iter().filter(|row| row.ends_with(&ending)).count(), count, "{split}");
        }
        assert_eq!(entries.count(), rows.len());
    }

    #[test]
    fn a_class_that_a_set_has_not_drawn_is_named() {
        let error = jobs_of(&DATASETS[0], &[drawing("noto", "ant")]).err().unwrap();
        assert_eq!(
            error.to_string(),
            "animals: twemoji has no drawing of ant: unpack the whole set below --icons"
        );
    }

    #[test]
    fn only_concepts_with_enough_emoji_give_pairs_and_all_their_drawings_take_part() {
        let pool = [
            drawing("emojione", "tiger"),
            drawing("emojione-v1", "tiger"),
            drawing("openmoji", "tiger"),
            drawing("fxemoji", "tiger"),
            drawing("game-icons", "tiger"),
            drawing("emojione", "yak"),
            drawing("mdi", "yak"),
            drawing("ph", "yak"),
            drawing("tabler", "yak"),
        ];
        let chosen = concepts_of_pairs(&pool, 1);
        assert_eq!(chosen.len(), 1);
        assert_eq!(chosen[0].len(), 5);
        assert_eq!(pairs_of(&chosen[0], SETTINGS).len(), PAIRS);
    }
}
