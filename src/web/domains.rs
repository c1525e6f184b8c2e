//! `allowed_domains` and `blocked_domains`.
//!
//! As Anthropic documents them for its web tools: a domain without a scheme, which covers its
//! subdomains; perhaps a path, which covers what begins with it; perhaps one `*` in the path. One
//! of the two lists, not both.

use percent_encoding::percent_decode_str;
use url::Url;

use super::error::{Code, WebError};

/// Most entries of a list.
const MOST: usize = 1000;

/// The lists of a request, read.
#[derive(Debug, Default)]
pub(super) struct Domains {
    allowed: Vec<Domain>,
    blocked: Vec<Domain>,
}

#[derive(Debug)]
struct Domain {
    host: String,
    /// What paths begin with, decoded; after a `*`, what comes later. Empty: every path.
    path: String,
    then: Option<String>,
}

impl Domains {
    /// Reads both lists.
    ///
    /// # Errors
    /// `invalid_tool_input`: an entry that is no domain, or both lists have entries.
    pub(super) fn read(allowed: &[String], blocked: &[String]) -> Result<Self, WebError> {
        if !allowed.is_empty() && !blocked.is_empty() {
            return Err(bad("has both `allowed_domains` and `blocked_domains`, and only one may be given"));
        }
        if allowed.len().max(blocked.len()) > MOST {
            return Err(bad(format!("lists more than {MOST} domains")));
        }
        let list =
            |entries: &[String]| entries.iter().map(|entry| Domain::read(entry)).collect::<Result<_, _>>();
        Ok(Self { allowed: list(allowed)?, blocked: list(blocked)? })
    }

    /// The URL may be shown or fetched.
    pub(super) fn admit(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let host = host.trim_end_matches('.');
        let path = decoded(url.path());
        // A server that decodes `%2F` may read another path than it seems.
        let doubtful = path.split('/').any(|segment| matches!(segment, "." | ".."));
        if doubtful && self.allowed.iter().chain(&self.blocked).any(Domain::has_path) {
            return false;
        }
        let covers = |domain: &Domain| domain.covers(host, &path);
        !self.blocked.iter().any(covers) && (self.allowed.is_empty() || self.allowed.iter().any(covers))
    }

    /// The hosts alone, for services that filter by themselves: (allowed, blocked). A blocked path
    /// does not block its host.
    pub(super) fn hosts(&self) -> (Vec<&str>, Vec<&str>) {
        let mut allowed: Vec<&str> = self.allowed.iter().map(|domain| &*domain.host).collect();
        allowed.dedup();
        let whole = self.blocked.iter().filter(|domain| !domain.has_path());
        (allowed, whole.map(|domain| &*domain.host).collect())
    }
}

fn bad(what: impl std::fmt::Display) -> WebError {
    WebError::new(Code::InvalidToolInput, format!("the tool {what}"))
}

/// A path without percent-encoding and doubled slashes: there are many ways to write the same.
fn decoded(path: &str) -> String {
    let bytes: Vec<u8> = percent_decode_str(path).collect();
    let mut out = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(&bytes).chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}

impl Domain {
    fn read(entry: &str) -> Result<Self, WebError> {
        let shown = || entry.chars().take(100).collect::<String>().escape_debug().to_string();
        let wrong = |why: &str| bad(format!("lists the domain `{}`, {why}", shown()));
        if entry.contains("://") {
            return Err(wrong("which must not have a scheme"));
        }
        let (host, path) = entry.split_once('/').unwrap_or((entry, ""));
        if host.contains('*') {
            return Err(wrong("and `*` may only stand in its path"));
        }
        let url = Url::parse(&format!("http://{host}/")).ok();
        let plain = |url: &Url| {
            url.port().is_none() && url.username().is_empty() && url.password().is_none() && url.path() == "/"
        };
        let no_more = !host.contains(['?', '#', '@', '\\']) && !host.ends_with(':');
        let host = url.as_ref().filter(|url| no_more && plain(url)).and_then(Url::host_str);
        let host = host.ok_or_else(|| wrong("which is no domain"))?.trim_end_matches('.').to_owned();
        if path.contains(['?', '#']) {
            return Err(wrong("which must not have a query or fragment"));
        }
        let path = decoded(&format!("/{path}"));
        let mut parts = path.split('*').map(str::to_owned);
        let before = parts.next().unwrap_or_default();
        let (then, more) = (parts.next(), parts.next());
        if more.is_some() {
            return Err(wrong("and only one `*` may stand in it"));
        }
        let path = if then.is_none() { before.trim_end_matches('/').to_owned() } else { before };
        Ok(Self { host, path, then })
    }

    fn has_path(&self) -> bool {
        !self.path.is_empty() || self.then.is_some()
    }

    fn covers(&self, host: &str, path: &str) -> bool {
        let above = host.strip_suffix(self.host.as_str());
        if !above.is_some_and(|above| above.is_empty() || above.ends_with('.')) {
            return false;
        }
        let Some(rest) = path.strip_prefix(self.path.as_str()) else { return false };
        match &self.then {
            None => self.path.is_empty() || rest.is_empty() || rest.starts_with('/'),
            Some(then) => rest.contains(then.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> Vec<String> {
        entries.iter().map(|entry| (*entry).to_owned()).collect()
    }

    #[test]
    fn what_a_domain_covers() {
        for (entry, url, covered) in [
            ("example.com", "https://example.com", true),
            ("example.com", "http://docs.example.com:8080/x?y", true),
            ("Example.COM", "https://a.b.example.com/", true),
            ("example.com.", "https://example.com./", true),
            ("example.com", "https://badexample.com/", false),
            ("example.com", "https://example.com.evil.net/", false),
            ("example.com", "https://evil.net/example.com", false),
            ("example.com", "https://example.com@evil.net/", false),
            ("docs.example.com", "https://docs.example.com/", true),
            ("docs.example.com", "https://example.com/", false),
            ("docs.example.com", "https://api.example.com/", false),
            ("example.com/", "https://example.com/any", true),
            ("example.com/blog", "https://example.com/blog", true),
            ("example.com/blog", "https://example.com/blog/post-1", true),
            ("example.com/blog/", "https://www.example.com/blog/post-1?x=1#y", true),
            ("example.com/blog", "https://example.com/blog?x", true),
            ("example.com/blog", "https://example.com/blogger", false),
            ("example.com/blog", "https://example.com/", false),
            ("example.com/blog", "https://example.com/Blog", false),
            // Other ways to write the same path.
            ("example.com/blog", "https://example.com/%62log/x", true),
            ("example.com/blog", "https://example.com//blog/x", true),
            ("example.com/blog", "https://example.com/a/../blog/x", true),
            ("example.com/blog", "https://example.com/blog/../other", false),
            ("example.com/a%20b", "https://example.com/a%20b/c", true),
            ("example.com/*", "https://example.com/x", true),
            ("example.com/*/articles", "https://example.com/en/articles/1", true),
            ("example.com/*/articles", "https://example.com/en/posts", false),
            ("example.com/v*", "https://example.com/v2/x", true),
            ("example.com/v*", "https://example.com/x", false),
            ("bücher.example", "https://xn--bcher-kva.example/", true),
            ("xn--bcher-kva.example", "https://bücher.example/", true),
            ("192.0.2.7", "http://192.0.2.7/", true),
            ("192.0.2.7", "http://0xc0000207/", true),
            ("[2001:db8::1]", "http://[2001:db8:0::1]/", true),
        ] {
            let url = Url::parse(url).unwrap();
            let allowed = Domains::read(&list(&[entry]), &[]).unwrap();
            assert_eq!(allowed.admit(&url), covered, "allowed {entry} {url}");
            let blocked = Domains::read(&[], &list(&[entry])).unwrap();
            assert_eq!(blocked.admit(&url), !covered, "blocked {entry} {url}");
        }
        assert!(Domains::default().admit(&Url::parse("https://any.example/").unwrap()));
        let two = Domains::read(&list(&["a.example", "b.example/x"]), &[]).unwrap();
        assert!(two.admit(&Url::parse("https://b.example/x/y").unwrap()));
        assert!(!two.admit(&Url::parse("https://b.example/y").unwrap()));
    }

    #[test]
    fn a_doubtful_path_is_neither_allowed_nor_let_through() {
        let url = Url::parse("https://example.com/blog%2F..%2Fprivate").unwrap();
        assert!(!Domains::read(&list(&["example.com/blog"]), &[]).unwrap().admit(&url));
        assert!(!Domains::read(&[], &list(&["example.com/private"])).unwrap().admit(&url));
        assert!(Domains::read(&list(&["example.com"]), &[]).unwrap().admit(&url));
    }

    #[test]
    fn what_is_no_domain() {
        for entry in [
            "",
            "/",
            "https://example.com",
            "*.example.com",
            "ex*.com",
            "example.com/*/a/*",
            "example.com:8080",
            "example.com:",
            "user@example.com",
            "a:b@example.com",
            "example.com?x",
            "example.com#x",
            "example.com/a?x",
            "exa mple.com",
            "example.com\\x",
        ] {
            let told = Domains::read(&list(&[entry]), &[]).map(|d| format!("{d:?}"));
            assert_eq!(told.map_err(|e| e.code), Err(Code::InvalidToolInput), "{entry}");
        }
        let both = Domains::read(&list(&["a.example"]), &list(&["b.example"])).unwrap_err();
        assert!(both.detail.contains("only one"), "{both}");
        assert!(Domains::read(&vec!["a.example".to_owned(); MOST + 1], &[]).is_err());
    }

    #[test]
    fn hosts_for_services() {
        let domains = Domains::read(&list(&["a.example/x", "a.example/y", "b.example"]), &[]).unwrap();
        assert_eq!(domains.hosts(), (vec!["a.example", "b.example"], vec![]));
        let domains = Domains::read(&[], &list(&["a.example/x", "b.example"])).unwrap();
        assert_eq!(domains.hosts(), (vec![], vec!["b.example"]));
    }
}
