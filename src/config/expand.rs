//! `${NAME}` in strings of config.json.

use std::env::VarError;

use super::code::Code;

/// Where the values of variables come from; `std::env::var` in the program.
pub type Env<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Why a string cannot be expanded. Never holds a variable's value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum ExpandError {
    #[error("environment variable `{0}` is not set")]
    Unset(String),
    #[error("environment variable `{0}` is not UTF-8")]
    NotUtf8(String),
    #[error(
        "`${{` begins an environment variable, but no NAME in letters, digits and `_` with a `}}` follows"
    )]
    Malformed,
}

impl ExpandError {
    /// The finding's code.
    pub(super) fn code(&self) -> Code {
        match self {
            Self::Unset(_) => Code::UnsetVariable,
            Self::NotUtf8(_) | Self::Malformed => Code::BadVariable,
        }
    }

    /// What to do.
    pub(super) fn help(&self) -> String {
        match self {
            Self::Unset(name) => format!("export `{name}` first, or write `$${{` for a literal `${{`"),
            Self::NotUtf8(_) => String::new(),
            Self::Malformed => "write `${NAME}`, or `$${` for a literal `${`".to_owned(),
        }
    }
}

/// A string after expansion.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Expanded {
    pub(super) text: String,
    /// A variable that was used although it is set to nothing.
    pub(super) empty: Option<String>,
    /// Name and value of each variable that was used.
    pub(super) used: Vec<(String, String)>,
}

/// Replaces each `${NAME}` by that variable and each `$${` by `${`. What a variable holds is
/// not expanded again.
pub(super) fn expand(text: &str, env: Env<'_>) -> Result<Expanded, ExpandError> {
    let mut out = Expanded { text: String::with_capacity(text.len()), empty: None, used: Vec::new() };
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("${") {
        if let Some(head) = head.strip_suffix('$') {
            out.text.push_str(head);
            out.text.push_str("${");
            rest = tail;
            continue;
        }
        out.text.push_str(head);
        let (name, after) = tail.split_once('}').ok_or(ExpandError::Malformed)?;
        let fits = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && name.starts_with(|c: char| !c.is_ascii_digit());
        if !fits {
            return Err(ExpandError::Malformed);
        }
        let value = env(name).map_err(|e| match e {
            VarError::NotPresent => ExpandError::Unset(name.to_owned()),
            VarError::NotUnicode(_) => ExpandError::NotUtf8(name.to_owned()),
        })?;
        if value.is_empty() {
            out.empty.get_or_insert_with(|| name.to_owned());
        }
        out.text.push_str(&value);
        out.used.push((name.to_owned(), value));
        rest = after;
    }
    out.text.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(name: &str) -> Result<String, VarError> {
        match name {
            "A" => Ok("one".to_owned()),
            "_B2" => Ok("${A}".to_owned()),
            "E" => Ok(String::new()),
            _ => Err(VarError::NotPresent),
        }
    }

    fn text(s: &str) -> Result<String, ExpandError> {
        expand(s, &env).map(|e| e.text)
    }

    #[test]
    fn replaces_variables_once() {
        assert_eq!(text("x ${A}${_B2} $ $A {A} é").unwrap(), "x one${A} $ $A {A} é");
        assert_eq!(text("$${A} ${A}").unwrap(), "${A} one");
        assert_eq!(text("").unwrap(), "");
        assert_eq!(expand("${E}", &env).unwrap().empty.as_deref(), Some("E"));
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(text("${NO}"), Err(ExpandError::Unset("NO".to_owned())));
        for s in ["${", "${}", "${A", "${A B}", "${1A}", "${A:-x}"] {
            assert_eq!(text(s), Err(ExpandError::Malformed), "{s}");
        }
    }
}
