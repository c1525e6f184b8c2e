//! Tavily (docs.tavily.com/documentation/api-reference/endpoint/search).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Ask, Found, Question, Unread, each, parse};

/// Most domains of each list.
const ALLOWED: usize = 300;
const BLOCKED: usize = 150;

#[derive(Serialize)]
struct Request<'q> {
    query: &'q str,
    max_results: usize,
    /// `basic` costs one credit, `advanced` two.
    search_depth: &'static str,
    topic: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include_domains: Vec<&'q str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude_domains: Vec<&'q str>,
}

pub(super) fn ask(question: &Question<'_>) -> Ask {
    let (allowed, mut blocked) = question.domains.hosts();
    blocked.truncate(BLOCKED);
    Ask::post(&Request {
        query: question.query,
        max_results: question.count,
        search_depth: "basic",
        topic: "general",
        // A list cut short would leave out what is allowed.
        include_domains: if allowed.len() <= ALLOWED { allowed } else { Vec::new() },
        exclude_domains: blocked,
    })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item {
    title: Option<String>,
    url: Option<String>,
    content: Option<String>,
    /// Of news.
    published_date: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Found>, Unread> {
    let answer: Answer<'_> = parse(body)?;
    let found = each::<Item>(&answer.results).map(|item| Found {
        title: item.title,
        url: item.url,
        age: item.published_date,
        text: item.content,
    });
    Ok(found.collect())
}
