//! What config.json means, and what is said of a wrong one.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::env::VarError;
use std::time::Duration;

use claude_proxy::config::{Api, Checked, Code, Config, Digest, Engine, Extras, Secret, Severity, check};
use claude_proxy::convert::native::History;

fn env(name: &str) -> Result<String, VarError> {
    match name {
        "KEY" => Ok("sk-from-env".to_owned()),
        "EMPTY" => Ok(String::new()),
        "LINE" => Ok("sk-1\n".to_owned()),
        _ => Err(VarError::NotPresent),
    }
}

fn checked(text: &str) -> Checked {
    check(text, &env)
}

fn config(text: &str) -> Config {
    let checked = checked(text);
    checked.config.unwrap_or_else(|| panic!("{:#?}", checked.findings))
}

/// `line:column severity code` of each finding.
fn findings(text: &str) -> Vec<String> {
    let line = |f: &claude_proxy::config::Finding| {
        format!("{}:{} {} {}", f.line, f.column, f.severity.as_str(), f.code.as_str())
    };
    checked(text).findings.iter().map(line).collect()
}

/// The one finding of a text.
fn one(text: &str) -> (String, String) {
    let found = checked(text).findings;
    assert_eq!(found.len(), 1, "{text}\n{found:#?}");
    (findings(text).remove(0), found[0].sentence())
}

/// The findings of a text with this code: their places and what they say.
fn coded(text: &str, code: Code) -> Vec<(String, String)> {
    let found = checked(text).findings.into_iter().filter(|f| f.code == code);
    found.map(|f| (format!("{}:{}", f.line, f.column), f.sentence())).collect()
}

/// What the one finding with this code says.
fn said(text: &str, code: Code) -> String {
    let mut found = coded(text, code);
    assert_eq!(found.len(), 1, "{text}\n{found:#?}\n{:#?}", findings(text));
    found.remove(0).1
}

/// A file with one provider, with more keys for it and for its model.
fn with(provider: &str, model: &str) -> String {
    format!(
        "{{\"providers\":[{{\"base_url\":\"https://up.example\",\"api_key\":\"k\"{provider},\"models\":[{{\"id\":\"m\"{model}}}]}}]}}"
    )
}

/// A file with one plain model and more keys at its top.
fn top(keys: &str) -> String {
    with("", "").replacen('{', &format!("{{{keys},\n"), 1)
}

const ORIGINAL: &str = r#"{
  "ak": "sesam",
  "port": 9000,
  "upstream_timeout_seconds": 60,
  "log_body_max_chars": 0,
  "log_stream_text_preview_chars": 10,
  "providers": [
    {"base_url": "https://api.deepseek.com/", "api_key": "sk-1", "models": [
      {"id": "deepseek", "display_name": "DeepSeek", "remote_id": "deepseek-chat"}, {"id": "glm-4.7"}]},
    {"base_url": "http://127.0.0.1:11434", "api_key": "", "models": [{"id": "local"}]}
  ]
}"#;

#[test]
fn a_config_of_the_original_works_unchanged() {
    let c = config(ORIGINAL);
    assert!(findings(ORIGINAL).is_empty());
    assert_eq!(c.ak.as_ref().unwrap().expose(), "sesam");
    assert_eq!((c.port, c.upstream_timeout), (9000, Duration::from_secs(60)));
    assert_eq!((c.log_body_max_chars, c.log_stream_text_preview_chars), (0, 10));
    let m = c.route("deepseek").unwrap();
    assert_eq!((m.display_name.as_str(), m.spec.remote_id.as_str()), ("DeepSeek", "deepseek-chat"));
    assert_eq!(m.provider.completions_url, "https://api.deepseek.com/v1/chat/completions");
    assert_eq!(m.provider.models_url, "https://api.deepseek.com/v1/models");
    assert_eq!((m.provider.name.as_str(), m.profile.name.as_str()), ("api.deepseek.com", "deepseek"));
    assert_eq!(m.provider.first_key().expose(), "sk-1");
    let m = c.route("local").unwrap();
    assert_eq!((m.display_name.as_str(), m.profile.name.as_str()), ("local", "ollama"));
    assert!(m.provider.first_key().is_empty());
    assert!(c.route("nobody").is_none());
}

#[test]
fn defaults_are_as_documented() {
    let c = config(&with("", ""));
    assert_eq!((c.host.as_str(), c.port), ("127.0.0.1", 8888));
    assert!(c.ak.is_none() && c.default_model.is_none() && c.aliases.is_empty());
    assert_eq!(c.extras, Extras::default());
    let seconds =
        [c.upstream_timeout, c.stream_idle_timeout, c.connect_timeout, c.ping_interval, c.shutdown_grace];
    assert_eq!(seconds.map(|d| d.as_secs()), [300, 120, 10, 15, 30]);
    assert_eq!((c.max_body_bytes, c.max_concurrent_requests), (33_554_432, 1024));
    assert_eq!((c.log_body_max_chars, c.log_stream_text_preview_chars), (4096, 256));
    assert!(c.workers >= 1);
}

#[test]
fn what_the_proxy_does_itself() {
    let c =
        config(&top(r#""safeguards_model": "m", "vision_model": "m", "pdf_text": true, "web_fetch": true,
        "web_fetch_private_hosts": ["Wiki.example.com", "10.0.0.5:8080", "[fd00::1]:1"],
        "web_search": {"provider": "brave", "api_key": "${KEY}"},
        "threads": {"path": "t.redb", "max_bytes": 5, "max_age_days": 2}"#));
    let Extras { safeguards_model, vision_model, web_fetch_private_hosts, .. } = &c.extras;
    assert_eq!((safeguards_model.as_deref(), vision_model.as_deref()), (Some("m"), Some("m")));
    assert!(c.extras.pdf_text && c.extras.web_fetch);
    assert_eq!(*web_fetch_private_hosts, ["wiki.example.com", "10.0.0.5:8080", "[fd00::1]:1"]);
    let search = c.extras.web_search.as_ref().unwrap();
    assert_eq!((search.engine, search.base_url.as_str()), (Engine::Brave, "https://api.search.brave.com"));
    assert!(c.secrets().any(|s| *s == search.key) && !format!("{c:?}").contains("sk-from-env"));
    let threads = c.extras.threads.as_ref().unwrap();
    assert_eq!((threads.path.to_str(), threads.max_bytes), (Some("t.redb"), 5));
    assert_eq!(threads.max_age, Duration::from_secs(2 * 24 * 3600));

    let search = r#"{"provider": "searxng", "base_url": "http://127.0.0.1:8080/"}"#;
    let c = config(&top(&format!(r#""web_search": {search}, "threads": {{"path": "t"}}"#)));
    assert_eq!(c.extras.web_search.unwrap().base_url, "http://127.0.0.1:8080");
    let threads = c.extras.threads.unwrap();
    assert_eq!((threads.max_bytes, threads.max_age.as_secs()), (1 << 30, 30 * 24 * 3600));
}

#[test]
fn who_describes_has_to_see_and_somebody_has_to_need_it() {
    let models = |top: &str, models: &str| {
        let file = format!(
            r#"{{{top}, "providers": [{{"base_url": "https://h.example", "api_key": "${{KEY}}", "profile": "openai", "models": [{models}]}},
            {{"base_url": "https://n.example", "api_key": "${{KEY}}", "api": "anthropic", "models": [{{"id": "native", "vision": false}}]}},
            {{"base_url": "https://d.example", "api_key": "${{KEY}}", "profile": "deepseek", "models": [{{"id": "deep"}}]}}]}}"#
        );
        let found = check(&file, &env).findings;
        found
            .iter()
            .map(|f| format!("{:?} {}: {}", f.severity, f.code, f.sentence()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let sees = r#"{"id": "eye"}, {"id": "m", "vision": false}"#;
    assert_eq!(models(r#""vision_model": "eye", "pdf_text": true"#, sees), "");
    let told = models(r#""vision_model": "m""#, sees);
    assert!(
        told.contains(
            "Warning profile-conflict: `vision_model` names `m`, which sees no images: its `vision` is false"
        ),
        "{told}"
    );
    let told = models(r#""vision_model": "deep""#, sees);
    assert!(
        told.contains(
            "`vision_model` names `deep`, which sees no images: upstreams of profile `deepseek` refuse"
        ),
        "{told}"
    );
    let told = models(r#""vision_model": "eye""#, r#"{"id": "eye", "fallbacks": ["deep"]}"#);
    assert!(told.contains("`vision_model` falls back to `deep`, which sees no images"), "{told}");
    let told = models(r#""port": 1"#, sees);
    assert!(told.contains("no-effect: `providers[1].models[0].vision` has no effect"), "{told}");

    let all_see = |top: &str| {
        let file = format!(
            r#"{{{top}, "providers": [{{"base_url": "https://h.example", "api_key": "${{KEY}}", "profile": "openai", "models": [{{"id": "eye"}}, {{"id": "m"}}]}}]}}"#
        );
        let found = check(&file, &env).findings;
        found
            .iter()
            .map(|f| format!("{:?} {}: {}", f.severity, f.code, f.sentence()))
            .collect::<Vec<_>>()
            .join("\n")
    };
    let told = all_see(r#""vision_model": "eye""#);
    assert!(
        told.starts_with("Note no-effect: `vision_model` has no effect: every model takes images"),
        "{told}"
    );
    let told = all_see(r#""pdf_text": true"#);
    assert!(told.starts_with("Note no-effect: `pdf_text` has no effect: every model takes PDF"), "{told}");
    assert_eq!(all_see(r#""pdf_text": false"#), "");
}

#[test]
fn what_the_proxy_cannot_do_itself() {
    for (key, code, want) in [
        (r#""safeguards_model": "mm""#, "unknown-model", "`safeguards_model` names no model: `mm`"),
        (r#""vision_model": "x""#, "unknown-model", "`vision_model` names no model: `x`"),
        (r#""web_search": {"provider": "brava", "api_key": "k"}"#, "bad-value", "did you mean `brave`?"),
        (r#""web_search": {"provider": "brave"}"#, "missing-key", "missing key `api_key` in web_search"),
        (r#""web_search": {"provider": "searxng"}"#, "missing-key", "missing key `base_url` in web_search"),
        (
            r#""web_search": {"provider": "exa", "api_key": "k", "base_url": "h"}"#,
            "bad-url",
            "`web_search.base_url`",
        ),
        (r#""web_search": {"provider": "exa", "api_key": "k\n"}"#, "bad-header", "`web_search.api_key`"),
        (
            r#""web_search": {"provider": "exa", "api_key": "${KEY}", "base_url": "http://h.example"}"#,
            "plain-http",
            "the key",
        ),
        (r#""web_fetch_private_hosts": ["a"]"#, "no-effect", "`web_fetch` is not on"),
        (
            r#""web_fetch": true, "web_fetch_private_hosts": ["http://a"]"#,
            "bad-value",
            "a host name or address",
        ),
        (r#""web_fetch": true, "web_fetch_private_hosts": ["a/b"]"#, "bad-value", "a host name or address"),
        (r#""threads": {}"#, "missing-key", "missing key `path` in threads"),
        (
            r#""threads": {"path": "t", "max_bytes": 0}"#,
            "out-of-range",
            "`threads.max_bytes` has to be 1 or more",
        ),
        (r#""threads": {"path": "t", "max_age_days": 0}"#, "out-of-range", "`threads.max_age_days`"),
    ] {
        let findings = check(&top(key), &env).findings;
        let found = findings.iter().find(|f| f.code.as_str() == code);
        assert!(found.is_some_and(|f| f.sentence().contains(want)), "{key}: {findings:#?}");
    }
}

#[test]
fn every_key_of_ours_is_read() {
    let c = config(&format!(
        r#"{{"$schema": "x", "host": "[::1]", "stream_idle_timeout_seconds": 2.5, "connect_timeout_seconds": 1,
        "ping_interval_seconds": 0, "max_body_bytes": 10, "max_concurrent_requests": 3, "shutdown_grace_seconds": 0,
        "workers": 2, "default_model": "m", "aliases": {{"a*": "m"}}, "ak": null, {}"#,
        with(
            r#","name":"up","profile":"zai","api":"openai","headers":{"X-B":"${KEY}","x-a":"1"},"completions_path":"/chat/completions","ca_file":null"#,
            r#","max_output_tokens":8192,"context_window":131072,"vision":false,"tools":true,"reasoning":false,
            "fallbacks":[],"extra_body":{"z":1,"a":{"k":["${KEY}",1.0,null]}},"drop_params":["top_k"]"#,
        )
        .strip_prefix('{')
        .unwrap()
    ));
    assert_eq!((c.host.as_str(), c.stream_idle_timeout), ("::1", Duration::from_millis(2500)));
    assert_eq!((c.ping_interval, c.shutdown_grace), (Duration::ZERO, Duration::ZERO));
    assert_eq!((c.max_body_bytes, c.max_concurrent_requests, c.workers), (10, 3, 2));
    let m = c.route("anything").unwrap();
    assert_eq!((m.provider.name.as_str(), m.profile.name.as_str()), ("up", "zai"));
    assert_eq!(m.provider.completions_url, "https://up.example/chat/completions");
    assert_eq!(m.provider.models_url, "https://up.example/models");
    let headers: Vec<_> = m.provider.headers.iter().map(|(n, v)| (n.as_str(), v.expose())).collect();
    assert_eq!(headers, [("X-B", "sk-from-env"), ("x-a", "1")]);
    let s = &m.spec;
    assert_eq!((s.max_output_tokens, s.context_window), (Some(8192), Some(131_072)));
    assert_eq!((s.vision, s.tools, s.reasoning), (Some(false), Some(true), Some(false)));
    assert_eq!(
        serde_json::to_string(&s.extra_body).unwrap(),
        r#"{"z":1,"a":{"k":["sk-from-env",1.0,null]}}"#
    );
    assert_eq!(s.drop_params, ["top_k"]);
}

#[test]
fn variables_are_replaced_in_any_string() {
    let c = config(&top(r#""ak": "${KEY}", "default_model": "m""#));
    assert_eq!(c.ak.unwrap().expose(), "sk-from-env");
    let (place, text) = one(&top(r#""ak": "x-${MISSING}""#));
    assert_eq!(place, "1:8 error unset-variable");
    assert!(text.contains("`ak`") && text.contains("`MISSING`"), "{text}");
    let (place, text) = one(&with(r#","name":"${NOPE}""#, ""));
    assert_eq!(place, "1:69 error unset-variable");
    assert!(text.contains("`providers[0].name`"), "{text}");
    assert_eq!(config(&with(r#","name":"$${KEY}""#, "")).models[0].provider.name, "${KEY}");
    // An empty variable must not open the proxy.
    assert_eq!(findings(&top(r#""ak": "${EMPTY}""#)), ["1:8 error empty-key", "1:8 warning empty-variable"]);
    assert!(config(&top(r#""ak": """#)).ak.is_none());
}

#[test]
fn every_finding_of_a_file_comes_in_one_run() {
    let text = r#"{
  "port": "8888",
  "prot": 1,
  "workers": 0,
  "default_model": "gml",
  "aliases": {"x": "nobody"},
  "providers": [
    {"base_ur": "https://h", "api_key": 5, "models": [{"id": "glm"}, {"id": "glm"}, {"remote_id": "é"}, 7]},
    {"base_url": "h.example", "api_key": "${NONE}", "profile": "deepseak", "models": {}}
  ]
}"#;
    assert_eq!(
        findings(text),
        [
            "2:11 error wrong-type",
            "3:3 warning unknown-key",
            "4:14 error out-of-range",
            "5:20 error unknown-model",
            "6:20 error unknown-model",
            "8:5 error missing-key",
            "8:6 warning unknown-key",
            "8:41 error wrong-type",
            "8:77 error duplicate-model",
            "8:85 error missing-key",
            "8:105 error wrong-type",
            "9:18 error bad-url",
            "9:42 error unset-variable",
            "9:64 error unknown-profile",
            "9:86 error wrong-type",
        ]
    );
    let messages = checked(text).findings.into_iter().map(|f| f.sentence()).collect::<Vec<_>>().join("\n");
    for said in [
        "`port` should be a whole number from 0 to 65535, found a string",
        "unknown key `prot` in the top level, did you mean `port`?",
        "unknown key `base_ur` in providers[0], did you mean `base_url`?",
        "`default_model` names no model: `gml`, did you mean `glm`?",
        "missing key `base_url` in providers[0]",
        "missing key `id` in providers[0].models[2]",
        "model id `glm` is already used by `providers[0].models[0].id`",
        "unknown profile `deepseak`, did you mean `deepseek`? (known: auto, generic,",
    ] {
        assert!(messages.contains(said), "{said}\n{messages}");
    }
}

#[test]
fn unknown_keys_stop_nothing() {
    let text = with(r#","extra":1"#, r#","foo":{"bar":1}"#);
    assert!(checked(&text).config.is_some());
    assert!(
        checked(&text).findings.iter().all(|f| f.severity == Severity::Warning && f.code == Code::UnknownKey)
    );
    assert_eq!(checked(&text).findings.len(), 2);
}

#[test]
fn native_upstreams() {
    let native = |base: &str, provider: &str, model: &str| {
        with(&format!(r#","api":"anthropic"{provider}"#), model).replace("https://up.example", base)
    };
    for (base, messages, models) in [
        (
            "https://api.anthropic.com",
            "https://api.anthropic.com/v1/messages",
            "https://api.anthropic.com/v1/models",
        ),
        ("https://h/anthropic/", "https://h/anthropic/v1/messages", "https://h/anthropic/v1/models"),
        ("https://h/api/v1", "https://h/api/v1/messages", "https://h/api/v1/models"),
    ] {
        let provider = config(&native(base, "", "")).models.remove(0).provider.clone();
        assert_eq!(
            (provider.api, &*provider.completions_url, &*provider.models_url),
            (Api::Anthropic, messages, models)
        );
    }
    assert_eq!(
        config(&native("https://h", r#","completions_path":"/x/messages?v=1""#, "")).models[0]
            .provider
            .completions_url,
        "https://h/x/messages?v=1"
    );
    assert!(checked(&native("https://h/anthropic", "", "")).findings.is_empty());
    assert!(one(&with(r#","api":"grpc""#, "")).0.ends_with("error bad-value"));
    let (at, text) = one(&native("https://h/v1/messages", "", ""));
    assert!(at.ends_with("warning base-url-path") && text.contains("before `/v1/messages`"), "{text}");
    // The same address for an upstream that is said to speak the other protocol.
    let text = said(&with("", "").replace("https://up.example", "https://h/anthropic"), Code::BaseUrlPath);
    assert!(text.contains("`\"api\": \"anthropic\"`"), "{text}");

    for (provider, model) in [
        (r#","profile":"deepseek""#, ""),
        ("", r#","vision":true"#),
        ("", r#","tools":false"#),
        ("", r#","reasoning":false"#),
        ("", r#","extra_body":{"a":1}"#),
        ("", r#","drop_params":["a"]"#),
    ] {
        let (at, text) = one(&native("https://h", provider, model));
        assert!(at.ends_with("warning no-effect") && text.contains("has no effect with"), "{at} {text}");
    }
    for nothing in [r#","extra_body":{},"drop_params":[]"#, r#","context_window":9"#, r#","reasoning":true"#]
    {
        assert_eq!(findings(&native("https://h", r#","profile":"auto""#, nothing)), [""; 0], "{nothing}");
    }
    assert!(one(&native("https://h", "", r#","max_output_tokens":9"#)).0.ends_with("note no-effect"));
    let window = native("https://h", "", r#","max_output_tokens":9,"context_window":9"#);
    assert_eq!(coded(&window, Code::WindowTooSmall).len(), 1);
    // Envelopes go to nobody who is known not to read them.
    let text = said(&native("https://api.anthropic.com", "", r#","reasoning":true"#), Code::NoEffect);
    assert!(text.contains("only another claude-proxy reads"), "{text}");
    let history = |base: &str, model: &str| config(&native(base, "", model)).models[0].history();
    assert_eq!(history("http://127.0.0.1:8888", r#","reasoning":true"#), History::Kept);
    assert_eq!(history("http://127.0.0.1:8888", ""), History::Cleaned);
    assert_eq!(history("https://api.deepseek.com/anthropic", r#","reasoning":true"#), History::Cleaned);
}

#[test]
fn ca_files() {
    let ca_file = |name: &str| with(&format!(r#","ca_file":"{name}""#), "");
    assert!(said(&ca_file("no/such.pem"), Code::BadCaFile).contains("cannot read no/such.pem"));
    assert!(said(&ca_file("Cargo.toml"), Code::BadCaFile).contains("Cargo.toml holds no PEM certificate"));
    assert!(said(&ca_file(""), Code::BadCaFile).contains("cannot read"));
    // One of several that is damaged is named.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let good = rcgen::generate_simple_self_signed(vec!["a".to_owned()]).unwrap().cert.pem();
    let bad = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let torn = good.replace("-----END CERTIFICATE-----", "");
    let roots = |text: &str| {
        std::fs::write(&path, text).unwrap();
        checked(&ca_file(path.to_str().unwrap())).config.map(|c| c.models[0].provider.roots.clone())
    };
    let count = |text: &str| roots(text).flatten().unwrap().certificates().len();
    assert_eq!(count(&good), 1);
    assert_eq!(count(&format!("# ours\n{good}\n\n{good}\r\n")), 2);
    for (text, why) in [
        (format!("{good}{bad}"), "number 2"),
        (format!("{bad}{good}"), "number 1"),
        (format!("{good}{torn}"), "number 2"),
        (String::new(), "no PEM certificate"),
        ("\n".repeat((1 << 20) + 1), "larger than 1 MiB"),
    ] {
        assert!(roots(&text).is_none());
        let told = said(&ca_file(path.to_str().unwrap()), Code::BadCaFile);
        assert!(told.contains(why) && told.contains("ca.pem"), "{told}");
    }
    assert!(findings(&with(r#","ca_file":1"#, ""))[0].ends_with("wrong-type"));
}

#[test]
fn proxies() {
    for bad in
        ["p:1", "https://p:1", "socks5://p", "http://", "http://p/x", "http://a b", "http://u:sesame/1@p"]
    {
        let told = said(&with(&format!(r#","proxy_url":"{bad}""#), ""), Code::BadUrl);
        assert!(!told.contains("sesame"), "{told}");
    }
    let shown = |config: Config| config.models[0].provider.proxy.as_ref().map(ToString::to_string);
    let via = |provider: &str| shown(checked(&with(provider, "")).config.unwrap());
    for (url, proxy) in [
        ("http://p:1", Some("p:1 (proxy_url)")),
        ("http://u:pw@p:1/", Some("p:1 (proxy_url)")),
        ("http://[::1]:1", Some("[::1]:1 (proxy_url)")),
        ("", None),
    ] {
        assert_eq!(via(&format!(r#","proxy_url":"{url}""#)).as_deref(), proxy, "{url}");
    }
    assert_eq!(via(""), None);
}

#[test]
fn proxies_of_the_environment() {
    let env = |name: &str| match name {
        "HTTPS_PROXY" => Ok("http://u:sesame@p:1".to_owned()),
        "http_proxy" => Ok("socks5://u:sesame@p:1".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let provider = |base: &str, more: &str| {
        let text = format!(
            r#"{{"providers":[{{"base_url":"{base}","api_key":"k"{more},"models":[{{"id":"m"}}]}}]}}"#
        );
        let Checked { config, findings } = check(&text, &env);
        let proxy = config.map(|c| c.models[0].provider.proxy.as_ref().map(ToString::to_string));
        (proxy, findings.first().map(|f| format!("{}: {}", f.path, f.sentence())))
    };
    assert_eq!(provider("https://a.example", ""), (Some(Some("p:1 (HTTPS_PROXY)".to_owned())), None));
    assert_eq!(provider("https://a.example", r#","proxy_url":"""#), (Some(None), None));
    assert_eq!(provider("http://localhost:1", ""), (Some(None), None));
    assert_eq!(
        provider("http://gpu:1", r#","proxy_url":"http://q""#).0,
        Some(Some("q:80 (proxy_url)".to_owned()))
    );
    let (config, told) = provider("http://gpu:1", "");
    assert_eq!(config, None);
    let told = told.unwrap();
    assert!(told.starts_with("providers[0].base_url: environment variable `http_proxy`"), "{told}");
    assert!(told.contains("SOCKS") && told.contains(r#""" for none"#) && !told.contains("sesame"), "{told}");
}

/// What `web_search` and `web_fetch` ask goes through the same proxies.
#[test]
fn proxies_of_the_environment_for_the_web() {
    let all = |name: &str| match name {
        "ALL_PROXY" => Ok("http://u:sesame-123@p:1".to_owned()),
        "NO_PROXY" => Ok("wiki.example,10.0.0.0/8".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    let text = |search: &str| {
        top(&format!(r#""web_fetch": true, "web_search": {{"provider": "searxng", "base_url": "{search}"}}"#))
    };
    let extras = |search: &str| check(&text(search), &all).config.unwrap();
    let search = |base: &str| extras(base).extras.web_search.unwrap().proxy.map(|proxy| proxy.to_string());
    assert_eq!(search("https://searx.example").as_deref(), Some("p:1 (ALL_PROXY)"));
    assert_eq!(search("http://10.0.0.1"), None);
    assert_eq!(search("http://127.0.0.1:8080"), None);
    let c = extras("http://localhost");
    let to = |host, port| c.extras.web_fetch_proxies.to(port == 443, host, port).is_some();
    assert!(to("a.example", 443) && to("a.example", 80) && to("93.184.215.14", 80));
    assert!(!to("wiki.example", 443) && !to("a.wiki.example", 80) && !to("10.0.0.5", 80) && !to("::1", 80));
    assert!(c.secrets().any(|s| s.expose() == "sesame-123"), "it is hidden in captures");
    // One that cannot be used is told, and only where it would be.
    let socks = |name: &str| match name {
        "ALL_PROXY" => Ok("socks5://u:sesame@p:1".to_owned()),
        "NO_PROXY" => Ok("h".to_owned()),
        _ => Err(VarError::NotPresent),
    };
    for (key, path) in [
        (r#""web_fetch": true"#, "web_fetch"),
        (r#""web_search": {"provider": "exa", "api_key": "k"}"#, "web_search"),
        (r#""web_search": {"provider": "searxng", "base_url": "http://s.example"}"#, "web_search.base_url"),
    ] {
        let text = top(key).replace("http://h/v1", "http://localhost/v1");
        let findings = check(&text, &socks).findings;
        let found = findings.iter().find(|f| f.code == Code::BadUrl && f.path == path);
        let told = found.unwrap_or_else(|| panic!("{key}: {findings:#?}")).sentence();
        assert!(told.contains("`ALL_PROXY`") && told.contains("SOCKS") && !told.contains("sesame"), "{told}");
    }
}

/// A file with models `m` and `n`, with more keys for each.
fn two(m: &str, n: &str) -> String {
    with("", &format!("{m}}},{{\"id\":\"n\"{n}"))
}

#[test]
fn fallbacks_that_lead_nowhere() {
    let text = said(&two(r#","fallbacks":["nn"]"#, ""), Code::UnknownModel);
    assert!(
        text.contains("`providers[0].models[0].fallbacks[0]`") && text.contains("did you mean `n`?"),
        "{text}"
    );
    assert!(said(&two(r#","fallbacks":["m"]"#, ""), Code::FallbackLoop).contains("(m -> m)"));
    let found = coded(&two(r#","fallbacks":["n"]"#, r#","fallbacks":["m"]"#), Code::FallbackLoop);
    assert_eq!(found.len(), 2);
    assert!(found[0].1.contains("(m -> n -> m)") && found[1].1.contains("(n -> m -> n)"), "{found:?}");
    // A diamond is no loop, and a loop further on is told where it is.
    let models =
        r#","fallbacks":["n","o"]},{"id":"n","fallbacks":["p"]},{"id":"o","fallbacks":["p"]},{"id":"p""#;
    assert_eq!(coded(&with("", models), Code::FallbackLoop), []);
    let models = r#","fallbacks":["n"]},{"id":"n","fallbacks":["o"]},{"id":"o","fallbacks":["n"]"#;
    let found = coded(&with("", models), Code::FallbackLoop);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn syntax_errors_have_a_place() {
    for (text, place, said) in [
        ("", "1:1", "unexpected end of JSON: the file is empty"),
        ("{\n \"a\": [\"]\",", "2:12", "end of JSON: the `[` of line 2, column 7 is not closed"),
        (
            "{\n  \"port\": 1,\n}",
            "3:1",
            "expected a key in double quotes; JSON has no comma after the last entry",
        ),
        ("{\n  \"port\" 1\n}", "2:10", "expected `:`"),
        ("{\"a\": 1 \"b\": 2}", "1:9", "expected `,` or `}`"),
        ("{\n  // hello\n}", "2:3", "no comments"),
        ("{\"a\": tru}", "1:7", "expected a JSON value"),
        ("{} x", "1:4", "unexpected text"),
        ("{\"a\": 01}", "1:7", "invalid number"),
    ] {
        let found = coded(text, Code::Syntax);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert_eq!(found[0].0, place, "{text}");
        assert!(found[0].1.contains(said), "{found:#?}");
        assert!(checked(text).config.is_none());
    }
    assert_eq!(findings(&format!("\u{feff}{}", with("", ""))), Vec::<String>::new());
    assert_eq!(findings("\u{feff}[]"), ["1:1 error wrong-type"]);
}

#[test]
fn a_syntax_error_hides_nothing_where_the_meaning_is_plain() {
    let text = "{\n  // mine\n  \"port\": 70000,\n  \"prot\": 1\n  \"providers\": [{\"base_url\": \"h\", \"api_key\": \"\", \"models\": [],}],\n}";
    assert_eq!(
        findings(text),
        [
            "2:3 error syntax",
            "3:11 error out-of-range",
            "4:3 warning unknown-key",
            "5:3 error syntax",
            "5:30 error bad-url",
            "5:60 warning no-models",
            "5:63 error syntax",
            "6:1 error syntax",
        ]
    );
    // Where it is not, nothing is made up.
    assert_eq!(findings("{\"port\": 1, \"providers\": ["), ["1:27 error syntax"]);
}

#[test]
fn repeated_keys_are_noticed() {
    let text = top(r#""port": 1, "port": 2"#);
    assert_eq!(findings(&text), ["1:13 warning duplicate-key"]);
    assert_eq!(config(&text).port, 2);
    let text = top(r#""aliases": {"a": "m", "a": "m"}"#);
    assert_eq!(findings(&text), ["1:24 warning duplicate-key"]);
}

#[test]
fn numbers_have_limits() {
    for keys in [
        r#""port": 65536"#,
        r#""port": -1"#,
        r#""port": 1.5"#,
        r#""connect_timeout_seconds": -1"#,
        r#""connect_timeout_seconds": 0"#,
        r#""upstream_timeout_seconds": 1e30"#,
        r#""max_body_bytes": 0"#,
        r#""max_concurrent_requests": 0"#,
        r#""max_body_bytes": 99999999999999999999999"#,
    ] {
        assert!(one(&top(keys)).0.ends_with("error out-of-range"), "{keys}");
    }
    assert!(one(&with("", r#","context_window":0"#)).0.ends_with("error out-of-range"));
}

#[test]
fn urls_and_headers_are_checked_without_showing_them() {
    for url in
        ["up.example", "ftp://h", "https://u:sk-pw@h", "https://h?key=sk-pw", "https://h#sk-pw", "https://"]
    {
        let text = with("", "").replace("https://up.example", url);
        let (place, message) = one(&text);
        assert_eq!(place, "1:27 error bad-url", "{url}");
        assert!(!message.contains("sk-pw"), "{message}");
    }
    for (provider, code) in [
        (r#","headers":{"a b":"1"}"#, "bad-header"),
        (r#","headers":{"A":"1","a":"2"}"#, "bad-header"),
        (r#","headers":{"Host":"h"}"#, "bad-header"),
        (r#","headers":{"a":"x\r\ny: z"}"#, "bad-header"),
        (r#","headers":{"a":"${LINE}"}"#, "bad-header"),
        (r#","completions_path":"v1""#, "bad-url"),
        (r#","name":"""#, "bad-value"),
        (r#","name":"a\nb""#, "bad-value"),
    ] {
        assert!(one(&with(provider, "")).0.ends_with(code), "{provider}");
    }
    let text = with("", "").replace("\"k\"", "\"${LINE}\"");
    let (place, message) = one(&text);
    assert!(place.ends_with("error bad-header") && !message.contains("sk-1"), "{place} {message}");
}

#[test]
fn versioned_base_urls_get_the_short_path() {
    let text = with("", "").replace("https://up.example", "https://open.bigmodel.cn/api/paas/v4/");
    let (place, message) = one(&text);
    assert_eq!(place, "1:27 note default-path");
    assert!(message.contains("https://open.bigmodel.cn/api/paas/v4/chat/completions"), "{message}");
    let m = &config(&text).models[0];
    assert_eq!(m.provider.completions_url, "https://open.bigmodel.cn/api/paas/v4/chat/completions");
    assert_eq!(m.provider.models_url, "https://open.bigmodel.cn/api/paas/v4/models");
    let text = with("", "").replace("https://up.example", "https://up.example/v1/chat/completions");
    assert!(one(&text).0.ends_with("warning base-url-path"));
}

#[test]
fn names_are_routed_in_order() {
    let text = r#"{"default_model": "last", "aliases": {"claude-*haiku*": "small", "claude-*": "big", "x[1m]": "last"},
      "providers": [{"base_url": "http://h", "api_key": "", "models":
        [{"id": "big"}, {"id": "small"}, {"id": "last"}, {"id": "long[1m]"}, {"id": "long"}]}]}"#;
    let c = config(text);
    let id = |name: &str| c.route(name).unwrap().id.as_str();
    assert_eq!(id("big"), "big");
    assert_eq!(id("big[1m]"), "big");
    assert_eq!(id("big[1M]"), "big");
    assert_eq!(id("long[1m]"), "long[1m]");
    assert_eq!(id("long[1M]"), "long");
    assert_eq!(id("claude-haiku-4-5"), "small");
    assert_eq!(id("claude-haiku-4-5[1m]"), "small");
    assert_eq!(id("claude-opus-4-6"), "big");
    assert_eq!(id("Claude-opus"), "last");
    assert_eq!(id("x"), "last");
    assert_eq!(id(""), "last");
}

#[test]
fn aliases_that_lead_nowhere() {
    let text = |aliases: &str| top(&format!("\"aliases\": {{{aliases}}}"));
    assert_eq!(findings(&text(r#""a": "a""#)), ["1:19 error alias-loop"]);
    assert_eq!(findings(&text(r#""a": "b", "b": "a""#)), ["1:19 error alias-loop", "1:29 error alias-loop"]);
    let (place, message) = one(&text(r#""a": "b", "b": "m""#));
    assert_eq!(place, "1:19 error unknown-model");
    assert!(message.contains("another alias"), "{message}");
    assert_eq!(findings(&text(r#""m": "m""#)), ["1:14 warning alias-shadowed"]);
    assert_eq!(findings(&text(r#""c-*": "m", "c-*x*": "m""#)), ["1:26 warning alias-shadowed"]);
    assert_eq!(findings(&text(r#""c-*x*": "m", "c-*": "m""#)), Vec::<String>::new());
}

#[test]
fn an_open_door_is_a_warning() {
    for host in ["0.0.0.0", "::", "192.168.1.2", "box.lan"] {
        let text = top(&format!("\"host\": \"{host}\""));
        assert_eq!(one(&text).0, "1:10 warning open-without-key");
        assert!(findings(&text.replacen('{', "{\"ak\":\"x\",", 1)).is_empty());
    }
    // To the internet, and without TLS.
    for host in ["8.8.8.8", "2001:db8::1"] {
        let text = top(&format!("\"ak\": \"x\", \"host\": \"{host}\""));
        assert!(one(&text).0.ends_with("note plain-http"), "{host}");
    }
    for host in ["127.0.0.1", "127.8.8.8", "localhost", "[::1]", "::1"] {
        assert!(findings(&top(&format!("\"host\": \"{host}\""))).is_empty(), "{host}");
    }
    for host in ["", "127.0.0.1:80", "a b", "http://x"] {
        let text = top(&format!("\"ak\": \"x\", \"host\": \"{host}\""));
        assert!(one(&text).0.ends_with("error bad-host"), "{host}");
    }
}

#[test]
fn secrets_are_in_no_debug_output_and_no_finding() {
    let text = r#"{"ak": "sk-sentinel-1", "providers": [{"base_url": "http://h", "api_key": "sk-sentinel-2",
      "headers": {"a": "sk-sentinel-3"}, "proxy_url": "http://u:sk-sentinel-4@p", "models": [{"id": "m"}]}]}"#;
    let c = checked(text);
    let shown = format!("{c:?}");
    assert!(c.config.is_some() && !shown.contains("sentinel"), "{shown}");
    let secrets = c.config.as_ref().unwrap().secrets().map(Secret::expose).collect::<Vec<_>>();
    assert!(
        secrets.contains(&"sk-sentinel-4") && secrets.contains(&"Basic dTpzay1zZW50aW5lbC00"),
        "{secrets:?}"
    );
    let bad = text.replace("\"sk-sentinel-1\"", "[\"sk-sentinel-1\"]").replace("-2\"", "-2\\n\"");
    let c = checked(&bad);
    assert!(c.config.is_none() && !format!("{c:?}").contains("sentinel"));
}

#[test]
fn addresses_that_are_probably_wrong() {
    let at = |url: &str| with("", "").replace("https://up.example", url);
    for url in [
        "https://h.example/v1/chat/completions",
        "https://h.example/v1/messages",
        "https://h.example/anthropic/",
        "https://h.example/v1/models",
    ] {
        said(&at(url), Code::BaseUrlPath);
    }
    assert!(said(&at("https://h.example/v1/v1/"), Code::DoubledVersion).contains("`/v1/v1`"));
    let text =
        with(r#","completions_path":"/v1/chat/completions""#, "").replace("up.example", "up.example/v1");
    assert!(said(&text, Code::DoubledVersion).contains("begins with it"));
    let text = text.replace("up.example/v1", "up.example/v1/x");
    assert_eq!(findings(&text), Vec::<String>::new());
    for url in ["http://api.example.com", "http://8.8.8.8:8000", "HTTP://api.example.com/v1"] {
        said(&at(url), Code::PlainHttp);
    }
    for url in
        ["http://127.0.0.1:1", "http://gpu", "http://gpu.local:8000", "http://10.1.2.3", "http://[fd00::1]"]
    {
        assert_eq!(findings(&at(url)), Vec::<String>::new(), "{url}");
    }
}

#[test]
fn keys_that_are_none() {
    let key = |key: &str| with("", "").replace("\"k\"", &format!("\"{key}\""));
    for placeholder in ["sk-...", "YOUR_KEY", "<key>", "changeme", "xxx", "$KEY"] {
        let text = said(&key(placeholder), Code::PlaceholderKey);
        assert!(text.contains("`providers[0].api_key`") && !text.contains(placeholder), "{text}");
    }
    assert_eq!(findings(&key("${KEY}")), Vec::<String>::new());
    said(&top(r#""ak": "change-me""#), Code::PlaceholderKey);
    let text = top(r#""ak": "k""#);
    assert!(said(&text, Code::ReusedKey).contains("`providers[0].api_key` is the same as `ak`"));
    // Two empty keys are not the same key.
    assert_eq!(findings(&top(r#""ak": """#).replace("\"k\"", "\"\"")), Vec::<String>::new());
}

/// A provider with these `api_keys` instead of `api_key`.
fn several(keys: &str) -> String {
    with("", "").replace(r#""api_key":"k""#, &format!(r#""api_keys":{keys}"#))
}

#[test]
fn several_keys() {
    let config = checked(&several(r#"["k1","${KEY}"]"#)).config.unwrap();
    let provider = &config.models[0].provider;
    assert_eq!(provider.keys.iter().map(Secret::expose).collect::<Vec<_>>(), ["k1", "sk-from-env"]);
    // None of them is shown, and each is blotted out.
    assert!(!format!("{config:?}").contains("sk-from-env"));
    assert_eq!(config.secrets().map(Secret::expose).collect::<Vec<_>>(), ["k1", "sk-from-env"]);
    let mut words = "the key sk-from-env is wrong".to_owned();
    provider.blot(&mut words);
    assert_eq!(words, "the key [key] is wrong");

    let repeated = several(r#"["a","b","a"]"#);
    assert!(said(&repeated, Code::RepeatedKey).contains("`providers[0].api_keys[2]` is the same key as"));
    assert_eq!(checked(&repeated).config.unwrap().models[0].provider.keys.len(), 2);
    for (keys, words) in [
        ("[]", "`providers[0].api_keys` is empty"),
        (r#"["a",""]"#, "`providers[0].api_keys[1]` is empty"),
        (r#"["a"],"api_key":"b""#, "`providers[0].api_keys` and `api_key` are both given"),
        (r#"["a"],"api_key":"""#, "are both given"),
    ] {
        assert!(checked(&several(keys)).config.is_none(), "{keys}");
        assert!(said(&several(keys), Code::BadValue).contains(words), "{keys}");
    }
    assert!(said(&several(r#"["a"," b"]"#), Code::BadHeader).contains("`providers[0].api_keys[1]`"));
    assert!(said(&several(r#"["a","sk-..."]"#), Code::PlaceholderKey).contains("api_keys[1]"));
    let own = several(r#"["a","b"]"#).replacen('{', r#"{"ak":"b","#, 1);
    assert!(said(&own, Code::ReusedKey).contains("`providers[0].api_keys[1]` is the same as `ak`"));
    let none = several("[]").replace(r#""api_keys":[],"#, "");
    assert!(said(&none, Code::MissingKey).contains("missing key `api_key` in providers[0]"));
}

#[test]
fn fallbacks_are_kept_in_order() {
    let config = checked(&two(r#","fallbacks":["n"]"#, "")).config.unwrap();
    let ids: Vec<String> = config.chain(&config.models[0]).iter().map(|m| m.id.clone()).collect();
    assert_eq!(ids, ["m", "n"]);
    assert_eq!(config.chain(&config.models[1]).len(), 1);
}

#[test]
fn times_that_cannot_be_meant() {
    for keys in [
        r#""upstream_timeout_seconds": 300000"#,
        r#""stream_idle_timeout_seconds": 120000"#,
        r#""connect_timeout_seconds": 10000"#,
        r#""shutdown_grace_seconds": 30000"#,
        r#""ping_interval_seconds": 15000"#,
        r#""upstream_timeout_seconds": 0.3"#,
        r#""connect_timeout_seconds": 0.01"#,
        r#""ping_interval_seconds": 0.015"#,
    ] {
        assert!(one(&top(keys)).0.ends_with("warning absurd-timeout"), "{keys}");
    }
    assert!(one(&top(r#""ping_interval_seconds": 300"#)).0.ends_with("warning slow-ping"));
    assert!(findings(&top(r#""ping_interval_seconds": 299, "stream_idle_timeout_seconds": 300"#)).is_empty());
    // Only pings keep a client waiting for so long.
    assert!(one(&top(r#""stream_idle_timeout_seconds": 301"#)).0.ends_with("note idle-beyond-client"));
    let text = top(r#""stream_idle_timeout_seconds": 301, "ping_interval_seconds": 0"#);
    assert!(one(&text).0.ends_with("warning idle-beyond-client"));
}

#[test]
fn providers_that_logs_cannot_tell_apart() {
    let provider = |more: &str, id: &str| {
        format!(r#"{{"base_url":"https://up.example"{more},"api_key":"","models":[{{"id":"{id}"}}]}}"#)
    };
    let both = |a: &str, b: &str| format!(r#"{{"providers":[{},{}]}}"#, provider(a, "a"), provider(b, "b"));
    assert!(one(&both(r#","name":"x""#, r#","name":"x""#)).0.ends_with("warning duplicate-name"));
    assert!(one(&both(r#","name":"up.example""#, "")).0.ends_with("warning duplicate-name"));
    assert!(one(&both("", "")).0.ends_with("note duplicate-name"));
    assert_eq!(findings(&both(r#","name":"x""#, "")), Vec::<String>::new());
}

#[test]
fn options_that_a_profile_contradicts() {
    let of = |profile: &str, model: &str| with(&format!(r#","profile":"{profile}""#), model);
    assert!(one(&of("deepseek", r#","vision":true"#)).0.ends_with("warning profile-conflict"));
    assert!(one(&of("generic", r#","reasoning":true"#)).0.ends_with("note profile-conflict"));
    for fine in [r#","vision":false,"reasoning":false"#, r#","tools":true,"reasoning":true"#] {
        assert_eq!(findings(&of("deepseek", fine)), Vec::<String>::new(), "{fine}");
    }
    assert!(
        one(&of("generic", r#","max_output_tokens":8192,"context_window":8192"#))
            .0
            .ends_with("window-too-small")
    );
    for (name, code) in [
        ("messages", Code::DroppedRequired),
        ("model", Code::DroppedRequired),
        ("stream", Code::DroppedRequired),
        ("top_k", Code::UnusedDrop),
        ("max_completion_tokens", Code::UnusedDrop),
    ] {
        said(&of("generic", &format!(r#","drop_params":["{name}"]"#)), code);
    }
    assert!(
        said(&of("generic", r#","drop_params":["temprature"]"#), Code::UnusedDrop)
            .contains("mean `temperature`?")
    );
    assert_eq!(findings(&of("azure", r#","drop_params":["model","top_p"]"#)), Vec::<String>::new());
    assert_eq!(
        findings(&of("generic", r#","drop_params":["temperature","stream_options"]"#)),
        Vec::<String>::new()
    );
    said(&of("generic", r#","drop_params":["seed"],"extra_body":{"seed":1}"#), Code::UnusedExtra);
    for field in ["messages", "model", "stream", "tools"] {
        said(&of("generic", &format!(r#","extra_body":{{"{field}":1}}"#)), Code::OverriddenField);
    }
    assert_eq!(findings(&of("generic", r#","extra_body":{"seed":1,"temperature":0}"#)), Vec::<String>::new());
}

#[test]
fn every_code_of_a_finding_is_of_the_table() {
    let codes: Vec<&str> = Code::ALL.iter().map(|c| c.as_str()).collect();
    assert!(codes.len() > 40 && codes.contains(&"syntax"));
    assert_eq!(Code::AliasLoop.severity(), Severity::Error);
}

/// A file that somebody else wrote cannot have the environment of who checks it told.
#[test]
fn no_finding_tells_what_a_variable_holds() {
    for text in [
        "{\"default_model\": \"${KEY}\", \"providers\": []}".to_owned(),
        "{\"host\": \"a b ${KEY}\", \"providers\": []}".to_owned(),
        with(",\"profile\": \"${KEY}\"", ""),
        with(",\"name\": \"${KEY}\"", ",\"remote_id\": \"${KEY}\",\"id\":\"${KEY}\""),
        with(",\"base_url\": \"http://${KEY}.example/v1/v1/chat/completions\"", ""),
        with(",\"completions_path\": \"${KEY}\"", ""),
        with(",\"headers\": {\"X-A\": \"${LINE}\", \"${KEY}\": \"x\"}", ""),
    ] {
        for finding in checked(&text).findings {
            let told = format!("{finding} {}", finding.path);
            assert!(!told.contains("sk-from-env") && !told.contains("sk-1"), "{told}");
        }
    }
    let unknown = "{\"default_model\": \"${KEY}\", \"providers\": []}";
    assert!(said(unknown, Code::UnknownModel).contains("`${KEY}`"), "the variable is named instead");
}

#[test]
fn findings_mark_whole_characters_of_the_text() {
    for text in ["", " ", "\u{e9}", "{\"a\u{e9}", "[\u{1f642}]", "{\"ak\": \u{e9}}", "{}\u{e9}"] {
        let found = checked(text).findings;
        assert!(!found.is_empty(), "{text}");
        for finding in found {
            assert!(text.get(finding.span.clone()).is_some(), "{text}: {finding:?}");
        }
    }
}

/// check-config reads files of strangers: none takes for ever, or tells more than anybody reads.
#[test]
fn large_files_are_looked_at_in_time() {
    let list = |n: usize, entry: &dyn Fn(usize) -> String| (0..n).map(entry).collect::<Vec<_>>().join(",");
    let unknown = format!("{{{}}}", list(2000, &|n| format!("\"key{n}\": 1")));
    let found = checked(&unknown).findings;
    assert!(found.len() < 500 && found.iter().any(|f| f.severity == Severity::Error), "{}", found.len());
    let crowded = format!("{{\"aliases\": {{{}}}}}", list(100_000, &|n| format!("\"{n}\":\"m\"")));
    assert_eq!(findings(&crowded), ["1:13 error syntax"]);
    let keys = list(2000, &|n| format!("{{\"api_key\": \"sk-{n:06}\"}}"));
    let text = format!("{{\"providers\": [{keys}]}}");
    let found = checked(&text).findings;
    let (line, ..) = claude_proxy::config::load::snippet(&text, &found[0]);
    assert!(!line.contains("sk-00"));
}

/// A file with two models, the first with a price, and more keys at its top.
fn priced(top: &str) -> String {
    format!(
        "{{{top}\n\"providers\":[{{\"base_url\":\"https://up.example\",\"api_key\":\"k\",\"models\":[\
         {{\"id\":\"glm\",\"price\":{{\"input\":0.6,\"output\":2.2,\"cached\":0.11}}}},\
         {{\"id\":\"free\",\"price\":{{\"input\":0,\"output\":0}}}}]}}]}}"
    )
}

#[test]
fn keys_prices_and_budgets() {
    let digest = "E3B98A4DA31A127D4BDE6E43033F66BA274CAB0EB7EB1C70EC41402BF6273DD8";
    let text = priced(&format!(
        r#""ak": "sesame-a", "keys": [{{"name": "alice", "key": "${{KEY}}", "models": ["gl*"], "budget": 0.5}},
            {{"name": "bob", "key_sha256": "{digest}"}}], "budgets": {{"per_day": 20, "path": "spent.redb"}},"#
    ));
    assert!(findings(&text).is_empty(), "{:#?}", findings(&text));
    let c = config(&text);
    let [alice, bob] = &c.keys[..] else { panic!() };
    assert_eq!((&*alice.name, &*bob.name), ("alice", "bob"));
    assert_eq!(alice.key.as_ref().unwrap().expose(), "sk-from-env");
    assert_eq!(alice.digest, Digest::of(b"sk-from-env"));
    assert!(bob.key.is_none() && bob.digest == Digest::of(b"t"));
    assert!(alice.models.has("glm") && !alice.models.has("free") && bob.models.is_all());
    assert_eq!((alice.budget, bob.budget), (Some(500_000_000_000), None));
    let budgets = c.budgets.as_ref().unwrap();
    assert_eq!((budgets.per_day, budgets.path.to_str()), (Some(20_000_000_000_000), Some("spent.redb")));
    let price = c.route("glm").unwrap().price.unwrap();
    assert_eq!((price.input, price.output, price.cached), (600_000, 2_200_000, 110_000));
    let free = c.route("free").unwrap().price.unwrap();
    assert_eq!((free.input, free.output, free.cached), (0, 0, 0));

    // Of no use to who reads a dump.
    assert!(c.secrets().any(|s| s.expose() == "sk-from-env"));
    let shown = format!("{c:?}");
    assert!(!shown.contains("sk-from-env") && !shown.contains("227, 185"), "{shown}");
    // A key is asked for.
    let open = r#""host": "0.0.0.0", "keys": [{"name": "a", "key": "sesame-a"}]"#;
    assert!(!findings(&top(open)).iter().any(|f| f.contains("open-without-key")));
}

#[test]
fn budgets_share_the_file_of_the_threads() {
    let path = |top: &str| config(&priced(top)).budgets.unwrap().path.to_str().unwrap().to_owned();
    assert_eq!(path(r#""budgets": {"per_day": 1}, "threads": {"path": "t.redb"},"#), "t.redb");
    assert_eq!(
        path(r#""budgets": {"per_day": 1, "path": "./t.redb"}, "threads": {"path": "t.redb"},"#),
        "t.redb"
    );
    assert_eq!(
        path(r#""budgets": {"per_day": 1, "path": "b.redb"}, "threads": {"path": "t.redb"},"#),
        "b.redb"
    );
    let own = r#""keys": [{"name": "a", "key": "sesame-a", "budget": 1}], "threads": {"path": "t.redb"},"#;
    assert_eq!(path(own), "t.redb");
    assert!(config(&priced("")).budgets.is_none());
    assert!(config(&priced(r#""keys": [{"name": "a", "key": "sesame-a"}],"#)).budgets.is_none());
    assert!(said(&priced(r#""budgets": {"per_day": 1},"#), Code::MissingKey).contains("spent.redb"));
    let own = r#""keys": [{"name": "a", "key": "sesame-a", "budget": 1}],"#;
    assert!(said(&priced(own), Code::MissingKey).starts_with("`keys[0].budget` needs a file"));
}

#[test]
fn budgets_and_prices_go_together() {
    let budgets = r#""budgets": {"per_day": 20, "path": "b"}"#;
    assert_eq!(
        one(&top(budgets)),
        (
            "1:25 warning no-effect".to_owned(),
            "`budgets.per_day` has no effect: no model has a `price`; set `price` in the models".to_owned()
        )
    );
    let some = priced(&format!("{budgets},")).replace(r#","price":{"input":0,"output":0}"#, "");
    assert_eq!(
        one(&some),
        (
            "1:25 warning no-price".to_owned(),
            "models without a `price` cost nothing: `free`; set their `price`; of a model that is free both \
             amounts are 0"
                .to_owned()
        )
    );
    let (place, said) = one(&priced(r#""budgets": {"path": "b"},"#));
    assert!(
        place == "1:13 warning no-effect" && said.contains("neither `per_day` nor a key"),
        "{place} {said}"
    );
}

#[test]
fn prices_and_budgets_are_amounts() {
    let price = |price: &str| with("", &format!(",\"price\":{price}"));
    for (text, code) in [
        (price(r#"{"input": -1, "output": 1}"#), Code::OutOfRange),
        (price(r#"{"input": 1e10, "output": 1}"#), Code::OutOfRange),
        (price(r#"{"input": 1, "output": 1, "cached": 1e10}"#), Code::OutOfRange),
        (price(r#"{"input": "1", "output": 1}"#), Code::WrongType),
        (price(r#"{"output": 1}"#), Code::MissingKey),
        (price(r#"{"input": 1}"#), Code::MissingKey),
        (price("3"), Code::WrongType),
        (priced(r#""budgets": {"per_day": -0.5, "path": "b"},"#), Code::OutOfRange),
        (priced(r#""budgets": {"per_day": 1, "path": "b", "perday": 1},"#), Code::UnknownKey),
    ] {
        assert_eq!(coded(&text, code).len(), 1, "{text} {:#?}", findings(&text));
    }
}

#[test]
fn keys_that_cannot_be_meant() {
    let digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    let same = "17ebdf01b2dc65dedcbc1a6e3ec8ec9a3dd0efd2bd25ac5dd02a7a1bb4b8ed0d";
    let keys = |keys: &str| top(&format!("\"ak\": \"sesame-0\", \"keys\": [{keys}]"));
    for (text, code, word) in [
        (keys(""), Code::BadValue, "`keys` is empty"),
        (keys(r#"{"key": "sesame-a"}"#), Code::MissingKey, "`name`"),
        (keys(r#"{"name": "", "key": "sesame-a"}"#), Code::BadValue, "is empty"),
        (keys(r#"{"name": "ak", "key": "sesame-a"}"#), Code::BadValue, "gives itself: `ak`"),
        (keys(r#"{"name": "anonymous", "key": "sesame-a"}"#), Code::BadValue, "gives itself"),
        (keys("{\"name\": \"a\\nb\", \"key\": \"sesame-a\"}"), Code::BadValue, "control character"),
        (keys(&format!(r#"{{"name": "{}", "key": "sesame-a"}}"#, "n".repeat(65))), Code::BadValue, "64"),
        (keys(r#"{"name": "a"}"#), Code::MissingKey, "`key` or `key_sha256` in keys[0]"),
        (keys(r#"{"name": "a", "key": ""}"#), Code::EmptyKey, "`keys[0].key` is empty"),
        (keys(r#"{"name": "a", "key": "changeme"}"#), Code::PlaceholderKey, "`keys[0].key` looks like"),
        (keys(r#"{"name": "a", "key": "a b "}"#), Code::BadHeader, "white space"),
        (keys(r#"{"name": "a", "key_sha256": "c0ffee"}"#), Code::BadValue, "64 hexadecimal digits"),
        (keys(&format!(r#"{{"name": "a", "key_sha256": "{digest}"}}"#)), Code::EmptyKey, "of an empty key"),
        (
            keys(&format!(r#"{{"name": "a", "key": "b", "key_sha256": "{same}"}}"#)),
            Code::BadValue,
            "both given",
        ),
        (keys(r#"{"name": "a", "key": "sesame-a", "models": []}"#), Code::BadValue, "for nothing"),
        (keys(r#"{"name": "a", "key": "sesame-a", "models": ["n"]}"#), Code::UnknownModel, "names no model"),
        (keys(r#"{"name": "a", "key": "sesame-a", "models": ["n*"]}"#), Code::UnknownModel, "fits no model"),
        (
            keys(r#"{"name": "a", "key": "sesame-a"}, {"name": "a", "key": "sesame-b"}"#),
            Code::DuplicateKeyName,
            "already used by `keys[0].name`",
        ),
        (
            keys(r#"{"name": "a", "key": "sesame-a"}, {"name": "b", "key": "sesame-a"}"#),
            Code::SharedKey,
            "`keys[1].key` is the same key as `keys[0].key`",
        ),
        (keys(r#"{"name": "a", "key": "sesame-0"}"#), Code::SharedKey, "the same key as `ak`"),
        (
            keys(r#"{"name": "a", "key": "k"}"#),
            Code::ReusedKey,
            "`providers[0].api_key` is the same as `keys[0].key`",
        ),
    ] {
        let said = said(&text, code);
        assert!(said.contains(word), "{text}\n{said}");
        assert!(!said.contains("sesame"), "{said}");
    }
    // What is shared by its digest alone.
    let digest = |key: &str| Digest::of(key.as_bytes()).0.map(|b| format!("{b:02x}")).concat();
    let hashed = |key: &str| keys(&format!(r#"{{"name": "a", "key_sha256": "{}"}}"#, digest(key)));
    assert!(
        said(&hashed("sesame-0"), Code::SharedKey).contains("`keys[0].key_sha256` is the same key as `ak`")
    );
    assert!(said(&hashed("k"), Code::ReusedKey).contains("`providers[0].api_key` is also one of `keys`"));
}
