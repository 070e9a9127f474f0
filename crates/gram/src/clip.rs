//! A frozen CLIP model by its name.

use std::ops::Deref;

use gram_clip::{Compute, Model};
use gram_cluster::Clusters;
use gram_data::{ImageFile, Progress};
use gram_experiments::tuning_settings::learned_template;
use gram_features::text_features;
use gram_hub::model::open_model;
use gram_prompt::Template;
use gram_report::results::Method;

use crate::classifier::{Classifier, for_all_images};
use crate::clustering::Clusterer;
use crate::{Error, Pairs, Tuner};

/// A frozen CLIP model: towers, tokenizer and preprocessing.
#[derive(Clone, Debug)]
pub struct Clip {
    model: Model,
}

impl Clip {
    /// Opens a model: `tiny`, which is built in; a folder or file with a checkpoint of Hugging Face,
    /// open_clip or OpenAI; a short name such as `ViT-B/16`; or an id on the hub. It computes on the device
    /// that the environment variable `GRAM_DEVICE` names; without it on a GPU, if this build knows one and it
    /// is there, else on the CPU.
    ///
    /// # Errors
    /// If it is none of those, a file of it is missing or wrong, or the device is not there.
    pub fn open(name_or_path: &str) -> Result<Self, Error> {
        Self::open_on(name_or_path, &Compute::of_environment()?)
    }

    /// [`open`](Self::open), where and as `compute` says.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(name_or_path: &str, compute: &Compute) -> Result<Self, Error> {
        Ok(Self { model: open_model(name_or_path, compute, &())? })
    }

    /// The same model, opened from a copy of what is at `place`, such as a URL: prompts and features name
    /// that as where their model is from.
    pub fn copied_from(mut self, place: &str) -> Self {
        self.model.source = Some(place.to_owned());
        self
    }

    /// Normalised features of images, `[images, joint width]`, row by row.
    ///
    /// # Errors
    /// Names the first image that cannot be read.
    pub fn encode_images(&self, images: &[ImageFile], progress: &dyn Progress) -> Result<Vec<f32>, Error> {
        for_all_images(&self.model, images, progress, |pixels| self.model.clip.image_features(pixels, None))
    }

    /// Normalised features of texts, `[texts, joint width]`, row by row, and how many of them were cut to
    /// what the model reads.
    ///
    /// # Errors
    /// If a text cannot be made into tokens.
    pub fn encode_texts(&self, texts: &[impl AsRef<str>]) -> Result<(Vec<f32>, usize), Error> {
        if texts.is_empty() {
            return Ok((Vec::new(), 0));
        }
        let (features, cut) = text_features(&self.model, texts)?;
        Ok((features.into_raw_vec_and_offset().0, cut))
    }

    /// Classes in a hand-written prompt template, such as `a photo of a {}.`.
    ///
    /// # Errors
    /// If there is no class, or the template has no place for its name.
    pub fn classifier(
        &self,
        classes: impl IntoIterator<Item = impl Into<String>>,
        template: &str,
    ) -> Result<Classifier<'_>, Error> {
        let names = classes.into_iter().map(Into::into).collect();
        Classifier::zero_shot(&self.model, names, &[template.parse::<Template>()?])
    }

    /// A tuner of a method by its name, such as `coop`, `vpt-gram` or `unigram`.
    ///
    /// # Errors
    /// If there is no such method, which names those that there are; or it leaves no prompt.
    pub fn tuner(&self, method: &str) -> Result<Tuner<'_>, Error> {
        let method: Method = method.parse().map_err(|error| Error::Refused(format!("{error}")))?;
        if method.kind().is_none() {
            return Err(Error::Refused(format!(
                "{}: it leaves no prompt: compare it with others",
                method.key()
            )));
        }
        Ok(Tuner::new(self, method))
    }

    /// Topics and domains of pairs, as this model sees them, with the settings of the command line.
    ///
    /// # Errors
    /// If no image can be read, or no topic is found.
    pub fn cluster(&self, pairs: &Pairs, seed: u64) -> Result<Clusters, Error> {
        Clusterer::new(pairs.name()).seed(seed).pairs(self, pairs, &())
    }

    /// The prompt template that prompts of this model are learned in: the one that is given, or the command
    /// line's.
    pub(crate) fn template(&self, given: Option<&str>) -> Result<Template, Error> {
        let given = given.map(str::parse).transpose()?;
        learned_template(given.as_ref(), &self.model)
    }
}

impl Deref for Clip {
    type Target = Model;

    fn deref(&self) -> &Model {
        &self.model
    }
}
