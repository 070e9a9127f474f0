//! Every byte is Pillow's (`fixtures/make_fixtures.py`).
#![allow(clippy::unwrap_used)]

use gram_resample::{Filter, Part, resize, resize_part};
use image::{Rgb, RgbImage, imageops};

/// The script's `picture`.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let noise = x.wrapping_mul(2_654_435_761).wrapping_add(y.wrapping_mul(2_246_822_519)) >> 24;
        Rgb([noise as u8, ((x / 7 + y / 5) % 2 * 255) as u8, (x * 3 + y * 2) as u8])
    })
}

/// Width, height, new width, new height, filter, checksum.
fn cases() -> Vec<[u64; 6]> {
    serde_json::from_str(include_str!("fixtures/cases.json")).unwrap()
}

#[test]
fn every_byte_is_pillow_s() {
    let cases = cases();
    assert!(cases.len() > 200);
    for [width, height, new_width, new_height, filter, checksum] in cases {
        let filter = Filter::of_number(filter).unwrap();
        let size = (new_width as u32, new_height as u32);
        let found = resize(&picture(width as u32, height as u32), size, filter).unwrap();
        let told = format!("{width} x {height} to {new_width} x {new_height}, {filter:?}");
        assert_eq!(u64::from(crc32fast::hash(&found)), checksum, "{told}");
    }
}

#[test]
fn a_part_of_the_result_is_that_part_of_the_whole_result() {
    let image = picture(90, 70);
    for [_, _, _, _, filter, _] in &cases()[..66] {
        let filter = Filter::of_number(*filter).unwrap();
        let whole = resize(&image, (41, 33), filter).unwrap();
        let wanted = Part { left: 7, top: 2, width: 20, height: 31 };
        let part = resize_part(&image, Part::whole((90, 70)), (41, 33), wanted, filter).unwrap();
        assert_eq!(part, imageops::crop_imm(&whole, 7, 2, 20, 31).to_image(), "{filter:?}");
    }
}

#[test]
fn what_lies_beside_the_source_has_no_influence() {
    let image = picture(90, 70);
    let source = Part { left: 11, top: 5, width: 60, height: 50 };
    let cut = imageops::crop_imm(&image, 11, 5, 60, 50).to_image();
    for filter in [Filter::Nearest, Filter::Bicubic] {
        let found = resize_part(&image, source, (24, 24), Part::whole((24, 24)), filter);
        assert_eq!(found, resize(&cut, (24, 24), filter));
    }
}

#[test]
fn what_is_empty_or_sticks_out_is_refused() {
    let image = picture(9, 7);
    assert_eq!(resize(&image, (0, 3), Filter::Bicubic), None);
    assert_eq!(resize(&RgbImage::new(0, 7), (3, 3), Filter::Bicubic), None);
    let wide = Part { left: 1, top: 0, width: 9, height: 7 };
    assert_eq!(resize_part(&image, wide, (3, 3), Part::whole((3, 3)), Filter::Bicubic), None);
    let far = Part { left: u32::MAX, top: 0, width: 9, height: 7 };
    assert_eq!(resize_part(&image, far, (3, 3), Part::whole((3, 3)), Filter::Nearest), None);
}
