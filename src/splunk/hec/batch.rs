//! Events as the body of a request, and where such a body may be cut.
//!
//! A batch is a row of JSON objects, one per event. It is compressed as soon as it is complete, and kept in that form
//! until Splunk has it. Nothing here sends anything.

use std::io::{self, Read as _, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::HecSettings;
use crate::splunk::event::Event;

/// Most bytes of a batch before it is compressed: Splunk Cloud requires less than 1 MB.
pub(super) const BATCH_BYTES: usize = 900_000;

/// Upper bound of what an event's own time, sourcetype and punctuation add to its data.
const TIME_AND_TYPE_BYTES: usize = 64;

/// What surrounds the data of every event.
pub(super) struct Envelope {
    sourcetype: &'static str,
    /// The fields that are the same for all events, up to the data.
    common: String,
}

impl Envelope {
    pub(super) fn new(settings: &HecSettings) -> serde_json::Result<Self> {
        let mut common = String::new();
        let fields = [
            ("source", Some(&settings.source)),
            ("host", settings.host.as_ref()),
            ("index", settings.index.as_ref()),
        ];
        for (name, value) in fields {
            if let Some(value) = value {
                common += &format!("\"{name}\":{},", serde_json::to_string(value)?);
            }
        }
        Ok(Self {
            sourcetype: settings.sourcetype,
            common: common + "\"event\":",
        })
    }

    /// Upper bound of what it adds to an event's data.
    pub(super) fn bytes(&self) -> usize {
        self.common.len() + TIME_AND_TYPE_BYTES
    }

    fn append(&self, event: &Event<'_>, body: &mut Vec<u8>) {
        body.push(b'{');
        if let Some(time) = event.time {
            body.extend_from_slice(b"\"time\":");
            time.append_to(body);
            body.push(b',');
        }
        body.extend_from_slice(b"\"sourcetype\":\"");
        body.extend_from_slice(event.sourcetype.unwrap_or(self.sourcetype).as_bytes());
        body.extend_from_slice(b"\",");
        body.extend_from_slice(self.common.as_bytes());
        event.append_json(body);
        body.extend_from_slice(b"}\n");
    }
}

/// The events of one request, while they are gathered.
#[derive(Default)]
pub(super) struct Batch {
    body: Vec<u8>,
    /// Where each event ends in the body.
    ends: Vec<usize>,
}

impl Batch {
    pub(super) fn push(&mut self, event: &Event<'_>, envelope: &Envelope) {
        envelope.append(event, &mut self.body);
        self.ends.push(self.body.len());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Size of the body.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The batch as it is sent and held until Splunk has it.
    pub(super) fn pack(self) -> io::Result<Packed> {
        // Few batches compress worse than to a fifth.
        let room = Vec::with_capacity(self.body.len() / 5);
        let mut encoder = GzEncoder::new(room, Compression::fast());
        encoder.write_all(&self.body)?;
        let mut body = encoder.finish()?;
        body.shrink_to_fit();
        Ok(Packed {
            body,
            ends: self.ends,
        })
    }

    fn part(&self, numbers: Range<usize>) -> Self {
        let mut part = Self::default();
        for number in numbers {
            part.body.extend_from_slice(self.event(number));
            part.ends.push(part.body.len());
        }
        part
    }

    fn event(&self, number: usize) -> &[u8] {
        let end = self.ends.get(number).copied().unwrap_or_default();
        let start = number
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        self.body
            .get(start.copied().unwrap_or_default()..end)
            .unwrap_or_default()
    }
}

/// The events of one request, compressed.
pub(super) struct Packed {
    body: Vec<u8>,
    /// Where each event ends in the body once it is unpacked.
    ends: Vec<usize>,
}

impl Packed {
    /// Number of events.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Size of the body, unpacked.
    pub(super) fn bytes(&self) -> usize {
        self.ends.last().copied().unwrap_or_default()
    }

    /// The body of a request, compressed.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    fn unpack(&self) -> io::Result<Batch> {
        let mut body = Vec::with_capacity(self.bytes());
        GzDecoder::new(self.body.as_slice()).read_to_end(&mut body)?;
        Ok(Batch {
            body,
            ends: self.ends.clone(),
        })
    }

    /// The data of its first event, as it was before the envelope.
    pub(super) fn first_data(&self) -> io::Result<String> {
        #[derive(Deserialize)]
        struct Enveloped<'a> {
            #[serde(borrow)]
            event: &'a RawValue,
        }
        let batch = self.unpack()?;
        let enveloped: Option<Enveloped<'_>> = serde_json::from_slice(batch.event(0)).ok();
        Ok(enveloped.map_or(String::new(), |it| it.event.get().to_owned()))
    }

    /// The parts to send instead of a batch that was refused, in this order. Where the refusal names the event with
    /// number `bad`, that one goes first, so that others are accepted after it. Where it names none, these are the
    /// halves; if nothing else is left to send (`is_last`), one event is kept back, which may show afterwards that
    /// events are still accepted.
    pub(super) fn cut(&self, bad: Option<usize>, is_last: bool) -> io::Result<Vec<Self>> {
        let count = self.len();
        let half = count / 2;
        let ranges = match bad.filter(|bad| *bad < count) {
            Some(bad) => vec![bad..bad + 1, 0..bad, bad + 1..count],
            None if is_last => vec![0..half, half + 1..count, half..half + 1],
            None => vec![0..half, half..count],
        };
        let batch = self.unpack()?;
        let ranges = ranges.into_iter().filter(|range| !range.is_empty());
        ranges.map(|range| batch.part(range).pack()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, Envelope, Packed};
    use crate::base::clock::Timestamp;
    use crate::splunk::event::Event;

    fn envelope(common: &str) -> Envelope {
        Envelope {
            sourcetype: "kind",
            common: format!("{common}\"event\":"),
        }
    }

    fn event(data: &str) -> Event<'_> {
        Event {
            time: None,
            sourcetype: None,
            data,
            is_json: true,
        }
    }

    fn batch(data: &[&str]) -> Packed {
        let mut batch = Batch::default();
        for data in data {
            batch.push(&event(data), &envelope(""));
        }
        batch.pack().unwrap()
    }

    /// The data of each part's events.
    fn parts(batch: &Packed, bad: Option<usize>, is_last: bool) -> Vec<Vec<String>> {
        let data = |part: &Packed| {
            let body = String::from_utf8(part.unpack().unwrap().body).unwrap();
            let lines = body.lines().map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["event"].to_string()
            });
            lines.collect()
        };
        batch.cut(bad, is_last).unwrap().iter().map(data).collect()
    }

    #[test]
    fn an_event_keeps_its_bytes_in_an_envelope_that_names_the_rest() {
        let mut batch = Batch::default();
        let envelope = envelope("\"source\":\"a \\\"b\\\"\",");
        let data = "{ \"a\":1.50e+3,\"a\":\"\\u00e4ä\"}";
        batch.push(
            &Event {
                time: Timestamp::parse("2020-04-07T18:23:02.50Z"),
                sourcetype: Some("other"),
                data,
                is_json: true,
            },
            &envelope,
        );
        batch.push(&event("5"), &envelope);
        let expected = format!(
            "{{\"time\":1586283782.50,\"sourcetype\":\"other\",\"source\":\"a \\\"b\\\"\",\"event\":{data}}}\n\
             {{\"sourcetype\":\"kind\",\"source\":\"a \\\"b\\\"\",\"event\":5}}\n"
        );
        assert_eq!(String::from_utf8(batch.body.clone()).unwrap(), expected);
        assert!(batch.event(0).len() <= data.len() + envelope.bytes());
        let packed = batch.pack().unwrap();
        assert_eq!(packed.first_data().unwrap(), data);
        assert_eq!((packed.len(), packed.bytes()), (2, expected.len()));
        assert_eq!(packed.unpack().unwrap().body, expected.as_bytes());
    }

    #[test]
    fn a_batch_is_cut_around_the_bad_event_which_goes_first() {
        let batch = batch(&["0", "1", "2", "3"]);
        for (bad, expected) in [
            (0, vec![vec!["0"], vec!["1", "2", "3"]]),
            (2, vec![vec!["2"], vec!["0", "1"], vec!["3"]]),
            (3, vec![vec!["3"], vec!["0", "1", "2"]]),
        ] {
            assert_eq!(parts(&batch, Some(bad), false), expected);
            assert_eq!(parts(&batch, Some(bad), true), expected);
        }
    }

    #[test]
    fn a_batch_whose_bad_event_is_not_known_is_halved_and_the_last_one_keeps_an_event_back() {
        let (four, three, one) = (
            batch(&["0", "1", "2", "3"]),
            batch(&["0", "1", "2"]),
            batch(&["0"]),
        );
        for no_event in [None, Some(4), Some(usize::MAX)] {
            assert_eq!(parts(&four, no_event, false), [["0", "1"], ["2", "3"]]);
            assert_eq!(
                parts(&four, no_event, true),
                [vec!["0", "1"], vec!["3"], vec!["2"]]
            );
        }
        assert_eq!(parts(&three, None, false), [vec!["0"], vec!["1", "2"]]);
        assert_eq!(parts(&one, None, false), [["0"]]);
        assert_eq!(parts(&one, None, true), [["0"]]);
    }
}
