//! Answers a phone's calls by a plan, without a person: the agents and customers of the
//! demonstration, the far end of a test.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::call::Call;
use crate::phone::Event;
use crate::sound::Sound;

/// What to do with one incoming call.
#[derive(Clone, Debug)]
pub enum AnswerPlan {
    /// Answer and talk.
    Answer {
        /// How long it rings before.
        after: Duration,
        /// What is said.
        sound: Sound,
        /// Hang up after this long; `None` leaves it to the caller.
        talk: Option<Duration>,
    },
    /// Refuse: 486 is busy, 603 declines.
    Refuse {
        /// How long it rings before.
        after: Duration,
        /// The status of the refusal.
        status: u16,
    },
    /// Ring until the caller gives up.
    Ignore,
}

/// Serves incoming calls until `stop` is cancelled or the phone is gone, then waits for the calls
/// in hand to end (they end with their phone, or here by hanging up).
pub async fn attend(
    mut incoming: mpsc::Receiver<Event>,
    mut plan: impl FnMut(&Call) -> AnswerPlan,
    stop: CancellationToken,
) {
    let calls = TaskTracker::new();
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => break,
            event = incoming.recv() => event,
        };
        match event {
            None => break,
            Some(Event::Incoming(call)) => {
                calls.spawn(carry_out(plan(&call), call, stop.clone()));
            }
            Some(Event::RegistrationLost(status)) => {
                tracing::warn!(?status, "a simulated phone lost its registration");
            }
        }
    }
    calls.close();
    calls.wait().await;
}

async fn carry_out(plan: AnswerPlan, call: Call, stop: CancellationToken) {
    let pause = |length: Duration| {
        let (call, stop) = (call.clone(), stop.clone());
        async move {
            tokio::select! {
                () = tokio::time::sleep(length) => true,
                _ = call.ended() => false,
                () = stop.cancelled() => false,
            }
        }
    };
    match plan {
        AnswerPlan::Answer { after, sound, talk } => {
            if pause(after).await {
                call.answer(sound).await;
                match talk {
                    Some(length) => drop(pause(length).await),
                    None => {
                        tokio::select! {
                            _ = call.ended() => {}
                            () = stop.cancelled() => {}
                        }
                    }
                }
            }
            call.hang_up().await;
        }
        AnswerPlan::Refuse { after, status } => {
            if pause(after).await {
                call.reject(status).await;
            }
        }
        AnswerPlan::Ignore => {
            tokio::select! {
                _ = call.ended() => {}
                () = stop.cancelled() => call.reject(480).await,
            }
        }
    }
}
