//! URLs that may be fetched.

use std::net::IpAddr;

use url::{Host, Url};

use super::domains::Domains;
use super::error::{Code, WebError};

/// Longest URL that is fetched or shown, in bytes.
pub const MAX_URL: usize = 2048;

/// A URL that was checked, as far as that is possible without its address.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) url: Url,
    /// A name, in ASCII and without a dot at its end, or an address without brackets.
    pub(super) host: String,
    /// The host is an address.
    pub(super) address: Option<IpAddr>,
    pub(super) port: u16,
    pub(super) encrypted: bool,
    /// The configuration lists it: any address will do.
    pub(super) listed: bool,
}

/// `web_fetch_private_hosts`.
#[derive(Debug, Default)]
pub(super) struct Listed(Vec<(String, Option<u16>)>);

impl Listed {
    pub(super) fn new(entries: &[String]) -> Self {
        let read = |entry: &String| {
            let url = Url::parse(&format!("http://{entry}/")).ok()?;
            let written = entry.rsplit_once(':').filter(|(_, port)| !port.ends_with(']'));
            let port = written.and_then(|(_, port)| port.parse().ok());
            Some((plain(&url.host()?).0, port))
        };
        Self(entries.iter().filter_map(read).collect())
    }

    /// Whether it is listed, and whether this port of it is.
    fn lists(&self, host: &str, port: u16) -> (bool, bool) {
        let at = |only: Option<u16>| self.0.iter().any(|(name, listed)| name == host && *listed == only);
        let with_port = at(Some(port));
        (with_port || at(None), with_port)
    }
}

/// The host as it is resolved, and its address if it is one.
fn plain(host: &Host<&str>) -> (String, Option<IpAddr>) {
    match *host {
        Host::Domain(name) => (name.strip_suffix('.').unwrap_or(name).to_owned(), None),
        Host::Ipv4(v4) => (v4.to_string(), Some(v4.into())),
        Host::Ipv6(v6) => (v6.to_string(), Some(v6.into())),
    }
}

impl Target {
    /// Reads what a model, a user or a redirect gives as a URL, as browsers do (WHATWG): odd
    /// spellings of addresses are read as what they mean.
    ///
    /// # Errors
    /// It is no URL, too long, or its scheme, user, host, port or domain forbid it.
    pub(super) fn read(text: &str, listed: &Listed, domains: &Domains) -> Result<Self, WebError> {
        if text.len() > MAX_URL {
            return Err(WebError::new(Code::UrlTooLong, format!("the URL is longer than {MAX_URL} bytes")));
        }
        let url = Url::parse(text.trim());
        let url = url.map_err(|e| WebError::new(Code::InvalidToolInput, format!("it is no URL: {e}")))?;
        Self::check(url, listed, domains)
    }

    /// The target of a redirect from here.
    ///
    /// # Errors
    /// As [`Target::read`].
    pub(super) fn follow(
        &self,
        location: &str,
        listed: &Listed,
        domains: &Domains,
    ) -> Result<Self, WebError> {
        let url = Some(location).filter(|location| location.len() <= MAX_URL);
        let url = url.and_then(|location| self.url.join(location).ok());
        let mut url = url.ok_or_else(|| {
            WebError::new(Code::UrlNotAccessible, "it redirects to something that is no URL")
        })?;
        if url.fragment().is_none() {
            url.set_fragment(self.url.fragment());
        }
        Self::check(url, listed, domains)
    }

    fn check(url: Url, listed: &Listed, domains: &Domains) -> Result<Self, WebError> {
        let refuse = |why: String| Err(WebError::new(Code::UrlNotAllowed, why));
        if url.as_str().len() > MAX_URL {
            return Err(WebError::new(Code::UrlTooLong, format!("the URL is longer than {MAX_URL} bytes")));
        }
        let encrypted = match url.scheme() {
            "https" => true,
            "http" => false,
            other => {
                let scheme: String = other.chars().take(20).collect();
                return refuse(format!("only http and https are fetched, not {scheme}"));
            }
        };
        // Whoever writes one wants to be taken for somebody else, or hands out a password.
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL has a user name or password".to_owned());
        }
        let (Some(host), Some(port)) = (url.host(), url.port_or_known_default()) else {
            return Err(WebError::new(Code::InvalidToolInput, "the URL has no host"));
        };
        let (host, address) = plain(&host);
        let (listed, with_port) = listed.lists(&host, port);
        if !with_port && !is_usual(port) {
            return refuse(format!("port {port} is not one that web pages are on"));
        }
        if !listed && is_local_name(&host) {
            return refuse(format!("{host} is this machine"));
        }
        if !domains.admit(&url) {
            return refuse(format!("the request's domains do not allow {host} or this path of it"));
        }
        Ok(Self { url, host, address, port, encrypted, listed })
    }

    /// As it is told to others: without what follows `#`.
    pub(super) fn asked(&self) -> Url {
        let mut url = self.url.clone();
        url.set_fragment(None);
        url
    }
}

/// RFC 6761: these need no resolver to be this machine.
fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost") || host == "localhost.localdomain"
}

/// Web pages are on it: neither a port of the system's other services nor one that browsers
/// refuse too, because what listens there can be made to obey HTTP.
fn is_usual(port: u16) -> bool {
    /// Those of the "bad ports" of the WHATWG's Fetch standard that lie above 1023.
    const BAD: &[u16] = &[
        1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679,
        6697, 10080,
    ];
    matches!(port, 80 | 443) || (port > 1023 && !BAD.contains(&port))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Target, WebError> {
        Target::read(text, &Listed::default(), &Domains::default())
    }

    /// However an address is written, it is seen as what it is, and never as a name.
    #[test]
    fn odd_spellings_of_addresses() {
        for (url, address) in [
            ("http://127.0.0.1/", "127.0.0.1"),
            ("http://0x7f.1", "127.0.0.1"),
            ("http://0x7f000001/", "127.0.0.1"),
            ("http://2130706433/", "127.0.0.1"),
            ("http://017700000001/", "127.0.0.1"),
            ("http://0177.0.0.1/", "127.0.0.1"),
            ("http://127.1/", "127.0.0.1"),
            ("http://127.0.1", "127.0.0.1"),
            ("http://127.0.0.1./", "127.0.0.1"),
            ("http://0/", "0.0.0.0"),
            ("http://0x0/", "0.0.0.0"),
            ("http://1６9.254.169.254/", "169.254.169.254"),
            ("http://①②⑦.⓪.⓪.①/", "127.0.0.1"),
            ("http://127。0。0。1/", "127.0.0.1"),
            ("http://%31%32%37.0.0.1/", "127.0.0.1"),
            ("http://%30x7f.1/", "127.0.0.1"),
            ("http://[::1]/", "::1"),
            ("http://[0:0:0:0:0:0:0:1]/", "::1"),
            ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
            ("http://[::ffff:7f00:1]/", "::ffff:127.0.0.1"),
            ("http://[::127.0.0.1]/", "::127.0.0.1"),
            ("http://[64:ff9b::127.0.0.1]/", "64:ff9b::127.0.0.1"),
            ("http:127.0.0.1", "127.0.0.1"),
            ("http:/127.0.0.1/", "127.0.0.1"),
            ("http:////127.0.0.1/", "127.0.0.1"),
            ("http:\\\\127.0.0.1\\", "127.0.0.1"),
            (" \thttp://127.0.0.1/\n", "127.0.0.1"),
            ("ht\ttp://12\n7.0.0.1/", "127.0.0.1"),
            ("HTTP://127.0.0.1:80/", "127.0.0.1"),
            ("http://127.0.0.1:/", "127.0.0.1"),
            ("http://127.0.0.1\\@example.com/", "127.0.0.1"),
            ("http://127.0.0.1#@example.com/", "127.0.0.1"),
            ("http://127.0.0.1?@example.com/", "127.0.0.1"),
        ] {
            let target = read(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(target.address, Some(address), "{url}");
            assert!(!super::super::address::is_public(address), "{url}");
        }
    }

    #[test]
    fn what_is_refused_by_its_looks() {
        for (url, code) in [
            ("", Code::InvalidToolInput),
            ("example.com", Code::InvalidToolInput),
            ("/etc/passwd", Code::InvalidToolInput),
            ("//example.com", Code::InvalidToolInput),
            ("http://", Code::InvalidToolInput),
            ("http://exa mple.com/", Code::InvalidToolInput),
            ("http://256.0.0.1/", Code::InvalidToolInput),
            ("http://1.2.3.4.5/", Code::InvalidToolInput),
            ("http://[::1", Code::InvalidToolInput),
            ("http://[fe80::1%25eth0]/", Code::InvalidToolInput),
            ("http://a\0b/", Code::InvalidToolInput),
            ("http://example.com:99999/", Code::InvalidToolInput),
            ("file:///etc/passwd", Code::UrlNotAllowed),
            ("ftp://example.com/", Code::UrlNotAllowed),
            ("gopher://example.com:70/", Code::UrlNotAllowed),
            ("data:text/html,x", Code::UrlNotAllowed),
            ("javascript:alert(1)", Code::UrlNotAllowed),
            ("ws://example.com/", Code::UrlNotAllowed),
            ("view-source:http://example.com", Code::UrlNotAllowed),
            ("http://user@example.com/", Code::UrlNotAllowed),
            ("http://user:pass@example.com/", Code::UrlNotAllowed),
            ("http://:pass@example.com/", Code::UrlNotAllowed),
            ("http://example.com@127.0.0.1/", Code::UrlNotAllowed),
            ("http://localhost/", Code::UrlNotAllowed),
            ("http://LOCALHOST./", Code::UrlNotAllowed),
            ("http://loc\talhost/", Code::UrlNotAllowed),
            ("http://a.localhost/", Code::UrlNotAllowed),
            ("http://ⓛocalhost/", Code::UrlNotAllowed),
            ("http://%6cocalhost/", Code::UrlNotAllowed),
            ("http://example.com:22/", Code::UrlNotAllowed),
            ("http://example.com:25/", Code::UrlNotAllowed),
            ("http://example.com:0/", Code::UrlNotAllowed),
            ("http://example.com:6000/", Code::UrlNotAllowed),
            ("https://example.com:6667/", Code::UrlNotAllowed),
        ] {
            assert_eq!(read(url).map_err(|e| e.code).map(|t| t.url).unwrap_err(), code, "{url}");
        }
        let long = format!("http://example.com/{}", "x".repeat(MAX_URL));
        assert_eq!(read(&long).unwrap_err().code, Code::UrlTooLong);
        // Long only when it is written out.
        let grows = format!("http://example.com/{}", "é".repeat(MAX_URL / 4));
        assert_eq!(read(&grows).unwrap_err().code, Code::UrlTooLong);
        for url in ["https://example.com/", "http://example.com:8080/x", "https://bücher.example/ä?ö#ü"] {
            read(url).unwrap();
        }
    }

    #[test]
    fn no_error_shows_a_password() {
        for url in ["http://user:sesame@example.com/", "ftp://user:sesame@h/", "http://u:sesame@exa mple/"] {
            assert!(!read(url).unwrap_err().detail.contains("sesame"), "{url}");
        }
    }

    #[test]
    fn listed_hosts() {
        let listed = ["wiki.example.com", "10.0.0.5:8080", "[fd00::1]:81", "localhost:9000"];
        let listed = Listed::new(&listed.map(str::to_owned));
        let lists = |url: &str| Target::read(url, &listed, &Domains::default()).map(|t| t.listed);
        for url in [
            "http://wiki.example.com/",
            "https://WIKI.example.com:8443/",
            "http://wiki.example.com./",
            "http://10.0.0.5:8080/x",
            "http://0xa.5:8080/",
            "http://[fd00:0::1]:81/",
            "http://localhost:9000/",
        ] {
            assert_eq!(lists(url), Ok(true), "{url}");
        }
        for url in
            ["http://x.wiki.example.com/", "http://10.0.0.5/", "https://10.0.0.5:8443/", "http://[fd00::1]/"]
        {
            assert_eq!(lists(url), Ok(false), "{url}");
        }
        // A port is only lifted where it is written.
        assert!(lists("http://wiki.example.com:22/").is_err() && lists("http://localhost/").is_err());
    }

    #[test]
    fn redirects_are_read_against_where_they_come_from() {
        let from = read("https://example.com/a/b?c#d").unwrap();
        let follow = |to: &str| {
            let to = from.follow(to, &Listed::default(), &Domains::default());
            to.map(|t| t.url.to_string()).map_err(|e| e.code)
        };
        assert_eq!(follow("x"), Ok("https://example.com/a/x#d".to_owned()));
        assert_eq!(follow("//other.example/#y"), Ok("https://other.example/#y".to_owned()));
        assert_eq!(follow("http://example.com/x"), Ok("http://example.com/x#d".to_owned()));
        for (to, code) in [
            ("file:///etc/passwd", Code::UrlNotAllowed),
            ("//localhost/", Code::UrlNotAllowed),
            ("http://u:p@example.com/", Code::UrlNotAllowed),
            ("https://example.com:25/", Code::UrlNotAllowed),
            ("http://exa mple/", Code::UrlNotAccessible),
            (&"x".repeat(MAX_URL + 1), Code::UrlNotAccessible),
        ] {
            assert_eq!(follow(to), Err(code), "{to}");
        }
    }

    /// What passes can be asked for: the client reads URLs more strictly.
    #[test]
    fn every_character_can_be_sent() {
        for c in (1..=0x180).filter_map(char::from_u32).chain(['模', '👩']) {
            for url in [
                format!("http://h.example/a{c}b"),
                format!("http://h.example/?a{c}b"),
                format!("http://h.example/#{c}"),
            ] {
                let asked = read(&url).unwrap().asked();
                let uri = asked.as_str().parse::<awc::http::Uri>();
                assert!(uri.is_ok_and(|uri| uri.host() == Some("h.example")), "{asked}");
            }
        }
    }

    /// One number of an address, as decimal, hexadecimal or octal.
    fn part(number: u32, base: u8, upper: bool) -> String {
        match (base % 3, upper) {
            (0, _) => number.to_string(),
            (1, true) => format!("0X{number:X}"),
            (1, false) => format!("0x{number:x}"),
            _ => format!("0{number:o}"),
        }
    }

    /// All that `inet_aton` and browsers read as an IPv4 address: one to four numbers, each in one
    /// of three bases, the last of which fills the rest.
    fn spellings() -> impl Strategy<Value = (Ipv4Addr, String)> {
        let bases = prop::array::uniform4((any::<u8>(), any::<bool>()));
        (any::<u32>(), 1usize..=4, bases, any::<bool>()).prop_map(|(bits, parts, bases, dot)| {
            let octets = bits.to_be_bytes().map(u32::from);
            let rest = if parts == 1 { bits } else { bits & (u32::MAX >> (8 * (parts - 1))) };
            let mut numbers = octets[..parts - 1].to_vec();
            numbers.push(rest);
            let numbers = numbers.iter().zip(bases).map(|(n, (base, upper))| part(*n, base, upper));
            let text = numbers.collect::<Vec<_>>().join(".") + if dot { "." } else { "" };
            (Ipv4Addr::from_bits(bits), text)
        })
    }

    proptest! {
        #[test]
        fn no_spelling_hides_an_address((address, text) in spellings(), port in 1024u16.., path in "[/?#][!-~]{0,20}") {
            let found = Target::read(
                &format!("http://{text}:{port}{path}"),
                &Listed::new(&[format!("{address}:{port}")]),
                &Domains::default(),
            );
            let found = found.unwrap();
            prop_assert_eq!(found.address, Some(IpAddr::V4(address)), "{}", text);
            prop_assert!(found.listed && found.port == port);
        }

        /// What passes has a host that a resolver is asked for, or an address, and nothing else that
        /// could be taken for another.
        #[test]
        fn any_text(text in "(https?:)?[/\\\\]{0,3}([a-z0-9.@:%\\[\\]\t_~é。①-]{0,12}[/?#:@\\\\.]?){0,5}") {
            if let Ok(target) = read(&text) {
                let url = target.asked();
                prop_assert!(["http", "https"].contains(&url.scheme()) && url.username().is_empty());
                prop_assert!(is_usual(target.port) && !target.listed);
                let parsed = target.host.parse::<IpAddr>().ok();
                prop_assert_eq!(target.address, parsed, "{}", target.host);
                // Whoever reads what is sent reads the same.
                let again = Target::read(url.as_str(), &Listed::default(), &Domains::default()).unwrap();
                prop_assert_eq!((again.host, again.port, again.address), (target.host, target.port, target.address));
            }
        }
    }
}
