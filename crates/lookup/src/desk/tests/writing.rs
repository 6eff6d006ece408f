//! What is written when, and what becomes of it while the database is away.

use super::*;

#[tokio::test]
async fn a_database_that_is_away_costs_the_name_and_not_the_pop() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let s = scene(Database::open(&url).await.unwrap()).await;
    s.db.close().await;
    let script = Script::new(&s);
    script.inbound(WANG).await;
    let notices = script.ring(0).await;
    let card = card_of(&notices);
    assert_eq!((card.kind, card.number.as_str()), (CardKind::Unknown, WANG));
    // The call's answer, and its contact record.
    assert_eq!(script.answer("8001").await.len(), 2);
    assert_eq!(script.end(EndCause::HungUp).await.len(), 1);
    assert_eq!(s.desk.backlog(), 1);
}

#[tokio::test]
async fn what_could_not_be_written_is_written_when_the_database_is_back() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let mut s = scene(Database::open(&url).await.unwrap()).await;
    let todo: Vec<_> = (0..2).map(|_| task(s.here, s.wang, s.one)).collect();
    insert(&s.db, &todo[0]).await.unwrap();
    // Away while all of it happens.
    s.db.close().await;
    let (inbound, outbound) = (Script::new(&s), Script::new(&s));
    for event in inbound.story(Direction::Inbound, WANG) {
        s.desk.handle(event).await;
    }
    outbound.outbound(WANG, None).await;
    outbound.end(EndCause::Busy).await;
    assert_eq!((s.desk.backlog(), s.desk.live_count()), (2, 0));
    let (inbound, outbound) = (inbound.id, outbound.id);

    s.db = Database::open(&url).await.unwrap();
    s.desk.db = s.db.clone();
    assert!(s.desk.write().await.is_empty(), "it rests");
    s.desk.patience.end_rest();
    let told = s.desk.write().await;
    assert_eq!(s.desk.backlog(), 0);
    let row = call::any(&s.db, inbound).await.unwrap().unwrap();
    assert_eq!((row.customer_id, row.ended_at), (Some(s.wang), Some(after(65))));
    assert_eq!(row.attach_method, Some(AttachMethod::InboundContact));
    let record = tasks::of_origin(&s.db, inbound).await.unwrap().unwrap();
    assert_eq!(record.customer_id, Some(s.wang));
    // The one that was not answered found its task, and counts there.
    let row = call::any(&s.db, outbound).await.unwrap().unwrap();
    assert_eq!((row.customer_id, row.attach_method), (Some(s.wang), Some(AttachMethod::Inferred)));
    let tried = tasks::find(&s.db, s.here, todo[0].follow_up_id).await.unwrap();
    assert_eq!(tried.attempts, 1);
    let changed = ConsoleEvent::TaskChanged { follow_up_id: todo[0].follow_up_id };
    assert!(told.iter().any(|it| it.event == changed), "{told:?}");
}

#[tokio::test]
async fn a_call_whose_end_nobody_tells_is_closed_at_the_next_start() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        script.tell(0, TapKind::Offered(script.offer(Direction::Inbound, WANG, "1"))).await;
        assert_eq!(s.desk.close_stale(after(0)).await.unwrap(), 0);
        assert_eq!(s.desk.close_stale(after(1)).await.unwrap(), 1);
        assert_eq!(script.row().await.cause, Some(EndCause::Shutdown));
    })
    .await;
}

#[tokio::test]
async fn a_call_is_written_with_its_end_before_the_journal_forgets_it() {
    on_both(async |db| {
        let s = scene(db).await;
        let (here, later) = (Script::new(&s), Script::new(&s));
        let [mut first, mut second] = [&here, &later].map(|it| it.story(Direction::Inbound, WANG));
        let end = second.pop().unwrap();
        for event in first.drain(..).chain(second) {
            s.desk.handle(event).await;
        }
        let calls = [here.id, later.id];
        // One call's end is still on its way.
        let (written, _) = tokio::join!(s.desk.write_ended(&calls), s.desk.handle(end));
        written.unwrap();
        for call_id in calls {
            let row = call::any(&s.db, call_id).await.unwrap().unwrap();
            assert_eq!((row.ended_at, row.cause), (Some(after(65)), Some(EndCause::HungUp)));
        }
    })
    .await;
}

#[tokio::test]
async fn an_end_that_was_lost_is_not_waited_for_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let s = scene(Database::open(&url).await.unwrap()).await;
    let script = Script::new(&s);
    script.inbound(WANG).await;
    // The database is not asked, and the clock runs on as soon as nothing else happens.
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    s.desk.await_ends(&[script.id]).await;
    assert!(began.elapsed() >= END_PATIENCE);
}

#[tokio::test]
async fn nothing_is_forgotten_of_a_call_while_the_database_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let s = scene(Database::open(&url).await.unwrap()).await;
    let script = Script::new(&s);
    for event in script.story(Direction::Inbound, WANG) {
        s.desk.handle(event).await;
    }
    s.db.close().await;
    assert!(s.desk.write_ended(&[script.id]).await.is_err());
    assert_eq!(s.desk.backlog(), 1);
}

#[tokio::test]
async fn a_call_that_the_database_refuses_costs_no_other_its_rows() {
    on_both(async |db| {
        let s = scene(db).await;
        let (good, bad) = (Script::new(&s), Script::new(&s));
        let mut offer = bad.offer(Direction::Inbound, WANG, "1");
        offer.dealership_id = mint();
        bad.tell(0, TapKind::Offered(offer)).await;
        good.tell(0, TapKind::Offered(good.offer(Direction::Inbound, WANG, "1"))).await;
        s.desk.write().await;
        assert_eq!(good.row().await.customer_id, Some(s.wang));
        assert_eq!(call::any(&s.db, bad.id).await.unwrap(), None);
        assert_eq!(s.desk.backlog(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_made_up_for() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let s = scene(Database::open(&url).await.unwrap()).await;
    let script = Script::new(&s);
    for event in script.story(Direction::Inbound, WANG) {
        s.desk.handle(event).await;
    }
    {
        let mut writing = std::pin::pin!(s.desk.write());
        let polled = std::future::poll_fn(|context| {
            std::task::Poll::Ready(writing.as_mut().poll(context).is_ready())
        });
        assert!(!polled.await, "it waits for the database");
    }
    assert_eq!(s.desk.backlog(), 1);
    s.desk.write().await;
    assert_eq!(s.desk.backlog(), 0);
    assert_eq!(script.row().await.ended_at, Some(after(65)));
}

#[tokio::test]
async fn many_calls_at_once_are_written_before_more_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("x.db").display());
    let s = scene(Database::open(&url).await.unwrap()).await;
    for _ in 0..MANY + 50 {
        for event in Script::new(&s).story(Direction::Inbound, WANG) {
            s.desk.handle(event).await;
        }
        assert!(s.desk.backlog() < MANY);
    }
    s.desk.write().await;
    assert_eq!(s.desk.backlog(), 0);
    let wanted = call::CallFilter { answered: Some(true), ..call::CallFilter::default() };
    let page = call::list(&s.db, s.here, &wanted, None, 200).await.unwrap();
    assert_eq!(page.items.len(), 200);
}

#[tokio::test]
async fn an_event_after_the_end_finds_its_call_in_the_database() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        script.inbound(WANG).await;
        script.ring(0).await;
        script.ring(1).await;
        script.answer("8001").await;
        script.end(EndCause::HungUp).await;
        let elsewhere = Withdrawal::AnsweredElsewhere { extension: "8001".into() };
        assert!(script.withdraw(1, elsewhere).await.is_empty());
        let legs = call::legs(&s.db, script.id).await.unwrap();
        let lost = legs.iter().find(|leg| leg.extension == "8002").unwrap();
        assert_eq!(lost.withdrawn.as_deref(), Some("answered_elsewhere"));
        assert_eq!(lost.ringing_at, Some(after(1)));
        let nobody = Script::new(&s);
        assert!(nobody.answer("8001").await.is_empty());
        assert_eq!(s.desk.backlog(), 0);
    })
    .await;
}
