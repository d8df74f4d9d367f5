//! What must hold for any input from outside: one function a target, which panics where it does not hold.
//!
//! Compiled twice: by `tests/it/fuzzing.rs`, which runs the seeds and damaged copies of them in every `cargo test`,
//! and by the package beside this file, which runs for hours (CONTRIBUTING.md).

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use chrono::DateTime;
use ds_monitor::base::clock::{SystemClock, Timestamp};
use ds_monitor::base::http::{self, PlainHttp};
use ds_monitor::base::secret::{Secret, redact};
use ds_monitor::docusign::BaseUrl;
use ds_monitor::docusign::directory_api::{DirectoryPage, Organization, User, UserInfo};
use ds_monitor::docusign::monitor_api::Page;
use ds_monitor::docusign::rsa_key::PrivateKey;
use ds_monitor::monitor::position::{POSITION_LOST, Position};
use ds_monitor::monitor::settings::DS_MONITOR;
use ds_monitor::splunk::checkpoint::{CheckpointStore, Loaded, file_stem};
use ds_monitor::splunk::conf_file::Selection;
use ds_monitor::splunk::event::{Event, EventSink as _};
use ds_monitor::splunk::hec::{self, AckVerdict, HecAnswer, Verdict};
use ds_monitor::splunk::input_definition::{InputDefinition, Stanza};
use ds_monitor::splunk::log::{Fields, Level, Log};
use ds_monitor::splunk::stdout::{EventWriter, Format, Output};
use serde_json::Value;
use serde_json::value::RawValue;

/// A property of bytes from outside.
pub type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub const TARGETS: [(&str, Target); 12] = [
    ("checkpoint", checkpoint),
    ("conf_file", conf_file),
    ("configuration", configuration),
    ("directory", directory),
    ("event", event),
    ("hec_answer", hec_answer),
    ("key", key),
    ("log_line", log_line),
    ("page", page),
    ("secret", secret),
    ("timestamp", timestamp),
    ("url", url),
];

const INPUT: &str = "ds_monitor://prod";

const SECRET: &str = "s3cret-Token-0123456789";

/// A text that no input contains, so that it shows where it came from.
const MARK: &str = "Zq7-mark-x9W";

/// The previous copy of a checkpoint, beside one of any content.
const PREVIOUS: &str = r#"{"version":1,"input":"ds_monitor://prod","saved_at":"2026-01-05T08:00:00.000Z","cursor":"before","cursor_before_last_records":"before","state":"closed","identity":{"environment":"demo","host":"lens-d.docusign.net","generation":"v2.0","organization_id":null},"user_id":"u"}"#;

/// A checkpoint is never taken for none, is read whole or not at all, and reads the same once it is written again.
pub fn checkpoint(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let newest = folder.path().join(format!("{}.json", file_stem(INPUT)));
    let previous = newest.with_extension("json.previous");
    let load = || CheckpointStore::peek::<Position>(folder.path(), INPUT, POSITION_LOST);
    fs::write(&newest, bytes).unwrap();
    let alone = match load() {
        Ok((_, Loaded::Newest(saved))) => Some(saved.checkpoint),
        Ok((_, other)) => panic!("{other:?} without a previous copy"),
        Err(error) => {
            let text = format!("{error:#}");
            assert!(text.contains(newest.to_str().unwrap()), "{text}");
            None
        }
    };
    fs::write(&previous, PREVIOUS).unwrap();
    match (load(), &alone) {
        (Ok((_, Loaded::Newest(saved))), Some(alone)) => assert_eq!(saved.checkpoint, *alone),
        (Ok((_, Loaded::Previous(saved, problem))), None) => {
            assert_eq!(saved.checkpoint.cursor, "before");
            assert!(problem.contains(newest.to_str().unwrap()), "{problem}");
        }
        (Err(error), None) => {
            let text = error.to_string();
            let is_foreign = ["has version", "belongs to the input"];
            assert!(is_foreign.iter().any(|it| text.contains(it)), "{text}");
        }
        (other, _) => panic!("{other:?}, alone {alone:?}"),
    }
    if let Some(position) = alone {
        let mut again = serde_json::to_value(&position).unwrap();
        let header: Value = serde_json::from_str(PREVIOUS).unwrap();
        for member in ["version", "input", "saved_at"] {
            again[member] = header[member].clone();
        }
        fs::write(&newest, again.to_string()).unwrap();
        match load() {
            Ok((_, Loaded::Newest(saved))) => assert_eq!(saved.checkpoint, position),
            other => panic!("{other:?}"),
        }
    }
}

/// A conf file is read or refused without a word of its values, and what was read reads the same once it is written
/// again.
pub fn conf_file(bytes: &[u8]) {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::default();
    let read = |content: &[u8]| {
        let path = folder.path().join("inputs.conf");
        fs::write(&path, content).unwrap();
        let selection = Selection::single(path, "prod", folder.path().to_owned());
        let definitions = selection.read(&DS_MONITOR, &Log::new(Box::new(sink.clone())));
        definitions.map(|mut definitions| definitions.remove(0))
    };
    let values = |stanza: &Stanza| {
        let arguments = DS_MONITOR.arguments.iter();
        let values = arguments.map(|argument| stanza.get(argument).map(str::to_owned));
        values.collect::<Vec<_>>()
    };
    if let Ok(definition) = read(bytes) {
        assert_eq!(definition.stanza.name, "prod");
        let found = values(&definition.stanza);
        let mut again = format!("[{INPUT}]\n");
        for (argument, value) in DS_MONITOR.arguments.iter().zip(&found) {
            let value = value.as_deref().unwrap_or_default();
            again += &format!("{} = {}", argument.name, value.replace('\n', "\\\n"));
            // At the end of a value a backslash stands only before an empty line.
            again += if value.ends_with('\\') {
                "\\\n\n"
            } else {
                "\n"
            };
        }
        let definition = read(again.as_bytes()).ok().unwrap();
        assert_eq!(values(&definition.stanza), found, "{again}");
    }
    let text = String::from_utf8_lossy(bytes);
    let marked = text.lines().map(|line| {
        // The name of a stanza is no secret.
        match line.trim_start_matches('\u{FEFF}').trim().starts_with('[') {
            true => line.to_owned(),
            false => line.replace('=', &format!("={MARK}")),
        }
    });
    let marked = marked.collect::<Vec<_>>().join("\n");
    if let Err(error) = read(marked.as_bytes()) {
        assert!(!format!("{error:#}").contains(MARK), "{error:#}");
    }
    assert!(!sink.text().contains(MARK), "{}", sink.text());
}

/// Splunk's XML is read or refused, and an error shows no value of a parameter.
pub fn configuration(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes).replace("</param>", &format!("{MARK}</param>"));
    for bytes in [bytes, text.as_bytes()] {
        for read in [
            InputDefinition::read_run("ds_monitor", bytes),
            InputDefinition::read_validation(bytes),
        ] {
            match read {
                Ok(definition) => assert!(!matches!(&*definition.stanza.name, "." | "..")),
                Err(error) => assert!(!format!("{error:#}").contains(MARK), "{error:#}"),
            }
        }
    }
}

/// What a directory answers is bounded, and a page after which nobody is asked for has the last of all users.
pub fn directory(bytes: &[u8]) {
    const LONGEST: usize = 4096;
    const START: usize = 100;
    let bounded = |text: &str| assert!(text.len() <= LONGEST);
    if let Ok(userinfo) = UserInfo::parse(bytes) {
        for account in userinfo.accounts {
            bounded(&account.account_id);
            bounded(&account.account_name);
            bounded(&account.base_uri);
        }
    }
    if let Ok(organizations) = Organization::list(bytes) {
        for organization in organizations {
            bounded(&organization.id);
            for account in organization.accounts {
                bounded(&account.id);
                bounded(&account.name);
            }
        }
    }
    for (page, full) in [
        (DirectoryPage::of_esignature(bytes, START), 100),
        (DirectoryPage::of_admin(bytes, START), 250),
    ] {
        let Ok(page) = page else { continue };
        let end = START + page.rows.len();
        match page.next {
            Some(next) => assert!(next == end && next > START),
            None if page.rows.is_empty() => {}
            None => assert!(page.rows.len() < full && page.total == Some(end)),
        }
        for user in &page.rows {
            bounded(&user.user_id);
            bounded(&user.user_name);
            bounded(&user.email);
            bounded(&user.job_title);
        }
    }
    for page in [
        DirectoryPage::of_permission_profiles(bytes),
        DirectoryPage::of_groups(bytes, START),
    ] {
        for profile in page.iter().flat_map(|page| &page.rows) {
            bounded(&profile.id);
            bounded(&profile.name);
        }
    }
    if let Ok(user) = serde_json::from_slice::<User>(bytes) {
        bounded(&user.user_name);
    }
}

/// What Splunk's XML reader sees is the record.
pub fn event(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let is_json = serde_json::from_str::<Value>(&text).is_ok();
    let data = match is_json {
        true => text.trim_matches([' ', '\n', '\r', '\t']).to_owned(),
        false => serde_json::to_string(&text).unwrap(),
    };
    let (mut reader, out) = std::io::pipe().unwrap();
    let written = std::thread::spawn(move || {
        let mut written = String::new();
        reader.read_to_string(&mut written).unwrap();
        written
    });
    let log = Log::new(Box::new(std::io::sink()));
    let stop = Arc::new(AtomicBool::new(false));
    let (clock, out) = (Arc::new(SystemClock::new()), File::from(OwnedFd::from(out)));
    let out = Arc::new(Output::new(out));
    let mut writer = EventWriter::new(out, Format::Xml, stop, clock, log).unwrap();
    let event = Event {
        time: Timestamp::parse("2026-01-05T08:00:00.10Z"),
        sourcetype: None,
        data: &data,
        is_json: true,
    };
    // Twice, so that the end of one is seen to be the beginning of the other.
    writer.write(&event).unwrap();
    writer.write(&event).unwrap();
    writer.finish().unwrap();
    drop(writer);
    let written = written.join().unwrap();
    let seen = texts_of(&written);
    assert_eq!(seen.len(), 2, "{written}");
    for seen in seen {
        assert!(!seen.contains(['\n', '\r']));
        let value = |json| serde_json::from_str::<Value>(json).unwrap();
        assert_eq!(value(&seen), value(&data));
        let promised = data.replace(['\n', '\r'], " ");
        let promised = promised
            .replace('\u{FFFE}', "\\ufffe")
            .replace('\u{FFFF}', "\\uffff");
        assert_eq!(seen, promised);
    }
}

/// The texts of the elements `<data>`, which a strict reader of XML 1.0 sees.
fn texts_of(xml: &str) -> Vec<String> {
    use quick_xml::events::Event as Node;
    let is_character = |c: char| matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    assert!(xml.chars().all(is_character));
    let mut reader = quick_xml::Reader::from_str(xml);
    let (mut texts, mut path) = (Vec::new(), Vec::new());
    loop {
        match reader.read_event().unwrap() {
            Node::Start(tag) => {
                let name = tag.name().as_ref().to_owned();
                if name == "data" {
                    texts.push(String::new());
                }
                path.push(name);
            }
            Node::End(_) => drop(path.pop()),
            Node::Text(text) if path.last().is_some_and(|name| name == "data") => {
                texts.last_mut().unwrap().push_str(&text.xml10_content());
            }
            Node::GeneralRef(reference) => {
                let text = quick_xml::escape::resolve_predefined_entity(&reference).unwrap();
                texts.last_mut().unwrap().push_str(text);
            }
            Node::Eof => break,
            _ => {}
        }
    }
    assert_eq!(path, Vec::<String>::new());
    texts
}

/// Events count as accepted, and as acknowledged, only if the answer says so, and what is shown of it is one line. The
/// first line of the bytes is the status, if it is a number.
pub fn hec_answer(bytes: &[u8]) {
    let first = bytes.iter().position(|byte| *byte == b'\n');
    let (status, body) = bytes.split_at(first.unwrap_or_default());
    let status = std::str::from_utf8(status).ok();
    let (status, body) = match status.and_then(|status| status.parse().ok()) {
        Some(status) => (status, &body[1..]),
        None => (200, bytes),
    };
    let answer = HecAnswer::of(http::Answer {
        status,
        headers: Default::default(),
        body: body.to_vec(),
    });
    let reply: Value = serde_json::from_slice(body).unwrap_or_default();
    let is_success = (200..300).contains(&status);
    let verdict = answer.verdict();
    if verdict == Verdict::Accepted {
        assert!(is_success && reply["code"] == 0);
        assert!(reply["ackId"].is_null() || reply["ackId"].as_u64() == answer.ack_id());
    }
    match status {
        500.. => assert_eq!(verdict, Verdict::Later),
        413 => assert_eq!(verdict, Verdict::TooLarge),
        200..300 => assert!(matches!(verdict, Verdict::Accepted | Verdict::Unclear)),
        _ => {}
    }
    if let Verdict::BadEvent(Some(number)) = verdict {
        assert_eq!(reply["invalid-event-number"], number);
    }
    for ack in 0..4 {
        let is_told = is_success && answer.ack_verdict() == AckVerdict::Told;
        assert!(!is_told || answer.acknowledges(ack) == (reply["acks"][ack.to_string()] == true));
    }
    for shown in [answer.to_string(), answer.in_full()] {
        assert!(shown.chars().count() < 400, "{shown}");
        assert!(!shown.contains(char::is_control), "{shown}");
    }
}

/// A key that is read is read again, whatever a form, a file or an editor does to its ends and line breaks.
pub fn key(bytes: &[u8]) {
    if PrivateKey::parse_file(bytes).is_err() {
        return;
    }
    let text = std::str::from_utf8(bytes).unwrap();
    for again in [
        format!("\u{FEFF}\n \"{text}\" \n"),
        text.replace('\n', "\r\n"),
        text.replace('\n', "\\n"),
    ] {
        assert!(PrivateKey::parse(&again).is_ok(), "{again}");
    }
}

/// A line in the log is one line that shows what it is given and no secret, whatever the text.
pub fn log_line(bytes: &[u8]) {
    let _secret = Secret::new(SECRET.to_owned());
    let text = format!("{}{SECRET}", String::from_utf8_lossy(bytes));
    let sink = Sink::default();
    let fields = Fields::new().with("key", &text).with("last", 1);
    Log::new(Box::new(sink.clone())).write(Level::Info, &fields, &text);
    let written = sink.text();
    let line = written.strip_suffix('\n').unwrap();
    assert!(line.starts_with("INFO key="));
    assert!(line.len() <= 4096);
    assert!(!line.contains(SECRET));
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!line.contains(is_hidden), "{line}");
    // A text cannot end its field: what follows the value is the next field, unless the line was cut before.
    let value = line.strip_prefix("INFO key=").unwrap();
    let after = match value.strip_prefix('"') {
        Some(quoted) => {
            let mut escaped = false;
            let end = quoted.find(|c| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map(|end| &quoted[end + 1..])
        }
        None => value.find(' ').map(|end| &value[end..]),
    };
    let is_cut = line.ends_with('\u{2026}');
    assert!(is_cut || after.unwrap().starts_with(" last=1 "), "{line}");
}

/// A page that is accepted has records that are JSON, all of those in the body, byte for byte and in their order.
pub fn page(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(page) = Page::parse(bytes.to_vec(), "c") {
        let mut rest = &*text;
        for record in page.records() {
            let at = rest.find(record.json).unwrap();
            rest = &rest[at + record.json.len()..];
            serde_json::from_str::<&RawValue>(record.json).unwrap();
            let _ = (record.timestamp(), record.event_id());
        }
        if let Ok(body) = serde_json::from_str::<Value>(&text) {
            let rows = |member: &str| body[member].as_array().map_or(0, Vec::len);
            assert_eq!(page.len(), rows("data") + rows("resultData"));
            let cursor = body["endCursor"].as_str().filter(|it| !it.is_empty());
            assert_eq!(page.end_cursor.as_deref(), cursor);
        }
        assert!(page.is_empty() || page.end_cursor.is_some());
    }
}

/// No secret survives, in whatever words a server repeats it, and no long part of it. The first line of the bytes is
/// the secret, the others are what stands around it.
pub fn secret(bytes: &[u8]) {
    /// A shorter text is found in innocent words.
    const SHORTEST: usize = 4;
    /// So many bytes in a row are known as a part, if so many of them differ.
    const PART: usize = 12;
    const DIFFERENT: usize = 6;
    let text = String::from_utf8_lossy(bytes);
    let (plain, around) = text.split_once('\n').unwrap_or((&text, ""));
    let plain = plain.trim();
    // What is shown instead of a secret has stars itself, and the lines around a key are none.
    if plain.len() < SHORTEST || plain.contains('*') || plain.contains("-----BEGIN ") {
        return;
    }
    let secret = Secret::new(plain.to_owned());
    let parts: HashSet<&[u8]> = plain
        .as_bytes()
        .windows(PART)
        .filter(|part| part.iter().collect::<HashSet<_>>().len() >= DIFFERENT)
        .collect();
    let (before, after) = around.split_at(around.floor_char_boundary(around.len() / 2));
    let check = |repeated: &str| {
        let shown = redact(&format!("{before} {repeated} {after}")).into_owned();
        let part = shown.as_bytes().windows(PART).find(|it| parts.contains(it));
        assert!(part.is_none(), "{plain} is shown by {shown}");
        shown
    };
    for spelling in spellings(plain) {
        let shown = check(&spelling);
        assert!(!shown.contains(&spelling), "{spelling} in {shown}");
        assert!(!shown.contains(plain), "{plain} in {shown}");
    }
    let (first, last) = plain.split_at(plain.floor_char_boundary(plain.len() / 2));
    check(&format!("{first}\u{2026}"));
    check(&format!("\u{2026}{last}"));
    drop(secret);
}

/// A text as servers repeat it: as it is, in JSON, in addresses and forms, in XML and HTML, and in two of them.
fn spellings(text: &str) -> Vec<String> {
    let json = |text: &str| {
        let quoted = serde_json::to_string(text).unwrap();
        quoted[1..quoted.len() - 1].to_owned()
    };
    let escaped = |text: &str, plain: fn(char) -> bool, upper: bool| {
        let units = |c: char| {
            let mut units = [0; 2];
            let units = c.encode_utf16(&mut units).iter();
            let hex = units.map(|unit| match upper {
                true => format!("\\u{unit:04X}"),
                false => format!("\\u{unit:04x}"),
            });
            hex.collect::<String>()
        };
        let shown = text.chars().map(|c| match plain(c) {
            true => c.to_string(),
            false => units(c),
        });
        shown.collect::<String>()
    };
    let percent = |text: &str, plain: &str, upper: bool| {
        let shown = text.bytes().map(|byte| match char::from(byte) {
            c if c.is_ascii_alphanumeric() || plain.contains(c) => c.to_string(),
            _ if upper => format!("%{byte:02X}"),
            _ => format!("%{byte:02x}"),
        });
        shown.collect::<String>()
    };
    let xml = |text: &str, quote: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let text = text.replace('>', "&gt;").replace('"', "&quot;");
        text.replace('\'', quote)
    };
    let is_letter = |c: char| c.is_ascii_alphanumeric();
    let is_plain = |c: char| c.is_ascii() && !"<>&'\"+\\`".contains(c) && !c.is_ascii_control();
    vec![
        text.to_owned(),
        json(text),
        json(text).replace('/', "\\/"),
        json(&json(text)),
        escaped(text, is_plain, true),
        escaped(text, is_letter, false),
        percent(text, "", true),
        percent(text, "", false),
        percent(text, "-_.!~'()", true),
        percent(text, " ", true).replace(' ', "+"),
        percent(&json(text), "", true),
        xml(text, "&#39;"),
        xml(text, "&#x27;"),
        xml(&xml(text, "&apos;"), "'"),
        json(&xml(text, "&apos;")),
    ]
}

/// A timestamp is the moment that another reader sees, in decimal seconds with the digits of its fraction.
pub fn timestamp(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let Some(time) = Timestamp::parse(&text) else {
        return;
    };
    let mut appended = Vec::new();
    time.append_to(&mut appended);
    let shown = time.to_string();
    assert_eq!(shown.as_bytes(), appended);
    let (seconds, fraction) = shown.split_once('.').unwrap_or((&shown, ""));
    assert_eq!(seconds.parse(), Ok(time.seconds()));
    assert!(fraction.len() <= 9);
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    assert!(is_digits(seconds) && is_digits(fraction));
    assert!(text.contains(&format!(".{fraction}")) || fraction.is_empty());
    // It knows no leap seconds to be seconds of their own, and no more than nine digits.
    if let Ok(other) = DateTime::parse_from_rfc3339(&text)
        && text.get(17..19).is_none_or(|second| second != "60")
    {
        assert_eq!(time.seconds(), other.timestamp(), "{text}");
        let nanoseconds = other.timestamp_subsec_nanos();
        assert_eq!(format!("{fraction:0<9}").parse(), Ok(nanoseconds), "{text}");
    }
}

/// A base address that is accepted is encrypted or stays on this machine, leads to one host whatever is appended, and
/// is read again as it is shown.
pub fn url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(url) = BaseUrl::parse(&text) {
        assert!(url.is_https() || url.is_loopback());
        let host = url.host();
        assert!(
            url.is_loopback() || host.ends_with(".docusign.com") || host.ends_with(".docusign.net")
        );
        for path in [
            "/x",
            "/restapi/v2.1/accounts/1/users",
            "//evil.example/",
            "/../x",
        ] {
            let joined = url.join(path);
            assert_eq!(joined.host_str(), Some(host));
            assert!(joined.username().is_empty() && joined.query().is_none());
        }
        assert_eq!(BaseUrl::parse(&url.to_string()), Ok(url));
    }
    for url in [
        hec::base_url(&text).ok(),
        http::base_url(&text, PlainHttp::OnLoopback).ok(),
    ]
    .into_iter()
    .flatten()
    {
        assert!(url.scheme() == "https" || http::is_loopback(&url));
        assert!(url.has_host() && url.username().is_empty() && url.password().is_none());
        assert!(url.query().is_none() && url.fragment().is_none());
        let again = http::base_url(url.as_str(), PlainHttp::OnLoopback);
        assert_eq!(again, Ok(url));
    }
}

/// A place for log lines.
#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Sink {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
