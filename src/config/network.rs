//! Which hosts are near: on this machine, in this network, or anywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The host is this machine.
pub fn is_loopback(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost") || host.parse::<IpAddr>().is_ok_and(loopback)
}

/// The host can be anywhere on the internet: neither this machine nor, by its address or name,
/// in a private network.
pub(super) fn is_public(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if is_loopback(&host) {
        return false;
    }
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => is_public_v4(ip),
        Ok(IpAddr::V6(ip)) => ip.to_ipv4_mapped().map_or_else(|| is_public_v6(ip), is_public_v4),
        // A name of one label is looked up in the search domain: Docker, Compose, Kubernetes.
        Err(_) => {
            let near = ["local", "internal", "lan", "home", "corp", "intranet", "svc", "home.arpa"];
            let ends = |end: &&str| host.strip_suffix(*end).is_some_and(|rest| rest.ends_with('.'));
            host.contains('.') && !near.iter().any(ends)
        }
    }
}

fn loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, ..] = ip.octets();
    // 100.64.0.0/10 (RFC 6598) is what overlay networks such as Tailscale use.
    let shared = a == 100 && (64..128).contains(&b);
    !(ip.is_private() || ip.is_link_local() || ip.is_loopback() || ip.is_unspecified() || shared)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    !(ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback() || ip.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_and_far() {
        for host in [
            "api.example.com",
            "8.8.8.8",
            "100.128.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "notlocal.io",
            "a.b.",
        ] {
            assert!(is_public(host), "{host}");
        }
        for host in [
            "localhost",
            "a.localhost",
            "127.8.8.8",
            "::1",
            "::ffff:127.0.0.1",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.2",
            "169.254.1.1",
            "100.64.0.1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
            "vllm",
            "gpu.local",
            "GPU.LAN",
            "x.home.arpa",
            "host.docker.internal",
            "0.0.0.0",
        ] {
            assert!(!is_public(host), "{host}");
        }
        assert!(is_loopback("LocalHost") && is_loopback("::ffff:127.0.0.1") && !is_loopback("10.0.0.1"));
    }
}
