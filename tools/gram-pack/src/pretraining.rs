//! `gram-pack pretraining`: the pool in random looks as shards, and a plain held-out dataset to watch
//! progress on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::ensure;
use gram_data::random::stream;
use rand::seq::SliceRandom;
use rayon::prelude::*;

use crate::archive::{self, Member};
use crate::attributes::Attributes;
use crate::concepts::Concept;
use crate::drawings::{Drawing, has_telling_name};
use crate::labelled::{self, Example};
use crate::looks::Look;
use crate::pairs::{Pair, PairSettings, jpeg};
use crate::sets::Kind;
use crate::svg::PaintError;

/// Pairs in one shard.
const SHARD: usize = 10_000;
/// Concepts of the plain validation dataset.
const VALIDATION_CONCEPTS: usize = 100;
/// The held-out sets that draw them.
const VALIDATION_SETS: [&str; 3] = ["noto", "twemoji", "fluent-emoji-flat"];
/// Pool drawings that a validation concept must have, so that it can have been learned.
const POOL_DRAWINGS: usize = 3;

/// How many pairs each drawing gives.
#[derive(Clone, Copy, Debug)]
pub struct Variations {
    /// Of an emoji.
    pub emoji: usize,
    /// Of an interface icon.
    pub icons: usize,
}

/// Writes `pretraining-00000.tar` and so on; prints what was written.
pub fn write_pairs(
    folder: &Path,
    pool: &[Drawing],
    variations: Variations,
    settings: PairSettings,
) -> anyhow::Result<()> {
    let made: Vec<Result<Pair, PaintError>> = pool
        .par_iter()
        .flat_map_iter(|drawing| {
            let count = if drawing.set.kind == Kind::Icons { variations.icons } else { variations.emoji };
            settings.pairs(drawing, 0..count)
        })
        .collect();
    let failed = made.iter().filter(|pair| pair.is_err()).count();
    let mut pairs: Vec<Pair> = made.into_iter().flatten().collect();
    ensure!(!pairs.is_empty(), "no pair could be made: --icons holds no drawing of a pool set");
    pairs.shuffle(&mut stream(settings.seed, "order of pairs"));
    let total = pairs.len();
    let bytes = write_shards(folder, "pretraining", pairs)?;
    println!("{total} pairs in {} shards, {bytes} bytes; {failed} pictures failed", total.div_ceil(SHARD));
    Ok(())
}

fn write_shards(folder: &Path, name: &str, pairs: Vec<Pair>) -> anyhow::Result<u64> {
    let members: Vec<Member> = pairs
        .into_iter()
        .enumerate()
        .flat_map(|(index, pair)| pair.members(&format!("{index:06}")))
        .collect();
    let mut bytes = 0;
    for (index, shard) in members.chunks(3 * SHARD).enumerate() {
        bytes += archive::write_tar(&folder.join(format!("{name}-{index:05}.tar")), shard)?;
    }
    Ok(bytes)
}

/// Writes `plain-validation.tar.gz`: concepts of all groups, each by three held-out sets, in plain look.
pub fn write_validation(
    path: &Path,
    pool: &[Drawing],
    held_out: &[Drawing],
    settings: PairSettings,
) -> anyhow::Result<()> {
    let chosen = validation_concepts(pool, held_out, settings.seed);
    let mut examples = Vec::new();
    for slug in &chosen {
        for set in VALIDATION_SETS {
            let found =
                held_out.iter().find(|drawing| drawing.set.prefix == set && drawing.concept.slug == *slug);
            examples.extend(found.map(|drawing| plain_example(drawing, settings)).transpose()?);
        }
    }
    let count = examples.len();
    let bytes = labelled::write(path, examples)?;
    println!("plain validation: {} concepts, {count} pictures, {bytes} bytes", chosen.len());
    Ok(())
}

/// Concepts drawn by all validation sets and known to the pool, dealt from the groups in turn.
fn validation_concepts(pool: &[Drawing], held_out: &[Drawing], seed: u64) -> Vec<String> {
    let mut pool_drawings: BTreeMap<&str, usize> = BTreeMap::new();
    for drawing in pool {
        *pool_drawings.entry(&drawing.concept.slug).or_default() += 1;
    }
    let mut sets_of: BTreeMap<&Concept, BTreeSet<&str>> = BTreeMap::new();
    for drawing in held_out.iter().filter(|drawing| VALIDATION_SETS.contains(&drawing.set.prefix)) {
        sets_of.entry(&drawing.concept).or_default().insert(drawing.set.prefix);
    }
    let mut groups: BTreeMap<&str, Vec<&Concept>> = BTreeMap::new();
    for (concept, sets) in sets_of {
        let known = pool_drawings.get(concept.slug.as_str()).is_some_and(|count| *count >= POOL_DRAWINGS);
        if known && sets.len() == VALIDATION_SETS.len() && has_telling_name(concept) {
            groups.entry(concept.group).or_default().push(concept);
        }
    }
    for (group, concepts) in &mut groups {
        concepts.shuffle(&mut stream(seed, &format!("validation concepts of {group}")));
    }
    let longest = groups.values().map(Vec::len).max().unwrap_or_default();
    let in_turn =
        (0..longest).flat_map(|rank| groups.values().filter_map(move |concepts| concepts.get(rank)));
    in_turn.take(VALIDATION_CONCEPTS).map(|concept| concept.slug.clone()).collect()
}

fn plain_example(drawing: &Drawing, settings: PairSettings) -> Result<Example, PaintError> {
    let slug = &drawing.concept.slug;
    let mut stream = stream(settings.seed, &format!("plain {}:{slug}", drawing.set.prefix));
    let look = Look::vary(Attributes::PLAIN, &mut stream);
    let picture = look.picture(&drawing.svg, settings.edge, &mut stream)?;
    Ok(Example {
        image: format!("{}/{slug}.jpg", drawing.set.prefix),
        label: drawing.concept.name.clone(),
        domain: drawing.set.prefix,
        split: "test",
        jpeg: jpeg(&picture, settings.quality)?,
    })
}
