//! R30: a reload is atomic; running requests keep the old configuration; a bad file changes
//! nothing.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::grammar::End;
use crate::support::config::add_model;
use crate::support::program::Program;
use crate::support::upstream::{Conn, ok};
use crate::support::*;

const RELOADED: &str = "the configuration was reloaded";

/// A file with model `m` at `up`, and more at its top level.
fn file(up: &Upstream, more: Value) -> String {
    let mut config = json!({"port": 0, "log_body_max_chars": 0, "log_stream_text_preview_chars": 0,
        "providers": [{"name": "up", "base_url": up.base(), "api_key": "sk-upstream-sentinel",
            "models": [{"id": "m"}]}]});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config.to_string()
}

fn serve(args: &[&str], config: &str) -> Program {
    // A line for each request would be too many to look through.
    let level = "info,claude_proxy::request=off";
    let args: Vec<&str> = [&["serve", "--log-format", "json", "--log-level", level], args].concat();
    Program::start(&args, config)
}

/// Answers each request with its name, stream or whole.
fn named(name: &'static str) -> Upstream {
    Upstream::start(move |mut conn| while answer(&mut conn, name) {})
}

fn answer(conn: &mut Conn, name: &str) -> bool {
    let Some(seen) = conn.request() else { return false };
    if seen.json()["stream"] == true {
        conn.stream(&[&text(name), &finish("stop"), &usage(), DONE]);
    } else {
        conn.write(ok(&completion(name)));
    }
    true
}

fn write(program: &Program, config: &str) {
    std::fs::write(program.dir().join("config.json"), config).unwrap();
}

/// Sends SIGHUP and waits for what comes of it: the log line.
#[cfg(unix)]
fn hangup(program: &Program, config: &str, message: &str) -> Value {
    let before = program.lines(message).len();
    write(program, config);
    program.signal("HUP");
    eventually(message, || program.lines(message).len() > before);
    program.lines(message).pop().unwrap()
}

#[cfg(unix)]
fn refused(program: &Program, config: &str) -> Value {
    let is =
        |l: &Value| l["message"].as_str().is_some_and(|m| m.ends_with(": the configuration stays as it is"));
    let all = |program: &Program| {
        let output = program.output();
        let lines = output.lines().filter_map(|l| serde_json::from_str::<Value>(l).ok());
        lines.filter(is).collect::<Vec<_>>()
    };
    let before = all(program).len();
    write(program, config);
    program.signal("HUP");
    eventually("it is refused", || all(program).len() > before);
    all(program).pop().unwrap()
}

/// Clients that ask one request after another, streams and whole ones, until told to stop: how
/// many were answered well, and what went wrong.
struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(addr: std::net::SocketAddr, clients: usize) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..clients).map(|n| {
            let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut wrong = Vec::new();
                let mut client = Client::connect(addr);
                let mut stream = n % 2 == 0;
                while !stop.load(Ordering::Relaxed) {
                    client.send("POST", "/v1/messages", &[], &message("hi", stream));
                    let answer = client.answer();
                    let good = answer.status == 200
                        && answer.complete
                        && if stream {
                            answer.events().1 == End::Complete
                        } else {
                            answer.json()["type"] == "message"
                        };
                    if good {
                        done.fetch_add(1, Ordering::Relaxed);
                    } else {
                        wrong.push(format!("{} {}", answer.head, String::from_utf8_lossy(&answer.body)));
                        client = Client::connect(addr);
                    }
                    stream = !stream;
                    std::thread::sleep(Duration::from_millis(1));
                }
                wrong
            })
        });
        Self { threads: threads.collect(), stop, done }
    }

    /// Waits until that many more were answered.
    fn more(&self, n: usize) {
        let goal = self.done.load(Ordering::Relaxed) + n;
        eventually("requests are answered", || self.done.load(Ordering::Relaxed) >= goal);
    }

    /// How many were answered; nothing went wrong.
    fn end(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            assert_eq!(thread.join().unwrap(), Vec::<String>::new());
        }
        self.done.load(Ordering::Relaxed)
    }
}

#[cfg(unix)]
#[test]
fn reloads_under_load_fail_nobody() {
    let (a, b) = (named("a"), named("b"));
    let program = serve(&[], &file(&a, json!({})));
    let load = Load::start(program.addr(), 6);
    load.more(20);
    let (mut generation, reloads) = (1, 30);
    for n in 0..reloads {
        if n % 5 == 4 {
            let line = refused(&program, &file(&a, json!({"max_body_bytes": "many"})));
            assert_eq!(line["generation"], generation, "{line}");
            continue;
        }
        let up = if n % 2 == 0 { &b } else { &a };
        // Limits change too, but stay wide enough.
        let line = hangup(&program, &file(up, json!({"max_concurrent_requests": 100 + n})), RELOADED);
        generation += 1;
        assert_eq!(line["generation"], generation, "only a good file counts: {line}");
        load.more(6);
    }
    let answered = load.end();
    assert!(answered >= 24 * 6, "{answered}");
    assert!(a.seen().len() > 10 && b.seen().len() > 10, "both were asked");
    assert_eq!(a.seen().len() + b.seen().len(), answered, "each request once");
    assert!(!program.output().contains("sentinel"));
}

#[cfg(unix)]
#[test]
fn a_running_stream_keeps_what_it_began_with() {
    let go_on = Arc::<AtomicBool>::default();
    let told = Arc::clone(&go_on);
    let a = Upstream::start(move |mut conn| {
        if conn.request().is_some() {
            conn.stream_head();
            conn.chunk(text("one "));
            while !told.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
            }
            for event in [&text("two"), &finish("stop"), DONE] {
                conn.chunk(event);
            }
            conn.end_chunks();
        }
    });
    let b = named("b");
    let program = serve(&[], &file(&a, json!({"workers": 1})));
    let addr = program.addr();
    let mut client = Client::connect(addr);
    client.send("POST", "/v1/messages", &[], &message("hi", true));
    client.until("one ");

    let line = hangup(&program, &file(&b, json!({"workers": 1, "ak": "ak-sentinel-new"})), RELOADED);
    assert_eq!(line["changes"], "providers changed: up; settings changed: ak");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 0), "a reload asks nobody");
    assert_eq!(post(addr, &message("hi", true)).status, 401, "the key counts at once");
    let key = [("x-api-key", "ak-sentinel-new")];
    assert_eq!(ask(addr, "POST", "/v1/messages", &key, &message("hi", true)).text(), "b");
    assert_eq!((a.seen().len(), b.seen().len()), (1, 1));

    go_on.store(true, Ordering::Relaxed);
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.events().1), ("one two", End::Complete));
    assert!(!program.output().contains("sentinel"));
}

#[cfg(unix)]
#[test]
fn a_bad_file_changes_nothing_and_says_why() {
    let up = named("up");
    let program = serve(&[], &file(&up, json!({})));
    let addr = program.addr();
    for bad in [
        "{",
        "",
        r#"{"providers": []}"#,
        r#"{"providers": [{"base_url": "http://127.0.0.1:1", "api_key": "sk-other-sentinel", "models": [{"id": "m"}, {"id": "m"}]}]}"#,
        &file(&up, json!({"max_body_bytes": -1, "ak": "ak-sentinel"})),
    ] {
        let line = refused(&program, bad);
        assert_eq!((&line["level"], &line["generation"]), (&"ERROR".into(), &1.into()), "{line}");
        assert_eq!(post(addr, &message("hi", false)).status, 200, "{bad}");
    }
    std::fs::remove_file(program.dir().join("config.json")).unwrap();
    program.signal("HUP");
    eventually("a missing file is no configuration", || {
        program.output().contains("cannot read the configuration")
    });
    assert_eq!(post(addr, &message("hi", false)).status, 200);
    let output = program.output();
    // Every finding has its place, and no key.
    for place in ["config.json:1:1: ", "config.json:1:15: `providers` is empty", "duplicate"] {
        assert!(output.contains(place), "{place}: {output}");
    }
    assert!(!output.contains("sentinel"), "{output}");
    assert_eq!(program.lines(RELOADED).len(), 0);
    let line = hangup(&program, &file(&up, json!({})), RELOADED);
    assert_eq!((&line["generation"], &line["changes"]), (&2.into(), &"nothing".into()));
}

/// Puts a file in place as editors do: a new one, renamed over the old.
fn rename_over(path: &Path, config: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, config).unwrap();
    std::fs::rename(new, path).unwrap();
}

#[test]
fn watch_sees_files_written_renamed_and_gone_for_a_while() {
    let up = named("up");
    let program = serve(&["--watch"], &file(&up, json!({})));
    let (addr, path) = (program.addr(), program.dir().join("config.json"));
    assert_eq!(post(addr, &message("hi", false)).status, 200);
    let with = |id: &str| file(&up, json!({"default_model": "m", "aliases": {id: "m"}}));
    let mut generation = 1;
    let mut expect = |what: &str| {
        generation += 1;
        eventually(what, || program.lines(RELOADED).len() == generation - 1);
        let line = program.lines(RELOADED).pop().unwrap();
        assert_eq!(line["generation"], generation);
    };
    std::fs::write(&path, with("a")).unwrap();
    expect("written");
    rename_over(&path, &with("b"));
    expect("renamed over");
    std::fs::remove_file(&path).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    std::fs::write(&path, with("c")).unwrap();
    expect("removed and written");
    std::fs::write(&path, "{").unwrap();
    eventually("refused", || program.output().contains("the configuration stays as it is"));
    std::fs::write(&path, with("d")).unwrap();
    expect("mended");
    assert_eq!(post(addr, &message("hi", false)).status, 200);
}

/// As Kubernetes mounts a ConfigMap: `config.json` is a link through `..data`, which is a link
/// to a directory, and is replaced by a rename.
#[cfg(unix)]
#[test]
fn watch_sees_a_switched_symlink() {
    use std::os::unix::fs::symlink;
    let up = named("up");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("links-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    for (name, port) in [("..one", 0), ("..two", 1)] {
        std::fs::create_dir_all(dir.join(name)).unwrap();
        let config = file(&up, json!({"port": port, "ping_interval_seconds": 5 + port}));
        std::fs::write(dir.join(name).join("config.json"), config).unwrap();
    }
    symlink("..one", dir.join("..data")).unwrap();
    symlink("..data/config.json", dir.join("config.json")).unwrap();
    let path = dir.join("config.json");
    let program = serve(&["--watch", "--config", path.to_str().unwrap()], "");
    program.addr();
    symlink("..two", dir.join("..data_tmp")).unwrap();
    std::fs::rename(dir.join("..data_tmp"), dir.join("..data")).unwrap();
    eventually("reloaded", || program.lines(RELOADED).len() == 1);
    let line = program.lines(RELOADED).pop().unwrap();
    assert_eq!(line["changes"], "settings changed: port, ping_interval_seconds");
    // A listener stays where it is.
    let line = program.lines("these settings change only with a restart").pop().unwrap();
    assert_eq!((&line["level"], &line["keys"]), (&"WARN".into(), &"port".into()));
    drop(program);
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn limits_change_at_once_and_running_requests_count() {
    let up = Upstream::one_word();
    let of = |most: usize, bytes: usize| {
        let mut config = config(&up.base());
        config.max_concurrent_requests = most;
        config.max_body_bytes = bytes;
        config
    };
    let proxy = Proxy::start(of(2, 1 << 20));
    let open = || Client::streaming(proxy.addr);
    let refused = || post(proxy.addr, &message("hi", true)).status;
    let mut running = vec![open(), open()];
    assert_eq!(refused(), 529);
    assert_eq!(proxy.reload.apply(of(3, 1 << 20)).unwrap().generation, 2);
    running.push(open());
    assert_eq!(refused(), 529, "those of the old configuration count");
    proxy.reload.apply(of(1, 1 << 20)).unwrap();
    running.pop();
    eventually("one has gone", || up.gone() == 1);
    assert_eq!(refused(), 529, "two are still more than one");
    running.clear();
    eventually("all have gone", || up.gone() == 3);
    running.push(open());
    assert_eq!(refused(), 529);

    let long = vec![b' '; 2000];
    assert_eq!(post(proxy.addr, &long).status, 529);
    running.clear();
    eventually("room again", || up.gone() == 4 && post(proxy.addr, b"{").status == 400);
    proxy.reload.apply(of(1, 1999)).unwrap();
    assert_eq!(post(proxy.addr, &long).status, 413);
    assert_eq!(post(proxy.addr, &long[1..]).status, 400, "too short to be too long");
}

#[test]
fn connections_are_used_further_unless_they_would_be_opened_otherwise() {
    let (up, other) = (named("up"), named("other"));
    let proxy = Proxy::start(config(&up.base()));
    let ask = || assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    ask();
    let mut next = config(&up.base());
    next.ak = None;
    next.max_body_bytes = 1 << 20;
    add_model(&mut next, "n", &other.base(), "generic");
    proxy.reload.apply(next.clone()).unwrap();
    ask();
    assert_eq!(up.connections(), 1, "nothing of it has changed");
    next.connect_timeout = Duration::from_secs(6);
    proxy.reload.apply(next).unwrap();
    ask();
    assert_eq!(up.connections(), 2);
}

#[test]
fn connections_of_a_provider_that_is_gone_are_closed() {
    let old = Upstream::start(|mut conn| {
        answer(&mut conn, "old");
        conn.wait_gone();
    });
    let new = named("new");
    let proxy = Proxy::start(config(&old.base()));
    assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    proxy.reload.apply(config(&new.base())).unwrap();
    assert_eq!(post(proxy.addr, &message("hi", false)).json()["content"][0]["text"], "new");
    eventually("the old one sees the end", || old.gone() == 1);
}

#[cfg(target_os = "linux")]
#[test]
fn permits_and_descriptors_return_after_fifty_reloads() {
    let (a, b) = (named("a"), named("b"));
    let hanging = Upstream::one_word();
    let few = json!({"max_concurrent_requests": 4, "workers": 2});
    let program = serve(&[], &file(&a, few.clone()));
    let addr = program.addr();
    assert_eq!(post(addr, &message("hi", true)).status, 200);
    let before = program.descriptors();
    let load = Load::start(addr, 4);
    for n in 0..50 {
        let up = if n % 2 == 0 { &b } else { &a };
        hangup(&program, &file(up, few.clone()), RELOADED);
        load.more(2);
    }
    load.end();
    hangup(&program, &file(&hanging, few), RELOADED);
    let running: Vec<Client> = (0..4).map(|_| Client::streaming(addr)).collect();
    assert_eq!(post(addr, &message("hi", true)).status, 529, "four permits, and no more");
    drop(running);
    eventually("all have gone", || hanging.gone() == 4);
    // A thread of the runtime that reads files may still be there; a connection may not.
    eventually("descriptors are back", || program.descriptors() <= before + 2);
}

#[cfg(unix)]
#[test]
fn the_demo_has_nothing_to_read_again() {
    let program = serve(&["--demo", "--port", "0"], "");
    let addr = program.addr();
    program.signal("HUP");
    eventually("it says so", || program.output().contains("there is no configuration file to read again"));
    assert_eq!(ask(addr, "GET", "/ready", &[], b"").status, 200);
}

#[cfg(unix)]
#[test]
fn captures_know_the_new_keys() {
    let up = Upstream::start(|mut conn| {
        while conn.request().is_some() {
            conn.write(ok(&completion("the key is sk-new-sentinel-0123, is it not")));
        }
    });
    let program = serve(&["--capture", "kept"], &file(&up, json!({})));
    let addr = program.addr();
    let with_key = file(&up, json!({})).replace("sk-upstream-sentinel", "sk-new-sentinel-0123");
    hangup(&program, &with_key, RELOADED);
    assert_eq!(post(addr, &message("hi", false)).status, 200);
    let find = || {
        let dir = std::fs::read_dir(program.dir().join("kept")).ok()?.next()?.ok()?.path();
        std::fs::read_to_string(dir.join("meta.json")).ok()?;
        std::fs::read_to_string(dir.join("upstream-response.json")).ok()
    };
    eventually("it is kept", || find().is_some());
    let kept = find().unwrap();
    assert!(kept.contains("the key is [key], is it not"), "{kept}");
}
