//! What a wrap-up does to the follow-up it is about.
//!
//! A call that was not answered is an attempt and never more. Saving twice is saving once with
//! the later words.

use crate::{Result, attach, date};
use cheling_model::follow_up::{FollowUpState, FollowUpType, Outcome};
use cheling_model::{CallId, DealershipId, FollowUpId, Timestamp, UserId};
use cheling_records::follow_up::{Attempt, FollowUp};
use cheling_records::wrap_up::WrapUp;
use cheling_records::{
    Database, Error, On, attach as links, call, follow_up, insert_new, mint, wrap_up,
};

/// Unanswered attempts after which a task is given up.
const MAX_ATTEMPTS: i64 = 5;

/// What the agent entered.
#[derive(Clone, Debug)]
pub struct WrapUpEntry {
    /// Of whose dealership.
    pub dealership_id: DealershipId,
    /// Which call.
    pub call_id: CallId,
    /// Who saves.
    pub user_id: UserId,
    /// What it came to.
    pub outcome: Outcome,
    /// The note.
    pub note: String,
    /// When to call again, `2026-11-25`.
    pub next_on: Option<String>,
    /// The task it was for, if the agent says so; else what is known or can be inferred.
    pub follow_up_id: Option<FollowUpId>,
    /// When it is saved.
    pub at: Timestamp,
}

/// What saving did.
#[derive(Clone, Debug)]
pub struct Saved {
    /// The row.
    pub wrap_up: WrapUp,
    /// The follow-up it is about, as it is now.
    pub follow_up: Option<FollowUp>,
    /// The task that waits for `next_on`: the same one if it stayed open, else a new one.
    pub next_follow_up_id: Option<FollowUpId>,
}

impl Saved {
    /// The follow-ups that changed: tell their owners.
    pub fn changed(&self) -> Vec<FollowUpId> {
        let mut ids: Vec<_> = self.follow_up.iter().map(|it| it.follow_up_id).collect();
        ids.extend(self.next_follow_up_id.filter(|id| !ids.contains(id)));
        ids
    }
}

/// Saves a wrap-up: links the call, counts the attempt, moves the task's state, makes the next
/// task. All of it or nothing.
///
/// # Errors
/// [`Error::NotFound`] if call or follow-up are not of this dealership; [`Error::Refused`] if
/// `next_on` is no date; [`Error::Unavailable`].
pub async fn save_wrap_up(db: &Database, entry: &WrapUpEntry) -> Result<Saved> {
    if entry.next_on.as_deref().is_some_and(|next_on| date::parse(next_on).is_none()) {
        return Err(Error::Refused("next_on is no date".to_owned()));
    }
    let mut tx = db.begin().await?;
    let mut on = On::from(&mut tx);
    let dealership_id = entry.dealership_id;
    let call = call::find(&mut on, dealership_id, entry.call_id).await?;
    let chosen = entry.follow_up_id.filter(|&chosen| call.follow_up_id != Some(chosen));
    if chosen.is_some() {
        links::relink(&mut on, dealership_id, entry.call_id, chosen).await?;
    }
    let link = attach::run_in(&mut on, entry.call_id).await?;
    let mut saved = Saved {
        wrap_up: WrapUp {
            call_id: entry.call_id,
            user_id: entry.user_id,
            outcome: entry.outcome,
            note: entry.note.clone(),
            next_on: entry.next_on.clone(),
            follow_up_id: link.map(|(id, _)| id),
            saved_at: entry.at,
        },
        follow_up: None,
        next_follow_up_id: None,
    };
    wrap_up::save(&mut on, &saved.wrap_up).await?;
    if let Some((follow_up_id, _)) = link {
        let mut task = follow_up::find(&mut on, dealership_id, follow_up_id).await?;
        let attempt = Attempt {
            attempt_id: mint(),
            follow_up_id,
            call_id: Some(entry.call_id),
            user_id: Some(entry.user_id),
            outcome: entry.outcome,
            at: entry.at,
        };
        if follow_up::attempt(&mut on, &attempt).await? {
            task.attempts += 1;
        }
        apply(&mut task, entry, call.answered_at.is_some());
        if task.customer_id.is_none() {
            task.customer_id = call.customer_id;
        }
        if let Some(next_on) = &entry.next_on {
            saved.next_follow_up_id = Some(if is_open(task.state) {
                task.due_on.clone_from(next_on);
                follow_up_id
            } else {
                next_task(&mut on, &task, next_on, entry).await?
            });
        }
        follow_up::update(&mut on, &task).await?;
        saved.follow_up = Some(task);
    }
    tx.commit().await?;
    Ok(saved)
}

/// Counts a call of ours that was not answered as an attempt, without waiting for the agent.
/// Answers the task it was for, if it was for one and this was new.
///
/// # Errors
/// [`Error::Unavailable`].
pub async fn note_unanswered(
    db: &Database,
    call_id: CallId,
    outcome: Outcome,
    at: Timestamp,
) -> Result<Option<FollowUpId>> {
    let mut tx = db.begin().await?;
    let mut on = On::from(&mut tx);
    let Some(call) = call::any(&mut on, call_id).await? else { return Ok(None) };
    let Some(follow_up_id) = call.follow_up_id else { return Ok(None) };
    if wrap_up::of_call(&mut on, call_id).await?.is_some() {
        return Ok(None);
    }
    let mut task = follow_up::find(&mut on, call.dealership_id, follow_up_id).await?;
    let attempt = Attempt {
        attempt_id: mint(),
        follow_up_id,
        call_id: Some(call_id),
        user_id: call.user_id,
        outcome,
        at,
    };
    if !follow_up::attempt(&mut on, &attempt).await? {
        return Ok(None);
    }
    task.attempts += 1;
    task.updated_at = at;
    if is_open(task.state) {
        task.state = FollowUpState::InProgress;
        task.result = Some(outcome);
    }
    follow_up::update(&mut on, &task).await?;
    tx.commit().await?;
    Ok(Some(follow_up_id))
}

/// Moves a task as an outcome says.
fn apply(task: &mut FollowUp, entry: &WrapUpEntry, answered: bool) {
    task.result = Some(entry.outcome);
    if !entry.note.is_empty() {
        task.note.clone_from(&entry.note);
    }
    task.call_made |= answered;
    task.updated_at = entry.at;
    if task.state == FollowUpState::Cancelled {
        return;
    }
    task.state = next_state(
        task.follow_up_type,
        entry.outcome,
        answered,
        task.attempts,
        entry.next_on.is_some(),
    );
    if is_open(task.state) {
        task.closed_at = None;
        task.closed_by = None;
    } else {
        task.closed_at = Some(entry.at);
        task.closed_by = Some(entry.user_id);
    }
}

/// Where a task stands after an outcome.
pub fn next_state(
    follow_up_type: FollowUpType,
    outcome: Outcome,
    answered: bool,
    attempts: i64,
    has_next: bool,
) -> FollowUpState {
    use FollowUpState::{Done, InProgress, Refused, Unreachable};
    // A contact record is done when it is written down; what remains is the next task.
    if follow_up_type == FollowUpType::InboundContact {
        return Done;
    }
    match outcome {
        Outcome::Completed if answered => Done,
        Outcome::Completed | Outcome::Partial | Outcome::CallBack | Outcome::ThirdParty => {
            InProgress
        }
        Outcome::Refused => Refused,
        Outcome::EmptyNumber | Outcome::WrongNumber if !has_next => Unreachable,
        Outcome::NoAnswer | Outcome::Busy | Outcome::SwitchedOff
            if !has_next && attempts >= MAX_ATTEMPTS =>
        {
            Unreachable
        }
        Outcome::EmptyNumber
        | Outcome::WrongNumber
        | Outcome::NoAnswer
        | Outcome::Busy
        | Outcome::SwitchedOff => InProgress,
    }
}

/// Whether there is still something to do.
pub fn is_open(state: FollowUpState) -> bool {
    matches!(state, FollowUpState::Open | FollowUpState::InProgress)
}

/// The task after a closed one: one, however often the wrap-up is saved.
async fn next_task(
    on: &mut On<'_>,
    task: &FollowUp,
    next_on: &str,
    entry: &WrapUpEntry,
) -> Result<FollowUpId> {
    if let Some(mut following) = follow_up::following(&mut *on, task.follow_up_id).await? {
        if following.due_on != next_on && following.attempts == 0 {
            following.due_on = next_on.to_owned();
            following.updated_at = entry.at;
            follow_up::update(on, &following).await?;
        }
        return Ok(following.follow_up_id);
    }
    let follow_up_type = match task.follow_up_type {
        FollowUpType::InboundContact => FollowUpType::Other,
        other => other,
    };
    let subject = if task.subject.is_empty() { entry.note.clone() } else { task.subject.clone() };
    let next = FollowUp {
        follow_up_id: mint(),
        follow_up_type,
        origin_call_id: None,
        previous_id: Some(task.follow_up_id),
        due_on: next_on.to_owned(),
        owner_user_id: Some(entry.user_id),
        state: FollowUpState::Open,
        subject: subject.chars().take(200).collect(),
        attempts: 0,
        result: None,
        note: String::new(),
        call_made: false,
        created_at: entry.at,
        updated_at: entry.at,
        closed_at: None,
        closed_by: None,
        ..task.clone()
    };
    insert_new(on, &next).await?;
    Ok(next.follow_up_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unanswered_call_never_finishes_a_task() {
        for &outcome in Outcome::ALL {
            for attempts in [1, MAX_ATTEMPTS, 99] {
                for has_next in [false, true] {
                    let kind = FollowUpType::Service3dc;
                    let state = next_state(kind, outcome, false, attempts, has_next);
                    assert_ne!(state, FollowUpState::Done, "{outcome:?}");
                }
            }
        }
    }

    #[test]
    fn outcomes_move_a_task_as_the_table_says() {
        use FollowUpState::{Done, InProgress, Refused, Unreachable};
        for (outcome, answered, attempts, has_next, state) in [
            (Outcome::Completed, true, 1, false, Done),
            (Outcome::Completed, true, 1, true, Done),
            (Outcome::Partial, true, 1, false, InProgress),
            (Outcome::CallBack, true, 1, true, InProgress),
            (Outcome::NoAnswer, false, 1, false, InProgress),
            (Outcome::NoAnswer, false, 5, false, Unreachable),
            (Outcome::NoAnswer, false, 5, true, InProgress),
            (Outcome::EmptyNumber, false, 1, false, Unreachable),
            (Outcome::WrongNumber, true, 1, true, InProgress),
            (Outcome::Refused, true, 1, false, Refused),
            (Outcome::ThirdParty, true, 1, false, InProgress),
        ] {
            let kind = FollowUpType::Service3dc;
            let got = next_state(kind, outcome, answered, attempts, has_next);
            assert_eq!(got, state, "{outcome:?} {attempts}");
        }
    }
}
