use super::*;
use crate::attach::{fitting, relink, unattached_since};
use crate::follow_up::{
    Attempt, FollowUpFilter, attempt, attempts, counts, find, following, item, list, of_origin,
    open_of, set_origin_customer, update,
};
use crate::wrap_up::{self, WrapUp};
use crate::{insert_new, recording};
use cheling_model::follow_up::{AttachMethod, FollowUpState, FollowUpType, Outcome};
use cheling_model::{CallId, Direction, FollowUpId};

#[tokio::test]
async fn tasks_are_listed_by_due_date_and_narrowed() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let (me, other) = (agent(&db, here, "8001").await, agent(&db, here, "8002").await);
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mut rows = Vec::new();
        for (due, owner, state) in [
            ("2026-11-20", me, FollowUpState::Open),
            (TODAY, me, FollowUpState::InProgress),
            (TODAY, other, FollowUpState::Open),
            ("2026-11-25", me, FollowUpState::Open),
            ("2026-11-21", me, FollowUpState::Done),
        ] {
            let mut row = task(here, wang, owner);
            row.due_on = due.into();
            row.state = state;
            if state == FollowUpState::Done {
                (row.closed_at, row.closed_by) = (Some(NOW), Some(me));
            }
            rows.push(row);
        }
        insert_all(&db, &rows).await.unwrap();
        let listed = async |filter: FollowUpFilter| {
            let (mut seen, mut next): (Vec<FollowUpId>, _) = (Vec::new(), None);
            loop {
                let page = list(&db, here, &filter, next.as_deref(), 2).await.unwrap();
                seen.extend(page.items.iter().map(|it| it.follow_up_id));
                next = page.next;
                if next.is_none() {
                    return seen;
                }
            }
        };
        let ids: Vec<_> = rows.iter().map(|it| it.follow_up_id).collect();
        let open = FollowUpFilter {
            states: vec![FollowUpState::Open, FollowUpState::InProgress],
            ..FollowUpFilter::default()
        };
        for (filter, found) in [
            (FollowUpFilter::default(), vec![ids[0], ids[4], ids[1], ids[2], ids[3]]),
            (
                FollowUpFilter { owner_user_id: Some(me), ..open.clone() },
                vec![ids[0], ids[1], ids[3]],
            ),
            (
                FollowUpFilter { due_until: Some(TODAY.into()), ..open.clone() },
                vec![ids[0], ids[1], ids[2]],
            ),
            (FollowUpFilter { due_from: Some("2026-11-23".into()), ..open.clone() }, vec![ids[3]]),
            (FollowUpFilter { types: vec![FollowUpType::TestDrive], ..open.clone() }, vec![]),
            (FollowUpFilter { customer_id: Some(mint()), ..open.clone() }, vec![]),
            (FollowUpFilter { text: "李".into(), ..open.clone() }, vec![]),
        ] {
            assert_eq!(listed(filter.clone()).await, found, "{filter:?}");
        }
        assert_eq!(listed(FollowUpFilter { text: "建国".into(), ..open }).await.len(), 4);
        let one = item(&db, here, ids[0]).await.unwrap();
        assert_eq!((one.customer_name.as_str(), one.phone.as_str()), ("王建国", "13812345678"));
        assert_eq!((one.owner_name.as_str(), one.recordings), ("坐席8001", 0));
        let day = counts(&db, me, TODAY, after(-3600)).await.unwrap();
        assert_eq!((day.due_today, day.overdue, day.done_today), (1, 1, 1));
        let open: Vec<_> =
            open_of(&db, wang).await.unwrap().into_iter().map(|it| it.follow_up_id).collect();
        assert_eq!(open, [ids[0], ids[1], ids[2], ids[3]]);
    })
    .await;
}

#[tokio::test]
async fn a_call_has_one_contact_record_and_a_task_one_successor() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let me = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let call_id: CallId = mint();
        let mut record = task(here, wang, me);
        record.origin_call_id = Some(call_id);
        record.customer_id = None;
        assert!(insert_new(&db, &record).await.unwrap());
        let twin = crate::follow_up::FollowUp { follow_up_id: mint(), ..record.clone() };
        assert!(!insert_new(&db, &twin).await.unwrap());
        assert_eq!(of_origin(&db, call_id).await.unwrap(), Some(record.clone()));
        set_origin_customer(&db, call_id, Some(wang), after(1)).await.unwrap();
        record = find(&db, here, record.follow_up_id).await.unwrap();
        assert_eq!(record.customer_id, Some(wang));
        let mut next = task(here, wang, me);
        next.previous_id = Some(record.follow_up_id);
        assert!(insert_new(&db, &next).await.unwrap());
        let twin = crate::follow_up::FollowUp { follow_up_id: mint(), ..next.clone() };
        assert!(!insert_new(&db, &twin).await.unwrap());
        assert_eq!(following(&db, record.follow_up_id).await.unwrap(), Some(next.clone()));
        next.state = FollowUpState::Done;
        next.result = Some(Outcome::Completed);
        next.closed_at = Some(after(2));
        next.closed_by = Some(me);
        update(&db, &next).await.unwrap();
        assert_eq!(find(&db, here, next.follow_up_id).await.unwrap(), next);
        assert!(matches!(find(&db, mint(), next.follow_up_id).await, Err(Error::NotFound)));
    })
    .await;
}

#[tokio::test]
async fn an_attempt_counts_once_per_call() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let me = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let todo = task(here, wang, me);
        insert(&db, &todo).await.unwrap();
        let mut row = Attempt {
            attempt_id: mint(),
            follow_up_id: todo.follow_up_id,
            call_id: Some(mint()),
            user_id: Some(me),
            outcome: Outcome::NoAnswer,
            at: NOW,
        };
        assert!(attempt(&db, &row).await.unwrap());
        row.attempt_id = mint();
        row.outcome = Outcome::Busy;
        assert!(!attempt(&db, &row).await.unwrap());
        row.call_id = None;
        row.at = after(1);
        assert!(attempt(&db, &row).await.unwrap());
        let all = attempts(&db, todo.follow_up_id).await.unwrap();
        assert_eq!(all.iter().map(|it| it.outcome).collect::<Vec<_>>(), [Outcome::Busy; 2]);
        assert_eq!(all[0].call_id, None);
    })
    .await;
}

#[tokio::test]
async fn only_open_tasks_of_that_agent_and_number_fit() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let (me, other) = (agent(&db, here, "8001").await, agent(&db, here, "8002").await);
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let mine = task(here, wang, me);
        let mut done = task(here, wang, me);
        done.state = FollowUpState::Done;
        let mut later = task(here, wang, me);
        later.created_at = after(10);
        let mut contact = task(here, wang, me);
        contact.follow_up_type = FollowUpType::InboundContact;
        insert_all(&db, &[mine.clone(), task(here, wang, other), done, later, contact])
            .await
            .unwrap();
        let key = "+8613812345678";
        assert_eq!(fitting(&db, here, me, key, NOW).await.unwrap(), [mine.follow_up_id]);
        assert_eq!(fitting(&db, here, me, key, after(20)).await.unwrap().len(), 2);
        assert!(fitting(&db, here, me, "+8613900000000", NOW).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_person_relinks_and_unlinks_within_the_dealership() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let me = agent(&db, here, "8001").await;
        let wang = customer(&db, here, "王建国", "13812345678").await;
        let todo = task(here, wang, me);
        let row = call(here, Direction::Outbound, "13812345678");
        insert(&db, &todo).await.unwrap();
        insert(&db, &row).await.unwrap();
        recording::insert(&db, &super::calls::recording(here, row.call_id)).await.unwrap();
        assert_eq!(unattached_since(&db, NOW, 10).await.unwrap(), [row.call_id]);
        relink(&db, here, row.call_id, Some(todo.follow_up_id)).await.unwrap();
        let linked = crate::call::find(&db, here, row.call_id).await.unwrap();
        assert_eq!(linked.attach_method, Some(AttachMethod::Manual));
        for (dealership, follow_up) in [(here, mint()), (mint(), todo.follow_up_id)] {
            let refused = relink(&db, dealership, row.call_id, Some(follow_up)).await;
            assert!(matches!(refused, Err(Error::NotFound)));
        }
        relink(&db, here, row.call_id, None).await.unwrap();
        let unlinked = crate::call::find(&db, here, row.call_id).await.unwrap();
        assert_eq!(unlinked.follow_up_id, None);
    })
    .await;
}

#[tokio::test]
async fn a_wrap_up_is_replaced_by_a_later_one() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let me = agent(&db, here, "8001").await;
        let row = call(here, Direction::Outbound, "13812345678");
        insert(&db, &row).await.unwrap();
        let mut note = WrapUp {
            call_id: row.call_id,
            user_id: me,
            outcome: Outcome::CallBack,
            note: "下周再打".into(),
            next_on: Some("2026-11-29".into()),
            follow_up_id: None,
            saved_at: NOW,
        };
        wrap_up::save(&db, &note).await.unwrap();
        note.outcome = Outcome::Completed;
        note.next_on = None;
        wrap_up::save(&db, &note).await.unwrap();
        assert_eq!(wrap_up::of_call(&db, row.call_id).await.unwrap(), Some(note.clone()));
        note.call_id = mint();
        assert!(matches!(wrap_up::save(&db, &note).await, Err(Error::Refused(_))));
    })
    .await;
}
