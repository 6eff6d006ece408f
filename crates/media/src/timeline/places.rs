//! The places of a direction's packets, kept small: a stream that goes on as it did takes nothing.
//!
//! Of each packet it is foretold that it belongs to the stream of the packet before it, as far from
//! that stream's last as that one was from its own last. Only what is otherwise is written down:
//!
//! ```text
//! count of packets that are as foretold · then, unless it is the end:
//!   0                                     the next has no place
//!   stream + 1 · zigzag difference        the next is that much off, in that stream
//! ```
//! All are numbers of 7 bits a byte, the lowest first.

use super::Placement;

/// Most bytes written down: ten million surprises. Packets after that have no place.
const MAX_BYTES: usize = 32 << 20;

/// Writes places down.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    log: Vec<u8>,
    /// Packets as foretold since the last that was not.
    foretold: u64,
    oracle: Oracle,
}

impl Recorder {
    /// Takes the next packet's place; `None` if it has none.
    pub(super) fn push(&mut self, place: Option<Placement>) {
        let place = place.filter(|_| self.log.len() < MAX_BYTES);
        match place {
            Some(place) if self.oracle.next() == place => self.foretold += 1,
            Some(Placement { stream, position }) => {
                self.write_foretold();
                write(&mut self.log, u64::from(stream) + 1);
                let off = position.wrapping_sub(self.oracle.position(stream));
                write(&mut self.log, ((off << 1) ^ (off >> 63)) as u64);
            }
            // Where everything is without a place, a byte each is too much.
            None if self.log.len() >= MAX_BYTES => return,
            None => {
                self.write_foretold();
                write(&mut self.log, 0);
            }
        }
        if let Some(place) = place {
            self.oracle.note(place);
        }
    }

    fn write_foretold(&mut self) {
        write(&mut self.log, std::mem::take(&mut self.foretold));
    }

    pub(super) fn finish(mut self) -> Placements {
        self.write_foretold();
        self.log.shrink_to_fit();
        let mut placements =
            Placements { log: self.log, read: 0, foretold: 0, oracle: Oracle::default() };
        placements.foretold = placements.read().unwrap_or(0);
        placements
    }
}

/// Where each packet of one direction goes, in the order they were pushed: `None` for a packet
/// without a place (a lone one whose timestamp agrees with no other, or one past the bounds).
#[derive(Debug)]
pub struct Placements {
    log: Vec<u8>,
    read: usize,
    /// Packets as foretold before the next that is not.
    foretold: u64,
    oracle: Oracle,
}

impl Placements {
    /// Bytes that they take.
    pub fn bytes(&self) -> usize {
        self.log.capacity()
    }

    fn read(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = *self.log.get(self.read)?;
            self.read += 1;
            number |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    }
}

impl Iterator for Placements {
    type Item = Option<Placement>;

    fn next(&mut self) -> Option<Self::Item> {
        let place = if self.foretold > 0 {
            self.foretold -= 1;
            Some(self.oracle.next())
        } else {
            let place = match self.read()? {
                0 => None,
                stream => {
                    let stream = (stream - 1) as u16;
                    let zigzag = self.read()?;
                    let off = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
                    let position = self.oracle.position(stream).wrapping_add(off);
                    Some(Placement { position, stream })
                }
            };
            self.foretold = self.read()?;
            place
        };
        if let Some(place) = place {
            self.oracle.note(place);
        }
        Some(place)
    }
}

fn write(log: &mut Vec<u8>, mut number: u64) {
    while number > 0x7f {
        log.push(number as u8 | 0x80);
        number >>= 7;
    }
    log.push(number as u8);
}

/// Foretells places.
#[derive(Debug, Default)]
struct Oracle {
    stream: u16,
    /// Each stream's last position, and how far it was from the one before.
    streams: Vec<(i64, i64)>,
}

impl Oracle {
    fn next(&self) -> Placement {
        Placement { position: self.position(self.stream), stream: self.stream }
    }

    fn position(&self, stream: u16) -> i64 {
        self.streams.get(usize::from(stream)).map_or(0, |(last, step)| last.wrapping_add(*step))
    }

    fn note(&mut self, place: Placement) {
        let index = usize::from(place.stream);
        if self.streams.len() <= index {
            self.streams.resize(index + 1, (0, 0));
        }
        let (last, step) = &mut self.streams[index];
        *step = place.position.wrapping_sub(*last);
        *last = place.position;
        self.stream = place.stream;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kept(places: &[Option<Placement>]) -> Placements {
        let mut recorder = Recorder::default();
        places.iter().for_each(|place| recorder.push(*place));
        recorder.finish()
    }

    #[test]
    fn a_stream_that_goes_on_takes_nothing() {
        let place = |n: i64| Some(Placement { position: n * 160 - 40, stream: 0 });
        let places: Vec<_> = (0..1_000_000).map(place).collect();
        let kept = kept(&places);
        assert!(kept.bytes() < 20, "{} bytes", kept.bytes());
        assert!(kept.eq(places));
    }

    proptest! {
        #[test]
        fn whatever_is_pushed_comes_back(
            places in prop::collection::vec(
                prop::option::weighted(0.9, (any::<i64>(), 0..1024_u16)), 0..200),
            steady in prop::collection::vec(0..400_i64, 0..200),
        ) {
            let place = |(position, stream)| Placement { position, stream };
            let mut places: Vec<_> = places.into_iter().map(|it| it.map(place)).collect();
            places.extend((0..).zip(steady).map(|(n, off)| {
                (off != 7).then_some(Placement { position: n * 160 + off / 390, stream: 3 })
            }));
            prop_assert!(kept(&places).eq(places));
        }
    }
}
