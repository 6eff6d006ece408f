use super::*;
use crate::admin::{Audit, audit, audit_log, claim_idempotency, purge_idempotency};
use crate::session::{Session, end, end_all_of, extend, purge, signed_in};
use crate::switchboard::{
    self, Line, RingGroup, assign, groups, lines, members, phones, set_members, user_at,
};
use crate::user::{self, UserChange};
use cheling_model::directory::{Destination, Strategy};
use cheling_model::follow_up::Role;
use cheling_model::reach::Reach;
use cheling_model::{CallId, UserId};

#[tokio::test]
async fn users_are_changed_only_within_their_dealership() {
    on_both(async |db| {
        let (here, elsewhere) = (dealership(&db).await, dealership(&db).await);
        let id = agent(&db, here, "8001").await;
        assert_eq!(user::count(&db).await.unwrap(), 1);
        let change = UserChange {
            display_name: "李静".into(),
            role: Role::Supervisor,
            team: "销售".into(),
            disabled: false,
        };
        let refused = user::update(&db, elsewhere, id, &change, after(1)).await;
        assert!(matches!(refused, Err(Error::NotFound)));
        user::update(&db, here, id, &change, after(1)).await.unwrap();
        user::set_password(&db, id, "$argon2id$x", after(2)).await.unwrap();
        let read = user::find(&db, here, id).await.unwrap();
        assert_eq!((read.display_name.as_str(), read.role), ("李静", Role::Supervisor));
        assert_eq!((read.password_hash.as_str(), read.updated_at), ("$argon2id$x", after(2)));
        assert_eq!(user::list(&db, here).await.unwrap(), [read]);
        assert!(user::list(&db, elsewhere).await.unwrap().is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_session_ends_by_time_by_sign_out_and_by_disabling() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let id = agent(&db, here, "8001").await;
        for token in ["a", "b"] {
            let session = Session {
                session_id: mint(),
                token_hash: token.into(),
                user_id: id,
                created_at: NOW,
                expires_at: after(60),
                ip: "127.0.0.1".into(),
            };
            insert(&db, &session).await.unwrap();
        }
        let who = signed_in(&db, "a", after(59)).await.unwrap().unwrap();
        assert_eq!((who.user_id, who.extension.as_deref()), (id, Some("8001")));
        assert_eq!((who.role, who.area_code.as_str()), (Role::Agent, "021"));
        assert_eq!(signed_in(&db, "a", after(60)).await.unwrap(), None);
        extend(&db, who.session_id, after(120)).await.unwrap();
        assert!(signed_in(&db, "a", after(60)).await.unwrap().is_some());
        end(&db, "a").await.unwrap();
        assert_eq!(signed_in(&db, "a", NOW).await.unwrap(), None);
        let change = UserChange {
            display_name: "x".into(),
            role: Role::Agent,
            team: String::new(),
            disabled: true,
        };
        user::update(&db, here, id, &change, NOW).await.unwrap();
        assert_eq!(signed_in(&db, "b", NOW).await.unwrap(), None);
        assert_eq!(end_all_of(&db, id).await.unwrap(), 1);
        assert_eq!(purge(&db, after(999)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_phone_has_one_user_at_a_time_and_remembers_the_others() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let first = agent(&db, here, "8001").await;
        let second = agent(&db, here, "8002").await;
        let phone = switchboard::phone(&db, "8001").await.unwrap().unwrap();
        assert_eq!(phone.user_id, Some(first));
        assign(&db, here, phone.extension_id, Some(second), NOW).await.unwrap();
        assert_eq!(user_at(&db, "8001", after(-1)).await.unwrap(), Some(first));
        assert_eq!(user_at(&db, "8001", NOW).await.unwrap(), Some(second));
        assign(&db, here, phone.extension_id, None, after(5)).await.unwrap();
        assert_eq!(user_at(&db, "8001", after(6)).await.unwrap(), None);
        assert_eq!(switchboard::phone(&db, "8001").await.unwrap().unwrap().user_name, None);
        let stranger = assign(&db, here, phone.extension_id, Some(mint::<UserId>()), NOW).await;
        assert!(matches!(stranger, Err(Error::NotFound)));
        switchboard::set_secret(&db, phone.extension_id, "aa", "bb").await.unwrap();
        switchboard::update_extension(&db, here, phone.extension_id, "前台", Reach::National, true)
            .await
            .unwrap();
        let all = phones(&db, Some(here)).await.unwrap();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].ha1_md5.as_str(), all[0].disabled), ("aa", true));
        assert_eq!(phones(&db, None).await.unwrap().len(), 2);
    })
    .await;
}

#[tokio::test]
async fn a_line_rings_its_group_in_order_without_disabled_phones() {
    on_both(async |db| {
        let here = dealership(&db).await;
        for number in ["8001", "8002", "8003"] {
            agent(&db, here, number).await;
        }
        let week = r#"{"week":[[{"from":"08:30","to":"17:30"}],[],[],[],[],[],[]],"days":[]}"#;
        let schedule = switchboard::Schedule {
            schedule_id: mint(),
            dealership_id: here,
            name: "营业时间".into(),
            hours: serde_json::from_str(week).unwrap(),
        };
        insert(&db, &schedule).await.unwrap();
        let group = RingGroup {
            strategy: Strategy::LongestIdle,
            member_seconds: 12,
            skip_busy: true,
            no_answer: Destination::Outside("13900001111".into()),
            all_busy: Destination::Group(mint()),
            ..RingGroup::ring_all(mint(), here, "售后一组", 25)
        };
        insert(&db, &group).await.unwrap();
        let line = Line {
            line_id: mint(),
            dealership_id: here,
            did: "02161234567".into(),
            name: "售后热线".into(),
            group_id: group.group_id,
            schedule_id: Some(schedule.schedule_id),
            closed: Destination::Extension("8002".into()),
        };
        insert(&db, &line).await.unwrap();
        let ids: Vec<_> =
            phones(&db, None).await.unwrap().iter().rev().map(|it| it.extension_id).collect();
        set_members(&db, group.group_id, &ids[..1]).await.unwrap();
        set_members(&db, group.group_id, &ids).await.unwrap();
        switchboard::update_extension(&db, here, ids[1], "x", Reach::Local, true).await.unwrap();
        let numbers: Vec<_> =
            members(&db, Some(here)).await.unwrap().into_iter().map(|it| it.number).collect();
        assert_eq!(numbers, ["8003", "8001"]);
        assert_eq!(lines(&db, Some(here)).await.unwrap(), [line]);
        assert_eq!(groups(&db, None).await.unwrap(), [group]);
        assert_eq!(switchboard::schedules(&db, Some(here)).await.unwrap(), [schedule]);
        let reach = switchboard::phone(&db, "8002").await.unwrap().unwrap().reach;
        assert_eq!(reach, Reach::Local);
        let blocked = ["168".to_owned(), "00882".to_owned()];
        assert!(switchboard::blocked_prefixes(&db, here).await.unwrap().is_empty());
        for prefixes in [&blocked[..], &blocked[1..]] {
            switchboard::set_blocked_prefixes(&db, here, prefixes, NOW).await.unwrap();
            assert_eq!(switchboard::blocked_prefixes(&db, here).await.unwrap(), prefixes);
        }
    })
    .await;
}

#[tokio::test]
async fn the_audit_log_pages_backwards_without_gap_or_repeat() {
    on_both(async |db| {
        let here = dealership(&db).await;
        for n in 0..5 {
            let line = Audit {
                audit_id: mint(),
                dealership_id: here,
                user_id: None,
                action: format!("a{n}"),
                object_kind: "recording".into(),
                object_id: String::new(),
                ip: String::new(),
                reason: String::new(),
                detail: String::new(),
                at: after(n / 2), // some at the same moment
            };
            audit(&db, &line).await.unwrap();
        }
        let (mut seen, mut after) = (Vec::new(), None);
        loop {
            let page = audit_log(&db, here, after.as_deref(), 2).await.unwrap();
            seen.extend(page.items.into_iter().map(|line| line.action));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, ["a4", "a3", "a2", "a1", "a0"]);
        assert!(matches!(audit_log(&db, here, Some("x"), 2).await, Err(Error::Refused(_))));
    })
    .await;
}

#[tokio::test]
async fn the_same_key_never_dials_twice() {
    on_both(async |db| {
        let here = dealership(&db).await;
        let (one, two) = (agent(&db, here, "8001").await, agent(&db, here, "8002").await);
        let (first, second) = (mint::<CallId>(), mint::<CallId>());
        assert_eq!(claim_idempotency(&db, one, "k", first, NOW).await.unwrap(), None);
        assert_eq!(claim_idempotency(&db, one, "k", second, NOW).await.unwrap(), Some(first));
        assert_eq!(claim_idempotency(&db, two, "k", second, NOW).await.unwrap(), None);
        assert_eq!(purge_idempotency(&db, after(1)).await.unwrap(), 2);
        assert_eq!(claim_idempotency(&db, one, "k", second, NOW).await.unwrap(), None);
    })
    .await;
}
