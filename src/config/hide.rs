//! What environment variables hold is told in no finding: who writes a file that others check
//! could otherwise read their environment.

use super::finding::Finding;

/// A shorter value is hidden where it stands alone: it may be a word of ours.
const TELLING: usize = 6;

/// Puts the names of variables wherever the findings tell their values.
pub(super) fn hide(mut variables: Vec<(String, String)>, findings: &mut [Finding]) {
    // A value may hold a shorter one.
    variables.sort_by_key(|(_, value)| std::cmp::Reverse(value.len()));
    for (name, value) in &variables {
        let forms = [value.clone(), value.escape_debug().to_string(), control(value)];
        for finding in &mut *findings {
            for text in [&mut finding.path, &mut finding.message, &mut finding.help] {
                for form in &forms {
                    hide_in(text, name, form);
                }
            }
        }
    }
}

/// The value with its control characters escaped, and these alone.
fn control(value: &str) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    value.chars().map(escaped).collect()
}

fn hide_in(text: &mut String, name: &str, value: &str) {
    if value.len() >= TELLING {
        if text.contains(value) {
            *text = text.replace(value, &format!("${{{name}}}"));
        }
    } else if !value.is_empty() {
        *text = text.replace(&format!("`{value}`"), &format!("`${{{name}}}`"));
    }
}
