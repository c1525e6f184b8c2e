//! What `--log-level` takes.

/// A level or a filter. A single word that is no level would be taken for the name of a module,
/// and nothing would be logged.
pub(super) fn filter(text: &str) -> Result<String, String> {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
    let wanted =
        format!("wanted is a level ({}) or a filter such as info,claude_proxy::body=off", LEVELS.join(", "));
    if text.chars().all(char::is_alphanumeric) && !is_level(text) {
        return Err(wanted);
    }
    // Those that name spans may have commas and blanks in brackets.
    let parts = text.split(',').filter(|_| !text.contains('['));
    for part in parts.map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = part.split_once('=').map_or((part, None), |(t, l)| (t, Some(l)));
        let is_target = |c: char| c.is_alphanumeric() || matches!(c, '_' | ':' | '-' | '.');
        if target.is_empty() || !target.chars().all(is_target) {
            return Err(format!("`{target}` in `{part}` is not the target of any line; {wanted}"));
        }
        if let Some(level) = level.filter(|l| !is_level(l) && !matches!(l.as_bytes(), [b'0'..=b'5'])) {
            return Err(format!("`{level}` in `{part}` is not a level; {wanted}"));
        }
    }
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(e) => Err(format!("{e}; {wanted}")),
    }
}
