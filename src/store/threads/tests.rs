use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use proptest::prelude::*;

use super::*;
use crate::store::disk::Disk;

const DAY: u64 = 24 * 3600;

fn limits() -> Limits {
    Limits { max_bytes: 1 << 30, max_age: Duration::from_secs(30 * DAY) }
}

fn open(dir: &Path) -> Threads {
    Threads::open(&dir.join("threads.redb"), limits()).unwrap()
}

fn turn(owner: Owner, id: &str, parent: Option<&At>, messages: &str, content: &str) -> NewTurn {
    NewTurn {
        owner,
        id: id.to_owned(),
        parent: parent.cloned(),
        inherited: Inherited::default(),
        messages: messages.to_owned(),
        content: content.as_bytes().to_vec(),
    }
}

fn user(text: &str) -> String {
    format!(r#"{{"role":"user","content":"{text}"}}"#)
}

fn said(text: &str) -> String {
    format!(r#"[{{"type":"text","text":"{text}"}}]"#)
}

fn assistant(text: &str) -> String {
    format!(r#"{{"role":"assistant","content":{}}}"#, said(text))
}

fn keep(threads: &Threads, turn: NewTurn) {
    threads.keep(turn).blocking_recv().unwrap().unwrap();
}

fn messages(threads: &Threads, owner: Owner, id: &str) -> Option<String> {
    match threads.history(owner, id, 1 << 20) {
        Ok(history) => Some(history.messages),
        Err(Missing::Unknown) => None,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_conversation_comes_back_byte_for_byte() {
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let me = threads.owner(Some(b"key"));
    assert!(messages(&threads, me, "msg_1").is_none(), "nothing was written yet");
    let mut first = turn(me, "msg_1", None, &user("a \\u00e9"), &said("A"));
    first.inherited = Inherited { system: Some("\"s\"".into()), tools: None };
    keep(&threads, first);
    let at = threads.history(me, "msg_1", 9999).unwrap().at;
    keep(&threads, turn(me, "msg_2", Some(&at), &format!("{},{}", user("b"), user("c")), &said("B")));
    // Twice from the same answer: two branches.
    keep(&threads, turn(me, "msg_3", Some(&at), &user("d"), "[]"));
    let at = threads.history(me, "msg_3", 9999).unwrap().at;
    keep(&threads, turn(me, "msg_4", Some(&at), "", &said("D")));
    let check = |threads: &Threads| {
        let history = threads.history(me, "msg_2", 9999).unwrap();
        assert_eq!(
            history.messages,
            [user("a \\u00e9"), assistant("A"), user("b"), user("c"), assistant("B")].join(",")
        );
        assert_eq!(history.inherited, Inherited { system: Some("\"s\"".into()), tools: None });
        let branch = [user("a \\u00e9"), assistant("A"), user("d"), assistant("D")].join(",");
        assert_eq!(messages(threads, me, "msg_4"), Some(branch));
        for other in [threads.owner(Some(b"other")), threads.owner(None), threads.owner(Some(b""))] {
            assert!(messages(threads, other, "msg_2").is_none());
        }
    };
    check(&threads);
    drop((threads, at));
    check(&open(dir.path()));
}

#[test]
fn a_history_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let me = threads.owner(None);
    keep(&threads, turn(me, "msg_1", None, &user(&"x".repeat(5000)), &said("A")));
    assert!(matches!(threads.history(me, "msg_1", 5000), Err(Missing::TooLong(5000))));
    assert!(threads.history(me, "msg_1", 6000).is_ok());
}

#[test]
fn an_id_is_never_taken_twice() {
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let me = threads.owner(None);
    let written: Vec<Written> =
        ["a", "b", "c"].map(|text| threads.keep(turn(me, "msg_1", None, &user(text), "[]"))).into();
    let other = threads.keep(turn(me, "msg_2", None, &user("d"), "[]"));
    let outcomes: Vec<bool> = written.into_iter().map(|w| w.blocking_recv().unwrap().is_ok()).collect();
    assert_eq!(outcomes, [true, false, false]);
    // Who comes in the same transaction does not suffer.
    other.blocking_recv().unwrap().unwrap();
    assert_eq!(messages(&threads, me, "msg_1"), Some(user("a")));
    assert_eq!(messages(&threads, me, "msg_2"), Some(user("d")));
}

fn bounded(dir: &Path, limits: Limits) -> Threads {
    Threads::open(&dir.join("threads.redb"), limits).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "no worker waits")]
/// Whether it is there, after the writing thread has done what it does after a write.
fn settled(threads: &Threads, owner: Owner, id: &str, there: bool) {
    for _ in 0..500 {
        if messages(threads, owner, id).is_some() == there {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{id}: {}", if there { "is gone" } else { "is still there" });
}

#[test]
fn old_threads_go_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let me = threads.owner(None);
    let at = |id: &str| threads.history(me, id, 1 << 20).unwrap().at;
    let keep = |turn, ago| threads.keep_at(turn, now() - ago).blocking_recv().unwrap().unwrap();
    // Continued late: as young as its last turn.
    keep(turn(me, "old_1", None, &user("a"), "[]"), 40 * DAY - 60);
    assert!(messages(&threads, me, "old_1").is_none(), "too old, if not removed yet");
    keep(turn(me, "msg_1", None, &user("a"), "[]"), 29 * DAY);
    keep(turn(me, "msg_2", Some(&at("msg_1")), &user("b"), "[]"), 5 * DAY);
    keep(turn(me, "msg_3", None, &user("c"), "[]"), 29 * DAY);
    let bounds = Bounds { limits: limits(), pins: Arc::clone(&threads.pins) };
    bounds.keep(&threads.store.slot.get().unwrap(), now() + 2 * DAY).unwrap();
    assert!(messages(&threads, me, "msg_1").is_some());
    assert!(messages(&threads, me, "msg_3").is_none());
    let pinned = at("msg_2");
    bounds.keep(&threads.store.slot.get().unwrap(), now() + 90 * DAY).unwrap();
    assert!(messages(&threads, me, "msg_2").is_some(), "it is in use");
    drop(pinned);
    bounds.keep(&threads.store.slot.get().unwrap(), now() + 90 * DAY).unwrap();
    assert!(messages(&threads, me, "msg_2").is_none());
    // Nothing of them is left.
    let txn = threads.store.slot.get().unwrap().begin_read().unwrap();
    assert_eq!(txn.open_table(TURNS).unwrap().iter().unwrap().count(), 0);
    assert_eq!(txn.open_table(IDS).unwrap().iter().unwrap().count(), 0);
    assert_eq!(txn.open_table(THREADS).unwrap().iter().unwrap().count(), 0);
    assert_eq!(tables::bytes(&txn.open_table(crate::store::file::META).unwrap()).unwrap(), 0);
}

#[test]
fn the_oldest_go_where_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let threads = bounded(dir.path(), Limits { max_bytes: 500_000, ..limits() });
    let me = threads.owner(None);
    let long = "x".repeat(20_000);
    for n in 0..100u64 {
        let turn = turn(me, &format!("msg_{n}"), None, &user(&long), "[]");
        threads.keep_at(turn, now() - 1000 + n).blocking_recv().unwrap().unwrap();
    }
    settled(&threads, me, "msg_80", false);
    settled(&threads, me, "msg_99", true);
    settled(&threads, me, "msg_90", true);
    let length = std::fs::metadata(dir.path().join("threads.redb")).unwrap().len();
    assert!(length < 3_000_000, "{length}");
}

#[test]
fn the_size_told_is_that_of_the_file() {
    for size in [100, 5000, 40_000, 300_000] {
        let dir = tempfile::tempdir().unwrap();
        let threads = open(dir.path());
        let me = threads.owner(None);
        let long = "x".repeat(size);
        for n in 0..20_000_000 / size.max(20_000) {
            drop(threads.keep(turn(me, &format!("msg_{n}"), None, &user(&long), "[]")));
        }
        keep(&threads, turn(me, "last", None, "", "[]"));
        let txn = threads.store.slot.get().unwrap().begin_read().unwrap();
        let told = tables::bytes(&txn.open_table(crate::store::file::META).unwrap()).unwrap();
        let length = std::fs::metadata(dir.path().join("threads.redb")).unwrap().len();
        assert!(length < told * 2 + (1 << 20), "{size}: {length} bytes, told {told}");
        assert!(told < length * 2, "{size}: {length} bytes, told {told}");
    }
}

#[test]
fn what_is_not_ours_is_not_opened() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("threads.redb");
    let refused = |path: &Path| Threads::open(path, limits()).unwrap_err();

    std::fs::write(&path, b"a text\n").unwrap();
    assert!(matches!(refused(&path), OpenError::Foreign(_)));
    assert_eq!(std::fs::read(&path).unwrap(), b"a text\n");

    let foreign = dir.path().join("foreign.redb");
    let db = redb::Database::create(&foreign).unwrap();
    let txn = db.begin_write().unwrap();
    txn.open_table(redb::TableDefinition::<u64, u64>::new("theirs")).unwrap().insert(1, 2).unwrap();
    txn.commit().unwrap();
    assert!(matches!(refused(&foreign), OpenError::Locked(_)));
    drop(db);
    assert!(matches!(refused(&foreign), OpenError::Foreign(_)));

    let newer = dir.path().join("newer.redb");
    drop(Threads::open(&newer, limits()).unwrap());
    let db = redb::Database::create(&newer).unwrap();
    let txn = db.begin_write().unwrap();
    let format = 2u64.to_le_bytes();
    txn.open_table(crate::store::file::META).unwrap().insert("format", format.as_slice()).unwrap();
    txn.commit().unwrap();
    drop(db);
    assert!(matches!(refused(&newer), OpenError::Newer { format: 2, .. }));

    assert!(matches!(refused(&dir.path().join("no/such")), OpenError::Io { .. }));
    // An empty file is as good as none.
    let empty = dir.path().join("empty.redb");
    std::fs::write(&empty, b"").unwrap();
    drop(Threads::open(&empty, limits()).unwrap());
    drop(Threads::open(&empty, limits()).unwrap());
}

#[test]
fn a_cut_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("threads.redb");
    let threads = open(dir.path());
    let me = threads.owner(None);
    for n in 0..20 {
        keep(&threads, turn(me, &format!("msg_{n}"), None, &user(&"x".repeat(9000)), "[]"));
    }
    drop(threads);
    let whole = std::fs::read(&path).unwrap();
    for length in [10, 100, 4096, 9000, whole.len() / 2] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let opened = std::panic::catch_unwind(|| Threads::open(&path, limits()));
        // The library's own checks panic in debug builds, where release builds give the error.
        if let Ok(opened) = opened {
            assert!(opened.is_err(), "{length}");
        }
    }
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let entries: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap()).collect();
    assert_eq!(entries.len(), 1, "nothing is left beside it: {entries:?}");
    assert_eq!(entries[0].metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(matches!(Threads::open(&dir.path().join("threads.redb"), limits()), Err(OpenError::Locked(_))));
    drop(threads);
}

/// What a model of the threads does.
#[derive(Debug, Clone)]
enum Step {
    Create(u8),
    /// From a turn that there is, perhaps with another owner.
    Continue(u8, prop::sample::Index),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (0u8..3).prop_map(Step::Create),
        6 => (0u8..3, any::<prop::sample::Index>()).prop_map(|(owner, at)| Step::Continue(owner, at)),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn it_is_what_a_map_would_be(steps in prop::collection::vec(step(), 1..40)) {
        let dir = tempfile::tempdir().unwrap();
        let mut threads = open(dir.path());
        // Id, owner and messages of each turn.
        let mut model: Vec<(String, u8, String)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let id = format!("msg_{n}");
            let owner_of = |threads: &Threads, owner: u8| threads.owner(Some(&[owner]));
            let new = [user(&format!("q{n}")), assistant(&format!("a{n}"))].join(",");
            match step {
                Step::Create(owner) => {
                    let me = owner_of(&threads, owner);
                    keep(&threads, turn(me, &id, None, &user(&format!("q{n}")), &said(&format!("a{n}"))));
                    model.push((id, owner, new));
                }
                Step::Continue(owner, at) if !model.is_empty() => {
                    let (from, theirs, before) = model[at.index(model.len())].clone();
                    let me = owner_of(&threads, owner);
                    let history = threads.history(me, &from, 1 << 20);
                    if owner != theirs {
                        prop_assert!(matches!(history, Err(Missing::Unknown)));
                        continue;
                    }
                    let history = history.unwrap();
                    prop_assert_eq!(&history.messages, &before);
                    keep(&threads, turn(me, &id, Some(&history.at), &user(&format!("q{n}")), &said(&format!("a{n}"))));
                    model.push((id, owner, format!("{before},{new}")));
                }
                Step::Continue(..) => {}
                Step::Reopen => {
                    drop(threads);
                    threads = open(dir.path());
                }
            }
        }
        for (id, owner, want) in model {
            prop_assert_eq!(messages(&threads, threads.owner(Some(&[owner])), &id), Some(want));
        }
    }
}

fn on(disk: Disk) -> Threads {
    let limits = Limits { max_bytes: 200_000, ..limits() };
    Threads::of(Store::over_backend(disk).unwrap(), limits)
}

/// The power fails anywhere: what was acknowledged is there, whole, and nothing twice.
#[test]
fn no_acknowledged_turn_is_lost_in_a_power_failure() {
    let disk = Disk::default();
    // After which operation each turn was acknowledged, and its conversation.
    let mut acknowledged: Vec<(usize, String, String)> = Vec::new();
    let created;
    {
        let threads = on(disk.clone());
        let me = threads.owner(None);
        created = disk.lock().1.len();
        let mut last: HashMap<usize, (String, String)> = HashMap::new();
        for n in 0..60 {
            let (id, question) = (format!("msg_{n}"), user(&"q".repeat(n * 37 % 900)));
            let from = last.get(&(n % 4));
            let at = from.map(|(id, _)| threads.history(me, id, 1 << 20).unwrap().at);
            keep(&threads, turn(me, &id, at.as_ref(), &question, &said(&id)));
            let new = format!("{question},{}", assistant(&id));
            let all = from.map_or(new.clone(), |(_, before)| format!("{before},{new}"));
            acknowledged.push((disk.lock().1.len(), id.clone(), all.clone()));
            last.insert(n % 4, (id, all));
        }
    }
    let operations = disk.lock().1.len();
    let mut state = 1u64;
    let mut luck = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 63 == 1
    };
    let mut kept = HashSet::new();
    for cut in (created..=operations).step_by(3) {
        // One in four with all that was written, synced or not.
        let threads = on(disk.after_failure(cut, || cut % 4 == 0 || luck()));
        let me = threads.owner(None);
        for (_, id, all) in acknowledged.iter().filter(|(at, ..)| *at <= cut) {
            assert_eq!(messages(&threads, me, id).as_ref(), Some(all), "cut at {cut}");
        }
        // One that was not may be there or not, but never a part of it.
        for (_, id, all) in acknowledged.iter().filter(|(at, ..)| *at > cut) {
            if let Some(there) = messages(&threads, me, id) {
                assert_eq!(&there, all);
                kept.insert(id.clone());
            }
        }
        // And it can be gone on with.
        keep(&threads, turn(me, "next", None, &user("x"), "[]"));
    }
    assert!(!kept.is_empty(), "no cut came between a sync and its acknowledgement");
}

/// A disk that fails, and works again: so do the threads, with all that was there before.
#[test]
fn a_disk_that_works_again_is_used_again() {
    let disk = Disk::default();
    let threads = on(disk.clone());
    let me = threads.owner(None);
    keep(&threads, turn(me, "msg_1", None, &user("a"), &said("A")));
    assert!(!threads.is_failing());
    let at = threads.history(me, "msg_1", 9999).unwrap().at;
    for full in [true, false, true, false] {
        disk.1.store(full, Ordering::Relaxed);
        for n in 0..3 {
            let id = format!("{full}_{n}_{}", disk.lock().1.len());
            let kept =
                threads.keep(turn(me, &id, Some(&at), &user("b"), &said("B"))).blocking_recv().unwrap();
            assert_eq!((kept.is_err(), threads.is_failing()), (full, full), "{id}: {kept:?}");
            if !full {
                assert!(messages(&threads, me, &id).is_some());
                assert!(messages(&threads, me, "msg_1").is_some());
            }
        }
    }
}

/// What a turn costs: `cargo test --lib cost_of_a_turn -- --ignored --nocapture`.
#[test]
#[ignore = "tells figures of this disk"]
fn cost_of_a_turn() {
    for (size, at_once) in [(3_000, 1), (100_000, 1), (1_000_000, 1), (3_000, 32)] {
        let dir = tempfile::tempdir().unwrap();
        let threads = open(dir.path());
        let mut times: Vec<Duration> = std::thread::scope(|scope| {
            let client = |n: usize| {
                let threads = threads.clone();
                move || {
                    let me = threads.owner(None);
                    let question = user(&"x".repeat(size));
                    let timed = |turn: usize| {
                        let new = self::turn(me, &format!("msg_{n}_{turn}"), None, &question, "[]");
                        let began = std::time::Instant::now();
                        keep(&threads, new);
                        began.elapsed()
                    };
                    (0..2000 / at_once.max(size / 10_000)).map(timed).collect::<Vec<_>>()
                }
            };
            let clients: Vec<_> = (0..at_once).map(|n| scope.spawn(client(n))).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        times.sort();
        let (half, most) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        eprintln!("{size} bytes, {at_once} at once: {half:?}, 99 % in {most:?}");
    }
    let dir = tempfile::tempdir().unwrap();
    let threads = open(dir.path());
    let me = threads.owner(None);
    let mut at: Option<At> = None;
    for n in 0..500 {
        keep(&threads, turn(me, &format!("msg_{n}"), at.as_ref(), &user(&"x".repeat(2000)), &said("ok")));
        at = Some(threads.history(me, &format!("msg_{n}"), 9_000_000).unwrap().at);
    }
    let began = std::time::Instant::now();
    let read = threads.history(me, "msg_499", 9_000_000).unwrap().messages.len();
    eprintln!("a history of 500 turns, {read} bytes: {:?}", began.elapsed());
}
