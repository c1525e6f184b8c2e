//! R25: an answer that is compressed although `identity` was asked for is refused with a
//! sentence, by its head alone: a bomb costs no more than that. An error keeps its status.

use crate::support::program::Program;
use crate::support::upstream::http;
use crate::support::*;

const ENCODINGS: [&str; 9] =
    ["gzip", "x-gzip", "GZIP", "deflate", "compress", "br", "zstd", "gzip, br", "identity, gzip"];

#[test]
fn refused_with_a_sentence() {
    for kind in ["application/json", "text/event-stream"] {
        for encoding in ENCODINGS {
            let headers = [("content-type", kind), ("content-encoding", encoding)];
            let up = Upstream::answering(http(200, &headers, "\x1f\u{8b}\x08\0\0\0\0\0"));
            let proxy = Proxy::start(config(&up.base()));
            for stream in [true, false] {
                let answer = post(proxy.addr, &message("hi", stream));
                let (kind, message) = answer.error();
                assert_eq!((answer.status, kind.as_str()), (502, "api_error"), "{message}");
                assert!(message.contains(&format!("content-encoding: {encoding}")), "{message}");
                assert!(message.contains("switch compression off"), "{message}");
            }
            assert!(up.seen().iter().all(|seen| seen.header("accept-encoding") == Some("identity")));
        }
    }
}

#[test]
fn what_is_not_encoded_is_read() {
    for encoding in ["identity", "Identity", " identity ", ""] {
        let headers = [("content-type", "application/json"), ("content-encoding", encoding)];
        let up = Upstream::answering(http(200, &headers, &completion("Hello")));
        let proxy = Proxy::start(config(&up.base()));
        assert_eq!(post(proxy.addr, &message("hi", true)).text(), "Hello", "{encoding:?}");
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200, "{encoding:?}");
    }
}

#[test]
fn an_error_keeps_its_status_and_its_headers() {
    for (status, want, kind) in [
        (400, 400, "invalid_request_error"),
        (401, 401, "authentication_error"),
        (429, 429, "rate_limit_error"),
        (500, 500, "api_error"),
        (503, 529, "overloaded_error"),
    ] {
        let headers =
            [("content-type", "application/json"), ("content-encoding", "gzip"), ("retry-after", "7")];
        let up = Upstream::answering(http(status, &headers, "\x1f\u{8b}\x08\0binary"));
        let proxy = Proxy::start(config(&up.base()));
        for stream in [true, false] {
            let answer = post(proxy.addr, &message("hi", stream));
            let (got, message) = answer.error();
            assert_eq!((answer.status, got.as_str()), (want, kind), "{message}");
            assert!(message.contains("content-encoding: gzip") && !message.contains("binary"), "{message}");
            let told = answer.header("retry-after");
            assert_eq!(told, (status == 429 || status >= 500).then_some("7"), "{status}");
        }
    }
}

/// Gzip of `size` zeros: literal, then copies of 258 bytes, in fixed Huffman codes (RFC 1951).
fn bomb(size: usize) -> Vec<u8> {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut held, mut bits) = (0u64, 0);
    let mut put = |code: u64, length: u32| {
        held |= code << bits;
        bits += length;
        while bits >= 8 {
            out.push(held as u8);
            held >>= 8;
            bits -= 8;
        }
    };
    // The last block, fixed codes; the literal 0, which is 00110000.
    put(0b011, 3);
    put(0b0000_1100, 8);
    for _ in 0..size / 258 {
        // Length 258 is 11000101, distance 1 is 00000; first bit first.
        put(0b1010_0011, 8);
        put(0, 5);
    }
    put(0, 7 + 8);
    out
}

#[cfg(target_os = "linux")]
#[test]
fn a_bomb_costs_little() {
    const MANY: usize = 20;
    const SIZE: usize = 200 << 20;
    let bomb = bomb(SIZE);
    let small = bomb.len();
    let up = Upstream::start(move |mut conn| {
        while let Some(seen) = conn.quiet_request() {
            let body = String::from_utf8(seen.body).unwrap();
            if body.contains("bomb") {
                let status = if body.contains("error") { 500 } else { 200 };
                conn.write(format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-encoding: gzip\r\n\
                     content-length: {}\r\n\r\n",
                    bomb.len()
                ));
                if !conn.write(&bomb) {
                    return;
                }
            } else {
                conn.write(upstream::ok(&completion("Hello")));
            }
        }
    });
    let config = serde_json::json!({"port": 0, "workers": 2, "providers": [{"base_url": up.base(), "api_key": "k",
        "models": [{"id": "m"}]}]});
    let program = Program::start(&["serve", "--log-level", "warn"], &config.to_string());
    let addr = program.addr();
    let ask_many = |text: &str| {
        std::thread::scope(|scope| {
            for n in 0..MANY {
                scope.spawn(move || post(addr, &message(text, n % 2 == 0)).status);
            }
        });
    };
    ask_many("warm");
    let before = program.resident();
    ask_many("bomb");
    ask_many("bomb as an error");
    let after = program.resident();
    eprintln!(
        "R25 {} bombs at a time, each {} KiB for {} MiB: resident memory {} KiB before, {} KiB after",
        MANY,
        small >> 10,
        SIZE >> 20,
        before >> 10,
        after >> 10
    );
    assert!(small < SIZE / 100);
    assert!(after.saturating_sub(before) < MANY << 20, "1 MiB each");
    assert_eq!(post(addr, &message("hi", false)).status, 200);
}
