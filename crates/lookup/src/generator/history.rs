//! Invented past calls with their notes, and the tasks of today.

use super::words::{COMPLAINTS, GOOD_NOTES, INBOUND_NOTES, MISSED_NOTES, REPAIRS};
use super::{Generated, LINES, PEOPLE, Scene, later};
use crate::date;
use cheling_model::follow_up::{
    AttachMethod, FollowUpState, FollowUpType, Lifecycle, Outcome, Role,
};
use cheling_model::{
    CallId, CustomerId, Direction, EndCause, FollowUpId, Lane, LegId, Presentation, Timestamp,
    UserId, VehicleId,
};
use cheling_records::call::{Call, Leg, MatchMethod};
use cheling_records::follow_up::{Attempt, FollowUp};
use cheling_records::wrap_up::WrapUp;

/// Someone who can be called.
struct Subject {
    customer_id: CustomerId,
    vehicle_id: Option<VehicleId>,
    number: String,
    key: String,
    lifecycle: Lifecycle,
    age_days: i64,
}

/// An agent at a phone.
#[derive(Clone, Copy)]
struct Seat {
    user_id: UserId,
    extension: &'static str,
    is_sales: bool,
}

pub(super) fn add(made: &mut Generated, scene: &mut Scene) {
    let subjects = subjects(made, scene);
    let seats: Vec<_> = PEOPLE
        .iter()
        .zip(&made.users)
        .filter(|(person, _)| person.role == Role::Agent)
        .map(|(person, user)| Seat {
            user_id: user.user_id,
            extension: person.extension,
            is_sales: person.team == "销售",
        })
        .collect();
    for subject in &subjects {
        for _ in 0..scene.random.below(4) {
            let seat = *scene.random.pick(&seats);
            let days_ago = scene.random.between(1, subject.age_days.clamp(1, 300));
            if scene.random.percent(55) {
                outbound(made, scene, subject, seat, days_ago);
            } else {
                inbound(made, scene, subject, seat, days_ago);
            }
        }
    }
    for seat in seats {
        open_tasks(made, scene, &subjects, seat);
    }
}

fn subjects(made: &Generated, scene: &Scene) -> Vec<Subject> {
    // Phones and ties stand in the order of their customers.
    let mut phones = made.phones.iter().peekable();
    let mut ties = made.ties.iter().peekable();
    let mut subjects = Vec::with_capacity(made.customers.len());
    for customer in &made.customers {
        let id = customer.customer_id;
        let mut first = None;
        while let Some(phone) = phones.next_if(|phone| phone.customer_id == id) {
            first.get_or_insert(phone);
        }
        let mut vehicle_id = None;
        while let Some(tie) = ties.next_if(|tie| tie.customer_id == id) {
            vehicle_id.get_or_insert(tie.vehicle_id);
        }
        let age = scene.now.since(customer.created_at).as_secs() / 86_400;
        subjects.extend(first.map(|phone| Subject {
            customer_id: id,
            vehicle_id,
            number: phone.number.clone(),
            key: phone.number_key.clone(),
            lifecycle: customer.lifecycle,
            age_days: i64::try_from(age).unwrap_or(1),
        }));
    }
    subjects
}

fn call(
    scene: &mut Scene,
    subject: &Subject,
    seat: Seat,
    direction: Direction,
    at: Timestamp,
    line: Option<(&str, cheling_model::LineId)>,
) -> Call {
    let is_inbound = direction == Direction::Inbound;
    let random = &mut scene.random;
    let ringing_at = later(at, 1);
    let answered_at = random.percent(78).then(|| later(at, random.between(3, 16)));
    let ended_at = match answered_at {
        Some(answered) => later(answered, random.between(18, 260)),
        None => later(at, random.between(8, 31)),
    };
    let cause = match answered_at {
        Some(_) => EndCause::HungUp,
        None if is_inbound => EndCause::Cancelled,
        None => *random.pick(&[EndCause::NoAnswer, EndCause::NoAnswer, EndCause::Busy]),
    };
    let our_side = || seat.extension.to_owned();
    Call {
        call_id: CallId::mint(at, random.bytes()),
        dealership_id: scene.dealership_id,
        direction,
        caller_number: if is_inbound { subject.number.clone() } else { our_side() },
        caller_name: String::new(),
        presentation: Presentation::Allowed,
        called_number: match line {
            Some((did, _)) => did.to_owned(),
            None => subject.number.clone(),
        },
        customer_number: subject.number.clone(),
        customer_key: subject.key.clone(),
        trunk: "gateway".to_owned(),
        line_id: line.map(|(_, id)| id),
        extension: if answered_at.is_some() || !is_inbound { our_side() } else { String::new() },
        user_id: (answered_at.is_some() || !is_inbound).then_some(seat.user_id),
        offered_at: at,
        ringing_at: Some(ringing_at),
        answered_at,
        ended_at: Some(ended_at),
        cause: Some(cause),
        hangup_by: answered_at.map(|_| *random.pick(&Lane::BOTH)),
        sip_status: answered_at.is_none().then_some(match cause {
            EndCause::Busy => 486,
            EndCause::Cancelled => 487,
            _ => 480,
        }),
        customer_id: Some(subject.customer_id),
        match_method: MatchMethod::Number,
        follow_up_id: None,
        attach_method: None,
    }
}

fn leg(scene: &mut Scene, call: &Call, seat: Seat) -> Leg {
    Leg {
        leg_id: LegId::mint(call.offered_at, scene.random.bytes()),
        call_id: call.call_id,
        extension: seat.extension.to_owned(),
        user_id: Some(seat.user_id),
        ringing_at: call.ringing_at,
        answered_at: call.answered_at,
        ended_at: call.ended_at,
        withdrawn: (call.answered_at.is_none() && call.direction == Direction::Inbound)
            .then(|| "caller_hung_up".to_owned()),
        sip_status: None,
    }
}

/// A call for a task that is finished, or that was tried once and came to nothing.
fn outbound(made: &mut Generated, scene: &mut Scene, subject: &Subject, seat: Seat, days_ago: i64) {
    let at = scene.working_hour(days_ago);
    let mut call = call(scene, subject, seat, Direction::Outbound, at, None);
    let (follow_up_type, subject_line) = task(scene, subject, seat);
    let ended = call.ended_at.unwrap_or(at);
    let is_answered = call.answered_at.is_some();
    let (outcome, note, state) = if is_answered {
        (Outcome::Completed, *scene.random.pick(GOOD_NOTES), FollowUpState::Done)
    } else {
        let outcome =
            if call.cause == Some(EndCause::Busy) { Outcome::Busy } else { Outcome::NoAnswer };
        (outcome, *scene.random.pick(MISSED_NOTES), FollowUpState::Unreachable)
    };
    let saved_at = later(ended, scene.random.between(5, 90));
    let follow_up = FollowUp {
        state,
        attempts: if is_answered { 1 } else { 5 },
        result: Some(outcome),
        note: note.to_owned(),
        call_made: is_answered,
        updated_at: saved_at,
        closed_at: Some(saved_at),
        closed_by: Some(seat.user_id),
        ..blank(scene, subject, seat, follow_up_type, subject_line, days_ago)
    };
    call.follow_up_id = Some(follow_up.follow_up_id);
    call.attach_method = Some(AttachMethod::ClickToDial);
    note_down(made, scene, call, seat, follow_up, outcome, note, saved_at);
}

/// A call that came in, with its contact record if somebody answered.
fn inbound(made: &mut Generated, scene: &mut Scene, subject: &Subject, seat: Seat, days_ago: i64) {
    let at = scene.working_hour(days_ago);
    let line_index = usize::from(seat.is_sales);
    let line = (LINES[line_index].0, made.lines[line_index].line_id);
    let mut call = call(scene, subject, seat, Direction::Inbound, at, Some(line));
    let Some(answered_at) = call.answered_at else {
        made.legs.push(leg(scene, &call, seat));
        made.calls.push(call);
        return;
    };
    let note = *scene.random.pick(INBOUND_NOTES);
    let saved_at = later(call.ended_at.unwrap_or(answered_at), 30);
    let follow_up = FollowUp {
        origin_call_id: Some(call.call_id),
        vehicle_id: None,
        state: FollowUpState::Done,
        attempts: 1,
        result: Some(Outcome::Completed),
        note: note.to_owned(),
        call_made: true,
        created_at: answered_at,
        updated_at: saved_at,
        closed_at: Some(saved_at),
        closed_by: Some(seat.user_id),
        ..blank(scene, subject, seat, FollowUpType::InboundContact, String::new(), days_ago)
    };
    call.follow_up_id = Some(follow_up.follow_up_id);
    call.attach_method = Some(AttachMethod::InboundContact);
    note_down(made, scene, call, seat, follow_up, Outcome::Completed, note, saved_at);
}

#[allow(clippy::too_many_arguments, reason = "the rows of one call, put where they belong")]
fn note_down(
    made: &mut Generated,
    scene: &mut Scene,
    call: Call,
    seat: Seat,
    follow_up: FollowUp,
    outcome: Outcome,
    note: &str,
    saved_at: Timestamp,
) {
    made.attempts.push(Attempt {
        attempt_id: scene.random.uuid(saved_at),
        follow_up_id: follow_up.follow_up_id,
        call_id: Some(call.call_id),
        user_id: Some(seat.user_id),
        outcome,
        at: saved_at,
    });
    made.wrap_ups.push(WrapUp {
        call_id: call.call_id,
        user_id: seat.user_id,
        outcome,
        note: note.to_owned(),
        next_on: None,
        follow_up_id: Some(follow_up.follow_up_id),
        saved_at,
    });
    made.legs.push(leg(scene, &call, seat));
    made.calls.push(call);
    made.follow_ups.push(follow_up);
}

/// An open task, due `days_ago` (in the future if below zero).
fn blank(
    scene: &mut Scene,
    subject: &Subject,
    seat: Seat,
    follow_up_type: FollowUpType,
    subject_line: String,
    days_ago: i64,
) -> FollowUp {
    let created_at = scene.working_hour(days_ago.max(0) + 3);
    FollowUp {
        follow_up_id: FollowUpId::mint(created_at, scene.random.bytes()),
        dealership_id: scene.dealership_id,
        follow_up_type,
        customer_id: Some(subject.customer_id),
        vehicle_id: subject.vehicle_id,
        origin_call_id: None,
        previous_id: None,
        due_on: date::plus_days(scene.today, -days_ago).to_string(),
        owner_user_id: Some(seat.user_id),
        state: FollowUpState::Open,
        subject: subject_line,
        attempts: 0,
        result: None,
        note: String::new(),
        call_made: false,
        created_at,
        updated_at: created_at,
        closed_at: None,
        closed_by: None,
    }
}

/// What such an agent calls such a customer for.
fn task(scene: &mut Scene, subject: &Subject, seat: Seat) -> (FollowUpType, String) {
    use FollowUpType::{
        ComplaintHandling, Delivery3dc, FirstMaintenance7dc, InsuranceRenewal, MaintenanceReminder,
        QuarterlyContact, SalesCsat, Service3dc, ServiceCsat, TestDrive,
    };
    let random = &mut scene.random;
    if subject.lifecycle == Lifecycle::Prospect {
        return (TestDrive, "试驾后回访，了解购车意向".to_owned());
    }
    let kind = if seat.is_sales {
        *random.pick(&[Delivery3dc, SalesCsat, QuarterlyContact, QuarterlyContact])
    } else {
        *random.pick(&[
            Service3dc,
            Service3dc,
            Service3dc,
            ServiceCsat,
            FirstMaintenance7dc,
            MaintenanceReminder,
            InsuranceRenewal,
            ComplaintHandling,
        ])
    };
    let line = match kind {
        Service3dc => format!("维修后3日回访：{}", random.pick(REPAIRS)),
        ServiceCsat => format!("服务满意度回访：{}", random.pick(REPAIRS)),
        ComplaintHandling => (*random.pick(COMPLAINTS)).to_owned(),
        FirstMaintenance7dc => "首保后7日回访".to_owned(),
        MaintenanceReminder => "保养到期提醒，预约到店".to_owned(),
        InsuranceRenewal => "商业险即将到期，联系续保".to_owned(),
        Delivery3dc => "交车后3日回访，确认用车情况".to_owned(),
        SalesCsat => "购车满意度回访".to_owned(),
        _ => "季度关怀联系".to_owned(),
    };
    (kind, line)
}

fn open_tasks(made: &mut Generated, scene: &mut Scene, subjects: &[Subject], seat: Seat) {
    if subjects.is_empty() {
        return;
    }
    for (count, from, to) in [(8, 0, 0), (3, 1, 4), (9, -7, -1)] {
        for _ in 0..count {
            let subject = scene.random.pick(subjects);
            let days_ago = scene.random.between(from, to);
            let (follow_up_type, line) = task(scene, subject, seat);
            made.follow_ups.push(blank(scene, subject, seat, follow_up_type, line, days_ago));
        }
    }
}
