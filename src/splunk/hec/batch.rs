//! Events as the body of a request, and where such a body may be cut.
//!
//! A batch is a row of JSON objects, one per event. Nothing here sends anything.

use std::io::{self, Write as _};
use std::ops::Range;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

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
        body.extend_from_slice(event.data.as_bytes());
        body.extend_from_slice(b"}\n");
    }
}

/// The events of one request.
pub(super) struct Batch {
    /// A channel of its own, so that an acknowledgement can only belong to this batch: indexers count from 0 again
    /// after a restart, and each counts for itself.
    pub(super) channel: Uuid,
    body: Vec<u8>,
    /// Where each event ends in the body.
    ends: Vec<usize>,
    /// The position of the sink after the last event.
    pub(super) position: u64,
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            channel: Uuid::new_v4(),
            body: Vec::new(),
            ends: Vec::new(),
            position: 0,
        }
    }

    pub(super) fn push(&mut self, event: &Event<'_>, envelope: &Envelope) {
        envelope.append(event, &mut self.body);
        self.ends.push(self.body.len());
    }

    /// Number of events.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Size of the body, unpacked.
    pub(super) fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The body, compressed.
    pub(super) fn pack(&self) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.body)?;
        encoder.finish()
    }

    /// The data of its first event, as it was before the envelope.
    pub(super) fn first_data(&self) -> &str {
        #[derive(Deserialize)]
        struct Enveloped<'a> {
            #[serde(borrow)]
            event: &'a RawValue,
        }
        let enveloped: Option<Enveloped<'_>> = serde_json::from_slice(self.event(0)).ok();
        enveloped.map_or("", |enveloped| enveloped.event.get())
    }

    /// Cuts the batch so that the event with number `bad` is alone, or in halves where no such event is known. Only
    /// the last part has the batch's position, because only all parts together are the batch; the others have
    /// `before`, the position before the batch.
    pub(super) fn cut(&self, bad: Option<usize>, before: u64) -> Vec<Self> {
        let count = self.len();
        let cuts = match bad.filter(|bad| *bad < count) {
            Some(bad) => vec![0, bad, bad + 1, count],
            None => vec![0, count / 2, count],
        };
        let ranges = cuts.iter().zip(cuts.iter().skip(1));
        let ranges = ranges.filter(|(from, to)| from < to);
        let position = |to| if to == count { self.position } else { before };
        ranges
            .map(|(&from, &to)| self.part(from..to, position(to)))
            .collect()
    }

    fn part(&self, numbers: Range<usize>, position: u64) -> Self {
        let mut part = Self {
            position,
            ..Self::new()
        };
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

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{Batch, Envelope};
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
        }
    }

    fn batch(data: &[&str]) -> Batch {
        let mut batch = Batch::new();
        for data in data {
            batch.push(&event(data), &envelope(""));
        }
        batch.position = 100;
        batch
    }

    /// The data of each part's events, and its position.
    fn parts(batch: &Batch, bad: Option<usize>) -> Vec<(Vec<String>, u64)> {
        let data = |part: &Batch| {
            let body = String::from_utf8(part.body.clone()).unwrap();
            let lines = body.lines().map(|line| {
                let event: serde_json::Value = serde_json::from_str(line).unwrap();
                event["event"].to_string()
            });
            lines.collect()
        };
        let parts = batch.cut(bad, 50);
        let channels: std::collections::HashSet<_> = parts.iter().map(|it| it.channel).collect();
        assert_eq!(channels.len(), parts.len());
        parts.iter().map(|it| (data(it), it.position)).collect()
    }

    fn part(data: &[&str], position: u64) -> (Vec<String>, u64) {
        (data.iter().map(|&text| text.to_owned()).collect(), position)
    }

    #[test]
    fn an_event_keeps_its_bytes_in_an_envelope_that_names_the_rest() {
        let mut batch = Batch::new();
        let envelope = envelope("\"source\":\"a \\\"b\\\"\",");
        let data = "{ \"a\":1.50e+3,\"a\":\"\\u00e4ä\"}";
        batch.push(
            &Event {
                time: Timestamp::parse("2020-04-07T18:23:02.50Z"),
                sourcetype: Some("other"),
                data,
            },
            &envelope,
        );
        batch.push(&event("5"), &envelope);
        let expected = format!(
            "{{\"time\":1586283782.50,\"sourcetype\":\"other\",\"source\":\"a \\\"b\\\"\",\"event\":{data}}}\n\
             {{\"sourcetype\":\"kind\",\"source\":\"a \\\"b\\\"\",\"event\":5}}\n"
        );
        assert_eq!(String::from_utf8(batch.body.clone()).unwrap(), expected);
        assert_eq!(batch.first_data(), data);
        assert!(batch.event(0).len() <= data.len() + envelope.bytes());
        let mut unpacked = String::new();
        let packed = batch.pack().unwrap();
        flate2::read::GzDecoder::new(&packed[..])
            .read_to_string(&mut unpacked)
            .unwrap();
        assert_eq!(unpacked, expected);
    }

    #[test]
    fn a_batch_is_cut_around_the_bad_event_and_only_its_last_part_has_its_position() {
        let batch = batch(&["0", "1", "2", "3"]);
        for (bad, expected) in [
            (0, vec![part(&["0"], 50), part(&["1", "2", "3"], 100)]),
            (
                2,
                vec![part(&["0", "1"], 50), part(&["2"], 50), part(&["3"], 100)],
            ),
            (3, vec![part(&["0", "1", "2"], 50), part(&["3"], 100)]),
        ] {
            assert_eq!(parts(&batch, Some(bad)), expected);
        }
    }

    #[test]
    fn a_batch_whose_bad_event_is_not_known_is_halved() {
        let (four, three, one) = (
            batch(&["0", "1", "2", "3"]),
            batch(&["0", "1", "2"]),
            batch(&["0"]),
        );
        let halves = vec![part(&["0", "1"], 50), part(&["2", "3"], 100)];
        for no_event in [None, Some(4), Some(usize::MAX)] {
            assert_eq!(parts(&four, no_event), halves);
        }
        assert_eq!(
            parts(&three, None),
            [part(&["0"], 50), part(&["1", "2"], 100)]
        );
        assert_eq!(parts(&one, None), [part(&["0"], 100)]);
    }
}
