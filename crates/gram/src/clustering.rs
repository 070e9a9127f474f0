//! Topics and domains of image-text pairs.

use std::path::Path;

use gram_cluster::{ChcInput, ChcSettings, Clusters, MakePieces, Piece, StagesIn};
use gram_data::Progress;
use gram_experiments::clustering::{
    cluster_features, cluster_numbers, cluster_pairs, make_pieces_of_features,
};
use gram_experiments::defaults;
use gram_experiments::settings_file::SettingsFile;
use gram_features::rows::check_model;
use gram_features::{FeatureFolder, Rows};
use serde_json::{Map, Value};

use crate::{Clip, Error, Pairs};

/// Groups pairs into topics and domains (CHC), with the settings of the command line unless others are given.
#[derive(Clone, Debug)]
pub struct Clusterer {
    settings: ChcSettings,
    seed: u64,
}

impl Clusterer {
    /// For pairs by the name that they were opened by: those of the demo have settings of their own.
    pub fn new(pairs: &str) -> Self {
        Self { settings: defaults::clustering(pairs), seed: 1 }
    }

    /// The seed of layouts and domains; 1 where nothing is said.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Any other settings.
    pub fn settings(mut self, change: impl FnOnce(&mut ChcSettings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Any other settings, as a file of settings says them.
    ///
    /// # Errors
    /// Names a key that is unknown, or whose value is wrong.
    pub fn settings_of(mut self, said: &Map<String, Value>) -> Result<Self, Error> {
        self.settings = SettingsFile::of_object("settings", said).over(&self.settings)?;
        Ok(self)
    }

    /// Topics and domains of pairs as a model sees them.
    ///
    /// # Errors
    /// If a setting is out of its range, no image can be read, or no topic is found.
    pub fn pairs(&self, model: &Clip, pairs: &Pairs, progress: &dyn Progress) -> Result<Clusters, Error> {
        self.settings.validate()?;
        Ok(cluster_pairs(model, pairs, None, &self.settings, self.seed, StagesIn::Memory, progress)?.0)
    }

    /// Topics and domains of pairs in a features folder, as `gram cluster --features` finds them. Names are
    /// checked in images by `model`, if it is given.
    ///
    /// # Errors
    /// If the features are of another model, a setting is out of its range, or no topic is found.
    pub fn folder(
        &self,
        features: &FeatureFolder,
        model: Option<&Clip>,
        progress: &dyn Progress,
    ) -> Result<Clusters, Error> {
        self.features_folder(features, model, StagesIn::Memory, progress)
    }

    /// As [`Clusterer::folder`], while other processes make pieces of the stages: `make` sees to it that
    /// each calls [`Clusterer::make_pieces`], in the same folder for stages. A clustering that was stopped
    /// goes on from the pieces that are there.
    ///
    /// # Errors
    /// As [`Clusterer::folder`], or if `make` fails.
    pub fn folder_shared(
        &self,
        features: &FeatureFolder,
        model: Option<&Clip>,
        stages: &Path,
        make: &MakePieces<'_>,
        progress: &dyn Progress,
    ) -> Result<Clusters, Error> {
        self.features_folder(features, model, StagesIn::Shared(stages, make), progress)
    }

    /// Makes pieces of a clustering that another process has begun with [`Clusterer::folder_shared`].
    ///
    /// # Errors
    /// If no clustering of these features was begun there, or a piece cannot be written.
    pub fn make_pieces(
        &self,
        features: &FeatureFolder,
        stages: &Path,
        pieces: &[Piece],
    ) -> Result<(), Error> {
        make_pieces_of_features(features, &self.settings, self.seed, stages, pieces)
    }

    fn features_folder(
        &self,
        features: &FeatureFolder,
        model: Option<&Clip>,
        stages_in: StagesIn<'_>,
        progress: &dyn Progress,
    ) -> Result<Clusters, Error> {
        self.settings.validate()?;
        if let Some(model) = model {
            check_model(features.model.as_ref(), features.images.shape().1, model, features.path())?;
        }
        let model = model.map(|model| &**model);
        cluster_features(features, model, &self.settings, self.seed, stages_in, progress)
    }

    /// Topics and domains of pairs whose features were computed before. Names are checked in images by
    /// `model`, if it is given.
    ///
    /// # Errors
    /// If rows are not as many, a number is not finite, a setting is out of its range, or no topic is found.
    pub fn features(
        &self,
        input: ChcInput<'_>,
        model: Option<&Clip>,
        progress: &dyn Progress,
    ) -> Result<Clusters, Error> {
        self.settings.validate()?;
        if let Some(model) = model {
            let (found, joint) = (input.image_features.shape().1, model.clip.config.projection_dim);
            if found != joint {
                let problem = format!("image features are {found} wide, but those of {} {joint}", model.name);
                return Err(Error::Refused(problem));
            }
        }
        let model = model.map(|model| &**model);
        cluster_numbers(input, model, &self.settings, self.seed, StagesIn::Memory, progress)
    }
}
