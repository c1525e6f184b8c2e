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

/// Up to `most` candidates that look like `word`, the likeliest first. More forgiving than
/// [`suggest`]: names of models differ in their maker's prefix, their case or what follows them
/// (`glm-5`, `zai-org/GLM-5-FP8`).
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>, most: usize) -> Vec<&'a str> {
    let bare = |name: &str| name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase();
    let wanted = bare(word);
    let rank = |name: &str| {
        let name = bare(name);
        let apart = distance(&wanted, &name);
        let related = name.starts_with(&wanted) || wanted.starts_with(&name);
        let related = related && name.chars().count().min(wanted.chars().count()) >= 3;
        let stem = |text: &str| text.split(['-', ':', '.', '_']).next().unwrap_or_default().to_owned();
        let near = apart * 3 <= wanted.chars().count() * 2;
        (name == wanted || related || near || stem(&name) == stem(&wanted)).then_some((
            name != wanted,
            !(related || near),
            apart,
        ))
    };
    let mut ranked: Vec<_> = candidates.into_iter().filter_map(|c| Some((rank(c)?, c))).collect();
    ranked.sort_unstable();
    ranked.into_iter().take(most).map(|(_, c)| c).collect()
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

    #[test]
    fn nearest_looks_past_prefixes() {
        let list = ["zai-org/GLM-5-FP8", "z-ai/glm-4.7", "gpt-4.1", "deepseek-chat", "deepseek-reasoner"];
        assert_eq!(nearest("glm-5", list, 3), ["zai-org/GLM-5-FP8", "z-ai/glm-4.7"]);
        assert_eq!(nearest("GLM-4.7", list, 1), ["z-ai/glm-4.7"]);
        assert_eq!(nearest("deepseek-chatt", list, 3), ["deepseek-chat", "deepseek-reasoner"]);
        assert_eq!(nearest("llama", list, 3), [""; 0]);
    }
}
