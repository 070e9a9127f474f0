//! Settings of tuning: defaults by model, a TOML file over them.

use std::path::Path;

use crate::protocol::ProtocolSettings;
use gram_clip::Model;
use gram_prompt::Template;

use crate::defaults;
use crate::error::{Result, require};
use crate::settings_file::SettingsFile;
use gram_hub::assets;

/// The settings for a model: those that were chosen for the built-in one, CoCoOp's for all others.
pub fn for_model(model: &Model, shots: usize) -> ProtocolSettings {
    match assets::is_tiny(model) {
        true => defaults::protocol(shots, model.preprocess.crop),
        false => defaults::literature(shots, model.preprocess.crop),
    }
}

/// `settings` with what a TOML file says in their place; it need not say all.
///
/// # Errors
/// As [`SettingsFile::over`].
pub fn with_file(settings: &ProtocolSettings, path: &Path) -> Result<ProtocolSettings> {
    with_said(settings, &SettingsFile::read(path)?)
}

/// `settings` with what else is said in their place.
///
/// # Errors
/// As [`SettingsFile::over`].
pub fn with_said(settings: &ProtocolSettings, file: &SettingsFile) -> Result<ProtocolSettings> {
    let mut under = settings.clone();
    for (section, adaptation) in [("baseline", &mut under.baseline), ("regulated", &mut under.regulated)] {
        // Who says a rate means it for joint prompts, too, unless these have their own.
        if file.says(&[section, "rates"]) {
            adaptation.joint_rates = None;
        }
    }
    file.over(&under)
}

/// The prompt template of learned prompts where none is given: the built-in model's own, or CoOp's.
///
/// # Errors
/// None for the templates that these are.
pub fn learned_template(given: Option<&Template>, model: &Model) -> Result<Template> {
    if let Some(given) = given {
        return Ok(given.clone());
    }
    let text = if assets::is_tiny(model) { defaults::TEMPLATE } else { "a photo of a {}." };
    Ok(text.parse()?)
}

/// Vectors of a visual prompt, at most: each is attended to as a patch is.
const MOST_VISUAL_TOKENS: usize = 1000;

/// Checks what the settings say of numbers.
///
/// # Errors
/// Names the setting and its range.
pub(crate) fn check(settings: &ProtocolSettings) -> Result<()> {
    settings.augmentation.validate()?;
    settings.objective.validate()?;
    require!(settings.shots > 0, "shots: 0: a class needs 1 image or more");
    for adaptation in [&settings.baseline, &settings.regulated] {
        require!(adaptation.batch_size > 0, "batch_size: 0: a step needs 1 image or more");
        require!(adaptation.epochs > 0, "epochs: 0: 1 or more are expected");
        for rates in std::iter::once(adaptation.rates).chain(adaptation.joint_rates) {
            require!(rates.are_positive(), "rates: {rates}: above 0 is expected");
        }
    }
    require!(settings.text_megabytes > 0, "text_megabytes: 0: 1 or more is expected");
    require!(settings.conditional_batch_size > 0, "conditional_batch_size: 0: 1 or more is expected");
    require!(settings.tip_adapter.epochs > 0, "tip_adapter.epochs: 0: 1 or more are expected");
    require!(settings.tip_adapter.batch_size > 0, "tip_adapter.batch_size: 0: 1 or more is expected");
    let collection = &settings.collection;
    require!(
        collection.prompts > 0 && (1..=collection.prompts).contains(&collection.prompts_of_step),
        "collection: {} of {} prompts in a step: from 1 to all of them are expected",
        collection.prompts_of_step,
        collection.prompts
    );
    let (visual, most) = (settings.design.visual_tokens, MOST_VISUAL_TOKENS);
    require!(
        (1..=most).contains(&visual),
        "visual_tokens: {visual}: a visual prompt has 1 to {most} prompt tokens"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_what_it_says_and_leaves_the_rest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tuning.toml");
        let settings = defaults::literature(16, 224);
        std::fs::write(&path, "shots = 4\n[baseline]\nepochs = 50\n[design]\nclass_position = \"middle\"\n")
            .unwrap();
        let changed = with_file(&settings, &path).unwrap();
        assert_eq!((changed.shots, changed.baseline.epochs, changed.regulated.epochs), (4, 50, 10));
        assert_eq!(changed.baseline.batch_size, settings.baseline.batch_size);
        check(&changed).unwrap();
        let of_tiny = defaults::protocol(4, 32);
        std::fs::write(&path, "[regulated]\nepochs = 5\n").unwrap();
        assert_eq!(
            with_file(&of_tiny, &path).unwrap().regulated.joint_rates,
            Some(defaults::REGULATED_JOINT_RATES)
        );
        std::fs::write(&path, "[regulated.rates]\ntext = 0.5\nvisual = 0.25\n").unwrap();
        assert_eq!(with_file(&of_tiny, &path).unwrap().regulated.joint_rates, None);
        std::fs::write(&path, "[baseline]\nepoch = 50\n").unwrap();
        let error = format!("{}", with_file(&settings, &path).unwrap_err());
        assert!(error.contains("tuning.toml") && error.contains("`epoch`"), "{error}");
    }
}
