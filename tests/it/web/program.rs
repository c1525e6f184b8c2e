//! The program as a user has it: config.json, certificates and proxies of the environment.

use serde_json::{Value, json};

use crate::support::program::Program;
use crate::support::tls::Authority;
use crate::support::upstream::{Conn, http, ok};
use crate::support::*;

const HOST: &str = "docs.example.invalid";

/// Calls `web_fetch` with this URL, and then says `done`.
fn model(url: String) -> Upstream {
    Upstream::start(move |mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["messages"].as_array().unwrap().iter().any(|message| message["role"] == "tool") {
                conn.write(ok(&completion("done")));
                continue;
            }
            let call = json!({"id": "call_1", "type": "function",
                "function": {"name": "web_fetch", "arguments": json!({"url": url}).to_string()}});
            let message = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
            conn.write(ok(&json!({"id": "c", "model": "m", "choices": [choice]}).to_string()));
        }
    })
}

/// The result of the fetch, as the client is told it, and what the program logged.
fn result(
    url: &str,
    listed: &str,
    set: impl FnOnce(&std::path::Path, &mut std::process::Command),
) -> (Value, String) {
    let model = model(url.to_owned());
    let config = json!({"port": 0, "web_fetch": true, "web_fetch_private_hosts": [listed],
        "providers": [{"base_url": model.base(), "api_key": "k", "models": [{"id": "m"}]}]});
    let mut program = Program::start_in(&["serve", "--log-level", "trace"], &config.to_string(), set);
    let body = json!({"model": "m", "max_tokens": 99, "tools": [{"type": "web_fetch_20250910", "name": "web_fetch"}],
        "messages": [{"role": "user", "content": format!("Read {url} for me")}]});
    let answer = post(program.addr(), body.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = answer.json();
    let blocks = answer["content"].as_array().unwrap();
    let found = blocks.iter().find(|block| block["type"] == "web_fetch_tool_result");
    let found = found.unwrap_or_else(|| panic!("{answer}"))["content"].clone();
    // Lines may come late, but not later than its end.
    program.signal("TERM");
    (found, program.end().1)
}

fn page(mut conn: Conn) {
    conn.request();
    conn.write(http(200, &[("content-type", "text/html")], "<title>Docs</title><p>Read me."));
}

#[test]
fn pages_over_tls() {
    let authority = Authority::new("Test CA");
    let up = Upstream::start_tls(authority.server(&["127.0.0.1"]), page);
    let url = format!("{}/guide", up.base());
    let trust = |dir: &std::path::Path, command: &mut std::process::Command| {
        std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
        command.env("SSL_CERT_FILE", "ca.pem");
    };
    let (told, _) = result(&url, &up.addr.to_string(), trust);
    assert_eq!((&told["url"], &told["content"]["title"]), (&json!(url), &json!("Docs")), "{told}");
    assert_eq!(told["content"]["source"]["data"], "Read me.");
    // Who does not know the authority does not take its word.
    let (told, log) = result(&url, &up.addr.to_string(), |_, _| {});
    assert_eq!(told["error_code"], "url_not_accessible", "{told}");
    assert!(log.contains("its certificate is not signed by an authority"), "{log}");
    assert_eq!(up.seen().len(), 1);
}

/// Inside the tunnel it is the host of the URL that has to prove itself.
#[test]
fn pages_over_tls_and_a_proxy() {
    let authority = Authority::new("Test CA");
    for (name, reached) in [(HOST, true), ("other.example.invalid", false)] {
        let up = Upstream::start_tls(authority.server(&[name]), |conn| {
            assert_eq!(conn.server_name().as_deref(), Some(HOST));
            page(conn);
        });
        let to = up.addr;
        let proxy = Upstream::start(move |mut conn| {
            conn.request();
            conn.write("HTTP/1.1 200 OK\r\n\r\n");
            conn.relay(to, |_| {});
        });
        let (told, log) = result(&format!("https://{HOST}/"), HOST, |dir, command| {
            std::fs::write(dir.join("ca.pem"), authority.pem()).unwrap();
            command.env("SSL_CERT_FILE", "ca.pem");
            command.env("HTTPS_PROXY", proxy.base().replace("://", "://me:sesame-123@"));
        });
        assert_eq!(told["content"]["title"] == "Docs", reached, "{told}");
        assert_eq!(log.contains("for another host name"), !reached, "{log}");
        let heads: Vec<String> = proxy.seen().into_iter().map(|seen| seen.head).collect();
        assert_eq!(heads.len(), 1);
        assert!(heads[0].starts_with(&format!("CONNECT {HOST}:443 HTTP/1.1\r\n")), "{heads:?}");
        assert!(heads[0].contains("Proxy-Authorization: Basic ") && !log.contains("sesame"), "{heads:?}");
    }
}
