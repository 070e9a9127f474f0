//! Methods by their names: what the command line and tables call them, and lists of them, all from the table.

use std::fmt;
use std::str::FromStr;

use gram_data::similar_names::is_it;
use gram_prompt::PromptKind;

use super::{Learned, Method, Transformations};

impl Method {
    /// The names on the command line of the methods that `chosen` takes, as a list of words: `coop, vpt or
    /// joint`.
    pub fn list(chosen: impl Fn(Method) -> bool) -> String {
        let keys: Vec<&str> = Self::ALL.into_iter().filter(|method| chosen(*method)).map(Self::key).collect();
        match keys.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => String::new(),
        }
    }

    /// Those that leave a prompt and start as usual, as [`list`](Self::list) gives them.
    pub fn list_of_prompts() -> String {
        Self::list(|method| method.kind().is_some() && method.baseline().is_none())
    }

    /// Those with GRAM, as [`list`](Self::list) gives them.
    pub fn list_with_gram() -> String {
        Self::list(|method| method.baseline().is_some())
    }

    /// A line for each method: its name on the command line and in tables, what is learned and how, and its
    /// paper.
    pub fn table() -> String {
        let row = |method: Method| {
            let (key, name, paper) = (method.key(), method.name(), method.paper());
            let regulated = if method.baseline().is_some() { "regulated " } else { "" };
            let learned = match method.transformations() {
                Transformations::None => method.learned().to_string(),
                other => format!("{}, {regulated}{other}", method.learned()),
            };
            format!("  {key:<14} {name:<14} {learned:<42} {paper}")
        };
        Self::ALL.map(row).join("\n")
    }
}

impl fmt::Display for Method {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl fmt::Display for Learned {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Learned::Nothing => "nothing",
            Learned::Prompt(PromptKind::Textual) => "textual prompt",
            Learned::Prompt(PromptKind::Conditional) => "textual prompt and its net",
            Learned::Prompt(PromptKind::Visual) => "visual prompt",
            Learned::Prompt(PromptKind::Joint) => "textual and visual prompt",
            Learned::Collection => "a collection of textual prompts",
            Learned::Cache { tuned: false } => "nothing: a cache of the shots",
            Learned::Cache { tuned: true } => "a cache of the shots",
        })
    }
}

impl fmt::Display for Transformations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(match self {
            Transformations::None => "no gradient",
            Transformations::Sgd => "SGD",
            Transformations::AdamW => "AdamW",
        })
    }
}

/// No method has this name.
#[derive(Debug, thiserror::Error)]
#[error(
    "unknown method `{found}`: {} are known{}",
    Method::ALL.map(Method::key).join(", "),
    is_it(found, Method::ALL.map(Method::key))
)]
pub struct UnknownMethod {
    /// The name that was given.
    pub found: String,
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(key: &str) -> Result<Self, Self::Err> {
        let known = Method::ALL.into_iter().find(|method| method.key() == key);
        known.ok_or_else(|| UnknownMethod { found: key.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_names_of_methods_are_their_command_line_names() {
        for method in Method::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.key());
            assert_eq!(method.key().parse::<Method>().unwrap(), method);
        }
        assert!("clip".parse::<Method>().is_err());
    }

    #[test]
    fn lists_and_errors_name_what_the_table_names() {
        assert_eq!(Method::list(|method| method == Method::Vpt), "vpt");
        assert_eq!(Method::list(|method| method.is_deep() || method == Method::Joint), "vpt-deep or joint");
        let error = "coopp".parse::<Method>().unwrap_err().to_string();
        let table = Method::table();
        for method in Method::ALL {
            assert!(error.contains(method.key()) && table.contains(method.name()));
        }
        let with_gram = Method::list_with_gram();
        for method in Method::ALL {
            let listed = with_gram.split([',', ' ']).any(|word| word == method.key());
            assert_eq!(listed, method.baseline().is_some(), "{method}");
        }
    }
}
