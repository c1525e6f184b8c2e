//! `NO_PROXY`: hosts that are asked directly.
//!
//! Nobody has written down its rules; these are curl's, with Go's CIDR ranges and ports, where
//! the two do not contradict each other.

use std::net::IpAddr;

/// The entries of a list.
pub(super) struct NoProxy<'l>(&'l str);

impl<'l> NoProxy<'l> {
    /// `list` holds entries with commas or spaces between them.
    pub(super) fn new(list: &'l str) -> Self {
        Self(list)
    }

    /// The host (without brackets) is in the list.
    ///
    /// An entry is `*`; a domain, for itself and all below it, with or without a leading `.` or
    /// `*.`; an address; or a range of addresses in CIDR form. A port behind an entry narrows it
    /// down. Names are not resolved: an address in the list does not match a name.
    pub(super) fn lists(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
        let entries = self.0.split([',', ' ', '\t']).filter(|entry| !entry.is_empty());
        entries.into_iter().any(|entry| {
            if entry == "*" {
                return true;
            }
            let (name, only) = split_port(entry);
            if only.is_some_and(|only| only != port) {
                return false;
            }
            match address {
                Some(address) => has_address(name, address),
                None => has_name(name, &host),
            }
        })
    }
}

/// `[::1]:80` and `host:80` without their ports. `::1` has none.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    let whole = (entry, None);
    if let Some(rest) = entry.strip_prefix('[') {
        let Some((name, port)) = rest.split_once(']') else { return whole };
        return (name, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.split_once(':') {
        Some((name, port)) if !port.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => whole,
        },
        _ => whole,
    }
}

fn has_name(entry: &str, host: &str) -> bool {
    let domain = entry.strip_prefix('*').unwrap_or(entry);
    let domain = domain.strip_prefix('.').unwrap_or(domain).trim_end_matches('.').to_ascii_lowercase();
    let above = host.strip_suffix(domain.as_str());
    !domain.is_empty() && above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

fn has_address(entry: &str, address: IpAddr) -> bool {
    let parse = |text: &str| text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical());
    let Some((network, length)) = entry.split_once('/') else { return parse(entry) == Some(address) };
    let (Some(network), Ok(length)) = (parse(network), length.parse::<u32>()) else { return false };
    let (a, b, bits) = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => (u128::from(a.to_bits()), u128::from(b.to_bits()), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => (a.to_bits(), b.to_bits(), 128),
        _ => return false,
    };
    length <= bits && (a ^ b).checked_shr(bits - length).unwrap_or(0) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed() {
        for (list, host, listed) in [
            ("", "a.com", false),
            (" ,, ", "a.com", false),
            ("*", "a.com", true),
            ("*", "10.0.0.1", true),
            ("b.com,*", "a.com", true),
            // Domains and what is below them.
            ("a.com", "a.com", true),
            ("a.com", "A.COM.", true),
            ("A.Com.", "x.a.com", true),
            ("a.com", "x.y.a.com", true),
            (".a.com", "a.com", true),
            (".a.com", "x.a.com", true),
            ("*.a.com", "x.a.com", true),
            ("a.com", "ba.com", false),
            (".a.com", "ba.com", false),
            ("*.a.com", "ba.com", false),
            ("x.a.com", "a.com", false),
            ("com", "a.com", true),
            (".", "a.com", false),
            ("*.", "a.com", false),
            ("a*.com", "ab.com", false),
            // Lists.
            ("x.com, a.com", "a.com", true),
            ("x.com a.com\ty.com", "a.com", true),
            // Ports; the one asked for is 443.
            ("a.com:443", "a.com", true),
            ("a.com:443", "x.a.com", true),
            ("a.com:80", "a.com", false),
            ("a.com:80,a.com", "a.com", true),
            ("a.com:x", "a.com", false),
            ("*:443", "a.com", false),
            // Addresses.
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1:443", "10.0.0.1", true),
            ("10.0.0.1:80", "10.0.0.1", false),
            ("0.0.1", "10.0.0.1", false),
            (".0.0.1", "10.0.0.1", false),
            ("10.0.0.1", "110.0.0.1", false),
            ("::1", "::1", true),
            ("[::1]", "::1", true),
            ("[::1]:443", "::1", true),
            ("[::1]:80", "::1", false),
            ("[::1", "::1", false),
            ("0:0::1", "::1", true),
            ("fd00::a", "fd00::A", true),
            ("10.0.0.1", "::ffff:10.0.0.1", true),
            // Ranges.
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.0.0.0/8:443", "10.0.0.1", true),
            ("10.0.0.7/30", "10.0.0.4", true),
            ("10.0.0.0/32", "10.0.0.0", true),
            ("10.0.0.0/32", "10.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("0.0.0.0/0", "::1", false),
            ("fe80::/10", "fe80::1", true),
            ("fe80::/10", "fec0::1", false),
            ("[fd00::]/8", "fd00::1", false),
            ("::/0", "fd00::1", true),
            ("10.0.0.0/33", "10.0.0.0", false),
            ("10.0.0.0/", "10.0.0.0", false),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("10.0.0.0/8", "a.com", false),
        ] {
            assert_eq!(NoProxy::new(list).lists(host, 443), listed, "{list:?} {host}");
        }
    }
}
