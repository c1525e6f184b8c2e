//! Which addresses are anybody's on the internet, and which could be somebody's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the address is a host's on the public internet, as the registries of special addresses
/// have it (IANA; RFC 6890): not this machine, not its networks, nothing reserved, and no other
/// address in disguise.
///
/// An IPv6 address that stands for an IPv4 address is as public as that.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => match embedded(v6) {
            Some(v4) => is_public_v4(v4),
            None => is_public_v6(v6),
        },
    }
}

/// A range, as its first address and the length of its prefix.
type Range<A> = (A, u32);

const V4: &[Range<Ipv4Addr>] = &[
    (Ipv4Addr::UNSPECIFIED, 8),      // "this" network: Linux takes it for this machine
    (Ipv4Addr::new(10, 0, 0, 0), 8), // private (RFC 1918)
    (Ipv4Addr::new(100, 64, 0, 0), 10), // behind a carrier's NAT, overlay networks (RFC 6598)
    (Ipv4Addr::new(127, 0, 0, 0), 8), // this machine
    (Ipv4Addr::new(168, 63, 129, 16), 32), // Azure's metadata, in a public range
    (Ipv4Addr::new(169, 254, 0, 0), 16), // link-local, and most clouds' metadata
    (Ipv4Addr::new(172, 16, 0, 0), 12), // private
    (Ipv4Addr::new(192, 0, 0, 0), 24), // protocol assignments, and Oracle's metadata
    (Ipv4Addr::new(192, 0, 2, 0), 24), // documentation
    (Ipv4Addr::new(192, 88, 99, 0), 24), // 6to4 relays, given up
    (Ipv4Addr::new(192, 168, 0, 0), 16), // private
    (Ipv4Addr::new(198, 18, 0, 0), 15), // benchmarks
    (Ipv4Addr::new(198, 51, 100, 0), 24), // documentation
    (Ipv4Addr::new(203, 0, 113, 0), 24), // documentation
    (Ipv4Addr::new(224, 0, 0, 0), 4), // multicast
    (Ipv4Addr::new(240, 0, 0, 0), 4), // reserved, and broadcast
];

/// What is given out: everything else in IPv6 is local, special or nobody's yet.
const V6_GLOBAL: Range<Ipv6Addr> = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

const V6: &[Range<Ipv6Addr>] = &[
    // Protocol assignments: Teredo, which hides an IPv4 address, benchmarks, ORCHID.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32), // documentation
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),     // 6to4, which holds an IPv4 address
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),     // documentation
];

/// Addresses that translators and sockets make an IPv4 address of: IPv4-mapped, and NAT64's own
/// prefix (RFC 6052), by which hosts without IPv4 reach public ones.
const EMBEDDING: &[Range<Ipv6Addr>] =
    &[(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96), (Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96)];

fn is_public_v4(address: Ipv4Addr) -> bool {
    let within = |(first, length): &Range<Ipv4Addr>| {
        (address.to_bits() ^ first.to_bits()).checked_shr(32 - length).unwrap_or(0) == 0
    };
    !V4.iter().any(within)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    within_v6(address, &V6_GLOBAL) && !V6.iter().any(|range| within_v6(address, range))
}

fn within_v6(address: Ipv6Addr, (first, length): &Range<Ipv6Addr>) -> bool {
    (address.to_bits() ^ first.to_bits()).checked_shr(128 - length).unwrap_or(0) == 0
}

fn embedded(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let embeds = EMBEDDING.iter().any(|range| within_v6(address, range));
    embeds.then(|| Ipv4Addr::from_bits(address.to_bits() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public(address: &str) -> bool {
        is_public(address.parse().unwrap())
    }

    #[test]
    fn every_special_range_ends_where_it_should() {
        // The first and last address of each range, and what is beside it, if that is public.
        for (first, last, below, above) in [
            ("0.0.0.0", "0.255.255.255", None, Some("1.0.0.0")),
            ("10.0.0.0", "10.255.255.255", Some("9.255.255.255"), Some("11.0.0.0")),
            ("100.64.0.0", "100.127.255.255", Some("100.63.255.255"), Some("100.128.0.0")),
            ("127.0.0.0", "127.255.255.255", Some("126.255.255.255"), Some("128.0.0.0")),
            ("168.63.129.16", "168.63.129.16", Some("168.63.129.15"), Some("168.63.129.17")),
            ("169.254.0.0", "169.254.255.255", Some("169.253.255.255"), Some("169.255.0.0")),
            ("172.16.0.0", "172.31.255.255", Some("172.15.255.255"), Some("172.32.0.0")),
            ("192.0.0.0", "192.0.0.255", Some("191.255.255.255"), Some("192.0.1.0")),
            ("192.0.2.0", "192.0.2.255", Some("192.0.1.255"), Some("192.0.3.0")),
            ("192.88.99.0", "192.88.99.255", Some("192.88.98.255"), Some("192.88.100.0")),
            ("192.168.0.0", "192.168.255.255", Some("192.167.255.255"), Some("192.169.0.0")),
            ("198.18.0.0", "198.19.255.255", Some("198.17.255.255"), Some("198.20.0.0")),
            ("198.51.100.0", "198.51.100.255", Some("198.51.99.255"), Some("198.51.101.0")),
            ("203.0.113.0", "203.0.113.255", Some("203.0.112.255"), Some("203.0.114.0")),
            ("224.0.0.0", "255.255.255.255", Some("223.255.255.255"), None),
            ("::", "1fff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", None, Some("2000::")),
            ("2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2000:ffff::"), Some("2001:200::")),
            ("2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:db7::1"), Some("2001:db9::")),
            ("2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("2001:ffff::1"), Some("2003::")),
            ("3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3ffe:ffff::1"), Some("3fff:1000::")),
            ("4000::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some("3fff:ffff::1"), None),
        ] {
            assert!(!public(first) && !public(last), "{first} {last}");
            for beside in [below, above].into_iter().flatten() {
                assert!(public(beside), "{beside}");
            }
        }
    }

    #[test]
    fn what_is_near_is_not_public() {
        for address in [
            "127.0.0.1",
            "127.8.8.8",
            "0.0.0.0",
            "10.1.2.3",
            "172.20.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "255.255.255.255",
            "239.255.255.250",
            "::",
            "::1",
            "fd00:ec2::254",
            "fc00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "100::1",
            "5f00::1",
        ] {
            assert!(!public(address), "{address}");
        }
        for address in ["8.8.8.8", "93.184.215.14", "2606:4700::1111", "2a00:1450:4001::1", "2620:fe::9"] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn an_address_in_disguise_is_what_it_stands_for() {
        let hidden = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "0.0.0.0", "224.0.0.1", "100.64.0.1"];
        for v4 in hidden.map(|v4| v4.parse::<Ipv4Addr>().unwrap()) {
            let [a, b, c, d] = v4.octets();
            let [high, low] = [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])];
            for v6 in [
                Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, high, low),    // mapped
                Ipv6Addr::new(0, 0, 0, 0, 0, 0, high, low),         // "compatible"
                Ipv6Addr::new(0, 0, 0, 0, 0xffff, 0, high, low),    // translated (SIIT)
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low), // NAT64
                Ipv6Addr::new(0x64, 0xff9b, 1, 0, 0, 0, high, low), // NAT64, local
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),    // 6to4
                Ipv6Addr::new(0x2001, 0, 0x4136, 0xe378, 0x8000, 1, !high, !low), // Teredo
                Ipv6Addr::new(0x2001, 0, high, low, 0, 0, 0, 0),    // Teredo's server
                Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0x5efe, high, low), // ISATAP
            ] {
                assert!(!is_public(v6.into()), "{v6}");
            }
        }
        assert!(public("::ffff:8.8.8.8") && public("64:ff9b::8.8.8.8"));
        assert!(!public("64:ff9b:0:0:0:1:808:808") && !public("::8.8.8.8"));
    }

    #[test]
    fn agrees_with_what_the_standard_library_knows() {
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..200_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let v4 = Ipv4Addr::from_bits(seed as u32);
            let known = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || v4.is_unspecified();
            assert!(!known || !is_public(v4.into()), "{v4}");
            assert_eq!(is_public(v4.into()), is_public(v4.to_ipv6_mapped().into()), "{v4}");
        }
    }
}
