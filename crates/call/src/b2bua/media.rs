//! What the two sides agree on: descriptions passed across with our addresses in them, who is on
//! hold, where the relay points, and how each side's packets are to be read.
//!
//! What one side says of its codecs is told to the other, so that both share them and packets pass
//! as they are. Where the two share none, each is told what it speaks itself and the relay
//! transcodes between them; a side is asked for that only after it has refused the other's codecs
//! (`codecs`), so that no call is transcoded that need not be. Only the first audio line is carried; all
//! other lines are refused (port 0). Protection is each side's own (see `protection`).

use std::net::SocketAddr;

use bytes::Bytes;
use cheling_model::call::Format;
use cheling_model::{Lane, TapKind};
use cheling_sip::sdp::{self, Direction, LocalMedia, Origin, Sdp};
use cheling_sip::{Headers, Message, Method, Name, Request, Uri};

use super::formats::{
    formats, is_mixable, is_same, is_same_format, model_format, remote, shares, spoken,
};
use super::guests::can_mix;
use super::protection::{Protection, Unprotected};
use crate::io::{MixSends, RelayProtection, RelayRemote};
use crate::random::Random;

mod meeting;

/// What an agreement changes outside.
#[derive(Debug, PartialEq, Eq)]
pub enum Change {
    /// Where a side wants its media.
    Point(Lane, Option<RelayRemote>),
    /// How a side's packets are protected; `None`: not at all.
    Protect(Lane, Option<Box<RelayProtection>>),
    /// Formats, Held or Resumed.
    Tap(TapKind),
}

/// Why a body is not passed across.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// Not a session description.
    #[error("the body holds no application/sdp")]
    ContentType,
    /// Cannot be read.
    #[error("{0}")]
    Unreadable(#[from] sdp::SdpError),
}

impl BodyError {
    /// The status that says so.
    pub fn status(&self) -> u16 {
        match self {
            Self::ContentType => 415,
            Self::Unreadable(sdp::SdpError::TooLong) => 513,
            Self::Unreadable(_) => 400,
        }
    }
}

/// Reads the description a message carries, alone or beside other parts (RFC 5621); `None` if it
/// has no body.
///
/// # Errors
/// [`BodyError::ContentType`] or [`BodyError::Unreadable`].
pub fn read_body(headers: &Headers, body: &Bytes) -> Result<Option<Sdp>, BodyError> {
    if body.is_empty() {
        return Ok(None);
    }
    match headers.content_type() {
        Some(content_type) if content_type.media_type == sdp::CONTENT_TYPE => {
            Ok(Some(Sdp::parse(body)?))
        }
        // Some gateways leave the Content-Type out.
        None => Ok(Some(Sdp::parse(body)?)),
        Some(content_type) if content_type.media_type.starts_with("multipart/") => {
            let mut carrier = Request::new(Method::Invite, Uri::sip(None, "", None));
            carrier.headers.copy_from(headers, Name::ContentType);
            carrier.body = body.clone();
            match Message::Request(carrier).sdp() {
                Some(sdp) => Ok(Some(sdp?)),
                None => Err(BodyError::ContentType),
            }
        }
        Some(_) => Err(BodyError::ContentType),
    }
}

/// The media of one call.
#[derive(Debug)]
pub struct Media {
    local: [SocketAddr; 2],
    origin: [Origin; 2],
    sent: [Option<Sdp>; 2],
    agreed: [Option<Sdp>; 2],
    held: [bool; 2],
    formats: [Vec<Format>; 2],
    pointed: [Option<RelayRemote>; 2],
    protection: [Protection; 2],
    /// What the relay was told of it.
    protected: [Option<RelayProtection>; 2],
    /// Makes keys.
    random: Random,
    is_transcoding: bool,
}

impl Media {
    /// The media of a call whose relay has these ports facing [customer, agent]. Keys come out of
    /// `random`.
    pub fn new(local: [SocketAddr; 2], session_ids: [u64; 2], random: Random) -> Self {
        let origin = |lane: usize| Origin::new(session_ids[lane] >> 1, local[lane].ip());
        Self {
            local,
            origin: [origin(0), origin(1)],
            sent: [None, None],
            agreed: [None, None],
            held: [false, false],
            formats: [Vec::new(), Vec::new()],
            pointed: [None, None],
            protection: Default::default(),
            protected: [None, None],
            random,
            is_transcoding: false,
        }
    }

    /// From now on this side is protected so.
    pub(crate) fn protect(&mut self, lane: Lane, protection: Protection) {
        self.protection[lane.index()] = protection;
    }

    /// The protection of this side, for another call that it goes on in.
    pub(crate) fn protection(&self, lane: Lane) -> &Protection {
        &self.protection[lane.index()]
    }

    /// Whether this side may say so.
    ///
    /// # Errors
    /// [`Unprotected`] if its media would be protected too little, or as nobody knows.
    pub(crate) fn check(&self, lane: Lane, theirs: &Sdp) -> Result<(), Unprotected> {
        self.protection[lane.index()].check(theirs)
    }

    /// The offer to `to` that says what the other side said, before any protection: whoever rings
    /// gets keys of his own.
    pub fn pass_plain(&mut self, to: Lane, theirs: &Sdp) -> Sdp {
        self.pass(to, theirs, |_, _, _| {})
    }

    /// The offer to `to` that says what the other side said.
    pub fn pass_offer(&mut self, to: Lane, theirs: &Sdp) -> Sdp {
        self.pass(to, theirs, |protection, sdp, random| protection.write_offer(sdp, random))
    }

    /// The answer to `to` that says what the other side said; where the two share no codec, one of
    /// our own in the first that we can transcode. What `to` offered must have been heard: by
    /// [`Media::agree`] or [`Media::hear`].
    pub fn pass_answer(&mut self, to: Lane, theirs: &Sdp) -> Sdp {
        let offer = self.agreed(to).filter(|offer| !shares(offer, theirs));
        match offer.cloned().and_then(|offer| self.answer_instead(to, &offer, theirs)) {
            Some(answer) => answer,
            None => self.pass(to, theirs, |protection, sdp, _| protection.write_answer(sdp)),
        }
    }

    /// Our own answer to an offer that shares no codec with what the other side says.
    fn answer_instead(&mut self, to: Lane, offer: &Sdp, theirs: &Sdp) -> Option<Sdp> {
        let line = offer.audio().filter(|_| is_mixable(theirs))?;
        let first = line.formats.iter().find(|it| can_mix(it))?.payload_type;
        let mut lines = vec![None; line.index];
        lines.push(Some(self.local_media(to)));
        let direction = theirs.audio().map_or(Direction::Inactive, |line| line.direction);
        let is_spoken =
            |format: &sdp::Format| format.payload_type == first || format.is("telephone-event");
        let mut plain = offer.clone();
        plain.set_crypto("RTP/AVP", &[]);
        let mut ours = plain.answer(&self.origin[to.index()], &lines, direction, is_spoken);
        self.protection[to.index()].write_answer(&mut ours);
        Some(self.tell(to, ours))
    }

    /// What `to` speaks, if that is nothing of what the other side says.
    fn spoken_instead(&self, to: Lane, theirs: &Sdp) -> Option<Vec<sdp::Format>> {
        let known = self.agreed(to)?;
        if shares(known, theirs) || !is_mixable(theirs) {
            return None;
        }
        let line = known.audio()?;
        let spoken = line.formats.iter().find(|format| can_mix(format))?;
        let spoken = match self.sends(to) {
            Some(sends) => line.format(sends.format.payload_type).unwrap_or(spoken),
            None => spoken,
        };
        let mut formats = vec![spoken.clone()];
        formats.extend(line.formats.iter().filter(|it| it.is("telephone-event")).cloned());
        Some(formats)
    }

    /// What this side was told last, with another direction.
    pub fn turn(&mut self, to: Lane, direction: Direction) -> Option<Sdp> {
        let mut ours = self.sent(to)?.clone();
        ours.set_direction(direction);
        self.protection[to.index()].write_offer(&mut ours, &mut self.random);
        Some(self.tell(to, ours))
    }

    /// The offer to `to` of all that we can transcode; `None` if `theirs`, the other side's, is
    /// nothing that we can, or if there is nothing in it that was not in `refused`.
    pub fn broad_offer(&self, to: Lane, theirs: &Sdp, refused: &Sdp) -> Option<Sdp> {
        let all = sdp::rewrite::mixed_formats();
        let was_there = |format: &sdp::Format| {
            let line = refused.audio();
            line.is_some_and(|line| line.formats.iter().any(|it| is_same(it, format)))
        };
        let has_more = all.iter().any(|format| !was_there(format));
        let offer = || Sdp::offer(&self.origin[to.index()], self.local_media(to), &all);
        (is_mixable(theirs) && has_more).then(offer)
    }

    /// An offer of our own to `to`, who is in the call already, of all that we can transcode.
    pub(crate) fn any_offer(&mut self, to: Lane, protection: Protection) -> Sdp {
        let local = self.local_media(to);
        let mut offer = Sdp::offer(&self.origin[to.index()], local, &sdp::rewrite::mixed_formats());
        self.protect(to, protection);
        self.protection[to.index()].write_offer(&mut offer, &mut self.random);
        self.sent[to.index()] = Some(offer.clone());
        offer
    }

    /// Whether the two sides share no codec.
    pub fn is_transcoding(&self) -> bool {
        self.is_transcoding
    }

    /// Whether this side has the other on hold.
    pub fn is_held(&self, by: Lane) -> bool {
        self.held[by.index()]
    }

    /// How the packets that this side sends are to be read.
    pub fn formats_of(&self, lane: Lane) -> &[Format] {
        &self.formats[lane.index()]
    }

    /// The stream that this side would be sent by the mixer: the codec that it speaks now.
    pub fn sends(&self, lane: Lane) -> Option<MixSends> {
        let theirs = self.agreed(lane)?.audio()?;
        let spoken = self.spoken_now(lane)?;
        let format = theirs.formats.iter().find(|it| is_same(it, &spoken))?;
        let event = theirs.formats.iter().find(|it| it.is("telephone-event"));
        Some(MixSends {
            format: model_format(format),
            event_payload_type: event.map(|event| event.payload_type),
        })
    }

    /// Whether both sides speak what we can mix.
    pub fn can_mix(&self) -> bool {
        Lane::BOTH.into_iter().all(|lane| self.spoken_now(lane).is_some())
    }

    /// The codec that this side speaks, if we can mix it: the first of the answer, which is the
    /// shorter of what the two sides said; of a side that is transcoded, the first that we can.
    fn spoken_now(&self, lane: Lane) -> Option<sdp::Format> {
        let theirs = self.agreed(lane)?.audio()?;
        if self.is_transcoding {
            return theirs.formats.into_iter().find(can_mix);
        }
        let other = self.agreed(lane.other())?.audio()?;
        let (narrow, wide) = match theirs.formats.len() <= other.formats.len() {
            true => (theirs, other),
            false => (other, theirs),
        };
        let is_sound = |it: &&sdp::Format| !it.is("telephone-event") && !it.is("CN");
        let mut sounds = narrow.formats.iter().filter(is_sound);
        let spoken = sounds.find(|it| wide.formats.iter().any(|other| is_same(it, other)))?;
        can_mix(spoken).then(|| spoken.clone())
    }

    fn pass(
        &mut self,
        to: Lane,
        theirs: &Sdp,
        protect: impl FnOnce(&mut Protection, &mut Sdp, &mut Random),
    ) -> Sdp {
        let local = self.local_media(to);
        let lane = to.index();
        let mut ours = match self.spoken_instead(to, theirs) {
            Some(formats) => {
                let direction = theirs.audio().map_or(Direction::Inactive, |line| line.direction);
                let mut ours = Sdp::offer(&self.origin[lane], local, &formats);
                ours.set_direction(direction);
                ours
            }
            None => {
                let mut ours = theirs.clone();
                ours.rewrite_audio(&self.origin[lane], local);
                ours
            }
        };
        protect(&mut self.protection[lane], &mut ours, &mut self.random);
        self.tell(to, ours)
    }

    /// Tells a side something; the version moves only with the content.
    fn tell(&mut self, to: Lane, mut ours: Sdp) -> Sdp {
        let lane = to.index();
        match &self.sent[lane] {
            Some(sent) if ours.is_same_but_origin(sent) => return sent.clone(),
            Some(_) => {
                self.origin[lane].version += 1;
                ours.set_origin(&self.origin[lane]);
            }
            None => {}
        }
        self.sent[lane] = Some(ours.clone());
        ours
    }

    /// An offer of our own to `to`.
    pub fn own_offer(&mut self, to: Lane) -> Sdp {
        let local = self.local_media(to);
        let offer = Sdp::offer(&self.origin[to.index()], local, &sdp::rewrite::basic_formats());
        self.sent[to.index()] = Some(offer.clone());
        offer
    }

    /// The offer to `to` that holds no more than the one codec `chosen` begins with, and DTMF.
    pub fn narrow_offer(&mut self, to: Lane, chosen: &Sdp) -> Sdp {
        let kept = spoken(&chosen.audio().map(|line| line.formats).unwrap_or_default());
        let offer = Sdp::offer(&self.origin[to.index()], self.local_media(to), &kept);
        self.sent[to.index()] = Some(offer.clone());
        offer
    }

    /// Whoever answered on this side has had this offer of ours, and is protected so.
    pub(crate) fn answered_by(&mut self, place: Lane, protection: Protection, offer: Option<Sdp>) {
        self.protect(place, protection);
        if offer.is_some() {
            self.sent[place.index()] = offer;
        }
    }

    /// Another has taken the place of this side, by this offer of ours.
    pub fn replaced(&mut self, place: Lane, offer: Sdp) {
        let at = place.index();
        self.sent[at] = Some(offer);
        self.agreed[at] = None;
        self.pointed[at] = None;
        self.formats[at].clear();
    }

    /// The answer to an offer that a caller makes anew before the call is answered: what is left
    /// of what was answered before. `None` if that is no codec.
    pub fn early_answer(&mut self, lane: Lane, offer: &Sdp) -> Option<Sdp> {
        let answered = self.sent(lane)?.audio()?.formats;
        let is_kept = |format: &sdp::Format| answered.iter().any(|it| is_same_format(it, format));
        let is_codec = |f: &&sdp::Format| !f.is("telephone-event") && !f.is("CN");
        offer.audio()?.formats.iter().filter(|f| is_kept(f)).find(is_codec)?;
        self.answer(lane, offer, is_kept)
    }

    /// An answer of our own to an offer of this side.
    fn answer(
        &mut self,
        to: Lane,
        offer: &Sdp,
        is_kept: impl Fn(&sdp::Format) -> bool,
    ) -> Option<Sdp> {
        let audio = offer.audio()?.index;
        let mut lines = vec![None; audio + 1];
        lines[audio] = Some(self.local_media(to));
        let origin = &mut self.origin[to.index()];
        if self.sent[to.index()].is_some() {
            origin.version += 1;
        }
        let mut plain = offer.clone();
        plain.set_crypto("RTP/AVP", &[]);
        let mut answer = plain.answer(origin, &lines, Direction::SendRecv, is_kept);
        answer.audio()?;
        self.hear(to, offer);
        self.protection[to.index()].write_answer(&mut answer);
        self.sent[to.index()] = Some(answer.clone());
        Some(answer)
    }

    fn local_media(&self, lane: Lane) -> LocalMedia {
        let local = self.local[lane.index()];
        LocalMedia {
            address: local.ip(),
            rtp_port: local.port(),
            rtcp_port: local.port().saturating_add(1),
        }
    }

    /// What we last told this side, for a refresh that changes nothing.
    pub fn sent(&self, to: Lane) -> Option<&Sdp> {
        self.sent[to.index()].as_ref()
    }

    /// This side refused what it was told last: what it was told `before` holds.
    pub fn take_back(&mut self, to: Lane, before: Option<Sdp>) {
        self.sent[to.index()] = before;
        self.protection[to.index()].take_back();
    }

    /// What this side last said and the other accepted.
    pub fn agreed(&self, lane: Lane) -> Option<&Sdp> {
        self.agreed[lane.index()].as_ref()
    }

    /// Points the relay to a side before there is an agreement (early media).
    pub fn point(&mut self, lane: Lane, theirs: &Sdp) -> Vec<Change> {
        let mut changes = Vec::new();
        let protection = self.protection[lane.index()].of_relay();
        if protection != self.protected[lane.index()] {
            self.protected[lane.index()].clone_from(&protection);
            changes.push(Change::Protect(lane, protection.map(Box::new)));
        }
        let remote = theirs.audio().and_then(|line| remote(&line));
        if remote != self.pointed[lane.index()] {
            self.pointed[lane.index()] = remote;
            changes.push(Change::Point(lane, remote));
        }
        changes
    }

    /// Takes what this side says of its protection: its answer, if an offer of ours waits for one,
    /// else its offer.
    pub fn hear(&mut self, lane: Lane, theirs: &Sdp) {
        // Offers and first answers have been checked before. A later answer may say too little:
        // then what it sends cannot be opened, and the relay drops and counts it.
        if let Err(err) = self.protection[lane.index()].hear(theirs, &mut self.random) {
            tracing::warn!(?lane, %err, "the media's protection stays as it was");
            return;
        }
        if let Some(sent) = &mut self.sent[lane.index()] {
            self.protection[lane.index()].narrow(sent);
        }
    }

    /// Sends nothing to a side until it is pointed to again.
    pub fn mute(&mut self, lane: Lane) -> Vec<Change> {
        let was_pointed = self.pointed[lane.index()].take();
        was_pointed.map(|_| Change::Point(lane, None)).into_iter().collect()
    }

    /// An offer of `offerer` was answered: what changes by it.
    pub fn agree(&mut self, offerer: Lane, offer: &Sdp, answer: &Sdp) -> Vec<Change> {
        let answerer = offerer.other();
        let mut changes = Vec::new();
        for (lane, said) in [(offerer, offer), (answerer, answer)] {
            self.hear(lane, said);
            changes.extend(self.point(lane, said));
        }
        changes.extend(self.hold(offerer, offer, answer));
        self.is_transcoding = !shares(offer, answer) && is_mixable(offer) && is_mixable(answer);
        let (of_offerer, of_answerer) = match self.is_transcoding {
            // Each is answered as it numbered its offer itself, or as our offer did.
            true => {
                let told = self.sent(answerer).unwrap_or(answer);
                (formats(offer, offer), formats(told, answer))
            }
            false => (formats(answer, offer), formats(offer, answer)),
        };
        for (lane, formats) in [(offerer, of_offerer), (answerer, of_answerer)] {
            if !formats.is_empty() && self.formats[lane.index()] != formats {
                self.formats[lane.index()].clone_from(&formats);
                changes.push(Change::Tap(TapKind::Formats { lane, voice: 0, formats }));
            }
        }
        self.agreed[offerer.index()] = Some(offer.clone());
        self.agreed[answerer.index()] = Some(answer.clone());
        changes
    }

    fn hold(&mut self, offerer: Lane, offer: &Sdp, answer: &Sdp) -> Vec<Change> {
        let direction = |sdp: &Sdp| sdp.audio().map_or(Direction::Inactive, |line| line.direction);
        let stops = |direction: Direction| !direction.receives();
        let offered = direction(offer);
        let mut changes: Vec<Option<TapKind>> = vec![self.set_held(offerer, stops(offered))];
        // An answer says something of its own only where the offer left it the choice.
        if offered == Direction::SendRecv {
            changes.push(self.set_held(offerer.other(), stops(direction(answer))));
        }
        changes.into_iter().flatten().map(Change::Tap).collect()
    }

    fn set_held(&mut self, by: Lane, is_held: bool) -> Option<TapKind> {
        let held = &mut self.held[by.index()];
        if *held == is_held {
            return None;
        }
        *held = is_held;
        Some(if is_held { TapKind::Held { by } } else { TapKind::Resumed { by } })
    }
}

#[cfg(test)]
mod tests;
