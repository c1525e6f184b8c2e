//! SearXNG (docs.searxng.org/dev/search_api).

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Ask, Found, Question, Unread, each, parse, query, with_sites};

/// Longest query with its operators, in characters.
const QUERY: usize = 1000;

pub(super) fn ask(question: &Question<'_>) -> Ask {
    Ask::Get(query(&[("q", &with_sites(question, QUERY)), ("format", "json")]))
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, default)]
    results: Vec<&'a RawValue>,
    /// Engines with what is wrong with them: `["google", "timeout"]`.
    #[serde(borrow, default)]
    unresponsive_engines: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    title: Option<String>,
    url: Option<String>,
    content: Option<String>,
    published_date: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Found>, Unread> {
    let answer: Answer<'_> = parse(body)?;
    if answer.results.is_empty() && !answer.unresponsive_engines.is_empty() {
        let engines = each::<(String, String)>(&answer.unresponsive_engines).take(10);
        let engines: Vec<String> = engines
            .map(|(name, why)| {
                format!("{name} ({why})").chars().filter(|c| !c.is_control()).take(80).collect()
            })
            .collect();
        return Err(Unread::Down(format!("none of its engines answers: {}", engines.join(", "))));
    }
    let found = each::<Item>(&answer.results).map(|item| Found {
        title: item.title,
        url: item.url,
        age: item.published_date,
        text: item.content,
    });
    Ok(found.collect())
}
