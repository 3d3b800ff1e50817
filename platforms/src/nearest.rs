//! The right word for a wrong one.

use strsim::damerau_levenshtein;

/// Returns the candidate that `word` was probably meant to be, if one is close enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let best = candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate))
        .min_by_key(|(distance, _)| *distance)?;
    let (distance, candidate) = best;
    let longest = word.chars().count().max(candidate.chars().count());
    (distance <= (longest / 3).max(1)).then_some(candidate)
}

/// Counts the edits between two words; a word inside the other, such as `prio` in `priority`, counts as one.
fn distance(word: &str, candidate: &str) -> usize {
    let low = candidate.to_lowercase();
    let edits = damerau_levenshtein(word, &low);
    let inside = word.len() >= 3 && (low.contains(word) || word.contains(&low) && low.len() >= 3);
    if inside && edits > 1 { 1 } else { edits }
}

/// Makes the sentence that follows a wrong word: the nearest candidate, or all of them when none is near.
pub fn suggestion<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    none: &str,
) -> String {
    if let Some(candidate) = nearest(word, candidates.clone()) {
        return format!("did you mean `{candidate}`?");
    }
    let list: Vec<String> = candidates.into_iter().map(|c| format!("`{c}`")).collect();
    match list.len() {
        0 => none.to_owned(),
        1 => format!("there is {}", list.join("")),
        2..=12 => format!("there are {}", list.join(", ")),
        n => format!("there are {n}; some are {}", list[..12].join(", ")),
    }
}

/// Most paths that are suggested for a wrong one.
const MOST_PATHS: usize = 4;

/// Makes the sentence that follows a wrong path: the nearest ones, or all that there are when none is near. A path is near
/// as a whole, or by its last part, for the bus above is what one forgets.
pub fn nearest_paths<'a>(
    path: &str,
    candidates: impl IntoIterator<Item = &'a str> + Clone,
    none: &str,
) -> String {
    let last = |path: &'a str| path.rsplit('/').next().unwrap_or(path);
    let low = path.to_lowercase();
    let wanted = low.rsplit('/').next().unwrap_or(&low).to_owned();
    let score = |candidate: &'a str| {
        let whole = distance(&low, candidate);
        let part = distance(&wanted, last(candidate)) + 1;
        (whole.min(part), candidate)
    };
    let mut near: Vec<_> = candidates.clone().into_iter().map(score).collect();
    near.sort();
    let best = near.first().map_or(0, |(distance, _)| *distance);
    let enough = (wanted.chars().count() / 3).max(1).min(best + 1);
    near.retain(|(distance, _)| *distance <= enough);
    near.truncate(MOST_PATHS);
    let paths: Vec<String> = near.iter().map(|(_, path)| format!("`{path}`")).collect();
    match paths.len() {
        0 => suggestion(path, candidates, none),
        1 => format!("did you mean {}?", paths[0]),
        _ => format!("the nearest are {}", paths.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_word_that_was_meant() {
        let keys = ["pcpu", "priority", "time_slice", "memory"];
        assert_eq!(nearest("prioritty", keys), Some("priority"));
        assert_eq!(nearest("prio", keys), Some("priority"));
        assert_eq!(nearest("cpu", keys), Some("pcpu"));
        assert_eq!(nearest("Memory", keys), Some("memory"));
        assert_eq!(nearest("colour", keys), None);
    }

    #[test]
    fn lists_the_nearest_paths() {
        let paths = [
            "/axi/mmc@ff160000",
            "/axi/mmc@ff170000",
            "/axi/spi@ff0f0000",
            "/timer",
        ];
        let near = |path| nearest_paths(path, paths, "none");
        let both = "the nearest are `/axi/mmc@ff160000`, `/axi/mmc@ff170000`";
        assert_eq!(near("/axi/mmc@ff180000"), both);
        assert_eq!(near("/soc/mmc@ff180000"), both);
        assert_eq!(near("/axi/mmc"), both);
        assert_eq!(near("/spi@ff0f0000"), "did you mean `/axi/spi@ff0f0000`?");
        assert!(near("/x").starts_with("there are `/axi/mmc@ff160000`"));
    }

    #[test]
    fn lists_all_when_none_is_near() {
        assert_eq!(
            suggestion("x", ["hello", "bench"], ""),
            "there are `hello`, `bench`"
        );
        assert_eq!(suggestion("x", [], "there is none"), "there is none");
    }
}
