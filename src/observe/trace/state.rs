//! `tracestate`: a list of what tracing systems note for themselves, each under its own key.

/// Most members of a list.
const MOST: usize = 32;
/// Longest list that is passed on, in characters: as many as everybody has to pass on.
const LONGEST: usize = 512;
/// Longer members are the first to go where a list is too long.
const LONG: usize = 128;

/// The list, written anew. Empty: there is none, or it was not one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct State(Box<str>);

impl State {
    /// Of the values of all such headers, in their order. If a part cannot be read, all of it is
    /// dropped. Of two members with one key the first stays.
    pub(super) fn read<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        Self(members(values).map(write).unwrap_or_default())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

type Member<'a> = (&'a str, &'a str);

fn members<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Vec<Member<'a>>> {
    let mut members: Vec<Member<'a>> = Vec::new();
    let mut read = 0;
    for member in values.flat_map(|value| value.split(|b| *b == b',')) {
        let member = std::str::from_utf8(member).ok()?.trim_matches([' ', '\t']);
        if member.is_empty() {
            continue;
        }
        read += 1;
        let (key, value) = member.split_once('=')?;
        if read > MOST || !is_key(key) || !is_value(value) {
            return None;
        }
        if members.iter().all(|(known, _)| *known != key) {
            members.push((key, value));
        }
    }
    Some(members)
}

/// Whole members go where it is too long: long ones first, then those at the end, which are the
/// oldest.
fn write(mut members: Vec<Member<'_>>) -> Box<str> {
    let length = |(key, value): &Member<'_>| key.len() + 1 + value.len();
    let all = |members: &[Member<'_>]| members.iter().map(|member| length(member) + 1).sum::<usize>();
    while all(&members) > LONGEST + 1 {
        match members.iter().rposition(|member| length(member) > LONG) {
            Some(long) => drop(members.remove(long)),
            None => drop(members.pop()),
        }
    }
    let mut out = String::with_capacity(all(&members));
    for (key, value) in members {
        if !out.is_empty() {
            out.push(',');
        }
        out.push_str(key);
        out.push('=');
        out.push_str(value);
    }
    out.into()
}

/// `name`, or `tenant@system`.
fn is_key(key: &str) -> bool {
    let lower = |b: u8| b.is_ascii_lowercase();
    let lower_or_digit = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let is = |name: &str, longest: usize, first: fn(u8) -> bool| {
        (1..=longest).contains(&name.len())
            && name.bytes().next().is_some_and(first)
            && name.bytes().all(|b| lower_or_digit(b) || b"_-*/".contains(&b))
    };
    match key.split_once('@') {
        None => is(key, 256, lower),
        Some((tenant, system)) => is(tenant, 241, lower_or_digit) && is(system, 14, lower),
    }
}

/// Printable ASCII but for `,` and `=`; blanks at its end were cut off.
fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len())
        && value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b',' && b != b'=')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&str]) -> String {
        State::read(values.iter().map(|v| v.as_bytes())).as_str().to_owned()
    }

    #[test]
    fn lists_are_joined_and_written_anew() {
        for (values, want) in [
            (&["foo=1,bar=2"][..], "foo=1,bar=2"),
            (&["foo=1", "bar=2"], "foo=1,bar=2"),
            (&["foo=1 \t , \t bar=2, \t baz=3"], "foo=1,bar=2,baz=3"),
            (&["foo=1,", ",", "", " , bar=2"], "foo=1,bar=2"),
            (&["foo=a b"], "foo=a b"),
            (&["foo= a"], "foo= a"),
            (&["t61rcwkgmze@vendor=1,0tenant@v=2,a_-*/9=3"], "t61rcwkgmze@vendor=1,0tenant@v=2,a_-*/9=3"),
            (&["foo=1,foo=2,bar=3,foo=1"], "foo=1,bar=3"),
            (&[], ""),
            // Not one of these is a list.
            (&["foo"], ""),
            (&["foo=1,bar"], ""),
            (&["foo =1"], ""),
            (&["FOO=1"], ""),
            (&["foo.bar=1"], ""),
            (&["9foo=1"], ""),
            (&["foo@=1,bar=2"], ""),
            (&["@foo=1,bar=2"], ""),
            (&["foo@@bar=1"], ""),
            (&["foo@9bar=1"], ""),
            (&["foo@bar@baz=1"], ""),
            (&["foo=bar=baz"], ""),
            (&["foo=,bar=3"], ""),
            (&["=1"], ""),
            (&["foo=ä"], ""),
            (&["foo=\u{7f}"], ""),
            (&["foo=1\r\nx: y"], ""),
        ] {
            assert_eq!(read(values), want, "{values:?}");
        }
    }

    #[test]
    fn lengths_are_bounded() {
        for (key, good) in [
            ("z".repeat(256), true),
            ("z".repeat(257), false),
            (format!("{}@{}", "t".repeat(241), "v".repeat(14)), true),
            (format!("{}@v", "t".repeat(242)), false),
            (format!("t@{}", "v".repeat(15)), false),
        ] {
            assert_eq!(!read(&[&format!("{key}=1")]).is_empty(), good, "{key}");
        }
        assert!(!read(&[&format!("a={}", "v".repeat(256))]).is_empty());
        assert!(read(&[&format!("a={}", "v".repeat(257))]).is_empty());
        let list = |n: usize| (0..n).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
        assert_eq!(read(&[&list(32)]), list(32));
        assert_eq!(read(&[&list(33)]), "");
    }

    #[test]
    fn a_long_list_loses_long_members_first_and_then_old_ones() {
        let long = format!("long={}", "v".repeat(124));
        let short: Vec<String> = (0..8).map(|n| format!("k{n}={}", "v".repeat(60))).collect();
        // 8 of 63 characters, with commas: 511.
        assert_eq!(read(&[&short.join(","), &long]), short.join(","));
        assert_eq!(read(&[&long, &short.join(",")]), short.join(","));
        let more = format!("{},last={}", short.join(","), "v".repeat(60));
        assert_eq!(read(&[&more]), short.join(","));
        let exact = format!("{},", short.join(","));
        assert_eq!(read(&[&exact]).len(), 511);
    }
}
