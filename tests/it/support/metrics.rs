//! A strict reader of Prometheus's text format, version 0.0.4.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::ask;

/// A scrape.
#[derive(Debug, Default)]
pub struct Metrics {
    pub families: BTreeMap<String, Family>,
}

#[derive(Debug, Default)]
pub struct Family {
    pub kind: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

impl Metrics {
    /// Asks for them, and checks every line.
    pub fn of(addr: SocketAddr, key: Option<&str>) -> Self {
        let headers: Vec<(&str, &str)> = key.map(|key| ("x-api-key", key)).into_iter().collect();
        let answer = ask(addr, "GET", "/metrics", &headers, b"");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
        Self::read(std::str::from_utf8(&answer.body).unwrap()).unwrap_or_else(|e| panic!("{e}"))
    }

    /// Every rule of the format is checked, and those of the naming conventions.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut all = Self::default();
        let mut series = BTreeSet::new();
        let mut now: Option<String> = None;
        if !text.ends_with('\n') {
            return Err("the last line has no end".into());
        }
        for line in text.lines() {
            let bad = |what: &str| Err(format!("{what}: {line:?}"));
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let Some((name, help)) = rest.split_once(' ') else { return bad("no help") };
                if !is_name(name) || all.families.contains_key(name) {
                    return bad("not a new name");
                }
                all.families.insert(name.to_owned(), Family { help: help.to_owned(), ..Family::default() });
                now = Some(name.to_owned());
                continue;
            }
            let Some(family) = now.as_ref() else { return bad("before any family") };
            let entry = all.families.get_mut(family).unwrap();
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let Some((name, kind)) = rest.split_once(' ') else { return bad("no type") };
                if name != family
                    || !entry.kind.is_empty()
                    || !["counter", "gauge", "histogram"].contains(&kind)
                {
                    return bad("not the type of this family");
                }
                if (kind == "counter") != name.ends_with("_total") {
                    return bad("only counters end in _total");
                }
                kind.clone_into(&mut entry.kind);
                continue;
            }
            let sample = sample(line)?;
            let suffix = sample.name.strip_prefix(family.as_str());
            let fits = match entry.kind.as_str() {
                "histogram" => matches!(suffix, Some("_bucket" | "_sum" | "_count")),
                "" => return bad("no type"),
                _ => suffix == Some(""),
            };
            if !fits {
                return bad("a series of another family");
            }
            if entry.kind != "gauge" && (sample.value.is_nan() || sample.value < 0.0) {
                return bad("negative");
            }
            if !series.insert((sample.name.clone(), sample.labels.clone())) {
                return bad("twice");
            }
            entry.samples.push(sample);
        }
        all.check_histograms()?;
        Ok(all)
    }

    /// Buckets grow, and the last one is the count.
    fn check_histograms(&self) -> Result<(), String> {
        for (name, family) in self.families.iter().filter(|(_, f)| f.kind == "histogram") {
            let without_le = |s: &Sample| {
                let mut labels = s.labels.clone();
                labels.remove("le");
                labels
            };
            let sets: BTreeSet<_> = family.samples.iter().map(without_le).collect();
            for set in sets {
                let of = |suffix: &str| {
                    let name = format!("{name}{suffix}");
                    let fits = |s: &&Sample| s.name == name && without_le(s) == set;
                    family.samples.iter().filter(fits).collect::<Vec<_>>()
                };
                let (buckets, count) = (of("_bucket"), of("_count"));
                let bound = |s: &Sample| match s.labels["le"].as_str() {
                    "+Inf" => f64::INFINITY,
                    le => le.parse().unwrap(),
                };
                let grows = buckets.windows(2).all(|w| bound(w[0]) < bound(w[1]) && w[0].value <= w[1].value);
                let last = buckets.last().ok_or("no buckets")?;
                if !grows
                    || bound(last) != f64::INFINITY
                    || last.value as u64 != count[0].value as u64
                    || of("_sum").len() != 1
                {
                    return Err(format!("{name}: {buckets:?} {count:?}"));
                }
            }
        }
        Ok(())
    }

    /// The sum of all series of that name that have these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let samples = self.families.values().flat_map(|f| &f.samples);
        let fits = |s: &&Sample| {
            s.name == name && labels.iter().all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v))
        };
        samples.filter(fits).map(|s| s.value as u64).sum()
    }

    /// How many series there are.
    pub fn len(&self) -> usize {
        self.families.values().map(|f| f.samples.len()).sum()
    }
}

fn is_name(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// `name{label="value",...} value`
fn sample(line: &str) -> Result<Sample, String> {
    let bad = |what: &str| format!("{what}: {line:?}");
    let end = line.find(['{', ' ']).ok_or_else(|| bad("no value"))?;
    let (name, mut rest) = line.split_at(end);
    if !is_name(name) {
        return Err(bad("not a name"));
    }
    let mut labels = BTreeMap::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            let (label, after) = rest.split_once("=\"").ok_or_else(|| bad("not a label"))?;
            if !is_name(label) {
                return Err(bad("not a label's name"));
            }
            let mut value = String::new();
            let mut chars = after.char_indices();
            let end = loop {
                match chars.next().ok_or_else(|| bad("a value without an end"))? {
                    (at, '"') => break at + 1,
                    (_, '\\') => match chars.next().map(|(_, c)| c) {
                        Some('n') => value.push('\n'),
                        Some(c @ ('\\' | '"')) => value.push(c),
                        _ => return Err(bad("not an escape")),
                    },
                    (_, c) => value.push(c),
                }
            };
            if labels.insert(label.to_owned(), value).is_some() {
                return Err(bad("a label twice"));
            }
            rest = &after[end..];
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            rest = rest.strip_prefix(',').ok_or_else(|| bad("no comma"))?;
        }
    }
    let value = rest.strip_prefix(' ').ok_or_else(|| bad("no space"))?;
    let value = value.parse().map_err(|_| bad("not a number"))?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a_total A.\n# TYPE a_total counter\na_total{x=\"1\\\"\\\\\\n\",y=\"é\"} 1\na_total 2\n\
                # HELP h H.\n# TYPE h histogram\nh_sum 1.5\nh_count 2\nh_bucket{le=\"0.5\"} 1\nh_bucket{le=\"+Inf\"} 2\n";
    let read = Metrics::read(good).unwrap();
    assert_eq!((read.sum("a_total", &[("y", "é")]), read.sum("a_total", &[]), read.len()), (1, 3, 6));
    for (from, to) in [
        ("a_total 2\n", "a_total 2"),
        ("a_total 2\n", "a_total 2\na_total 3\n"),
        ("a_total 2", "a_total"),
        ("a_total 2", "a_total two"),
        ("a_total 2", "b_total 2"),
        ("a_total 2", "a_total -2"),
        ("a_total 2", "a_total{x=1} 2"),
        ("a_total 2", "a_total{x=\"1\",x=\"1\"} 2"),
        ("a_total 2", "a_total{x=\"\\q\"} 2"),
        ("# TYPE a_total counter\n", ""),
        ("a_total counter", "a_total count"),
        ("# TYPE h histogram", "# TYPE h counter"),
        ("h_count 2", "h_count 3"),
        ("h_bucket{le=\"0.5\"} 1", "h_bucket{le=\"0.5\"} 3"),
        ("h_bucket{le=\"+Inf\"} 2\n", ""),
        ("# HELP h H.", "# HELP a_total H."),
    ] {
        assert!(good.contains(from));
        let text = if from.ends_with('\n') && to == "a_total 2" {
            good.replace("\n# HELP h", "").split("# TYPE h").next().unwrap().trim_end().to_owned()
        } else {
            good.replace(from, to)
        };
        assert!(Metrics::read(&text).is_err(), "{from:?} -> {to:?}");
    }
}
