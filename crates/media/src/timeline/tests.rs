use proptest::prelude::*;

use super::runs::AGREEMENT_SAMPLES;
use super::*;

/// Packets of 20 ms: when they arrive and their timestamp.
fn places(packets: &[(i64, u32)]) -> Vec<Option<i64>> {
    places_of(&packets.iter().map(|&(at, ts)| (at, 1, ts)).collect::<Vec<_>>())
}

fn places_of(packets: &[(i64, u32, u32)]) -> Vec<Option<i64>> {
    let mut timeline = Timeline::new(0);
    for &(arrival_us, ssrc, timestamp) in packets {
        timeline.push(PacketTime {
            arrival_us,
            ssrc: Ssrc(ssrc),
            clock_rate_hz: 8000,
            timestamp: Timestamp(timestamp),
        });
    }
    timeline.finish().map(|place| place.map(|at| at.position)).collect()
}

fn steady(count: u32) -> Vec<(i64, u32)> {
    (0..count).map(|n| (i64::from(n) * 20_000, 5000 + n * 160)).collect()
}

fn assert_in_time(places: &[Option<i64>], packets: &[(i64, u32)], slack: i64) {
    for (n, (place, (arrival_us, _))) in places.iter().zip(packets).enumerate() {
        let place = place.unwrap_or_else(|| panic!("packet {n} has no place"));
        let want = arrival_us / 125;
        assert!((place - want).abs() <= slack, "packet {n}: {place}, arrived {want}");
    }
}

#[test]
fn arrival_jitter_does_not_move_audio() {
    let mut packets = steady(500);
    for (n, packet) in packets.iter_mut().enumerate() {
        packet.0 += (n as i64 * 7919) % 30 * 1000;
    }
    let places = places(&packets);
    let first = places[0].unwrap();
    for (n, place) in places.iter().enumerate() {
        assert_eq!(place.unwrap(), first + n as i64 * 160, "packet {n}");
    }
    assert!((0..=40).contains(&first));
}

#[test]
fn order_of_pushing_does_not_matter() {
    let packets = steady(200);
    let mut backwards = packets.clone();
    backwards.reverse();
    let mut got = places(&backwards);
    got.reverse();
    assert_eq!(got, places(&packets));
}

#[test]
fn a_timestamp_that_wraps_goes_on() {
    let packets: Vec<_> = (0..200_u32)
        .map(|n| (i64::from(n) * 20_000, 0xffff_ff00_u32.wrapping_add(n * 160)))
        .collect();
    assert_in_time(&places(&packets), &packets, 0);
}

#[test]
fn a_timestamp_jump_costs_nothing() {
    for jump in [800, 160_000, 0x7fff_0000, 0x9000_0000_u32] {
        let mut packets = steady(600);
        for packet in &mut packets[300..] {
            packet.1 = packet.1.wrapping_add(jump);
        }
        assert_in_time(&places(&packets), &packets, 0);
        for packet in &mut packets[300..] {
            packet.1 = packet.1.wrapping_sub(jump).wrapping_sub(jump);
        }
        assert_in_time(&places(&packets), &packets, 0);
    }
}

#[test]
fn a_hold_with_a_frozen_timestamp_is_silence_of_its_length() {
    for hold_us in [100_000, 1_500_000, 6_000_000, 60_000_000, 2 * 3_600_000_000_i64] {
        let mut packets = steady(600);
        for packet in &mut packets[300..] {
            packet.0 += hold_us;
        }
        assert_in_time(&places(&packets), &packets, 0);
    }
}

#[test]
fn a_stalled_network_does_not_move_audio() {
    for stall_us in [300_000, 2_000_000, 8_000_000_i64] {
        let mut packets = steady(1200);
        let until = 300 * 20_000 + stall_us;
        for packet in &mut packets[300..] {
            packet.0 = packet.0.max(until);
        }
        assert_in_time(&places(&packets), &steady(1200), 0);
    }
}

#[test]
fn a_late_start_is_placed_by_what_follows() {
    let mut packets = steady(600);
    for packet in &mut packets[..15] {
        packet.0 = 300_000;
    }
    assert_in_time(&places(&packets), &steady(600), 0);
}

#[test]
fn an_hour_at_200_ppm_stays_within_10_ms() {
    for ppm in [-200_i64, -37, 200] {
        let packets: Vec<_> = (0..180_000_u32)
            .map(|n| {
                let sent_us = i64::from(n) * 20_000;
                let jitter_us = (i64::from(n) * 7919) % 12 * 1000;
                (sent_us + sent_us * ppm / 1_000_000 + jitter_us, n.wrapping_mul(160))
            })
            .collect();
        let places = places(&packets);
        for (n, place) in places.iter().enumerate() {
            let sent_us = n as i64 * 20_000;
            let want = (sent_us + sent_us * ppm / 1_000_000) / 125;
            let error = place.unwrap() - want;
            assert!(error.abs() <= 80, "{ppm} ppm: packet {n} is {error} samples off");
        }
        // And no step is heard: neighbours lie a packet apart, give or take one sample.
        for pair in places.windows(2) {
            let apart = pair[1].unwrap() - pair[0].unwrap();
            assert!((159..=161).contains(&apart), "{ppm} ppm: {apart}");
        }
    }
}

#[test]
fn a_call_of_a_day_takes_no_more_memory_than_one_of_minutes() {
    let mut timeline = Timeline::new(0);
    let mut most = 0;
    let hour_packets = 180_000_i64;
    for n in 0..24 * hour_packets {
        let sent_us = n * 20_000;
        // A sender that drifts, shakes, is silent for a second every ten and on hold each hour.
        let is_silent = n % 500 < 50 || n % hour_packets < 6000;
        if is_silent {
            continue;
        }
        timeline.push(PacketTime {
            arrival_us: sent_us + sent_us * 120 / 1_000_000 + n * 7919 % 30 * 1000,
            ssrc: Ssrc(1),
            clock_rate_hz: 8000,
            timestamp: Timestamp((n * 160) as u32),
        });
        most = most.max(timeline.waiting.capacity());
    }
    assert!(most < 8192, "{most} packets waited");
    let places = timeline.finish();
    assert!(places.bytes() < 1 << 20, "{} bytes", places.bytes());
    let last = places.flatten().last().unwrap();
    let want = (24 * hour_packets - 1) * 160;
    assert!((last.position - want - want * 120 / 1_000_000).abs() < 320, "{last:?}");
}

#[test]
fn a_flood_waits_no_longer_than_there_is_room() {
    let packets: Vec<_> = (0..300_000_u32).map(|n| (i64::from(n) * 20, 160 * (n / 1000))).collect();
    let mut timeline = Timeline::new(0);
    for &(arrival_us, timestamp) in &packets {
        timeline.push(PacketTime {
            arrival_us,
            ssrc: Ssrc(1),
            clock_rate_hz: 8000,
            timestamp: Timestamp(timestamp),
        });
        assert!(timeline.waiting.len() <= MAX_WAITING);
    }
    assert_eq!(timeline.finish().count(), packets.len());
}

#[test]
fn a_sparse_stream_with_a_new_base_is_placed_where_it_arrives() {
    // A word every ten seconds: whoever speaks for a new base comes late.
    let packets: Vec<_> = (0..60_u32)
        .map(|n| {
            let base = if n < 30 { 0 } else { 0x4000_0000 };
            (i64::from(n) * 10_000_000, base + n * 80_000)
        })
        .collect();
    assert_in_time(&places(&packets), &packets, 0);
}

#[test]
fn a_new_ssrc_goes_on_where_it_arrives() {
    let mut packets: Vec<_> = steady(300).into_iter().map(|(at, ts)| (at, 1, ts)).collect();
    packets.extend((300..600_u32).map(|n| (i64::from(n) * 20_000, 2, n.wrapping_mul(7) + 9)));
    for (n, packet) in packets.iter_mut().enumerate().skip(300) {
        packet.2 = 0xdead_0000_u32.wrapping_add((n as u32 - 300) * 160);
    }
    for (n, place) in places_of(&packets).into_iter().enumerate() {
        assert_eq!(place, Some(n as i64 * 160));
    }
}

#[test]
fn one_wild_packet_has_no_place_and_moves_nothing() {
    let mut packets = steady(600);
    packets.insert(300, (300 * 20_000, 0x8765_4321));
    let mut places = places(&packets);
    assert_eq!(places.remove(300), None);
    packets.remove(300);
    assert_in_time(&places, &packets, 0);
}

#[test]
fn a_faster_clock_is_scaled_to_samples() {
    let mut timeline = Timeline::new(1_000_000);
    for n in 0..50_u32 {
        timeline.push(PacketTime {
            arrival_us: 1_000_000 + i64::from(n) * 20_000,
            ssrc: Ssrc(5),
            clock_rate_hz: 48_000,
            timestamp: Timestamp(n * 960),
        });
    }
    let places: Vec<_> = timeline.finish().flatten().map(|place| place.position).collect();
    assert_eq!(places, (0..50).map(|n| n * 160).collect::<Vec<_>>());
}

#[test]
fn endless_new_streams_are_refused() {
    let packets: Vec<_> = (0..2000).map(|n| (i64::from(n) * 1000, n, 0)).collect();
    let placed = places_of(&packets).into_iter().flatten().count();
    assert_eq!(placed, MAX_STREAMS);
}

proptest! {
    /// Whatever is sent, nothing is placed later than it arrived (and the step's tolerance):
    /// no timestamp makes hours of silence.
    #[test]
    fn no_packet_is_placed_in_the_future(
        packets in prop::collection::vec(
            (0..600_000_000_i64, 0..3_u32, any::<u32>(), 1..50_u32), 0..300)
    ) {
        let mut timeline = Timeline::new(0);
        for &(arrival_us, ssrc, timestamp, rate) in &packets {
            timeline.push(PacketTime {
                arrival_us,
                ssrc: Ssrc(ssrc),
                clock_rate_hz: rate * 8000,
                timestamp: Timestamp(timestamp),
            });
        }
        let places: Vec<_> = timeline.finish().collect();
        prop_assert_eq!(places.len(), packets.len());
        for (place, &(arrival_us, ..)) in places.iter().zip(&packets) {
            if let Some(place) = place {
                prop_assert!(place.position <= arrival_us / 125 + AGREEMENT_SAMPLES);
            }
        }
    }
}
