//! `topics.toml`: what people know better about topics than captions do.
//!
//! It stands beside `topics.json`, and everything that reads the clusters follows it:
//!
//! ```toml
//! drop = ["young", "#17"]            # no episode has these topics
//!
//! [rename]
//! toy = "dog with a toy"             # name in topics.json = class name from now on
//!
//! [merge]
//! surfer = ["surfboard", "#40"]      # their pairs join the topic called surfer
//! ```
//!
//! A topic is named as in `topics.json`, or by `#` and its number there, counted from 0. Names that are given
//! by hand are trusted: such a topic is in episodes whatever its captions say.

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::Clusters;
use crate::error::ClusterError;
use crate::topic_names::{LeftOut, coverage, share_a_word, words_of};

/// The file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Corrections {
    drop: Vec<String>,
    rename: BTreeMap<String, String>,
    merge: BTreeMap<String, Vec<String>>,
}

impl Clusters {
    /// The name of the file with corrections in a folder of clusters.
    pub const CORRECTIONS: &str = "topics.toml";

    /// Follows the corrections of a folder, if there are any.
    ///
    /// # Errors
    /// [`ClusterError::Correction`] says which line or topic, and the way out; [`ClusterError::Text`] if the
    /// file is no text.
    pub fn corrected(mut self, folder: &Path) -> Result<Self, ClusterError> {
        let path = folder.join(Self::CORRECTIONS);
        if !path.try_exists().unwrap_or(true) {
            return Ok(self);
        }
        let problem = |problem: String| ClusterError::Correction { path: path.clone(), problem };
        let text = gram_data::read_text(&path).map_err(ClusterError::Text)?;
        let corrections: Corrections = toml::from_str(&text).map_err(|error| {
            let before =
                |span: std::ops::Range<usize>| text[..span.start.min(text.len())].matches('\n').count();
            let line = 1 + error.span().map_or(0, before);
            problem(format!("line {line}: {}", error.message()))
        })?;
        self.follow(&corrections).map_err(problem)?;
        Ok(self)
    }

    fn follow(&mut self, corrections: &Corrections) -> Result<(), String> {
        // All names are those of `topics.json`, whatever becomes of them here.
        let found: Vec<String> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let number = |name: &String| number(&found, name);
        let mut changed = vec![false; found.len()];
        let mut renamed = vec![false; found.len()];
        let mut joins: BTreeMap<usize, usize> = BTreeMap::new();
        for (into, others) in &corrections.merge {
            for name in others {
                let (into, other) = (number(into)?, number(name)?);
                if other == into {
                    return Err(format!("merge: topic `{name}` cannot join itself: leave it out"));
                }
                if joins.insert(other, into).is_some_and(|before| before != into) {
                    return Err(format!("merge: topic `{name}` is to join two topics: leave one out"));
                }
            }
        }
        if let Some(name) =
            corrections.drop.iter().find(|name| number(name).is_ok_and(|topic| joins.contains_key(&topic)))
        {
            return Err(format!("topic `{name}` is to be dropped and to join another: leave one out"));
        }
        let mut dropped = vec![false; found.len()];
        for name in &corrections.drop {
            dropped[number(name)?] = true;
        }
        let gets = corrections.merge.keys().find(|name| number(name).is_ok_and(|topic| dropped[topic]));
        if let Some(name) = gets {
            return Err(format!("topic `{name}` is to be dropped, and others are to join it: leave one out"));
        }
        let renamed_too =
            corrections.rename.keys().find(|name| number(name).is_ok_and(|topic| dropped[topic]));
        if let Some(name) = renamed_too {
            return Err(format!("topic `{name}` is to be dropped and renamed: leave one out"));
        }
        for (into, others) in &corrections.merge {
            let into = number(into)?;
            if joins.contains_key(&into) {
                return Err(format!(
                    "merge: topic `{}` is to join another itself: let all join that one",
                    found[into]
                ));
            }
            for name in others {
                let other = number(name)?;
                // Named twice, it joins once.
                if self.topics[other].left_out != Some(LeftOut::Merged) {
                    self.merge(into, other);
                }
                changed[into] = true;
            }
        }
        for (name, new) in &corrections.rename {
            let topic = number(name)?;
            let new = new.trim();
            if std::mem::replace(&mut renamed[topic], true) {
                return Err(format!("rename: topic `{}` is renamed twice: leave one out", found[topic]));
            }
            if !new.contains(char::is_alphanumeric) || new.contains(is_unseen) {
                return Err(format!(
                    "rename: topic `{name}` gets an empty name or one that cannot be shown: write one line of text"
                ));
            }
            if self.topics[topic].left_out == Some(LeftOut::Merged) {
                return Err(format!("rename: topic `{name}` joins another: rename that one"));
            }
            (self.topics[topic].name, self.topics[topic].main_word) = (new.to_owned(), new.to_owned());
            (self.topics[topic].left_out, self.topics[topic].recognition) = (None, None);
            changed[topic] = true;
        }
        if let Some(name) = self.given_twice(&renamed, &dropped) {
            return Err(format!(
                "rename: several topics would be called `{name}`: join them by merge, or choose another name"
            ));
        }
        for name in &corrections.drop {
            let topic = &mut self.topics[number(name)?];
            topic.left_out =
                topic.left_out.filter(|cause| *cause == LeftOut::Merged).or(Some(LeftOut::Dropped));
        }
        self.check_names_again(&changed, &renamed);
        self.count_names();
        Ok(())
    }

    /// A name that was given by hand and that another topic of episodes has, too.
    fn given_twice(&self, renamed: &[bool], dropped: &[bool]) -> Option<&str> {
        let stands = |topic: &usize| self.topics[*topic].left_out.is_none() && !dropped[*topic];
        let all: Vec<usize> = (0..self.topics.len()).filter(stands).collect();
        let name = |topic: usize| self.topics[topic].name.as_str();
        let is_twice = |topic: &usize| {
            renamed[*topic] && all.iter().any(|other| other != topic && name(*other) == name(*topic))
        };
        all.iter().copied().find(|topic| is_twice(topic)).map(name)
    }

    /// Puts the pairs of a topic into another, as further domains.
    fn merge(&mut self, into: usize, other: usize) {
        let first = self.topics[into].domains.len();
        for pair in self.pairs.iter_mut().filter(|pair| pair.topic == Some(other)) {
            (pair.topic, pair.domain) = (Some(into), pair.domain.map(|domain| first + domain));
        }
        let joined = &mut self.topics[other];
        joined.left_out = Some(LeftOut::Merged);
        let (domains, size) = (std::mem::take(&mut joined.domains), std::mem::take(&mut joined.size));
        let overlaps = std::mem::take(&mut joined.overlaps);
        let topic = &mut self.topics[into];
        topic.domains.extend(domains);
        topic.size += size;
        topic.left_out = None;
        topic.overlaps.extend(overlaps.into_iter().filter(|overlap| *overlap != into));
    }

    /// Measures coverage and overlaps of topics that are called or made up otherwise now.
    fn check_names_again(&mut self, changed: &[bool], renamed: &[bool]) {
        let members = self.members();
        let (pairs, settings) = (&self.pairs, &self.settings.topic_words);
        self.topics.par_iter_mut().zip(&members).zip(changed).filter(|(_, changed)| **changed).for_each(
            |((topic, members), _)| {
                let captions = members.iter().flatten().map(|pair| pairs[*pair].caption.as_str());
                topic.coverage = coverage(&topic.name, captions, settings);
            },
        );
        // What is said by hand stands for itself: the topic word and what CLIP made of another name do not
        // count.
        let words = |topic: usize| match (renamed[topic], &self.topics[topic]) {
            (true, topic) => words_of(&[&topic.name]),
            (false, topic) => words_of(&[&topic.word, &topic.name]),
        };
        let words: Vec<Vec<String>> = (0..changed.len()).map(words).collect();
        for topic in 0..changed.len() {
            let is_own = |other: &usize| !renamed[topic] && !renamed[*other];
            self.topics[topic].overlaps.retain(is_own);
        }
        for topic in (0..changed.len()).filter(|topic| changed[*topic]) {
            for other in (0..changed.len()).filter(|other| *other != topic) {
                let (one, two) = (&self.topics[topic], &self.topics[other]);
                let is_alike = share_a_word(&words[topic], &words[other], true);
                if is_alike || one.overlaps.contains(&other) || two.overlaps.contains(&topic) {
                    self.topics[topic].overlaps.push(other);
                    self.topics[other].overlaps.push(topic);
                }
            }
        }
        for topic in &mut self.topics {
            topic.overlaps.sort_unstable();
            topic.overlaps.dedup();
        }
    }
}

/// Whether a character cannot be seen, or turns what follows.
fn is_unseen(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The number of a topic.
fn number(found: &[String], name: &str) -> Result<usize, String> {
    if let Some(number) = name.strip_prefix('#').and_then(|number| number.parse().ok()) {
        return match number < found.len() {
            true => Ok(number),
            false => {
                Err(format!("there is no topic {name}: topics are numbered from #0 to #{}", found.len() - 1))
            }
        };
    }
    let same: Vec<usize> = (0..found.len()).filter(|topic| found[*topic] == name).collect();
    match same.as_slice() {
        [only] => Ok(*only),
        [] => Err(format!(
            "no topic is called `{name}` in topics.json: write its name there, or # and its number"
        )),
        several => {
            let numbers: Vec<String> = several.iter().map(|number| format!("#{number}")).collect();
            Err(format!("several topics are called `{name}`: write one of {}", numbers.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chc::ChcSettings;
    use crate::clusters::{ClusteredPair, Counts, Topic};

    /// Three topics of two pairs each, of one domain.
    fn clusters() -> Clusters {
        let names = ["dog", "toy", "young"];
        let topic = |name: &str| Topic::named(name, vec![2]);
        let pair = |number: usize| ClusteredPair {
            key: number.to_string(),
            caption: format!(
                "a {} on a bed",
                ["dog", "puppy", "dog toy", "toys", "young", "young dog"][number]
            ),
            topic: Some(number / 2),
            domain: Some(0),
            strength: 1.0,
            similarity: 0.5,
            kept: true,
        };
        let mut settings = ChcSettings::default();
        settings.topic_words.languages = vec!["en".into()];
        Clusters {
            pairs: (0..6).map(pair).collect(),
            topics: names.map(topic).to_vec(),
            layout: vec![None; 6],
            counts: Counts::default(),
            settings,
            seed: 1,
            model: None,
        }
    }

    fn corrected(text: &str) -> Result<Clusters, String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Clusters::CORRECTIONS), text).unwrap();
        clusters().corrected(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn topics_are_merged_renamed_and_dropped() {
        let found = corrected("drop = ['young']\n[merge]\ndog = ['#1']\n[rename]\ndog = 'dogs'").unwrap();
        let [dog, toy, young] = found.topics.as_slice() else { panic!("{:?}", found.topics) };
        assert_eq!((dog.name.as_str(), &dog.domains, dog.size, dog.left_out), ("dogs", &vec![2, 2], 4, None));
        assert_eq!(dog.coverage, 0.5);
        assert_eq!((toy.size, toy.left_out), (0, Some(LeftOut::Merged)));
        assert_eq!(young.left_out, Some(LeftOut::Dropped));
        assert_eq!(found.members(), [vec![vec![0, 1], vec![2, 3]], vec![], vec![vec![4, 5]]]);
        assert_eq!((found.counts.topics_in_no_episode, found.counts.ambiguous_topics), (0, 0));
        assert_ne!(found.fingerprint(), clusters().fingerprint());
    }

    #[test]
    fn a_name_by_hand_brings_a_topic_back_and_keeps_it_from_its_likes() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Clusters::CORRECTIONS), "[rename]\nyoung = 'dogs'").unwrap();
        let mut before = clusters();
        before.topics[2].left_out = Some(LeftOut::NoName);
        let found = before.corrected(folder.path()).unwrap();
        assert_eq!((found.topics[2].left_out, found.topics[2].coverage), (None, 0.5));
        assert_eq!((&found.topics[2].overlaps, &found.topics[0].overlaps), (&vec![0], &vec![2]));
    }

    #[test]
    fn a_name_by_hand_overlaps_with_those_that_share_a_word_and_no_others() {
        let found = corrected("[rename]\ntoy = 'DOGS with_a toy'\n[merge]\nyoung = []").unwrap();
        assert_eq!((&found.topics[1].overlaps, &found.topics[0].overlaps), (&vec![0], &vec![1]));
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Clusters::CORRECTIONS), "[rename]\ntoy = 'bone'").unwrap();
        let mut before = clusters();
        (before.topics[0].overlaps, before.topics[1].overlaps) = (vec![1], vec![0]);
        before.topics[1].word = "dog".into();
        let found = before.corrected(folder.path()).unwrap();
        assert!(found.topics.iter().all(|topic| topic.overlaps.is_empty()));
    }

    #[test]
    fn without_the_file_nothing_changes() {
        assert_eq!(clusters().corrected(Path::new("nowhere")).unwrap(), clusters());
    }

    #[test]
    fn corrections_that_are_no_text_are_to_be_saved_again_and_nothing_is_to_be_clustered_again() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(Clusters::CORRECTIONS), b"drop = ['caf\xe9']").unwrap();
        let problem = clusters().corrected(folder.path()).unwrap_err().to_string();
        assert!(problem.contains("topics.toml: line 1 is not UTF-8: save it as UTF-8"), "{problem}");
        assert!(!problem.contains("cluster again"), "{problem}");
    }

    #[test]
    fn what_cannot_be_followed_names_the_line_or_the_topic() {
        let refused = |text: &str| corrected(text).unwrap_err();
        assert!(refused("drop = ['cat']").contains("no topic is called `cat` in topics.json"));
        assert!(
            refused("drop = ['#3']").ends_with("there is no topic #3: topics are numbered from #0 to #2")
        );
        assert!(refused("\n\ndelete = 1").contains("topics.toml: line 3: unknown field `delete`"));
        assert!(refused("drop = [").contains("line 1"));
        assert!(refused("[merge]\ndog = ['dog']").contains("cannot join itself"));
        assert!(refused("[merge]\ndog = ['toy']\nyoung = ['toy']").contains("is to join two topics"));
        assert!(refused("[merge]\ndog = ['toy']\ntoy = ['young']").contains("is to join another itself"));
        for name in [" ", "_", "a\u{202e}b"] {
            assert!(
                refused(&format!("[rename]\ndog = '{name}'"))
                    .contains("gets an empty name or one that cannot be shown")
            );
        }
        assert!(refused("[rename]\ndog = 'a'\n'#0' = 'b'").contains("topic `dog` is renamed twice"));
        assert!(
            refused("drop = ['toy']\n[merge]\ndog = ['toy']")
                .contains("is to be dropped and to join another")
        );
        assert!(refused("[merge]\ndog = ['toy']\n[rename]\ntoy = 'x'").contains("rename that one"));
        assert!(refused("drop = ['dog']\n[merge]\ndog = ['toy']").contains("others are to join it"));
        assert!(refused("drop = ['dog']\n[rename]\n'#0' = 'x'").contains("is to be dropped and renamed"));
        assert!(refused("[rename]\ndog = 'toy'").contains("several topics would be called `toy`"));
        assert!(refused("[rename]\ndog = 'x'\ntoy = 'x'").contains("several topics would be called `x`"));
        assert!(corrected("drop = ['toy']\n[rename]\ndog = 'toy'").is_ok());
    }
}
