//! Which task a call belongs to.

use super::*;

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
