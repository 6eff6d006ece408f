use super::*;
use crate::follow_up::{WrapUpEntry, save_wrap_up};
use cheling_model::call::Offer;
use cheling_model::call::Party;
use cheling_model::follow_up::{AttachMethod, Outcome};
use cheling_model::follow_up::{FollowUpState, FollowUpType};
use cheling_model::recording::{Container, LaneQuality, SpeechMeasures};
use cheling_model::{EndCause, Lane, LegId, Withdrawal};
use cheling_model::{LineId, RecordingId, Verdict};
use cheling_records::follow_up as tasks;
use cheling_records::testing::{NOW, agent, customer, dealership, on_both, phone, task};
use cheling_records::{insert, mint, recording};

/// A dealership with two agents at 8001 and 8002, a customer, and a desk.
struct Scene {
    db: Database,
    desk: Desk,
    here: DealershipId,
    one: UserId,
    two: UserId,
    wang: CustomerId,
}

const WANG: &str = "13812345678";

async fn scene(db: Database) -> Scene {
    let here = dealership(&db).await;
    let one = agent(&db, here, "8001").await;
    let two = agent(&db, here, "8002").await;
    let wang = customer(&db, here, "王建国", WANG).await;
    let desk = Desk::new(db.clone()).await.unwrap();
    Scene { db, desk, here, one, two, wang }
}

fn after(seconds: i64) -> Timestamp {
    Timestamp::from_micros(NOW.as_micros() + seconds * 1_000_000)
}

/// A call under test: its events in short.
struct Script<'a> {
    scene: &'a Scene,
    id: CallId,
    legs: [LegId; 2],
}

impl<'a> Script<'a> {
    fn new(scene: &'a Scene) -> Self {
        Self { scene, id: mint(), legs: [mint(), mint()] }
    }

    fn offer(&self, direction: Direction, caller: &str, called: &str) -> Offer {
        Offer {
            direction,
            dealership_id: self.scene.here,
            caller: Party { number: caller.into(), ..Party::default() },
            called: called.into(),
            trunk: None,
            line_id: None::<LineId>,
            extension: (direction != Direction::Inbound).then(|| caller.to_owned()),
            user_id: None,
            follow_up_id: None,
        }
    }

    /// Tells the desk, and has it write.
    async fn say(&self, second: i64, kind: TapKind) -> Vec<Notice> {
        let mut told = self.tell(second, kind).await;
        told.extend(self.scene.desk.write().await);
        told
    }

    async fn tell(&self, second: i64, kind: TapKind) -> Vec<Notice> {
        self.scene.desk.handle(TapEvent { call_id: self.id, at: after(second), kind }).await
    }

    async fn inbound(&self, caller: &str) -> Vec<Notice> {
        self.say(0, TapKind::Offered(self.offer(Direction::Inbound, caller, "02168880001"))).await
    }

    async fn outbound(&self, called: &str, task: Option<FollowUpId>) -> Vec<Notice> {
        let mut offer = self.offer(Direction::Outbound, "8001", called);
        offer.follow_up_id = task;
        self.say(0, TapKind::Offered(offer)).await
    }

    async fn ring(&self, phone: usize) -> Vec<Notice> {
        let extension = format!("800{}", phone + 1);
        self.say(1, TapKind::Ringing { leg: self.legs[phone], extension }).await
    }

    async fn answer(&self, extension: &str) -> Vec<Notice> {
        self.say(5, TapKind::Answered { extension: extension.into() }).await
    }

    async fn withdraw(&self, phone: usize, why: Withdrawal) -> Vec<Notice> {
        let extension = format!("800{}", phone + 1);
        self.say(5, TapKind::Withdrawn { leg: self.legs[phone], extension, why }).await
    }

    async fn end(&self, cause: EndCause) -> Vec<Notice> {
        self.say(65, TapKind::Ended { cause, by: Some(Lane::Customer), sip_status: None }).await
    }

    /// All of a call that 8001 answers.
    fn story(&self, direction: Direction, caller: &str) -> Vec<TapEvent> {
        let extension = String::from("8001");
        let told = [
            (0, TapKind::Offered(self.offer(direction, caller, "02168880001"))),
            (1, TapKind::Ringing { leg: self.legs[0], extension: extension.clone() }),
            (5, TapKind::Answered { extension }),
            (65, TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None }),
        ];
        told.map(|(second, kind)| TapEvent { call_id: self.id, at: after(second), kind }).into()
    }

    async fn row(&self) -> call::Call {
        call::any(&self.scene.db, self.id).await.unwrap().unwrap()
    }
}

fn card_of(notices: &[Notice]) -> &Card {
    match notices {
        [Notice { event: ConsoleEvent::CallOffered(offered), .. }] => &offered.card,
        other => panic!("one pop was wanted: {other:?}"),
    }
}

fn audio(script: &Script<'_>) -> Recording {
    let recording_id: RecordingId = mint();
    Recording {
        recording_id,
        call_id: script.id,
        dealership_id: script.scene.here,
        path: format!("{recording_id}.wav"),
        container: Container::Wav,
        started_at: after(5),
        duration_us: 60_000_000,
        sample_rate_hz: 8000,
        bytes: 100,
        sha256: String::new(),
        verdict: Verdict::Ok,
        verdict_detail: String::new(),
        encodings: ["PCMA".into(), "PCMA".into()],
        quality: [LaneQuality::default(); 2],
        speech: SpeechMeasures::default(),
        pauses: Vec::new(),
        digits: Vec::new(),
    }
}

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

fn entry(script: &Script<'_>, outcome: Outcome) -> WrapUpEntry {
    WrapUpEntry {
        dealership_id: script.scene.here,
        call_id: script.id,
        user_id: script.scene.one,
        outcome,
        note: "客户满意".into(),
        next_on: None,
        follow_up_id: None,
        at: after(90),
    }
}

/// Dials, talks, hangs up; then what the test says.
async fn dialled<'a>(s: &'a Scene, task: Option<FollowUpId>) -> Script<'a> {
    let script = Script::new(s);
    let told = script.outbound(WANG, task).await;
    assert_eq!(told[0].to, [s.one]);
    assert_eq!(card_of(&told).kind, CardKind::Known);
    script.say(2, TapKind::FarEndRinging).await;
    script.answer("8001").await;
    script.end(EndCause::HungUp).await;
    script
}

#[tokio::test]
async fn recording_and_wrap_up_find_the_task_in_either_order() {
    for (task_given, tasks_open, method) in [
        (true, 1, Some(AttachMethod::ClickToDial)),
        (true, 2, Some(AttachMethod::ClickToDial)),
        (false, 1, Some(AttachMethod::Inferred)),
        (false, 2, None),
        (false, 0, None),
    ] {
        for recording_first in [true, false] {
            on_both(async |db| {
                let s = scene(db).await;
                let todo: Vec<_> = (0..2).map(|_| task(s.here, s.wang, s.one)).collect();
                cheling_records::insert_all(&s.db, &todo[..tasks_open]).await.unwrap();
                let given = task_given.then(|| todo[0].follow_up_id);
                let script = dialled(&s, given).await;
                let audio = audio(&script);
                if recording_first {
                    recording::insert(&s.db, &audio).await.unwrap();
                    let told =
                        s.desk.recordings_landed(std::slice::from_ref(&audio), after(70)).await;
                    assert_eq!(told[0].to, [s.one]);
                }
                let saved = save_wrap_up(&s.db, &entry(&script, Outcome::Completed)).await.unwrap();
                if !recording_first {
                    recording::insert(&s.db, &audio).await.unwrap();
                    s.desk.recordings_landed(std::slice::from_ref(&audio), after(99)).await;
                }
                let item = recording::item(&s.db, s.here, audio.recording_id).await.unwrap();
                assert_eq!(item.attach_method, method, "{task_given} {tasks_open}");
                assert_eq!(item.follow_up_id, method.map(|_| todo[0].follow_up_id));
                assert_eq!(saved.wrap_up.follow_up_id, item.follow_up_id);
                if let Some(done) = saved.follow_up {
                    assert_eq!((done.state, done.attempts), (FollowUpState::Done, 1));
                    assert!(done.call_made);
                }
            })
            .await;
        }
    }
}

#[tokio::test]
async fn the_agents_choice_settles_what_was_not_clear() {
    on_both(async |db| {
        let s = scene(db).await;
        let todo: Vec<_> = (0..2).map(|_| task(s.here, s.wang, s.one)).collect();
        cheling_records::insert_all(&s.db, &todo).await.unwrap();
        let script = dialled(&s, None).await;
        let audio = audio(&script);
        recording::insert(&s.db, &audio).await.unwrap();
        s.desk.recordings_landed(std::slice::from_ref(&audio), after(70)).await;
        let mut chosen = entry(&script, Outcome::Completed);
        chosen.follow_up_id = Some(todo[1].follow_up_id);
        chosen.next_on = Some("2026-12-01".into());
        let saved = save_wrap_up(&s.db, &chosen).await.unwrap();
        let next = saved.next_follow_up_id.unwrap();
        assert_eq!(saved.changed(), [todo[1].follow_up_id, next]);
        let item = recording::item(&s.db, s.here, audio.recording_id).await.unwrap();
        assert_eq!(item.follow_up_id, Some(todo[1].follow_up_id));
        assert_eq!(item.attach_method, Some(AttachMethod::Manual));
        // Saved again: the same attempt, the same next task, at the later date.
        chosen.next_on = Some("2026-12-02".into());
        let again = save_wrap_up(&s.db, &chosen).await.unwrap();
        assert_eq!(again.next_follow_up_id, Some(next));
        assert_eq!(again.follow_up.unwrap().attempts, 1);
        let next = tasks::find(&s.db, s.here, next).await.unwrap();
        assert_eq!((next.due_on.as_str(), next.state), ("2026-12-02", FollowUpState::Open));
        // A person takes the link away; no later run puts it back.
        attach::relink(&s.db, s.here, script.id, None).await.unwrap();
        assert_eq!(attach::run(&s.db, script.id).await.unwrap(), None);
        let item = recording::item(&s.db, s.here, audio.recording_id).await.unwrap();
        assert_eq!(item.follow_up_id, None);
        attach::relink(&s.db, s.here, script.id, Some(todo[0].follow_up_id)).await.unwrap();
        let item = recording::item(&s.db, s.here, audio.recording_id).await.unwrap();
        assert_eq!(item.follow_up_id, Some(todo[0].follow_up_id));
        assert_eq!(attach::reconcile(&s.db, after(-99)).await.unwrap(), 0);
    })
    .await;
}

#[tokio::test]
async fn an_unanswered_call_is_an_attempt_and_the_wrap_up_does_not_count_it_twice() {
    on_both(async |db| {
        let s = scene(db).await;
        let todo = task(s.here, s.wang, s.one);
        insert(&s.db, &todo).await.unwrap();
        let script = Script::new(&s);
        script.outbound(WANG, Some(todo.follow_up_id)).await;
        let told = script.end(EndCause::NoAnswer).await;
        assert!(told.iter().any(|it| matches!(it.event, ConsoleEvent::TaskChanged { .. })));
        let tried = tasks::find(&s.db, s.here, todo.follow_up_id).await.unwrap();
        assert_eq!((tried.state, tried.attempts), (FollowUpState::InProgress, 1));
        let mut later = entry(&script, Outcome::Completed);
        later.next_on = Some("2026-11-23".into());
        let saved = save_wrap_up(&s.db, &later).await.unwrap();
        let kept = saved.follow_up.unwrap();
        assert_eq!((kept.state, kept.attempts), (FollowUpState::InProgress, 1), "never done");
        assert_eq!((kept.due_on.as_str(), kept.call_made), ("2026-11-23", false));
        assert_eq!(saved.next_follow_up_id, Some(todo.follow_up_id));
        let mut wrong = entry(&script, Outcome::CallBack);
        wrong.next_on = Some("tomorrow".into());
        assert!(save_wrap_up(&s.db, &wrong).await.is_err());
    })
    .await;
}

#[tokio::test]
async fn a_recording_before_its_call_is_attached_when_the_call_comes() {
    on_both(async |db| {
        let s = scene(db).await;
        let todo = task(s.here, s.wang, s.one);
        insert(&s.db, &todo).await.unwrap();
        let script = Script::new(&s);
        let audio = audio(&script);
        recording::insert(&s.db, &audio).await.unwrap();
        assert!(s.desk.recordings_landed(std::slice::from_ref(&audio), after(0)).await.is_empty());
        script.outbound(WANG, None).await;
        script.answer("8001").await;
        script.end(EndCause::HungUp).await;
        let item = recording::item(&s.db, s.here, audio.recording_id).await.unwrap();
        assert_eq!(item.follow_up_id, Some(todo.follow_up_id));
    })
    .await;
}

#[tokio::test]
async fn a_task_of_nobody_here_does_not_stop_the_pop() {
    on_both(async |db| {
        let s = scene(db).await;
        let script = Script::new(&s);
        let told = script.outbound(WANG, Some(mint())).await;
        assert_eq!(card_of(&told).kind, CardKind::Known);
        assert_eq!(script.row().await.follow_up_id, None);
    })
    .await;
}

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
