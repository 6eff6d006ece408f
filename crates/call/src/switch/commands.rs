//! What the API asks for: each command to whom it concerns, and the answer back.

use cheling_model::CallId;

use super::Switch;
use crate::b2bua::{Errand, Event, Wish};
use crate::core::Entries;
use crate::io::{Command, CommandReply, Order, Output};
use crate::ordered;

impl Switch {
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Dial { ticket, .. } => {
                let reply = ordered::dial(self, command);
                self.core.put(Output::Reply { ticket, reply });
            }
            Command::HangUp { ticket, call_id } => {
                let is_live = self.calls.get(&call_id).is_some_and(|slot| slot.call.is_live());
                let reply = if is_live { CommandReply::Accepted } else { CommandReply::NoSuchCall };
                self.core.put(Output::Reply { ticket, reply });
                if is_live {
                    self.feed(call_id, Event::HangUp);
                }
            }
            Command::Control { ticket, call_id, extension, order } => {
                let reply = self.control(call_id, extension.as_deref(), &order);
                self.core.put(Output::Reply { ticket, reply });
            }
            Command::Drain => {
                self.is_draining = true;
                self.core.outward(|outward, desk| outward.leave(desk));
            }
            Command::PauseRecording { ticket, call_id, by } => {
                self.pause_recording(call_id, Wish { is_paused: true, by, ticket: Some(ticket) });
            }
            Command::ResumeRecording { ticket, call_id, by } => {
                self.pause_recording(call_id, Wish { is_paused: false, by, ticket: Some(ticket) });
            }
            Command::EndAll => {
                self.is_draining = true;
                let mut live: Vec<_> = self.calls.keys().copied().collect();
                live.sort_unstable();
                for call_id in live {
                    if self.calls.get(&call_id).is_some_and(|slot| slot.call.is_live()) {
                        self.feed(call_id, Event::Shutdown);
                    }
                }
            }
        }
    }

    fn pause_recording(&mut self, call_id: CallId, wish: Wish) {
        match (self.calls.get(&call_id), wish.ticket) {
            (Some(slot), _) if slot.call.is_live() => {
                self.feed(call_id, Event::PauseRecording(wish));
            }
            (_, Some(ticket)) => {
                self.core.put(Output::Reply { ticket, reply: CommandReply::NoSuchCall });
            }
            (_, None) => {}
        }
    }

    /// Obeys an order about a call that is going on.
    fn control(&mut self, call_id: CallId, extension: Option<&str>, order: &Order) -> CommandReply {
        let live = self.calls.get_mut(&call_id).filter(|slot| slot.call.is_live());
        let Some(slot) = live else { return CommandReply::NoSuchCall };
        match order {
            Order::Consult { consult_id, number } => {
                ordered::consult(self, call_id, extension, *consult_id, number)
            }
            // Either of the two calls may be meant.
            Order::CompleteConsult | Order::JoinConsult | Order::CancelConsult => {
                let call = &slot.call;
                let waiting = call.consults_for().map(|waiting| (waiting, call_id));
                let consults = call.consultation().map(|with| (call_id, with));
                let Some((waiting, with)) = waiting.or(consults) else {
                    return CommandReply::NotNow;
                };
                match order {
                    Order::CompleteConsult => self.complete_consult(waiting, with),
                    Order::JoinConsult => self.join_consult(waiting, with),
                    _ => {
                        self.feed(with, Event::HangUp);
                        CommandReply::Accepted
                    }
                }
            }
            order => {
                let reply = slot.call.obey(&mut self.core, extension, order);
                self.settle(call_id);
                reply
            }
        }
    }

    /// Whoever is consulted takes the agent's place.
    fn complete_consult(&mut self, waiting: CallId, with: CallId) -> CommandReply {
        let Some(slot) = self.calls.get_mut(&with) else { return CommandReply::NoSuchCall };
        let Some((leg, number)) = slot.call.hand_over(&mut self.core) else {
            return CommandReply::NotNow;
        };
        self.settle(with);
        self.run(Errand::Come { to: waiting, leg: Box::new(leg), instead: Some(number) });
        CommandReply::Accepted
    }

    /// The agent and whoever is consulted both come to the call that waits.
    fn join_consult(&mut self, waiting: CallId, with: CallId) -> CommandReply {
        let Some(slot) = self.calls.get(&waiting) else { return CommandReply::NoSuchCall };
        if let Err(reply) = slot.call.may_bring_in() {
            return reply;
        }
        let core = &mut self.core;
        let both = self.calls.get_mut(&with).and_then(|slot| slot.call.give_both(core));
        let Some(both) = both else { return CommandReply::NotNow };
        self.settle(with);
        let Some(slot) = self.calls.get_mut(&waiting) else { return CommandReply::NoSuchCall };
        let leg = Box::new(slot.call.bring_in(&mut self.core, both));
        self.run(Errand::Come { to: waiting, leg, instead: None });
        CommandReply::Accepted
    }

    /// Carries a word from one call to another.
    pub(super) fn run(&mut self, errand: Errand) {
        let (Errand::Come { to, .. } | Errand::Nobody { to } | Errand::Alone { to }) = &errand;
        let to = *to;
        let (slot, core) = (self.calls.get_mut(&to), &mut self.core);
        match (errand, slot) {
            (Errand::Come { leg, instead, .. }, Some(slot)) => {
                slot.call.unpark(core, *leg, instead);
            }
            (Errand::Nobody { .. }, Some(slot)) => slot.call.abandon(core),
            (Errand::Alone { .. }, Some(slot)) => slot.call.stands_alone(),
            (Errand::Come { mut leg, .. }, None) => {
                leg.0.bye(core, to, &mut Entries::default(), None);
            }
            (Errand::Nobody { .. } | Errand::Alone { .. }, None) => {}
        }
        self.settle(to);
    }
}
