//! Each service is asked in its own way, and what it answers is read.

use claude_proxy::config::{Engine, Secret, WebSearch};
use claude_proxy::web::{Hit, SearchOptions};
use serde_json::{Value, json};

use super::*;
use crate::support::upstream::{http, ok};

const KEY: &str = "search-key-0123456789";
const ENGINES: [Engine; 4] = [Engine::SearXng, Engine::Brave, Engine::Tavily, Engine::Exa];

fn searching(engine: Engine, base: &str) -> Config {
    let mut config = config("http://127.0.0.1:1");
    let key = if engine == Engine::SearXng { "" } else { KEY };
    config.extras.web_search =
        Some(WebSearch { engine, key: Secret::new(key), base_url: base.to_owned(), proxy: None });
    config
}

fn search(up: &Upstream, engine: Engine, query: &str, asked: SearchOptions) -> Result<Vec<Hit>, WebError> {
    let short = |web: Web| web.within(Duration::from_secs(2));
    with(&searching(engine, &up.base()), short, async |web| {
        assert!(web.can_search() && !web.can_fetch());
        web.search(query, &asked).await
    })
}

/// The answer of a service, as its documentation has it.
fn fixture(engine: Engine) -> String {
    let path = format!("{}/tests/fixtures/search/{}.json", env!("CARGO_MANIFEST_DIR"), engine.as_str());
    std::fs::read_to_string(path).unwrap()
}

fn hit(title: &str, url: &str, age: Option<&str>, text: &str) -> Hit {
    Hit { title: title.into(), url: url.into(), page_age: age.map(Into::into), text: text.into() }
}

#[test]
fn answers_are_read() {
    for (engine, hits) in [
        (
            Engine::SearXng,
            vec![
                hit(
                    "Rust Programming Language",
                    "https://www.rust-lang.org/",
                    None,
                    "A language empowering everyone to build reliable & efficient software.",
                ),
                hit(
                    "Announcing Rust 1.95.0 | Rust Blog",
                    "https://blog.rust-lang.org/2026/04/16/Rust-1.95.0/",
                    Some("2026-04-16T00:00:00"),
                    "The Rust team is happy to announce a new version: Vec<T> and Option<T> have …",
                ),
                hit(
                    "en.wikipedia.org",
                    "https://en.wikipedia.org/wiki/Rust_(programming_language)",
                    None,
                    "",
                ),
            ],
        ),
        (
            Engine::Brave,
            vec![
                hit(
                    "Rust & friends",
                    "https://www.rust-lang.org/",
                    Some("2 days ago"),
                    "A language empowering everyone. … It's fast. … It's safe.",
                ),
                hit(
                    "The Book",
                    "https://doc.rust-lang.org/book/",
                    Some("2026-01-15T10:00:00"),
                    "The Rust Programming Language",
                ),
            ],
        ),
        (
            Engine::Tavily,
            vec![
                hit(
                    "Rust Programming Language",
                    "https://www.rust-lang.org/",
                    None,
                    "Rust is blazingly fast and memory-efficient. ## Why Rust? [...] No garbage collector.",
                ),
                hit(
                    "Rust news",
                    "https://news.example/rust",
                    Some("Thu, 16 Apr 2026 09:00:00 GMT"),
                    "Released.",
                ),
            ],
        ),
        (
            Engine::Exa,
            vec![
                hit(
                    "Rust Programming Language",
                    "https://www.rust-lang.org/",
                    Some("2026-04-16T00:00:00.000Z"),
                    "Rust is fast. … Rust is safe.",
                ),
                hit("example.org", "https://example.org/paper.pdf", None, "The whole text."),
            ],
        ),
    ] {
        let up = Upstream::answering(ok(&fixture(engine)));
        let found = search(&up, engine, "rust", SearchOptions::default()).unwrap();
        assert_eq!(found, hits, "{engine:?}");
        let one = SearchOptions { count: 1, ..SearchOptions::default() };
        assert_eq!(search(&up, engine, "rust", one).unwrap(), hits[..1], "{engine:?}");
    }
}

#[test]
fn requests_are_each_services_own() {
    let ask = |engine, asked: SearchOptions| {
        let up = Upstream::answering(ok(&fixture(engine)));
        search(&up, engine, " käse & <brot> ", asked).unwrap();
        up.seen().remove(0)
    };
    let plain = SearchOptions::default;
    let allowed = || SearchOptions {
        allowed_domains: vec!["rust-lang.org".into(), "example.com/docs".into()],
        country: Some("de".into()),
        count: 50,
        ..plain()
    };
    let blocked =
        || SearchOptions { blocked_domains: vec!["spam.example".into(), "a.example/x".into()], ..plain() };
    let line = |seen: &upstream::Seen| seen.head.lines().next().unwrap().to_owned();
    let q = "k%C3%A4se+%26+%3Cbrot%3E";

    let seen = ask(Engine::SearXng, plain());
    assert_eq!(line(&seen), format!("GET /search?q={q}&format=json HTTP/1.1"));
    assert!(seen.header("authorization").is_none(), "{}", seen.head);
    assert_eq!(seen.header("accept"), Some("application/json"));
    let seen = ask(Engine::SearXng, allowed());
    let sites = "+site%3Arust-lang.org+OR+site%3Aexample.com";
    assert_eq!(line(&seen), format!("GET /search?q={q}{sites}&format=json HTTP/1.1"));
    let seen = ask(Engine::SearXng, blocked());
    assert_eq!(line(&seen), format!("GET /search?q={q}+-site%3Aspam.example&format=json HTTP/1.1"));

    let seen = ask(Engine::Brave, plain());
    let rest = "count=10&result_filter=web&text_decorations=false";
    assert_eq!(line(&seen), format!("GET /res/v1/web/search?q={q}&{rest} HTTP/1.1"));
    assert_eq!(seen.header("x-subscription-token"), Some(KEY));
    assert!(seen.header("authorization").is_none(), "{}", seen.head);
    let seen = ask(Engine::Brave, allowed());
    let rest = "count=20&result_filter=web&text_decorations=false&country=DE";
    assert_eq!(line(&seen), format!("GET /res/v1/web/search?q={q}{sites}&{rest} HTTP/1.1"));
    // Brave answers a country that it does not know with an error.
    let seen = ask(Engine::Brave, SearchOptions { country: Some("LI".into()), ..plain() });
    assert!(!line(&seen).contains("country"), "{}", seen.head);

    let query = "käse & <brot>";
    let seen = ask(Engine::Tavily, plain());
    assert_eq!(line(&seen), "POST /search HTTP/1.1");
    assert_eq!(seen.header("authorization"), Some(&*format!("Bearer {KEY}")));
    let body = json!({"query": query, "max_results": 10, "search_depth": "basic", "topic": "general"});
    assert_eq!(seen.json(), body);
    let sent = ask(Engine::Tavily, allowed()).json();
    assert_eq!(sent["include_domains"], json!(["rust-lang.org", "example.com"]));
    assert_eq!((&sent["max_results"], &sent["exclude_domains"]), (&json!(20), &Value::Null));
    assert_eq!(ask(Engine::Tavily, blocked()).json()["exclude_domains"], json!(["spam.example"]));

    let seen = ask(Engine::Exa, plain());
    assert_eq!(line(&seen), "POST /search HTTP/1.1");
    assert_eq!(seen.header("x-api-key"), Some(KEY));
    assert!(seen.header("authorization").is_none(), "{}", seen.head);
    let contents = json!({"highlights": {"maxCharacters": 2000}});
    let body = json!({"query": query, "numResults": 10, "type": "auto", "contents": contents});
    assert_eq!(seen.json(), body);
    let sent = ask(Engine::Exa, allowed()).json();
    assert_eq!(sent["includeDomains"], json!(["rust-lang.org", "example.com"]));
    assert_eq!(sent["userLocation"], "DE");
    assert_eq!(ask(Engine::Exa, blocked()).json()["excludeDomains"], json!(["spam.example"]));
}

/// Whatever a service makes of the domains, no other hit is given.
#[test]
fn domains_are_kept_to() {
    for engine in ENGINES {
        let up = Upstream::answering(ok(&fixture(engine)));
        let asked = |allowed: &[&str], blocked: &[&str]| SearchOptions {
            allowed_domains: allowed.iter().map(|d| (*d).to_owned()).collect(),
            blocked_domains: blocked.iter().map(|d| (*d).to_owned()).collect(),
            ..SearchOptions::default()
        };
        let hosts = |asked| {
            let hits = search(&up, engine, "rust", asked).unwrap();
            hits.iter().map(|hit| hit.url.split('/').nth(2).unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert!(hosts(asked(&["rust-lang.org"], &[])).iter().all(|host| host.ends_with("rust-lang.org")));
        assert!(!hosts(asked(&[], &["rust-lang.org"])).iter().any(|host| host.ends_with("rust-lang.org")));
        assert_eq!(hosts(asked(&["rust-lang.org/nothing"], &[])), Vec::<String>::new());
        for bad in [asked(&["a.example"], &["b.example"]), asked(&["*.example"], &[])] {
            let before = up.seen().len();
            assert_eq!(search(&up, engine, "rust", bad).unwrap_err().code, Code::InvalidToolInput);
            assert_eq!(up.seen().len(), before, "nobody is asked");
        }
    }
}

#[test]
fn queries_that_cannot_be_asked() {
    let up = Upstream::answering(ok("{}"));
    for engine in ENGINES {
        let told = |query: &str| search(&up, engine, query, SearchOptions::default()).unwrap_err().code;
        assert_eq!(told(" \n"), Code::InvalidToolInput);
        assert_eq!(told(&"x".repeat(2001)), Code::QueryTooLong);
    }
    for engine in [Engine::Brave, Engine::Tavily] {
        let told = search(&up, engine, &"ü".repeat(401), SearchOptions::default()).unwrap_err();
        assert_eq!(told.code, Code::QueryTooLong);
    }
    let words = search(&up, Engine::Brave, &"x ".repeat(51), SearchOptions::default()).unwrap_err();
    assert!(words.detail.contains("50 words"), "{words}");
    assert_eq!(up.connections(), 0);
}

/// What a service answers instead of hits, and what the log says of it: never the key.
#[test]
fn services_that_fail() {
    let html = [("content-type", "text/html")];
    let json = [("content-type", "application/json")];
    for (engine, answer, code, says) in [
        (Engine::SearXng, http(403, &html, "<h1>Forbidden</h1>"), Code::Unavailable, "search.formats"),
        (Engine::SearXng, http(429, &html, "Too Many Requests"), Code::TooManyRequests, "limiter.toml"),
        (Engine::SearXng, http(200, &html, "<html>results"), Code::Unavailable, "web page instead of JSON"),
        (
            Engine::SearXng,
            ok(
                r#"{"query":"x","results":[],"unresponsive_engines":[["google","Suspended: CAPTCHA"],["bing","timeout"],7]}"#,
            ),
            Code::Unavailable,
            "none of its engines answers: google (Suspended: CAPTCHA), bing (timeout)",
        ),
        (
            Engine::Brave,
            http(
                401,
                &json,
                &format!(r#"{{"type":"ErrorResponse","error":{{"detail":"invalid token {KEY}"}}}}"#),
            ),
            Code::Unavailable,
            "invalid token [key]",
        ),
        (
            Engine::Brave,
            http(
                429,
                &[json[0], ("retry-after", "3")],
                r#"{"error":{"detail":"Request rate limit exceeded"}}"#,
            ),
            Code::TooManyRequests,
            "asks to wait for 3 s (HTTP 429: Request rate limit exceeded)",
        ),
        (
            Engine::Tavily,
            http(432, &json, r#"{"detail":{"error":"over plan"}}"#),
            Code::Unavailable,
            "over plan",
        ),
        (Engine::Tavily, http(500, &json, "{}"), Code::Unavailable, "HTTP 500"),
        (Engine::Exa, http(402, &json, r#"{"error":"no credits"}"#), Code::Unavailable, "no credits"),
        (
            Engine::Exa,
            http(302, &[("location", "https://login.example/")], ""),
            Code::Unavailable,
            "set base_url",
        ),
        (Engine::Exa, ok("{\"results\": 7}"), Code::Unavailable, "not the JSON"),
        (Engine::Exa, ok("{\"results\": [{\"url\""), Code::Unavailable, "not the JSON"),
        (Engine::Tavily, "SSH-2.0-x\r\n\r\n".to_owned(), Code::Unavailable, "not valid HTTP"),
    ] {
        let up = Upstream::start(move |mut conn| {
            conn.request();
            conn.write(&answer);
            conn.close();
        });
        let told = search(&up, engine, "rust", SearchOptions::default()).unwrap_err();
        assert!(told.code == code && told.detail.contains(says), "{engine:?} {told}");
        assert!(told.detail.contains(engine.as_str()) && !told.detail.contains(KEY), "{told}");
    }
}

#[test]
fn services_that_are_slow_or_endless() {
    let hangs = Upstream::start(|mut conn| {
        conn.request();
        conn.hang();
    });
    let drips = Upstream::start(|mut conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
        while conn.write(" ") {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let endless = Upstream::start(|mut conn| {
        conn.request();
        conn.write("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
        while conn.chunk(vec![b' '; 1 << 16]) {}
    });
    for (up, says) in [(&hangs, "within 2 s"), (&drips, "within 2 s"), (&endless, "larger than")] {
        let told = search(up, Engine::Exa, "rust", SearchOptions::default()).unwrap_err();
        assert!(told.code == Code::Unavailable && told.detail.contains(says), "{told}");
    }
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config = searching(Engine::SearXng, &format!("http://{nobody}"));
    let told = with(&config, |web| web, async |web| web.search("x", &SearchOptions::default()).await);
    assert!(told.unwrap_err().detail.contains("connecting failed"));
}

/// Hits that no page could have, and some that make no sense at all.
#[test]
fn odd_hits_are_left_out() {
    let results = json!([
        null, 7, "x", [], {},
        {"title": "no url"},
        {"title": 7, "url": "https://a.example/"},
        {"title": "js", "url": "javascript:alert(1)"},
        {"title": "user", "url": "https://user:pass@a.example/"},
        {"title": "long", "url": format!("https://a.example/{}", "x".repeat(5000))},
        {"title": "<b>good</b>\u{202e}", "url": "https://a.example/ä b", "content": null, "highlights": ["x\u{e0041}y"]},
    ]);
    for engine in ENGINES {
        let body = match engine {
            Engine::Brave => json!({"web": {"results": results}}),
            _ => json!({"results": results}),
        };
        let up = Upstream::answering(ok(&body.to_string()));
        let hits = search(&up, engine, "x", SearchOptions::default()).unwrap();
        assert_eq!(hits.len(), 1, "{engine:?} {hits:?}");
        assert_eq!((&*hits[0].title, &*hits[0].url), ("good", "https://a.example/%C3%A4%20b"));
        assert_eq!(hits[0].text, if engine == Engine::Exa { "xy" } else { "" });
    }
    // Nothing found is no error.
    let up = Upstream::answering(ok("{\"type\":\"search\"}"));
    assert_eq!(search(&up, Engine::Brave, "x", SearchOptions::default()), Ok(vec![]));
}

/// As it is configured: through the environment's proxy, and with nothing in the log.
#[test]
fn a_service_behind_a_proxy() {
    let internet = Internet::start(|_, mut conn| {
        conn.request();
        conn.write(ok(&fixture(Engine::Brave)));
    });
    let mut config = searching(Engine::Brave, "http://api.search.example");
    let proxy = claude_proxy::config::Proxy::parse(&internet.proxy.base(), "HTTP_PROXY").unwrap();
    config.extras.web_search.as_mut().unwrap().proxy = Some(Arc::new(proxy));
    let hits = with(&config, |web| web, async |web| web.search("x", &SearchOptions::default()).await);
    assert_eq!(hits.unwrap().len(), 2);
    assert_eq!(internet.tunnels(), ["api.search.example:80"]);
    assert!(!format!("{:?} {:?}", config.extras, internet.proxy.seen()[0]).contains(KEY));
}
