//! The labelled datasets: which classes, drawn by whom, in which look.
//!
//! Each has sets and a look of its own, as the datasets of the paper's protocols each have their own kind of
//! picture.

use crate::attributes::{Attributes, Sharpness, Size, Turn};
use crate::colours::Colour;

/// One labelled dataset, before it is drawn.
#[derive(Debug)]
pub struct Dataset {
    /// Its name, and that of its file.
    pub name: &'static str,
    /// The held-out sets that are its domains.
    pub sets: [&'static str; 3],
    /// How all of its pictures look: a person still knows what is drawn, the model has a harder time.
    pub look: Attributes,
    /// The slugs of its classes, separated by white space.
    classes: &'static str,
}

impl Dataset {
    /// The slugs of its classes, in alphabetical order.
    pub fn classes(&self) -> Vec<&'static str> {
        let mut classes: Vec<&str> = self.classes.split_whitespace().collect();
        classes.sort_unstable();
        classes
    }
}

/// All labelled datasets.
pub const DATASETS: [Dataset; 8] = [
    Dataset {
        name: "animals",
        sets: ["noto", "twemoji", "fluent-emoji-flat"],
        look: Attributes { sharpness: Sharpness::Blurry, background: Colour::Purple, ..Attributes::PLAIN },
        classes: "
            ant bat bear bird blowfish butterfly cactus camel chicken crab crocodile dolphin dragon duck elephant fish
            fox frog gorilla hatching-chick honeybee koala lady-beetle lion monkey-face mushroom owl palm-tree
            panda penguin pig-face rabbit-face rooster shark snail snake spider sunflower turtle unicorn",
    },
    Dataset {
        name: "food",
        sets: ["noto-v1", "twemoji", "fluent-emoji"],
        look: Attributes { inverted: true, turn: Turn::Tilted, ..Attributes::PLAIN },
        classes: "
            avocado bacon banana beer-mug bento-box birthday-cake bread burrito candy carrot cheese-wedge cherries
            chestnut chocolate-bar cookie cooking croissant cucumber doughnut ear-of-corn eggplant french-fries
            fried-shrimp grapes hamburger hot-beverage hot-dog hot-pepper ice-cream lemon lollipop meat-on-bone pancakes
            pear pineapple pizza popcorn strawberry sushi watermelon",
    },
    Dataset {
        name: "travel",
        sets: ["noto", "twemoji", "fluent-emoji"],
        look: Attributes {
            size: Size::Small,
            turn: Turn::Tilted,
            background: Colour::Pink,
            ..Attributes::PLAIN
        },
        classes: "
            airplane alarm-clock ambulance anchor automobile barber-pole bicycle bus castle church cloud crescent-moon
            cyclone ferris-wheel fire fire-engine fountain fuel-pump helicopter hourglass-done house locomotive mosque
            motor-scooter mount-fuji oncoming-taxi rainbow rocket roller-coaster sailboat snowflake snowman star
            statue-of-liberty tent tornado tractor umbrella vertical-traffic-light volcano",
    },
    Dataset {
        name: "activities",
        sets: ["noto-v1", "twemoji", "fluent-emoji-flat"],
        look: Attributes { noisy: true, background: Colour::Blue, ..Attributes::PLAIN },
        classes: "
            admission-tickets american-football artist-palette badminton balloon baseball basketball bowling
            boxing-glove bullseye carp-streamer christmas-tree club-suit confetti-ball cricket-game crystal-ball
            diamond-suit field-hockey fireworks fishing-pole flag-in-hole framed-picture game-die goal-net heart-suit
            ice-skate jack-o-lantern japanese-dolls joystick martial-arts-uniform military-medal party-popper
            performing-arts ping-pong pool-8-ball ribbon skis slot-machine trophy wrapped-gift",
    },
    Dataset {
        name: "objects",
        sets: ["noto", "twemoji", "fluent-emoji-high-contrast"],
        look: Attributes { sharpness: Sharpness::Pixelated, background: Colour::Orange, ..Attributes::PLAIN },
        classes: "
            battery bed bell bomb bookmark books briefcase camera candle clapper-board coffin crown dagger door dress
            drum electric-plug envelope floppy-disk gear glasses guitar hammer headphone high-heeled-shoe jeans key
            light-bulb lipstick microphone microscope mobile-phone money-bag necktie paperclip pencil pill ring scissors
            syringe",
    },
    Dataset {
        name: "smileys",
        sets: ["noto", "noto-v1", "fluent-emoji"],
        look: Attributes { black_and_white: true, faded: true, ..Attributes::PLAIN },
        classes: "
            alien alien-monster anger-symbol angry-face astonished-face beating-heart broken-heart clown-face collision
            cowboy-hat-face crying-face dashing-away dizzy expressionless-face face-with-thermometer fearful-face ghost
            goblin grimacing-face grinning-face heart-with-arrow heart-with-ribbon hole hundred-points kiss-mark
            love-letter money-mouth-face nerd-face ogre pile-of-poo robot skull skull-and-crossbones sleeping-face
            speech-balloon sweat-droplets thinking-face thought-balloon upside-down-face zipper-mouth-face",
    },
    Dataset {
        name: "people",
        sets: ["noto", "noto-v1", "fluent-emoji-flat"],
        look: Attributes { turn: Turn::Tilted, background: Colour::Red, faded: true, ..Attributes::PLAIN },
        classes: "
            baby baby-angel boy bust-in-silhouette clapping-hands construction-worker crossed-fingers
            detective ear eye eyes flexed-biceps folded-hands footprints girl guard handshake horse-racing
            index-pointing-up man-dancing mouth nail-polish nose ok-hand old-man old-woman person-biking person-bowing
            person-golfing person-swimming police-officer princess raised-fist raising-hands santa-claus selfie snowboarder thumbs-up tongue
            victory-hand",
    },
    Dataset {
        name: "symbols",
        sets: ["noto-v1", "twemoji", "fluent-emoji-high-contrast"],
        look: Attributes { inverted: true, noisy: true, ..Attributes::PLAIN },
        classes: "
            aquarius atm-sign baby-symbol biohazard check-mark children-crossing cinema clockwise-vertical-arrows
            copyright cross-mark curly-loop customs double-exclamation-mark down-arrow eight-pointed-star fleur-de-lis
            heavy-dollar-sign information keycap-10 left-right-arrow menorah mobile-phone-off name-badge
            no-bicycles no-entry no-smoking om part-alternation-mark peace-symbol potable-water prohibited radioactive
            recycling-symbol restroom scorpio star-of-david trident-emblem warning wheelchair-symbol yin-yang",
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::sets::{self, Role};

    #[test]
    fn every_dataset_has_40_different_classes_and_three_different_held_out_sets() {
        for dataset in &DATASETS {
            let classes: BTreeSet<&str> = dataset.classes().into_iter().collect();
            assert_eq!(classes.len(), 40, "{}: {}", dataset.name, dataset.classes().len());
            let sets: BTreeSet<&str> = dataset.sets.into_iter().collect();
            assert_eq!(sets.len(), 3, "{}", dataset.name);
            assert!(sets.iter().all(|set| sets::find(set).is_some_and(|set| set.role == Role::HeldOut)));
        }
    }

    #[test]
    fn every_dataset_has_sets_and_a_look_of_two_to_three_attributes_of_its_own() {
        for (index, dataset) in DATASETS.iter().enumerate() {
            assert!((2..=3).contains(&dataset.look.count()), "{}", dataset.name);
            for other in &DATASETS[..index] {
                assert_ne!(dataset.look, other.look);
                assert_ne!(dataset.sets, other.sets);
            }
        }
    }
}
