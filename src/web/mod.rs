//! Stand-in.
#![allow(missing_docs, clippy::unused_async, clippy::unused_self)]
pub struct Web;
pub struct SearchOptions {
    pub allowed_domains: Vec<String>,
    pub blocked_domains: Vec<String>,
    pub count: usize,
    pub country: Option<String>,
    pub city: Option<String>,
}
pub struct Hit {
    pub title: String,
    pub url: String,
    pub page_age: Option<String>,
    pub text: String,
}
pub struct FetchOptions {
    pub allowed_domains: Vec<String>,
    pub blocked_domains: Vec<String>,
    pub max_content_tokens: Option<u64>,
}
pub enum Content {
    Text(String),
    Pdf(Vec<u8>),
}
pub struct Page {
    pub url: String,
    pub title: Option<String>,
    pub content: Content,
    pub retrieved_at: String,
}
#[derive(Clone, Copy)]
pub enum Code {
    Unavailable,
}
impl Code {
    pub fn as_str(self) -> &'static str {
        "unavailable"
    }
}
pub struct WebError {
    pub code: Code,
    pub detail: String,
}
impl Web {
    pub async fn search(&self, _: &str, _: &SearchOptions) -> Result<Vec<Hit>, WebError> {
        Err(WebError { code: Code::Unavailable, detail: String::new() })
    }
    pub async fn fetch(&self, _: &str, _: &FetchOptions) -> Result<Page, WebError> {
        Err(WebError { code: Code::Unavailable, detail: String::new() })
    }
}
