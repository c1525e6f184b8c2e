//! Load generator for Anthropic's /v1/messages. One thread, keep-alive HTTP/1.1.
//! Prints one JSON object with what it saw inside the measuring window.
//!
//!   --url http://127.0.0.1:9100/v1/messages
//!   --spec bench-t64-0-20        what the mock shall answer (see bench_rig::Spec)
//!   --model 'gpt-{}'             model name, {} = the spec
//!   --body KIND                  request body (see bench_rig::bodies::build);  --stream 0|1
//!   --header 'name: value'       further request headers (repeatable)
//!   --mode closed --conc N       N clients, each waits for its answer (default)
//!   --mode open --rate R         R requests/s on a fixed schedule; latency counts from the
//!                                scheduled time, so a stalled server cannot hide its queue
//!   --ramp S                     clients start spread over S seconds
//!   --warmup S --secs S          seconds before / of the measuring window
//!   --max N                      stop after N requests in the window
//!   --timeout S                  per request
//!   --pids 1,2 --mock-pid P      processes whose CPU and RSS are read at the window's edges
//!   --dump                       write the request body to stdout and stop
//!   --once                       send one request, print the raw answer to stdout, stop

use bench_rig::client::{Shared, Stats, client, hist, open_loop};
use bench_rig::{Args, SLOT, Spec, bodies, mono_ns, probe};
use hdrhistogram::Histogram;
use memchr::memmem;
use serde_json::{Value, json};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::{Read, Write};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::sleep;

fn quantiles(h: &Histogram<u64>) -> Value {
    let us = |v: u64| (v as f64 / 100.0).round() / 10.0;
    if h.is_empty() {
        return Value::Null;
    }
    json!({"n": h.len(), "mean": (h.mean() / 100.0).round() / 10.0, "min": us(h.min()), "p50": us(h.value_at_quantile(0.5)),
        "p90": us(h.value_at_quantile(0.9)), "p99": us(h.value_at_quantile(0.99)),
        "p999": us(h.value_at_quantile(0.999)), "max": us(h.max())})
}

fn main() -> Result<(), Box<dyn Error>> {
    let a = Args::from_env()?;
    let spec = Spec::parse(a.get("spec").unwrap_or("bench-t1-0-600")).ok_or("--spec")?;
    let stream = a.num("stream", 0)? == 1;
    let model = a.get("model").unwrap_or("{}").replace("{}", &spec.raw);
    let body = bodies::build(a.get("body").unwrap_or("small"), &model, &spec.raw, stream).ok_or("--body")?;
    if a.get("dump").is_some() {
        std::io::stdout().write_all(&body)?;
        return Ok(());
    }
    let url = a.get("url").unwrap_or("http://127.0.0.1:9100/v1/messages").to_string();
    let rest = url.strip_prefix("http://").ok_or("--url: http:// only")?;
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let addr: std::net::SocketAddr = host.parse()?;
    assert!(addr.ip().is_loopback(), "loopback only");
    let mut head = format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\naccept: application/json\r\ncontent-type: application/json\r\n\
         user-agent: claude-cli/2.0.0 (external, cli)\r\nx-api-key: sk-bench\r\nanthropic-version: 2023-06-01\r\n\
         anthropic-beta: claude-code-20250219,interleaved-thinking-2025-05-14\r\nx-app: cli\r\n"
    );
    for h in a.all("header") {
        head += &format!("{h}\r\n");
    }
    head += &format!("content-length: {}\r\n\r\n", body.len());
    let mut request = head.into_bytes();
    request.extend_from_slice(&body);

    let rt = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();

    if a.get("once").is_some() {
        let mut s = std::net::TcpStream::connect(addr)?;
        s.set_read_timeout(Some(Duration::from_secs(a.num("timeout", 3)?)))?;
        s.write_all(&request)?;
        let mut buf = [0u8; 65536];
        while let Ok(n) = s.read(&mut buf) {
            if n == 0 {
                break;
            }
            std::io::stdout().write_all(&buf[..n])?;
        }
        return Ok(());
    }

    let conc: usize = a.num("conc", 1)?;
    let secs: f64 = a.num("secs", 3.0)?;
    let warmup: f64 = a.num("warmup", 0.5)?;
    let ramp: f64 = a.num("ramp", 0.0)?;
    let rate: f64 = a.num("rate", 100.0)?;
    let open = a.get("mode") == Some("open");
    let pids: Vec<i32> =
        a.get("pids").map(|p| p.split(',').filter_map(|x| x.parse().ok()).collect()).unwrap_or_default();
    let mock: Vec<i32> = a.get("mock-pid").and_then(|p| p.parse().ok()).into_iter().collect();
    let sh = Rc::new(Shared {
        addr,
        request,
        stream,
        expect_events: spec.events as u64,
        marked: spec.bytes >= SLOT.len(),
        timeout: Duration::from_secs_f64(a.num("timeout", 30.0)?),
        max: a.num("max", 0)?,
        on: Cell::new(false),
        stop: Cell::new(false),
        inflight: Cell::new(0),
        stats: RefCell::new(Stats {
            lat: hist(),
            ttft: hist(),
            event: hist(),
            jitter: hist(),
            requests: 0,
            events: 0,
            deltas: 0,
            bytes: 0,
            connects: 0,
            errors: BTreeMap::new(),
            sample: String::new(),
        }),
        buf: RefCell::new(vec![0; 256 * 1024]),
        f_stop: memmem::Finder::new("message_stop"),
        f_delta: memmem::Finder::new("event: content_block_delta"),
    });
    let out = local.block_on(&rt, async {
        let rss_before = probe::rss_kb(&pids);
        if open {
            let sh = sh.clone();
            tokio::task::spawn_local(open_loop(sh, rate));
        } else {
            for i in 0..conc {
                let d = Duration::from_secs_f64(ramp * i as f64 / conc as f64);
                tokio::task::spawn_local(client(sh.clone(), d));
            }
        }
        sleep(Duration::from_secs_f64(ramp + warmup)).await;
        let edge = || {
            (mono_ns(), probe::cpu_sum(&pids), probe::cpu_sum(&mock), probe::self_cpu_ns(), probe::machine())
        };
        let (t1, c1, m1, s1, w1) = edge();
        sh.on.set(true);
        let until = t1 + (secs * 1e9) as u64;
        let (mut rss_max, mut rss_sum, mut rss_n) = (0u64, 0u64, 0u64);
        while mono_ns() < until && !sh.stop.get() {
            sleep(
                Duration::from_millis(100).min(Duration::from_nanos(until.saturating_sub(mono_ns()).max(1))),
            )
            .await;
            if rss_n < 1_000 {
                let r = probe::rss_kb(&pids);
                rss_max = rss_max.max(r);
                rss_sum += r;
                rss_n += 1;
            }
        }
        sh.on.set(false);
        let (t2, c2, m2, s2, w2) = edge();
        sh.stop.set(true);
        let st = sh.stats.borrow();
        let wall = (t2 - t1) as f64;
        let ours = (c2 - c1) + (m2 - m1) + (s2 - s1);
        let cores = std::thread::available_parallelism().map_or(1, |n| n.get()) as f64;
        let busy = (w2.0 - w1.0) as f64;
        json!({
            "secs": wall / 1e9,
            "requests": st.requests, "rps": st.requests as f64 * 1e9 / wall,
            "events": st.events, "eps": st.events as f64 * 1e9 / wall, "deltas": st.deltas,
            "bytes": st.bytes, "connects": st.connects,
            "errors": st.errors, "sample": st.sample,
            "lat": quantiles(&st.lat), "ttft": quantiles(&st.ttft),
            "event": quantiles(&st.event), "jitter": quantiles(&st.jitter),
            "cpu_ns": c2 - c1, "mock_cpu_ns": m2 - m1, "load_cpu_ns": s2 - s1,
            "rss_before_kb": rss_before, "rss_max_kb": rss_max, "rss_mean_kb": rss_sum / rss_n.max(1),
            "hwm_kb": probe::hwm_kb(&pids),
            "foreign": ((busy - ours as f64) / (wall * cores)).max(0.0),
            "steal": (w2.2 - w1.2) as f64 / (wall * cores),
        })
    });
    println!("{out}");
    Ok(())
}
