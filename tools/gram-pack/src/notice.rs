//! What must be said about the data: where it comes from, under which licence, and how to make it again.

use std::fmt::Write;

use crate::captions::describe;
use crate::datasets::DATASETS;
use crate::packages::Package;
use crate::sets::Role;

const NOTICE_HEAD: &str = "\
The pictures under demo/ are renderings of the drawings of the icon sets below: resized, moved, turned, recoloured,
blurred or otherwise changed, as gram-pack's looks say. Each picture stays under the licence of the set that it was
made from. The pair's JSON member, or the manifest's domain column, names that set. The model was trained on
renderings of the pool's sets alone.

Names and groups of emoji are those of Unicode, taken from the npm package unicode-emoji-json (MIT licence,
https://github.com/muan/unicode-emoji-json).
";

/// The text of NOTICE: every set's title, author, licence and version, and the files that use it.
pub fn notice(packages: &[Package]) -> Result<String, std::fmt::Error> {
    let mut text = NOTICE_HEAD.to_owned();
    for package in packages.iter().filter(|package| package.set.role != Role::Unseen) {
        let credit = &package.credit;
        writeln!(text, "\n{}", credit.title)?;
        writeln!(text, "  author:  {} ({})", credit.author, credit.author_url)?;
        writeln!(text, "  licence: {} ({})", credit.licence, credit.licence_url)?;
        writeln!(text, "  source:  npm package @iconify-json/{} {}", package.set.prefix, credit.version)?;
        writeln!(text, "  used in: {}", uses(package))?;
    }
    Ok(text)
}

fn uses(package: &Package) -> String {
    match package.set.role {
        Role::Pool => "demo/pairs-00000.tar.gz, training of the model".to_owned(),
        Role::HeldOut => {
            let files: Vec<String> = DATASETS
                .iter()
                .filter(|dataset| dataset.sets.contains(&package.set.prefix))
                .map(|dataset| format!("demo/{}.tar.gz", dataset.name))
                .collect();
            files.join(", ")
        }
        Role::Unseen => "nothing that is shipped".to_owned(),
    }
}

const README_HEAD: &str = "\
# Demo data

Small pictures of emoji, 48 pixels square, in two parts that have no vendor in common. Licences and credits are in
[NOTICE](../NOTICE).

`pairs-00000.tar.gz` holds image-text pairs for clustering and meta-training, as a WebDataset shard: for each key a
`.jpg`, its caption `.txt`, and a `.json` with set, vendor, concept, group and look. Every concept is drawn by several
sets, in random looks; the caption says some of what the look is, and nothing that it is not.

The other archives are labelled datasets. `manifest.csv` comes first (`image,label,domain,split`), then the pictures.
Each has 40 classes, and for each class and domain 4 pictures for training, 1 for validation and 3 for test. A domain
is the set that drew the picture. All pictures of a dataset share one look, which is not the same in any two.

| dataset | domains | look |
|---|---|---|
";

/// The text of the demo data's README.
pub fn readme(seed: u64) -> Result<String, std::fmt::Error> {
    let mut text = README_HEAD.to_owned();
    for dataset in &DATASETS {
        writeln!(text, "| {} | {} | {} |", dataset.name, dataset.sets.join(", "), describe(&dataset.look))?;
    }
    write!(
        text,
        "
Made by

    cargo run --release --bin gram-pack -- demo --icons ICONS --out assets/demo --seed {seed}

where ICONS is a folder with the unpacked npm packages `unicode-emoji-json` and `@iconify-json/SET` in the versions
that NOTICE names. The same packages and seed give the same bytes.
"
    )?;
    Ok(text)
}
