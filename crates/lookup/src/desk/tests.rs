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

mod attaching;
mod pops;
mod writing;

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
