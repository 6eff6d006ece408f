//! What RTCP says about a call's quality (RFC 3550 §6), as far as a recorder needs it.

use rtcp_types::{Compound, Packet, ReportBlock};

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
                            .interarrival_jitter(21),
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
                    jitter: 21
                },
                Report::Bye { ssrc: Ssrc(7) },
            ]
        );
        for cut in 0..len {
            reports(&bytes[..cut]); // Must not panic.
        }
    }
}
