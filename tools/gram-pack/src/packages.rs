//! Reads unpacked npm packages `@iconify-json/<set>`: SVG bodies, names, licence and version.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::sets::{self, IconSet};

/// How deep below the given folder a package may lie.
const DEPTH: usize = 4;

/// Why the packages could not be read.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// A file or folder cannot be opened.
    #[error("{path}: cannot be read: {source}: pass the folder that holds the unpacked packages as --icons")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file is not the JSON that this kind of package has.
    #[error("{path}: not what the package should hold: {source}: unpack the package anew")]
    Json {
        /// The file.
        path: PathBuf,
        /// Line, column and what was expected.
        source: serde_json::Error,
    },
    /// Nothing usable was found.
    #[error("{path}: found no {what} below this folder: unpack the npm package there")]
    Missing {
        /// The folder that was searched.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
    },
}

/// One icon as its package stores it.
#[derive(Clone, Debug, Default)]
pub struct Icon {
    /// The icon's name in its set.
    pub name: String,
    /// Further names of the same drawing.
    pub other_names: Vec<String>,
    /// The Unicode code points in lower-case hexadecimal, joined by `-`, if the package tells them.
    pub characters: Option<String>,
    /// What stands between `<svg>` and `</svg>`.
    pub body: String,
    /// Left, top, width and height of the drawing's box, in its own units.
    pub view_box: [f32; 4],
}

/// Who made a set and under which terms it may be used.
#[derive(Clone, Debug, Default)]
pub struct Credit {
    /// The set's title.
    pub title: String,
    /// The author's name.
    pub author: String,
    /// The author's page.
    pub author_url: String,
    /// The licence's title.
    pub licence: String,
    /// The licence's page.
    pub licence_url: String,
    /// The npm package's version.
    pub version: String,
}

/// One icon set with all of its icons, sorted by name.
#[derive(Debug)]
pub struct Package {
    /// The set's entry in the table of sets.
    pub set: &'static IconSet,
    /// Title, author, licence and version.
    pub credit: Credit,
    /// The icons, without those that the set has withdrawn.
    pub icons: Vec<Icon>,
}

#[derive(Deserialize)]
struct IconsFile {
    prefix: String,
    #[serde(flatten)]
    defaults: Frame,
    icons: BTreeMap<String, IconEntry>,
    #[serde(default)]
    aliases: BTreeMap<String, AliasEntry>,
}

#[derive(Deserialize)]
struct Frame {
    left: Option<f32>,
    top: Option<f32>,
    width: Option<f32>,
    height: Option<f32>,
}

#[derive(Deserialize)]
struct IconEntry {
    body: String,
    #[serde(flatten)]
    frame: Frame,
    #[serde(default)]
    hidden: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AliasEntry {
    parent: String,
    #[serde(default)]
    rotate: i32,
    #[serde(default)]
    h_flip: bool,
    #[serde(default)]
    v_flip: bool,
}

#[derive(Deserialize)]
struct InfoFile {
    name: String,
    author: Author,
    license: Licence,
}

#[derive(Deserialize)]
struct Author {
    name: String,
    #[serde(default)]
    url: String,
}

#[derive(Deserialize)]
struct Licence {
    title: String,
    #[serde(default)]
    url: String,
}

#[derive(Default, Deserialize)]
struct PackageFile {
    #[serde(default)]
    version: String,
}

/// All known sets below `folder`, in the order of [`sets::SETS`]; unknown ones are left out.
pub fn read_all(folder: &Path) -> Result<Vec<Package>, PackageError> {
    let mut found = BTreeMap::new();
    for candidate in folders_with(folder, "icons.json")? {
        if !candidate.join("info.json").is_file() {
            continue;
        }
        if let Some(package) = read(&candidate)? {
            found.insert(package.set.prefix, package);
        }
    }
    let packages: Vec<Package> = sets::SETS.iter().filter_map(|set| found.remove(set.prefix)).collect();
    if packages.is_empty() {
        return Err(PackageError::Missing {
            path: folder.to_owned(),
            what: "icon set (icons.json with info.json)",
        });
    }
    Ok(packages)
}

/// The folders below `folder` that hold a file called `name`, sorted.
pub fn folders_with(folder: &Path, name: &str) -> Result<Vec<PathBuf>, PackageError> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), 0)];
    while let Some((path, depth)) = open.pop() {
        if path.join(name).is_file() {
            found.push(path.clone());
        }
        if depth == DEPTH {
            continue;
        }
        let failed = |source| PackageError::Read { path: path.clone(), source };
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let inner = entry.map_err(failed)?.path();
            if inner.is_dir() {
                open.push((inner, depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The JSON file at `path`.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, PackageError> {
    let bytes = std::fs::read(path).map_err(|source| PackageError::Read { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| PackageError::Json { path: path.to_owned(), source })
}

fn read(folder: &Path) -> Result<Option<Package>, PackageError> {
    let file: IconsFile = read_json(&folder.join("icons.json"))?;
    let Some(set) = sets::find(&file.prefix) else { return Ok(None) };
    let info: InfoFile = read_json(&folder.join("info.json"))?;
    let package_path = folder.join("package.json");
    let package: PackageFile =
        if package_path.is_file() { read_json(&package_path)? } else { PackageFile::default() };
    let characters_path = folder.join("chars.json");
    let characters: BTreeMap<String, String> =
        if characters_path.is_file() { read_json(&characters_path)? } else { BTreeMap::new() };
    let credit = Credit {
        title: info.name,
        author: info.author.name,
        author_url: info.author.url,
        licence: info.license.title,
        licence_url: info.license.url,
        version: package.version,
    };
    Ok(Some(Package { set, credit, icons: icons(file, &characters) }))
}

fn icons(file: IconsFile, characters: &BTreeMap<String, String>) -> Vec<Icon> {
    let mut characters_of: BTreeMap<&str, &str> = BTreeMap::new();
    for (points, name) in characters {
        characters_of.entry(name).or_insert(points);
    }
    let mut other_names: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, alias) in file.aliases {
        // A turned or mirrored alias is another drawing.
        if alias.rotate == 0 && !alias.h_flip && !alias.v_flip {
            other_names.entry(alias.parent).or_default().push(name);
        }
    }
    let defaults = file.defaults;
    file.icons
        .into_iter()
        .filter(|(_, entry)| !entry.hidden)
        .map(|(name, entry)| Icon {
            other_names: other_names.remove(&name).unwrap_or_default(),
            characters: characters_of.get(name.as_str()).map(|points| (*points).to_owned()),
            view_box: view_box(&entry.frame, &defaults),
            body: entry.body,
            name,
        })
        .collect()
}

fn view_box(frame: &Frame, defaults: &Frame) -> [f32; 4] {
    // 16 is the size that the iconify format assumes when none is written.
    [
        frame.left.or(defaults.left).unwrap_or(0.0),
        frame.top.or(defaults.top).unwrap_or(0.0),
        frame.width.or(defaults.width).unwrap_or(16.0),
        frame.height.or(defaults.height).unwrap_or(16.0),
    ]
}
