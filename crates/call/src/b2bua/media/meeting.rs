//! Somebody takes a place in a call: what he is offered, and how two who have both made offers meet.
//!
//! What both speak alike passes as it is; where that is nothing, each keeps to its own and the relay
//! transcodes.

use cheling_model::Lane;
use cheling_sip::sdp::{self, Sdp};

use super::super::formats::{is_same, is_same_format, own_codec, spoken};
use super::super::guests::can_mix;
use super::super::protection::Protection;
use super::{Change, Media};

/// What two sides that have both made offers are told.
#[derive(Debug)]
pub struct Meeting {
    /// The answer to the first.
    pub to_caller: Sdp,
    /// The answer to the second.
    pub to_replacer: Sdp,
    /// What the first offered; without what it is not to send, where they share no codec.
    pub firsts: Sdp,
    /// What the second offered, without what the first does not share.
    pub theirs: Sdp,
}

impl Media {
    /// The offer to who may take the place of this side: what the two speak now, and DTMF. Nothing
    /// is changed by it.
    pub fn transfer_offer(&self, place: Lane) -> Option<Sdp> {
        let agreed = [place.other(), place].map(|lane| self.agreed(lane)).into_iter().flatten();
        // The one with fewer formats is the answer: it names what is spoken.
        let lines = agreed.filter_map(Sdp::audio).filter(|line| !line.formats.is_empty());
        let line = lines.min_by_key(|line| line.formats.len())?;
        let kept = spoken(&line.formats);
        Some(Sdp::offer(&self.origin[place.index()], self.local_media(place), &kept))
    }

    /// The offer to who takes the place of this side and is in a call of ours already: as
    /// [`Media::transfer_offer`], and after that all else that we can transcode, for it cannot be
    /// asked first what it speaks.
    pub fn wide_offer(&self, place: Lane) -> Option<Sdp> {
        let narrow = self.transfer_offer(place)?;
        let mut kept = narrow.audio()?.formats;
        if !kept.iter().any(can_mix) {
            return Some(narrow);
        }
        for format in sdp::rewrite::mixed_formats() {
            let is_known =
                |it: &sdp::Format| is_same(it, &format) || it.payload_type == format.payload_type;
            if can_mix(&format) && !kept.iter().any(is_known) {
                kept.push(format);
            }
        }
        Some(Sdp::offer(&self.origin[place.index()], self.local_media(place), &kept))
    }

    /// Answers a caller before whoever takes the call has said what it speaks: the first codec of
    /// the caller's own.
    pub(crate) fn answer_first(&mut self, lane: Lane, offer: &Sdp) -> Option<Sdp> {
        let kept = spoken(&offer.audio()?.formats);
        self.agreed[lane.index()] = Some(offer.clone());
        self.answer(lane, offer, |format| kept.iter().any(|it| is_same_format(it, format)))
    }

    /// Takes what a side says before there is anybody for it to agree with.
    pub(crate) fn says(&mut self, lane: Lane, answer: Sdp) -> Vec<Change> {
        self.hear(lane, &answer);
        let changes = self.point(lane, &answer);
        self.agreed[lane.index()] = Some(answer);
        changes
    }

    /// Has a caller and who takes a ringing phone's place, or a side that stays and who takes the
    /// other's, meet in what both of their offers number alike; where that is nothing, each in what
    /// it speaks itself, to be transcoded. `is_answered`: the first has had its answer already, and
    /// no more than that may be taken. `None` if nothing can be done.
    pub(crate) fn meet(
        &mut self,
        stays: Lane,
        first: &Sdp,
        place: Lane,
        second: &Sdp,
        is_answered: bool,
        protection: Protection,
    ) -> Option<Meeting> {
        let before = std::mem::replace(&mut self.protection[place.index()], protection);
        let met = self.try_meet(stays, first, place, second, is_answered);
        if met.is_none() {
            self.protection[place.index()] = before;
        }
        met
    }

    fn try_meet(
        &mut self,
        stays: Lane,
        first: &Sdp,
        place: Lane,
        second: &Sdp,
        is_answered: bool,
    ) -> Option<Meeting> {
        self.check(place, second).ok()?;
        let of = |sdp: &Sdp| sdp.audio().map(|line| line.formats).unwrap_or_default();
        let answered = self.sent(stays).filter(|_| is_answered).map(of);
        let (one, two) = (of(first), of(second));
        let has = |formats: &[sdp::Format], format: &sdp::Format| {
            formats.iter().any(|it| is_same_format(it, format))
        };
        let is_common = |format: &sdp::Format| {
            has(&one, format)
                && has(&two, format)
                && answered.as_ref().is_none_or(|answered| has(answered, format))
        };
        let is_codec = |f: &&sdp::Format| !f.is("telephone-event") && !f.is("CN");
        if two.iter().filter(|f| is_common(f)).find(is_codec).is_none() {
            return self.meet_apart(stays, first, place, second, is_answered);
        }
        let mut theirs = second.clone();
        theirs.retain_formats(is_common);
        let to_replacer = self.answer(place, second, is_common)?;
        let to_caller = match is_answered {
            true => self.sent(stays).cloned(),
            false => self.answer(stays, first, is_common),
        }?;
        Some(Meeting { to_caller, to_replacer, firsts: first.clone(), theirs })
    }

    /// As [`Media::meet`], for two that share no codec.
    fn meet_apart(
        &mut self,
        stays: Lane,
        first: &Sdp,
        place: Lane,
        second: &Sdp,
        is_answered: bool,
    ) -> Option<Meeting> {
        let told = self.sent(stays).filter(|_| is_answered).cloned();
        let one = own_codec(told.as_ref().unwrap_or(first))?;
        let two = own_codec(second)?;
        let is_of = |own: &sdp::Format, format: &sdp::Format| {
            is_same_format(own, format) || format.is("telephone-event")
        };
        let (mut firsts, mut theirs) = (first.clone(), second.clone());
        firsts.retain_formats(|format| is_of(&one, format));
        theirs.retain_formats(|format| is_of(&two, format));
        let to_replacer = self.answer(place, second, |format| is_of(&two, format))?;
        let to_caller = match told {
            Some(told) => told,
            None => self.answer(stays, first, |format| is_of(&one, format))?,
        };
        Some(Meeting { to_caller, to_replacer, firsts, theirs })
    }
}
