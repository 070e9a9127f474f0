//! The datasets of the literature in the folders that CoOp keeps them in.
//!
//! Eleven datasets come with a shared split (`split_zhou_*.json`), FGVC Aircraft with lists of its own,
//! ImageNet and its four variants with folders. Names, folders and sentences are those of CoOp and CoCoOp
//! (Zhou et al., IJCV 2022 and CVPR 2022). What is in its folder says which dataset it is, not the folder's
//! name.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Described, Split, folder, image_net, split_file};
use crate::text_file::lines;
use crate::{DataError, ImageFile};

/// A dataset of the literature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Benchmark {
    /// ImageNet (ILSVRC 2012): the validation images are the test images.
    Imagenet,
    /// Caltech101 without its background class and its second class of faces.
    Caltech101,
    /// Oxford-IIIT Pets.
    OxfordPets,
    /// Stanford Cars.
    StanfordCars,
    /// Oxford Flowers, 102 classes.
    OxfordFlowers,
    /// Food-101.
    Food101,
    /// FGVC Aircraft, by variant.
    FgvcAircraft,
    /// SUN397.
    Sun397,
    /// Describable Textures.
    Dtd,
    /// EuroSAT.
    Eurosat,
    /// UCF101, middle frames.
    Ucf101,
    /// ImageNetV2, matched frequency.
    Imagenetv2,
    /// ImageNet-Sketch.
    ImagenetSketch,
    /// ImageNet-A: 200 of ImageNet's classes.
    ImagenetA,
    /// ImageNet-R: another 200.
    ImagenetR,
}

/// What is known of a dataset.
struct Facts {
    key: &'static str,
    /// Below the root of all datasets.
    folder: &'static str,
    /// Of images, in the dataset's folder.
    images: &'static str,
    template: &'static str,
}

const fn facts(
    key: &'static str,
    folder: &'static str,
    images: &'static str,
    template: &'static str,
) -> Facts {
    Facts { key, folder, images, template }
}

impl Benchmark {
    /// All of them, in the order of the paper's tables.
    pub const ALL: [Benchmark; 15] = [
        Benchmark::Imagenet,
        Benchmark::Caltech101,
        Benchmark::OxfordPets,
        Benchmark::StanfordCars,
        Benchmark::OxfordFlowers,
        Benchmark::Food101,
        Benchmark::FgvcAircraft,
        Benchmark::Sun397,
        Benchmark::Dtd,
        Benchmark::Eurosat,
        Benchmark::Ucf101,
        Benchmark::Imagenetv2,
        Benchmark::ImagenetSketch,
        Benchmark::ImagenetA,
        Benchmark::ImagenetR,
    ];

    fn facts(self) -> Facts {
        const PLAIN: &str = "a photo of a {}.";
        match self {
            Self::Imagenet => facts("imagenet", "imagenet", "images", PLAIN),
            Self::Caltech101 => facts("caltech101", "caltech-101", "101_ObjectCategories", PLAIN),
            Self::OxfordPets => {
                facts("oxford_pets", "oxford_pets", "images", "a photo of a {}, a type of pet.")
            }
            Self::StanfordCars => facts("stanford_cars", "stanford_cars", "", PLAIN),
            Self::OxfordFlowers => {
                facts("oxford_flowers", "oxford_flowers", "jpg", "a photo of a {}, a type of flower.")
            }
            Self::Food101 => facts("food101", "food-101", "images", "a photo of {}, a type of food."),
            Self::FgvcAircraft => {
                facts("fgvc_aircraft", "fgvc_aircraft", "images", "a photo of a {}, a type of aircraft.")
            }
            Self::Sun397 => facts("sun397", "sun397", "SUN397", PLAIN),
            Self::Dtd => facts("dtd", "dtd", "images", "{} texture."),
            Self::Eurosat => facts("eurosat", "eurosat", "2750", "a centered satellite photo of {}."),
            Self::Ucf101 => facts("ucf101", "ucf101", "UCF-101-midframes", "a photo of a person doing {}."),
            Self::Imagenetv2 => {
                facts("imagenetv2", "imagenetv2", "imagenetv2-matched-frequency-format-val", PLAIN)
            }
            Self::ImagenetSketch => facts("imagenet_sketch", "imagenet-sketch", "images", PLAIN),
            Self::ImagenetA => facts("imagenet_a", "imagenet-adversarial", "imagenet-a", PLAIN),
            Self::ImagenetR => facts("imagenet_r", "imagenet-rendition", "imagenet-r", PLAIN),
        }
    }

    /// The name in CoOp's configurations and in results.
    pub fn key(self) -> &'static str {
        self.facts().key
    }

    /// The sentence that zero-shot CLIP is asked in.
    pub fn template(self) -> &'static str {
        self.facts().template
    }

    /// Its folder below the root of all datasets.
    pub fn folder(self) -> &'static str {
        self.facts().folder
    }

    /// The datasets that lie below `root`.
    pub fn below(root: &Path) -> Vec<(Self, PathBuf)> {
        let folder = |benchmark: Self| (benchmark, root.join(benchmark.folder()));
        Self::ALL.map(folder).into_iter().filter(|(_, folder)| folder.is_dir()).collect()
    }

    /// The dataset in `folder`, by what is in it.
    pub(super) fn of_folder(folder: &Path) -> Option<Self> {
        let has = |name: &str| folder.join(name).exists();
        let split = split_file::in_folder(folder);
        let split = split.as_deref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy());
        if let Some(name) = split {
            return Self::ALL.into_iter().find(|benchmark| benchmark.split_file() == Some(name.as_ref()));
        }
        if has("images_variant_train.txt") || has("data/images_variant_train.txt") {
            return Some(Self::FgvcAircraft);
        }
        if has("101_ObjectCategories") {
            return Some(Self::Caltech101);
        }
        if has("annotations/trainval.txt") && has("images") {
            return Some(Self::OxfordPets);
        }
        if has("2750") {
            return Some(Self::Eurosat);
        }
        if has("images") && has("imdb") && has("labels") {
            return Some(Self::Dtd);
        }
        if has("images") && has("meta/classes.txt") {
            return Some(Self::Food101);
        }
        if has("ClassName.txt") && has("Training_01.txt") {
            return Some(Self::Sun397);
        }
        if has("ucfTrainTestlist") {
            return Some(Self::Ucf101);
        }
        has(image_net::NAMES).then(|| match () {
            () if has(Self::ImagenetA.facts().images) => Some(Self::ImagenetA),
            () if has(Self::ImagenetR.facts().images) => Some(Self::ImagenetR),
            () if has(Self::Imagenetv2.facts().images) => Some(Self::Imagenetv2),
            () if has("images/train") || has("images/val") => Some(Self::Imagenet),
            () if has("images") => Some(Self::ImagenetSketch),
            () => None,
        })?
    }

    /// The name of its shared split, if there is one.
    fn split_file(self) -> Option<&'static str> {
        Some(match self {
            Self::Caltech101 => "split_zhou_Caltech101.json",
            Self::OxfordPets => "split_zhou_OxfordPets.json",
            Self::StanfordCars => "split_zhou_StanfordCars.json",
            Self::OxfordFlowers => "split_zhou_OxfordFlowers.json",
            Self::Food101 => "split_zhou_Food101.json",
            Self::Sun397 => "split_zhou_SUN397.json",
            Self::Dtd => "split_zhou_DescribableTextures.json",
            Self::Eurosat => "split_zhou_EuroSAT.json",
            Self::Ucf101 => "split_zhou_UCF101.json",
            _ => return None,
        })
    }

    /// Reads the dataset in `path`: by its shared split if that is there.
    pub(super) fn read(self, path: &Path) -> Result<Vec<Described>, DataError> {
        let Facts { images, .. } = self.facts();
        if let Some(split) = self.split_file().map(|name| path.join(name)).filter(|path| path.is_file()) {
            return split_file::read(&split, Some(images));
        }
        match self {
            Self::FgvcAircraft => aircraft(path),
            Self::Caltech101 => classes(&path.join(images), caltech_name),
            Self::Eurosat => classes(&path.join(images), eurosat_name),
            Self::Dtd | Self::Food101 => classes(&path.join(images), |class| Some(class)),
            Self::OxfordPets => pets(path),
            Self::Sun397 => scenes(path),
            Self::Ucf101 => actions(path),
            Self::Imagenet => image_net::read(path),
            Self::Imagenetv2 => image_net::read_numbered(path, images),
            Self::ImagenetSketch | Self::ImagenetA | Self::ImagenetR => image_net::read_variant(path, images),
            Self::StanfordCars | Self::OxfordFlowers => Err(DataError::Listing {
                place: path.display().to_string(),
                problem: format!(
                    "put {} here: MATLAB files are not read",
                    self.split_file().unwrap_or_default()
                ),
            }),
        }
    }
}

/// A folder for each class, numbered in their order, renamed or left out by `name`.
fn classes(images: &Path, name: fn(&str) -> Option<&str>) -> Result<Vec<Described>, DataError> {
    let mut described = folder::read(images)?.images;
    described.retain(|image| name(&image.label).is_some());
    let folders: Vec<String> = super::sorted(described.iter().map(|image| image.label.as_str()));
    for image in &mut described {
        image.number = Some(super::position(&folders, &image.label));
        image.label = name(&image.label).unwrap_or_default().to_owned();
    }
    Ok(described)
}

/// Caltech101's classes as CoOp calls them. The background is no class, and the easy faces are the faces once
/// more.
fn caltech_name(class: &str) -> Option<&str> {
    match class {
        "BACKGROUND_Google" | "Faces_easy" => None,
        "airplanes" => Some("airplane"),
        "Faces" => Some("face"),
        "Leopards" => Some("leopard"),
        "Motorbikes" => Some("motorbike"),
        other => Some(other),
    }
}

/// EuroSAT's classes as CoOp calls them.
fn eurosat_name(class: &str) -> Option<&str> {
    Some(match class {
        "AnnualCrop" => "Annual Crop Land",
        "HerbaceousVegetation" => "Herbaceous Vegetation Land",
        "Highway" => "Highway or Road",
        "Industrial" => "Industrial Buildings",
        "Pasture" => "Pasture Land",
        "PermanentCrop" => "Permanent Crop Land",
        "Residential" => "Residential Buildings",
        "SeaLake" => "Sea or Lake",
        other => other,
    })
}

/// FGVC Aircraft: `variants.txt` has a class on each line, `images_variant_{train,val,test}.txt` lines of an
/// image's number and its variant, which has spaces in it.
fn aircraft(path: &Path) -> Result<Vec<Described>, DataError> {
    let folder = if path.join("variants.txt").is_file() { path.to_owned() } else { path.join("data") };
    let variants = lines(&folder.join("variants.txt"))?;
    let mut described = Vec::new();
    for (name, split) in [("train", Split::Train), ("val", Split::Validation), ("test", Split::Test)] {
        let list = folder.join(format!("images_variant_{name}.txt"));
        for (line, text) in lines(&list)?.iter().enumerate() {
            let place = format!("{}, line {}", list.display(), line + 1);
            let (number, variant) = text.split_once(' ').unwrap_or((text, ""));
            let class = variants.iter().position(|known| known == variant);
            let class = class.ok_or_else(|| DataError::Listing {
                place: place.clone(),
                problem: format!("variant `{variant}` is not in variants.txt"),
            })?;
            let key = format!("{number}.jpg");
            described.push(listed(&folder.join("images"), key, variant, Some(class), Some(split), &place)?);
        }
    }
    Ok(described)
}

/// Oxford Pets: `annotations/{trainval,test}.txt` have lines of an image's name, its class from 1 on, and two
/// numbers more; the breed is in the image's name. A fifth of what is not tested validates.
fn pets(path: &Path) -> Result<Vec<Described>, DataError> {
    let mut described = Vec::new();
    for (name, split) in [("trainval", Split::Train), ("test", Split::Test)] {
        let list = path.join("annotations").join(format!("{name}.txt"));
        for (line, text) in lines(&list)?.iter().enumerate().filter(|(_, text)| !text.starts_with('#')) {
            let place = format!("{}, line {}", list.display(), line + 1);
            let mut fields = text.split_whitespace();
            let image = fields.next().unwrap_or_default();
            let number = fields.next().and_then(|number| number.parse::<usize>().ok()).filter(|n| *n > 0);
            let breed = image.rsplit_once('_').map(|(breed, _)| breed.to_lowercase());
            let (Some(number), Some(breed)) = (number, breed) else {
                let problem = "an image `breed_number` and its class from 1 on are expected".into();
                return Err(DataError::Listing { place, problem });
            };
            let key = format!("{image}.jpg");
            described.push(listed(&path.join("images"), key, &breed, Some(number - 1), Some(split), &place)?);
        }
    }
    super::split::validate_a_fifth(&mut described);
    Ok(described)
}

/// SUN397: `ClassName.txt` and the lists have lines such as `/a/abbey` and `/a/abbey/sun_1.jpg`. A class is
/// called by the parts of its folder, the last first, without the letter.
fn scenes(path: &Path) -> Result<Vec<Described>, DataError> {
    let classes = lines(&path.join("ClassName.txt"))?;
    let mut described = Vec::new();
    for (name, split) in [("Training_01.txt", Split::Train), ("Testing_01.txt", Split::Test)] {
        let list = path.join(name);
        for (line, text) in lines(&list)?.iter().enumerate() {
            let place = format!("{}, line {}", list.display(), line + 1);
            let folder = text.rsplit_once('/').map_or("", |(folder, _)| folder);
            let class = classes.iter().position(|known| known == folder);
            let class = class.ok_or_else(|| DataError::Listing {
                place: place.clone(),
                problem: format!("`{folder}` is not in ClassName.txt"),
            })?;
            let label = folder.split('/').skip(2).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>();
            let key = text.trim_start_matches('/').to_owned();
            let images = path.join("SUN397");
            described.push(listed(&images, key, &label.join(" "), Some(class), Some(split), &place)?);
        }
    }
    super::split::validate_a_fifth(&mut described);
    Ok(described)
}

/// UCF101, first split: `classInd.txt` has lines `1 ApplyEyeMakeup`, the lists lines
/// `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1`, of which a middle frame lies in `Apply_Eye_Makeup/`.
fn actions(path: &Path) -> Result<Vec<Described>, DataError> {
    let lists = path.join("ucfTrainTestlist");
    let classes = lines(&lists.join("classInd.txt"))?;
    let mut described = Vec::new();
    for (name, split) in [("trainlist01.txt", Split::Train), ("testlist01.txt", Split::Test)] {
        let list = lists.join(name);
        for (line, text) in lines(&list)?.iter().enumerate() {
            let place = format!("{}, line {}", list.display(), line + 1);
            let video = text.split_whitespace().next().unwrap_or_default();
            let (action, video) = video.split_once('/').unwrap_or(("", video));
            let number = classes.iter().position(|class| class.split_whitespace().nth(1) == Some(action));
            let number = number.ok_or_else(|| DataError::Listing {
                place: place.clone(),
                problem: format!("action `{action}` is not in classInd.txt"),
            })?;
            let label = cut_before_capitals(action);
            let key = format!("{label}/{}.jpg", video.trim_end_matches(".avi"));
            let images = path.join("UCF-101-midframes");
            described.push(listed(&images, key, &label, Some(number), Some(split), &place)?);
        }
    }
    super::split::validate_a_fifth(&mut described);
    Ok(described)
}

/// `ApplyEyeMakeup` as `Apply_Eye_Makeup`.
fn cut_before_capitals(action: &str) -> String {
    let mut cut = String::new();
    for letter in action.chars() {
        if letter.is_ascii_uppercase() && !cut.is_empty() {
            cut.push('_');
        }
        cut.push(letter);
    }
    cut
}

/// An image that a list names.
fn listed(
    folder: &Path,
    key: String,
    label: &str,
    number: Option<usize>,
    split: Option<Split>,
    place: &str,
) -> Result<Described, DataError> {
    let image = folder.join(&key);
    if !image.is_file() {
        let image = image.display().to_string();
        return Err(DataError::MissingImage { place: place.to_owned(), image });
    }
    let (label, image) = (label.to_owned(), ImageFile::Path(image));
    Ok(Described { key, image, label, number, domain: None, split })
}
