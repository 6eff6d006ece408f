//! What RTCP says about a call's quality (RFC 3550 §6, RFC 3611 §4.7), as far as a recorder needs it.

use rtcp_types::prelude::*;
use rtcp_types::{Compound, Packet, ReportBlock, RtcpParseError, XrBlockStaticType};

use crate::rtp::{Ssrc, Timestamp};

/// Most reports taken from one compound packet; the rest of a longer one is ignored.
const MAX_REPORTS: usize = 32;

/// One thing a compound RTCP packet said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Sender information of an SR (RFC 3550 §6.4.1).
    Sender {
        /// Who sends.
        ssrc: Ssrc,
        /// The sender's wall clock: 32.32 fixed-point seconds since 1900.
        ntp_timestamp: u64,
        /// The RTP timestamp of that instant.
        timestamp: Timestamp,
        /// Packets sent since the stream began.
        packets: u32,
        /// Payload bytes sent since the stream began.
        payload_bytes: u32,
    },
    /// What the far end received of one source (report block of an SR or RR).
    Reception {
        /// Who reports.
        reporter: Ssrc,
        /// Whom it is about.
        ssrc: Ssrc,
        /// Loss since the last report, in 1/256.
        fraction_lost: u8,
        /// Packets lost since the stream began, 24 bits.
        cumulative_lost: u32,
        /// Interarrival jitter in ticks of the codec's clock.
        jitter: u32,
        /// The middle 32 bits of the NTP timestamp of the last SR from that source; 0 if none.
        last_sender_report: u32,
        /// Since that SR came, in 1/65536 s.
        delay_since: u32,
    },
    /// What the far end's VoIP metrics say of one source (RFC 3611 §4.7).
    Voip {
        /// Who reports.
        reporter: Ssrc,
        /// Whom it is about.
        ssrc: Ssrc,
        /// Lost on the network, in 1/256.
        fraction_lost: u8,
        /// Discarded by the jitter buffer, in 1/256.
        fraction_discarded: u8,
        /// Round trip between the two RTP ends; 0 if not known.
        round_trip_ms: u16,
        /// Listening quality in tenths, 10 to 50; `None` if the far end does not say.
        mos_lq_tenths: Option<u8>,
    },
    /// The source leaves (RFC 3550 §6.6).
    Bye {
        /// Who leaves.
        ssrc: Ssrc,
    },
}

/// Reads the reports of one compound RTCP packet; what is malformed ends the list.
pub fn reports(bytes: &[u8]) -> Vec<Report> {
    let mut found = Vec::new();
    let Ok(compound) = Compound::parse(bytes) else { return found };
    for packet in compound {
        match packet {
            Ok(Packet::Sr(sr)) => {
                let reporter = Ssrc(sr.ssrc());
                found.push(Report::Sender {
                    ssrc: reporter,
                    ntp_timestamp: sr.ntp_timestamp(),
                    timestamp: Timestamp(sr.rtp_timestamp()),
                    packets: sr.packet_count(),
                    payload_bytes: sr.octet_count(),
                });
                found.extend(sr.report_blocks().map(|block| reception(reporter, &block)));
            }
            Ok(Packet::Rr(rr)) => {
                let reporter = Ssrc(rr.ssrc());
                found.extend(rr.report_blocks().map(|block| reception(reporter, &block)));
            }
            Ok(Packet::Bye(bye)) => {
                found.extend(bye.ssrcs().map(|ssrc| Report::Bye { ssrc: Ssrc(ssrc) }));
            }
            Ok(Packet::Xr(xr)) => {
                let reporter = Ssrc(xr.sender_ssrc());
                let blocks = xr.block_iter().take(MAX_REPORTS);
                found.extend(blocks.filter_map(|block| {
                    Some(block.parse_into::<VoipMetrics>().ok()?.report(reporter))
                }));
            }
            Ok(_) => {}
            Err(_) => break,
        }
        if found.len() >= MAX_REPORTS {
            found.truncate(MAX_REPORTS);
            break;
        }
    }
    found
}

fn reception(reporter: Ssrc, block: &ReportBlock<'_>) -> Report {
    Report::Reception {
        reporter,
        ssrc: Ssrc(block.ssrc()),
        fraction_lost: block.fraction_lost(),
        cumulative_lost: block.cumulative_lost(),
        jitter: block.interarrival_jitter(),
        last_sender_report: block.last_sender_report_timestamp(),
        delay_since: block.delay_since_last_sender_report_timestamp(),
    }
}

/// The VoIP metrics block of an extended report (RFC 3611 §4.7): 36 bytes.
struct VoipMetrics([u8; 36]);

impl XrBlockStaticType for VoipMetrics {
    const BLOCK_TYPE: u8 = 7;
}

impl<'a> XrBlockParser<'a> for VoipMetrics {
    fn parse(data: &'a [u8]) -> Result<Self, RtcpParseError> {
        let truncated = RtcpParseError::Truncated { expected: 36, actual: data.len() };
        data.first_chunk().map(|bytes| Self(*bytes)).ok_or(truncated)
    }

    fn header_data(&self) -> [u8; 4] {
        [self.0[0], self.0[1], self.0[2], self.0[3]]
    }
}

impl VoipMetrics {
    fn report(&self, reporter: Ssrc) -> Report {
        let bytes = &self.0;
        let mos_lq = bytes[26];
        Report::Voip {
            reporter,
            ssrc: Ssrc(u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])),
            fraction_lost: bytes[8],
            fraction_discarded: bytes[9],
            round_trip_ms: u16::from_be_bytes([bytes[16], bytes[17]]),
            mos_lq_tenths: Some(mos_lq).filter(|mos| (10..=50).contains(mos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use rtcp_types::{Bye, Compound, ReportBlock, RtcpPacketWriterExt, SenderReport};

    use super::*;

    #[test]
    fn a_sender_report_with_block_and_bye_reads_back() {
        let built = Compound::builder()
            .add_packet(
                SenderReport::builder(7)
                    .ntp_timestamp(9)
                    .rtp_timestamp(160)
                    .packet_count(3)
                    .octet_count(480)
                    .add_report_block(
                        ReportBlock::builder(8)
                            .fraction_lost(13)
                            .cumulative_lost(5)
                            .interarrival_jitter(21)
                            .last_sender_report_timestamp(0x0102_0304)
                            .delay_since_last_sender_report_timestamp(65_536),
                    ),
            )
            .add_packet(Bye::builder().add_source(7));
        let mut bytes = [0; 128];
        let len = built.write_into(&mut bytes).unwrap();
        assert_eq!(
            reports(&bytes[..len]),
            [
                Report::Sender {
                    ssrc: Ssrc(7),
                    ntp_timestamp: 9,
                    timestamp: Timestamp(160),
                    packets: 3,
                    payload_bytes: 480
                },
                Report::Reception {
                    reporter: Ssrc(7),
                    ssrc: Ssrc(8),
                    fraction_lost: 13,
                    cumulative_lost: 5,
                    jitter: 21,
                    last_sender_report: 0x0102_0304,
                    delay_since: 65_536,
                },
                Report::Bye { ssrc: Ssrc(7) },
            ]
        );
        for cut in 0..len {
            reports(&bytes[..cut]); // Must not panic.
        }
    }

    #[test]
    fn voip_metrics_of_an_extended_report_are_read() {
        let mut bytes = vec![0x80, 207, 0, 10, 0, 0, 0, 7, 7, 0, 0, 8, 0, 0, 0, 8, 13, 2, 0, 0];
        bytes.extend([0, 0, 0, 0, 0, 80, 0, 40, 0xec, 0xc4, 0, 16, 88, 127, 42, 41, 0, 0, 0, 0]);
        bytes.extend([0; 4]);
        let want = Report::Voip {
            reporter: Ssrc(7),
            ssrc: Ssrc(8),
            fraction_lost: 13,
            fraction_discarded: 2,
            round_trip_ms: 80,
            mos_lq_tenths: Some(42),
        };
        assert_eq!(reports(&bytes), [want]);
        bytes[34] = 127;
        assert!(matches!(reports(&bytes)[..], [Report::Voip { mos_lq_tenths: None, .. }]));
        (0..bytes.len()).for_each(|cut| drop(reports(&bytes[..cut])));
    }
}
