//! The lines that simulated people say: Mandarin, synthesised, a few seconds each.
//!
//! Three small conversations, each with lines of both sides. Both ends talk in turns of equal
//! length, so that the two sides of one call alternate without knowing of each other: the agent
//! speaks in the even turns, the customer in the odd ones.
//!
//! `scripts/make-speech` made the clips.

use std::sync::Arc;

use cheling_media::g711::Law;

use crate::sound::Sound;

/// Length of one turn: longer than any clip.
pub const TURN_SAMPLES: usize = 7 * 8000;

/// Who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The person with the car.
    Customer,
    /// The dealership's side.
    Agent,
}

macro_rules! clip {
    ($name:literal) => {
        include_bytes!(concat!("../assets/speech/", $name, ".al"))
    };
}

/// How many conversations there are.
pub const TOPICS: usize = 3;

const AGENT: [[&[u8]; 2]; TOPICS] = [
    [clip!("agent-booking-1"), clip!("agent-booking-2")],
    [clip!("agent-visit-1"), clip!("agent-visit-2")],
    [clip!("agent-complaint-1"), clip!("agent-complaint-2")],
];
const CUSTOMER: [[&[u8]; 2]; TOPICS] = [
    [clip!("customer-booking-1"), clip!("customer-booking-2")],
    [clip!("customer-visit-1"), clip!("customer-visit-2")],
    [clip!("customer-complaint-1"), clip!("customer-complaint-2")],
];

/// All lines of one side, decoded: 8 kHz mono.
pub fn clips(role: Role) -> Vec<Vec<i16>> {
    lines(role).iter().flatten().map(|octets| decode(octets)).collect()
}

fn lines(role: Role) -> &'static [[&'static [u8]; 2]; TOPICS] {
    match role {
        Role::Customer => &CUSTOMER,
        Role::Agent => &AGENT,
    }
}

fn decode(octets: &[u8]) -> Vec<i16> {
    let mut pcm = Vec::with_capacity(octets.len());
    Law::A.decode(octets, &mut pcm);
    pcm
}

/// One side of a conversation, over and over, silent in the other side's turns.
pub fn conversation(role: Role, topic: usize) -> Sound {
    let mut pcm = Vec::with_capacity(4 * TURN_SAMPLES);
    for octets in lines(role)[topic % TOPICS] {
        if role == Role::Customer {
            pcm.resize(pcm.len() + TURN_SAMPLES, 0);
        }
        let end = pcm.len() + TURN_SAMPLES;
        pcm.extend(decode(octets));
        pcm.resize(end, 0);
        if role == Role::Agent {
            pcm.resize(pcm.len() + TURN_SAMPLES, 0);
        }
    }
    Sound::Clip { pcm: Arc::from(pcm), is_looped: true }
}

/// The conversation that both ends of a call with this number choose, each by itself.
pub fn topic_of(number: &str) -> usize {
    // The last digits only: one side may see +86 or a leading 0 before them.
    let digits: Vec<u8> = number.bytes().filter(u8::is_ascii_digit).collect();
    digits.iter().rev().take(8).map(|&digit| usize::from(digit)).sum::<usize>() % TOPICS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sound::level_dbfs;

    #[test]
    fn every_clip_is_speech_that_fits_its_turn() {
        for role in [Role::Customer, Role::Agent] {
            let clips = clips(role);
            assert_eq!(clips.len(), 6);
            for clip in clips {
                assert!((3 * 8000..TURN_SAMPLES).contains(&clip.len()), "{} samples", clip.len());
                assert!(level_dbfs(&clip) > -40.0);
            }
        }
    }

    #[test]
    fn the_two_sides_alternate() {
        let mut agent = vec![0; TURN_SAMPLES];
        let mut customer = vec![0; TURN_SAMPLES];
        for turn in 0..4 {
            conversation(Role::Agent, 1).fill(turn * TURN_SAMPLES, &mut agent);
            conversation(Role::Customer, 1).fill(turn * TURN_SAMPLES, &mut customer);
            let (loud, quiet) =
                if turn % 2 == 0 { (&agent, &customer) } else { (&customer, &agent) };
            assert!(level_dbfs(loud) > -40.0 && level_dbfs(quiet) < -100.0, "turn {turn}");
        }
    }

    #[test]
    fn prefixes_do_not_change_the_topic() {
        assert_eq!(topic_of("+8613812345678"), topic_of("013812345678"));
        assert_eq!(topic_of(""), topic_of("anonymous"));
    }
}
