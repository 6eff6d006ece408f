//! What is watched while a call runs: whether it is being recorded, and whether both are heard.

use super::live::{self, RunningCall};
use super::{Desk, Phones};
use cheling_model::call::PausedBy;
use cheling_model::console::{Audibility, ConsoleEvent, Notice, RecordingState};
use cheling_model::{CallId, DealershipId, Timestamp, UserId};
use cheling_records::admin::Audit;
use cheling_records::mint;
use std::collections::HashSet;
use std::time::Duration;

/// How long nothing has come from the sides of a call.
#[derive(Clone, Copy, Debug)]
pub struct Silence {
    /// Which call.
    pub call_id: CallId,
    /// Since the last packet of [customer, agent]; `None` if none ever came.
    pub silent_for: [Option<Duration>; 2],
}

impl Desk {
    /// Takes how long each side of the running calls has been silent; `patience` is how long that
    /// is no alarm. Answers whom to tell: who is at the call, and who oversees it.
    pub fn note_silence(
        &self,
        silences: &[Silence],
        patience: Duration,
        at: Timestamp,
    ) -> Vec<Notice> {
        let phones = self.phones();
        let mut notices = Vec::new();
        for silence in silences {
            let changed = self.live().get_mut(silence.call_id).and_then(|call| {
                let audio = call.note_silence(silence.silent_for, at, patience)?;
                Some((audio, call.clone()))
            });
            let Some((audio, call)) = changed else { continue };
            notices.extend(self.updated(call.call_id, at, |it| it.audio = Some(audio)));
            notices.extend(alarm(&phones, &call, audio, at));
        }
        notices
    }

    /// How many running calls have one side, or both, unheard.
    pub fn unheard(&self) -> [usize; 2] {
        let live = self.live();
        let count = |is: fn(&Audibility) -> bool| live.iter().filter(|it| is(&it.audio)).count();
        [
            count(|audio| matches!(audio, Audibility::OneWay { .. })),
            count(|audio| *audio == Audibility::Nobody),
        ]
    }

    /// The phones of a dealership that ring, call or talk.
    pub fn busy_phones(&self, dealership_id: DealershipId) -> HashSet<String> {
        let live = self.live();
        let ours = live.iter().filter(|call| call.dealership_id == dealership_id);
        let phones = ours.flat_map(|call| {
            let dialling = call.dialling.iter().map(|(_, extension)| extension);
            let ringing = call.ringing.iter().map(|ring| &ring.extension);
            let guests = call.guests.iter().map(|guest| &guest.extension);
            dialling.chain(ringing).chain(guests).chain([&call.talks_at])
        });
        phones.filter(|extension| !extension.is_empty()).cloned().collect()
    }

    /// The calls of a dealership in which both sides talk, the oldest first.
    pub fn running(&self, dealership_id: DealershipId) -> Vec<RunningCall> {
        let phones = self.phones();
        let live = self.live();
        let ours = live.iter().filter(|call| call.dealership_id == dealership_id);
        ours.filter_map(|call| running(&phones, call)).collect()
    }

    /// A recording was paused or goes on: tells who talks, and leaves an audit row where no user
    /// did it by the API, which leaves its own.
    pub(super) async fn recording(
        &self,
        call_id: CallId,
        at: Timestamp,
        by: PausedBy,
        recording: RecordingState,
    ) -> Vec<Notice> {
        let call = self.live().update(call_id, |live| {
            live.recording = recording;
            (live.dealership_id, live.talking.as_ref().map(|(user_id, _)| *user_id))
        });
        if let Some((dealership_id, talker)) = call {
            let line = audit(dealership_id, talker, call_id, at, by, recording);
            if let Some(line) = line {
                self.keep(call_id, |entry| entry.audit(line)).await;
            }
        }
        self.updated(call_id, at, |it| it.recording = Some(recording))
    }
}

fn audit(
    dealership_id: DealershipId,
    talker: Option<UserId>,
    call_id: CallId,
    at: Timestamp,
    by: PausedBy,
    recording: RecordingState,
) -> Option<Audit> {
    let (user_id, reason) = match by {
        PausedBy::User { .. } => return None,
        PausedBy::Phone => (talker, "code dialled on the phone"),
        PausedBy::Limit => (None, "longest pause reached"),
    };
    let action = match recording {
        RecordingState::Paused { .. } => "call.pause",
        RecordingState::On => "call.resume",
    };
    Some(Audit {
        audit_id: mint(),
        dealership_id,
        user_id,
        action: action.into(),
        object_kind: "call".into(),
        object_id: call_id.0.to_string(),
        ip: String::new(),
        reason: reason.into(),
        detail: String::new(),
        at,
    })
}

fn alarm(phones: &Phones, call: &live::Call, audio: Audibility, at: Timestamp) -> Option<Notice> {
    let overseers = phones.overseers.get(&call.dealership_id)?;
    let to: Vec<_> = overseers.iter().copied().filter(|it| !call.concerns(*it)).collect();
    let (extension, user_name) = talker(phones, call);
    let event = ConsoleEvent::CallAlarm { call_id: call.call_id, extension, user_name, audio };
    (!to.is_empty()).then_some(Notice { to, at, event })
}

/// The phone of ours that talks, and whose it is.
fn talker(phones: &Phones, call: &live::Call) -> (String, String) {
    match call.talkers().into_iter().next() {
        Some((user_id, extension)) => {
            (extension, phones.user_names.get(&user_id).cloned().unwrap_or_default())
        }
        None => (call.talks_at.clone(), String::new()),
    }
}

fn running(phones: &Phones, call: &live::Call) -> Option<RunningCall> {
    let answered_at = call.answered_at?;
    let (extension, user_name) = talker(phones, call);
    Some(RunningCall {
        call_id: call.call_id,
        direction: call.direction,
        extension,
        user_name,
        line_name: call.line_name.clone(),
        card: call.card.clone(),
        answered_at,
        is_held: call.held,
        recording: call.recording,
        audio: call.audio,
    })
}
