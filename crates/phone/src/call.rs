//! The handle of one call, as the phone's user holds it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use crate::agent::{Action, Command};
use crate::media::{MediaStatistics, SharedStream};
use crate::message;
use crate::phone::PhoneError;
use crate::sdp::Direction;
use crate::sound::Sound;

/// Which end did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// This phone.
    Us,
    /// The other end.
    Them,
}

/// How a call came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Who ended it.
    pub by: Side,
    /// The final response to INVITE, if that ended it: 486, 487, 404 ...
    pub status: Option<u16>,
    /// The text of a Reason header (RFC 3326), or why we ended it ourselves.
    pub reason: Option<String>,
}

/// What a call is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Our INVITE is out.
    Calling,
    /// The other end rings, or plays something (183).
    Ringing {
        /// 180 to 183.
        status: u16,
    },
    /// Someone calls us.
    Incoming,
    /// Answered.
    Talking {
        /// The flow of media as we see it; anything but `SendRecv` is a hold.
        direction: Direction,
    },
    /// Over.
    Ended(Ending),
}

/// One end of a call as its headers name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    /// User part of the URI.
    pub user: String,
    /// The whole URI.
    pub uri: String,
    /// Display name.
    pub display_name: Option<String>,
}

impl Party {
    pub(crate) fn of_header(value: &str) -> Self {
        let uri = message::uri(value);
        Self {
            user: message::user(uri).to_owned(),
            uri: uri.to_owned(),
            display_name: message::display_name(value),
        }
    }
}

/// What the INVITE said; it does not change.
pub(crate) struct Invitation {
    pub(crate) call_id: String,
    pub(crate) caller: Party,
    pub(crate) called: Party,
    pub(crate) dialled: String,
    pub(crate) headers: rsip::Headers,
}

/// One call. Cloning it gives another handle of the same call; dropping it does not hang up.
#[derive(Clone)]
pub struct Call {
    pub(crate) invitation: Arc<Invitation>,
    pub(crate) state: watch::Receiver<CallState>,
    pub(crate) stream: SharedStream,
    pub(crate) commands: mpsc::Sender<Command>,
}

impl Call {
    /// The Call-ID of this dialog.
    pub fn call_id(&self) -> &str {
        &self.invitation.call_id
    }

    /// Who calls, by From.
    pub fn caller(&self) -> &Party {
        &self.invitation.caller
    }

    /// Who is called, by To.
    pub fn called(&self) -> &Party {
        &self.invitation.called
    }

    /// The user part of the Request-URI: where the INVITE was sent, whatever To says.
    pub fn dialled(&self) -> &str {
        &self.invitation.dialled
    }

    /// A header of the INVITE by its long name.
    pub fn header(&self, name: &str) -> Option<String> {
        message::value(&self.invitation.headers, name)
    }

    /// What the call is doing now.
    pub fn state(&self) -> CallState {
        self.state.borrow().clone()
    }

    /// Sends 180, where the phone does not do so by itself.
    pub async fn ring(&self) {
        self.act(Action::Ring).await;
    }

    /// Answers an incoming call and says `sound`.
    pub async fn answer(&self, sound: Sound) {
        self.stream.play(sound);
        self.act(Action::Answer).await;
    }

    /// Refuses an incoming call with a status such as 486 or 603.
    pub async fn reject(&self, status: u16) {
        self.act(Action::Reject(status)).await;
    }

    /// Ends the call as its state demands: CANCEL, BYE or 603.
    pub async fn hang_up(&self) {
        self.act(Action::HangUp).await;
    }

    /// Puts the other end on hold by re-INVITE with `sendonly` (RFC 3264 §8.4).
    pub async fn hold(&self) {
        self.act(Action::Offer(Direction::SendOnly)).await;
    }

    /// Takes the call up again.
    pub async fn resume(&self) {
        self.act(Action::Offer(Direction::SendRecv)).await;
    }

    /// Says something else from now on.
    pub fn play(&self, sound: Sound) {
        self.stream.play(sound);
    }

    /// The samples heard last, 8 kHz mono, in order of arrival; gaps are not filled.
    pub fn heard(&self) -> Vec<i16> {
        self.stream.heard()
    }

    /// Starts listening anew, for instance after a hold.
    pub fn forget_heard(&self) {
        self.stream.forget_heard();
    }

    /// Packets sent and received so far.
    pub fn statistics(&self) -> MediaStatistics {
        self.stream.statistics()
    }

    /// Waits until the call does what `is_reached` accepts; the end of the call always wakes it.
    ///
    /// # Errors
    /// [`PhoneError::Ended`] if the call ended before.
    pub async fn reaches(
        &self,
        is_reached: impl Fn(&CallState) -> bool,
    ) -> Result<CallState, PhoneError> {
        let mut state = self.state.clone();
        let found = state
            .wait_for(|state| is_reached(state) || matches!(state, CallState::Ended(_)))
            .await
            .map_err(|_| PhoneError::Stopped)?
            .clone();
        match found {
            CallState::Ended(ending) if !is_reached(&CallState::Ended(ending.clone())) => {
                Err(PhoneError::Ended(ending))
            }
            found => Ok(found),
        }
    }

    /// Waits for the ringing tone (180 to 183) or more.
    ///
    /// # Errors
    /// [`PhoneError::Ended`] if the call was refused.
    pub async fn rings(&self) -> Result<(), PhoneError> {
        let rings =
            |s: &CallState| matches!(s, CallState::Ringing { .. } | CallState::Talking { .. });
        self.reaches(rings).await.map(|_| ())
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// [`PhoneError::Ended`] if there is none.
    pub async fn answered(&self) -> Result<(), PhoneError> {
        self.reaches(|state| matches!(state, CallState::Talking { .. })).await.map(|_| ())
    }

    /// Waits until media flows in this direction.
    ///
    /// # Errors
    /// [`PhoneError::Ended`] if the call ends first.
    pub async fn flows(&self, wanted: Direction) -> Result<(), PhoneError> {
        let flows = |state: &CallState| *state == CallState::Talking { direction: wanted };
        self.reaches(flows).await.map(|_| ())
    }

    /// Waits for the end; a stopped phone counts as our own hanging up.
    pub async fn ended(&self) -> Ending {
        let mut state = self.state.clone();
        let found = state.wait_for(|state| matches!(state, CallState::Ended(_))).await;
        match found.map(|state| state.clone()) {
            Ok(CallState::Ended(ending)) => ending,
            _ => Ending { by: Side::Us, status: None, reason: Some("the phone stopped".into()) },
        }
    }

    /// Waits until at least this much sound has arrived, by packet count.
    ///
    /// # Errors
    /// [`PhoneError::Ended`] if the call ends first.
    pub async fn hears(&self, length: Duration) -> Result<(), PhoneError> {
        let wanted = (length.as_millis() / 20) as u64;
        let start = self.statistics().packets_received;
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            if self.statistics().packets_received >= start + wanted {
                return Ok(());
            }
            if let CallState::Ended(ending) = self.state() {
                return Err(PhoneError::Ended(ending));
            }
        }
    }

    async fn act(&self, action: Action) {
        // A phone that has stopped has no calls left to act on.
        let _ = self.commands.send(Command::Act(self.invitation.call_id.clone(), action)).await;
    }
}
