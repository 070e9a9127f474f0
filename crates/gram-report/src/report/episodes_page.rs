//! The page of episodes: what is learned from, class by class, support and query pictures side by side.

use std::collections::HashMap;

use gram_data::{Pair, Pairs};

use super::Document;
use super::clusters_page::thumbnails;
use super::sections::Section;
use crate::tables::escape;

/// Episodes on the page at most.
const MOST: usize = 30;

/// An episode as it is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShownEpisode {
    /// Its classes.
    pub classes: Vec<ShownClass>,
    /// Classes that it only asks for.
    pub new_classes: Vec<ShownClass>,
}

/// A class of an episode.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShownClass {
    /// Its name.
    pub name: String,
    /// Keys of its support images.
    pub support: Vec<String>,
    /// Keys of its query images.
    pub query: Vec<String>,
}

/// The page of the first `episodes`, with pictures of the `pairs` that they are drawn from. It is one file
/// that loads nothing. A pair whose image cannot be read shows its caption. `other_domains` is the share of
/// query images of other domains than the support images.
pub fn episodes_page(episodes: &[ShownEpisode], other_domains: Option<f64>, pairs: &Pairs) -> String {
    let shown = &episodes[..episodes.len().min(MOST)];
    let classes = shown.iter().flat_map(|episode| episode.classes.iter().chain(&episode.new_classes));
    let keys: Vec<&str> =
        classes.flat_map(|class| class.support.iter().chain(&class.query)).map(String::as_str).collect();
    let known = Known {
        pictures: thumbnails::of_keys(&keys, pairs),
        pairs: pairs.pairs.iter().map(|pair| (pair.key.as_str(), pair)).collect(),
    };
    let share = other_domains
        .map(|share| format!(" {:.0} % of the query images are of another visual domain.", 100.0 * share))
        .unwrap_or_default();
    let body: String =
        shown.iter().enumerate().map(|(number, episode)| known.episode(number, episode)).collect();
    Document {
        title: format!("GRAM episodes: {}", episodes.len()),
        heading: "Episodes",
        introduction: format!(
            "What meta-training learns from. A prompt takes a step on the support images of an episode, and is judged \
             by the query images. The first {} of {} episodes are shown.{share}",
            shown.len(),
            episodes.len()
        ),
        sections: vec![Section { id: "episodes", heading: "Episodes", body }],
        script: "",
    }
    .to_html()
}

/// What can be shown of pairs.
struct Known<'a> {
    pictures: HashMap<&'a str, String>,
    pairs: HashMap<&'a str, &'a Pair>,
}

impl Known<'_> {
    fn episode(&self, number: usize, episode: &ShownEpisode) -> String {
        let row = |class: &ShownClass| {
            format!(
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td></tr>\n",
                escape(&class.name),
                self.pictures(&class.support),
                self.pictures(&class.query)
            )
        };
        let rows: String = episode.classes.iter().map(row).collect();
        let new: String = episode.new_classes.iter().map(row).collect();
        let new = match new.is_empty() {
            true => new,
            false => format!(
                "<tbody><tr class=\"below\"><th scope=\"colgroup\" colspan=\"3\">Asked for, never supported</th></tr>\n{new}</tbody>\n"
            ),
        };
        format!(
            "<figure class=\"episode\"><div class=\"scroll\"><table><caption>Episode {}</caption>\n<thead><tr>\
             <th scope=\"col\">Class</th><th scope=\"col\">Support</th><th scope=\"col\">Query</th></tr></thead>\n\
             <tbody>\n{rows}</tbody>\n{new}</table></div></figure>\n",
            number + 1
        )
    }

    fn pictures(&self, keys: &[String]) -> String {
        let one = |key: &String| {
            let caption = self.pairs.get(key.as_str()).map_or(key.as_str(), |pair| pair.caption.as_str());
            let caption = escape(caption);
            match self.pictures.get(key.as_str()) {
                Some(file) => format!(
                    "<img src=\"data:image/jpeg;base64,{file}\" alt=\"{caption}\" title=\"{caption}\">"
                ),
                None => format!("<span class=\"caption\">{caption}</span>"),
            }
        };
        format!("<div class=\"pictures\">{}</div>", keys.iter().map(one).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::clusters_page::tests::{clusters, pairs};
    use crate::report::tests::assert_whole;

    #[test]
    fn every_class_shows_its_support_and_query_pictures() {
        let pairs = pairs(&clusters(&[&[8]], 0));
        let keys = |numbers: &[usize]| numbers.iter().map(|number| format!("pair-{number}")).collect();
        let class = ShownClass { name: "cat <b>".into(), support: keys(&[0, 1]), query: keys(&[2, 99]) };
        let episode = ShownEpisode { classes: vec![class.clone()], new_classes: vec![class] };
        let page = episodes_page(&vec![episode; 40], Some(0.61), &pairs);
        assert_whole(&page);
        assert!(page.contains("The first 30 of 40 episodes are shown. 61 % of the query images"));
        assert_eq!(page.matches("<caption>Episode").count(), 30);
        let first = page.split("<caption>Episode 2<").next().unwrap();
        assert_eq!(first.matches("<img").count(), 6);
        assert_eq!(first.matches("cat &lt;b&gt;").count(), 2);
        assert!(first.contains("alt=\"the caption of pair 2\"") && first.contains(">pair-99</span>"));
    }
}
