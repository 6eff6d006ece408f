//! What each role may do: one table.
//!
//! A right says what may be done at all. Whose things it may be done to is decided where they are
//! read: always those of the user's dealership, and of calls and recordings only the user's own
//! unless [`Right::SeeAllCalls`] holds.

use cheling_model::follow_up::Role::{self, Admin, Agent, Qa, Supervisor};

/// Something that not everybody may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Right {
    /// Without signing in.
    Anyone,
    /// Whatever every signed-in user may.
    SignedIn,
    /// Dial, wrap up, link calls, attach recordings.
    Desk,
    /// See the calls and hear the recordings of all users, not only one's own.
    SeeAllCalls,
    /// End, hold or hand on a call that one is not a party to.
    HangUpAny,
    /// See the calls of others while they run, hear them, pause their recording.
    Oversee,
    /// Listen to the calls of others, whisper to the agent, barge in.
    Monitor,
    /// Make and change customers.
    ChangeCustomers,
    /// Import a file of customers.
    Import,
    /// Make follow-ups, and change one's own.
    ChangeFollowUps,
    /// Change the follow-ups of others.
    ChangeAllFollowUps,
    /// See who signs in here.
    SeeUsers,
    /// Make and change users.
    ChangeUsers,
    /// Phones, lines and ring groups.
    ChangePhones,
    /// What files recordings become.
    ChangeRecording,
}

/// Who holds which right. `Anyone` and `SignedIn` need no line.
const TABLE: &[(Right, &[Role])] = &[
    (Right::Desk, &[Admin, Supervisor, Agent]),
    (Right::SeeAllCalls, &[Admin, Supervisor, Qa]),
    (Right::HangUpAny, &[Admin, Supervisor]),
    (Right::Oversee, &[Admin, Supervisor]),
    (Right::Monitor, &[Admin, Supervisor]),
    (Right::ChangeCustomers, &[Admin, Supervisor, Agent]),
    (Right::Import, &[Admin, Supervisor]),
    (Right::ChangeFollowUps, &[Admin, Supervisor, Agent]),
    (Right::ChangeAllFollowUps, &[Admin, Supervisor]),
    (Right::SeeUsers, &[Admin, Supervisor]),
    (Right::ChangeUsers, &[Admin]),
    (Right::ChangePhones, &[Admin]),
    (Right::ChangeRecording, &[Admin]),
];

impl Right {
    /// Whether a signed-in user of this role holds it.
    pub fn is_held_by(self, role: Role) -> bool {
        match self {
            Self::Anyone | Self::SignedIn => true,
            right => TABLE.iter().any(|(listed, roles)| *listed == right && roles.contains(&role)),
        }
    }

    /// The roles that hold it, in words, for the API's description.
    pub fn holders(self) -> String {
        match self {
            Self::Anyone => "anyone".into(),
            Self::SignedIn => "every signed-in user".into(),
            right => {
                let roles = Role::ALL.iter().filter(|role| right.is_held_by(**role));
                roles.map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_sees_only_own_calls_and_qa_changes_nothing() {
        for (right, role, want) in [
            (Right::SeeAllCalls, Agent, false),
            (Right::Monitor, Agent, false),
            (Right::Monitor, Qa, false),
            (Right::Monitor, Supervisor, true),
            (Right::SeeAllCalls, Qa, true),
            (Right::Oversee, Agent, false),
            (Right::Oversee, Qa, false),
            (Right::Desk, Qa, false),
            (Right::ChangeUsers, Supervisor, false),
            (Right::ChangePhones, Supervisor, false),
            (Right::SeeUsers, Supervisor, true),
            (Right::Import, Agent, false),
        ] {
            assert_eq!(right.is_held_by(role), want, "{right:?} {role:?}");
        }
        for role in Role::ALL {
            assert_eq!(Right::Oversee.is_held_by(*role), role.oversees(), "{role:?}");
        }
        for (right, _) in TABLE {
            assert!(right.is_held_by(Admin), "{right:?}");
        }
    }
}
