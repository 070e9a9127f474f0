//! Which model made a file, as prompts, classifiers, features and clusters say it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::ClipError;
use crate::fingerprint::Fingerprint;
use crate::model::Model;

/// The model that made a file, or that it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelIdentity {
    /// Its name.
    #[serde(rename = "model")]
    pub name: String,
    /// The fingerprint of its weights; files of other programs, and those of gram before it had
    /// fingerprints, have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fingerprint: Option<Fingerprint>,
    /// What it was opened by, as it was given: a path, a short name or an id on the hub.
    #[serde(default, rename = "model_source", skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl ModelIdentity {
    /// A model of which nothing but the name is known.
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), fingerprint: None, source: None }
    }

    /// What opens the model again: what it was opened by, or its name where that is not known.
    pub fn opened_by(&self) -> &str {
        self.source.as_deref().unwrap_or(&self.name)
    }

    /// Checks that `model` has the weights of this one; where one of the two has no fingerprint, that is not
    /// known and not an error.
    ///
    /// # Errors
    /// [`OtherModel`] names both, and the way out.
    pub fn check(&self, model: &Self) -> Result<(), OtherModel> {
        match (self.fingerprint, model.fingerprint) {
            (Some(own), Some(other)) if own != other => {
                Err(OtherModel { made_for: Box::new(self.clone()), model: Box::new(model.clone()) })
            }
            _ => Ok(()),
        }
    }
}

/// `tiny (8f2c0a91b7d3e645)`.
impl fmt::Display for ModelIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)?;
        self.fingerprint.map_or(Ok(()), |fingerprint| write!(formatter, " ({fingerprint})"))
    }
}

/// A file was made for other weights than those of the model it is used with.
#[derive(Clone, Debug, thiserror::Error)]
#[error("made for {made_for}, not for {model}: {}", self.way_out())]
pub struct OtherModel {
    /// The model it was made for.
    pub made_for: Box<ModelIdentity>,
    /// The model that it was to be used with.
    pub model: Box<ModelIdentity>,
}

impl OtherModel {
    fn way_out(&self) -> String {
        let Self { made_for, model } = self;
        match made_for.source == model.source {
            true => format!("{} is another model now, pass --model with the old one", model.opened_by()),
            false => format!("pass --model {}", made_for.opened_by()),
        }
    }
}

impl Model {
    /// What files that it makes say of it.
    ///
    /// # Errors
    /// As [`Model::fingerprint`].
    pub fn identity(&self) -> Result<ModelIdentity, ClipError> {
        let fingerprint = Some(self.fingerprint()?);
        Ok(ModelIdentity { name: self.name.clone(), fingerprint, source: self.source.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(name: &str, fingerprint: Option<&str>, source: Option<&str>) -> ModelIdentity {
        let fingerprint = fingerprint.map(|text| text.parse().unwrap());
        ModelIdentity { name: name.into(), fingerprint, source: source.map(str::to_owned) }
    }

    const ONE: Option<&str> = Some("0123456789abcdef");
    const OTHER: Option<&str> = Some("fedcba9876543210");

    #[test]
    fn another_model_is_named_with_the_way_to_the_right_one() {
        let made_for = identity("small", ONE, Some("models/small"));
        let error = made_for.check(&identity("large", OTHER, Some("large"))).unwrap_err().to_string();
        let expected = "made for small (0123456789abcdef), not for large (fedcba9876543210): \
                        pass --model models/small";
        assert_eq!(error, expected);
        let error = made_for.check(&identity("small", OTHER, Some("models/small"))).unwrap_err().to_string();
        assert!(
            error.ends_with("models/small is another model now, pass --model with the old one"),
            "{error}"
        );
    }

    #[test]
    fn names_do_not_matter_and_what_is_not_known_is_no_error() {
        let made_for = identity("small", ONE, None);
        assert!(made_for.check(&identity("renamed", ONE, Some("elsewhere"))).is_ok());
        assert!(made_for.check(&identity("old", None, None)).is_ok());
        assert!(identity("old", None, None).check(&made_for).is_ok());
    }

    #[test]
    fn files_of_before_name_the_model_alone() {
        let read: ModelIdentity = serde_json::from_str(r#"{"model": "tiny"}"#).unwrap();
        assert_eq!((read.clone(), read.opened_by()), (ModelIdentity::named("tiny"), "tiny"));
        let written = serde_json::to_value(identity("small", ONE, Some("models/small"))).unwrap();
        let expected = serde_json::json!({
            "model": "small", "fingerprint": "0123456789abcdef", "model_source": "models/small"
        });
        assert_eq!(written, expected);
    }
}
