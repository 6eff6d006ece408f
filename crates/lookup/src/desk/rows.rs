//! Events as rows.

use super::is_known;
use cheling_model::call::Offer;
use cheling_model::card::Card;
use cheling_model::follow_up::AttachMethod;
use cheling_model::number::CallerNumber;
use cheling_model::{
    CallId, CustomerId, Direction, FollowUpId, LegId, Timestamp, UserId, Withdrawal,
};
use cheling_records::call::{Call, Leg, MatchMethod};

/// The key that a call is found by: empty for withheld and internal numbers.
pub(super) fn key_of(read: &CallerNumber) -> &str {
    match read {
        CallerNumber::Known(number) if super::is_outside(number) => &number.key,
        CallerNumber::Known(_) | CallerNumber::Withheld => "",
    }
}

/// The customer that a card settles on.
pub(super) fn customer_of(card: &Card) -> Option<CustomerId> {
    card.customer.as_ref().filter(|_| is_known(card)).map(|customer| customer.customer_id)
}

/// The row of a call that was just routed.
pub(super) fn call_row(
    call_id: CallId,
    at: Timestamp,
    offer: &Offer,
    read: &CallerNumber,
    card: &Card,
    user_id: Option<UserId>,
    task: Option<FollowUpId>,
) -> Call {
    let customer_number = match offer.direction {
        Direction::Inbound => offer.caller.number.clone(),
        Direction::Outbound => offer.called.clone(),
        Direction::Internal => String::new(),
    };
    let mut row = Call {
        call_id,
        dealership_id: offer.dealership_id,
        direction: offer.direction,
        caller_number: offer.caller.number.clone(),
        caller_name: offer.caller.display_name.clone().unwrap_or_default(),
        presentation: offer.caller.presentation,
        called_number: offer.called.clone(),
        customer_number,
        customer_key: key_of(read).to_owned(),
        trunk: offer.trunk.clone().unwrap_or_default(),
        line_id: offer.line_id,
        extension: offer.extension.clone().unwrap_or_default(),
        user_id,
        offered_at: at,
        ringing_at: None,
        answered_at: None,
        ended_at: None,
        cause: None,
        hangup_by: None,
        sip_status: None,
        customer_id: None,
        match_method: MatchMethod::None,
        follow_up_id: None,
        attach_method: None,
    };
    matched(&mut row, card, task);
    row
}

/// Who the other side is, as its card says, and the task that the call was dialled from.
pub(super) fn matched(row: &mut Call, card: &Card, task: Option<FollowUpId>) {
    row.customer_id = customer_of(card);
    row.match_method = match (row.customer_id, task) {
        (None, _) => MatchMethod::None,
        (Some(_), Some(_)) => MatchMethod::Task,
        (Some(_), None) => MatchMethod::Number,
    };
    if row.attach_method.is_none() {
        row.follow_up_id = task;
        row.attach_method = task.map(|_| AttachMethod::ClickToDial);
    }
}

/// The row of a phone that rings.
pub(super) fn leg_row(
    call_id: CallId,
    leg_id: LegId,
    extension: &str,
    user_id: Option<UserId>,
    ringing_at: Option<Timestamp>,
) -> Leg {
    Leg {
        leg_id,
        call_id,
        extension: extension.to_owned(),
        user_id,
        ringing_at,
        answered_at: None,
        ended_at: None,
        withdrawn: None,
        sip_status: None,
    }
}

/// The row of a phone that stopped ringing.
pub(super) fn withdrawn_row(
    call_id: CallId,
    leg_id: LegId,
    extension: &str,
    user_id: Option<UserId>,
    at: Timestamp,
    why: &Withdrawal,
) -> Leg {
    let (word, sip_status) = match why {
        Withdrawal::AnsweredElsewhere { .. } => ("answered_elsewhere", None),
        Withdrawal::CallerHungUp => ("caller_hung_up", None),
        Withdrawal::Busy => ("busy", None),
        Withdrawal::Declined => ("declined", None),
        Withdrawal::NoAnswer => ("no_answer", None),
        Withdrawal::Failed { status } => ("failed", Some(i64::from(*status))),
    };
    Leg {
        ended_at: Some(at),
        withdrawn: Some(word.to_owned()),
        sip_status,
        ..leg_row(call_id, leg_id, extension, user_id, None)
    }
}
