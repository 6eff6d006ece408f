//! What is written about calls while they go on: rows as they ought to be, many to a statement,
//! all in one transaction.
//!
//! Safe to repeat, and in whatever order: a moment once written stays, and so does what a person
//! decided in the meantime. What is written late (a database that was away, a journal that is
//! played again) therefore never undoes what is there.

use crate::call::{Call, Leg, Route, caller_changed};
use crate::database::{Database, On};
use crate::follow_up::FollowUp;
use crate::guest::Guest;
use crate::row::{Read as _, Table, insert_or, push_values, rows_at_once};
use crate::{Result, Value};
use cheling_model::call::Party;
use cheling_model::{CallId, CustomerId};

/// A call whose row is there stays whose it is and what it was matched to.
const CALL: &str = "on conflict (call_id) do update set \
    ringing_at_us = coalesce(call.ringing_at_us, excluded.ringing_at_us), \
    answered_at_us = coalesce(call.answered_at_us, excluded.answered_at_us), \
    extension = case when excluded.answered_at_us is null \
        then call.extension else excluded.extension end, \
    user_id = case when excluded.answered_at_us is null \
        then call.user_id else excluded.user_id end, \
    trunk = case when excluded.answered_at_us is null \
        then call.trunk else excluded.trunk end, \
    ended_at_us = coalesce(call.ended_at_us, excluded.ended_at_us), \
    cause = coalesce(excluded.cause, call.cause), \
    hangup_by = coalesce(excluded.hangup_by, call.hangup_by), \
    sip_status = coalesce(excluded.sip_status, call.sip_status), \
    follow_up_id = case when call.follow_up_id is null and call.attach_method is null \
        then excluded.follow_up_id else call.follow_up_id end, \
    attach_method = case when call.follow_up_id is null and call.attach_method is null \
        then excluded.attach_method else call.attach_method end";

const LEG: &str = "on conflict (leg_id) do update set \
    ringing_at_us = coalesce(call_leg.ringing_at_us, excluded.ringing_at_us), \
    answered_at_us = coalesce(call_leg.answered_at_us, excluded.answered_at_us), \
    ended_at_us = coalesce(excluded.ended_at_us, call_leg.ended_at_us), \
    withdrawn = coalesce(excluded.withdrawn, call_leg.withdrawn), \
    sip_status = coalesce(excluded.sip_status, call_leg.sip_status)";

const GUEST: &str = "on conflict (call_id, guest, joined_at_us) do update set \
    role = excluded.role, left_at_us = coalesce(call_guest.left_at_us, excluded.left_at_us)";

/// A caller's number that came late, and who that is.
#[derive(Clone, Debug, PartialEq)]
pub struct LateCaller {
    /// Of which call.
    pub call_id: CallId,
    /// As the wire named it.
    pub caller: Party,
    /// The number's key; empty if withheld.
    pub customer_key: String,
    /// Whose number it is.
    pub customer_id: Option<CustomerId>,
}

/// Rows to be written together. Each call, leg and guest is named once.
#[derive(Clone, Debug, Default)]
pub struct Entries {
    /// The calls, as far as they have come.
    pub calls: Vec<Call>,
    /// Numbers that came late; a call that a person has linked keeps its customer and number.
    pub late_callers: Vec<LateCaller>,
    /// Phones of ours that rang.
    pub legs: Vec<Leg>,
    /// Where calls were sent.
    pub routes: Vec<Route>,
    /// Third parties.
    pub guests: Vec<Guest>,
    /// Contact records of calls that were answered. One that its call is not linked to is left out:
    /// a person decided otherwise.
    pub contacts: Vec<FollowUp>,
    /// Calls that may have been linked just now: their recordings get the link.
    pub linked: Vec<CallId>,
    /// Lines of the audit log.
    pub audits: Vec<crate::admin::Audit>,
}

impl Entries {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
            && self.late_callers.is_empty()
            && self.legs.is_empty()
            && self.routes.is_empty()
            && self.guests.is_empty()
            && self.contacts.is_empty()
            && self.linked.is_empty()
            && self.audits.is_empty()
    }

    /// Writes all of it, or nothing.
    ///
    /// # Errors
    /// [`crate::Error::Refused`] if a row names what is not there, a dealership for instance;
    /// [`crate::Error::Unavailable`].
    pub async fn write(&self, db: &Database) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let mut tx = db.begin().await?;
        let mut on = On::from(&mut tx);
        insert_or(&mut on, &self.calls, CALL).await?;
        for late in &self.late_callers {
            let LateCaller { call_id, caller, customer_key, customer_id } = late;
            caller_changed(&mut on, *call_id, caller, customer_key, *customer_id).await?;
        }
        insert_or(&mut on, &self.legs, LEG).await?;
        insert_or(&mut on, &self.routes, "on conflict do nothing").await?;
        insert_or(&mut on, &self.guests, GUEST).await?;
        insert_contacts(&mut on, &self.contacts).await?;
        link_recordings(&mut on, &self.linked).await?;
        insert_or(&mut on, &self.audits, "on conflict do nothing").await?;
        tx.commit().await
    }
}

async fn insert_contacts(on: &mut On<'_>, contacts: &[FollowUp]) -> Result<()> {
    let width = FollowUp::COLUMNS.len();
    let at = |name| FollowUp::COLUMNS.iter().position(|it| *it == name).map_or(0, |at| at + 1);
    let (id, origin, customer) = (at("follow_up_id"), at("origin_call_id"), at("customer_id"));
    let mut columns: Vec<_> = (1..=width).map(|n| format!("v.column{n}")).collect();
    // The agent may have chosen one while the phone rang.
    columns[customer - 1] = format!("coalesce(c.customer_id, v.column{customer})");
    for chunk in contacts.chunks(rows_at_once(width)) {
        let mut sql = format!(
            "insert into follow_up ({}) select {} from (",
            FollowUp::columns(),
            columns.join(", ")
        );
        push_values(&mut sql, on.engine(), width, chunk.len());
        sql.push_str(&format!(
            ") v join call c on c.call_id = v.column{origin} \
             where c.follow_up_id = v.column{id} on conflict do nothing"
        ));
        on.execute(sql, chunk.iter().flat_map(Table::values).collect()).await?;
    }
    Ok(())
}

/// Copies links to recordings that landed before their calls were linked.
async fn link_recordings(on: &mut On<'_>, linked: &[CallId]) -> Result<()> {
    for chunk in linked.chunks(rows_at_once(1)) {
        let places: Vec<_> = (1..=chunk.len()).map(|n| format!("${n}")).collect();
        let sql = format!(
            "update recording set follow_up_id = c.follow_up_id, attach_method = c.attach_method \
             from call c where c.call_id = recording.call_id and c.attach_method is not null \
             and recording.attach_method is null and recording.call_id in ({})",
            places.join(", ")
        );
        on.execute(sql, chunk.iter().map(|id| Value::Uuid(Some(id.0))).collect()).await?;
    }
    Ok(())
}
