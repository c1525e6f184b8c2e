//! `proxy_url` and the proxies of the environment.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;

use super::expand::Env;
use super::no_proxy::NoProxy;
use super::url::Base;
use super::{Secret, network};

/// An HTTP proxy that is asked by `CONNECT` for a tunnel to a provider.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Without the brackets of an IPv6 address.
    pub host: String,
    /// 80 if the URL has none.
    pub port: u16,
    /// What `Proxy-Authorization` holds, if the URL has a name or password.
    pub authorization: Option<Secret>,
    /// The password alone.
    password: Secret,
    /// Who named it: `proxy_url`, `HTTPS_PROXY`.
    source: &'static str,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    /// `10.0.0.1:3128 (HTTPS_PROXY)`: where it is and who named it, never the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", authority(&self.host, self.port), self.source)
    }
}

/// Host and port as they stand in a URL.
pub fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

impl Proxy {
    /// Reads `http://NAME:PASSWORD@HOST:PORT`. The error is what is wrong with it, as the rest
    /// of a sentence and without the URL, which may hold a password.
    ///
    /// Name and password are percent-decoded.
    pub fn parse(url: &str, source: &'static str) -> Result<Self, &'static str> {
        let (scheme, rest) = url.split_once("://").ok_or("has to begin with `http://`")?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" => {}
            "https" => {
                return Err("is a proxy that is itself reached by TLS, which is not supported: \
                                   write `http://` if it also listens for plain HTTP");
            }
            scheme if scheme.starts_with("socks") => {
                return Err("is a SOCKS proxy, which is not supported: name its HTTP port, if it has one");
            }
            _ => return Err("has to begin with `http://`"),
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.rsplit_once('@').is_some_and(|(user, _)| user.contains(['/', '?', '#', '@'])) {
            return Err("has a `/`, `?`, `#` or `@` in its user name or password: write %2F, %3F, %23, %40");
        }
        let (user, place) = rest.rsplit_once('@').map_or((None, rest), |(user, place)| (Some(user), place));
        let fits = |b: u8| b.is_ascii_graphic() && !b"/?#\\".contains(&b);
        let uri: actix_web::http::Uri = Some(place)
            .filter(|place| place.bytes().all(fits))
            .and_then(|place| format!("http://{place}").parse().ok())
            .ok_or("is not `http://HOST:PORT`")?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let written = place.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
        let port = uri.port_u16().filter(|port| *port > 0);
        if host.is_empty() || (written.is_some() && port.is_none()) {
            return Err("is not `http://HOST:PORT`");
        }
        let (authorization, password) = match user {
            None | Some("" | ":") => (None, Secret::default()),
            Some(user) => {
                let (authorization, password) = basic(user)?;
                (Some(authorization), password)
            }
        };
        Ok(Self { host: host.to_owned(), port: port.unwrap_or(80), authorization, password, source })
    }

    /// Host and port.
    pub fn authority(&self) -> String {
        authority(&self.host, self.port)
    }

    /// Blots the password out of somebody else's words.
    pub(super) fn blot(&self, words: &mut String) {
        for secret in self.secrets() {
            secret.blot(words);
        }
        if let Some(token) = self.authorization.as_ref().and_then(|a| a.expose().strip_prefix("Basic ")) {
            Secret::new(token).blot(words);
        }
    }

    /// What must not be written anywhere.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.authorization.iter().chain((!self.password.is_empty()).then_some(&self.password))
    }
}

/// The credentials and the password of `NAME:PASSWORD` (RFC 7617).
fn basic(user: &str) -> Result<(Secret, Secret), &'static str> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let [name, password] = [name, password].map(|part| percent_decode_str(part).collect::<Vec<u8>>());
    if name.contains(&b':') {
        return Err("has a `:` in its user name, which HTTP cannot send");
    }
    if name.iter().chain(&password).any(u8::is_ascii_control) {
        return Err("has a control character in its user name or password");
    }
    let all = [&*name, b":", &*password].concat();
    let secret = String::from_utf8_lossy(&password).into_owned();
    Ok((Secret::new(format!("Basic {}", STANDARD.encode(all))), Secret::new(secret)))
}

/// The proxy that the environment names for an upstream. The error is the variable and what is
/// wrong with it.
///
/// As others have it: `https_proxy` for `https`, `http_proxy` for `http`, then `all_proxy`, each
/// also in capitals; a URL without a scheme is `http://`; what `no_proxy` lists is asked
/// directly. This machine never needs a proxy, which is Go's rule and not curl's: a company's
/// proxy must not get between here and a local model server. Where `REQUEST_METHOD` is set, a
/// client may have set `HTTP_PROXY` (CVE-2016-5385), so it does not count.
pub(super) fn from_environment(
    base: &Base,
    env: Env<'_>,
) -> Result<Option<Proxy>, (&'static str, &'static str)> {
    let Some((name, url)) = named(base.encrypted, env) else { return Ok(None) };
    let port = base.port.unwrap_or(if base.encrypted { 443 } else { 80 });
    if is_direct(&base.host, port, &exceptions(env)) {
        return Ok(None);
    }
    parse(name, &url).map(Some)
}

/// The variable that counts, and its value.
fn named(encrypted: bool, env: Env<'_>) -> Option<(&'static str, String)> {
    let set = |name: &str| env(name).ok().filter(|value| !value.trim().is_empty());
    let names: &[&str] = match (encrypted, set("REQUEST_METHOD")) {
        (true, _) => &["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        (false, None) => &["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
        (false, Some(_)) => &["http_proxy", "all_proxy", "ALL_PROXY"],
    };
    names.iter().find_map(|name| Some((*name, set(name)?)))
}

/// `no_proxy`; empty if it is not set.
fn exceptions(env: Env<'_>) -> String {
    let set = |name: &&str| env(name).ok().filter(|value| !value.trim().is_empty());
    ["no_proxy", "NO_PROXY"].iter().find_map(set).unwrap_or_default()
}

fn is_direct(host: &str, port: u16, exceptions: &str) -> bool {
    network::is_loopback(host) || NoProxy::new(exceptions).lists(host, port)
}

fn parse(name: &'static str, url: &str) -> Result<Proxy, (&'static str, &'static str)> {
    let url = url.trim();
    let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    Proxy::parse(&url, name).map_err(|why| (name, why))
}

/// The proxies of the environment, for URLs that are not known yet. The same rules as for
/// providers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies {
    https: Option<Arc<Proxy>>,
    http: Option<Arc<Proxy>>,
    exceptions: String,
}

impl Proxies {
    /// Those that the environment names. The error is the variable and what is wrong with it.
    pub fn from_environment(env: Env<'_>) -> Result<Self, (&'static str, &'static str)> {
        let of = |encrypted| {
            let found = named(encrypted, env).map(|(name, url)| parse(name, &url));
            found.transpose().map(|proxy| proxy.map(Arc::new))
        };
        Ok(Self { https: of(true)?, http: of(false)?, exceptions: exceptions(env) })
    }

    /// Who is asked for a tunnel to a host (without brackets); none: it is asked directly.
    pub fn to(&self, encrypted: bool, host: &str, port: u16) -> Option<&Arc<Proxy>> {
        let proxy = if encrypted { &self.https } else { &self.http };
        proxy.as_ref().filter(|_| !is_direct(host, port, &self.exceptions))
    }

    /// What must not be written anywhere.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &Secret> {
        self.https.iter().chain(&self.http).flat_map(|proxy| proxy.secrets())
    }
}

#[cfg(test)]
mod tests {
    use std::env::VarError;

    use super::super::url;
    use super::*;

    #[test]
    fn urls_of_proxies() {
        let parse = |url: &str| {
            let proxy = Proxy::parse(url, "proxy_url")?;
            Ok::<_, &str>((proxy.authority(), proxy.authorization.map(|a| a.expose().to_owned())))
        };
        let at = |place: &str, user: Option<&str>| {
            let basic = user.map(|user| format!("Basic {}", STANDARD.encode(user)));
            Ok::<_, &str>((place.to_owned(), basic))
        };
        for (url, expected) in [
            ("http://p:3128", at("p:3128", None)),
            ("HTTP://p:3128/", at("p:3128", None)),
            ("http://p", at("p:80", None)),
            ("http://[::1]:1", at("[::1]:1", None)),
            ("http://[::1]", at("[::1]:80", None)),
            ("http://@p:1", at("p:1", None)),
            ("http://u@p:1", at("p:1", Some("u:"))),
            ("http://u:pw@p:1", at("p:1", Some("u:pw"))),
            ("http://u:p:w@p:1", at("p:1", Some("u:p:w"))),
            ("http://u:p%40w%2F%25@p:1", at("p:1", Some("u:p@w/%"))),
            ("http://DOM%5Cu:%C3%A9@p:1", at("p:1", Some("DOM\\u:é"))),
            ("http://u:100%@p:1", at("p:1", Some("u:100%"))),
        ] {
            assert_eq!(parse(url), expected, "{url}");
        }
        for url in [
            "",
            "p:1",
            "http://",
            "http:///",
            "http://p/x",
            "http://u:p@w@p",
            "http://u:p/w@p",
            "http://u:p#w@p",
            "http://p//",
            "http://a b",
            "http://p:0",
            "http://p:",
            "http://p:x",
            "http://p:99999",
            "http://p?x",
            "http://u@",
            "http://p\r\nx: y",
            "http://ü",
            "http://u%0d%0a:p@p",
            "http://u%3A:p@p",
            "https://p:1",
            "socks5://p:1",
            "socks5h://p:1",
            "ftp://p:1",
        ] {
            assert!(parse(url).is_err(), "{url}");
        }
        assert!(parse("https://p").unwrap_err().contains("TLS"));
        assert!(parse("socks5h://p").unwrap_err().contains("SOCKS"));
    }

    #[test]
    fn nothing_shows_the_password() {
        let proxy = Proxy::parse("http://user:s%C3%A9same-open@p:1", "HTTPS_PROXY").unwrap();
        assert_eq!(format!("{proxy:?} {proxy}"), "Proxy(p:1 (HTTPS_PROXY)) p:1 (HTTPS_PROXY)");
        let token = STANDARD.encode("user:sésame-open");
        let mut words = format!("407 for Basic {token} = {token}, sésame-open");
        proxy.blot(&mut words);
        assert_eq!(words, "407 for [key] = [key], [key]");
    }

    #[test]
    fn variables_of_the_environment() {
        let find = |base: &str, env: &[(&str, &str)]| {
            let base = url::base(base).unwrap();
            let value = |name: &str| {
                let found = env.iter().find(|(key, _)| *key == name);
                found.map(|(_, value)| (*value).to_owned()).ok_or(VarError::NotPresent)
            };
            from_environment(&base, &value).map(|p| p.map(|p| p.to_string())).map_err(|(name, _)| name)
        };
        let via = |proxy: &str| Ok(Some(proxy.to_owned()));
        let (https, http) = ("https://api.example.com/v1", "http://vllm:8000");
        let both: &[_] = &[("HTTPS_PROXY", "http://s:1"), ("HTTP_PROXY", "http://p:2")];
        for (base, env, expected) in [
            (https, &[][..], Ok(None)),
            (https, both, via("s:1 (HTTPS_PROXY)")),
            (http, both, via("p:2 (HTTP_PROXY)")),
            (https, &[("HTTP_PROXY", "http://p:2")], Ok(None)),
            (http, &[("HTTPS_PROXY", "http://p:2")], Ok(None)),
            (https, &[("https_proxy", "low:1"), ("HTTPS_PROXY", "up:1")], via("low:1 (https_proxy)")),
            (https, &[("https_proxy", ""), ("HTTPS_PROXY", " up:1 ")], via("up:1 (HTTPS_PROXY)")),
            (https, &[("ALL_PROXY", "a:1")], via("a:1 (ALL_PROXY)")),
            (http, &[("all_proxy", "a:1")], via("a:1 (all_proxy)")),
            (http, &[("ALL_PROXY", "socks5://a:1")], Err("ALL_PROXY")),
            (http, &[("HTTP_PROXY", "p:1"), ("ALL_PROXY", "socks5://a:1")], via("p:1 (HTTP_PROXY)")),
            (https, &[("HTTPS_PROXY", "https://p:1")], Err("HTTPS_PROXY")),
            // What a CGI client could set.
            (http, &[("HTTP_PROXY", "evil:1"), ("REQUEST_METHOD", "GET")], Ok(None)),
            (http, &[("http_proxy", "p:1"), ("REQUEST_METHOD", "GET")], via("p:1 (http_proxy)")),
            (https, &[("HTTPS_PROXY", "p:1"), ("REQUEST_METHOD", "GET")], via("p:1 (HTTPS_PROXY)")),
            // This machine.
            ("http://localhost:11434", both, Ok(None)),
            ("http://127.0.0.1:8000/v1", both, Ok(None)),
            ("https://[::1]:8000/v1", both, Ok(None)),
            ("http://10.0.0.1:8000/v1", both, via("p:2 (HTTP_PROXY)")),
            // A proxy that is not needed may be any.
            ("http://localhost", &[("http_proxy", "socks5://p")], Ok(None)),
            (https, &[("https_proxy", "socks5://p"), ("NO_PROXY", "example.com")], Ok(None)),
            (https, &[("https_proxy", "p"), ("NO_PROXY", "example.com:80")], via("p:80 (https_proxy)")),
            (https, &[("https_proxy", "p"), ("NO_PROXY", "example.com:443")], Ok(None)),
            (https, &[("https_proxy", "p"), ("no_proxy", "a"), ("NO_PROXY", "*")], via("p:80 (https_proxy)")),
        ] {
            assert_eq!(find(base, env), expected, "{base} {env:?}");
        }
    }
}
