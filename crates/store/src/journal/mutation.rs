//! Damaged segments by the hundred: the journal opens, gives no packet that was not sent and none
//! of another call, and goes on. The seed is fixed, so a failure is the same each time.

use std::collections::HashSet;

use cheling_dice::Dice;
use cheling_model::tap::{PacketKind, Packets, TapPacket};
use cheling_model::{EndCause, Lane, TapKind, Timestamp};
use uuid::Uuid;

use super::segment::{RecordKind, append_record, scan, segment_header, segment_path};
use super::*;

fn call(n: usize) -> CallId {
    CallId(Uuid::from_u128(n as u128 + 1))
}

/// What call `n` sent as its packet `m`.
fn packet(n: usize, m: usize) -> Vec<u8> {
    let mut bytes = vec![n as u8; 20 + m % 7];
    bytes[0] = m as u8;
    bytes
}

/// A segment of three calls: events, media, and an end.
fn segment() -> Vec<u8> {
    let mut bytes = segment_header(1).to_vec();
    let event = |bytes: &mut Vec<u8>, n, kind| {
        let event = TapEvent { call_id: call(n), at: Timestamp::from_micros(5), kind };
        append_record(bytes, RecordKind::Event, call(n), &serde_json::to_vec(&event).unwrap());
    };
    for n in 0..3 {
        event(&mut bytes, n, TapKind::Answered { extension: "8001".into() });
    }
    for m in 0..12 {
        for n in 0..3 {
            let mut block = TapBlock::default();
            block.push(TapPacket {
                call_id: call(n),
                lane: Lane::Agent,
                voice: (m % 3) as u8,
                kind: PacketKind::Rtp,
                at: Timestamp::from_micros(m as i64),
                bytes: &packet(n, m),
            });
            append_record(&mut bytes, RecordKind::Media, call(n), block.as_bytes());
        }
    }
    event(&mut bytes, 0, TapKind::Ended { cause: EndCause::HungUp, by: None, sip_status: None });
    append_record(&mut bytes, RecordKind::Done, call(2), &[]);
    bytes
}

fn damaged(dice: &mut Dice, good: &[u8]) -> Vec<u8> {
    dice.damaged(good, &[], 2 * good.len())
}

#[test]
fn a_damaged_segment_never_invents_a_record() {
    let mut dice = Dice::new(0x5eed_0011);
    let good = segment();
    let mut whole = HashSet::new();
    scan(&good, |_, record| {
        whole.insert((record.call_id, record.body.to_vec()));
    });
    for _ in 0..3000 {
        let bytes = damaged(&mut dice, &good);
        let found = scan(&bytes, |at, record| {
            assert!(at as usize + record.body.len() <= bytes.len());
            assert!(whole.contains(&(record.call_id, record.body.to_vec())));
        });
        assert!(found.whole_bytes + found.torn_bytes <= bytes.len() as u64);
    }
}

#[test]
fn damaged_tap_frames_are_read_within_their_bytes() {
    let mut dice = Dice::new(0x5eed_0012);
    let mut block = TapBlock::default();
    for m in 0..8 {
        block.push(TapPacket {
            call_id: call(0),
            lane: Lane::Customer,
            voice: 0,
            kind: PacketKind::Rtcp,
            at: Timestamp::from_micros(1),
            bytes: &packet(0, m),
        });
    }
    for _ in 0..20_000 {
        let bytes = damaged(&mut dice, block.as_bytes());
        let read: usize = Packets::new(&bytes).flatten().map(|packet| packet.bytes.len()).sum();
        assert!(read <= bytes.len());
    }
}

#[test]
fn a_journal_opens_over_damage_and_each_call_gets_only_its_own() {
    let mut dice = Dice::new(0x5eed_0013);
    let good = segment();
    for round in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let path = segment_path(folder.path(), 1);
        std::fs::write(&path, damaged(&mut dice, &good)).unwrap();
        // An older segment that is damaged too, now and then.
        if round % 3 == 0 {
            std::fs::write(segment_path(folder.path(), 0), damaged(&mut dice, &good)).unwrap();
        }
        inspect(folder.path()).unwrap();
        let settings =
            JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder.path()) };
        let (journal, report) = Journal::open(settings, |_| {}).unwrap();
        let handle = journal.handle();
        for recovered in &report.calls {
            let id = recovered.call_id;
            let n = (id.0.as_u128() as usize).saturating_sub(1);
            assert!(n < 3, "a call that never was");
            let Some(records) = handle.read(id) else { continue };
            records.events().unwrap();
            let read = records.packets(|found| -> Result<(), JournalError> {
                let m = usize::from(found.bytes[0]);
                assert_eq!((found.call_id, found.bytes), (id, &packet(n, m)[..]));
                assert_eq!((found.lane, usize::from(found.voice)), (Lane::Agent, m % 3));
                Ok(())
            });
            assert!(read.unwrap().packets <= 24);
        }
        // It still takes what comes.
        let Input::Event(event) = super::tests::offered(call(7)) else { panic!("an event") };
        handle.event(*event).unwrap();
        handle.flush().unwrap();
        assert_eq!(handle.read(call(7)).unwrap().events().unwrap().len(), 1);
    }
}
