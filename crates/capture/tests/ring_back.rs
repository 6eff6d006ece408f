//! The ring-back tone over loopback: heard by whom it is played to, and gone when it is over.
#![allow(clippy::unwrap_used)]

mod relay_bench;

use cheling_call::io::{MixPlan, MixSends, MixedVoice, Played, Speaker};
use cheling_media::g711::Law;
use cheling_media::rtp::RtpPacket;
use cheling_model::Lane;
use cheling_model::call::Format;
use relay_bench::{Bench, Phone, V4, call};

#[test]
fn the_tone_is_played_from_the_announced_port_until_media_may_pass() {
    let mut bench = Bench::at(V4);
    let id = call(1);
    let local = bench.open(id);
    let mut phones = [Phone::at(V4, 11), Phone::at(V4, 22)];
    bench.point(id, Lane::Agent, phones[1].address());
    let format = Format { payload_type: 8, encoding: "PCMA".into(), clock_hz: 8000, channels: 1 };
    let voice = MixedVoice {
        who: Speaker::Side(Lane::Agent),
        formats: Vec::new(),
        sends: Some(MixSends { format, event_payload_type: None }),
        hears: Vec::new(),
        played: Some(Played::RingBack),
        is_recorded: false,
    };
    let plan = MixPlan { forwards: [false, true], voices: vec![voice], seed: 7 };
    bench.relays.mix(id, Some(Box::new(plan)));
    bench.settle();
    let mut pcm = Vec::new();
    let mut last = None;
    for _ in 0..50 {
        let (bytes, from) = phones[1].hear();
        assert_eq!(from, local[1]);
        let packet = RtpPacket::parse(&bytes).unwrap();
        assert_eq!(packet.header.payload_type, 8);
        let next = packet.header.sequence_number;
        assert!(last.is_none_or(|last: cheling_media::rtp::SequenceNumber| last.next() == next));
        last = Some(next);
        Law::A.decode(packet.payload, &mut pcm);
    }
    let waves = pcm.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!((440..=455).contains(&waves), "{waves} waves in a second");
    // The other side answers: what it says is heard, and the tone no more.
    bench.relays.mix(id, None);
    bench.point(id, Lane::Customer, phones[0].address());
    bench.settle();
    let said = phones[0].say(local[0]);
    let mut heard = phones[1].hear().0;
    for _ in 0..50 {
        if heard == said {
            break;
        }
        heard = phones[1].hear().0;
    }
    assert_eq!(heard, said);
    let said = phones[0].say(local[0]);
    assert_eq!(phones[1].hear().0, said);
    bench.close(id);
}

#[test]
fn who_is_held_hears_the_music_while_the_other_sends_nothing() {
    let music = (0..1600).map(|at| if at % 16 < 8 { 8000 } else { -8000 }).collect();
    let mut bench = Bench::playing(V4, Some(music));
    let (id, local, mut phones) = bench.talk(V4);
    let format = Format { payload_type: 8, encoding: "PCMA".into(), clock_hz: 8000, channels: 1 };
    let voice = MixedVoice {
        who: Speaker::Side(Lane::Customer),
        formats: Vec::new(),
        sends: Some(MixSends { format, event_payload_type: None }),
        hears: Vec::new(),
        played: Some(Played::Held),
        is_recorded: false,
    };
    let plan = MixPlan { forwards: [true, true], voices: vec![voice], seed: 7 };
    bench.relays.mix(id, Some(Box::new(plan)));
    bench.settle();
    let mut pcm = Vec::new();
    for _ in 0..20 {
        let (bytes, from) = phones[0].hear();
        assert_eq!(from, local[0]);
        Law::A.decode(RtpPacket::parse(&bytes).unwrap().payload, &mut pcm);
    }
    let waves = pcm.windows(2).filter(|pair| pair[0] < 0 && pair[1] >= 0).count();
    assert!((390..=410).contains(&waves), "{waves} waves of 1000 Hz in 0.4 s");
    // The phone that holds has music of its own: that is heard, and ours is not.
    let said = phones[1].say(local[1]);
    let mut heard = phones[0].hear().0;
    for _ in 0..50 {
        if heard == said {
            break;
        }
        heard = phones[0].hear().0;
    }
    assert_eq!(heard, said);
    for _ in 0..10 {
        let said = phones[1].say(local[1]);
        assert_eq!(phones[0].hear().0, said, "nothing in between");
    }
    // It stops, and ours begins again.
    let (bytes, _) = phones[0].hear();
    assert_eq!(RtpPacket::parse(&bytes).unwrap().header.payload_type, 8);
    bench.close(id);
}
