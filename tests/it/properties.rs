use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use chrono::{DateTime, Timelike};
use ds_monitor::base::clock::{SystemClock, Timestamp};
use ds_monitor::docusign::monitor_api::{Page, Trail};
use ds_monitor::docusign::rsa_key::PrivateKey;
use ds_monitor::monitor::position::{Identity, Position};
use ds_monitor::splunk::checkpoint::{CheckpointStore, Loaded, Opened, State};
use ds_monitor::splunk::event::{self, EventSink};
use ds_monitor::splunk::input_definition::InputDefinition;
use ds_monitor::splunk::log::Log;
use ds_monitor::splunk::scheme::Argument;
use ds_monitor::splunk::stdout::{EventWriter, Format, Output};
use serde_json::Value;
use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{
    ENCRYPTED_KEY, OTHER_PRIVATE_KEY, PRIVATE_KEY, PRIVATE_KEY_PKCS8, sample_record,
};
use support::input::{Event, Input};
use support::splunkd::SESSION_KEY;

/// Names the seed of the random numbers; without it they are the same every time.
const SEED: &str = "DS_MONITOR_TEST_SEED";

/// Random numbers that come again with the same seed (SplitMix64).
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number under `end`, which is not 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    fn bytes(&mut self, longest: usize) -> Vec<u8> {
        let length = self.below(longest + 1);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// So many of these pieces at the most, one after the other.
    fn text(&mut self, pieces: &[&str], most: usize) -> String {
        let count = self.below(most + 1);
        (0..count).map(|_| *self.pick(pieces)).collect()
    }

    /// The bytes with a few changes, of which some insert these pieces.
    pub(crate) fn damaged(&mut self, bytes: &[u8], pieces: &[&str]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        for _ in 0..=self.below(4) {
            let from = self.below(bytes.len() + 1);
            let to = bytes.len().min(from + self.below(20));
            let new = match self.below(7) {
                0 => vec![],
                1 => self.bytes(3),
                2 => bytes[from..to].repeat(2),
                3 => bytes[from..to].iter().map(|byte| byte ^ 0x20).collect(),
                4 if self.chance(20) => {
                    bytes.truncate(from);
                    continue;
                }
                _ => {
                    let piece = self.pick(pieces).as_bytes();
                    let kept = if self.chance(50) { from } else { to };
                    [piece, &bytes[kept..to]].concat()
                }
            };
            bytes.splice(from..to, new);
        }
        bytes
    }
}

/// Runs a test with random numbers, and names their seed if it fails.
pub(crate) fn with_random(test: impl FnOnce(&mut Random)) {
    let seed = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&mut Random(seed))));
    assert!(outcome.is_ok(), "failed, see above, with {SEED}={seed}");
}

/// White space between the tokens of JSON.
const SPACE: [&str; 8] = ["", "", "", "", " ", "\n", "\r\n", "\t"];

/// What stands in a JSON text: plain, escaped, what XML cannot take, and what looks like markup.
const TEXT: [&str; 24] = [
    "a",
    "B c",
    "'",
    "é",
    "契約",
    "🖋",
    "\u{7f}",
    "\u{85}",
    "\u{2028}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{fffd}",
    "\u{f000}",
    "\u{feff}",
    "<b>",
    "&amp;",
    "]]>",
    "</data>",
    "\\n",
    "\\\"",
    "\\\\",
    "\\u0000",
    "\\ud83d\\ude00",
    "\\u00e4",
];

const NUMBERS: [&str; 9] = [
    "0",
    "-0",
    "1.50",
    "1e5",
    "-2.5E-3",
    "12345678901234567890123",
    "1.0000000000000000001",
    "9007199254740993",
    "0.1e+1",
];

/// Any JSON, in any spelling.
fn json(random: &mut Random, depth: usize) -> String {
    let kinds = if depth == 0 { 4 } else { 6 };
    match random.below(kinds) {
        0 => (*random.pick(&["null", "true", "false"])).to_owned(),
        1 => (*random.pick(&NUMBERS)).to_owned(),
        2 | 3 => format!("\"{}\"", random.text(&TEXT, 8)),
        4 => {
            let values: Vec<_> = (0..random.below(4))
                .map(|_| spaced(random, |random| json(random, depth - 1)))
                .collect();
            let none = if values.is_empty() {
                *random.pick(&SPACE)
            } else {
                ""
            };
            format!("[{none}{}]", values.join(","))
        }
        _ => object(random, depth - 1, &[]),
    }
}

/// An object with these members, as `(key, value)`, and others, in any order.
fn object(random: &mut Random, depth: usize, members: &[(&str, String)]) -> String {
    let mut members: Vec<_> = members
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()))
        .collect();
    for number in 0..random.below(4) {
        let key = format!("{}{number}", random.text(&TEXT, 2));
        let member = (key, json(random, depth));
        members.insert(random.below(members.len() + 1), member);
    }
    let members: Vec<_> = members
        .into_iter()
        .map(|(key, value)| {
            let key = spaced(random, |_| format!("\"{key}\""));
            key + ":" + &spaced(random, |_| value)
        })
        .collect();
    let none = if members.is_empty() {
        *random.pick(&SPACE)
    } else {
        ""
    };
    format!("{{{none}{}}}", members.join(","))
}

fn spaced(random: &mut Random, text: impl FnOnce(&mut Random) -> String) -> String {
    let (before, after) = (*random.pick(&SPACE), *random.pick(&SPACE));
    format!("{before}{}{after}", text(random))
}

/// A record as Docusign could send it.
fn record(random: &mut Random) -> String {
    match random.below(10) {
        0 => json(random, 2),
        1..4 => sample_record(random.below(10_000)),
        _ => {
            let time = format!("\"2026-01-05T08:00:00.{}Z\"", random.below(10_000));
            object(random, 2, &[("timestamp", time)])
        }
    }
}

/// A page, its records and its cursor.
fn page(random: &mut Random) -> (String, Vec<String>, Option<String>) {
    let records: Vec<_> = (0..random.below(5)).map(|_| record(random)).collect();
    let rows: Vec<_> = records
        .iter()
        .map(|record| spaced(random, |_| record.clone()))
        .collect();
    let rows = format!("[{}]", rows.join(","));
    let (name, other) = *random.pick(&[("data", "resultData"), ("resultData", "data")]);
    let mut members = vec![(name, rows)];
    if random.chance(30) {
        let nothing = *random.pick(&["null", "[]"]);
        members.push((other, nothing.to_owned()));
    }
    let cursor = match random.below(4) {
        0 if records.is_empty() => None,
        _ => Some(format!("c-{}", random.below(100))),
    };
    match &cursor {
        Some(cursor) => members.push(("endCursor", format!("\"{cursor}\""))),
        None if random.chance(50) => members.push(("endCursor", "null".to_owned())),
        None => {}
    }
    (object(random, 2, &members), records, cursor)
}

#[test]
fn every_page_is_taken_apart_into_its_records_byte_for_byte() {
    with_random(|random| {
        for _ in 0..3_000 {
            let (body, records, cursor) = page(random);
            let page = Page::parse(body.clone().into_bytes(), "c0").unwrap();
            assert!(
                page.records().map(|record| record.json).eq(&records),
                "{body}"
            );
            assert_eq!(page.end_cursor, cursor, "{body}");
        }
    });
}

#[test]
fn how_deeply_a_record_is_nested_does_not_matter() {
    let deep = "[".repeat(300_000) + &"]".repeat(300_000);
    let record = format!(r#"{{"deep":{deep},"timestamp":"2026-01-05T08:00:00.25Z"}}"#);
    let body = format!(r#"{{"more":{deep},"data":[{record}],"endCursor":"c1"}}"#);
    let page = Page::parse(body.into_bytes(), "c0").unwrap();
    let records: Vec<_> = page.records().collect();
    assert_eq!(records.len(), 1);
    assert!(records[0].json == record);
    let time = records[0].timestamp().unwrap();
    assert_eq!(time.to_string(), "1767600000.25");
    assert_eq!(records[0].event_id(), None);
}

#[test]
fn a_damaged_page_is_refused_or_has_all_its_records() {
    const PIECES: [&str; 16] = [
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "\"data\":",
        "\"resultData\":",
        "\"endCursor\":",
        "[]",
        "1e999",
        "\\ud800",
        "\0",
    ];
    with_random(|random| {
        let mut accepted = 0;
        for case in 0..20_000 {
            let body = match case % 10 {
                0 => random.bytes(200),
                _ => {
                    let (body, ..) = page(random);
                    random.damaged(body.as_bytes(), &PIECES)
                }
            };
            let text = String::from_utf8_lossy(&body).into_owned();
            let page = match Page::parse(body.clone(), "c0") {
                Ok(page) => page,
                Err(reason) => {
                    assert!(reason.to_string().len() < 100, "{reason}");
                    continue;
                }
            };
            accepted += 1;
            let value: Value = match serde_json::from_slice(&body) {
                Ok(value) => value,
                // Records are not looked into, so what only a reader of values minds goes to Splunk as it is.
                Err(error) => {
                    let error = error.to_string();
                    let known = ["out of range", "surrogate", "hex escape"];
                    assert!(
                        known.iter().any(|known| error.contains(known)),
                        "{error}: {text}"
                    );
                    continue;
                }
            };
            let rows = ["data", "resultData"].map(|name| value[name].as_array());
            let rows: Vec<_> = rows.into_iter().flatten().flatten().collect();
            let records: Vec<Value> = page
                .records()
                .map(|record| serde_json::from_str(record.json).unwrap())
                .collect();
            assert!(rows.into_iter().eq(&records), "{text}");
            let cursor = value["endCursor"]
                .as_str()
                .filter(|cursor| !cursor.is_empty());
            assert_eq!(page.end_cursor.as_deref(), cursor, "{text}");
        }
        assert!(accepted > 500, "only {accepted} were accepted");
    });
}

#[test]
fn what_a_person_enters_is_what_is_read() {
    const PIECES: [&str; 16] = [
        "a", " ", "ü", "🖋", "<", ">", "&", "\"", "'", "]]>", "&amp;", "\n", "\t", "\r\n", "=", "/",
    ];
    const PRIVATE_KEY: Argument = Argument {
        name: "private_key",
        ..Argument::OPTIONAL_TEXT
    };
    const INTERVAL: Argument = Argument {
        name: "interval",
        ..Argument::OPTIONAL_TEXT
    };
    const NAMES: [&str; 10] = ["a", "B", " ", "ü", "<", "&", "\"", "'", "/", "..://"];
    with_random(|random| {
        for _ in 0..1_500 {
            let name = random.text(&NAMES, 6);
            let value = random.text(&PIECES, 30);
            let input = Input::ds_monitor(&name).param("private_key", &*value);
            // XML makes every line end the same, and a carriage return of its own is a reference.
            let run = InputDefinition::read_run("ds_monitor", input.input_xml().as_bytes());
            let items = InputDefinition::read_validation(input.items_xml().as_bytes());
            for definition in [run.unwrap(), items.unwrap()] {
                let stanza = definition.stanza;
                assert_eq!(stanza.name, name);
                assert_eq!(stanza.get(&PRIVATE_KEY).unwrap_or_default(), value.trim());
                assert_eq!(stanza.get(&INTERVAL), Some("60"));
            }
        }
    });
}

#[test]
fn a_damaged_configuration_never_panics_and_no_error_quotes_a_secret() {
    const PIECES: [&str; 20] = [
        "<",
        ">",
        "/>",
        "</",
        "&",
        ";",
        "\"",
        "'",
        "<param name=\"",
        "</param>",
        "<stanza name=\"",
        "]]>",
        "<![CDATA[",
        "<!--",
        "-->",
        "<!DOCTYPE a [<!ENTITY b \"c\">]>",
        "<?",
        "&#0;",
        "&#x110000;",
        "&b;",
    ];
    with_random(|random| {
        let input = Input::ds_monitor("prod").param("private_key", PRIVATE_KEY);
        let documents = [input.input_xml(), input.items_xml()];
        let secrets = [PRIVATE_KEY, SESSION_KEY].map(Pieces::of);
        let mut accepted = 0;
        for case in 0..6_000 {
            let document = match case % 10 {
                0 => random.bytes(200),
                _ => {
                    let document = random.pick(&documents);
                    random.damaged(document.as_bytes(), &PIECES)
                }
            };
            let read = [
                InputDefinition::read_run("ds_monitor", &*document),
                InputDefinition::read_validation(&*document),
            ];
            for definition in read {
                match definition {
                    Ok(_) => accepted += 1,
                    Err(error) => {
                        let error = format!("{error:#}");
                        secrets
                            .iter()
                            .for_each(|secret| secret.assert_not_in(&error));
                    }
                }
            }
        }
        assert!(accepted > 500, "only {accepted} were accepted");
    });
}

/// All that is eight characters long in a secret, in a PEM's body if it is one.
struct Pieces(HashSet<Vec<u8>>);

impl Pieces {
    fn of(secret: &str) -> Self {
        let body: String = secret
            .lines()
            .filter(|line| !line.contains("-----"))
            .collect();
        Self(body.as_bytes().windows(8).map(<[u8]>::to_vec).collect())
    }

    #[track_caller]
    fn assert_not_in(&self, text: &str) {
        let leak = text
            .as_bytes()
            .windows(8)
            .find(|piece| self.0.contains(*piece));
        assert!(leak.is_none(), "a piece of the secret is in: {text}");
    }
}

#[test]
fn a_configuration_that_is_nested_too_deeply_is_an_error() {
    let document = "<a>".repeat(200_000) + &"</a>".repeat(200_000);
    let run = Input::ds_monitor("prod")
        .start(ds_monitor(), &[], document)
        .finish();
    run.assert_exit(1);
    assert_eq!(run.log_lines()[0].level, "ERROR");
}

#[test]
fn a_timestamp_is_the_moment_that_it_names_with_the_digits_it_was_written_with() {
    const PIECES: [&str; 12] = [
        "0", "9", "-", "+", ":", ".", "T", "Z", "z", " ", "é", "1970",
    ];
    with_random(|random| {
        let mut accepted = 0;
        for case in 0..20_000 {
            let fraction: String = (0..random.below(12))
                .map(|_| char::from(b'0' + u8::try_from(random.below(10)).unwrap()))
                .collect();
            let offset = match random.below(3) {
                0 => (*random.pick(&["Z", "z", "+00:00", "-00:00"])).to_owned(),
                _ => format!(
                    "{}{:02}:{:02}",
                    random.pick(&['+', '-']),
                    random.below(26),
                    random.below(62)
                ),
            };
            let point = if fraction.is_empty() { "" } else { "." };
            let text = format!(
                "{:04}-{:02}-{:02}{}{:02}:{:02}:{:02}{point}{fraction}{offset}",
                1968 + random.below(150),
                random.below(14),
                random.below(33),
                random.pick(&['T', 't', ' ']),
                random.below(25),
                random.below(61),
                random.below(61),
            );
            let text = match case % 2 {
                0 => text,
                _ => {
                    String::from_utf8_lossy(&random.damaged(text.as_bytes(), &PIECES)).into_owned()
                }
            };
            let ours = Timestamp::parse(&text);
            if let Some(ours) = ours {
                let mut appended = vec![];
                ours.append_to(&mut appended);
                assert_eq!(String::from_utf8(appended).unwrap(), ours.to_string());
                let digits = text.split_once('.').map(|(_, rest)| {
                    rest.chars()
                        .take_while(char::is_ascii_digit)
                        .take(9)
                        .collect::<String>()
                });
                let expected = match digits {
                    Some(digits) => format!("{}.{digits}", ours.seconds()),
                    None => ours.seconds().to_string(),
                };
                assert_eq!(ours.to_string(), expected, "{text}");
            }
            // Leap seconds are not known, and no time before 1970 is.
            let theirs = DateTime::parse_from_rfc3339(&text).ok();
            let theirs =
                theirs.filter(|time| time.timestamp() >= 0 && time.nanosecond() < 1_000_000_000);
            if let Some(theirs) = theirs {
                accepted += 1;
                let ours = ours.unwrap_or_else(|| panic!("{text} is a time"));
                assert_eq!(ours.seconds(), theirs.timestamp(), "{text}");
                let nanoseconds = ours
                    .to_string()
                    .split_once('.')
                    .map(|(_, digits)| format!("{digits:0<9}"));
                let nanoseconds = nanoseconds.map_or(0, |digits| digits.parse().unwrap());
                assert_eq!(theirs.nanosecond(), nanoseconds, "{text}");
            }
        }
        assert!(accepted > 3_000, "only {accepted} were times");
    });
}

#[test]
fn a_damaged_key_never_panics_and_no_error_quotes_it() {
    const PIECES: [&str; 12] = [
        "-----",
        "\n",
        "\\n",
        "\\r",
        "\"",
        "'",
        " ",
        "=",
        "ENCRYPTED",
        "PRIVATE KEY",
        "é",
        "\u{feff}",
    ];
    with_random(|random| {
        let keys = [
            PRIVATE_KEY,
            PRIVATE_KEY_PKCS8,
            OTHER_PRIVATE_KEY,
            ENCRYPTED_KEY,
        ];
        let keys = keys.map(|key| (key, Pieces::of(key)));
        for case in 0..2_000 {
            let (key, pieces) = random.pick(&keys);
            let text = match case % 10 {
                0 => random.bytes(2_000),
                1 => key.as_bytes()[random.below(key.len())..].to_vec(),
                _ => random.damaged(key.as_bytes(), &PIECES),
            };
            let text = String::from_utf8_lossy(&text);
            if let Err(error) = PrivateKey::parse(&text) {
                pieces.assert_not_in(&error.to_string());
            }
        }
    });
}

/// A file of a checkpoint, or none.
fn put(random: &mut Random, path: &Path, good: &[u8]) -> Put {
    const PIECES: [&str; 12] = [
        "\"",
        "{",
        "}",
        ",",
        ":",
        "null",
        "1",
        "\"version\": 9",
        "\0",
        "open",
        "\\",
        "é",
    ];
    let (bytes, put) = match random.below(6) {
        0 => return Put::Nothing,
        1 => (good.to_vec(), Put::Good),
        2 => (good[..random.below(good.len())].to_vec(), Put::Damaged),
        3 => (random.bytes(1_000), Put::Damaged),
        _ => (random.damaged(good, &PIECES), Put::Damaged),
    };
    fs::write(path, bytes).unwrap();
    put
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Put {
    Nothing,
    Good,
    Damaged,
}

#[test]
fn a_checkpoint_that_is_there_is_never_taken_for_absent() {
    with_random(|random| {
        let folder = tempdir().unwrap();
        let now = DateTime::from_timestamp(1_600_000_000, 0).unwrap();
        let opened = CheckpointStore::try_open(folder.path(), "ds_monitor://prod", now).unwrap();
        let Opened::Locked(store) = opened else {
            panic!("somebody has the lock");
        };
        let position = |cursor: &str| Position {
            cursor: cursor.to_owned(),
            cursor_before_last_records: "c0".to_owned(),
            state: State::Open,
            identity: Identity {
                environment: "production".to_owned(),
                host: "lens.docusign.net".to_owned(),
                generation: "v2.0".to_owned(),
                organization_id: None,
            },
            user_id: "u".to_owned(),
            trail: Trail::default(),
            paused_until: None,
            ignored_start_from: None,
        };
        store.save(&position("c1"), now).unwrap();
        store.save(&position("c2"), now).unwrap();
        let newest = store.path().to_owned();
        let mut previous = newest.clone().into_os_string();
        previous.push(".previous");
        let previous = PathBuf::from(previous);
        let good = [&newest, &previous].map(|path| fs::read(path).unwrap());
        for _ in 0..5_000 {
            let _ = fs::remove_file(&newest);
            let _ = fs::remove_file(&previous);
            let put = [
                put(random, &newest, &good[0]),
                put(random, &previous, &good[1]),
            ];
            let loaded = store.load::<Position>("");
            let place = |loaded: &Loaded<Position>| match loaded {
                Loaded::None => "none".to_owned(),
                Loaded::Newest(saved) => format!("newest {}", saved.checkpoint.cursor),
                Loaded::Previous(saved, _) => format!("previous {}", saved.checkpoint.cursor),
            };
            match (put, loaded) {
                ([Put::Nothing, Put::Nothing], loaded) => {
                    assert_eq!(loaded.unwrap(), Loaded::None);
                }
                ([Put::Good, _], loaded) => assert_eq!(place(&loaded.unwrap()), "newest c2"),
                ([Put::Nothing, Put::Good], loaded) => {
                    assert_eq!(place(&loaded.unwrap()), "previous c1");
                }
                (put, Ok(loaded)) => assert_ne!(loaded, Loaded::None, "{put:?}"),
                (_, Err(error)) => {
                    let error = format!("{error:#}");
                    assert!(error.contains(newest.to_str().unwrap()), "{error}");
                }
            }
        }
    });
}

#[test]
fn every_json_text_comes_through_the_pipe_as_promised() {
    with_random(|random| {
        let (mut reader, out) = std::io::pipe().unwrap();
        let reader = std::thread::spawn(move || {
            let mut read = vec![];
            reader.read_to_end(&mut read).unwrap();
            Event::parse_all(&read)
        });
        let out = File::from(OwnedFd::from(out));
        let log = Log::new(Box::new(std::io::sink()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut writer = EventWriter::new(
            Arc::new(Output::new(out)),
            Format::Xml,
            stop,
            Arc::new(SystemClock::new()),
            log,
        )
        .unwrap();
        let mut texts = vec![];
        for _ in 0..4_000 {
            let text = match random.below(50) {
                0 => format!("\"{}\"", random.text(&TEXT, 20_000)),
                _ => record(random),
            };
            let time = random
                .chance(70)
                .then(|| format!("2026-01-05T08:00:00.{:03}Z", random.below(1_000)));
            let time = time.and_then(|time| Timestamp::parse(&time));
            let event = event::Event {
                time,
                sourcetype: None,
                data: &text,
                is_json: true,
            };
            writer.write(&event).unwrap();
            texts.push((text, time));
        }
        writer.finish().unwrap();
        drop(writer);
        let (events, tail) = reader.join().unwrap();
        assert_eq!(tail, "");
        assert_eq!(events.len(), texts.len());
        for (event, (text, time)) in events.iter().zip(texts) {
            let promised = text.replace(['\n', '\r'], " ");
            let promised = promised
                .replace('\u{fffe}', "\\ufffe")
                .replace('\u{ffff}', "\\uffff");
            assert_eq!(event.data, promised);
            assert_eq!(event.time, time.map(|time| time.to_string()));
            let read: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(read, serde_json::from_str::<Value>(&text).unwrap());
        }
    });
}
