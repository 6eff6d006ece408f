use super::*;
use cheling_model::{CallId, FollowUpId};
use proptest::prelude::*;
use uuid::Uuid;

const START_US: i64 = 1_790_000_000_000_000;

fn user(n: u128) -> UserId {
    UserId(Uuid::from_u128(n))
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START_US + seconds * 1_000_000)
}

/// An event that names itself by a number.
fn notice(to: &[UserId], n: u128) -> Notice {
    Notice {
        to: to.to_vec(),
        at: at(0),
        event: ConsoleEvent::TaskChanged { follow_up_id: FollowUpId(Uuid::from_u128(n)) },
    }
}

fn name_of(frame: &Frame) -> Option<u128> {
    let json: serde_json::Value = serde_json::from_str(&frame.text).unwrap();
    assert_eq!(json["seq"], frame.seq);
    let id = json.get("follow_up_id")?.as_str().unwrap();
    Some(Uuid::parse_str(id).unwrap().as_u128())
}

fn drain(subscription: &mut Subscription) -> Vec<Frame> {
    let mut frames = std::mem::take(&mut subscription.replay);
    while let Ok(frame) = subscription.events.try_recv() {
        frames.push(frame);
    }
    frames
}

#[test]
fn an_event_is_the_wire_form_of_architecture_5() {
    let hub = Hub::default();
    let mut socket = hub.subscribe_at(user(1), None, at(0));
    hub.publish_at(
        &Notice {
            to: vec![user(1), user(1)],
            at: at(3),
            event: ConsoleEvent::CallWithdrawn {
                call_id: CallId(Uuid::from_u128(7)),
                why: cheling_model::Withdrawal::AnsweredElsewhere { extension: "8002".into() },
                answered_by: Some("陈静".into()),
            },
        },
        at(4),
    );
    let frames = drain(&mut socket);
    assert_eq!(frames.len(), 1, "named twice, told once");
    let json: serde_json::Value = serde_json::from_str(&frames[0].text).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "seq": START_US + 1, "at": START_US + 3_000_000, "type": "call.withdrawn",
            "call_id": Uuid::from_u128(7), "reason": "answered_elsewhere", "extension": "8002",
            "answered_by": "陈静",
        })
    );
}

#[test]
fn a_number_from_before_a_restart_gets_reset() {
    let before = Hub::default();
    let mut socket = before.subscribe_at(user(1), None, at(0));
    (0..5).for_each(|n| before.publish_at(&notice(&[user(1)], n), at(1)));
    let since = drain(&mut socket).last().unwrap().seq;

    let after = Hub::default();
    after.publish_at(&notice(&[user(1)], 9), at(30));
    let mut socket = after.subscribe_at(user(1), Some(since), at(31));
    let frames = drain(&mut socket);
    assert_eq!(frames.len(), 1);
    assert!(frames[0].text.contains("\"type\":\"reset\""));
    let resumed = after.subscribe_at(user(1), Some(frames[0].seq), at(32));
    assert!(resumed.replay.is_empty(), "the number of the reset is one to resume from");
}

#[test]
fn since_beyond_what_is_kept_gets_reset() {
    let limits = Limits { events: 3, age: Duration::from_secs(600), ..Limits::default() };
    let hub = Hub::new(limits);
    let base = hub.seq_at(user(1), at(0));
    (0..5).for_each(|n| hub.publish_at(&notice(&[user(1)], n), at(1)));
    for (since, want) in [
        (base, None),                    // two events are gone
        (base + 1, None),                // one event is gone
        (base + 2, Some(vec![2, 3, 4])), // all later ones are kept
        (base + 4, Some(vec![4])),
        (base + 5, Some(vec![])), // up to date
        (base + 6, None),         // never given out
        (0, None),
    ] {
        let mut socket = hub.subscribe_at(user(1), Some(since), at(2));
        let frames = drain(&mut socket);
        match want {
            Some(names) => {
                let got: Vec<_> = frames.iter().filter_map(name_of).collect();
                assert_eq!(got, names, "since base + {}", since - base);
            }
            None => assert!(frames.len() == 1 && frames[0].text.contains("reset"), "{since}"),
        }
    }
    let mut late = hub.subscribe_at(user(1), Some(base + 4), at(700));
    assert!(drain(&mut late)[0].text.contains("reset"), "too old to be replayed");
}

#[test]
fn a_socket_that_does_not_read_is_dropped_and_the_others_go_on() {
    let hub = Hub::new(Limits { queue: 4, ..Limits::default() });
    let mut slow = hub.subscribe_at(user(1), None, at(0));
    let mut quick = hub.subscribe_at(user(1), None, at(0));
    let mut got = Vec::new();
    for n in 0..10 {
        hub.publish_at(&notice(&[user(1)], n), at(1));
        got.extend(drain(&mut quick).iter().filter_map(name_of));
    }
    assert_eq!(got, (0..10).collect::<Vec<_>>());
    let kept = drain(&mut slow);
    assert_eq!(kept.len(), 4, "what was queued is still sent");
    assert!(matches!(slow.events.try_recv(), Err(mpsc::error::TryRecvError::Disconnected)));
    let mut resumed = hub.subscribe_at(user(1), kept.last().map(|frame| frame.seq), at(2));
    let rest: Vec<_> = drain(&mut resumed).iter().filter_map(name_of).collect();
    assert_eq!(rest, (4..10).collect::<Vec<_>>(), "and the rest is replayed");
    assert_eq!(hub.totals().overflows, 1);
}

#[test]
fn an_evicted_stream_never_reuses_a_number() {
    let hub = Hub::new(Limits { users: 2, ..Limits::default() });
    (0..50).for_each(|n| hub.publish_at(&notice(&[user(1)], n), at(0)));
    let since = hub.seq_at(user(1), at(0));
    let _two = hub.seq_at(user(2), at(1));
    let _three = hub.seq_at(user(3), at(2));
    let again = hub.subscribe_at(user(1), Some(since), at(0));
    assert!(again.seq > since);
    assert!(again.replay[0].text.contains("reset"));
}

#[test]
fn one_user_never_gets_anothers_event() {
    let hub = Hub::default();
    let mut one = hub.subscribe_at(user(1), None, at(0));
    let mut two = hub.subscribe_at(user(2), None, at(0));
    hub.publish_at(&notice(&[user(1)], 1), at(0));
    hub.publish_at(&notice(&[user(2)], 2), at(0));
    assert_eq!(drain(&mut one).iter().filter_map(name_of).collect::<Vec<_>>(), [1]);
    assert_eq!(drain(&mut two).iter().filter_map(name_of).collect::<Vec<_>>(), [2]);
}

/// What may happen between a hub and one browser.
#[derive(Clone, Debug)]
enum Step {
    Publish(u8),
    Read,
    Disconnect,
    Reconnect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec(
        prop_oneof![
            4 => (1_u8..12).prop_map(Step::Publish),
            3 => Just(Step::Read),
            1 => Just(Step::Disconnect),
            2 => Just(Step::Reconnect),
        ],
        1..120,
    )
}

/// A browser that keeps what it has seen, and where its last snapshot stood.
struct Browser {
    seen: Vec<u128>,
    since: u64,
    snapshot: u64,
}

impl Browser {
    /// Takes one frame. Only what a snapshot has shown already may come again.
    fn take(&mut self, hub: &Hub, published: u128, frame: &Frame) -> Result<(), TestCaseError> {
        match name_of(frame) {
            Some(_) if frame.seq <= self.snapshot => {}
            Some(name) => {
                prop_assert_eq!(frame.seq, self.since + 1);
                self.since = frame.seq;
                self.seen.push(name);
            }
            None => {
                self.snapshot = hub.seq_at(user(1), at(1));
                self.since = self.snapshot;
                self.seen = (0..published).collect();
            }
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_the_reconnects_nothing_is_missed_or_doubled(steps in steps()) {
        let hub = Hub::new(Limits { events: 40, queue: 8, ..Limits::default() });
        let since = hub.seq_at(user(1), at(0));
        let mut browser = Browser { seen: Vec::new(), since, snapshot: since };
        let mut socket: Option<Subscription> = None;
        let mut published: u128 = 0;
        for step in steps {
            match step {
                Step::Publish(count) => for _ in 0..count {
                    hub.publish_at(&notice(&[user(1)], published), at(1));
                    published += 1;
                },
                // What was queued and not read is lost with the connection.
                Step::Disconnect => if let Some(open) = socket.take() {
                    hub.unsubscribe(user(1), open.socket);
                },
                Step::Reconnect => if socket.is_none() {
                    socket = Some(hub.subscribe_at(user(1), Some(browser.since), at(1)));
                },
                Step::Read => if let Some(open) = &mut socket {
                    for frame in drain(open) {
                        browser.take(&hub, published, &frame)?;
                    }
                    let is_cut = open.events.try_recv()
                        == Err(mpsc::error::TryRecvError::Disconnected);
                    if is_cut {
                        socket = None;
                    }
                }
            }
        }
        let mut last = hub.subscribe_at(user(1), Some(browser.since), at(1));
        for frame in drain(&mut last) {
            browser.take(&hub, published, &frame)?;
        }
        prop_assert_eq!(browser.seen, (0..published).collect::<Vec<_>>());
    }
}
