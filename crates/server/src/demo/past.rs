//! The last calls of the invented past as a recorder before would have left them to this start: in
//! its journal, to be rendered at once, so that there is something to listen to.

use crate::config::Config;
use crate::facts::private_dir;
use crate::recovery::LOOK_BACK;
use anyhow::Context as _;
use cheling_media::g711::Law;
use cheling_media::rtp::{RtpHeader, SequenceNumber, Ssrc, Timestamp as RtpTimestamp};
use cheling_model::call::{Format, Offer, Party};
use cheling_model::tap::{PacketKind, TapBlock, TapPacket};
use cheling_model::{EndCause, Lane, TapEvent, TapKind, Timestamp};
use cheling_phone::Sound;
use cheling_phone::speech::{Role, conversation};
use cheling_records::call::Call;
use cheling_store::journal::{Journal, JournalHandle, JournalSettings};

/// Samples of a packet: 20 ms.
const PACKET: usize = 160;

/// So many calls at least, and all those of which a start would say that they left nothing.
const LAST: usize = 20;

/// Writes the journal.
pub fn leave(calls: &[Call], config: &Config, now: Timestamp) -> anyhow::Result<()> {
    let Some(folder) = config.journal_dirs().into_iter().next() else { return Ok(()) };
    private_dir(&folder)?;
    let settings = JournalSettings { free_floor_bytes: 0, ..JournalSettings::new(folder) };
    let (journal, _) = Journal::open(settings, |_| {}).context("the demonstration's journal")?;
    let handle = journal.handle();
    let since = now.as_micros() - LOOK_BACK.as_micros() as i64;
    let mut talked: Vec<_> =
        calls.iter().filter_map(|call| Some((call.answered_at?, call.ended_at?, call))).collect();
    talked.sort_by_key(|&(answered_at, ..)| std::cmp::Reverse(answered_at));
    for (number, (answered_at, ended_at, call)) in talked.into_iter().enumerate() {
        if number >= LAST && answered_at.as_micros() < since {
            break;
        }
        leave_call(&handle, call, number, answered_at, ended_at)?;
        handle.flush()?;
    }
    Ok(())
}

fn leave_call(
    journal: &JournalHandle,
    call: &Call,
    topic: usize,
    answered_at: Timestamp,
    ended_at: Timestamp,
) -> anyhow::Result<()> {
    let tell = |at, kind| journal.event(TapEvent { call_id: call.call_id, at, kind });
    tell(call.offered_at, TapKind::Offered(offer(call)))?;
    for lane in Lane::BOTH {
        let format = Format {
            payload_type: Law::A.payload_type(),
            encoding: Law::A.encoding_name().into(),
            clock_hz: 8000,
            channels: 1,
        };
        tell(answered_at, TapKind::Formats { lane, voice: 0, formats: vec![format] })?;
    }
    tell(answered_at, TapKind::Answered { extension: call.extension.clone() })?;
    let packets = (ended_at.as_micros() - answered_at.as_micros()).max(0) as usize / 20_000;
    let said = [Role::Customer, Role::Agent].map(|role| spoken(role, topic));
    for second in 0..packets.div_ceil(50) {
        let mut block = TapBlock::default();
        for number in 50 * second..packets.min(50 * (second + 1)) {
            let at = Timestamp::from_micros(answered_at.as_micros() + 20_000 * number as i64);
            for (lane, said) in Lane::BOTH.into_iter().zip(&said) {
                let bytes = packet(lane, number, &said[number * PACKET % said.len()..][..PACKET]);
                let kind = PacketKind::Rtp;
                let call_id = call.call_id;
                block.push(TapPacket { call_id, lane, voice: 0, kind, at, bytes: &bytes });
            }
        }
        if let Err(block) = journal.try_media(block) {
            journal.flush()?;
            // Whatever waited is written, so there is room.
            let _ = journal.try_media(block);
        }
    }
    let cause = call.cause.unwrap_or(EndCause::HungUp);
    tell(ended_at, TapKind::Ended { cause, by: call.hangup_by, sip_status: None })?;
    let received_packets = [packets as u64; 2];
    tell(ended_at, TapKind::RelayClosed { received_packets, tap_dropped_packets: [0, 0] })?;
    Ok(())
}

/// What one side says, over and over, in A-law.
fn spoken(role: Role, topic: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    if let Sound::Clip { pcm, .. } = conversation(role, topic) {
        Law::A.encode(&pcm, &mut octets);
    }
    octets.resize(octets.len().next_multiple_of(PACKET).max(PACKET), Law::A.silence());
    octets
}

fn packet(lane: Lane, number: usize, payload: &[u8]) -> Vec<u8> {
    let header = RtpHeader {
        payload_type: Law::A.payload_type(),
        marker: number == 0,
        sequence_number: SequenceNumber(number as u16),
        timestamp: RtpTimestamp((number * PACKET) as u32),
        ssrc: Ssrc(lane.index() as u32 + 1),
    };
    let mut bytes = Vec::with_capacity(12 + PACKET);
    // Fails only for a payload that is too large for a datagram.
    let _ = header.write(payload, &mut bytes);
    bytes
}

/// How the call was offered, by its row.
fn offer(call: &Call) -> Offer {
    Offer {
        direction: call.direction,
        dealership_id: call.dealership_id,
        caller: Party {
            number: call.caller_number.clone(),
            display_name: Some(call.caller_name.clone()).filter(|name| !name.is_empty()),
            presentation: call.presentation,
        },
        called: call.called_number.clone(),
        trunk: Some(call.trunk.clone()).filter(|trunk| !trunk.is_empty()),
        line_id: call.line_id,
        extension: Some(call.extension.clone()).filter(|number| !number.is_empty()),
        user_id: call.user_id,
        follow_up_id: call.follow_up_id,
    }
}
