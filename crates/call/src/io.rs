//! What goes into the switch and what comes out: the whole seam between deciding and carrying.
//!
//! The shell (`capture`) feeds one [`Input`] with the time it read, drains [`Output`]s until there
//! is none, and sleeps until the next timeout. Nothing else crosses.

use crate::advertise::AdvertiseTo;
use crate::auth::Offered;
use crate::guard;
use crate::registrar::Kept;
use bytes::Bytes;
use cheling_media::dtls::{Fingerprint, Role};
use cheling_media::srtp::MasterKey;
use cheling_model::call::{Digit, Format, PausedBy};
use cheling_model::directory::{Directory, SrtpPolicy, Trunk, TrunkAddress};
use cheling_model::reach::LocalMobiles;
use cheling_model::{CallId, FollowUpId, GuestRole, Lane, TapEvent, Timestamp, UserId};
use cheling_sip::{Flow, session_timer};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What the switch is told once, from the config.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The address that phones and trunks reach us by: Via, Contact, SDP.
    pub advertise: IpAddr,
    /// Networks that reach us by another, the first that has the address counts.
    pub advertise_to: Vec<AdvertiseTo>,
    /// The port of our UDP listener, and of our TCP listener where there is one.
    pub udp_port: u16,
    /// See `udp_port`.
    pub tcp_port: Option<u16>,
    /// The port of our TLS listener where there is one.
    pub tls_port: Option<u16>,
    /// `User-Agent` and `Server`.
    pub product: String,
    /// Trunks and gateways, in the order in which they are tried.
    pub trunks: Vec<Trunk>,
    /// What strangers may do before they are shut out.
    pub guard: guard::Rules,
    /// Which hashes challenges offer to phones.
    pub digests: Offered,
    /// Which mobile numbers are from town, if anybody knows.
    pub local_mobiles: LocalMobiles,
    /// Keys the digest nonces.
    pub nonce_secret: [u8; 32],
    /// Seeds tags, branches and ids.
    pub seed: u64,
    /// How long registrations last at most, and at least.
    pub registration: std::ops::RangeInclusive<Duration>,
    /// Calls at once; more get 503 with Retry-After.
    pub max_calls: usize,
    /// What is asked for, and accepted, as the time in which a call's side must show that it is
    /// still there (RFC 4028).
    pub session_timer: session_timer::Policy,
    /// Whether the media of phones is SRTP.
    pub srtp: SrtpPolicy,
    /// The certificates that we show browsers: those who know each other already, and meet anew,
    /// are shown the next. Empty: browsers cannot be spoken with.
    pub dtls: Arc<[Fingerprint]>,
    /// Whether who is put on hold by one of our phones, or by an order for it, hears something of
    /// ours while the phone sends no music of its own.
    pub plays_on_hold: bool,
    /// How an agent pauses a recording, and for how long at most.
    pub pause: PauseRules,
    /// When the last call of each extension ended before the start, as far as anybody knows: for
    /// groups that ring whoever has been idle longest.
    pub last_calls: Vec<(String, Timestamp)>,
}

impl Settings {
    /// The usual for a service reached by `advertise`, without trunks: 500 calls at once,
    /// registrations of 60 to 300 s. Nonces and ids follow from `nonce_secret` and `seed`, which
    /// nobody may guess.
    pub fn at(advertise: IpAddr, nonce_secret: [u8; 32], seed: u64) -> Self {
        Self {
            advertise,
            advertise_to: Vec::new(),
            udp_port: 5060,
            tcp_port: None,
            tls_port: None,
            product: "Cheling".into(),
            trunks: Vec::new(),
            guard: guard::Rules::default(),
            digests: Offered::default(),
            local_mobiles: LocalMobiles::default(),
            nonce_secret,
            seed,
            registration: Duration::from_secs(60)..=Duration::from_secs(300),
            max_calls: 500,
            session_timer: session_timer::Policy::default(),
            srtp: SrtpPolicy::default(),
            dtls: Arc::default(),
            plays_on_hold: false,
            pause: PauseRules::default(),
            last_calls: Vec::new(),
        }
    }

    /// The address by which whoever is at `remote` reaches us.
    pub fn advertised_to(&self, remote: IpAddr) -> IpAddr {
        let rule = self.advertise_to.iter().find(|rule| rule.has(remote));
        rule.map_or(self.advertise, |rule| rule.address)
    }
}

/// Pausing of recordings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PauseRules {
    /// Dialled on the agent's phone while talking, it pauses, and dialled again it resumes: `*1`.
    /// Empty: no code does.
    pub code: String,
    /// After this long a paused recording goes on by itself, so that nobody forgets it.
    pub longest: Duration,
}

impl Default for PauseRules {
    fn default() -> Self {
        Self { code: "*1".into(), longest: Duration::from_secs(300) }
    }
}

/// Something that happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// One datagram, or one message framed off a stream.
    Message {
        /// Whence it came, and where an answer goes.
        flow: Flow,
        /// The message.
        bytes: &'a [u8],
    },
    /// A message could not be sent (RFC 3261 §17.1.4).
    SendFailed {
        /// Where it was to go.
        flow: Flow,
    },
    /// A connection ended; registrations over it are gone.
    FlowClosed {
        /// Which.
        flow: Flow,
    },
    /// The relay asked for by [`Output::OpenRelay`] has its ports.
    RelayOpened {
        /// For which call.
        call_id: CallId,
        /// Our RTP address facing [customer, agent]; RTCP is on the next port.
        local: [SocketAddr; 2],
    },
    /// The relay could not be opened.
    RelayFailed {
        /// For which call.
        call_id: CallId,
    },
    /// What came of [`Output::OpenGuest`].
    GuestOpened {
        /// For which call.
        call_id: CallId,
        /// For which guest.
        guest: u8,
        /// Our RTP address facing the guest; `None` if there was no port.
        local: Option<SocketAddr>,
    },
    /// The relay is closed and has handed over its last packet.
    RelayClosed {
        /// For which call.
        call_id: CallId,
        /// RTP packets received from [customer, agent].
        received_packets: [u64; 2],
        /// Packets the tap had to drop, per lane.
        tap_dropped_packets: [u64; 2],
    },
    /// DNS has other addresses for a trunk than before.
    TrunkMoved {
        /// Its name in the config.
        trunk: &'a str,
        /// Where it is now.
        addresses: Vec<TrunkAddress>,
    },
    /// What [`Output::PauseRecording`] asked for has been done.
    RecordingPaused {
        /// For which call.
        call_id: CallId,
        /// Whether it is paused now, or goes on.
        is_paused: bool,
        /// The moment it took effect: packets are recorded, or not, from here.
        at: Timestamp,
    },
    /// The agent's phone sent a digit among its media (RFC 4733).
    Digit {
        /// In which call.
        call_id: CallId,
        /// Which key.
        digit: Digit,
    },
    /// The database's extensions, lines and groups, anew.
    Directory(Arc<Directory>),
    /// Registrations from before a restart.
    Restored(Vec<Kept>),
    /// Somebody asks for something over the API.
    Command(Command),
    /// The time named by `next_timeout` has come.
    Timeout,
}

/// Something to be done.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes. On a stream flow whose connection is gone, connect anew.
    Send {
        /// Where.
        flow: Flow,
        /// One whole message.
        bytes: Bytes,
    },
    /// Open a relay; answer with [`Input::RelayOpened`] or [`Input::RelayFailed`].
    OpenRelay {
        /// For which call.
        call_id: CallId,
    },
    /// Where one side wants its media (from its SDP). The relay sends there until it has learned
    /// the real source from the first packets (symmetric RTP).
    PointRelay {
        /// For which call.
        call_id: CallId,
        /// Which side.
        lane: Lane,
        /// Its RTP and RTCP addresses; `None` mutes it (port 0, or 0.0.0.0).
        remote: Option<RelayRemote>,
    },
    /// How the packets of one side are protected from now on.
    ProtectRelay {
        /// For which call.
        call_id: CallId,
        /// Which side.
        lane: Lane,
        /// By what; `None`: plain RTP.
        protection: Option<Box<RelayProtection>>,
    },
    /// Open a port of this call for a third party; answer with [`Input::GuestOpened`].
    OpenGuest {
        /// For which call.
        call_id: CallId,
        /// Its number, 1 to [`MAX_GUESTS`]; also its voice in the recording's right lane.
        guest: u8,
    },
    /// Where a third party wants its media; `None` mutes it.
    PointGuest {
        /// Of which call.
        call_id: CallId,
        /// Which.
        guest: u8,
        /// Its address.
        remote: Option<RelayRemote>,
        /// How its packets are protected; `None`: plain RTP.
        protection: Option<Box<RelayProtection>>,
    },
    /// Close a third party's port. Closing the relay closes them all.
    CloseGuest {
        /// Of which call.
        call_id: CallId,
        /// Which.
        guest: u8,
    },
    /// Who hears whom from now on; `None`: each side hears the other, as it came.
    Mix {
        /// In which call.
        call_id: CallId,
        /// The whole of it.
        plan: Option<Box<MixPlan>>,
    },
    /// Record from now on: the call is answered.
    StartRecording {
        /// For which call.
        call_id: CallId,
    },
    /// Record nothing of the call, or go on recording; answer with [`Input::RecordingPaused`].
    /// What the sides hear of each other does not change.
    PauseRecording {
        /// For which call.
        call_id: CallId,
        /// Pause, or go on.
        is_paused: bool,
    },
    /// Which payload types of a side are telephone events (RFC 4733): their payload is not to be
    /// recorded, and the agent's are to be told by [`Input::Digit`].
    TelephoneEvents {
        /// For which call.
        call_id: CallId,
        /// Who sends them.
        lane: Lane,
        /// A bit for each payload type, 0 to 127.
        payload_types: u128,
    },
    /// Close the relay; answer with [`Input::RelayClosed`].
    CloseRelay {
        /// For which call.
        call_id: CallId,
    },
    /// Tell the journal and `lookup`.
    Tap(TapEvent),
    /// The answer to a command.
    Reply {
        /// The command's ticket.
        ticket: u64,
        /// What came of it.
        reply: CommandReply,
    },
}

/// A side's media address, from its SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelayRemote {
    /// RTP.
    pub rtp: SocketAddr,
    /// RTCP; equal to `rtp` when multiplexed (RFC 5761).
    pub rtcp: SocketAddr,
}

/// How the packets between one side and us are protected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RelayProtection {
    /// By keys that were said in signalling (SDES).
    Srtp(SrtpKeys),
    /// By keys that a handshake on the media path brings: a browser's way.
    Dtls(DtlsSide),
}

/// One end of a handshake on the media path. While all but `ice` is the same, so is the association
/// and its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsSide {
    /// Who we are in it: a place in [`Settings::dtls`].
    pub identity: u8,
    /// Whether we begin.
    pub role: Role,
    /// Who the other end has to be.
    pub theirs: Fingerprint,
    /// How its checks are known; `None` if it does none, and its address is that of its SDP.
    pub ice: Option<IceSide>,
}

/// What the checks of one side must bear (RFC 8445 §7.3).
#[derive(Clone, PartialEq, Eq)]
pub struct IceSide {
    /// Our fragment of the user name.
    pub ufrag: String,
    /// Our password. Never printed.
    pub password: String,
}

impl fmt::Debug for IceSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IceSide({})", self.ufrag)
    }
}

/// The SRTP keys between one side and us. Never printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKeys {
    /// With which it sends.
    pub theirs: MasterKey,
    /// With which we send.
    pub ours: MasterKey,
}

/// Third parties of one call at once.
pub const MAX_GUESTS: u8 = cheling_model::tap::MAX_VOICE;

/// One of those who talk in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaker {
    /// The customer's or the agent's side.
    Side(Lane),
    /// A third party, by number.
    Guest(u8),
}

/// Who hears whom in a call that needs more than passing packets across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixPlan {
    /// Whether what the customer's, and the agent's, side says goes to the other as it came.
    pub forwards: [bool; 2],
    /// Everybody whom the mixer reads or sends to.
    pub voices: Vec<MixedVoice>,
    /// The numbers of our own streams are drawn from it: random, and the same for all of a call.
    pub seed: u64,
}

/// One voice of a [`MixPlan`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixedVoice {
    /// Whose.
    pub who: Speaker,
    /// How to read its packets.
    pub formats: Vec<Format>,
    /// What it is sent by the mixer; `None` if it gets packets across, or nothing.
    pub sends: Option<MixSends>,
    /// Whom it hears by the mixer.
    pub hears: Vec<Speaker>,
    /// What it hears while nobody it hears, across or by the mixer, sends anything.
    pub played: Option<Played>,
    /// Whether a guest is recorded, as that voice of the right lane. The two sides always are.
    pub is_recorded: bool,
}

/// What is played to who waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    /// The network's ring-back tone: whom it waits for rings.
    RingBack,
    /// That it is on hold: the tone or the music of the config.
    Held,
}

/// The stream that a voice is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MixSends {
    /// Its codec.
    pub format: Format,
    /// The payload type of digits (RFC 4733), if it takes any.
    pub event_payload_type: Option<u8>,
}

/// Call control from the API.
#[derive(Clone, Debug)]
pub enum Command {
    /// Click-to-dial: ring the extension, then call the number.
    Dial {
        /// Names the answer.
        ticket: u64,
        /// The call's id, minted by whoever asks, so that asking twice dials once.
        call_id: CallId,
        /// The agent's phone.
        extension: String,
        /// An extension, or a number as it is dialled from anywhere in China (with area code);
        /// the trunk's own rules make of it what the trunk wants.
        number: String,
        /// Who asks.
        user_id: UserId,
        /// The task it is dialled from.
        follow_up_id: Option<FollowUpId>,
    },
    /// End a call.
    HangUp {
        /// Names the answer.
        ticket: u64,
        /// Which.
        call_id: CallId,
    },
    /// Record nothing of a call from now on, until resumed or for [`PauseRules::longest`]. Pausing
    /// what is paused changes nothing.
    PauseRecording {
        /// Names the answer; it comes when nothing more is recorded.
        ticket: u64,
        /// Which.
        call_id: CallId,
        /// Who asks.
        by: PausedBy,
    },
    /// Go on recording a call. Resuming what is not paused changes nothing.
    ResumeRecording {
        /// Names the answer; it comes when recording goes on.
        ticket: u64,
        /// Which.
        call_id: CallId,
        /// Who asks.
        by: PausedBy,
    },
    /// Change a call that is going on.
    Control {
        /// Names the answer.
        ticket: u64,
        /// Which call.
        call_id: CallId,
        /// The phone of whoever asks, if that phone is in the call; else the agent's side is meant.
        extension: Option<String>,
        /// What is to be done.
        order: Order,
    },
    /// Take no more calls (503); calls in progress go on.
    Drain,
    /// End all calls now.
    EndAll,
}

/// What is to be done to a call that is going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// The other side waits and hears nothing.
    Hold,
    /// The other side waits no more.
    Resume,
    /// Hand the call on to a number; whoever hands on goes when somebody has answered.
    Transfer {
        /// An extension, or a number to dial out.
        number: String,
    },
    /// Speak with a third while the other side waits: a call of its own.
    Consult {
        /// The id of the second call, minted by whoever asks.
        consult_id: CallId,
        /// An extension, or a number to dial out.
        number: String,
    },
    /// Hand the waiting side to whoever is consulted, who must have answered.
    CompleteConsult,
    /// End the consultation and bring whoever is consulted, who must have answered, into the call
    /// that waits: all talk with all.
    JoinConsult,
    /// End the consultation and go back to the waiting side.
    CancelConsult,
    /// Bring a third party in, so that all talk with all.
    Invite {
        /// An extension, or a number to dial out.
        number: String,
    },
    /// Ring a supervisor's phone and let it hear the call; or, if it does already, change its role.
    Monitor {
        /// The supervisor's phone.
        monitor: String,
        /// What it may do; not [`GuestRole::Conference`].
        role: GuestRole,
    },
    /// Go, while the other side and a third party talk on: the third takes the place of who goes.
    Leave,
    /// Put a third party out.
    Dismiss {
        /// Its number.
        guest: u8,
    },
}

/// What came of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandReply {
    /// It is under way.
    Accepted,
    /// The extension has no registered phone.
    NotRegistered,
    /// There is no such extension.
    NoSuchExtension,
    /// No trunk takes this number.
    NoRoute,
    /// The extension may not dial that far.
    NotPermitted,
    /// Nobody may dial this number.
    Blocked,
    /// All trunks that take this number carry as many calls as they may.
    TrunksFull,
    /// The extension is in another call.
    ExtensionBusy,
    /// There is no such call.
    NoSuchCall,
    /// The call has not been answered yet.
    NotAnswered,
    /// Too many calls, or shutting down.
    Overloaded,
    /// The call is not at a point where this can be done; soon it may be.
    NotNow,
    /// The two sides speak a codec that we cannot mix, or encrypt past us.
    CannotMix,
    /// There is no such third party in the call.
    NoSuchGuest,
}
