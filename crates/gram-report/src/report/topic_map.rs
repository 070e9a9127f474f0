//! The map of the topics: every pair a dot, coloured by its topic, grey where it has none.
//!
//! The drawing is whole without the script beside it (`topics.js`), which adds what the dots stand for.

use serde_json::{Value, json};

use super::centres::{Centre, centres};
use super::for_script;
use super::palette::{COLOURS, colours};
use crate::results::{MapPoint, TopicMap};
use crate::tables::escape;

const WIDTH: f64 = 1000.0;
const MARGIN: f64 = 24.0;

/// Room for one letter and one line of a topic's name, in the drawing's unit.
const LETTER: (f64, f64) = (8.5, 19.0);

/// At most this many topics are named on the map itself.
const MOST_NAMES: usize = 40;

/// A dot: a point that has a place, and what is known of it.
struct Dot<'a> {
    x: f64,
    y: f64,
    topic: Option<usize>,
    point: &'a MapPoint,
}

/// Map, search box, list of topics and the data behind them; nothing if there is no point to show.
pub(super) fn section(map: &TopicMap) -> String {
    let (dots, height) = placed(map);
    if dots.is_empty() {
        return String::new();
    }
    let of_topics = dots.iter().filter_map(|dot| Some((dot.topic?, dot.x, dot.y)));
    let centres = centres(of_topics, map.topics.len());
    let colours = colours(map.topics.len(), &centres);
    let noise = dots.iter().filter(|dot| dot.topic.is_none()).count();
    format!(
        include_str!("topics.html"),
        pairs = dots.len(),
        topics = map.topics.len(),
        noise = noise,
        width = WIDTH,
        height = format!("{height:.0}"),
        dots = drawing(&dots, &colours),
        names = names(map, &centres),
        data = for_script(&data(map, &dots, &colours)),
    )
}

/// Every point with a finite place, moved into the drawing with its proportions kept; and the drawing's
/// height.
fn placed(map: &TopicMap) -> (Vec<Dot<'_>>, f64) {
    let finite: Vec<&MapPoint> =
        map.points.iter().filter(|point| point.x.is_finite() && point.y.is_finite()).collect();
    let range = |value: fn(&MapPoint) -> f64| {
        let low = finite.iter().map(|point| value(point)).fold(f64::INFINITY, f64::min);
        let high = finite.iter().map(|point| value(point)).fold(f64::NEG_INFINITY, f64::max);
        (low, (high - low).clamp(1e-9, 1e300))
    };
    let ((left, across), (top, down)) = (range(|point| point.x), range(|point| point.y));
    let height = (WIDTH * down / across).clamp(WIDTH / 2.0, WIDTH);
    let scale = ((WIDTH - 2.0 * MARGIN) / across).min((height - 2.0 * MARGIN) / down);
    let dot = |point: &&'_ _| {
        let point: &MapPoint = point;
        (
            (point.x - left - across / 2.0) * scale + WIDTH / 2.0,
            (point.y - top - down / 2.0) * scale + height / 2.0,
        )
    };
    let dots = finite
        .iter()
        .map(|point| {
            let (x, y) = dot(point);
            Dot { x, y, topic: point.topic.filter(|topic| *topic < map.topics.len()), point }
        })
        .collect();
    (dots, height)
}

/// One path for each topic, and one for the noise below them: lines of no length, which round caps turn into
/// dots.
fn drawing(dots: &[Dot<'_>], colours: &[usize]) -> String {
    let path = |topic: Option<usize>| -> String {
        dots.iter()
            .filter(|dot| dot.topic == topic)
            .map(|dot| format!("M{:.1} {:.1}h0", dot.x, dot.y))
            .collect()
    };
    let mut svg = format!("<path class=\"noise\" d=\"{}\"/>\n", path(None));
    for (topic, colour) in colours.iter().enumerate() {
        svg += &format!(
            "<path class=\"{}\" data-topic=\"{topic}\" d=\"{}\"/>\n",
            COLOURS[*colour],
            path(Some(topic))
        );
    }
    svg
}

/// The words of the largest topics, each where it covers no other.
fn names(map: &TopicMap, centres: &[Centre]) -> String {
    let mut taken: Vec<(f64, f64, f64)> = Vec::new();
    let mut svg = String::new();
    for centre in centres {
        let word = &map.topics[centre.topic].word;
        let half = word.chars().count() as f64 * LETTER.0 / 2.0;
        let free = taken
            .iter()
            .all(|(x, y, other)| (x - centre.x).abs() > half + other || (y - centre.y).abs() > LETTER.1);
        if free && taken.len() < MOST_NAMES {
            taken.push((centre.x, centre.y, half));
            let x = centre.x.clamp(half.min(WIDTH / 2.0), WIDTH - half.min(WIDTH / 2.0));
            svg += &format!("<text x=\"{x:.1}\" y=\"{:.1}\">{}</text>\n", centre.y + 5.0, escape(word));
        }
    }
    svg
}

/// What the script needs. A dot is `[x, y, topic, domain, thumbnail, caption]`, with -1 for none.
fn data(map: &TopicMap, dots: &[Dot<'_>], colours: &[usize]) -> Value {
    let place = |place: Option<usize>| place.map_or(json!(-1), |place| json!(place));
    let tenths = |value: f64| (value * 10.0).round() / 10.0;
    let dots: Vec<Value> = dots
        .iter()
        .map(|dot| {
            let thumbnail = dot.point.thumbnail.filter(|thumbnail| *thumbnail < map.thumbnails.len());
            let domain = dot.point.domain.filter(|_| dot.topic.is_some());
            json!([
                tenths(dot.x),
                tenths(dot.y),
                place(dot.topic),
                place(domain),
                place(thumbnail),
                dot.point.caption
            ])
        })
        .collect();
    let topics: Vec<Value> = map
        .topics
        .iter()
        .zip(colours)
        .map(|(topic, colour)| {
            json!({"word": topic.word, "words": topic.words, "size": topic.size, "domains": topic.domains,
                   "colour": COLOURS[*colour]})
        })
        .collect();
    let thumbnails: Vec<String> = map
        .thumbnails
        .iter()
        .map(|thumbnail| format!("data:{};base64,{}", thumbnail.mime, thumbnail.base64))
        .collect();
    json!({"dots": dots, "topics": topics, "thumbnails": thumbnails})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::example;

    #[test]
    fn a_caption_cannot_end_the_script_and_survives_as_data() {
        let html = section(&example::results().topics.unwrap());
        let (_, rest) = html.split_once("id=\"topic-data\">").unwrap();
        let (data, _) = rest.split_once("</script>").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["dots"][1][5], "</script><script>alert(1)</script>");
        assert_eq!(data["topics"][0]["word"], "cat <b>");
        assert!(!html.contains("alert(1)</script>") && !html.contains("<b>"));
    }

    #[test]
    fn a_dot_without_topic_domain_or_thumbnail_says_minus_one() {
        let map = example::results().topics.unwrap();
        let (dots, _) = placed(&map);
        let data = data(&map, &dots, &[0]);
        assert_eq!(data["dots"][0], json!([24.0, 250.0, 0, 0, 0, "a cat"]));
        assert_eq!(data["dots"][2], json!([976.0, 250.0, -1, -1, -1, "noise & more"]));
    }

    #[test]
    fn places_that_point_nowhere_count_as_none() {
        let mut map = example::results().topics.unwrap();
        map.points[0].topic = Some(7);
        map.points[0].thumbnail = Some(9);
        map.points[1].x = f64::NAN;
        let (dots, _) = placed(&map);
        assert_eq!(dots.len(), 2);
        assert_eq!(data(&map, &dots, &[0])["dots"][0], json!([24.0, 250.0, -1, -1, -1, "a cat"]));
    }

    #[test]
    fn no_point_no_map() {
        assert_eq!(section(&TopicMap::default()), "");
    }
}
