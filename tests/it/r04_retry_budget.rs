//! R4: retries at once never exceed a fifth of the running requests, and three.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::client::Answer;
use crate::support::upstream::{http, ok};
use crate::support::*;

const MANY: usize = 200;

/// That many requests at once.
fn at_once(proxy: &Proxy, many: usize) -> Vec<Answer> {
    let mut clients: Vec<Client> = (0..many).map(|_| Client::connect(proxy.addr)).collect();
    for client in &mut clients {
        client.send("POST", "/v1/messages", &[], &message("hi", false));
    }
    clients.iter_mut().map(Client::answer).collect()
}

/// The upstream refuses everything for two seconds, and each client tries until it works.
#[test]
fn an_upstream_that_is_down_is_not_asked_twice_as_often() {
    let down = Arc::new(AtomicBool::new(true));
    let (refuses, refused) = (Arc::clone(&down), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&refused);
    let up = Upstream::start(move |mut conn| {
        while conn.request().is_some() {
            if refuses.load(Ordering::SeqCst) {
                count.fetch_add(1, Ordering::SeqCst);
                conn.write(http(503, &[], "{}"));
            } else {
                conn.write(ok(&completion("fine")));
            }
        }
    });
    let mut config = config(&up.base());
    config.workers = 2;
    let proxy = Proxy::start(config);
    let answers = at_once(&proxy, MANY);
    assert!(answers.iter().all(|a| a.status == 529));
    let attempts = refused.load(Ordering::SeqCst);
    assert!((MANY..=MANY + MANY / 5 + 3).contains(&attempts), "{attempts}");
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(
        refused.load(Ordering::SeqCst),
        attempts,
        "nothing goes on when the clients have their answer"
    );
    down.store(false, Ordering::SeqCst);
    assert!(at_once(&proxy, MANY).iter().all(|a| a.status == 200));
}

/// With a refusal that is no fault of the provider, so that only the budget holds the retries:
/// all second attempts are kept open, and counted.
#[test]
fn at_most_a_fifth_and_three_at_once() {
    for (many, workers) in [(MANY, 2), (MANY, 1), (10, 1)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let seconds = Arc::new(AtomicUsize::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let (count, second, end) = (Arc::clone(&asked), Arc::clone(&seconds), Arc::clone(&over));
        let up = Upstream::start(move |mut conn| {
            while conn.request().is_some() {
                if count.fetch_add(1, Ordering::SeqCst) < many {
                    // All first attempts are there before one of them is refused.
                    while count.load(Ordering::SeqCst) < many {
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    conn.write(http(429, &[("retry-after", "0")], "{}"));
                    continue;
                }
                second.fetch_add(1, Ordering::SeqCst);
                while !end.load(Ordering::SeqCst) {
                    std::thread::sleep(Duration::from_millis(2));
                }
                conn.write(ok(&completion("fine")));
            }
        });
        let mut config = config(&up.base());
        config.workers = workers;
        let proxy = Proxy::start(config);
        let gate = Arc::clone(&over);
        let watch = Arc::clone(&seconds);
        let opener = std::thread::spawn(move || {
            // Second attempts spread over a quarter of a second; then no more come.
            let (mut before, mut still) = (0, 0);
            while still < 8 {
                std::thread::sleep(Duration::from_millis(100));
                let now = watch.load(Ordering::SeqCst);
                still = if now > 0 && now == before { still + 1 } else { 0 };
                before = now;
            }
            gate.store(true, Ordering::SeqCst);
        });
        let answers = at_once(&proxy, many);
        opener.join().unwrap();
        let served = answers.iter().filter(|a| a.status == 200).count();
        // Whoever is refused first gets one, while all the others still run.
        assert_eq!((seconds.load(Ordering::SeqCst), served), (many / 5 + 3, many / 5 + 3), "of {many}");
        assert!(answers.iter().all(|a| matches!(a.status, 200 | 429)));
        // Room comes back.
        assert_eq!(post(proxy.addr, &message("hi", false)).status, 200);
    }
}
