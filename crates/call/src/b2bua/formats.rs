//! Codecs of two descriptions compared, and read for the relay and the recording.

use super::guests::can_mix;
use crate::io::{MixSends, RelayRemote};
use cheling_model::call::Format;
use cheling_sip::sdp::{self, MediaLine, Sdp};

pub(super) fn is_same_format(one: &sdp::Format, two: &sdp::Format) -> bool {
    one.payload_type == two.payload_type
        && one.is(&two.encoding)
        && one.clock_hz == two.clock_hz
        && one.channels == two.channels
}

/// The first codec, and DTMF.
pub(super) fn spoken(formats: &[sdp::Format]) -> Vec<sdp::Format> {
    let is_event = |f: &&sdp::Format| f.is("telephone-event") || f.is("CN");
    let mut kept: Vec<_> = formats.iter().find(|f| !is_event(f)).into_iter().cloned().collect();
    kept.extend(formats.iter().filter(|f| f.is("telephone-event")).cloned());
    kept
}

/// Whether two descriptions have a codec in common. One without any does with all.
pub(super) fn shares(one: &Sdp, other: &Sdp) -> bool {
    let sounds = |sdp: &Sdp| {
        let formats = sdp.audio().map(|line| line.formats).unwrap_or_default();
        let is_sound = |it: &sdp::Format| !it.is("telephone-event") && !it.is("CN");
        formats.into_iter().filter(is_sound).collect::<Vec<_>>()
    };
    let (one, other) = (sounds(one), sounds(other));
    if one.is_empty() || other.is_empty() {
        return true;
    }
    one.iter().any(|it| other.iter().any(|theirs| is_same(it, theirs)))
}

/// Whether somebody speaks anything that we can transcode.
pub(super) fn is_mixable(sdp: &Sdp) -> bool {
    sdp.audio().is_some_and(|line| line.formats.iter().any(can_mix))
}

/// The first codec of a description that we can transcode.
pub(super) fn own_codec(sdp: &Sdp) -> Option<sdp::Format> {
    sdp.audio()?.formats.into_iter().find(can_mix)
}

/// Whether two formats are the same codec, however numbered.
pub(super) fn is_same(one: &sdp::Format, other: &sdp::Format) -> bool {
    one.is(&other.encoding)
        && one.clock_hz == other.clock_hz
        && one.channels.max(1) == other.channels.max(1)
}

/// A format as the rest of the program knows it.
pub fn model_format(format: &sdp::Format) -> Format {
    Format {
        payload_type: format.payload_type,
        encoding: format.encoding.to_ascii_uppercase(),
        clock_hz: format.clock_hz,
        channels: format.channels,
    }
}

/// A stream that this side could be sent by the mixer, before anybody else has agreed with it.
pub(super) fn sends_of(theirs: &Sdp) -> Option<MixSends> {
    let format = theirs.audio()?.formats.into_iter().find(can_mix)?;
    Some(MixSends { format: model_format(&format), event_payload_type: None })
}

/// Where a description wants its media; `None` to be sent nothing.
pub fn remote(line: &MediaLine) -> Option<RelayRemote> {
    let rtp = line.rtp.filter(|rtp| !rtp.ip().is_unspecified() && rtp.port() != 0)?;
    Some(RelayRemote { rtp, rtcp: line.rtcp.unwrap_or(rtp) })
}

/// How to read what is sent to `receiver` by `sender`: payload types as the receiver numbered them
/// (RFC 3264 §6.1), then what only the sender's own description explains.
pub fn formats(receiver: &Sdp, sender: &Sdp) -> Vec<Format> {
    let mut formats: Vec<Format> = Vec::new();
    for line in [receiver.audio(), sender.audio()].into_iter().flatten() {
        for format in line.formats {
            if formats.iter().all(|known| known.payload_type != format.payload_type) {
                formats.push(model_format(&format));
            }
        }
    }
    formats
}
