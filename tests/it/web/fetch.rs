//! Pages that come, and those that do not.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;
use crate::support::tls::Authority;
use crate::support::upstream::http;

fn page(media_type: &str, body: &str) -> Result<Page, WebError> {
    let up = Upstream::answering(http(200, &[("content-type", media_type)], body));
    fetched(&up, "/")
}

fn code(told: Result<Page, WebError>) -> Code {
    told.map(|page| format!("{page:?}")).unwrap_err().code
}

#[test]
fn pages_become_text() {
    let html =
        "<!doctype html><title>T &amp; t</title><h1>Hi</h1><p>See <a href=/x>this</a>.</p><script>x</script>";
    let up = Upstream::answering(http(200, &[("content-type", "text/html; charset=utf-8")], html));
    let page = fetched(&up, "/a").unwrap();
    assert_eq!((page.title.as_deref(), &*page.url), (Some("T & t"), &*format!("{}/a", up.base())));
    assert_eq!(text(&page), format!("# Hi\n\nSee [this]({}/x).", up.base()));
    assert!(page.retrieved_at.starts_with("20") && page.retrieved_at.ends_with('Z'), "{}", page.retrieved_at);
    for (media_type, body, want) in [
        ("text/plain", "a <b> c\r\nd\u{202e}", "a <b> c\nd"),
        ("application/json", "{\"a\": 1}", "{\"a\": 1}"),
        ("application/atom+xml", "<feed>x</feed>", "<feed>x</feed>"),
        ("text/markdown; charset=iso-8859-1", "# x", "# x"),
        ("application/xhtml+xml", "<p>a<p>b", "a\n\nb"),
        ("application/octet-stream", "just text", "just text"),
    ] {
        assert_eq!(text(&self::page(media_type, body).unwrap()), want, "{media_type}");
    }
    let gbk = [
        &b"HTTP/1.1 200 OK\r\ncontent-type: text/html; charset=gbk\r\ncontent-length: 4\r\n\r\n"[..],
        b"\xc4\xe3\xba\xc3",
    ];
    let up = Upstream::answering(gbk.concat());
    assert_eq!(text(&fetched(&up, "/").unwrap()), "你好");
}

#[test]
fn pdf_comes_whole() {
    for media_type in ["application/pdf", "application/octet-stream"] {
        let pdf = page(media_type, "%PDF-1.7\nbytes").unwrap();
        assert_eq!(pdf.content, Content::Pdf("%PDF-1.7\nbytes".into()));
        assert_eq!(pdf.title, None);
    }
}

#[test]
fn what_is_no_text_is_refused() {
    for (media_type, body) in [
        ("image/png", "x"),
        ("image/svg+xml", "<svg/>"),
        ("application/zip", "x"),
        ("video/mp4", "x"),
        ("application/octet-stream", "\0\u{1}\u{2}"),
        ("", "\u{7f}ELF\0"),
    ] {
        assert_eq!(code(page(media_type, body)), Code::UnsupportedContentType, "{media_type}");
    }
}

#[test]
fn texts_are_cut() {
    let long = "word ".repeat(100_000);
    for (asked, chars) in [(None, 100_000), (Some(100), 400), (Some(0), 0), (Some(u64::MAX), 500_000)] {
        let up = Upstream::answering(http(200, &[("content-type", "text/plain")], &long));
        let options = FetchOptions { max_content_tokens: asked, ..FetchOptions::default() };
        let page = with(
            &fetching(&[&up.addr.to_string()]),
            |web| web,
            async |web| web.fetch(&up.base(), &options).await,
        );
        let page = page.unwrap();
        let kept = text(&page).split("\n\n[The page").next().unwrap();
        assert_eq!(kept.len(), chars.min(long.len()), "{asked:?}");
        assert_eq!(text(&page).ends_with("the rest was cut off.]"), chars < long.len(), "{asked:?}");
    }
}

#[test]
fn statuses() {
    for (status, expected) in [
        (204, Code::UrlNotAccessible),
        (300, Code::UrlNotAccessible),
        (302, Code::UrlNotAccessible),
        (304, Code::UrlNotAccessible),
        (401, Code::UrlNotAccessible),
        (403, Code::UrlNotAccessible),
        (404, Code::UrlNotAccessible),
        (429, Code::TooManyRequests),
        (503, Code::UrlNotAccessible),
    ] {
        let up =
            Upstream::answering(http(status, &[("content-type", "text/plain"), ("retry-after", "9")], ""));
        let told = fetched(&up, "/").unwrap_err();
        assert_eq!(told.code, expected, "{status}: {told}");
    }
    // A page says what it says, with any of these.
    for status in [200, 203, 206] {
        let up = Upstream::answering(http(status, &[("content-type", "text/plain")], "x"));
        assert_eq!(text(&fetched(&up, "/").unwrap()), "x");
    }
}

#[test]
fn redirects_end() {
    let up = Upstream::start(|mut conn| {
        while let Some(seen) = conn.request() {
            let n: u32 = seen.head.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            if n == 0 {
                conn.write(http(200, &[("content-type", "text/plain")], "end"));
            } else {
                conn.write(http(302, &[("location", &*format!("/{}", n - 1))], ""));
            }
        }
    });
    assert_eq!(text(&fetched(&up, "/10").unwrap()), "end");
    assert_eq!(up.connections(), 11);
    let told = fetched(&up, "/11").unwrap_err();
    assert!(told.code == Code::UrlNotAccessible && told.detail.contains("more than 10 times"), "{told}");
    let round = Upstream::answering(http(301, &[("location", "/")], ""));
    assert_eq!(code(fetched(&round, "/")), Code::UrlNotAccessible);
    assert_eq!(round.connections(), 11);
    for location in ["http://[", "http://exa mple/", &format!("/{}", "x".repeat(3000))] {
        let up = Upstream::answering(http(302, &[("location", location)], ""));
        assert_eq!(code(fetched(&up, "/")), Code::UrlNotAccessible, "{location}");
    }
}

/// A redirect may not lead where the request's domains do not.
#[test]
fn domains_hold_for_redirects() {
    let internet = Internet::start(|target, mut conn| {
        conn.request();
        if target.starts_with("93.") {
            conn.write(http(302, &[("location", "http://other.example/")], ""));
        } else {
            conn.write(http(200, &[("content-type", "text/plain")], "other"));
        }
    });
    let ask = |allowed: &[&str], blocked: &[&str]| {
        let proxies = {
            let base = internet.proxy.base();
            let env = move |_: &str| Ok(base.clone());
            Proxies::from_environment(&env).unwrap()
        };
        let mut config = fetching(&[]);
        config.extras.web_fetch_proxies = proxies;
        let address = |a: &str| vec![vec![a.parse().unwrap()]];
        let names = HashMap::from([
            ("a.example".to_owned(), address("93.184.215.14")),
            ("other.example".to_owned(), address("8.8.8.8")),
        ]);
        let resolver = resolver(Arc::new(Mutex::new(names)));
        let list = |of: &[&str]| of.iter().map(|d| (*d).to_owned()).collect();
        let asked = FetchOptions {
            allowed_domains: list(allowed),
            blocked_domains: list(blocked),
            max_content_tokens: None,
        };
        with(&config, |web| web.resolving(resolver), async |web| web.fetch("http://a.example/", &asked).await)
    };
    assert_eq!(code(ask(&["a.example"], &[])), Code::UrlNotAllowed);
    assert_eq!(code(ask(&[], &["other.example"])), Code::UrlNotAllowed);
    assert_eq!(code(ask(&[], &["a.example"])), Code::UrlNotAllowed);
    assert_eq!(code(ask(&["a.example"], &["b.example"])), Code::InvalidToolInput);
    assert_eq!(internet.tunnels(), ["93.184.215.14:80", "93.184.215.14:80"]);
}

#[test]
fn pages_that_are_too_large() {
    let up = Upstream::start(|mut conn| {
        let Some(seen) = conn.request() else { return };
        let media_type = if seen.head.starts_with("GET /pdf") { "application/pdf" } else { "text/plain" };
        conn.write(format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ntransfer-encoding: chunked\r\n\r\n"
        ));
        if seen.head.starts_with("GET /pdf") {
            conn.chunk("%PDF-1.7");
        }
        let mut sent = 0;
        while conn.chunk(vec![b'x'; 1 << 16]) && sent < 1000 {
            sent += 1;
        }
        // It hung up long before the end.
        assert!(sent < 900, "{sent}");
    });
    let page = fetched(&up, "/text").unwrap();
    assert!(text(&page).ends_with("the rest was cut off.]") && text(&page).len() < 110_000);
    let told = fetched(&up, "/pdf").unwrap_err();
    assert!(told.code == Code::UrlNotAccessible && told.detail.contains("larger than 10 MiB"), "{told}");
}

#[test]
fn pages_that_are_slow() {
    let drips = |head: &'static str| {
        Upstream::start(move |mut conn| {
            conn.request();
            conn.write(head);
            while conn.write("x") {
                std::thread::sleep(Duration::from_millis(20));
            }
        })
    };
    let body = drips("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 1000000\r\n\r\n");
    let head = drips("HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx: ");
    let silent = Upstream::start(Conn::hang);
    for up in [&body, &head, &silent] {
        let config = fetching(&[&up.addr.to_string()]);
        let short = |web: Web| web.within(Duration::from_millis(500));
        let told = with(&config, short, async |web| web.fetch(&up.base(), &FetchOptions::default()).await);
        let told = told.unwrap_err();
        assert!(told.code == Code::UrlNotAccessible && told.detail.contains("within "), "{told}");
    }
    eventually("the connection is closed", || silent.gone() == 1);
}

#[test]
fn bodies_that_are_not_what_they_say() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";
    for (answer, want) in [
        // Cut: no page.
        (format!("{head}content-length: 100\r\n\r\nhello"), None),
        // Longer than announced: what was announced.
        (format!("{head}content-length: 5\r\n\r\nhello world"), Some("hello")),
        // To the end of the connection, as HTTP/1.0 and small servers have it.
        (format!("{head}\r\nhello"), Some("hello")),
        ("HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nhello".to_owned(), Some("hello")),
        (
            format!("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{head}content-length: 5\r\n\r\nhello"),
            Some("hello"),
        ),
        (format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n"), None),
        ("SSH-2.0-x\r\n\r\n".to_owned(), None),
        (String::new(), None),
    ] {
        let script = answer.clone();
        let up = Upstream::start(move |mut conn| {
            conn.request();
            conn.write(&script);
            conn.close();
        });
        let told = fetched(&up, "/");
        match want {
            Some(want) => assert_eq!(text(&told.unwrap()), want, "{answer:?}"),
            None => assert_eq!(code(told), Code::UrlNotAccessible, "{answer:?}"),
        }
    }
}

#[test]
fn compressed_pages() {
    let packed = |bytes: &[u8], times: usize| {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        for _ in 0..times {
            gzip.write_all(bytes).unwrap();
        }
        gzip.finish().unwrap()
    };
    let answering = |media_type: &str, encoding: &str, body: &[u8]| {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {media_type}\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        answer.extend_from_slice(body);
        fetched(&Upstream::answering(answer), "/")
    };
    // Nobody asked for it; some send it all the same.
    assert_eq!(text(&answering("text/plain", "gzip", &packed(b"hello", 1)).unwrap()), "hello");
    assert_eq!(code(answering("text/plain", "gzip", b"hello")), Code::UrlNotAccessible);
    assert_eq!(code(answering("text/plain", "br", b"hello")), Code::UnsupportedContentType);
    let bomb = packed(&b"x".repeat(1 << 20), 60);
    let page = answering("text/plain", "gzip", &bomb).unwrap();
    assert!(text(&page).ends_with("the rest was cut off.]") && text(&page).len() < 110_000);
    assert_eq!(code(answering("application/pdf", "gzip", &bomb)), Code::UrlNotAccessible);
    let html = answering("text/html", "gzip", &packed(&b"<div>".repeat(10_000), 10)).unwrap();
    assert_eq!(text(&html), "");
}

/// A server has to prove that it is the host of the URL.
#[test]
fn tls_is_verified() {
    let up = Upstream::start_tls(Authority::new("Nobody's CA").server(&["127.0.0.1"]), |mut conn| {
        conn.request();
        conn.write(http(200, &[("content-type", "text/plain")], "secret"));
    });
    let told = fetched(&up, "/").unwrap_err();
    assert!(told.code == Code::UrlNotAccessible && told.detail.contains("its certificate"), "{told}");
    eventually("the handshake fails", || up.refused().len() == 1);
    assert_eq!(up.seen().len(), 0);
    // Plain HTTP where TLS should be, and the other way round.
    let plain = Upstream::start(|mut conn| {
        conn.bytes();
        conn.write(http(400, &[], "x"));
    });
    let url = plain.base().replace("http:", "https:");
    let told = fetch(&fetching(&[&plain.addr.to_string()]), &url).unwrap_err();
    assert!(told.detail.contains("TLS"), "{told}");
    let url = up.base().replace("https:", "http:");
    assert_eq!(code(fetch(&fetching(&[&up.addr.to_string()]), &url)), Code::UrlNotAccessible);
}

/// Fetches wait for each other, and one that is dropped makes room.
#[test]
fn fetches_at_the_same_time() {
    let up = Upstream::start(|mut conn| {
        let Some(seen) = conn.request() else { return };
        if seen.head.contains("/hang") {
            conn.hang();
        } else {
            conn.write(http(200, &[("content-type", "text/plain")], "x"));
        }
    });
    with(
        &fetching(&[&up.addr.to_string()]),
        |web| web,
        async |web| {
            let options = FetchOptions::default();
            let url = format!("{}/hang", up.base());
            let hanging: Vec<_> = (0..20).map(|_| Box::pin(web.fetch(&url, &options))).collect();
            let mut all = futures_util::future::join_all(hanging);
            let moment = tokio::time::timeout(Duration::from_millis(500), &mut all).await;
            assert!(moment.is_err());
            assert_eq!(up.connections(), 8);
            let quick = format!("{}/quick", up.base());
            let waits = tokio::time::timeout(Duration::from_millis(200), web.fetch(&quick, &options)).await;
            assert!(waits.is_err());
            drop(all);
            assert!(web.fetch(&quick, &options).await.is_ok());
        },
    );
    eventually("those that were dropped are closed", || up.gone() == 8);
}

/// Neither is configured, and nothing is set up.
#[test]
fn off_unless_configured() {
    let config = config("http://127.0.0.1:1");
    assert!(Setup::new(&config, &Transports::default(), None).unwrap().is_none());
    let fetch = fetching(&[]);
    with(
        &fetch,
        |web| web,
        async |web| {
            assert!(web.can_fetch() && !web.can_search());
            let told = web.search("x", &claude_proxy::web::SearchOptions::default()).await.unwrap_err();
            assert_eq!(told.code, Code::Unavailable);
        },
    );
}
