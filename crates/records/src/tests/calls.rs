use super::*;
use crate::call::{
    CallFilter, Leg, MatchMethod, answered, any, caller_changed, close_stale, contacts_of,
    contacts_of_number, ended, far_end_ringing, find, item, legs, link_customer, list, offered,
    ringing, trunk_changed, withdrawn,
};
use crate::recording::{self, RecordingFilter};
use crate::testing::call;
use cheling_model::call::Party;
use cheling_model::follow_up::AttachMethod;
use cheling_model::recording::{Container, LaneQuality, Recording, Span, SpeechMeasures};
use cheling_model::{
    CallId, DealershipId, Direction, EndCause, Lane, LegId, Presentation, RecordingId, Verdict,
};

fn leg(call_id: CallId, extension: &str) -> Leg {
    Leg {
        leg_id: mint::<LegId>(),
        call_id,
        extension: extension.into(),
        user_id: None,
        ringing_at: Some(after(1)),
        answered_at: None,
        ended_at: None,
        withdrawn: None,
        sip_status: None,
    }
}

pub(crate) fn recording(dealership_id: DealershipId, call_id: CallId) -> Recording {
    let recording_id: RecordingId = mint();
    Recording {
        recording_id,
        call_id,
        dealership_id,
        path: format!("2026/11/22/{recording_id}.wav"),
        container: Container::Wav,
        started_at: after(5),
        duration_us: 55_000_000,
        sample_rate_hz: 8000,
        bytes: 1_760_044,
        sha256: "ab".into(),
        verdict: Verdict::OneWay,
        verdict_detail: "customer lane silent".into(),
        encodings: [String::new(), "PCMA".into()],
        quality: [
            LaneQuality::default(),
            LaneQuality { received_packets: 2750, jitter_us: 120, ..LaneQuality::default() },
        ],
        speech: SpeechMeasures { talk_ratio: [0.0, 0.5], ..SpeechMeasures::default() },
        pauses: vec![Span { from_ms: 1500, until_ms: 2750 }],
        digits: vec![Span { from_ms: 9000, until_ms: 12_345 }],
    }
}

#[tokio::test]
async fn a_call_written_twice_reads_as_once() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let row = call(here, Direction::Inbound, "13812345678");
        let id = row.call_id;
        let (one, two) = (leg(id, "8001"), leg(id, "8002"));
        let mut lost = Leg {
            ended_at: Some(after(6)),
            withdrawn: Some("answered_elsewhere".into()),
            ringing_at: None,
            ..two.clone()
        };
        let mut reads = Vec::new();
        for round in 0..2 {
            assert_eq!(offered(&db, &row).await.unwrap(), round == 0);
            ringing(&db, &one).await.unwrap();
            ringing(&db, &two).await.unwrap();
            far_end_ringing(&db, id, after(3)).await.unwrap();
            trunk_changed(&db, id, "backup").await.unwrap();
            answered(&db, id, "8001", Some(user), after(5)).await.unwrap();
            withdrawn(&db, &lost).await.unwrap();
            ended(&db, id, after(60), EndCause::HungUp, Some(Lane::Customer), None).await.unwrap();
            reads.push((find(&db, here, id).await.unwrap(), legs(&db, id).await.unwrap()));
        }
        assert_eq!(reads[0], reads[1]);
        let (read, phones) = &reads[0];
        assert_eq!((read.ringing_at, read.trunk.as_str()), (Some(after(1)), "backup"));
        assert_eq!((read.answered_at, read.ended_at), (Some(after(5)), Some(after(60))));
        assert_eq!((read.extension.as_str(), read.user_id), ("8001", Some(user)));
        assert_eq!((read.cause, read.hangup_by), (Some(EndCause::HungUp), Some(Lane::Customer)));
        assert_eq!(phones[0].answered_at, Some(after(5)));
        lost.ringing_at = two.ringing_at;
        assert_eq!(phones[1], lost);
        assert_eq!(any(&db, id).await.unwrap().as_ref(), Some(read));
        assert!(matches!(find(&db, mint(), id).await, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn a_call_whose_end_nobody_saw_is_closed_once() {
    on_both(async |db| {
        let here = dealership(&db).await;
        insert(&db, &call(here, Direction::Inbound, "13812345678")).await.unwrap();
        assert_eq!(close_stale(&db, NOW).await.unwrap(), 0);
        assert_eq!(close_stale(&db, after(1)).await.unwrap(), 1);
        assert_eq!(close_stale(&db, after(1)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_late_number_never_undoes_what_a_person_linked() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let li = customer(&db, here, "李静", "13900000001").await;
        let row = call(here, Direction::Inbound, "");
        offered(&db, &row).await.unwrap();
        let id = row.call_id;
        let party = Party {
            number: "13812345678".into(),
            display_name: Some("王".into()),
            presentation: Presentation::Allowed,
        };
        caller_changed(&db, id, &party, "+8613812345678", Some(wang)).await.unwrap();
        let read = find(&db, here, id).await.unwrap();
        assert_eq!((read.customer_id, read.match_method), (Some(wang), MatchMethod::Number));
        assert_eq!(read.customer_key, "+8613812345678");
        link_customer(&db, here, id, Some(li), MatchMethod::Chosen).await.unwrap();
        caller_changed(&db, id, &party, "+8613812345678", Some(wang)).await.unwrap();
        assert_eq!(find(&db, here, id).await.unwrap().customer_id, Some(li));
        let stranger = link_customer(&db, here, id, Some(mint()), MatchMethod::Manual).await;
        assert!(matches!(stranger, Err(Error::NotFound)));
        link_customer(&db, here, id, None, MatchMethod::None).await.unwrap();
        assert_eq!(find(&db, here, id).await.unwrap().customer_id, None);
    })
    .await;
}

#[tokio::test]
async fn calls_are_listed_newest_first_and_narrowed() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mut ids = Vec::new();
        for n in 0..4 {
            let direction = if n == 3 { Direction::Outbound } else { Direction::Inbound };
            let mut row = call(here, direction, &format!("1381234567{n}"));
            row.offered_at = after(n / 2);
            if n == 0 {
                row.customer_id = Some(wang);
                row.answered_at = Some(after(9));
                row.user_id = Some(user);
            }
            insert(&db, &row).await.unwrap();
            ids.push(row.call_id);
        }
        let rung = Leg { user_id: Some(user), ..leg(ids[1], "8001") };
        ringing(&db, &rung).await.unwrap();
        let listed = async |filter: CallFilter| {
            let (mut seen, mut next): (Vec<CallId>, _) = (Vec::new(), None);
            loop {
                let page = list(&db, here, &filter, next.as_deref(), 1).await.unwrap();
                seen.extend(page.items.iter().map(|it| it.call_id));
                next = page.next;
                if next.is_none() {
                    return seen;
                }
            }
        };
        let all = CallFilter::default();
        assert_eq!(listed(all.clone()).await, [ids[3], ids[2], ids[1], ids[0]]);
        for (filter, found) in [
            (CallFilter { direction: Some(Direction::Outbound), ..all.clone() }, vec![ids[3]]),
            (CallFilter { customer_id: Some(wang), ..all.clone() }, vec![ids[0]]),
            (CallFilter { user_id: Some(user), ..all.clone() }, vec![ids[1], ids[0]]),
            (CallFilter { answered: Some(true), ..all.clone() }, vec![ids[0]]),
            (
                CallFilter { answered: Some(false), until: Some(after(1)), ..all.clone() },
                vec![ids[1]],
            ),
            (CallFilter { from: Some(after(1)), ..all.clone() }, vec![ids[3], ids[2]]),
            (CallFilter { text: "5672".into(), ..all.clone() }, vec![ids[2]]),
            (CallFilter { text: "建国".into(), ..all.clone() }, vec![ids[0]]),
            (CallFilter { follow_up_id: Some(mint()), ..all.clone() }, vec![]),
        ] {
            assert_eq!(listed(filter.clone()).await, found, "{filter:?}");
        }
        let one = item(&db, here, ids[0]).await.unwrap();
        assert_eq!((one.customer_name.as_str(), one.user_name.as_str()), ("王建国", "坐席8001"));
        assert!(matches!(item(&db, mint(), ids[0]).await, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn past_contacts_leave_the_present_call_out() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mut ids = Vec::new();
        for n in 0..3 {
            let mut row = call(here, Direction::Inbound, "13812345678");
            row.offered_at = after(n);
            row.customer_id = Some(wang);
            insert(&db, &row).await.unwrap();
            ids.push(row.call_id);
        }
        recording::insert(&db, &recording(here, ids[1])).await.unwrap();
        let now = Some(ids[2]);
        let past = contacts_of(&db, wang, now, 5).await.unwrap();
        assert_eq!(past.iter().map(|it| it.call_id).collect::<Vec<_>>(), [ids[1], ids[0]]);
        assert!(past[0].recording_id.is_some() && past[1].recording_id.is_none());
        let by_number = contacts_of_number(&db, here, "+8613812345678", now, 1).await.unwrap();
        assert_eq!(by_number.len(), 1);
        assert_eq!(by_number[0], past[0]);
        assert_eq!(contacts_of(&db, wang, None, 5).await.unwrap().len(), 3);
    })
    .await;
}

#[tokio::test]
async fn a_recording_reads_as_it_was_written_and_may_be_written_again() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let row = call(here, Direction::Inbound, "13812345678");
        let mut audio = recording(here, row.call_id);
        // Before the call's own row.
        recording::insert(&db, &audio).await.unwrap();
        offered(&db, &row).await.unwrap();
        let read = recording::find(&db, here, audio.recording_id).await.unwrap();
        assert_eq!(read, audio);
        audio.sha256 = "cd".into();
        recording::insert(&db, &audio).await.unwrap();
        assert_eq!(recording::of_call(&db, row.call_id).await.unwrap(), [audio.clone()]);
        assert!(recording::exists_of_call(&db, row.call_id).await.unwrap());
        assert!(!recording::exists_of_call(&db, mint()).await.unwrap());
        assert!(recording::has_path(&db, &audio.path).await.unwrap());
        assert!(!recording::has_path(&db, "x").await.unwrap());
        assert_eq!(recording::walk(&db, None, 9).await.unwrap(), [audio.clone()]);
        assert!(recording::walk(&db, Some(audio.recording_id), 9).await.unwrap().is_empty());
        let mut twin = recording(here, row.call_id);
        twin.path.clone_from(&audio.path);
        let taken = recording::insert(&db, &twin).await;
        assert!(matches!(&taken, Err(Error::Conflict { field }) if field == "path"), "{taken:?}");
        assert!(matches!(
            recording::find(&db, mint(), audio.recording_id).await,
            Err(Error::NotFound)
        ));
    })
    .await;
}

#[tokio::test]
async fn answered_calls_that_are_over_and_have_no_recording_are_found() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let mut calls: Vec<_> = (0..5).map(|_| call(here, Direction::Inbound, "1")).collect();
        calls.sort_by_key(|call| call.call_id);
        calls[4].offered_at = after(1000);
        for (n, row) in calls.iter().enumerate() {
            offered(&db, row).await.unwrap();
            // The first was not answered, and the second talks still.
            if n > 0 {
                answered(&db, row.call_id, "8001", None, after(5)).await.unwrap();
            }
            if n != 1 {
                ended(&db, row.call_id, after(60), EndCause::HungUp, None, None).await.unwrap();
            }
        }
        let found = async |after| {
            let found = recording::unrecorded(&db, super::after(900), after, 1).await.unwrap();
            found.into_iter().next().map(|call| call.call_id)
        };
        let second = calls[3].call_id;
        assert_eq!(found(None).await, Some(calls[2].call_id));
        assert_eq!(found(Some(calls[2].call_id)).await, Some(second));
        assert_eq!(found(Some(second)).await, None, "it was offered later");
        recording::insert(&db, &recording(here, calls[2].call_id)).await.unwrap();
        let left = recording::unrecorded(&db, after(900), None, 9).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].call_id, left[0].answered_at), (second, after(5)));
    })
    .await;
}

#[tokio::test]
async fn a_row_changes_its_file_only_from_the_one_it_tells_of() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let mut wavs: Vec<_> = (0..3).map(|_| recording(here, mint())).collect();
        wavs.sort_by_key(|row| row.recording_id);
        wavs[1].started_at = after(50);
        for row in &wavs {
            recording::insert(&db, row).await.unwrap();
        }
        let [first, late, last] = &wavs[..] else { return };
        let old = after(50);
        let ids = |rows: Vec<Recording>| -> Vec<_> {
            rows.into_iter().map(|row| row.recording_id).collect()
        };
        let found = recording::wavs(&db, old, None, 9).await.unwrap();
        assert_eq!(ids(found), [first.recording_id, last.recording_id]);
        let found = recording::wavs(&db, after(51), Some(first.recording_id), 1).await.unwrap();
        assert_eq!(ids(found), [late.recording_id]);
        assert_eq!(recording::count_wavs(&db, old).await.unwrap(), 2);
        let copy = Recording {
            path: first.path.replace(".wav", ".opus"),
            container: Container::OggOpus,
            bytes: 7,
            sha256: "of the copy".into(),
            ..first.clone()
        };
        assert!(recording::replace_file(&db, first, &copy).await.unwrap());
        assert_eq!(recording::get(&db, first.recording_id).await.unwrap(), Some(copy.clone()));
        assert!(!recording::replace_file(&db, first, &copy).await.unwrap(), "not twice");
        assert_eq!(recording::count_wavs(&db, old).await.unwrap(), 1);
        assert_eq!(recording::get(&db, mint()).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_dealership_may_want_another_container() {
    on_both(async |db| {
        let here = dealership(&db).await;
        assert_eq!(recording::container(&db, here).await.unwrap(), None);
        for wanted in [Some(Container::OggOpus), Some(Container::Wav), None] {
            recording::set_container(&db, here, wanted, after(1)).await.unwrap();
            assert_eq!(recording::container(&db, here).await.unwrap(), wanted);
        }
    })
    .await;
}

#[tokio::test]
async fn recordings_are_listed_with_whose_they_are() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mut row = call(here, Direction::Outbound, "13812345678");
        row.customer_id = Some(wang);
        row.user_id = Some(user);
        insert(&db, &row).await.unwrap();
        let attached = recording(here, row.call_id);
        let mut stray = recording(here, mint());
        stray.started_at = after(99);
        stray.verdict = Verdict::Ok;
        let inner = call(here, Direction::Internal, "");
        insert(&db, &inner).await.unwrap();
        let mut internal = recording(here, inner.call_id);
        internal.started_at = after(1);
        for audio in [&attached, &stray, &internal] {
            recording::insert(&db, audio).await.unwrap();
        }
        let todo = task(here, wang, user);
        insert(&db, &todo).await.unwrap();
        let method = AttachMethod::Inferred;
        assert!(
            crate::attach::link_if_free(&db, row.call_id, todo.follow_up_id, method).await.unwrap()
        );
        assert!(!crate::attach::link_if_free(&db, row.call_id, mint(), method).await.unwrap());
        assert_eq!(crate::attach::copy_to_recordings(&db, row.call_id).await.unwrap(), 1);
        assert_eq!(crate::attach::copy_to_recordings(&db, row.call_id).await.unwrap(), 0);
        let listed = async |filter: RecordingFilter| {
            let (mut seen, mut next) = (Vec::new(), None);
            loop {
                let page = recording::list(&db, here, &filter, next.as_deref(), 1).await.unwrap();
                seen.extend(page.items.iter().map(|it| it.recording_id));
                next = page.next;
                if next.is_none() {
                    return seen;
                }
            }
        };
        let all = RecordingFilter::default();
        let (a, s, i) = (attached.recording_id, stray.recording_id, internal.recording_id);
        assert_eq!(listed(all.clone()).await, [s, a, i]);
        for (filter, found) in [
            (RecordingFilter { attached: Some(false), ..all.clone() }, vec![s]),
            (RecordingFilter { attached: Some(true), ..all.clone() }, vec![a]),
            (RecordingFilter { user_id: Some(user), ..all.clone() }, vec![a]),
            (RecordingFilter { customer_id: Some(wang), ..all.clone() }, vec![a]),
            (RecordingFilter { follow_up_id: Some(todo.follow_up_id), ..all.clone() }, vec![a]),
            (RecordingFilter { verdict: Some(Verdict::Ok), ..all.clone() }, vec![s]),
            (RecordingFilter { direction: Some(Direction::Internal), ..all.clone() }, vec![i]),
            (
                RecordingFilter { from: Some(after(5)), until: Some(after(9)), ..all.clone() },
                vec![a],
            ),
            (RecordingFilter { text: "5678".into(), ..all.clone() }, vec![a]),
            (RecordingFilter { text: "王建".into(), ..all.clone() }, vec![a]),
        ] {
            assert_eq!(listed(filter.clone()).await, found, "{filter:?}");
        }
        let item = recording::item(&db, here, a).await.unwrap();
        assert_eq!((item.user_name.as_str(), item.customer_name.as_str()), ("坐席8001", "王建国"));
        assert_eq!(item.attach_method, Some(AttachMethod::Inferred));
        assert_eq!(item.follow_up_subject, todo.subject);
        let strays = crate::attach::unattached_since(&db, NOW, 10).await.unwrap();
        assert!(strays.is_empty(), "its call has no row yet: {strays:?}");
    })
    .await;
}
