use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Activity, REMEMBERED};
use crate::observe::{Outcome, Record};

fn begin(activity: &Arc<Activity>, content: bool) -> Record {
    let mut record = Record::new("req_1".to_owned());
    "m".clone_into(&mut record.model);
    record.live = Some(activity.begin(content));
    record
}

#[test]
fn a_request_runs_and_then_has_ended() {
    let activity = Arc::<Activity>::default();
    let mut record = begin(&activity, false);
    assert_eq!(activity.running(9).1, 0, "it has no place yet");
    record.admit(|| panic!("nobody asks for texts"));
    record.ask("up", "remote");
    record.mark_first_byte();
    let (running, all) = activity.running(9);
    assert_eq!((running.len(), all, running[0].model.as_str()), (1, 1, "m"));
    assert_eq!(running[0].asked(), ("up".to_owned(), "remote".to_owned()));
    assert!(running[0].first_byte().is_some());
    record.live.as_mut().unwrap().progress(40, false, Instant::now());
    assert_eq!(running[0].tokens(), (40, false));
    record.live.as_mut().unwrap().progress(50, true, Instant::now() + Duration::from_secs(2));
    assert_eq!((running[0].tokens(), activity.points(0)[0].output), ((50, true), 50));
    (record.output_tokens, record.status, record.outcome) = (60, 200, Outcome::Done);
    record.live.as_mut().unwrap().answered("sentinel");
    drop(record);
    assert_eq!(activity.running(9).1, 0);
    let ended = activity.ended(0);
    assert_eq!((ended.len(), ended[0].number, ended[0].id, ended[0].output), (1, 1, Some(1), 60));
    assert!(ended[0].answer.is_empty());
    let points = activity.points(0);
    assert_eq!((points[0].requests, points[0].failed, points[0].output), (1, 0, 60));
    assert!(points[0].p50.is_some());
}

#[test]
fn the_last_are_remembered_and_no_more() {
    let activity = Arc::<Activity>::default();
    for _ in 0..REMEMBERED + 7 {
        drop(begin(&activity, false));
    }
    let ended = activity.ended(0);
    assert_eq!((ended.len(), ended[0].number), (REMEMBERED, 8));
    assert_eq!(activity.ended(REMEMBERED as u64 + 6).len(), 1);
    assert!(activity.ended(REMEMBERED as u64 + 7).is_empty());
}

#[test]
fn texts_are_kept_only_while_that_is_wanted() {
    let activity = Arc::<Activity>::default();
    activity.keep_content(true);
    let ask = || {
        let mut record = begin(&activity, true);
        record.admit(|| Some("question-sentinel".repeat(100)));
        record.live.as_mut().unwrap().answered("answer-sentinel");
        record
    };
    drop(ask());
    let last = || activity.ended(0).pop().unwrap();
    assert_eq!((last().question.chars().count(), last().answer.as_str()), (300, "answer-sentinel"));
    let running = ask();
    assert!(!format!("{running:?}").contains("sentinel"));
    activity.keep_content(false);
    assert!(!format!("{activity:?}").contains("answer-sentinel"));
    drop(running);
    assert_eq!(activity.ended(0).len(), 2);
    assert!(!format!("{activity:?}").contains("sentinel"));
}
