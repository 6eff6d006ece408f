//! What the API asks of the switch.
//!
//! The binary fills this in with the handle of the running switch; tests fill it with a fake, so
//! that nothing here needs a socket.

pub use cheling_call::io::Order;
use cheling_model::{CallId, FollowUpId, Timestamp, UserId};
use futures_util::future::BoxFuture;

/// A call to be made: ring the phone, then call the number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialRequest {
    /// Minted by whoever asks, so that asking twice dials once.
    pub call_id: CallId,
    /// The agent's phone.
    pub extension: String,
    /// As the trunk is to get it, before its own prefix rules.
    pub number: String,
    /// Who asks.
    pub user_id: UserId,
    /// The task it is dialled from.
    pub follow_up_id: Option<FollowUpId>,
}

/// Something to be done to a call that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRequest {
    /// Which call.
    pub call_id: CallId,
    /// The phone of whoever asks.
    pub extension: Option<String>,
    /// What.
    pub order: Order,
}

/// A phone that is registered now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// The extension.
    pub extension: String,
    /// The phone's `User-Agent`, or empty.
    pub user_agent: String,
    /// The phone's address.
    pub address: String,
}

/// How a trunk is now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkState {
    /// Its name in the configuration.
    pub name: String,
    /// `udp 192.0.2.1:5060`, the best first; none while its name is not resolved.
    pub addresses: Vec<String>,
    /// Whether it answers when asked; `None` if it never is, or not yet.
    pub answers: Option<bool>,
    /// Our registration there, if there is to be one.
    pub registration: Option<TrunkRegistration>,
    /// Calls on it, in and out.
    pub calls: u32,
    /// How many it may carry, if that is limited.
    pub max_calls: Option<u32>,
}

/// Our registration at a trunk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrunkRegistration {
    /// Whether the trunk knows us now.
    pub is_registered: bool,
    /// At which of its addresses, or empty.
    pub address: String,
    /// Since when without a break.
    pub since: Option<Timestamp>,
    /// Until when, unless renewed.
    pub expires_at: Option<Timestamp>,
    /// The last final status; 408 stands for no answer, 503 for no connection too.
    pub last_status: Option<u16>,
}

impl TrunkState {
    /// One word: `unresolved`, `unregistered`, `silent`, `up`, or `unknown` if nothing tells.
    pub fn standing(&self) -> &'static str {
        let is_registered = self.registration.as_ref().map(|it| it.is_registered);
        match (self.addresses.is_empty(), is_registered, self.answers) {
            (true, _, _) => "unresolved",
            (_, Some(false), _) => "unregistered",
            (_, _, Some(false)) => "silent",
            (_, Some(true), _) | (_, _, Some(true)) => "up",
            (_, None, None) => "unknown",
        }
    }
}

/// Why the switch did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallRefusal {
    /// The extension has no registered phone.
    #[error("the extension has no registered phone")]
    NotRegistered,
    /// There is no such extension.
    #[error("there is no such extension")]
    NoSuchExtension,
    /// No trunk takes this number.
    #[error("no trunk takes this number")]
    NoRoute,
    /// The extension may not dial that far.
    #[error("the extension may not dial this number")]
    NotPermitted,
    /// Nobody may dial it.
    #[error("the number begins with a prefix that is blocked")]
    NumberBlocked,
    /// Every trunk that takes the number carries as many calls as it may.
    #[error("all trunks are in use")]
    TrunksFull,
    /// The extension is in another call.
    #[error("the extension is in another call")]
    ExtensionBusy,
    /// There is no such call.
    #[error("there is no such call")]
    NoSuchCall,
    /// The call has not been answered yet.
    #[error("the call has not been answered yet")]
    NotAnswered,
    /// The call is not at a point where this can be done.
    #[error("the call is not at a point where this can be done; try again in a moment")]
    NotNow,
    /// The codecs of the call cannot be mixed.
    #[error("third parties cannot join: the phones speak a codec that is not mixed, or encrypt")]
    CannotMix,
    /// There is no such third party.
    #[error("there is no such third party in the call")]
    NoSuchGuest,
    /// Too many calls, or shutting down.
    #[error("too many calls, or shutting down")]
    Overloaded,
    /// The switch does not run in this process, or did not answer in time.
    #[error("the switch does not answer")]
    Unavailable,
}

impl CallRefusal {
    /// The word for programs.
    pub fn code(self) -> &'static str {
        match self {
            Self::NotRegistered => "extension_not_registered",
            Self::NoSuchExtension => "no_such_extension",
            Self::NoRoute => "no_route",
            Self::NotPermitted => "not_permitted",
            Self::NumberBlocked => "number_blocked",
            Self::TrunksFull => "trunks_full",
            Self::ExtensionBusy => "extension_busy",
            Self::NoSuchCall => "no_such_call",
            Self::NotAnswered => "not_answered",
            Self::NotNow => "not_now",
            Self::CannotMix => "cannot_mix",
            Self::NoSuchGuest => "no_such_guest",
            Self::Overloaded => "overloaded",
            Self::Unavailable => "switch_unavailable",
        }
    }
}

/// What is to become of a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pausing {
    /// Record nothing.
    Pause,
    /// Go on.
    Resume,
}

/// The switch, as far as the API needs it.
pub trait CallControl: Send + Sync + 'static {
    /// Click-to-dial.
    fn dial(&self, request: DialRequest) -> BoxFuture<'_, Result<(), CallRefusal>>;
    /// Ends a call.
    fn hang_up(&self, call_id: CallId) -> BoxFuture<'_, Result<(), CallRefusal>>;
    /// Pauses the recording of a call, or lets it go on. Answered when it is so.
    fn pause_recording(
        &self,
        call_id: CallId,
        user_id: UserId,
        wanted: Pausing,
    ) -> BoxFuture<'_, Result<(), CallRefusal>>;
    /// Holds, hands on, brings somebody in.
    fn control(&self, request: ControlRequest) -> BoxFuture<'_, Result<(), CallRefusal>>;
    /// The phones that are registered now.
    fn registrations(&self) -> BoxFuture<'_, Vec<Registration>>;
    /// The trunks, in the order in which they are tried.
    fn trunks(&self) -> BoxFuture<'_, Vec<TrunkState>>;
    /// Phones, lines, groups or who sits where have changed: read them again.
    fn directory_changed(&self) -> BoxFuture<'_, ()>;
}

/// A process without a switch: it shows what is recorded and calls nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSwitch;

impl CallControl for NoSwitch {
    fn dial(&self, _: DialRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async { Err(CallRefusal::Unavailable) })
    }
    fn hang_up(&self, _: CallId) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async { Err(CallRefusal::Unavailable) })
    }
    fn pause_recording(
        &self,
        _: CallId,
        _: UserId,
        _: Pausing,
    ) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async { Err(CallRefusal::Unavailable) })
    }
    fn control(&self, _: ControlRequest) -> BoxFuture<'_, Result<(), CallRefusal>> {
        Box::pin(async { Err(CallRefusal::Unavailable) })
    }
    fn registrations(&self) -> BoxFuture<'_, Vec<Registration>> {
        Box::pin(async { Vec::new() })
    }
    fn trunks(&self) -> BoxFuture<'_, Vec<TrunkState>> {
        Box::pin(async { Vec::new() })
    }
    fn directory_changed(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_word_tells_how_a_trunk_is() {
        for (addresses, registered, answers, want) in [
            (0, Some(true), Some(true), "unresolved"),
            (1, Some(false), Some(true), "unregistered"),
            (1, Some(true), Some(false), "silent"),
            (1, Some(true), None, "up"),
            (1, None, Some(true), "up"),
            (1, None, Some(false), "silent"),
            (1, None, None, "unknown"),
        ] {
            let registration = registered
                .map(|is_registered| TrunkRegistration { is_registered, ..Default::default() });
            let addresses = vec!["udp 192.0.2.1:5060".into(); addresses];
            let state = TrunkState { addresses, answers, registration, ..Default::default() };
            assert_eq!(state.standing(), want, "{state:?}");
        }
    }
}
