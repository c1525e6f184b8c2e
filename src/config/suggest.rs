//! "Did you mean": the known word nearest to a mistyped one.

/// The candidate nearest to `word`, if it is near enough to be meant.
///
/// Near enough: at most a third of the word's characters differ (one may in any word of two).
/// Neighbours that changed places count once; case counts half.
pub fn suggest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let length = word.chars().count();
    let limit = match length {
        0 | 1 => 1,
        n => (n / 3).max(1) * 2,
    };
    candidates
        .into_iter()
        // So much is missing or too much anyway; a pasted text of any length costs nothing.
        .filter(|c| c.chars().count().abs_diff(length) * 2 <= limit)
        .map(|c| (distance(word, c), c))
        .filter(|(d, _)| *d <= limit)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

/// `, did you mean X?`, or nothing.
pub(crate) fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    suggest(word, candidates).map_or_else(String::new, |c| format!(", did you mean `{c}`?"))
}

/// Optimal string alignment distance, doubled; a change of case costs 1.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    // Three rows suffice: a swap looks two rows back.
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).map(|n| n * 2).collect();
    let at = |row: &[usize], i: usize| row.get(i).copied().unwrap_or(usize::MAX / 2);
    for (i, x) in a.iter().enumerate() {
        let mut row = Vec::with_capacity(b.len() + 1);
        row.push((i + 1) * 2);
        for (j, y) in b.iter().enumerate() {
            let change = if x == y {
                0
            } else if x.eq_ignore_ascii_case(y) {
                1
            } else {
                2
            };
            let mut best = (at(&last, j) + change).min(at(&last, j + 1) + 2).min(at(&row, j) + 2);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 2);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    at(&last, b.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["base_url", "api_key", "models", "ak", "port"];
        assert_eq!(suggest("base_ur", known), Some("base_url"));
        assert_eq!(suggest("baseurl", known), Some("base_url"));
        assert_eq!(suggest("api_kye", known), Some("api_key"));
        assert_eq!(suggest("Port", known), Some("port"));
        assert_eq!(suggest("AK", known), Some("ak"));
        assert_eq!(suggest("temperature", known), None);
        assert_eq!(suggest("", known), None);
        assert_eq!(suggest("a", known), None);
        assert_eq!(suggest("kk", known), Some("ak"));
    }
}
