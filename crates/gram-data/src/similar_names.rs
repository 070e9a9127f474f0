//! What somebody may have meant who mistyped a name.

use std::path::Path;

/// From this similarity on (Jaro and Winkler's, from 0 to 1) one name is meant by the other.
const LEAST: f64 = 0.85;

/// `; is it X?` for the known name that is most like one that is unknown; nothing where none is like it.
pub fn is_it<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let similarity = |name: &str| strsim::jaro_winkler(&unknown.to_lowercase(), &name.to_lowercase());
    let names = known.into_iter().map(|name| (similarity(name), name));
    // Of equals the first.
    let best = names.reduce(|best, next| if next.0 > best.0 { next } else { best });
    match best.filter(|(similarity, _)| *similarity >= LEAST) {
        Some((_, name)) => format!("; is it `{name}`?"),
        None => String::new(),
    }
}

/// The same for a path that is not there, among what lies in its folder.
pub fn is_it_beside(path: &Path) -> String {
    let Some(unknown) = path.file_name().filter(|_| !path.exists()) else { return String::new() };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    is_it(&unknown.to_string_lossy(), names.iter().map(String::as_str))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_name_is_known_and_another_is_not() {
        let known = ["animals", "food", "travel"];
        assert_eq!(is_it("foood", known), "; is it `food`?");
        assert_eq!(is_it("Animal", known), "; is it `animals`?");
        assert_eq!(is_it("flowers", known), "");
        assert_eq!(is_it("food", []), "");
    }

    #[test]
    fn a_path_is_compared_with_what_lies_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("pairs.csv"), "").unwrap();
        assert_eq!(is_it_beside(&folder.path().join("pair.csv")), "; is it `pairs.csv`?");
        assert_eq!(is_it_beside(&folder.path().join("pairs.csv")), "");
        assert_eq!(is_it_beside(&folder.path().join("nowhere/pairs.csv")), "");
    }
}
