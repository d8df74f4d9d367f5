//! The Monitor API: pages of records after a cursor, in both generations of the endpoint.
//!
//! A [`Record`] is a slice of its page, byte for byte as Docusign sent it. [`Stream`] follows the cursor until
//! Docusign has no more, at the pace that Docusign requires. Formats: Docusign's Monitor API v2.0
//! (`data`) and v3.0 descriptions (`resultData`).

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::time::Duration;

use reqwest::header::ACCEPT;
use reqwest::{Method, Url};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::client::{ApiError, BudgetSpent, CallError, Client, Refusal, Suspect, Unreadable};
use super::damaged::{TakenApart, Whole, take_apart};
use super::jwt_grant::JwtGrant;
use super::{BaseUrl, Generation};
use crate::base::clock::Timestamp;

/// The largest page that Docusign serves.
pub const MAX_LIMIT: u32 = 2000;

/// The pause before the next request when Docusign has few records.
const PAUSE: Duration = Duration::from_secs(1);

/// A page with fewer records counts as small.
const SMALL_PAGE_RECORDS: usize = 100;

/// The number of small pages in a row from which on there is a pause.
const SMALL_PAGES_WITHOUT_PAUSE: u32 = 3;

/// After this many empty pages in a row, the rest is left to the next run.
const MAX_EMPTY_PAGES: u32 = 60;

/// Most memory kept for the next page. Passing the memory of sent pages on takes a quarter off the peak (11.7 instead
/// of 15.6 MiB with pages of 2000 records, by the benchmark) and costs no time.
const MAX_SPARE_BYTES: usize = 8 * 1024 * 1024;

/// Cursors remembered to detect a loop, as hashes: more than a backfill of years has pages, in 2 MB.
const REMEMBERED_CURSORS: usize = 100_000;

/// Records of a page that are remembered to notice a repetition. The checkpoint grows by 19 bytes for each.
const REMEMBERED_RECORDS: usize = 20;

/// How much of a record's digest is remembered: enough to tell a few thousand records apart.
const FINGERPRINT_BYTES: usize = 8;

/// After this many pages in a row that only repeat records, the rest is left to the next run.
const MAX_REPEATED_PAGES: u32 = 3;

/// Most records in a page. A server that ignores `limit` may send its own largest page, but millions of tiny rows
/// would take many times the page's size in memory.
const MAX_PAGE_RECORDS: usize = 2 * MAX_LIMIT as usize;

/// Longest page, unpacked. One of 2000 records is 1 to 4 MB.
const MAX_PAGE_BYTES: u64 = 256 * 1024 * 1024;

/// Longest body that is kept to be taken apart while it is requested again: both are in memory at the same time.
const MAX_DAMAGED_BYTES: usize = 32 * 1024 * 1024;

/// Pages that are longer than this are looked at for their depth before they are parsed.
const USUAL_PAGE_BYTES: usize = 16 * 1024 * 1024;

/// Most brackets that may be open at a time in a long page; records have a depth of five.
const MAX_DEPTH: usize = 128;

/// Longest cursor. It has to fit into the next request's address, where servers take 8 kB, and a byte may become
/// three there; Docusign's have about 60 characters.
pub const MAX_CURSOR_BYTES: usize = 1024;

/// The part of an unknown member's name that is passed on.
const MAX_NAME_CHARS: usize = 40;

const ACTION: &str = "fetch";

/// One answer of the stream.
#[derive(Debug)]
pub struct Page {
    body: String,
    records: Vec<Range<usize>>,
    /// Which records came as something that is no JSON, by their number.
    damaged: Vec<usize>,
    /// The cursor that was sent.
    pub cursor: String,
    /// The cursor for the next page. `None` when Docusign named none, which it may only on an empty page.
    pub end_cursor: Option<String>,
    /// An `endCursor` that leads back to an earlier page, so that it is not followed: this page's own cursor takes its
    /// place.
    pub leads_back: Option<String>,
    /// What is remembered once this page has been delivered.
    pub trail: Trail,
    /// How many records before the first one were left out, because they had been delivered just before.
    pub repeated: usize,
    /// From the request to the last byte of the answer, retries included.
    pub request_time: Duration,
}

/// One event of Docusign's, exactly as its page contains it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The text, as Docusign sent it.
    pub json: &'a str,
    /// Whether it is JSON; only a damaged record is not.
    pub is_json: bool,
}

impl Record<'_> {
    /// The record's own `timestamp`, if it has one that can be read.
    #[must_use]
    pub fn timestamp(&self) -> Option<Timestamp> {
        self.member("timestamp", |value| {
            // .NET writes the plus sign of an offset as an escape.
            let text: Cow<'_, str> = match value.contains('\\') {
                true => Cow::Owned(serde_json::from_str(value).ok()?),
                false => Cow::Borrowed(value.strip_prefix('"')?.strip_suffix('"')?),
            };
            Timestamp::parse(&text)
        })
    }

    /// The record's `eventId`, if it has one.
    #[must_use]
    pub fn event_id(&self) -> Option<String> {
        self.member("eventId", |value| serde_json::from_str(value).ok())
    }

    /// The member `name`, which `read` gets as JSON.
    fn member<T>(&self, name: &str, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let mut found = None;
        let mut is_there = false;
        peek(self.json, |key, value| {
            is_there = key == name;
            if is_there {
                found = read(value.get());
            }
            is_there
        });
        if is_there || self.is_json {
            return found;
        }
        // It may come after the damage.
        let (_, after) = self.json.split_once(&format!("\"{name}\""))?;
        let value = after.trim_start().strip_prefix(':')?;
        let mut values = serde_json::Deserializer::from_str(value).into_iter::<&RawValue>();
        read(values.next()?.ok()?.get())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outer<'a> {
    #[serde(borrow, default)]
    data: Member<Rows<'a>>,
    #[serde(borrow, default)]
    result_data: Member<Rows<'a>>,
    #[serde(borrow, default)]
    end_cursor: Member<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error_code: Option<&'a RawValue>,
}

/// A member that may be absent, or null.
#[derive(Default)]
enum Member<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Member<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Option::deserialize(deserializer)?;
        Ok(value.map_or(Self::Null, Self::Value))
    }
}

impl<T> Member<T> {
    fn value(self) -> Option<T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

/// A page's records, of which no more than [`MAX_PAGE_RECORDS`] are kept; the others are counted.
struct Rows<'a> {
    rows: Vec<&'a RawValue>,
    count: usize,
}

impl<'de: 'a, 'a> Deserialize<'de> for Rows<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Rows<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Rows<'de>, A::Error> {
                let (mut rows, mut count) = (Vec::new(), 0);
                while let Some(row) = list.next_element()? {
                    count += 1;
                    if count <= MAX_PAGE_RECORDS {
                        rows.push(row);
                    }
                }
                Ok(Rows { rows, count })
            }
        }

        deserializer.deserialize_seq(List)
    }
}

fn require_few(records: usize) -> Result<(), String> {
    if records > MAX_PAGE_RECORDS {
        return Err(format!(
            "the page has {records} records, and none may have more than {MAX_PAGE_RECORDS}"
        ));
    }
    Ok(())
}

fn require_cursor(end_cursor: Option<&str>, records: usize) -> Result<(), String> {
    if end_cursor.is_none() && records > 0 {
        return Err("the page has records but no endCursor".to_owned());
    }
    Ok(())
}

/// The parser keeps a byte for each open bracket of what it skips: for a page that consists of brackets, as much memory
/// again as the page has.
fn require_flat(json: &str) -> Result<(), String> {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match (is_text, byte) {
            _ if is_escaped => is_escaped = false,
            (true, b'\\') => is_escaped = true,
            (_, b'"') => is_text = !is_text,
            (false, b'[' | b'{') => depth += 1,
            (false, b']' | b'}') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!(
                "the body has more than {MAX_DEPTH} brackets open at a time"
            ));
        }
    }
    Ok(())
}

/// The cursor in a page's `endCursor`; an empty one counts as none.
pub(super) fn end_cursor(value: &RawValue) -> Result<Option<String>, String> {
    let json = value.get();
    if json.len() > MAX_CURSOR_BYTES {
        return Err(format!(
            "its endCursor is {} bytes long, and none may be longer than {MAX_CURSOR_BYTES}",
            json.len()
        ));
    }
    if !json.starts_with('"') {
        return Err("its endCursor is not a text in quotes".to_owned());
    }
    let cursor: String = serde_json::from_str(json)
        .map_err(|_| "its endCursor is a text that cannot be read".to_owned())?;
    Ok(Some(cursor).filter(|cursor| !cursor.is_empty()))
}

/// Why a body is not taken for a page.
#[derive(Debug)]
pub enum NoPage {
    /// It is no JSON. It is given back, because single records may be the reason.
    NotJson(String, Vec<u8>),
    /// It is JSON, but not what Docusign describes: a gateway may have answered.
    OtherJson(String),
    /// It is a page of Docusign's, and cannot be used.
    Unusable(String),
}

impl fmt::Display for NoPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotJson(problem, _) | Self::OtherJson(problem) | Self::Unusable(problem) => {
                f.write_str(problem)
            }
        }
    }
}

impl From<String> for NoPage {
    fn from(problem: String) -> Self {
        Self::OtherJson(problem)
    }
}

impl Page {
    /// Reads the body of an answer to `cursor`. A page is accepted whole or not at all.
    ///
    /// # Errors
    /// The body is not such a page.
    pub fn parse(body: Vec<u8>, cursor: &str) -> Result<Self, NoPage> {
        let body = String::from_utf8(body).map_err(|error| {
            NoPage::NotJson("the body is not UTF-8".to_owned(), error.into_bytes())
        })?;
        if body.len() > USUAL_PAGE_BYTES {
            require_flat(&body)?;
        }
        let outer: Outer<'_> = match serde_json::from_str(&body) {
            Ok(outer) => outer,
            Err(error) => {
                let problem = format!("the body is not a page of records ({})", place(&error));
                return Err(match error.is_data() {
                    true => NoPage::OtherJson(problem),
                    false => NoPage::NotJson(problem, body.into_bytes()),
                });
            }
        };
        let named = |error: Option<&RawValue>| error.is_some_and(|error| error.get() != "\"\"");
        if named(outer.error) || named(outer.error_code) {
            return Err("the page has an error member".to_owned().into());
        }
        let is_page = !matches!(
            (&outer.data, &outer.result_data, &outer.end_cursor),
            (Member::Absent, Member::Absent, Member::Absent)
        );
        let Rows { rows, count } = match (outer.data.value(), outer.result_data.value()) {
            (Some(data), None) => data,
            (None, Some(data)) => data,
            (None, None) => match rows_elsewhere(&body) {
                // Passed over as empty, they would be lost without a word.
                Some(member) => {
                    return Err(format!(
                        "the page has a list of objects in {member:?}, and neither data nor resultData"
                    )
                    .into());
                }
                None if is_page => Rows {
                    rows: Vec::new(),
                    count: 0,
                },
                None => {
                    return Err(
                        "the body has neither data nor resultData nor endCursor, so it is no page"
                            .to_owned()
                            .into(),
                    );
                }
            },
            (Some(data), Some(other)) if other.count == 0 => data,
            (Some(data), Some(other)) if data.count == 0 => other,
            (Some(_), Some(_)) => {
                return Err("the page has both data and resultData".to_owned().into());
            }
        };
        require_few(count).map_err(NoPage::Unusable)?;
        let end_cursor = match outer.end_cursor.value() {
            Some(value) => end_cursor(value).map_err(NoPage::Unusable)?,
            None => None,
        };
        require_cursor(end_cursor.as_deref(), rows.len())?;
        let start = body.as_ptr().addr();
        let records = rows
            .into_iter()
            .map(|row| {
                let from = row.get().as_ptr().addr() - start;
                from..from + row.get().len()
            })
            .collect();
        Ok(Self {
            records,
            damaged: Vec::new(),
            cursor: cursor.to_owned(),
            end_cursor,
            leads_back: None,
            trail: Trail::default(),
            repeated: 0,
            request_time: Duration::ZERO,
            body,
        })
    }

    /// Takes a page apart that is no JSON because of single records.
    ///
    /// # Errors
    /// The body is no page, or its records cannot be told apart.
    pub(super) fn take_apart(body: &[u8], cursor: &str) -> Result<Self, Whole> {
        let TakenApart {
            body,
            records,
            damaged,
            end_cursor,
        } = take_apart(body)?;
        let page = Self {
            body,
            records,
            damaged,
            cursor: cursor.to_owned(),
            end_cursor,
            leads_back: None,
            trail: Trail::default(),
            repeated: 0,
            request_time: Duration::ZERO,
        };
        let is_usable = require_few(page.len())
            .and_then(|()| require_cursor(page.end_cursor.as_deref(), page.len()));
        match is_usable {
            Ok(()) => Ok(page),
            Err(_) => Err(Whole::NoPage),
        }
    }

    /// The records in Docusign's order.
    pub fn records(&self) -> impl DoubleEndedIterator<Item = Record<'_>> + ExactSizeIterator {
        let records = self.records.iter().enumerate();
        records.map(|(number, range)| self.record(number, range))
    }

    /// The records that came damaged, each with its number on the page, from 0.
    pub fn damaged(&self) -> impl ExactSizeIterator<Item = (usize, Record<'_>)> {
        self.damaged.iter().map(|&number| {
            let range = self.records.get(number).cloned().unwrap_or_default();
            (number, self.record(number, &range))
        })
    }

    fn record(&self, number: usize, range: &Range<usize>) -> Record<'_> {
        let json = self.body.get(range.clone()).unwrap_or_default();
        // What JSON forbids has been rewritten, which may have been all that was wrong.
        let is_json = self.damaged.binary_search(&number).is_err()
            || serde_json::from_str::<&RawValue>(json).is_ok();
        Record { json, is_json }
    }

    /// Number of records.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Size of the body, unpacked.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.body.len()
    }

    /// The page's memory, for [`Stream::reuse`].
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.body.into_bytes()
    }

    /// Takes this page for the last one: its end is not followed.
    fn stay(&mut self) {
        self.leads_back = self.end_cursor.replace(self.cursor.clone());
    }

    /// Leaves out the records at the start that `trail` remembers as delivered, and returns the trail after this page.
    fn follow(&mut self, trail: &Trail) -> Trail {
        let is_last = self.is_last();
        if !is_last && self.end_cursor.is_some() && self.end_cursor == trail.leads_back {
            self.stay();
        }
        if self.is_empty() {
            return trail.clone();
        }
        let all = self.records().rev();
        // A page that returns itself comes again as a whole, any other perhaps with what came last.
        let remembered = match self.is_last() {
            true => MAX_PAGE_RECORDS,
            false => REMEMBERED_RECORDS,
        };
        let after = Trail {
            last_records: all
                .take(remembered)
                .map(|it| fingerprint(it.json))
                .collect(),
            leads_back: self.leads_back.clone(),
        };
        self.repeated = match trail.last_records.is_empty() {
            true => 0,
            false => {
                let records = self.records();
                let known = records.take_while(|record| {
                    trail.last_records.contains(&fingerprint(record.json))
                        // Records without an identity may be alike without being the same.
                        && record.event_id().is_some()
                });
                known.count()
            }
        };
        self.records.drain(..self.repeated);
        self.damaged.retain(|number| *number >= self.repeated);
        for number in &mut self.damaged {
            *number -= self.repeated;
        }
        after
    }

    /// Whether Docusign has nothing after this page.
    fn is_last(&self) -> bool {
        self.end_cursor
            .as_ref()
            .is_none_or(|end_cursor| *end_cursor == self.cursor)
    }
}

/// A member of a page that is a list of objects, as `data` and `resultData` are.
fn rows_elsewhere(body: &str) -> Option<String> {
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(body).ok()?;
    let is_rows = |value: &RawValue| {
        let list = value.get().strip_prefix('[');
        list.is_some_and(|items| items.trim_start().starts_with('{'))
    };
    members.into_iter().find_map(|(name, value)| {
        // A page in a wrapper is none either.
        let wrapped = value.get().starts_with('{') && rows_elsewhere(value.get()).is_some();
        (is_rows(value) || wrapped).then(|| name.chars().take(MAX_NAME_CHARS).collect())
    })
}

/// Where JSON is wrong, without serde's words, which can quote the data.
fn place(error: &serde_json::Error) -> String {
    format!("{:?} error in column {}", error.classify(), error.column())
}

/// Shows the members of a JSON object to `look` until it has seen enough. That the record is sound JSON is
/// known already, so the rest of it is not read again: Docusign's records start with what is needed.
fn peek(json: &str, look: impl FnMut(&str, &RawValue) -> bool) {
    struct Peek<F>(F);

    impl<'de, F: FnMut(&str, &RawValue) -> bool> DeserializeSeed<'de> for Peek<F> {
        type Value = ();

        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_map(self)
        }
    }

    impl<'de, F: FnMut(&str, &RawValue) -> bool> Visitor<'de> for Peek<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(Name(name)) = map.next_key()? {
                let value: &RawValue = map.next_value()?;
                // Half a surrogate pair in one name is not the loss of what the other members say.
                let name = std::str::from_utf8(&name).unwrap_or_default();
                if (self.0)(name, value) {
                    return Ok(());
                }
            }
            Ok(())
        }
    }

    struct Name<'a>(Cow<'a, [u8]>);

    impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Bytes;

            impl<'de> Visitor<'de> for Bytes {
                type Value = Cow<'de, [u8]>;

                fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str("a name")
                }

                fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
                    Ok(Cow::Borrowed(bytes))
                }

                fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                    Ok(Cow::Owned(bytes.to_vec()))
                }
            }

            deserializer.deserialize_bytes(Bytes).map(Name)
        }
    }

    let mut deserializer = serde_json::Deserializer::from_str(json);
    // Stopping early is reported as an error, which here is none.
    let _ = Peek(look).deserialize(&mut deserializer);
}

/// What is remembered of a stream's last page, so that a repetition is noticed: in the same run and in the next.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trail {
    /// Fingerprints of its last records, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    last_records: Vec<String>,
    /// An `endCursor` that led back to an earlier page.
    #[serde(skip_serializing_if = "Option::is_none")]
    leads_back: Option<String>,
}

impl Trail {
    /// Whether nothing is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The same in every version of the program, because it is saved.
fn fingerprint(record: &str) -> String {
    let digest = Sha256::digest(record.as_bytes());
    let start = digest.iter().take(FINGERPRINT_BYTES);
    start.map(|byte| format!("{byte:02x}")).collect()
}

/// Whose stream is read, and from where.
#[derive(Clone, Debug)]
pub struct StreamSettings {
    /// Base address of the Monitor API.
    pub monitor_url: BaseUrl,
    /// The organization of the stream; without one, the endpoint of the older generation is used.
    pub organization_id: Option<String>,
    /// Records a page, at the most.
    pub limit: u32,
}

impl StreamSettings {
    /// The generation that the settings lead to.
    #[must_use]
    pub fn generation(&self) -> Generation {
        match self.organization_id {
            Some(_) => Generation::Organization,
            None => Generation::Dataset,
        }
    }

    fn url(&self, cursor: &str) -> Url {
        let mut url = match &self.organization_id {
            Some(id) => self
                .monitor_url
                .join(&format!("/v1/organizations/{id}/stream")),
            None => self.monitor_url.join("/api/v2.0/datasets/monitor/stream"),
        };
        url.query_pairs_mut()
            .append_pair("cursor", cursor)
            .append_pair("limit", &self.limit.to_string());
        url
    }
}

/// The Monitor API with a token.
pub struct MonitorApi {
    client: Client,
    grant: JwtGrant,
    settings: StreamSettings,
    /// Hashes of the cursors that were sent, to notice a stream that runs in circles.
    sent: HashSet<u64>,
    /// Memory of a page that is not needed any more.
    spare: Cell<Vec<u8>>,
}

impl MonitorApi {
    /// The API for one stream.
    #[must_use]
    pub fn new(client: Client, grant: JwtGrant, settings: StreamSettings) -> Self {
        Self {
            client,
            grant,
            settings,
            sent: HashSet::new(),
            spare: Cell::default(),
        }
    }

    /// The page after `cursor`, which is an `endCursor` or an ISO 8601 date-time.
    ///
    /// # Errors
    /// Docusign does not give it; the error says what to do.
    pub fn get_stream(&mut self, cursor: &str) -> Result<Page, ApiError> {
        let Self {
            client,
            grant,
            settings,
            sent,
            spare,
        } = self;
        let start = client.clock().elapsed();
        let url = settings.url(cursor);
        let last_resort = Cell::new(None);
        let read = |body| match Page::parse(body, cursor) {
            Ok(page) => match &page.end_cursor {
                Some(end) if sent.contains(&hash(end)) && end != cursor => {
                    let problem = format!("its endCursor {end} leads back to a page before");
                    last_resort.set(Some(LastResort::LeadsBack(page)));
                    Err(Unreadable::OnTheWay(problem))
                }
                _ => Ok(page),
            },
            Err(NoPage::NotJson(problem, body)) => {
                if body.len() <= MAX_DAMAGED_BYTES {
                    last_resort.set(Some(LastResort::TakeApart(body)));
                }
                Err(Unreadable::OnTheWay(problem))
            }
            Err(NoPage::OtherJson(problem)) => Err(Unreadable::OnTheWay(problem)),
            Err(NoPage::Unusable(problem)) => Err(Unreadable::ByDocusign(problem)),
        };
        let mut page = grant.with_token(|token| {
            let request = || {
                client
                    .request(Method::GET, url.clone())
                    .bearer_auth(token.expose())
                    .header(ACCEPT, "application/json")
            };
            client
                .call_into(spare.take(), ACTION, MAX_PAGE_BYTES, request, read)
                .or_else(|error| match (error, last_resort.take()) {
                    (CallError::Malformed(problem), Some(resort)) => {
                        resort.page(cursor, problem, client.remedy(Suspect::Page))
                    }
                    (error, _) => Err(error),
                })
                .map_err(|error| {
                    let host = settings.monitor_url.host();
                    ApiError::new(ACTION, host, error, |refusal| {
                        explain(client, settings, cursor, refusal)
                    })
                })
        })?;
        page.request_time = client.clock().elapsed().saturating_sub(start);
        if sent.len() == REMEMBERED_CURSORS {
            sent.clear();
        }
        sent.insert(hash(cursor));
        Ok(page)
    }
}

/// What is left to do with an answer that is not what it should be, when all attempts have brought the same.
enum LastResort {
    /// The page is sound, but its end leads back.
    LeadsBack(Page),
    /// The body is no JSON, perhaps because of single records.
    TakeApart(Vec<u8>),
}

impl LastResort {
    fn page(self, cursor: &str, problem: String, remedy: &str) -> Result<Page, CallError> {
        match self {
            Self::LeadsBack(mut page) => {
                page.stay();
                Ok(page)
            }
            Self::TakeApart(body) => Page::take_apart(&body, cursor).map_err(|whole| match whole {
                // A body that ends like one is at least not cut.
                Whole::Inseparable if body.trim_ascii_end().ends_with(b"}") => CallError::Unusable(
                    format!("{problem}, and its records cannot be told apart. {remedy}"),
                ),
                Whole::Inseparable | Whole::NoPage => CallError::Malformed(problem),
            }),
        }
    }
}

fn hash(cursor: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    cursor.hash(&mut hasher);
    hasher.finish()
}

/// Puts a refusal into words.
fn explain(client: &Client, settings: &StreamSettings, cursor: &str, refusal: &Refusal) -> String {
    let host = settings.monitor_url.host();
    let remedy = |suspect| client.remedy(suspect);
    match refusal.status {
        400 => format!(
            "Docusign ({host}) refuses the request: {refusal}. The position cursor={cursor} may be too old or damaged. {}",
            remedy(Suspect::Cursor)
        ),
        401 => format!(
            "Docusign ({host}) does not accept a token that Docusign has just issued: {refusal}. {}",
            remedy(Suspect::Hosts)
        ),
        403 => format!(
            "Docusign ({host}) denies access to the Monitor stream: {refusal}. Possible causes: the organization has no Docusign Monitor, or it was switched on only hours ago; the user is neither an Organization Administrator nor a Security Reports Administrator; the user administers more than one organization; the organization ID is another organization's; consent is missing"
        ),
        404 => format!(
            "Docusign ({host}) has no such stream: {refusal}. {}",
            remedy(Suspect::Stream)
        ),
        300..400 => format!(
            "Docusign ({host}) answered with a redirect ({refusal}), which is not followed because it would take the token along. {}",
            remedy(Suspect::WayToMonitorServer)
        ),
        200..300 => format!(
            "Docusign ({host}) answered {refusal} instead of a page of records. {}. If the address is right, Docusign's support can find the reason by the trace token",
            remedy(Suspect::WayToMonitorServer)
        ),
        402 => format!(
            "Docusign ({host}) refuses the request: {refusal}. Check with Docusign that the plan includes Monitor and is paid"
        ),
        405..=499 => format!(
            "Docusign ({host}) refuses the request: {refusal}. {}. A proxy or gateway may have answered instead",
            remedy(Suspect::WayToMonitorServer)
        ),
        _ => format!(
            "Docusign ({host}) refuses the request: {refusal}. A proxy or gateway may have answered instead"
        ),
    }
}

/// How a stream ended for this run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Docusign has no more: it answered with the cursor that was sent.
    CaughtUp,
    /// An empty page named no cursor, which is taken for having no more.
    NoCursor,
    /// One empty page after the other: the rest is left to the next run.
    OnlyEmptyPages,
    /// One page after the other with records that had been delivered just before: the rest is left to the next run.
    OnlyRepeatedPages,
    /// The calls that Docusign allows are used up, and will be renewed.
    BudgetSpent {
        /// When there will be more.
        renewed_in: Duration,
    },
    /// The cursor of the last page leads back to an earlier one, so it was not followed.
    LeadsBack,
}

impl End {
    /// Whether everything that Docusign had was read.
    #[must_use]
    pub fn is_caught_up(self) -> bool {
        match self {
            Self::CaughtUp | Self::NoCursor => true,
            Self::OnlyEmptyPages
            | Self::OnlyRepeatedPages
            | Self::LeadsBack
            | Self::BudgetSpent { .. } => false,
        }
    }
}

/// What comes next in a stream.
#[derive(Debug)]
pub enum Next {
    /// A page.
    Page(Box<Page>),
    /// No more pages for this run.
    End(End),
}

/// Follows the stream page by page.
pub struct Stream {
    api: MonitorApi,
    cursor: String,
    trail: Trail,
    small_pages: u32,
    empty_pages: u32,
    repeated_pages: u32,
    pause: bool,
    end: Option<End>,
}

impl Stream {
    /// The stream after `cursor`, before which came what `trail` remembers.
    #[must_use]
    pub fn after(api: MonitorApi, cursor: String, trail: Trail) -> Self {
        Self {
            api,
            cursor,
            trail,
            small_pages: 0,
            empty_pages: 0,
            repeated_pages: 0,
            pause: false,
            end: None,
        }
    }

    /// Takes the memory of a page back for the next one, unless it was extraordinarily large.
    pub fn reuse(&mut self, buffer: Vec<u8>) {
        if buffer.capacity() <= MAX_SPARE_BYTES {
            self.api.spare.set(buffer);
        }
    }

    /// The next page, or how the stream ended.
    ///
    /// # Errors
    /// Docusign refuses the page; the error says what to do.
    pub fn next_page(&mut self) -> Result<Next, ApiError> {
        if let Some(end) = self.end {
            return Ok(Next::End(end));
        }
        if let Err(BudgetSpent { renewed_in }) = self.api.client.wait_for_budget() {
            let end = End::BudgetSpent { renewed_in };
            self.end = Some(end);
            return Ok(Next::End(end));
        }
        if self.pause {
            self.api.client.clock().sleep(PAUSE);
        }
        let mut page = self.api.get_stream(&self.cursor)?;
        self.trail = page.follow(&self.trail);
        page.trail = self.trail.clone();
        self.small_pages = match page.len() {
            0..SMALL_PAGE_RECORDS => self.small_pages + 1,
            _ => 0,
        };
        self.empty_pages = match page.len() {
            0 => self.empty_pages + 1,
            _ => 0,
        };
        self.repeated_pages = match page.repeated > 0 && page.is_empty() {
            true => self.repeated_pages + 1,
            false => 0,
        };
        self.pause = page.is_empty() || self.small_pages >= SMALL_PAGES_WITHOUT_PAUSE;
        if page.is_last() {
            self.end = Some(match (&page.end_cursor, &page.leads_back) {
                (_, Some(_)) => End::LeadsBack,
                (Some(_), None) => End::CaughtUp,
                (None, None) => End::NoCursor,
            });
        } else if self.repeated_pages >= MAX_REPEATED_PAGES {
            self.end = Some(End::OnlyRepeatedPages);
        } else if self.empty_pages >= MAX_EMPTY_PAGES {
            self.end = Some(End::OnlyEmptyPages);
        }
        if let Some(end_cursor) = &page.end_cursor {
            self.cursor.clone_from(end_cursor);
        }
        Ok(Next::Page(Box::new(page)))
    }
}

#[cfg(test)]
mod tests {
    use super::{
        MAX_CURSOR_BYTES, MAX_DEPTH, MAX_PAGE_RECORDS, Page, Record, StreamSettings,
        USUAL_PAGE_BYTES, require_flat,
    };
    use crate::docusign::BaseUrl;

    fn page(body: &str) -> Result<Page, String> {
        Page::parse(body.as_bytes().to_vec(), "c0").map_err(|no_page| no_page.to_string())
    }

    #[test]
    fn records_are_the_bytes_that_docusign_sent() {
        let first =
            r#"{"timestamp":"2020-04-07T18:23:02.50Z", "n":1.50e+3,"b":"ä\u00e4","eventId":"e1"}"#;
        let second = "{\n \"eventId\" : \"e\\u0032\" }";
        for body in [
            format!(r#"{{"endCursor":"c1","data":[{first}, {second},3,"x",null]}}"#),
            format!(
                r#"{{"resultData":[{first},{second},3,"x",null],"more":{{}},"endCursor":"c1"}}"#
            ),
            format!(r#"{{"resultData":[],"data":[{first},{second},3,"x",null],"endCursor":"c1"}}"#),
        ] {
            let page = page(&body).unwrap();
            let records: Vec<_> = page.records().map(|record| record.json).collect();
            assert_eq!(records, [first, second, "3", "\"x\"", "null"]);
            let times: Vec<_> = page.records().map(|record| record.timestamp()).collect();
            assert_eq!(times[0].unwrap().to_string(), "1586283782.50");
            assert_eq!(times[1..], [None; 4]);
            let ids: Vec<_> = page.records().map(|record| record.event_id()).collect();
            assert_eq!(ids[0].as_deref(), Some("e1"));
            assert_eq!(ids[1].as_deref(), Some("e2"));
            assert_eq!(ids[2..], [None, None, None]);
            assert_eq!(page.end_cursor.as_deref(), Some("c1"));
        }
    }

    #[test]
    fn an_empty_page_may_name_no_data_and_no_cursor() {
        for (body, end_cursor) in [
            (r#"{"endCursor":"c1"}"#, Some("c1")),
            (r#"{"endCursor":"c1","data":null}"#, Some("c1")),
            (r#"{"resultData":[],"endCursor":null}"#, None),
            (r#"{"data":[],"endCursor":""}"#, None),
            (
                r#"{"endCursor":"c1","data":null,"warnings":["w"],"more":[]}"#,
                Some("c1"),
            ),
        ] {
            let page = page(body).unwrap();
            assert!(page.is_empty());
            assert_eq!(page.end_cursor.as_deref(), end_cursor);
        }
    }

    #[test]
    fn what_is_no_page_is_refused_without_quoting_it() {
        for body in [
            "",
            "<html>secret</html>",
            r#"{"data":[{"a":1}],"endCursor":"c1""#,
            r#"{"data":[{"a":1}]}"#,
            r#"{"data":[{"a":1}],"endCursor":null}"#,
            r#"{"data":{"secret":1},"endCursor":"c1"}"#,
            r#"{"data":"secret","endCursor":"c1"}"#,
            r#"{"data":[{"a":1}],"resultData":[{"a":1}],"endCursor":"c1"}"#,
            r#"{"data":[{"a":"raw
line break"}],"endCursor":"c1"}"#,
            r#"{"events":[ {"a":"secret"}],"endCursor":"c1"}"#,
            r#"{"Data":[{"a":1}],"warnings":[],"endCursor":"c1"}"#,
            r#"[]"#,
            "null",
            "{}",
            r#"{"errorCode":"secret","message":"m"}"#,
            r#"{"data":[],"endCursor":"c1","errorCode":"secret"}"#,
            r#"{"error":{"secret":1},"endCursor":"c1"}"#,
            r#"{"result":{"data":[{"a":"secret"}],"endCursor":"c1"}}"#,
            r#"{"page":{"data":[{"a":"secret"}]},"endCursor":"c1"}"#,
        ] {
            let error = page(body).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
        assert!(Page::parse(b"{\"endCursor\":\"\xff\"}".to_vec(), "c0").is_err());
    }

    /// A longer one would be saved and then refused in every request of every run.
    #[test]
    fn a_cursor_that_cannot_be_sent_again_is_refused_with_the_reason() {
        let end_cursor = |cursor: &str| page(&format!(r#"{{"data":[],"endCursor":{cursor}}}"#));
        let longest = "c".repeat(MAX_CURSOR_BYTES - 2);
        assert!(end_cursor(&format!("\"{longest}\"")).is_ok());
        let error = end_cursor(&format!("\"{longest}c\"")).unwrap_err();
        assert!(error.contains("1025 bytes long"), "{error}");
        for cursor in ["7", "true", "{}", r#""a\ud800""#] {
            let error = end_cursor(cursor).unwrap_err();
            assert!(error.contains("endCursor"), "{cursor}: {error}");
        }
    }

    /// `[{},{},…]` of 237 kB, packed, took 1.5 GB.
    #[test]
    fn a_page_with_far_more_records_than_any_limit_is_refused() {
        let rows = |n: usize| {
            let rows = vec!["{}"; n].join(",");
            page(&format!(r#"{{"data":[{rows}],"endCursor":"c1"}}"#))
        };
        assert_eq!(rows(MAX_PAGE_RECORDS).unwrap().len(), MAX_PAGE_RECORDS);
        let error = rows(MAX_PAGE_RECORDS + 1).unwrap_err();
        assert!(error.contains("4001 records"), "{error}");
    }

    #[test]
    fn a_timestamp_is_unescaped_before_it_is_read() {
        let json = r#"{"timestamp":"2020-04-07T20:23:02\u002B02:00"}"#;
        let time = Record {
            json,
            is_json: true,
        }
        .timestamp();
        assert_eq!(time.unwrap().seconds(), 1_586_283_782);
    }

    /// The record went out without its time.
    /// The parser would keep a byte for each of them.
    #[test]
    fn a_long_page_of_brackets_is_refused_before_it_is_parsed() {
        let deep = "[".repeat(USUAL_PAGE_BYTES + 1);
        let error = page(&deep).unwrap_err();
        assert!(error.contains("128 brackets"), "{error}");
        let level = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        let flat = [&level, r#""[[{\"[[""#, &level].concat().repeat(3);
        assert_eq!(require_flat(&flat), Ok(()));
        assert!(require_flat(&format!("[{level}]")).is_err());
    }

    #[test]
    fn half_a_surrogate_pair_in_a_members_name_costs_no_other_member() {
        let json = r#"{"a\ud800":1,"timestamp":"2020-04-07T18:23:02Z","eventId":"e"}"#;
        let record = Record {
            json,
            is_json: true,
        };
        assert_eq!(record.timestamp().unwrap().seconds(), 1_586_283_782);
        assert_eq!(record.event_id().as_deref(), Some("e"));
    }

    #[test]
    fn only_a_text_that_can_be_read_is_a_timestamp() {
        for json in [
            r#"{"timestamp":1586283782}"#,
            r#"{"timestamp":null}"#,
            r#"{"timestamp":""}"#,
            r#"{"data":{"timestamp":"2020-04-07T18:23:02Z"}}"#,
            "[]",
        ] {
            assert_eq!(
                Record {
                    json,
                    is_json: true,
                }
                .timestamp(),
                None,
                "{json}"
            );
        }
        for json in [
            r#"{"a":[1,{"b":"}"}],"timestamp":"2020-04-07T18:23:02Z","z":1}"#,
            r#"{"timestamp":"2020-04-07T20:23:02\u002B02:00"}"#,
            r#"{"\ud800":1,"timestamp":"2020-04-07T18:23:02Z"}"#,
            r#"{"a":"\ud800","timestamp":"2020-04-07T18:23:02Z"}"#,
        ] {
            let time = Record {
                json,
                is_json: true,
            }
            .timestamp();
            assert_eq!(
                time.map(|time| time.seconds()),
                Some(1_586_283_782),
                "{json}"
            );
        }
    }

    #[test]
    fn the_generation_decides_the_path_and_the_cursor_is_encoded() {
        let mut settings = StreamSettings {
            monitor_url: BaseUrl::parse("https://lens.docusign.net").unwrap(),
            organization_id: None,
            limit: 2000,
        };
        assert_eq!(
            settings.url("a b&c").as_str(),
            "https://lens.docusign.net/api/v2.0/datasets/monitor/stream?cursor=a+b%26c&limit=2000"
        );
        settings.organization_id = Some("o1".to_owned());
        assert_eq!(
            settings.url("2026-01-01T00:00:00Z").as_str(),
            "https://lens.docusign.net/v1/organizations/o1/stream?cursor=2026-01-01T00%3A00%3A00Z&limit=2000"
        );
    }
}
