//! The settings of a web tool of the server's.

use super::complaint::{Complaint, Result, Step, Under, list, strings};
use super::tool::WebTool;
use super::{ApiError, Request};
use crate::wire::json::Cursor;

/// Most domains of one list.
const MOST_DOMAINS: usize = 1000;

/// What an entry of `tools` says of `web_search` or `web_fetch`.
///
/// Source: Anthropic documentation, "Web search tool", "Web fetch tool".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebSettings {
    /// Which of the two.
    pub tool: WebTool,
    /// Calls that are carried out in one request at most.
    pub max_uses: Option<u64>,
    /// Only from there; empty: from everywhere.
    pub allowed_domains: Vec<String>,
    /// Not from there.
    pub blocked_domains: Vec<String>,
    /// `web_fetch`: how much of a page's text is wanted, in tokens.
    pub max_content_tokens: Option<u64>,
    /// `user_location.country`: two letters.
    pub country: Option<String>,
}

impl WebSettings {
    /// Those of a tool of this kind that the request offers.
    ///
    /// # Errors
    /// 400 for settings of the wrong type, and for domains that are both allowed and blocked.
    pub fn of(request: &Request<'_>, tool: WebTool) -> std::result::Result<Option<Self>, ApiError> {
        let Some(at) = request.tools.iter().position(|t| t.web_tool() == Some(tool)) else { return Ok(None) };
        let mut settings = None;
        let mut cursor = Cursor::new(request.tools_text);
        let read = list(&mut cursor, |n, cur| {
            if n == at {
                settings = Some(Self::read(tool, cur)?);
            } else {
                cur.raw()?;
            }
            Ok(())
        });
        read.map_err(|e| e.under(Step::Key("tools")).into_error(request.tools_text.as_bytes()))?;
        Ok(settings)
    }

    fn read(tool: WebTool, cur: &mut Cursor<'_>) -> Result<Self> {
        let mut settings = Self {
            tool,
            max_uses: None,
            allowed_domains: Vec::new(),
            blocked_domains: Vec::new(),
            max_content_tokens: None,
            country: None,
        };
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "max_uses" => settings.max_uses = number(cur).under("max_uses")?,
                "allowed_domains" => {
                    settings.allowed_domains = domains(cur).under("allowed_domains")?;
                }
                "blocked_domains" => {
                    settings.blocked_domains = domains(cur).under("blocked_domains")?;
                }
                "max_content_tokens" => {
                    settings.max_content_tokens = number(cur).under("max_content_tokens")?;
                }
                "user_location" if !cur.null()? => settings.locate(cur).under("user_location")?,
                "user_location" => {}
                _ => drop(cur.raw()?),
            }
            Ok(())
        })?;
        if !settings.allowed_domains.is_empty() && !settings.blocked_domains.is_empty() {
            let what = "allowed_domains and blocked_domains cannot both be given";
            return Err(Complaint::new(what));
        }
        Ok(settings)
    }

    fn locate(&mut self, cur: &mut Cursor<'_>) -> Result<()> {
        cur.object(|key, cur| -> Result<()> {
            match key.raw() {
                "country" => {
                    let country = cur.opt_string().under("country")?.filter(|c| c.len_hint() <= 64);
                    self.country = country.map(|c| c.decode().into_owned());
                }
                _ => drop(cur.raw()?),
            }
            Ok(())
        })
    }
}

fn number(cur: &mut Cursor<'_>) -> Result<Option<u64>> {
    Ok(if cur.null()? { None } else { Some(cur.u64()?) })
}

fn domains(cur: &mut Cursor<'_>) -> Result<Vec<String>> {
    let domains = strings(cur)?;
    if domains.len() > MOST_DOMAINS {
        return Err(Complaint::new(format!("List should have at most {MOST_DOMAINS} items")));
    }
    Ok(domains.into_iter().map(|domain| domain.decode().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(tool: &str) -> std::result::Result<Option<WebSettings>, String> {
        let body = format!(
            r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user","content":"q"}}],"tools":[{{"name":"t","input_schema":{{}}}},{tool}]}}"#
        );
        let request = Request::parse(body.as_bytes()).unwrap();
        WebSettings::of(&request, WebTool::Search).map_err(|e| e.message)
    }

    #[test]
    fn reads_what_the_documentation_names() {
        let read = settings(
            r#"{"type":"web_search_20250305","name":"web_search","max_uses":8,"allowed_domains":["a.com"],
            "user_location":{"type":"approximate","city":"Bern","country":"CH"},"new":[{}]}"#,
        );
        let read = read.unwrap().unwrap();
        assert_eq!((read.max_uses, read.allowed_domains.as_slice()), (Some(8), &["a.com".to_owned()][..]));
        assert_eq!(read.country.as_deref(), Some("CH"));
        for other in ["web_fetch_20250910", "web_search_", "web_search_2025030x", "web_searches_20250305"] {
            assert_eq!(settings(&format!(r#"{{"type":"{other}","max_uses":1}}"#)), Ok(None), "{other}");
        }
    }

    #[test]
    fn complains_with_the_place() {
        let e = settings(r#"{"type":"web_search_20250305","allowed_domains":["a"],"blocked_domains":["b"]}"#);
        assert_eq!(e, Err("tools.1: allowed_domains and blocked_domains cannot both be given".to_owned()));
        let e = settings(r#"{"type":"web_search_20250305","max_uses":"8"}"#);
        assert!(e.is_err_and(|e| e.starts_with("tools.1.max_uses: ")));
        let empty = r#"{"type":"web_search_20250305","allowed_domains":null,"blocked_domains":["b"]}"#;
        assert!(settings(empty).is_ok());
    }
}
