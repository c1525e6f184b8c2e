//! Exa (exa.ai/docs/reference/search).

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Ask, Found, Question, TEXT, Unread, each, parse};

/// Most domains of each list.
const DOMAINS: usize = 1200;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'q> {
    query: &'q str,
    num_results: usize,
    r#type: &'static str,
    contents: Contents,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include_domains: Vec<&'q str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exclude_domains: Vec<&'q str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_location: Option<&'q str>,
}

/// Without it there are titles and addresses alone.
#[derive(Serialize)]
struct Contents {
    highlights: Highlights,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Highlights {
    max_characters: usize,
}

pub(super) fn ask(question: &Question<'_>) -> Ask {
    let (allowed, blocked) = question.domains.hosts();
    let fits = |list: Vec<_>| if list.len() <= DOMAINS { list } else { Vec::new() };
    Ask::post(&Request {
        query: question.query,
        num_results: question.count,
        r#type: "auto",
        contents: Contents { highlights: Highlights { max_characters: TEXT } },
        include_domains: fits(allowed),
        exclude_domains: fits(blocked),
        user_location: question.country.as_deref(),
    })
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    title: Option<String>,
    url: Option<String>,
    published_date: Option<String>,
    #[serde(default)]
    highlights: Vec<String>,
    summary: Option<String>,
    text: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Vec<Found>, Unread> {
    let answer: Answer<'_> = parse(body)?;
    let found = each::<Item>(&answer.results).map(|item| {
        let highlights = Some(item.highlights.join(" … ")).filter(|text| !text.is_empty());
        Found {
            title: item.title,
            url: item.url,
            age: item.published_date,
            text: highlights.or(item.summary).or(item.text),
        }
    });
    Ok(found.collect())
}
