//! Who is shown what, and when.

use super::*;

#[tokio::test]
async fn each_kind_of_caller_has_its_card() {
    on_both(async |db| {
        let s = scene(db).await;
        let li = customer(&s.db, s.here, "李静", "13900000001").await;
        insert(
            &s.db,
            &cheling_records::phone::Phone {
                is_primary: false,
                label: "配偶".into(),
                ..phone(s.here, s.wang, "13900000001")
            },
        )
        .await
        .unwrap();
        insert(&s.db, &task(s.here, li, s.one)).await.unwrap();
        for (caller, kind, key, place) in [
            (WANG, CardKind::Known, "+8613812345678", ""),
            ("013812345678", CardKind::Known, "+8613812345678", ""),
            ("+8613812345678", CardKind::Known, "+8613812345678", ""),
            ("13900000001", CardKind::Candidates, "+8613900000001", ""),
            ("61234567", CardKind::Unknown, "+862161234567", "上海"),
            ("075526123456", CardKind::Unknown, "+8675526123456", "深圳"),
            ("95588", CardKind::Unknown, "95588", ""),
            ("anonymous", CardKind::Withheld, "", ""),
            ("", CardKind::Withheld, "", ""),
        ] {
            let script = Script::new(&s);
            assert!(script.inbound(caller).await.is_empty(), "nothing pops before a phone rings");
            let notices = script.ring(0).await;
            assert_eq!(notices[0].to, [s.one]);
            let card = card_of(&notices);
            assert_eq!((card.kind, card.number_key.as_str()), (kind, key), "{caller}");
            assert_eq!(card.place, place, "{caller}");
            let row = script.row().await;
            assert_eq!(row.customer_id.is_some(), kind == CardKind::Known, "{caller}");
            assert_eq!(row.customer_key, key);
            script.end(EndCause::Cancelled).await;
        }
        // The wife has a task due today: she is the likeliest.
        let script = Script::new(&s);
        script.inbound("13900000001").await;
        let notices = script.ring(0).await;
        let names: Vec<_> =
            card_of(&notices).candidates.iter().map(|it| it.name.as_str()).collect();
        assert_eq!(names, ["李静", "王建国"]);
        let (card, told) = s.desk.choose(s.here, script.id, li, after(2)).await.unwrap();
        assert_eq!(card.customer.unwrap().open_items.len(), 1);
        assert!(matches!(told[0].event, ConsoleEvent::CallUpdated { card: Some(_), .. }));
        let row = script.row().await;
        assert_eq!((row.customer_id, row.match_method), (Some(li), MatchMethod::Chosen));
    })
    .await;
}

#[tokio::test]
async fn ring_all_pops_at_each_phone_and_goes_when_another_answers() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        script.inbound(WANG).await;
        assert_eq!(script.ring(0).await[0].to, [s.one]);
        assert_eq!(script.ring(1).await[0].to, [s.two]);
        assert!(script.ring(1).await.is_empty(), "told once");
        assert_eq!(s.desk.live_calls(s.two)[0].state, LiveState::Ringing);

        let answered = script.answer("8001").await;
        assert_eq!(answered[0].to, [s.one]);
        assert!(matches!(answered[0].event, ConsoleEvent::CallAnswered { .. }));
        let elsewhere = Withdrawal::AnsweredElsewhere { extension: "8001".into() };
        let gone = script.withdraw(1, elsewhere).await;
        assert_eq!(gone[0].to, [s.two]);
        let ConsoleEvent::CallWithdrawn { answered_by, .. } = &gone[0].event else { panic!() };
        assert_eq!(answered_by.as_deref(), Some("坐席8001"));
        assert!(s.desk.live_calls(s.two).is_empty());
        assert_eq!(s.desk.live_calls(s.one)[0].state, LiveState::Talking);
        script.say(9, TapKind::Held { by: Lane::Agent }).await;
        assert_eq!(s.desk.live_calls(s.one)[0].state, LiveState::Held);
        script.say(12, TapKind::Resumed { by: Lane::Agent }).await;

        let ended = script.end(EndCause::HungUp).await;
        assert_eq!(ended[0].to, [s.one]);
        let ConsoleEvent::CallEnded { talk_ms, .. } = ended[0].event else { panic!() };
        assert_eq!(talk_ms, 60_000);
        assert_eq!(s.desk.live_count(), 0);
        let legs = call::legs(&s.db, script.id).await.unwrap();
        let withdrawn: Vec<_> = legs.iter().map(|it| it.withdrawn.as_deref()).collect();
        assert!(withdrawn.contains(&None) && withdrawn.contains(&Some("answered_elsewhere")));
    })
    .await;
}

#[tokio::test]
async fn a_number_that_comes_late_pops_again() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        script.inbound("anonymous").await;
        assert_eq!(card_of(&script.ring(0).await).kind, CardKind::Withheld);
        let caller = Party { number: WANG.into(), ..Party::default() };
        let told = script.say(2, TapKind::CallerChanged { caller }).await;
        let ConsoleEvent::CallUpdated { card: Some(card), .. } = &told[0].event else { panic!() };
        assert_eq!(card.kind, CardKind::Known);
        assert_eq!(script.row().await.customer_id, Some(s.wang));
        assert_eq!(s.desk.live_calls(s.one)[0].offered.card.kind, CardKind::Known);
    })
    .await;
}

#[tokio::test]
async fn an_answered_inbound_call_has_one_contact_record_however_often_it_is_told() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        script.inbound(WANG).await;
        script.ring(0).await;
        let told = script.answer("8001").await;
        let is_linked = |it: &Notice| {
            matches!(it.event, ConsoleEvent::CallUpdated { follow_up_id: Some(_), .. })
        };
        assert!(told.iter().any(is_linked), "{told:?}");
        script.end(EndCause::HungUp).await;
        for _ in 0..2 {
            for event in script.story(Direction::Inbound, WANG) {
                s.desk.replay(event).await;
            }
            assert!(s.desk.write().await.is_empty());
            assert_eq!(s.desk.live_count(), 0);
        }
        let row = script.row().await;
        assert_eq!(row.attach_method, Some(AttachMethod::InboundContact));
        assert_eq!((row.answered_at, row.ended_at), (Some(after(5)), Some(after(65))));
        let record = tasks::of_origin(&s.db, script.id).await.unwrap().unwrap();
        assert_eq!(Some(record.follow_up_id), row.follow_up_id);
        assert_eq!((record.customer_id, record.owner_user_id), (Some(s.wang), Some(s.one)));
        assert_eq!(record.follow_up_type, FollowUpType::InboundContact);
    })
    .await;
}

#[tokio::test]
async fn colleagues_see_each_other_and_no_customer() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        let offer = script.offer(Direction::Internal, "8001", "8002");
        let told = script.say(0, TapKind::Offered(offer)).await;
        assert_eq!(told[0].to, [s.one]);
        assert_eq!(
            (card_of(&told).kind, card_of(&told).number.as_str()),
            (CardKind::Internal, "8002")
        );
        let told = script.ring(1).await;
        assert_eq!(told[0].to, [s.two]);
        assert_eq!(card_of(&told).number, "8001");
        let told = script.answer("8002").await;
        let mut who: Vec<_> = told.iter().flat_map(|it| it.to.clone()).collect();
        who.sort();
        let mut both = vec![s.one, s.two];
        both.sort();
        assert_eq!(who, both);
        script.end(EndCause::HungUp).await;
        let row = script.row().await;
        assert_eq!((row.follow_up_id, row.customer_key.as_str()), (None, ""));
    })
    .await;
}
