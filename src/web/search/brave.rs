//! Brave Search API (api-dashboard.search.brave.com/api-reference/web/search).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ask, Found, Question, Unread, each, parse, query, with_sites};

/// Longest query, in characters.
const QUERY: usize = 400;
/// What `country` may be: another one is an error.
const COUNTRIES: &[&str] = &[
    "AR", "AU", "AT", "BE", "BR", "CA", "CL", "DK", "FI", "FR", "DE", "GR", "HK", "IN", "ID", "IT", "JP",
    "KR", "MY", "MX", "NL", "NZ", "NO", "CN", "PL", "PT", "PH", "RU", "SA", "ZA", "ES", "SE", "CH", "TW",
    "TR", "GB", "US",
];

pub(super) fn ask(question: &Question<'_>) -> Ask {
    let (q, count) = (with_sites(question, QUERY), question.count.to_string());
    let mut pairs =
        vec![("q", &*q), ("count", &*count), ("result_filter", "web"), ("text_decorations", "false")];
    let country = question.country.as_deref().filter(|country| COUNTRIES.contains(country));
    pairs.extend(country.map(|country| ("country", country)));
    Ask::Get(query(&pairs))
}

#[derive(Deserialize)]
struct Answer<'a> {
    /// Missing where nothing was found.
    #[serde(borrow)]
    web: Option<Web<'a>>,
}

#[derive(Deserialize)]
struct Web<'a> {
    #[serde(borrow, default)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item {
    title: Option<String>,
    url: Option<String>,
    description: Option<String>,
    /// In words: `May 1, 2026`, `2 days ago`.
    age: Option<String>,
    page_age: Option<String>,
    /// With some plans.
    #[serde(default)]
    extra_snippets: Vec<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Found>, Unread> {
    let answer: Answer<'_> = parse(body)?;
    let results = answer.web.map(|web| web.results).unwrap_or_default();
    let found = each::<Item>(&results).map(|item| {
        let texts: Vec<String> = item.description.into_iter().chain(item.extra_snippets).collect();
        Found {
            title: item.title,
            url: item.url,
            age: item.age.or(item.page_age),
            text: Some(texts.join(" … ")),
        }
    });
    Ok(found.collect())
}
