//! One word on what a recording is worth, and why.

use cheling_model::call::MediaFault;
use cheling_model::{Lane, Verdict};

/// What is known of a call when its recording has been made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Length of the recording.
    pub duration_us: i64,
    /// Packets with sound that were decoded, [customer, agent].
    pub heard_packets: [u64; 2],
    /// Packets with sound that could not be decoded.
    pub undecodable_packets: [u64; 2],
    /// What could not be decoded of a lane is SRTP, whose keys we do not have.
    pub is_encrypted: [bool; 2],
    /// Packets that the tap dropped because the journal was behind.
    pub tap_dropped_packets: [u64; 2],
    /// Why nothing could be heard of a side, where that is known.
    pub faults: [Option<MediaFault>; 2],
    /// The disk refused or lost media.
    pub has_gap: bool,
    /// Records of the journal could not be read.
    pub has_damage: bool,
    /// The process ended before the call did.
    pub was_cut: bool,
    /// How long it was paused by request, and how often.
    pub paused_us: i64,
    /// See `paused_us`.
    pub pauses: usize,
}

/// A call shorter than this is `short`.
const SHORT_US: i64 = 1_000_000;

/// Judges a recording: what is worst about it, and a few words more.
pub fn judge(evidence: &Evidence) -> (Verdict, String) {
    let Evidence { heard_packets: heard, undecodable_packets: undecodable, .. } = *evidence;
    let word = |lane: Lane| match lane {
        Lane::Customer => "customer",
        Lane::Agent => "agent",
    };
    let missing = Lane::BOTH.into_iter().find(|lane| heard[lane.index()] == 0);
    let raw = Lane::BOTH.into_iter().filter(|lane| {
        let index = lane.index();
        undecodable[index] > heard[index]
    });
    let raw: Vec<Lane> = raw.collect();
    let is_encrypted = raw.iter().any(|lane| evidence.is_encrypted[lane.index()]);
    let raw: Vec<_> = raw.into_iter().map(word).collect();
    let nothing_heard = heard == [0; 2];
    if is_encrypted {
        let lanes = raw.join(" and ");
        return (Verdict::Encrypted, format!("{lanes} lane kept raw: SRTP without its keys"));
    }
    if !raw.is_empty() {
        return (Verdict::Undecodable, format!("{} lane kept raw", raw.join(" and ")));
    }
    if nothing_heard && evidence.has_gap {
        return (Verdict::NotRecorded, "the disk refused all media".into());
    }
    if evidence.has_gap {
        return (Verdict::Truncated, "the disk refused media for part of the call".into());
    }
    if evidence.has_damage {
        return (Verdict::Truncated, "part of the journal is damaged".into());
    }
    if evidence.was_cut {
        return (Verdict::Truncated, "the recorder stopped during the call".into());
    }
    if evidence.duration_us < SHORT_US {
        return (Verdict::Short, String::new());
    }
    if nothing_heard && evidence.tap_dropped_packets != [0; 2] {
        return (Verdict::NotRecorded, "the tap dropped all media".into());
    }
    // Of a call that was paused but for a moment, nothing can be missed.
    let is_paused = evidence.pauses > 0;
    if is_paused && evidence.duration_us - evidence.paused_us < SHORT_US {
        return (Verdict::Paused, "paused throughout".into());
    }
    match missing {
        _ if nothing_heard => {
            let faults = Lane::BOTH.into_iter().filter_map(|lane| {
                Some(format!("; {} lane: {}", word(lane), fault(evidence.faults[lane.index()]?)))
            });
            (Verdict::Silent, format!("no media from either side{}", faults.collect::<String>()))
        }
        Some(lane) => {
            let why = evidence.faults[lane.index()].map(fault);
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            (Verdict::OneWay, format!("{} lane silent{why}", word(lane)))
        }
        None if is_paused => {
            let times = if evidence.pauses == 1 { "once" } else { "more than once" };
            let paused_s = (evidence.paused_us + 500_000) / 1_000_000;
            (Verdict::Paused, format!("paused {times}, {paused_s} s in all"))
        }
        None => (Verdict::Ok, String::new()),
    }
}

/// Why nothing was heard of a side, in words that the console translates.
fn fault(why: MediaFault) -> &'static str {
    match why {
        MediaFault::NoCheck => "none of its ICE checks reached us",
        MediaFault::NoHandshake => "its DTLS handshake was not finished",
        MediaFault::Fingerprint => "its certificate was not the one announced",
        MediaFault::Profile => "no SRTP profile was agreed on",
        MediaFault::Handshake => "its DTLS handshake failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_word_wins() {
        let good = Evidence {
            duration_us: 60_000_000,
            heard_packets: [3000, 3000],
            ..Evidence::default()
        };
        for (evidence, verdict, detail) in [
            (good, Verdict::Ok, ""),
            (Evidence { duration_us: 999_999, ..good }, Verdict::Short, ""),
            (Evidence { heard_packets: [0, 9], ..good }, Verdict::OneWay, "customer lane silent"),
            (Evidence { heard_packets: [9, 0], ..good }, Verdict::OneWay, "agent lane silent"),
            (
                Evidence {
                    heard_packets: [9, 0],
                    faults: [None, Some(MediaFault::NoCheck)],
                    ..good
                },
                Verdict::OneWay,
                "agent lane silent: none of its ICE checks reached us",
            ),
            (
                Evidence {
                    heard_packets: [0, 0],
                    faults: [Some(MediaFault::Fingerprint), Some(MediaFault::NoHandshake)],
                    ..good
                },
                Verdict::Silent,
                "no media from either side; customer lane: its certificate was not the one \
                 announced; agent lane: its DTLS handshake was not finished",
            ),
            // It was agreed with in the end, or the other side's trouble is another's.
            (
                Evidence {
                    heard_packets: [0, 9],
                    faults: [None, Some(MediaFault::Profile)],
                    ..good
                },
                Verdict::OneWay,
                "customer lane silent",
            ),
            (
                Evidence { pauses: 2, paused_us: 20_600_000, ..good },
                Verdict::Paused,
                "paused more than once, 21 s in all",
            ),
            (
                Evidence { pauses: 1, paused_us: 5_000_000, heard_packets: [9, 0], ..good },
                Verdict::OneWay,
                "agent lane silent",
            ),
            (
                Evidence { pauses: 1, paused_us: 59_500_000, heard_packets: [0, 0], ..good },
                Verdict::Paused,
                "paused throughout",
            ),
            (
                Evidence { heard_packets: [0, 0], ..good },
                Verdict::Silent,
                "no media from either side",
            ),
            (
                Evidence { was_cut: true, heard_packets: [0, 9], ..good },
                Verdict::Truncated,
                "the recorder stopped during the call",
            ),
            (
                Evidence { has_gap: true, ..good },
                Verdict::Truncated,
                "the disk refused media for part of the call",
            ),
            (
                Evidence { has_gap: true, heard_packets: [0, 0], ..good },
                Verdict::NotRecorded,
                "the disk refused all media",
            ),
            (
                Evidence { tap_dropped_packets: [9, 9], heard_packets: [0, 0], ..good },
                Verdict::NotRecorded,
                "the tap dropped all media",
            ),
            (
                Evidence {
                    undecodable_packets: [9, 9],
                    heard_packets: [0, 0],
                    is_encrypted: [true, true],
                    ..good
                },
                Verdict::Encrypted,
                "customer and agent lane kept raw: SRTP without its keys",
            ),
            (
                Evidence { undecodable_packets: [9, 0], heard_packets: [0, 9], ..good },
                Verdict::Undecodable,
                "customer lane kept raw",
            ),
            (
                Evidence { undecodable_packets: [9, 9], heard_packets: [0, 0], ..good },
                Verdict::Undecodable,
                "customer and agent lane kept raw",
            ),
        ] {
            assert_eq!(judge(&evidence), (verdict, detail.to_owned()), "{evidence:?}");
        }
    }
}
