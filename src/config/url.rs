//! From `base_url` and `completions_path` to the addresses that are asked.

use actix_web::http::Uri;

/// A checked `base_url`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Base {
    /// Without a `/` at its end.
    pub(super) url: String,
    /// Without port and without the brackets of an IPv6 address.
    pub(super) host: String,
    /// If it is written.
    pub(super) port: Option<u16>,
    /// The path ends in a version segment: `/v1`, `/api/paas/v4`, `/v1beta/openai`.
    pub(super) versioned: bool,
    /// The path is that of an endpoint itself, a common mistake: its end.
    pub(super) endpoint: Option<&'static str>,
    /// `https`.
    pub(super) encrypted: bool,
}

/// Ends of paths that are not what stands before `/v1/chat/completions`.
const ENDPOINTS: &[&str] = &[
    "/chat/completions",
    "/completions",
    "/v1/responses",
    "/v1/models",
    "/v1/messages",
    "/messages",
    "/anthropic",
];

/// Reads a `base_url`. The error is what is wrong with it and what to do, without the URL: it
/// may hold a password.
pub(super) fn base(url: &str) -> Result<Base, (&'static str, &'static str)> {
    const SCHEME: &str = "has to begin with `http://` or `https://`";
    const HTTPS: &str = "write `https://HOST`, or `http://` for a server of your own";
    let (scheme, rest) = url.split_once("://").ok_or((SCHEME, HTTPS))?;
    let encrypted = scheme.eq_ignore_ascii_case("https");
    if !(encrypted || scheme.eq_ignore_ascii_case("http")) {
        return Err((SCHEME, HTTPS));
    }
    if rest.contains('#') {
        return Err(("must not have a fragment (`#`)", "remove it"));
    }
    if rest.contains('?') {
        return Err(("must not have a query (`?`)", "put it into `completions_path`"));
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return Err(("must not have a user name or password", "use `api_key` or `headers`"));
    }
    let uri: Uri = url.parse().map_err(|_| {
        let help = if url.is_ascii() {
            ""
        } else {
            "write a host name with other than ASCII letters in its `xn--` form"
        };
        ("is not a valid URL", help)
    })?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    if host.is_empty() {
        return Err(("has no host", ""));
    }
    let port_text = authority.rsplit_once(':').filter(|(_, p)| !p.ends_with(']')).map(|(_, p)| p);
    let port = uri.port_u16();
    if port_text.is_some() && port.is_none_or(|p| p == 0) {
        return Err(("has no valid port after the `:`", "ports are 1 to 65535"));
    }
    let url = url.trim_end_matches('/').to_owned();
    let path = uri.path().trim_end_matches('/');
    let mut segments = path.rsplit('/');
    let last = segments.next().unwrap_or_default();
    let versioned = is_version(last) || (last == "openai" && segments.next().is_some_and(is_version));
    let endpoint = ENDPOINTS.iter().copied().find(|end| path.ends_with(end));
    Ok(Base { url, host, port, versioned, endpoint, encrypted })
}

/// `v1`, `v4`, `v1beta`, `v1alpha2`.
fn is_version(segment: &str) -> bool {
    let Some(rest) = segment.strip_prefix('v') else { return false };
    let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let stage = ["alpha", "beta"].iter().find_map(|s| after.strip_prefix(s)).unwrap_or(after);
    rest.len() > after.len() && stage.chars().all(|c| c.is_ascii_digit())
}

impl Base {
    /// Where Chat Completions go unless the configuration says otherwise.
    pub(super) fn default_path(&self) -> &'static str {
        if self.versioned { "/chat/completions" } else { "/v1/chat/completions" }
    }

    /// The version that would come twice if `path` followed: `/v1`. With an empty path: the
    /// version that the URL itself ends in twice.
    pub(super) fn repeated_version(&self, path: &str) -> Option<String> {
        let whole = format!("{}{path}", self.url);
        let mut segments = whole.split('/').peekable();
        while let Some(segment) = segments.next() {
            if is_version(segment) && segments.peek() == Some(&segment) {
                return Some(format!("/{segment}"));
            }
        }
        None
    }

    /// Where the model list is, beside `completions_path`.
    pub(super) fn models_url(&self, completions_path: &str) -> String {
        let (path, query) = match completions_path.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (completions_path, String::new()),
        };
        let beside = path.trim_end_matches('/').strip_suffix("/chat/completions");
        let parent = beside.unwrap_or(if self.versioned { "" } else { "/v1" });
        format!("{}{parent}/models{query}", self.url)
    }
}

/// What is wrong with a `completions_path`.
pub(super) fn path_error(path: &str) -> Option<&'static str> {
    if !path.starts_with('/') {
        return Some("has to begin with `/`");
    }
    if path.contains('#') {
        return Some("must not have a fragment (`#`)");
    }
    path.parse::<Uri>().is_err().then_some("is not a valid URL path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn urls(url: &str) -> (String, String) {
        let base = base(url).unwrap();
        let path = base.default_path();
        (format!("{}{path}", base.url), base.models_url(path))
    }

    #[test]
    fn paths_follow_the_base() {
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        let plain = pair("https://h/v1/chat/completions", "https://h/v1/models");
        for url in ["https://h", "https://h/", "https://h//", "https://h/v1", "https://h/v1/"] {
            assert_eq!(urls(url), plain, "{url}");
        }
        assert_eq!(
            urls("http://[::1]:80/api/paas/v4"),
            pair("http://[::1]:80/api/paas/v4/chat/completions", "http://[::1]:80/api/paas/v4/models")
        );
        assert_eq!(
            urls("https://g/v1beta/openai/"),
            pair("https://g/v1beta/openai/chat/completions", "https://g/v1beta/openai/models")
        );
        assert_eq!(urls("https://g/api").0, "https://g/api/v1/chat/completions");
        assert_eq!(urls("https://g/openai").0, "https://g/openai/v1/chat/completions");
        assert_eq!(urls("https://g/version").0, "https://g/version/v1/chat/completions");
        assert_eq!(urls("https://g/v").0, "https://g/v/v1/chat/completions");
        let base = base("https://h/x").unwrap();
        assert_eq!(base.models_url("/openai/chat/completions?a=b"), "https://h/x/openai/models?a=b");
        assert_eq!(base.models_url("/generate"), "https://h/x/v1/models");
    }

    #[test]
    fn hosts_and_ports() {
        let of = |url| base(url).map(|b| (b.host, b.port));
        assert_eq!(of("http://[::1]:8080/v1"), Ok(("::1".to_owned(), Some(8080))));
        assert_eq!(of("HTTPS://Host"), Ok(("Host".to_owned(), None)));
        for bad in [
            "",
            "h",
            "localhost:1",
            "ftp://h",
            "http://",
            "http:///x",
            "http://u:p@h",
            "http://h?x=1",
            "http://h/#x",
            "http://h:/",
            "http://h:0",
            "http://h:99999",
            "http://h:x",
            "http://a b",
            "http://ü",
        ] {
            assert!(of(bad).is_err(), "{bad}");
        }
    }
}
