//! What the RTCP of a call says: how the far ends heard each lane, and how far away they are.
//!
//! A report travels with the media of the one who sends it and is about the other lane.

use std::collections::VecDeque;

use cheling_media::rtcp::{Report, reports};
use cheling_model::Timestamp;
use cheling_model::recording::LaneQuality;

/// Sender reports of a lane that an answer is looked for.
const MAX_SENDER_REPORTS: usize = 16;

/// A round trip longer than this is a clock gone wrong (10 s).
const MAX_ROUND_TRIP_US: i64 = 10_000_000;

/// What was reported of one lane.
#[derive(Clone, Debug, Default)]
pub struct LaneReports {
    /// The middle of the NTP timestamps of its sender reports, and when we saw them.
    sender_reports: VecDeque<(u32, Timestamp)>,
    round_trip_us: Option<u32>,
    far_lost_packets: Option<u32>,
    far_mos_tenths: Option<u8>,
}

impl LaneReports {
    /// Fills in what was reported.
    pub fn add_to(&self, quality: &mut LaneQuality) {
        quality.round_trip_us = self.round_trip_us;
        quality.far_lost_packets = self.far_lost_packets;
        quality.far_mos = self.far_mos_tenths.map(|tenths| f32::from(tenths) / 10.0);
    }
}

/// Takes an RTCP packet that the phone of `own` sent.
pub fn take_reports(at: Timestamp, bytes: &[u8], own: &mut LaneReports, other: &mut LaneReports) {
    for report in reports(bytes) {
        match report {
            Report::Sender { ntp_timestamp, .. } => {
                own.sender_reports.truncate(MAX_SENDER_REPORTS - 1);
                own.sender_reports.push_front(((ntp_timestamp >> 16) as u32, at));
            }
            Report::Reception { cumulative_lost, last_sender_report, delay_since, .. } => {
                // 24 bits with a sign: duplicates may make it negative.
                let lost = if cumulative_lost < 0x80_0000 { cumulative_lost } else { 0 };
                other.far_lost_packets = Some(lost);
                let seen = other.sender_reports.iter().find(|(ntp, _)| *ntp == last_sender_report);
                if let Some((_, sent_at)) = seen.filter(|_| last_sender_report != 0) {
                    let delay_us = ((u64::from(delay_since) * 1_000_000) >> 16) as i64;
                    let trip_us = at.as_micros().saturating_sub(sent_at.as_micros()) - delay_us;
                    if (0..MAX_ROUND_TRIP_US).contains(&trip_us) {
                        own.round_trip_us = Some(trip_us as u32);
                    }
                }
            }
            Report::Voip { mos_lq_tenths, .. } => {
                other.far_mos_tenths = mos_lq_tenths.or(other.far_mos_tenths);
            }
            Report::Bye { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report block about anybody, after a header of 8 bytes (RR) or 28 (SR).
    fn block(lost: u32, last_sender_report: u32, delay_since: u32) -> Vec<u8> {
        let words = [9, lost, 0, 0, last_sender_report, delay_since];
        words.iter().flat_map(|word: &u32| word.to_be_bytes()).collect()
    }

    #[test]
    fn the_round_trip_is_to_the_one_who_reports() {
        let (mut customer, mut agent) = (LaneReports::default(), LaneReports::default());
        let at = Timestamp::from_micros;
        let mut sender_report = vec![0x80, 200, 0, 6, 0, 0, 0, 9];
        sender_report.extend(0x0000_1234_5678_0000_u64.to_be_bytes());
        sender_report.extend([0; 12]);
        take_reports(at(1_000_000), &sender_report, &mut agent, &mut customer);
        let mut receiver_report = vec![0x81, 201, 0, 7, 0, 0, 0, 5];
        receiver_report.extend(block(17, 0x1234_5678, 65_536 / 2));
        take_reports(at(1_580_000), &receiver_report, &mut customer, &mut agent);
        let (mut left, mut right) = (LaneQuality::default(), LaneQuality::default());
        customer.add_to(&mut left);
        agent.add_to(&mut right);
        assert_eq!((left.round_trip_us, left.far_lost_packets), (Some(80_000), None));
        assert_eq!((right.round_trip_us, right.far_lost_packets), (None, Some(17)));
        // Answers that cannot be are left out.
        let mut receiver_report = vec![0x81, 201, 0, 7, 0, 0, 0, 5];
        receiver_report.extend(block(0xff_ffff, 0x1234_5678, u32::MAX));
        take_reports(at(1_600_000), &receiver_report, &mut customer, &mut agent);
        agent.add_to(&mut right);
        assert_eq!((customer.round_trip_us, right.far_lost_packets), (Some(80_000), Some(0)));
    }
}
