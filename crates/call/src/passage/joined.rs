//! One conversation that passes us twice: a phone's call to the telephone system, and the telephone
//! system's to the phone that it rings for it. Both stay calls of their own on the wire; what is
//! told of them, and recorded, is the first alone.
//!
//! Belongs here: how the second is recognised, and what of it is told. Does not: either call
//! (`b2bua`).

use std::collections::HashMap;

use cheling_model::call::{Offer, TapKind, Withdrawal};
use cheling_model::{CallId, Direction, LegId};
use cheling_sip::Request;

use crate::b2bua::Call;

/// Names our call in the INVITE to a telephone system: some copy it to whom they ring for it.
pub(crate) const CALL_HEADER: &str = "X-Cheling-Call";

/// Second passages, by their own ids.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    passes: HashMap<CallId, Pass>,
}

/// A second passage.
#[derive(Debug)]
struct Pass {
    /// The call that it belongs to.
    first: First,
    /// The phones that it rings.
    ringing: Vec<(LegId, String)>,
    /// The phone that has answered it.
    answerer: Option<String>,
}

/// The call that a second passage belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct First {
    /// Its id.
    pub(crate) call_id: CallId,
    direction: Direction,
    is_answered: bool,
    is_over: bool,
}

/// The call that the telephone system's INVITE belongs to, if a phone of ours has begun it there.
///
/// A proxy keeps our Call-ID, and some telephone systems copy headers. Of the others nothing is left
/// but who calls: the one phone with this number whose only call there has no answer yet.
pub(crate) fn first_of<'a>(
    calls: impl Iterator<Item = (CallId, &'a Call)>,
    pbx: &str,
    offer: &Offer,
    request: &Request,
) -> Option<First> {
    let sip_call_id = request.headers.call_id().unwrap_or_default();
    let named = request.headers.get(CALL_HEADER).unwrap_or_default();
    let mut of_caller = Vec::new();
    for (call_id, call) in calls {
        let Some(begun) = call.begun_at(pbx) else { continue };
        let Begun { extension, direction, is_answered } = begun;
        let first = First { call_id, direction, is_answered, is_over: false };
        if call.is_known_there_as(&sip_call_id) || named == call_id.to_string() {
            return Some(first);
        }
        if extension == offer.caller.number && !is_answered {
            of_caller.push(first);
        }
    }
    match of_caller[..] {
        [first] => Some(first),
        _ => None,
    }
}

/// A phone's call to a telephone system, as [`first_of`] looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Begun<'a> {
    /// The phone's extension.
    pub(crate) extension: &'a str,
    /// What we took it for.
    pub(crate) direction: Direction,
    /// Whether somebody has answered there.
    pub(crate) is_answered: bool,
}

impl Joined {
    /// From now on `pass` is a part of `first`.
    pub(crate) fn join(&mut self, pass: CallId, first: First) {
        let pass_of = Pass { first, ringing: Vec::new(), answerer: None };
        self.passes.insert(pass, pass_of);
    }

    /// Whether this call is part of another: nothing of it is recorded.
    pub(crate) fn is_part(&self, call_id: CallId) -> bool {
        self.passes.contains_key(&call_id)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.passes.len()
    }

    /// The call is finished.
    pub(crate) fn forget(&mut self, call_id: CallId) {
        self.passes.remove(&call_id);
    }

    /// The phone of a second passage that answered a call between two phones.
    pub(crate) fn answerer(&self, first: CallId) -> Option<String> {
        let mut passes = self.passes.values().filter(|pass| pass.first.call_id == first);
        passes.find_map(|pass| pass.answerer.clone())
    }

    /// What is to be told of an event, and of which call.
    pub(crate) fn told(&mut self, call_id: CallId, kind: TapKind) -> Vec<(CallId, TapKind)> {
        if let Some(pass) = self.passes.get_mut(&call_id) {
            let first = pass.first.call_id;
            return pass.told(kind).map(|kind| (first, kind)).into_iter().collect();
        }
        let mut told = Vec::new();
        for pass in self.passes.values_mut().filter(|pass| pass.first.call_id == call_id) {
            match &kind {
                TapKind::Answered { .. } => pass.first.is_answered = true,
                TapKind::Ended { .. } => {
                    pass.first.is_over = true;
                    let why = Withdrawal::CallerHungUp;
                    told.extend(pass.ringing.drain(..).map(|(leg, extension)| {
                        (call_id, TapKind::Withdrawn { leg, extension, why: why.clone() })
                    }));
                }
                _ => {}
            }
        }
        told.push((call_id, kind));
        told
    }
}

impl Pass {
    fn told(&mut self, kind: TapKind) -> Option<TapKind> {
        // A number that rings several was no colleague's: who rings for it is not shown.
        if self.first.is_over || self.first.direction != Direction::Internal {
            return None;
        }
        match &kind {
            TapKind::Ringing { leg, extension } => {
                self.ringing.push((*leg, extension.clone()));
                Some(kind)
            }
            TapKind::Withdrawn { leg, .. } => {
                self.ringing.retain(|(known, _)| known != leg);
                Some(kind)
            }
            TapKind::Answered { extension } => {
                self.ringing.retain(|(_, known)| known != extension);
                self.answerer = Some(extension.clone());
                // Before the first is answered its own answer tells who.
                self.first.is_answered.then_some(kind)
            }
            _ => None,
        }
    }
}
