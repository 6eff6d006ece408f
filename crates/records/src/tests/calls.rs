use super::*;
use crate::call::{
    CallFilter, Leg, MatchMethod, Route, any, caller_changed, close_stale, contacts_of,
    contacts_of_number, find, item, last_calls, legs, link_customer, list, route,
};
use crate::guest::{self, Guest};
use crate::ledger::{Entries, LateCaller};
use crate::recording::{self, RecordingFilter};
use crate::testing::call;
use cheling_model::call::{Party, StopKind, StopReason};
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

/// A call of a group of two at each of its steps, as a desk writes it.
fn steps(here: DealershipId, user: cheling_model::UserId) -> Vec<Entries> {
    let offered = call(here, Direction::Inbound, "13812345678");
    let id = offered.call_id;
    let ringing =
        crate::call::Call { ringing_at: Some(after(1)), user_id: None, ..offered.clone() };
    let answered = crate::call::Call {
        answered_at: Some(after(5)),
        extension: "8001".into(),
        user_id: Some(user),
        trunk: "backup".into(),
        ..ringing.clone()
    };
    let ended = crate::call::Call {
        ended_at: Some(after(60)),
        cause: Some(EndCause::HungUp),
        hangup_by: Some(Lane::Customer),
        ..answered.clone()
    };
    let (one, two) = (leg(id, "8001"), leg(id, "8002"));
    let talks = Leg { answered_at: Some(after(5)), ..one.clone() };
    let lost = Leg {
        ended_at: Some(after(5)),
        withdrawn: Some("answered_elsewhere".into()),
        ..two.clone()
    };
    let talked = Leg { ended_at: Some(after(60)), ..talks.clone() };
    let sent = Route {
        call_id: id,
        at: after(0),
        kind: StopKind::Group,
        name: "售后".into(),
        why: StopReason::Called,
        position: 0,
    };
    let joined = Guest {
        call_id: id,
        guest: 1,
        joined_at: after(20),
        role: cheling_model::GuestRole::Conference,
        number: "8002".into(),
        extension: "8002".into(),
        user_id: None,
        left_at: None,
    };
    let left = Guest { left_at: Some(after(60)), ..joined.clone() };
    vec![
        Entries { calls: vec![offered], routes: vec![sent], ..Entries::default() },
        Entries { calls: vec![ringing], legs: vec![one, two], ..Entries::default() },
        Entries { calls: vec![answered], legs: vec![talks, lost], ..Entries::default() },
        Entries { guests: vec![joined], ..Entries::default() },
        Entries {
            calls: vec![ended],
            legs: vec![talked],
            guests: vec![left],
            ..Entries::default()
        },
    ]
}

#[tokio::test]
async fn a_call_written_again_or_late_reads_as_once() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let steps = steps(here, user);
        let id = steps[0].calls[0].call_id;
        let mut reads = Vec::new();
        // Step by step; all of it again; an early step after the last.
        for step in steps.iter().chain(&steps).chain(&steps[..2]) {
            step.write(&db).await.unwrap();
            let guests = guest::of_call(&db, id).await.unwrap();
            let (call, legs) = (find(&db, here, id).await.unwrap(), legs(&db, id).await.unwrap());
            reads.push((call, legs, guests, route(&db, id).await.unwrap()));
        }
        for read in &reads[steps.len()..] {
            assert_eq!(read, &reads[steps.len() - 1]);
        }
        let (read, phones, guests, route) = &reads[steps.len() - 1];
        assert_eq!(Some(read), steps.last().and_then(|it| it.calls.first()));
        assert_eq!((phones[0].answered_at, phones[0].ended_at), (Some(after(5)), Some(after(60))));
        assert_eq!(phones[1].withdrawn.as_deref(), Some("answered_elsewhere"));
        assert_eq!(guests, &steps.last().unwrap().guests);
        assert_eq!(route, &steps[0].routes);
        assert_eq!(any(&db, id).await.unwrap().as_ref(), Some(read));
        assert!(matches!(find(&db, mint(), id).await, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn many_calls_are_written_together_or_not_at_all() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let mut all = Entries::default();
        for _ in 0..50 {
            for step in steps(here, user).into_iter().skip(4) {
                all.calls.extend(step.calls);
                all.legs.extend(step.legs);
                all.guests.extend(step.guests);
            }
        }
        all.write(&db).await.unwrap();
        let wanted = CallFilter::default();
        assert_eq!(list(&db, here, &wanted, None, 200).await.unwrap().items.len(), 50);
        let mut wrong = steps(here, user).swap_remove(1);
        wrong.calls.push(call(mint(), Direction::Inbound, "1"));
        assert!(matches!(wrong.write(&db).await, Err(Error::Refused(_))));
        assert_eq!(list(&db, here, &wanted, None, 200).await.unwrap().items.len(), 50);
    })
    .await;
}

#[tokio::test]
async fn a_contact_record_is_made_once_and_not_against_a_persons_word() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let mut row = steps(here, user).swap_remove(2).calls.swap_remove(0);
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let record = crate::follow_up::FollowUp {
            origin_call_id: Some(row.call_id),
            ..task(here, wang, user)
        };
        row.follow_up_id = Some(record.follow_up_id);
        row.attach_method = Some(AttachMethod::InboundContact);
        let audio = recording(here, row.call_id);
        recording::insert(&db, &audio).await.unwrap();
        let linked = vec![row.call_id];
        let (calls, contacts) = (vec![row.clone()], vec![record.clone()]);
        let entries = Entries { calls, contacts, linked, ..Entries::default() };
        for _ in 0..2 {
            entries.write(&db).await.unwrap();
            let made = crate::follow_up::of_origin(&db, row.call_id).await.unwrap();
            assert_eq!(made.as_ref(), Some(&record));
            let item = recording::item(&db, here, audio.recording_id).await.unwrap();
            assert_eq!(item.follow_up_id, Some(record.follow_up_id));
        }
        // One that lands now has the link from the first.
        let second = recording(here, row.call_id);
        recording::insert(&db, &second).await.unwrap();
        let item = recording::item(&db, here, second.recording_id).await.unwrap();
        assert_eq!(item.attach_method, Some(AttachMethod::InboundContact));
        let landed = recording::landings(&db, &[row.call_id, mint()]).await.unwrap();
        assert_eq!(landed.len(), 1);
        assert_eq!((landed[0].user_id, landed[0].is_behind), (Some(user), false));

        // Of another call a person has said that it is for nothing.
        let mut other = call(here, Direction::Inbound, "13812345678");
        insert(&db, &other).await.unwrap();
        crate::attach::relink(&db, here, other.call_id, None).await.unwrap();
        let record = crate::follow_up::FollowUp {
            follow_up_id: mint(),
            origin_call_id: Some(other.call_id),
            ..record
        };
        other.follow_up_id = Some(record.follow_up_id);
        other.attach_method = Some(AttachMethod::InboundContact);
        let (calls, contacts) = (vec![other.clone()], vec![record]);
        Entries { calls, contacts, ..Entries::default() }.write(&db).await.unwrap();
        assert_eq!(find(&db, here, other.call_id).await.unwrap().follow_up_id, None);
        assert_eq!(crate::follow_up::of_origin(&db, other.call_id).await.unwrap(), None);
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
async fn the_last_call_of_each_phone_is_known() {
    on_both(async |db| {
        let here = dealership(&db).await;
        for (direction, caller, extension, offered, answered, ended) in [
            (Direction::Inbound, "13812345678", "8001", 0, true, Some(60)),
            (Direction::Outbound, "8001", "8001", 10, true, Some(30)),
            (Direction::Internal, "8002", "8003", 20, true, Some(40)),
            // Rang in vain, still talks, too long ago.
            (Direction::Outbound, "8003", "8003", 50, false, Some(70)),
            (Direction::Inbound, "1", "8004", 50, true, None),
            (Direction::Inbound, "1", "8005", -100, true, Some(-50)),
        ] {
            let row = crate::call::Call {
                extension: extension.into(),
                offered_at: after(offered),
                answered_at: answered.then(|| after(offered + 1)),
                ended_at: ended.map(after),
                caller_number: caller.into(),
                ..call(here, direction, caller)
            };
            insert(&db, &row).await.unwrap();
        }
        let mut last = last_calls(&db, here, NOW).await.unwrap();
        last.sort();
        let want = [("8001", 60), ("8002", 40), ("8003", 40)];
        assert_eq!(last, want.map(|(phone, at)| (phone.to_owned(), after(at))));
        assert!(last_calls(&db, mint(), NOW).await.unwrap().is_empty());
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
        insert(&db, &row).await.unwrap();
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
        let late = LateCaller {
            call_id: id,
            caller: party,
            customer_key: "+8613812345678".into(),
            customer_id: Some(wang),
        };
        let late = Entries { late_callers: vec![late], ..Entries::default() };
        late.write(&db).await.unwrap();
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
        insert(&db, &rung).await.unwrap();
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
        insert(&db, &row).await.unwrap();
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
        for (n, row) in calls.iter_mut().enumerate() {
            // The first was not answered, and the second talks still.
            row.answered_at = (n > 0).then(|| after(5));
            row.ended_at = (n != 1).then(|| after(60));
            insert(&db, row).await.unwrap();
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
