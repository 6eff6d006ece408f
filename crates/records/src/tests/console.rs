use super::*;
use crate::admin::{Audit, audit, claim_idempotency};
use crate::attach::{copy_to_recordings, relink};
use crate::call::{CallFilter, list};
use crate::console::{
    awaiting_wrap_up, calls, counts, listeners, plates_of, recordings_of, release_idempotency,
    replace_lines,
};
use crate::follow_up::{FollowUpFilter, list as list_follow_ups, update};
use crate::switchboard::{Line, Member, RingGroup, groups, lines, members, phones};
use crate::vehicle::{Tie, Vehicle, tie, untie};
use crate::wrap_up::{WrapUp, save};
use crate::{follow_up, recording};
use cheling_model::directory::Destination;
use cheling_model::follow_up::{FollowUpState, Outcome};
use cheling_model::{CallId, DealershipId, Direction, EndCause, UserId};

/// An outbound call of `user` that was answered at 5 s and ended at 60 s.
async fn talked(db: &crate::Database, here: DealershipId, user: UserId, to: &str) -> CallId {
    let mut row = call(here, Direction::Outbound, to);
    row.extension = "8001".into();
    row.user_id = Some(user);
    row.answered_at = Some(after(5));
    row.ended_at = Some(after(60));
    row.cause = Some(EndCause::HungUp);
    insert(db, &row).await.unwrap();
    row.call_id
}

fn vehicle(here: DealershipId, plate: &str) -> Vehicle {
    Vehicle {
        vehicle_id: mint(),
        dealership_id: here,
        plate: plate.into(),
        plate_key: crate::customer::plate_key(plate),
        vin: String::new(),
        brand: String::new(),
        model: "途观L".into(),
        displacement: String::new(),
        transmission: String::new(),
        colour: String::new(),
        delivered_on: None,
        mileage_km: None,
        last_visit_on: None,
        next_service_on: None,
        inspection_due_on: None,
        insurance_due_on: None,
        created_at: NOW,
        updated_at: NOW,
    }
}

#[tokio::test]
async fn a_page_gets_its_plates_calls_and_recordings_at_once() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let li = customer(&db, here, "李静", "13900000001").await;
        let car = vehicle(here, "沪A·D3962");
        insert(&db, &car).await.unwrap();
        let role = "owner".into();
        let bond =
            Tie { customer_id: wang, vehicle_id: car.vehicle_id, role, since: NOW, until: None };
        tie(&db, &bond).await.unwrap();
        let mut plates = plates_of(&db, &[wang, li]).await.unwrap();
        plates.sort_by(|a, b| b.plate.cmp(&a.plate));
        assert_eq!((plates[0].customer_id, plates[0].plate.as_str()), (wang, "沪A·D3962"));
        assert_eq!((plates[1].customer_id, plates[1].plate.as_str()), (li, ""));
        untie(&db, wang, car.vehicle_id, after(9)).await.unwrap();
        assert_eq!(plates_of(&db, &[wang]).await.unwrap()[0].plate, "");

        let one = talked(&db, here, user, "13812345678").await;
        let two = talked(&db, here, user, "13900000001").await;
        assert_eq!(calls(&db, here, &[one, two, mint()]).await.unwrap().len(), 2);
        assert!(calls(&db, mint(), &[one]).await.unwrap().is_empty());
        assert!(calls(&db, here, &[]).await.unwrap().is_empty());

        let task = task(here, wang, user);
        insert(&db, &task).await.unwrap();
        let row = calls_recording(&db, here, one).await;
        relink(&db, here, one, Some(task.follow_up_id)).await.unwrap();
        copy_to_recordings(&db, one).await.unwrap();
        let found = recordings_of(&db, &[task.follow_up_id, mint()]).await.unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].follow_up_id, found[0].recording_id), (task.follow_up_id, row));
    })
    .await;
}

async fn calls_recording(
    db: &crate::Database,
    here: DealershipId,
    call_id: CallId,
) -> cheling_model::RecordingId {
    let row = super::calls::recording(here, call_id);
    recording::insert(db, &row).await.unwrap();
    row.recording_id
}

#[tokio::test]
async fn lists_narrow_to_one_phone() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let id = talked(&db, here, user, "13812345678").await;
        calls_recording(&db, here, id).await;
        for (number, rows) in [("8001", 1), ("8002", 0)] {
            let extension = Some(number.to_owned());
            let wanted = CallFilter { extension: extension.clone(), ..CallFilter::default() };
            let page = list(&db, here, &wanted, None, 10).await.unwrap();
            assert_eq!(page.items.len(), rows, "{number}");
            let wanted =
                recording::RecordingFilter { extension, ..recording::RecordingFilter::default() };
            let page = recording::list(&db, here, &wanted, None, 10).await.unwrap();
            assert_eq!(page.items.len(), rows, "{number}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_talked_call_waits_until_it_is_wrapped_up() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let id = talked(&db, here, user, "13812345678").await;
        let waiting = async |since| {
            let calls = awaiting_wrap_up(&db, user, after(since)).await.unwrap();
            calls.iter().map(|call| call.call_id).collect::<Vec<_>>()
        };
        assert_eq!(waiting(0).await, [id]);
        assert!(waiting(61).await.is_empty(), "too long ago");
        assert!(awaiting_wrap_up(&db, mint(), after(0)).await.unwrap().is_empty());
        let wrap_up = WrapUp {
            call_id: id,
            user_id: user,
            outcome: Outcome::Completed,
            note: String::new(),
            next_on: None,
            follow_up_id: None,
            saved_at: after(70),
        };
        save(&db, &wrap_up).await.unwrap();
        assert!(waiting(0).await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_dealerships_day_is_the_sum_of_its_users() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mut tasks = Vec::new();
        for number in ["8001", "8002"] {
            let user = agent(&db, here, number).await;
            let task = task(here, wang, user);
            insert(&db, &task).await.unwrap();
            tasks.push(task);
        }
        let day = counts(&db, here, TODAY, after(-100)).await.unwrap();
        assert_eq!((day.due_today, day.overdue, day.done_today), (2, 0, 0));
        let mut done = tasks.remove(0);
        done.state = FollowUpState::Done;
        done.closed_at = Some(after(10));
        done.closed_by = done.owner_user_id;
        update(&db, &done).await.unwrap();
        let day = counts(&db, here, TODAY, after(-100)).await.unwrap();
        assert_eq!((day.due_today, day.overdue, day.done_today), (1, 0, 1));
        let mine = follow_up::counts(&db, done.closed_by.unwrap(), TODAY, after(-100)).await;
        assert_eq!(mine.unwrap().done_today, 1);
        assert_eq!(counts(&db, mint(), TODAY, NOW).await.unwrap().due_today, 0);
        for (from, rows) in [(10, 1), (11, 0)] {
            let wanted =
                FollowUpFilter { closed_from: Some(after(from)), ..FollowUpFilter::default() };
            let page = list_follow_ups(&db, here, &wanted, None, 10).await.unwrap();
            assert_eq!(page.items.len(), rows);
        }
    })
    .await;
}

#[tokio::test]
async fn listeners_are_those_who_played_or_downloaded() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let recording_id: cheling_model::RecordingId = mint();
        for (second, action) in
            ["recording.play", "recording.attach", "recording.download"].into_iter().enumerate()
        {
            let line = Audit {
                audit_id: mint(),
                dealership_id: here,
                user_id: Some(user),
                action: action.into(),
                object_kind: "recording".into(),
                object_id: recording_id.to_string(),
                ip: "10.0.0.7".into(),
                reason: String::new(),
                detail: String::new(),
                at: after(second as i64),
            };
            audit(&db, &line).await.unwrap();
        }
        let who = listeners(&db, recording_id, 20).await.unwrap();
        let actions: Vec<_> = who.iter().map(|it| it.action.as_str()).collect();
        assert_eq!(actions, ["recording.download", "recording.play"]);
        assert_eq!(who[0].user_name, "坐席8001");
        assert!(listeners(&db, mint(), 20).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_released_key_may_dial_again() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let user = agent(&db, here, "8001").await;
        let (one, two): (CallId, CallId) = (mint(), mint());
        assert_eq!(claim_idempotency(&db, user, "k", one, NOW).await.unwrap(), None);
        assert_eq!(claim_idempotency(&db, user, "k", two, NOW).await.unwrap(), Some(one));
        release_idempotency(&db, user, "k").await.unwrap();
        assert_eq!(claim_idempotency(&db, user, "k", two, NOW).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn lines_are_replaced_whole_or_not_at_all() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let there = dealership(&db).await;
        agent(&db, here, "8001").await;
        let phone = phones(&db, Some(here)).await.unwrap()[0].extension_id;
        let group = |dealership_id| RingGroup::ring_all(mint(), dealership_id, "售后一组", 25);
        let line = |group: &RingGroup, did: &str| Line {
            line_id: mint(),
            dealership_id: group.dealership_id,
            did: did.into(),
            name: "售后热线".into(),
            group_id: group.group_id,
            schedule_id: None,
            closed: Destination::Unavailable,
        };
        let theirs = group(there);
        let their_line = line(&theirs, "60001000");
        replace_lines(&db, there, &[], std::slice::from_ref(&theirs), &[], &[their_line])
            .await
            .unwrap();
        let ours = group(here);
        let member = Member { group_id: ours.group_id, extension_id: phone, position: 0 };
        for did in ["58998000", "58998001"] {
            let row = line(&ours, did);
            let (groups, members) = (std::slice::from_ref(&ours), std::slice::from_ref(&member));
            replace_lines(&db, here, &[], groups, members, &[row]).await.unwrap();
        }
        let taken = line(&ours, "60001000");
        let refused =
            replace_lines(&db, here, &[], std::slice::from_ref(&ours), &[], &[taken]).await;
        assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
        let dids: Vec<_> =
            lines(&db, Some(here)).await.unwrap().into_iter().map(|line| line.did).collect();
        assert_eq!(dids, ["58998001"], "as before");
        assert_eq!(members(&db, Some(here)).await.unwrap().len(), 1);
        assert_eq!(groups(&db, Some(there)).await.unwrap(), [theirs]);
    })
    .await;
}
