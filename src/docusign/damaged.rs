//! A page with a record that is no JSON, taken apart by its structure.
//!
//! Such a page would stop the feed for ever, for the sake of one record. [`take_apart`] accepts only a page that is
//! whole in its outer form: what is cut, or is no page at all, stays an error. Records that are JSON stay as they are,
//! byte for byte. Of the others, what JSON forbids within a string is written as `\uXXXX`. Where the end of a damaged
//! record is not certain, nothing is guessed.

use std::ops::Range;

use memchr::{memchr_iter, memchr2_iter, memmem};
use serde_json::value::RawValue;

use super::monitor_api::{Record, end_cursor};

/// A page that has been taken apart.
pub(super) struct TakenApart {
    /// The records' texts, one after the other.
    pub(super) body: String,
    /// Where each record is in the body.
    pub(super) records: Vec<Range<usize>>,
    /// Which records were no JSON, by their number.
    pub(super) damaged: Vec<usize>,
    /// The cursor for the next page.
    pub(super) end_cursor: Option<String>,
}

/// Why a page cannot be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// It is no page, or only a part of one.
    NoPage,
    /// It is a page, but where a damaged record ends is uncertain.
    Inseparable,
}

/// Takes the body of a page apart that cannot be read as JSON.
///
/// # Errors
/// It is no page, or its records cannot be told apart.
pub(super) fn take_apart(body: &[u8]) -> Result<TakenApart, Whole> {
    let mut text = Text { body, at: 0 };
    let mut before = None;
    let opened = text.take(b'{').is_some() && text.members(&mut before, true).is_some();
    if !opened || text.next() != Some(b'[') {
        return Err(Whole::NoPage);
    }
    text.at += 1;
    let mut apart = TakenApart {
        body: String::with_capacity(body.len()),
        records: Vec::new(),
        damaged: Vec::new(),
        end_cursor: None,
    };
    loop {
        match text.next() {
            None => return Err(Whole::NoPage),
            // An empty place holds nothing that could be lost.
            Some(b',') => text.at += 1,
            Some(b']') => {
                let after = text.rest(text.at + 1).ok_or(Whole::NoPage)?;
                apart.end_cursor = after.or(before);
                return Ok(apart);
            }
            Some(_) => match text.sound_record() {
                Some(record) => apart.push(record),
                None => {
                    let end = text.end_of_damaged().ok_or(Whole::Inseparable)?;
                    let damaged = body.get(text.at..end).unwrap_or_default();
                    apart.damaged.push(apart.records.len());
                    apart.push(repaired(damaged.trim_ascii()).as_str());
                    text.at = end;
                }
            },
        }
    }
}

impl TakenApart {
    fn push(&mut self, record: &str) {
        let start = self.body.len();
        self.body.push_str(record);
        self.records.push(start..self.body.len());
    }
}

/// The body, and how far it has been read.
#[derive(Clone, Copy)]
struct Text<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Text<'a> {
    /// The next byte that is not blank.
    fn next(&mut self) -> Option<u8> {
        while let Some(&byte) = self.body.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Steps over `byte` if it is the next one.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    /// Reads a value that is JSON.
    fn value(&mut self) -> Option<&'a RawValue> {
        self.next()?;
        let rest = self.body.get(self.at..)?;
        let mut values = serde_json::Deserializer::from_slice(rest).into_iter::<&RawValue>();
        let value = values.next()?.ok()?;
        self.at += values.byte_offset();
        Some(value)
    }

    /// Reads members of the page, up to its list of records, or else to the end of the page. Only one list may hold
    /// records.
    fn members(&mut self, cursor: &mut Option<String>, up_to_records: bool) -> Option<()> {
        loop {
            if self.take(b'}').is_some() {
                return (!up_to_records && self.next().is_none()).then_some(());
            }
            let name: String = serde_json::from_str(self.value()?.get()).ok()?;
            self.take(b':')?;
            let is_list = matches!(name.as_str(), "data" | "resultData");
            if is_list && self.next()? == b'[' {
                let mut empty = *self;
                empty.at += 1;
                if empty.take(b']').is_none() {
                    return up_to_records.then_some(());
                }
            }
            let value = self.value()?;
            match name.as_str() {
                "endCursor" => *cursor = end_cursor(value).ok()?,
                "error" | "errorCode" if !matches!(value.get(), "null" | "\"\"") => return None,
                _ => {}
            }
            if self.take(b',').is_none() && self.next()? != b'}' {
                return None;
            }
        }
    }

    /// What comes after the list of records that ends before `at`: the cursor, if the page is whole.
    fn rest(self, at: usize) -> Option<Option<String>> {
        let mut text = Self { at, ..self };
        let mut cursor = None;
        if text.take(b',').is_none() && text.next()? != b'}' {
            return None;
        }
        text.members(&mut cursor, false)?;
        Some(cursor)
    }

    /// Whether a record may end before `at`: another one follows, or the end of the page.
    fn is_boundary(self, at: usize) -> bool {
        let mut text = Self { at, ..self };
        match text.next() {
            Some(b',') => true,
            Some(b']') => text.rest(text.at + 1).is_some(),
            _ => false,
        }
    }

    /// Reads a record that is JSON.
    fn sound_record(&mut self) -> Option<&'a str> {
        let mut text = *self;
        let record = text.value()?.get();
        // A comma may be missing between two records that are sound.
        if text.is_boundary(text.at) || text.next() == Some(b'{') {
            self.at = text.at;
            return Some(record);
        }
        None
    }

    /// Where the damaged record ends that begins here.
    fn end_of_damaged(self) -> Option<usize> {
        if self.body.get(self.at) != Some(&b'{') {
            let next = self.next_record(self.body.len());
            return next.map(|(end, _)| end).or_else(|| self.end_by_structure());
        }
        let Some(end) = self.end_by_structure() else {
            return self.next_record(self.body.len()).map(|(end, _)| end);
        };
        match self.next_record(end) {
            // Quotes that are missing in two records make one of all that is between them.
            Some((before, true)) => Some(before),
            _ => Some(end),
        }
    }

    /// The end by brackets and quotes, which most damages leave in order.
    fn end_by_structure(self) -> Option<usize> {
        let (mut open, mut is_text, mut is_escaped) = (Vec::new(), false, false);
        for (at, byte) in self.body.iter().enumerate().skip(self.at) {
            match (is_text, byte) {
                _ if is_escaped => is_escaped = false,
                (true, b'\\') => is_escaped = true,
                (_, b'"') => is_text = !is_text,
                (true, _) => {}
                (false, b',' | b']') if open.is_empty() => {
                    return self.is_boundary(at).then_some(at);
                }
                (false, b'{') => open.push(b'}'),
                (false, b'[') => open.push(b']'),
                (false, b'}' | b']') => {
                    if open.pop() != Some(*byte) {
                        return None;
                    }
                }
                (false, _) => {}
            }
        }
        None
    }

    /// The end by what follows before `limit`: a sound record with an `eventId`, or the end of the page. Also says
    /// whether that record has a `timestamp` as well, as no part of a record has.
    fn next_record(self, limit: usize) -> Option<(usize, bool)> {
        let rest = self.body.get(self.at..limit)?;
        memchr2_iter(b',', b']', rest).find_map(|offset| {
            let at = self.at + offset;
            if self.body.get(at) == Some(&b']') {
                let is_end = self.rest(at + 1).is_some() && self.is_one_record(at);
                return is_end.then_some((at, false));
            }
            let mut text = Self { at: at + 1, ..self };
            if text.next()? != b'{' {
                return None;
            }
            let json = text.sound_record()?;
            let record = Record {
                json,
                is_json: true,
            };
            record.event_id()?;
            Some((at, record.timestamp().is_some()))
        })
    }

    /// Whether what ends before `end` is one record. Objects in a list look like records, but have no `eventId`; where
    /// none has one, they may be records.
    fn is_one_record(self, end: usize) -> bool {
        let text = self.body.get(self.at..end).unwrap_or_default();
        let is_list = memchr_iter(b',', text).any(|comma| {
            let (before, after) = text.split_at(comma);
            let after = after.get(1..).unwrap_or_default().trim_ascii_start();
            before.trim_ascii_end().ends_with(b"}") && after.starts_with(b"{")
        });
        !is_list || memmem::find(text, b"\"eventId\"").is_some()
    }
}

/// A damaged record in characters that JSON allows: within strings, what it forbids is written as an escape.
fn repaired(record: &[u8]) -> String {
    let mut repaired = String::with_capacity(record.len());
    let mut is_text = false;
    for chunk in record.utf8_chunks() {
        let mut rest = chunk.valid();
        while let Some(c) = rest.chars().next() {
            let (taken, escape) = match c {
                '\\' if is_text => match escape_length(rest) {
                    Some(length) => (length, None),
                    None => (1, Some('\\')),
                },
                '"' => {
                    is_text = !is_text;
                    (1, None)
                }
                // Between tokens, line breaks and tabs are blanks.
                '\t' | '\n' | '\r' if !is_text => (1, None),
                c if c.is_control() && c.is_ascii() => (c.len_utf8(), Some(c)),
                c => (c.len_utf8(), None),
            };
            let (head, tail) = rest.split_at(taken);
            match escape {
                Some(c) => repaired.push_str(&format!("\\u{:04x}", u32::from(c))),
                None => repaired.push_str(head),
            }
            rest = tail;
        }
        if !chunk.invalid().is_empty() {
            repaired.push(char::REPLACEMENT_CHARACTER);
        }
    }
    repaired
}

/// The length of the escape that `text` begins with, if JSON knows it.
fn escape_length(text: &str) -> Option<usize> {
    match text.as_bytes() {
        [
            _,
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
            ..,
        ] => Some(2),
        [_, b'u', digits @ ..] => {
            let digits = digits.get(..4)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(6)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::monitor_api::Page;

    /// A record as Docusign sends it, with all that could be taken for the end of one.
    fn record(n: usize) -> String {
        format!(
            r#"{{"eventId":"e{n}","timestamp":"2026-01-31T08:30:{:02}.5Z","userId":"u{n}","text":"a \"b\", ]}},{{ \\","numbers":[1,-2.50e+3,null],"data":{{"list":[{{"x":{n}}},{{"y":"z"}}],"ids":["i{n}","j"]}},"last":"ä{n}"}}"#,
            n % 60
        )
    }

    fn page(records: &[Vec<u8>], member: &str) -> Vec<u8> {
        let mut body = format!(r#"{{"more":{{"a":[1]}},"{member}":["#).into_bytes();
        body.extend(records.join(&b','));
        body.extend(br#"],"endCursor":"c1","count":3}"#);
        body
    }

    fn sound(n: usize) -> Vec<u8> {
        record(n).into_bytes()
    }

    /// Each of these makes a record something that is no JSON.
    fn damages() -> Vec<(&'static str, Vec<u8>)> {
        let text = record(7);
        let with = |from: &str, to: &[u8]| {
            let at = text.find(from).unwrap();
            let (head, tail) = text.split_at(at);
            [head.as_bytes(), to, &tail.as_bytes()[from.len()..]].concat()
        };
        vec![
            ("a line break in a text", with("a \\\"b", b"a\n\\\"b")),
            ("a tab in a text", with("a \\\"b", b"a\t\\\"b")),
            ("a zero in a text", with("a \\\"b", b"a\0\\\"b")),
            ("an escape that JSON lacks", with("a \\\"b", b"a\\x\\\"b")),
            ("a short escape", with("a \\\"b", b"a\\u12 \\\"b")),
            (
                "bytes that are no UTF-8",
                with("a \\\"b", b"a\xff\xfe\\\"b"),
            ),
            ("a cut character", with("\u{e4}", b"\xc3")),
            ("a bare word", with("-2.50e+3", b"NaN")),
            ("an infinite number", with("-2.50e+3", b"-Infinity")),
            ("a number with a zero before it", with("-2.50e+3", b"007")),
            ("a plus sign", with("-2.50e+3", b"+1")),
            ("a value that is missing", with("\"u7\"", b"")),
            ("a name without quotes", with("\"userId\"", b"userId")),
            ("single quotes", with("\"u7\"", b"'u7'")),
            ("a comma too many", with("\"j\"]", b"\"j\",]")),
            ("a comma that is missing", with("null],", b"null]")),
            (
                "a colon that is missing",
                with("\"userId\":", b"\"userId\""),
            ),
            ("a comment", with("\"userId\"", b"/* x */\"userId\"")),
            ("a quote too many", with("\"u7\"", b"\"u\"7\"")),
            (
                "a quote that is missing at the end",
                with("\"u7\"", b"\"u7"),
            ),
            (
                "a quote that is missing at the start",
                with("\"u7\"", b"u7\""),
            ),
            ("a bracket that is missing", with("\"j\"]", b"\"j\"")),
            ("a bracket too many", with("\"j\"]", b"\"j\"]]")),
            ("a brace too many", with("\"z\"}", b"\"z\"}}")),
            (
                "a brace that is missing at the end",
                text.as_bytes()[..text.len() - 1].to_vec(),
            ),
            (
                "a brace that is missing at the start",
                text.as_bytes()[1..].to_vec(),
            ),
            (
                "a record that is cut in a text",
                text.as_bytes()[..60].to_vec(),
            ),
            (
                "a record that is cut in its data",
                with(r#","ids":["i7","j"]},"last":"ä7"}"#, b""),
            ),
            ("a bare word for a record", b"oops".to_vec()),
            (
                "an error page for a record",
                b"<html>503, sorry</html>".to_vec(),
            ),
        ]
    }

    fn ids(page: &Page) -> Vec<Option<String>> {
        page.records().map(|record| record.event_id()).collect()
    }

    #[test]
    fn whatever_is_wrong_with_one_record_the_others_come_as_they_are() {
        for (name, damaged) in damages() {
            for place in 0..3 {
                for member in ["data", "resultData"] {
                    let mut records = vec![sound(1), sound(2)];
                    records.insert(place, damaged.clone());
                    let body = page(&records, member);
                    assert!(Page::parse(body.clone(), "c0").is_err(), "{name}");
                    let page = Page::take_apart(&body, "c0")
                        .unwrap_or_else(|error| panic!("{name} in place {place}: {error:?}"));
                    assert_eq!(page.end_cursor.as_deref(), Some("c1"), "{name}");
                    let others: Vec<_> = page
                        .records()
                        .enumerate()
                        .filter(|(number, _)| *number != place)
                        .map(|(_, record)| record.json.as_bytes().to_vec())
                        .collect();
                    assert_eq!(others, [sound(1), sound(2)], "{name} in place {place}");
                    let numbers: Vec<_> = page.damaged().map(|(number, _)| number).collect();
                    assert_eq!(numbers, [place], "{name}");
                }
            }
        }
    }

    #[test]
    fn a_damaged_record_is_still_recognized_and_keeps_its_time() {
        for (name, damaged) in damages() {
            let page =
                Page::take_apart(&page(std::slice::from_ref(&damaged), "data"), "c0").unwrap();
            let (_, record) = page.damaged().next().unwrap();
            if damaged.windows(9).any(|part| part == b"eventId\":") {
                assert_eq!(record.event_id().as_deref(), Some("e7"), "{name}");
            }
            if damaged.windows(7).any(|part| part == b"07.5Z\",") {
                let time = record.timestamp().map(|time| time.to_string());
                assert_eq!(time.as_deref(), Some("1769848207.5"), "{name}");
            }
        }
    }

    #[test]
    fn what_json_forbids_in_a_text_is_written_as_an_escape() {
        let damaged =
            b"{\"eventId\":\"e1\",\"a\":\"x\ny\t\\x\\u12\\u00e4\\\"\x7f\",\n\"b\":1}".to_vec();
        let page = Page::take_apart(&page(&[damaged], "data"), "c0").unwrap();
        let record = page.records().next().unwrap();
        assert_eq!(
            record.json,
            "{\"eventId\":\"e1\",\"a\":\"x\\u000ay\\u0009\\u005cx\\u005cu12\\u00e4\\\"\\u007f\",\n\"b\":1}"
        );
        assert!(record.is_json);
    }

    #[test]
    fn two_damaged_records_take_none_of_those_between_them_along() {
        for (first, one) in damages() {
            for (second, other) in damages() {
                let records = [
                    sound(1),
                    one.clone(),
                    sound(2),
                    sound(3),
                    other.clone(),
                    sound(4),
                ];
                let page = Page::take_apart(&page(&records, "data"), "c0")
                    .unwrap_or_else(|error| panic!("{first} and {second}: {error:?}"));
                for n in 1..5 {
                    let came = page.records().filter(|it| it.json == record(n)).count();
                    assert_eq!(came, 1, "{first} and {second}: {:?}", ids(&page));
                }
            }
        }
    }

    #[test]
    fn what_is_cut_or_no_page_stays_an_error() {
        let whole = page(&[sound(1), b"oops".to_vec(), sound(2)], "data");
        for length in 0..whole.len() {
            let cut = Page::take_apart(&whole[..length], "c0");
            assert!(
                cut.is_err(),
                "{}",
                String::from_utf8_lossy(&whole[..length])
            );
        }
        for body in [
            "<html>{}</html>",
            r#"{"data":[oops],"endCursor":"c1"}x"#,
            r#"{"data":[oops]}"#,
            r#"{"data":[oops],"endCursor":7}"#,
            r#"{"data":[oops],"endCursor":"c1","error":"x"}"#,
            r#"{"data":oops,"endCursor":"c1"}"#,
            r#"[oops]"#,
        ] {
            assert!(Page::take_apart(body.as_bytes(), "c0").is_err(), "{body}");
        }
    }
}
