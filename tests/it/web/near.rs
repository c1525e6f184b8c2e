//! Nothing that is near is reached, however it is named and whoever names it.

use super::*;
use crate::support::upstream::http;

fn refused(told: Result<Page, WebError>, code: Code, what: &str) {
    match told {
        Err(error) => assert_eq!(error.code, code, "{what}: {error}"),
        Ok(page) => panic!("{what}: {page:?}"),
    }
}

#[test]
fn however_it_is_written() {
    let canary = Canary::start();
    let port = canary.addr.port();
    for host in [
        "127.0.0.1",
        "localhost",
        "LOCALHOST.",
        "x.localhost",
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "2130706433",
        "017700000001",
        "0",
        "0.0.0.0",
        "127.0.0.1.",
        "127。0。0。1",
        "①②⑦.⓪.⓪.①",
        "%31%32%37.0.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "user@127.0.0.1",
        "example.com@127.0.0.1",
    ] {
        refused(fetch(&fetching(&[]), &format!("http://{host}:{port}/")), Code::UrlNotAllowed, host);
    }
    for url in [
        format!(" \t\nhttp://127.0.0.1:{port}/"),
        format!("ht\ntp://127.0.\t0.1:{port}/"),
        format!("http:\\\\127.0.0.1:{port}\\"),
        format!("http:127.0.0.1:{port}"),
        format!("http:////127.0.0.1:{port}"),
        "file:///etc/passwd".to_owned(),
        format!("gopher://127.0.0.1:{port}/_x"),
        format!("ftp://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[fd00:ec2::254]/latest/meta-data/".to_owned(),
        "http://168.63.129.16/machine?comp=goalstate".to_owned(),
        "http://10.0.0.1/".to_owned(),
        "http://192.168.1.1/".to_owned(),
    ] {
        refused(fetch(&fetching(&[]), &url), Code::UrlNotAllowed, &url);
    }
    canary.assert_alone();
}

/// A name is as near as the nearest of its addresses.
#[test]
fn whatever_a_name_stands_for() {
    let canary = Canary::start();
    let port = canary.addr.port();
    for addresses in [
        &["127.0.0.1"][..],
        &["::1"],
        &["10.1.2.3"],
        &["169.254.169.254"],
        &["::ffff:127.0.0.1"],
        &["64:ff9b::a00:1"],
        &["fd00::1"],
        &["93.184.215.14", "127.0.0.1"],
        &["2606:4700::1111", "8.8.8.8", "192.168.0.1"],
    ] {
        let names: HashMap<_, _> = HashMap::from([(
            "a.example".to_owned(),
            vec![addresses.iter().map(|a| a.parse().unwrap()).collect::<Vec<IpAddr>>()],
        )]);
        let resolver = resolver(Arc::new(Mutex::new(names)));
        let told = with(
            &fetching(&[]),
            |web| web.resolving(resolver),
            async |web| web.fetch(&format!("http://a.example:{port}/"), &FetchOptions::default()).await,
        );
        refused(told, Code::UrlNotAllowed, &format!("{addresses:?}"));
    }
    // The system's resolver is asked in the same way.
    let told = fetch(&fetching(&[]), "http://no-such-host.invalid/").unwrap_err();
    assert!(told.code == Code::UrlNotAccessible && told.detail.contains("could not be resolved"), "{told}");
    canary.assert_alone();
}

/// A name is asked for once; the connection goes to the address that was looked at, whatever the
/// name stands for a moment later.
#[test]
fn a_name_that_moves() {
    let up = Upstream::answering(http(200, &[("content-type", "text/plain")], "here"));
    let port = up.addr.port();
    let canary = Canary::start_on(&format!("127.0.0.2:{port}"));
    let names = HashMap::from([(
        "a.example".to_owned(),
        // The last one is told first.
        vec![vec!["127.0.0.2".parse().unwrap()], vec!["127.0.0.1".parse().unwrap()]],
    )]);
    let names = Arc::new(Mutex::new(names));
    let told = with(
        &fetching(&["a.example"]),
        |web| web.resolving(resolver(Arc::clone(&names))),
        async |web| web.fetch(&format!("http://a.example:{port}/"), &FetchOptions::default()).await,
    );
    assert_eq!(text(&told.unwrap()), "here");
    assert_eq!(names.lock().unwrap()["a.example"].len(), 1, "it was asked for once");
    assert_eq!(up.seen()[0].header("host"), Some(&*format!("a.example:{port}")));
    canary.assert_alone();

    // Public at first and near for the redirect: the redirect is looked at anew.
    let internet = Internet::start(|_, mut conn| {
        conn.request();
        conn.write(http(302, &[("location", "/again")], ""));
    })
    .name("b.example", &[&["93.184.215.14"], &["127.0.0.1"]]);
    refused(internet.fetch("http://b.example/", &[]), Code::UrlNotAllowed, "rebound");
    assert_eq!(internet.tunnels(), ["93.184.215.14:80"]);
}

/// A public page may name anything in a redirect.
#[test]
fn redirects() {
    let canary = Canary::start();
    let port = canary.addr.port();
    for to in [
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://[::1]:{port}/"),
        format!("http://[::ffff:127.0.0.1]:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://near.example:{port}/"),
        format!("http:\\\\127.0.0.1:{port}/"),
        format!("\thttp://127.0.0.1:{port}/"),
        "http://169.254.169.254/latest/".to_owned(),
        "file:///etc/passwd".to_owned(),
        "data:text/html,x".to_owned(),
        "javascript:x".to_owned(),
        "http://user:pass@public.example/".to_owned(),
        "http://public.example:22/".to_owned(),
    ] {
        for status in [301, 302, 303, 307, 308] {
            let location = to.clone();
            let internet = Internet::start(move |_, mut conn| {
                conn.request();
                conn.write(http(status, &[("location", &*location)], ""));
            })
            .name("public.example", &[&["93.184.215.14"], &["93.184.215.14"]])
            .name("near.example", &[&["127.0.0.1"]]);
            refused(internet.fetch("http://public.example/", &[]), Code::UrlNotAllowed, &to);
            assert_eq!(internet.tunnels(), ["93.184.215.14:80"], "{to}");
        }
    }
    canary.assert_alone();
}

/// A proxy is told addresses that were looked at, so it has no name to resolve. Only listed hosts
/// go by their names.
#[test]
fn behind_a_proxy() {
    let internet = Internet::start(|target, mut conn| {
        conn.request();
        conn.write(http(200, &[("content-type", "text/plain")], target));
    })
    .name("public.example", &[&["2606:4700::1111", "93.184.215.14"]])
    .name("six.example", &[&["2606:4700::1111"]])
    .name("near.example", &[&["10.0.0.5"]]);
    let told = |url: &str, listed: &[&str]| internet.fetch(url, listed).map(|page| text(&page).to_owned());
    assert_eq!(told("http://public.example:8080/", &[]).unwrap(), "93.184.215.14:8080");
    assert_eq!(told("http://six.example/", &[]).unwrap(), "[2606:4700::1111]:80");
    refused(internet.fetch("http://near.example/", &[]), Code::UrlNotAllowed, "near");
    refused(internet.fetch("http://10.0.0.5/", &[]), Code::UrlNotAllowed, "an address");
    let unknown = internet.fetch("http://unknown.example/", &[]).unwrap_err();
    assert!(unknown.code == Code::UrlNotAccessible && unknown.detail.contains("behind a proxy"), "{unknown}");
    assert_eq!(told("http://unknown.example/", &["unknown.example"]).unwrap(), "unknown.example:80");
    assert_eq!(told("http://10.0.0.5:99/", &["10.0.0.5:99"]).unwrap(), "10.0.0.5:99");
}

/// What is listed is reached, and nothing beside it.
#[test]
fn listed_hosts() {
    let up = Upstream::answering(http(200, &[("content-type", "text/plain")], "wiki"));
    let canary = Canary::start();
    let port = up.addr.port();
    let other = canary.addr.port();
    let listed = format!("127.0.0.1:{port}");
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://0x7f.1:{port}/"),
        format!("http://127.1:{port}"),
    ] {
        assert_eq!(text(&fetch(&fetching(&[&listed]), &url).unwrap()), "wiki", "{url}");
    }
    for url in [
        format!("http://127.0.0.1:{other}/"),
        format!("http://localhost:{port}/"),
        format!("http://127.0.0.2:{port}/"),
    ] {
        refused(fetch(&fetching(&[&listed]), &url), Code::UrlNotAllowed, &url);
    }
    // A host without a port is listed with all that pages are on.
    assert!(fetch(&fetching(&["127.0.0.1"]), &format!("http://127.0.0.1:{port}/")).is_ok());
    refused(fetch(&fetching(&["127.0.0.1"]), "http://127.0.0.1:22/"), Code::UrlNotAllowed, "port 22");
    assert!(fetch(&fetching(&["localhost"]), &format!("http://localhost:{port}/")).is_ok());
    // Also for a redirect from outside.
    let to = format!("http://{listed}/page");
    let internet = Internet::start(move |_, mut conn| {
        conn.request();
        conn.write(http(302, &[("location", &*to)], ""));
    })
    .name("public.example", &[&["93.184.215.14"]]);
    let page = internet.fetch("http://public.example/", &[&listed]).unwrap();
    assert_eq!((text(&page), &*page.url), ("wiki", &*format!("http://{listed}/page")));
    canary.assert_alone();
}

/// Nothing of a fetch tells who asks, and nothing of one page is told the next.
#[test]
fn what_is_sent() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let cookie = [("set-cookie", "a=b"), ("content-type", "text/plain")];
            if seen.head.starts_with("GET /first") {
                conn.write(http(302, &[cookie[0], ("location", "/second?x=y#z")], ""));
            } else {
                conn.write(http(200, &cookie, "done"));
            }
        }
    });
    let page = fetched(&up, "/first?q=1#part").unwrap();
    assert_eq!(page.url, format!("{}/second?x=y#z", up.base()));
    let seen = up.seen();
    let lines: Vec<_> = seen.iter().map(|s| s.head.lines().next().unwrap()).collect();
    assert_eq!(lines, ["GET /first?q=1 HTTP/1.1", "GET /second?x=y HTTP/1.1"]);
    for seen in &seen {
        let mut names: Vec<String> = seen
            .head
            .lines()
            .skip(1)
            .filter_map(|l| Some(l.split_once(':')?.0.to_ascii_lowercase()))
            .collect();
        names.sort();
        assert_eq!(
            names,
            ["accept", "accept-encoding", "connection", "date", "host", "user-agent"],
            "{}",
            seen.head
        );
        assert_eq!(
            (seen.header("accept-encoding"), seen.header("connection")),
            (Some("identity"), Some("close"))
        );
        assert!(seen.body.is_empty());
    }
    assert_eq!(up.connections(), 2);
}
