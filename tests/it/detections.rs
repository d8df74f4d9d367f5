//! The saved searches `Docusign Detection - …`, computed on sample events: records as Docusign sends them go through
//! props.conf and the lookups, and then through the search itself. Each detection has events that must be found and
//! events that come close and must not; both stand in tests/fixtures/detections.json.
//!
//! What this cannot show is how a real Splunk takes the searches: `support::spl` says what it knows of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{LazyLock, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value, json};

use crate::knowledge::check_search;
use support::conf::{collections, conf, conf_file, macros, read, setting, stanza, table};
use support::search_time::SearchTime;
use support::spl::{Macros, Row, Search, World};
use support::week;

/// The columns that every detection's rows begin with.
const FIRST_COLUMNS: [&str; 8] = [
    "_time",
    "severity",
    "mitre_technique",
    "actor",
    "user",
    "src",
    "account_name",
    "finding",
];

/// The words for `severity`, each with its number in `alert.severity`.
const SEVERITIES: [(&str, &str); 4] = [
    ("low", "2"),
    ("medium", "3"),
    ("high", "4"),
    ("critical", "5"),
];

/// Macros that say nothing about what counts: where the events are, how people are shown, how a row is shortened and
/// kept. Those that read a lookup have a test of their own.
const PLACES: [&str; 13] = [
    "ds_monitor_no_service_users",
    "ds_monitor_no_allowed_addresses",
    "ds_monitor_no_allowed_countries",
    "ds_monitor_index",
    "ds_monitor_people",
    "ds_monitor_events",
    "ds_monitor_first_values(2)",
    "ds_monitor_size(1)",
    "ds_monitor_finding(1)",
    "ds_monitor_finding(2)",
    "ds_monitor_client",
    "ds_monitor_chain",
    "ds_monitor_remember",
];

static COLLECTIONS: LazyLock<BTreeSet<String>> = LazyLock::new(collections);

struct Detection {
    name: String,
    settings: Vec<(String, String)>,
}

impl Detection {
    fn all() -> Vec<Self> {
        let named = conf("savedsearches")
            .into_iter()
            .filter(|(name, _)| name.starts_with("Docusign Detection - "));
        named
            .map(|(name, settings)| Self { name, settings })
            .collect()
    }

    fn get(&self, key: &str) -> &str {
        let found = setting(&self.settings, key);
        found.unwrap_or_else(|| panic!("{} has no {key}", self.name))
    }

    fn parse(&self, macros: &Macros) -> Search {
        let parsed = Search::parse(self.get("search"), macros);
        parsed.unwrap_or_else(|what| panic!("{}: {what}", self.name))
    }

    fn run(&self, macros: &Macros, past: &Past, now: DateTime<Utc>) -> Vec<Row> {
        self.run_and_write(macros, past, now).0
    }

    /// The rows, and what is written into the lookups.
    fn run_and_write(&self, macros: &Macros, past: &Past, now: DateTime<Utc>) -> (Vec<Row>, Rows) {
        let setting = |key| setting(&self.settings, key).unwrap_or_default().to_owned();
        let world = World {
            now: now.timestamp(),
            events: past.events.clone(),
            lookups: past.lookups.clone(),
            multiple: ["ds_seen_of_user".to_owned()].into(),
            exact: COLLECTIONS.clone(),
            earliest: setting("dispatch.earliest_time"),
            latest: setting("dispatch.latest_time"),
            index_earliest: setting("dispatch.index_earliest"),
            index_latest: setting("dispatch.index_latest"),
            ..World::default()
        };
        let found = self.parse(macros).run(&world);
        let found = found.unwrap_or_else(|what| panic!("{}: {what}", self.name));
        (found, world.written.into_inner())
    }

    /// How much of the past a run reads: of what arrived, or of what happened.
    fn window(&self) -> TimeDelta {
        let bound = setting(&self.settings, "dispatch.index_earliest")
            .unwrap_or_else(|| self.get("dispatch.earliest_time"));
        let bound = bound.strip_prefix('-').unwrap();
        length(bound.split_once('@').map_or(bound, |(length, _)| length))
    }

    fn throttle_fields(&self) -> Vec<&str> {
        self.get("alert.suppress.fields").split(',').collect()
    }

    /// The time between two runs: all its hours and minutes are the same time apart.
    fn interval(&self) -> TimeDelta {
        let cron: Vec<&str> = self.get("cron_schedule").split(' ').collect();
        let numbers = |part: &str, all: i64| -> Vec<i64> {
            if part == "*" {
                return (0..all).collect();
            }
            part.split(',')
                .map(|number| number.parse().unwrap())
                .collect()
        };
        assert_eq!(cron[2..], ["*", "*", "*"], "{}", self.name);
        let mut runs = vec![];
        for hour in numbers(cron[1], 24) {
            for minute in numbers(cron[0], 60) {
                runs.push(hour * 60 + minute);
            }
        }
        runs.push(runs[0] + 24 * 60);
        let gaps: BTreeSet<i64> = runs.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // One minute more or less gives way to another search.
        let longest = gaps.last().unwrap();
        assert!(
            longest - gaps.first().unwrap() <= 2,
            "{}: {gaps:?}",
            self.name
        );
        TimeDelta::minutes(*longest)
    }
}

/// Rows by the lookup that they are in.
type Rows = Vec<(String, Row)>;

/// The events that are indexed, and what stands in the lookups.
#[derive(Clone)]
struct Past {
    events: Vec<Row>,
    lookups: BTreeMap<String, Vec<Row>>,
}

impl Past {
    /// Writes rows as the KV store does: a row takes the place of the one with its key.
    fn write(&mut self, written: &Rows) {
        for (lookup, row) in written {
            let columns = table(lookup).0;
            let names = match lookup.as_str() {
                "ds_seen" => vec!["ds_seen", "ds_seen_of_user"],
                other => vec![other],
            };
            for name in names {
                let rows = self.lookups.get_mut(name).unwrap();
                rows.retain(|known| known["_key"] != row["_key"]);
                let mut row = row.clone();
                row.retain(|field, _| columns.contains(field));
                rows.push(row);
            }
        }
    }

    /// What the hourly search remembers of these events, if it ran at this time and had read all that was indexed.
    fn remember(&mut self, now: DateTime<Utc>) {
        let search = saved_search("Docusign Monitor - Remember the past");
        let (_, written) = search.run_and_write(&macros(), self, now);
        self.write(&written);
    }
}

fn saved_search(name: &str) -> Detection {
    Detection {
        name: name.to_owned(),
        settings: stanza(&conf("savedsearches"), name),
    }
}

/// The samples, and what they have in common.
struct Samples {
    text: Value,
    search_time: SearchTime,
    now: DateTime<Utc>,
    are_people_known: bool,
}

impl Samples {
    fn read() -> Self {
        let samples = Self::without_people();
        let people = samples.text["people"].as_object().unwrap().values();
        // A person without a name is one that the lookup does not know.
        let known: Vec<_> = people
            .filter(|person| person.get("user_email").is_some())
            .map(cells)
            .collect();
        let search_time = known.iter().fold(samples.search_time, |search_time, row| {
            search_time.with_row("ds_users", row)
        });
        Self {
            search_time,
            are_people_known: true,
            ..samples
        }
    }

    /// The samples before the first refresh: the table of users is as shipped.
    fn without_people() -> Self {
        let text: Value = serde_json::from_str(&read("tests/fixtures/detections.json")).unwrap();
        let mut search_time = SearchTime::read();
        for account in text["accounts"].as_array().unwrap() {
            search_time = search_time.with_row("ds_accounts", &cells(account));
        }
        for profile in text["profiles"].as_array().unwrap() {
            search_time = search_time.with_row("ds_profiles", &cells(profile));
        }
        let now = text["now"].as_str().unwrap().parse().unwrap();
        Self {
            text: text.clone(),
            search_time,
            now,
            are_people_known: false,
        }
    }

    fn of(&self, detection: &Detection) -> &Map<String, Value> {
        let samples = self.text["detections"].get(&detection.name);
        let samples = samples.unwrap_or_else(|| panic!("{} has no samples", detection.name));
        samples.as_object().unwrap()
    }

    fn user_id(&self, person: &Value) -> Value {
        let id = &self.text["people"][person.as_str().unwrap()]["userId"];
        assert!(id.is_string(), "{person}");
        id.clone()
    }

    /// The records that a sample's events stand for, in Docusign's form.
    fn records(&self, events: &Value) -> Vec<Value> {
        let mut records: Vec<Value> = vec![];
        for event in events.as_array().unwrap() {
            let event = event.as_object().unwrap();
            if event.contains_key("detection") {
                continue;
            }
            let number = |key: &str, without: f64| {
                event
                    .get(key)
                    .map_or(without, |value| value.as_f64().unwrap())
            };
            let minutes_ago = number("minutes_ago", f64::NAN);
            for turn in 0_u32
                ..event
                    .get("times")
                    .map_or(1, |times| times.as_u64().unwrap().try_into().unwrap())
            {
                let mut record = self.text["record"].clone();
                let seconds = 60.0 * (minutes_ago - f64::from(turn) * number("minutes_apart", 0.0));
                #[expect(clippy::cast_possible_truncation, reason = "minutes are small")]
                let time = self.now - TimeDelta::seconds(seconds.round() as i64);
                assert!(time < self.now, "{event:?} is in the future");
                record["timestamp"] = json!(time.format("%Y-%m-%dT%H:%M:%S.0000000Z").to_string());
                record["eventId"] =
                    json!(format!("9b1f0a52-0f4e-4c43-9a39-{:012x}", records.len()));
                for (key, value) in event {
                    match key.as_str() {
                        "minutes_ago" | "times" | "minutes_apart" | "sent_twice" => {}
                        "by" => record["userId"] = self.user_id(value),
                        "to" => record["affectedUserId"] = self.user_id(value),
                        "at" => {
                            let place = self.text["places"][value.as_str().unwrap()].clone();
                            for (name, value) in
                                place.as_object().unwrap_or_else(|| panic!("{value}"))
                            {
                                record[name] = value.clone();
                            }
                            record["ipAddressLocation"] = place;
                        }
                        "data" => {
                            for (name, value) in value.as_object().unwrap() {
                                record["data"][name] = in_turn(value, turn);
                            }
                        }
                        name => {
                            assert!(record.get(name).is_some(), "a record has no {name}");
                            record[name] = in_turn(value, turn);
                        }
                    }
                }
                records.push(record.clone());
                if event.get("sent_twice") == Some(&json!(true)) {
                    records.push(record);
                }
            }
        }
        records
    }

    /// What another detection has found, as its lookup keeps it.
    fn finding(&self, finding: &Value, number: usize) -> Row {
        let id = self.user_id(&finding["actor"]);
        let id = id.as_str().unwrap();
        let address = &self.text["people"][finding["actor"].as_str().unwrap()]["user_email"];
        let actor = match address.as_str() {
            Some(address) if self.are_people_known => address,
            _ => id,
        };
        let text = |name: &str| finding[name].as_str().unwrap().to_owned();
        let time = self.now.timestamp() - 60 * finding["minutes_ago"].as_i64().unwrap();
        let cells = [
            ("_key", format!("given {number}")),
            ("time", time.to_string()),
            ("found_at", time.to_string()),
            ("detection", text("detection")),
            ("severity", text("severity")),
            ("finding", text("finding")),
            ("actor", actor.to_owned()),
            ("actor_id", id.to_owned()),
            ("src", "198.51.100.23".to_owned()),
            ("account_name", "Example Legal".to_owned()),
            ("eventIds", format!("9b1f0a52-0f4e-4c43-9a39-{number:012x}")),
        ];
        let cells = cells.into_iter();
        cells
            .map(|(name, value)| (name.to_owned(), vec![value]))
            .collect()
    }

    fn event(&self, record: &Value) -> Row {
        // The table has thousands of rows, and the tests look at the same records again and again.
        static KNOWN: Mutex<BTreeMap<(bool, String), Row>> = Mutex::new(BTreeMap::new());
        let key = (self.are_people_known, record.to_string());
        if let Some(event) = KNOWN.lock().unwrap().get(&key) {
            return event.clone();
        }
        let event = self.search_time.event(record);
        KNOWN.lock().unwrap().insert(key, event.clone());
        event
    }

    /// The events, each indexed two minutes after it happened, and what is remembered of them.
    fn past(&self, events: &Value) -> Past {
        self.past_with(events, &json!({}), TimeDelta::minutes(2))
    }

    /// The same with the rows that the sample has in lookups.
    fn past_of(&self, detection: &Detection, events: &Value) -> Past {
        let given = self.given(detection);
        self.past_with(events, &given, TimeDelta::minutes(2))
    }

    fn given(&self, detection: &Detection) -> Value {
        let given = self.of(detection).get("given");
        given.cloned().unwrap_or_else(|| json!({}))
    }

    /// With more rows in lookups, and another time until an event is indexed.
    fn past_with(&self, events: &Value, rows: &Value, late: TimeDelta) -> Past {
        let indexed = |record: &Value| {
            let mut event = self.event(record);
            let time: f64 = event["_time"][0].parse().unwrap();
            #[expect(clippy::cast_precision_loss, reason = "minutes are small")]
            let time = time + late.num_seconds() as f64;
            event.insert("_indextime".to_owned(), vec![time.to_string()]);
            event
        };
        // No detection asks the table itself, and its thousands of rows would be copied for every run.
        let mut lookups = self.search_time.lookups_without("ds_actions");
        for (lookup, rows) in rows.as_object().unwrap() {
            for row in rows.as_array().unwrap() {
                let row = cells(row).into_iter();
                let row = row.map(|(name, value)| (name.to_owned(), vec![value.to_owned()]));
                lookups.get_mut(lookup).unwrap().push(row.collect());
            }
        }
        for (number, finding) in events.as_array().unwrap().iter().enumerate() {
            if finding.get("detection").is_some() {
                let row = self.finding(finding, number);
                lookups.get_mut("ds_findings").unwrap().push(row);
            }
        }
        let mut past = Past {
            events: self.records(events).iter().map(indexed).collect(),
            lookups,
        };
        past.remember(self.now);
        past
    }
}

fn cells(object: &Value) -> Vec<(&str, &str)> {
    let cells = object.as_object().unwrap().iter();
    cells
        .map(|(name, value)| (name.as_str(), value.as_str().unwrap()))
        .collect()
}

/// `{"each": […]}` takes one value after the other, `{"numbered": "…%"}` counts.
fn in_turn(value: &Value, turn: u32) -> Value {
    if let Some(each) = value.get("each").and_then(Value::as_array) {
        return each[turn as usize % each.len()].clone();
    }
    if let Some(pattern) = value.get("numbered").and_then(Value::as_str) {
        return json!(pattern.replace('%', &format!("{:012}", turn + 1)));
    }
    value.clone()
}

/// `60m`, `24h` or `30d`.
fn length(text: &str) -> TimeDelta {
    let (number, unit) = text.split_at(text.len() - 1);
    let number = number.parse().unwrap();
    match unit {
        "m" => TimeDelta::minutes(number),
        "h" => TimeDelta::hours(number),
        "d" => TimeDelta::days(number),
        _ => panic!("{text}"),
    }
}

/// A column as the samples write it: a text, several, or nothing.
fn column(row: &Row, name: &str) -> Value {
    match row.get(name).map(Vec::as_slice) {
        None | Some([]) => Value::Null,
        Some([value]) => json!(value),
        Some(values) => json!(values),
    }
}

/// What is left of a row for comparing two runs.
fn findings(rows: &[Row]) -> Vec<Value> {
    rows.iter().map(|row| column(row, "finding")).collect()
}

#[test]
fn each_detection_finds_its_events_and_says_what_they_mean() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let name = &detection.name;
        let sample = samples.of(&detection);
        let found = detection.run(
            &macros(),
            &samples.past_of(&detection, &sample["fires"]),
            samples.now,
        );
        let expected = sample["rows"].as_array().unwrap();
        assert!(!expected.is_empty(), "{name} finds nothing");
        assert_eq!(
            found.len(),
            expected.len(),
            "{name}: {:#?}",
            findings(&found)
        );
        for (at, expected) in expected.iter().enumerate() {
            let said = |row: &&Row| column(row, "finding") == expected["finding"];
            let row = match expected.get("finding") {
                Some(_) => found.iter().find(said),
                None => found.get(at),
            };
            let row = row.unwrap_or_else(|| panic!("{name}: {expected}: {:#?}", findings(&found)));
            for (field, value) in expected.as_object().unwrap() {
                assert_eq!(&column(row, field), value, "{name}: {field} of {row:#?}");
            }
        }
    }
}

#[test]
fn every_detection_finds_its_events_before_anybody_is_named() {
    let samples = Samples::without_people();
    let guid = |text: &str| text.len() == 36 && text.matches('-').count() == 4;
    for detection in Detection::all() {
        let name = &detection.name;
        // Whether an account is closed is known from the table of users alone.
        if name.ends_with("Activity of a closed user") {
            continue;
        }
        let sample = samples.of(&detection);
        let found = detection.run(
            &macros(),
            &samples.past_of(&detection, &sample["fires"]),
            samples.now,
        );
        let expected = sample["rows"].as_array().unwrap().len();
        assert_eq!(found.len(), expected, "{name}: {:#?}", findings(&found));
        for row in &found {
            let actors = row.get("actor").cloned().unwrap_or_default();
            assert!(actors.iter().all(|actor| guid(actor)), "{name}: {row:#?}");
        }
    }
}

#[test]
fn no_detection_takes_what_only_comes_close() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let silent = samples.of(&detection)["silent"].as_array().unwrap().clone();
        assert!(
            silent.len() >= 2,
            "{} has too few near misses",
            detection.name
        );
        for case in silent {
            let events = samples.past_of(&detection, &case["events"]);
            let findings = &events.lookups["ds_findings"];
            assert!(!events.events.is_empty() || !findings.is_empty(), "{case}");
            let found = detection.run(&macros(), &events, samples.now);
            assert!(
                found.is_empty(),
                "{}, {}: {found:#?}",
                detection.name,
                case["why"]
            );
        }
    }
}

/// The week that `cargo run --example demo -- --serve` plays, read by a first run.
#[test]
fn the_invented_week_has_a_break_in_and_nothing_else_to_find() {
    let now: DateTime<Utc> = "2026-11-25T15:20:00Z".parse().unwrap();
    let samples = Samples {
        search_time: week::search_time(),
        ..Samples::read()
    };
    let indexed = (now - TimeDelta::seconds(30)).timestamp().to_string();
    let events = week::records(now).into_iter().map(|record| {
        let mut event = samples.event(&serde_json::from_str(&record).unwrap());
        event.insert("_indextime".to_owned(), vec![indexed.clone()]);
        event
    });
    let mut lookups = samples.search_time.lookups();
    lookups.remove("ds_actions");
    let mut past = Past {
        events: events.collect(),
        lookups,
    };
    past.remember(now);
    // The detections that combine others come after them.
    let mut found = BTreeMap::new();
    for detection in Detection::all() {
        let (rows, written) = detection.run_and_write(&macros(), &past, now);
        past.write(&written);
        let (_, name) = detection.name.split_once(" - ").unwrap();
        if !rows.is_empty() {
            found.insert(name.to_owned(), findings(&rows));
        }
    }
    let names: Vec<_> = found.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "Administrator added",
            "Break-in and what followed",
            "Data leaves by Connect",
            "Export of users, settings or reports",
            "Impossible travel",
            "Mass download",
            "Password spraying from one address",
        ],
        "{found:#?}"
    );
    let made = "anna.brandt@example.com made hannah.weiss@example.com administrator of Hollerbach GmbH, Köln";
    assert_eq!(found["Administrator added"], [made]);
}

#[test]
fn there_are_samples_for_every_detection_and_for_nothing_else() {
    let samples = Samples::read();
    let sampled: BTreeSet<&String> = samples.text["detections"]
        .as_object()
        .unwrap()
        .keys()
        .collect();
    let detections = Detection::all();
    assert_eq!(
        sampled,
        detections.iter().map(|detection| &detection.name).collect()
    );
    assert!(detections.len() >= 12);
}

/// A macro that nobody has to change, or whose change does nothing, would be a promise that is not kept.
#[test]
fn every_macro_of_a_detection_changes_what_it_finds() {
    let samples = Samples::read();
    let mut used_anywhere = BTreeSet::new();
    for detection in Detection::all() {
        let name = &detection.name;
        let sample = samples.of(&detection);
        let events = samples.past_of(&detection, &sample["fires"]);
        let shipped = findings(&detection.run(&macros(), &events, samples.now));
        let mut used = detection.parse(&macros()).macros().clone();
        used.retain(|name| !PLACES.contains(&name.as_str()));
        let changes = sample["macros"].as_object().unwrap();
        assert_eq!(used, changes.keys().cloned().collect(), "{name}");
        for (macro_name, change) in changes {
            let mut macros = macros();
            let definition = change["definition"].as_str().unwrap().to_owned();
            macros.get_mut(macro_name).unwrap().definition = definition;
            let found = findings(&detection.run(&macros, &events, samples.now));
            assert_eq!(
                json!(found.len()),
                change["rows"],
                "{name}, {macro_name}: {found:#?}"
            );
            assert_ne!(found, shipped, "{name}, {macro_name}");
        }
        used_anywhere.extend(used);
    }
    let about_detections = macros().into_keys().filter(|name| {
        !PLACES.contains(&name.as_str())
            && (name.ends_with("_threshold") || name != "ds_monitor_log")
    });
    assert_eq!(used_anywhere, about_detections.collect());
}

/// A later run moves the end of a finding. What came after its beginning has still come after it.
#[test]
fn a_chain_is_found_however_long_its_first_step_goes_on() {
    let samples = Samples::read();
    let new_client = |minutes_ago: u32, action: &str, times: u32| {
        json!({
            "minutes_ago": minutes_ago, "by": "ben", "object": "Document", "action": action, "times": times,
            "minutes_apart": 0.1, "source": "API", "integratorKey": "0c9b8a7d-6e5f-4d3c-2b1a-f0e1d2c3b4a5",
        })
    };
    let long_known = json!({
        "minutes_ago": 28800, "by": "ada", "object": "User", "action": "Login", "result": "Success",
    });
    for (why, now_and_later) in [
        (
            "the download is the last call",
            vec![new_client(30, "Downloaded", 60)],
        ),
        (
            "the client goes on",
            vec![new_client(30, "Downloaded", 60), new_client(5, "Viewed", 3)],
        ),
    ] {
        let mut past = samples.past(&json!([long_known]));
        let records = samples.past(&Value::Array(now_and_later));
        past.events.extend(records.events);
        // Twice, as the windows of two runs overlap.
        for name in ["New API client", "Mass download", "New API client"] {
            let detection = saved_search(&format!("Docusign Detection - {name}"));
            let (found, written) = detection.run_and_write(&macros(), &past, samples.now);
            assert_eq!(found.len(), 1, "{why}, {name}: {found:#?}");
            past.write(&written);
        }
        let chain = saved_search("Docusign Detection - New client and then a mass download");
        let found = findings(&chain.run(&macros(), &past, samples.now));
        assert_eq!(found.len(), 1, "{why}");
    }
}

/// Who makes a harmless change first must not hide what follows within the hour.
#[test]
fn a_second_setting_changed_within_the_hour_is_a_finding_of_its_own() {
    let samples = Samples::read();
    let change = |minutes_ago: u32, setting: &str| {
        json!([{
            "minutes_ago": minutes_ago, "by": "cleo", "object": "Account", "action": setting,
        }])
    };
    let detection = saved_search("Docusign Detection - Security setting changed");
    let ids = |past: &Past| -> Vec<Value> {
        let found = detection.run(&macros(), past, samples.now);
        found.iter().map(|row| column(row, "finding_id")).collect()
    };
    let first = ids(&samples.past(&change(20, "PasswordRulesUpdated")));
    let second = ids(&samples.past(&change(10, "DocumentRetentionPolicyUpdated")));
    assert_eq!((first.len(), second.len()), (1, 1));
    assert_ne!(first, second);
}

#[test]
fn a_privileged_profile_is_known_by_its_number_and_by_its_name() {
    let samples = Samples::read();
    let detection = saved_search("Docusign Detection - Permission set or privileged profile");
    let sample = samples.of(&detection);
    let has_profile = |row: &str| {
        let rows = json!({"ds_privileged_profiles": [{"profile": row}]});
        let past = samples.past_with(&sample["fires"], &rows, TimeDelta::minutes(2));
        let found = detection.run(&macros(), &past, samples.now);
        let told = "ada@example.com has the privileged permission profile Account Administrator";
        let findings = findings(&found).into_iter();
        findings
            .filter(|finding| finding.as_str().unwrap().starts_with(told))
            .count()
    };
    assert_eq!(has_profile("7000001"), 1);
    assert_eq!(has_profile("account administrator"), 1);
    assert_eq!(has_profile("DocuSign Sender"), 0);
    assert_eq!(has_profile("700000"), 0);
}

/// What you name in a lookup is left out, or found, as the sample says.
#[test]
fn every_lookup_of_a_detection_changes_what_it_finds() {
    let samples = Samples::read();
    let mut used_anywhere = BTreeSet::new();
    for detection in Detection::all() {
        let name = &detection.name;
        let sample = samples.of(&detection);
        let shipped = detection.run(
            &macros(),
            &samples.past_of(&detection, &sample["fires"]),
            samples.now,
        );
        let mut used = detection.parse(&macros()).flow(None).unwrap().lookups;
        used.retain(|lookup| {
            !["ds_seen", "ds_seen_of_user", "ds_findings"].contains(&lookup.as_str())
        });
        let changes = sample["lookups"].as_object().unwrap();
        assert_eq!(used, changes.keys().cloned().collect(), "{name}");
        for (lookup, change) in changes {
            let mut rows = samples.given(&detection);
            let row = change["row"].clone();
            match rows.get_mut(lookup).and_then(Value::as_array_mut) {
                Some(given) => given.push(row),
                None => rows[lookup] = json!([row]),
            }
            let past = samples.past_with(&sample["fires"], &rows, TimeDelta::minutes(2));
            let found = detection.run(&macros(), &past, samples.now);
            assert_eq!(
                json!(found.len()),
                change["rows"],
                "{name}, {lookup}: {:#?}",
                findings(&found)
            );
            assert_ne!(findings(&found), findings(&shipped), "{name}, {lookup}");
        }
        used_anywhere.extend(used);
    }
    let watched = conf("transforms").into_iter().map(|(name, _)| name);
    let mut watched: BTreeSet<String> = watched
        .filter(|name| table(name).0.contains(&"comment".to_owned()))
        .collect();
    // It is about the feed: `upkeep` computes it.
    assert!(watched.remove("ds_retired_inputs"));
    assert_eq!(used_anywhere, watched);
}

/// The KV store compares with case, and Docusign writes GUIDs in both.
#[test]
fn a_watchlist_in_lower_case_fits_however_docusign_writes_the_value() {
    let samples = Samples::read();
    for (name, lookup, user, expected) in [
        ("Mass download", "ds_service_users", "ada@example.com", 0),
        (
            "Mass download",
            "ds_service_users",
            "7684901b-d492-5420-a4ea-e7eb0b503884",
            0,
        ),
        ("Mass download", "ds_service_users", "ben@example.com", 1),
        (
            "Activity of a watched person",
            "ds_watched_people",
            "ada@example.com",
            1,
        ),
        (
            "Activity of a watched person",
            "ds_watched_people",
            "7684901b-d492-5420-a4ea-e7eb0b503884",
            1,
        ),
        (
            "Activity of a watched person",
            "ds_watched_people",
            "eve@example.com",
            0,
        ),
    ] {
        let detection = saved_search(&format!("Docusign Detection - {name}"));
        let events = json!([{
            "minutes_ago": 55, "times": 50, "minutes_apart": 0.05, "by": "ada",
            "object": "Document", "action": "Downloaded",
        }]);
        let rows = json!({ lookup: [{"user": user}] });
        let mut past = samples.past_with(&events, &rows, TimeDelta::minutes(2));
        for event in &mut past.events {
            for field in ["actor", "actor_id"] {
                event.get_mut(field).unwrap()[0].make_ascii_uppercase();
            }
        }
        let found = detection.run(&macros(), &past, samples.now);
        assert_eq!(found.len(), expected, "{name}: {user}");
    }
}

/// Records that Docusign or the input delivers hours late, and runs that began a quarter of an hour late.
#[test]
fn a_record_that_arrives_three_hours_late_is_found() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let sample = samples.of(&detection);
        let in_time = samples.past_of(&detection, &sample["fires"]);
        let expected = findings(&detection.run(&macros(), &in_time, samples.now));
        let late = TimeDelta::hours(3);
        let past = samples.past_with(
            &sample["fires"],
            &samples.given(&detection),
            late + TimeDelta::minutes(2),
        );
        let found = detection.run(&macros(), &past, samples.now + late);
        assert_eq!(findings(&found), expected, "{}", detection.name);
    }
}

/// The search that remembers runs before a detection or after it.
#[test]
fn what_is_remembered_meanwhile_hides_nothing() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let sample = samples.of(&detection);
        let after = samples.past_of(&detection, &sample["fires"]);
        let mut before = after.clone();
        for lookup in ["ds_seen", "ds_seen_of_user"] {
            before.lookups.insert(lookup.to_owned(), vec![]);
        }
        let recent = (samples.now - TimeDelta::hours(4)).timestamp();
        before.events.retain(|event| {
            let time: f64 = event["_time"][0].parse().unwrap();
            time < f64::from(i32::try_from(recent).unwrap())
        });
        before.remember(samples.now);
        before.events.clone_from(&after.events);
        let [before, after] =
            [before, after].map(|past| findings(&detection.run(&macros(), &past, samples.now)));
        assert_eq!(before, after, "{}", detection.name);
    }
}

#[test]
fn all_rows_have_the_same_first_columns_and_lead_back_to_the_events() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let name = &detection.name;
        let columns = detection.parse(&macros()).output();
        let columns = columns.unwrap_or_else(|| panic!("{name} ends without table"));
        assert_eq!(columns[..FIRST_COLUMNS.len()], FIRST_COLUMNS, "{name}");
        assert_eq!(
            columns[columns.len() - 2..],
            ["eventIds", "affected"],
            "{name}"
        );
        let unique: BTreeSet<&String> = columns.iter().collect();
        assert_eq!(unique.len(), columns.len(), "{name}");

        let sample = samples.of(&detection);
        let events = samples.past_of(&detection, &sample["fires"]);
        let given = events.lookups["ds_findings"].iter();
        let ids: BTreeSet<&String> = given
            .flat_map(|row| &row["eventIds"])
            .chain(events.events.iter().flat_map(|event| &event["eventId"]))
            .collect();
        for row in detection.run(&macros(), &events, samples.now) {
            let single = |field: &str| match row.get(field).map(Vec::as_slice) {
                Some([value]) if !value.is_empty() => value.clone(),
                other => panic!("{name}: {field} is {other:?} in {row:#?}"),
            };
            let time: f64 = single("_time").parse().unwrap();
            let age = f64::from(i32::try_from(samples.now.timestamp()).unwrap()) - time;
            assert!((0.0..=86400.0).contains(&age), "{name}: {row:#?}");
            assert!(
                SEVERITIES
                    .iter()
                    .any(|(word, _)| single("severity") == *word),
                "{name}"
            );
            let finding = single("finding");
            assert!(
                !finding.contains("null") && !finding.contains("  "),
                "{name}: {finding}"
            );
            single("account_name");
            // A row is about one person, so that Enterprise Security and the views count it for that one.
            for field in ["actor", "actor_id", "user", "user_id"] {
                let people = row.get(field).map_or(0, Vec::len);
                assert!(people <= 1, "{name}: {people} people in {field}");
            }
            // Of those who tried passwords in vain, nobody is an actor.
            let nobody = row.get("actor").is_none_or(Vec::is_empty);
            assert!(
                !nobody || name.ends_with("spraying from one address"),
                "{name}"
            );
            assert!(row["user"].iter().all(|user| !user.is_empty()), "{name}");
            assert!((1..=20).contains(&row["eventIds"].len()), "{name}");
            assert!(
                row["eventIds"].iter().all(|id| ids.contains(id)),
                "{name}: {row:#?}"
            );
            detection
                .throttle_fields()
                .into_iter()
                .for_each(|field| drop(single(field)));
        }
    }
}

/// The windows overlap, so that the same row comes out of several runs.
#[test]
fn a_row_that_comes_out_of_several_runs_is_one_alert() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let name = &detection.name;
        let past = samples.past_of(&detection, &samples.of(&detection)["fires"]);
        let period = length(detection.get("alert.suppress.period"));
        let fields = detection.throttle_fields();
        let mut first_seen: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
        let mut now = samples.now;
        let step = match detection.window().num_days() {
            0 => TimeDelta::minutes(5),
            _ => TimeDelta::hours(2),
        };
        loop {
            let found = detection.run(&macros(), &past, now);
            if found.is_empty() {
                break;
            }
            let mut in_this_run = BTreeSet::new();
            for row in &found {
                let key: Vec<Value> = fields.iter().map(|field| column(row, field)).collect();
                let key = json!(key).to_string();
                assert!(
                    in_this_run.insert(key.clone()),
                    "{name}: {key} hides another row"
                );
                let first = *first_seen.entry(key).or_insert(now);
                assert!(
                    now - first < period,
                    "{name} repeats itself after its throttling has ended"
                );
            }
            now += step;
        }
        assert!(now > samples.now, "{name} finds nothing");
    }
}

/// What is written twice is kept once, and the findings have the columns of their lookup.
#[test]
fn every_finding_is_kept_once_however_often_it_is_found() {
    let samples = Samples::read();
    let columns = table("ds_findings").0;
    for detection in Detection::all() {
        let name = &detection.name;
        let mut past = samples.past_of(&detection, &samples.of(&detection)["fires"]);
        let mut keys = BTreeSet::new();
        let before = past.lookups["ds_findings"].len();
        for _ in 0..2 {
            let (found, written) = detection.run_and_write(&macros(), &past, samples.now);
            assert_eq!(written.len(), found.len(), "{name}");
            past.write(&written);
            for (lookup, row) in written {
                assert_eq!(lookup, "ds_findings");
                let short = name.strip_prefix("Docusign Detection - ").unwrap();
                assert_eq!(row["detection"], [short], "{name}");
                for column in &columns {
                    // Of those who tried passwords in vain nobody acted, and not every alert has a technique.
                    let may_lack = [
                        "actor",
                        "actor_id",
                        "src",
                        "user",
                        "user_id",
                        "mitre_technique",
                    ];
                    assert!(
                        row.contains_key(column) || may_lack.contains(&column.as_str()),
                        "{name}: {column}"
                    );
                }
                keys.insert(row["_key"].clone());
            }
            assert_eq!(keys.len(), found.len(), "{name}");
            let kept = past.lookups["ds_findings"].len() - before;
            assert_eq!(kept, found.len(), "{name}");
        }
    }
}

#[test]
fn a_run_that_was_missed_is_made_up_for() {
    for (name, settings) in conf("savedsearches") {
        let writes_all = name.starts_with("Docusign Monitor - Forget");
        if setting(&settings, "cron_schedule").is_some() && !writes_all {
            assert_eq!(setting(&settings, "realtime_schedule"), Some("0"), "{name}");
        }
    }
    // The run of ten o'clock comes at eleven, and looks at what a run at ten looks at.
    let samples = Samples::read();
    for detection in Detection::all() {
        let past = samples.past_of(&detection, &samples.of(&detection)["fires"]);
        let window = |key| {
            setting(&detection.settings, key)
                .unwrap_or_default()
                .to_owned()
        };
        for key in ["dispatch.earliest_time", "dispatch.index_earliest"] {
            assert!(!window(key).contains("now"), "{}", detection.name);
        }
        let found = detection.run(&macros(), &past, samples.now);
        assert!(!found.is_empty(), "{}", detection.name);
    }
}

#[test]
fn an_alert_does_not_hold_back_what_is_worse_or_about_somebody_else() {
    let throttle = |name: &str| -> Vec<String> {
        let all = Detection::all();
        let found = all.iter().find(|detection| detection.name.ends_with(name));
        let fields = found.unwrap().throttle_fields();
        fields.into_iter().map(str::to_owned).collect()
    };
    // The log-in that follows the guesses is critical, and must not wait for the end of the throttling.
    assert_eq!(
        throttle("Password spraying from one address"),
        ["src", "user_id", "severity"]
    );
    // A first pair that a VPN explains must not hide a second one.
    assert_eq!(
        throttle("Impossible travel"),
        ["actor_id", "src", "previous_src"]
    );
    // Fifty downloads must not hide five thousand.
    for name in [
        "Mass download",
        "Mass deletion of envelopes",
        "Unusual sending of envelopes",
    ] {
        assert_eq!(throttle(name), ["actor_id", "size"]);
    }
    // Names change with the next refresh of the lookup.
    for detection in Detection::all() {
        for name in ["actor", "user", "account_name"] {
            assert!(
                !detection.throttle_fields().contains(&name),
                "{}",
                detection.name
            );
        }
    }
}

/// The view Backtest runs the text of a search over 30 days: what bounds a run must not lie in the text.
#[test]
fn a_backtest_finds_what_happened_weeks_ago() {
    const WEEKS_AGO: i64 = 20 * 24 * 60;
    const OF_ONE_RUN: [&str; 4] = [
        "arrived before the window",
        "reported by the runs before",
        "before the time that a run looks back",
        "the country was new yesterday",
    ];
    let samples = Samples::read();
    let search = read("default/data/ui/views/docusign_backtest.xml");
    assert!(search.contains("\"earliest\": \"-30d@d\""));
    for detection in Detection::all() {
        let name = &detection.name;
        // It counts the days before the first envelope of the range, and the sample has too few of them.
        if name.ends_with("Unusual sending of envelopes") {
            continue;
        }
        let sample = samples.of(&detection);
        let expected = sample["rows"].as_array().unwrap().len();
        let mut backtest = Detection {
            name: name.clone(),
            settings: vec![],
        };
        for (key, value) in [
            ("search", detection.get("search")),
            ("dispatch.earliest_time", "-30d@d"),
            ("dispatch.latest_time", "now"),
        ] {
            backtest.settings.push((key.to_owned(), value.to_owned()));
        }
        // The same events, seen three weeks later, and what comes close.
        let later = samples.now + TimeDelta::minutes(WEEKS_AGO);
        let past = samples.past_of(&detection, &sample["fires"]);
        let found = backtest.run(&macros(), &past, later);
        assert_eq!(found.len(), expected, "{name}: {:#?}", findings(&found));
        assert!(detection.run(&macros(), &past, later).is_empty(), "{name}");
        for case in sample["silent"].as_array().unwrap() {
            // What was too long ago for a run is not too long ago here.
            let why = case["why"].as_str().unwrap();
            if OF_ONE_RUN.contains(&why) {
                continue;
            }
            let past = samples.past_of(&detection, &case["events"]);
            let found = backtest.run(&macros(), &past, later);
            assert!(found.is_empty(), "{name}, {why}: {:#?}", findings(&found));
        }
    }
}

#[test]
fn a_step_up_in_size_is_an_alert_of_its_own() {
    let samples = Samples::read();
    for (name, object, action, sizes) in [
        (
            "Mass download",
            "Document",
            "Downloaded",
            [(50, "1"), (150, "3"), (500, "10")],
        ),
        (
            "Mass deletion of envelopes",
            "Envelope",
            "Deleted",
            [(20, "1"), (60, "3"), (600, "30")],
        ),
    ] {
        let detection = saved_search(&format!("Docusign Detection - {name}"));
        for (times, size) in sizes {
            let events = json!([{
                "minutes_ago": 55, "times": times, "minutes_apart": 0.05, "by": "ada",
                "object": object, "action": action,
            }]);
            let found = detection.run(&macros(), &samples.past(&events), samples.now);
            assert_eq!(found.len(), 1, "{name}");
            assert_eq!(column(&found[0], "size"), json!(size), "{name}: {times}");
        }
    }
}

#[test]
fn every_detection_is_set_up_as_an_alert_that_is_off() {
    let samples = Samples::read();
    let mut minutes = BTreeSet::new();
    for detection in Detection::all() {
        let name = &detection.name;
        for (key, value) in [
            ("disabled", "1"),
            ("enableSched", "1"),
            ("dispatch.latest_time", "now"),
            ("counttype", "number of events"),
            ("relation", "greater than"),
            ("quantity", "0"),
            ("alert.track", "1"),
            ("alert.digest_mode", "0"),
            ("alert.suppress", "1"),
        ] {
            assert_eq!(detection.get(key), value, "{name}: {key}");
        }
        let cron = detection.get("cron_schedule");
        for minute in cron.split(' ').next().unwrap().split(',') {
            assert!(
                minutes.insert(minute.to_owned()),
                "{name}: another detection runs at {minute}"
            );
        }
        let late = TimeDelta::minutes(5);
        assert!(
            detection.window() >= detection.interval() + late,
            "{name} misses what arrives while it runs late"
        );

        // The number is that of a row that the search finds.
        let rows = samples.of(&detection)["rows"].as_array().unwrap();
        let (word, _) = SEVERITIES
            .iter()
            .find(|(_, number)| *number == detection.get("alert.severity"))
            .unwrap();
        assert!(
            rows.iter().any(|row| row["severity"] == *word),
            "{name}: {word}"
        );
    }
}

#[test]
fn the_page_has_a_heading_for_each_detection_with_its_techniques_severity_and_macros() {
    let page = read("docs/detections.md");
    let page = page.split_once("\n## The detections\n").unwrap().1;
    let page = page.split_once("\n## ").unwrap().0;
    let sections: BTreeMap<&str, &str> = page
        .split("\n### ")
        .skip(1)
        .map(|section| section.split_once('\n').unwrap())
        .collect();
    let detections = Detection::all();
    assert_eq!(sections.len(), detections.len());
    for detection in detections {
        let name = detection
            .name
            .strip_prefix("Docusign Detection - ")
            .unwrap();
        let section = sections.get(name);
        let section = section.unwrap_or_else(|| panic!("{name} has no heading"));
        for part in ["Finds", "False positives", "What to do", "Blind spots"] {
            assert!(section.contains(&format!("**{part}.**")), "{name}: {part}");
        }
        let item = |key: &str| {
            let mut lines = section.lines();
            let found = lines.find_map(|line| line.strip_prefix(&format!("- {key}: ")));
            found.unwrap_or_else(|| panic!("{name}: {key}"))
        };
        let search = detection.get("search");
        for technique in item("ATT&CK").split(", ").filter(|text| is_technique(text)) {
            assert!(search.contains(technique), "{name}: {technique}");
        }
        for word in item("Severity").split([' ', ',']) {
            let known = SEVERITIES.iter().any(|(severity, _)| *severity == word);
            assert!(!known || search.contains(word), "{name}: {word}");
        }
        let named: BTreeSet<String> = item("Macros")
            .split(", ")
            .filter(|word| *word != "none")
            .map(|word| word.trim_matches('`').to_owned())
            .collect();
        let used: BTreeSet<String> = macros()
            .into_keys()
            .filter(|name| !PLACES.contains(&name.as_str()))
            .filter(|name| search.contains(&format!("`{name}`")))
            .collect();
        assert_eq!(named, used, "{name}");
    }
}

#[test]
fn a_description_names_every_technique_and_is_short_enough_to_be_read() {
    for detection in Detection::all() {
        let name = &detection.name;
        let description = detection.get("description");
        assert!(description.len() <= 600, "{name}: {}", description.len());
        assert!(description.contains("ATT&CK"), "{name}");
        let search = detection.get("search");
        let techniques: BTreeSet<&str> = search
            .split('"')
            .skip(1)
            .step_by(2)
            .filter(|text| is_technique(text))
            .collect();
        assert!(!techniques.is_empty(), "{name}");
        // Docusign's own alerts are too many to be told one by one.
        if !search.contains("data_model=\"Alerts\"") {
            for technique in techniques {
                assert!(
                    description.contains(&format!("{technique} ")),
                    "{name}: {technique}"
                );
            }
        }
        // Macros and searches that a description names exist.
        for word in description.split([' ', ',', '.', ';', ':', '(', ')']) {
            if let Some(macro_name) = word.strip_prefix("ds_monitor_") {
                assert!(
                    macros().contains_key(&format!("ds_monitor_{macro_name}")),
                    "{name}: {word}"
                );
            }
        }
        for named in description
            .split("the search ")
            .skip(1)
            .chain(description.split("see ").skip(1))
        {
            if let Some(at) = ["Docusign Monitor - ", "Docusign Detection - "]
                .iter()
                .find(|at| named.starts_with(**at))
            {
                let known = conf("savedsearches").into_iter();
                let mut known = known.filter(|(search, _)| {
                    search.starts_with(at) && named.starts_with(search.as_str())
                });
                assert!(known.next().is_some(), "{name}: {named}");
            }
        }
    }
}

fn is_technique(text: &str) -> bool {
    let digits = |text: &str, count: usize| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    let Some(number) = text.strip_prefix('T') else {
        return false;
    };
    match number.split_once('.') {
        None => digits(number, 4),
        Some((technique, part)) => digits(technique, 4) && digits(part, 3),
    }
}

/// Few of Docusign's own words for events are published, so the searches ask for the names in the table.
#[test]
fn a_detection_asks_only_for_events_that_the_table_names() {
    let rows = table("ds_actions").1;
    let names: BTreeSet<&str> = rows.iter().map(|row| row["event_name"].as_str()).collect();
    let mut asked = 0;
    for detection in Detection::all() {
        let search = detection.get("search");
        assert!(
            !search.contains(" object=") && !search.contains("ds_object="),
            "{}",
            detection.name
        );
        for field in ["event_name", "signature"] {
            for (at, _) in search.match_indices(field) {
                for name in compared_with(search, at, field) {
                    assert!(names.contains(name), "{}: {name}", detection.name);
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 50, "{asked}");
}

/// Splunk may turn a search for what a lookup puts out around, with a limit on its rows. So no search asks for that
/// before its first pipe, and the words that it does ask for stand in every event that the table takes for its meaning.
#[test]
fn what_a_detection_reads_does_not_depend_on_how_splunk_reverses_a_lookup() {
    let settings = stanza(&conf("props"), "ds_monitor");
    let evals: BTreeSet<&str> = settings
        .iter()
        .filter_map(|(key, _)| key.strip_prefix("EVAL-"))
        .collect();
    let search_time = SearchTime::read();
    let event = |row: &BTreeMap<String, String>| {
        let text = |column: &str| row[column].replace('*', "");
        search_time.event(&json!({
            "timestamp": "2026-03-18T09:00:00Z", "eventId": "E", "userId": "U", "result": text("outcome"),
            "object": text("object"), "action": text("action"), "property": text("property"), "data": {},
        }))
    };
    let world = World {
        events: table("ds_actions").1.iter().map(event).collect(),
        ..World::default()
    };
    for detection in Detection::all() {
        let name = &detection.name;
        let base = detection.get("search").split('|').next().unwrap();
        let mut words = vec![];
        for term in base.split_whitespace().skip(2) {
            match term.split_once('=') {
                Some((field, "*")) => assert!(evals.contains(field), "{name}: {field}"),
                Some(_) => panic!("{name}: {term}"),
                None => words.push(term),
            }
        }
        if words.is_empty() || words == ["API"] {
            continue;
        }
        let meaning = detection.get("search").split('|').nth(1).unwrap();
        let search = format!("`ds_monitor_index` sourcetype=ds_monitor |{meaning}");
        let taken = Search::parse(&search, &macros()).unwrap();
        let taken = taken.run(&world).unwrap();
        assert!(!taken.is_empty(), "{name}: {meaning}");
        let search = format!("index=* {}", words.join(" "));
        let search = Search::parse(&search, &macros()).unwrap();
        for event in taken {
            let raw = event["_raw"].clone();
            let alone = World {
                events: vec![event],
                ..World::default()
            };
            let found = search.run(&alone).unwrap();
            assert!(!found.is_empty(), "{name}: {words:?} is not in {raw:?}");
        }
    }
}

/// The days of events that all scheduled searches read on one day.
#[test]
fn all_scheduled_searches_read_less_than_sixty_days_of_events_a_day() {
    let mut days = BTreeMap::new();
    for (name, settings) in conf("savedsearches") {
        let search = Detection { name, settings };
        let Some(cron) = setting(&search.settings, "cron_schedule") else {
            continue;
        };
        if search.get("search").starts_with("| inputlookup") {
            continue;
        }
        let parts: Vec<&str> = cron.split(' ').collect();
        let runs = |part: &str, all: i32| {
            if part == "*" {
                all
            } else {
                i32::try_from(part.split(',').count()).unwrap()
            }
        };
        let mut runs_a_day = f64::from(runs(parts[0], 60) * runs(parts[1], 24));
        if parts[4] != "*" {
            runs_a_day /= 7.0;
        }
        let window = f64::from(i32::try_from(search.window().num_minutes()).unwrap()) / 1440.0;
        // A search within a search reads the same window once more.
        let searches = f64::from(
            i32::try_from(
                search
                    .get("search")
                    .matches("`ds_monitor_index`")
                    .count()
                    .max(1),
            )
            .unwrap(),
        );
        days.insert(search.name.clone(), runs_a_day * window * searches);
    }
    let sum: f64 = days.values().sum();
    assert!(days.len() > 20, "{days:?}");
    assert!(sum < 60.0, "{sum}: {days:#?}");
}

/// What Enterprise Security 8 reads of a detection. What names one of its actions stands in a file of its own, so that
/// a Splunk without it does not look for an action that is not there.
#[test]
fn every_detection_has_what_enterprise_security_needs() {
    let page = read("docs/enterprise-security.md");
    let switches = conf_file("README/savedsearches.conf.example");
    let notable = |settings: &[(String, String)]| setting(settings, "action.notable") == Some("1");
    let mut raised = 0;
    for detection in Detection::all() {
        let name = &detection.name;
        let get = |key: &str| detection.get(&format!("action.{key}"));
        let parsed = |key: &str| -> Value {
            serde_json::from_str(get(key)).unwrap_or_else(|error| panic!("{name}: {key}: {error}"))
        };
        let short = name.strip_prefix("Docusign Detection - ").unwrap();
        assert_eq!(get("correlationsearch.enabled"), "1");
        assert_eq!(get("correlationsearch.detection_type"), "ebd");
        assert_eq!(
            get("correlationsearch.label"),
            format!("Docusign - {short}")
        );
        for key in ["action.risk", "action.notable"] {
            assert!(setting(&detection.settings, key).is_none(), "{name}: {key}");
        }

        let techniques = parsed("correlationsearch.annotations")["mitre_attack"].clone();
        let techniques: BTreeSet<String> = serde_json::from_value(techniques).unwrap();
        let search = detection.get("search");
        let in_search: BTreeSet<String> = search
            .split('"')
            .filter(|text| is_technique(text))
            .map(str::to_owned)
            .collect();
        assert_eq!(techniques, in_search, "{name}");

        let columns = detection.parse(&macros()).output().unwrap();
        let has = |field: &Value| columns.iter().any(|column| field == column);
        let (mut objects, mut threats) = (vec![], 0);
        for entry in parsed("risk.param._risk").as_array().unwrap() {
            if entry.get("threat_object_field").is_some() {
                assert!(has(&entry["threat_object_field"]), "{name}: {entry}");
                assert_eq!(entry["threat_object_type"], "ip_address", "{name}");
                threats += 1;
                continue;
            }
            assert!(has(&entry["risk_object_field"]), "{name}: {entry}");
            assert_eq!(entry["risk_object_type"], "user", "{name}");
            let score = entry["risk_score"].as_i64().unwrap();
            assert!((1..=100).contains(&score), "{name}: {score}");
            objects.push(entry.clone());
        }
        assert!(!objects.is_empty() && threats == 1, "{name}");
        assert_eq!(parsed("notable.param._entities"), json!(objects), "{name}");
        assert_eq!(get("risk.param._risk_message"), "$finding$");
        assert_eq!(get("risk.param._risk_score"), "0");
        assert_eq!(get("risk.param.verbose"), "0");

        assert_eq!(
            get("notable.param.rule_title"),
            format!("Docusign: {short}")
        );
        assert_eq!(get("notable.param.rule_description"), "$finding$");
        let domain = get("notable.param.security_domain");
        assert!(
            ["access", "identity", "audit", "threat"].contains(&domain),
            "{name}"
        );
        let severity = SEVERITIES
            .iter()
            .find(|(word, _)| *word == get("notable.param.severity"));
        assert_eq!(
            severity.unwrap().1,
            detection.get("alert.severity"),
            "{name}"
        );
        for field in get("notable.param.nes_fields").split(',') {
            assert!(has(&json!(field)), "{name}: {field}");
        }
        let next = parsed("notable.param.next_steps");
        assert_eq!(next["version"], 1, "{name}");
        assert!(next["data"].as_str().unwrap().ends_with('.'), "{name}");
        let drilldowns = parsed("notable.param.drilldown_searches");
        assert_eq!(drilldowns.as_array().unwrap().len(), 2, "{name}");
        for drilldown in drilldowns.as_array().unwrap() {
            for key in ["name", "earliest_offset", "latest_offset"] {
                assert!(drilldown[key].is_string(), "{name}: {key}");
            }
            let search = drilldown["search"].as_str().unwrap();
            let token = search.split('$').nth(1).unwrap();
            assert!(has(&json!(token)), "{name}: {token}");
            let search = search.replace(&format!("${token}$"), "x");
            if let Err(what) = check_search(&search) {
                panic!("{name}: {search}: {what}");
            }
        }

        let score = objects
            .iter()
            .filter_map(|entry| entry["risk_score"].as_i64());
        let switched = stanza(&switches, name);
        let finding = if notable(&switched) { "yes " } else { "" };
        let line = format!("| {short} | {} | {finding}|", score.max().unwrap());
        assert!(page.contains(&line), "docs/enterprise-security.md: {line}");
        assert_eq!(setting(&switched, "action.risk"), Some("1"), "{name}");
        raised += usize::from(notable(&switched));
    }
    assert_eq!(switches.len(), Detection::all().len());
    assert!((8..switches.len()).contains(&raised), "{raised}");
}

#[test]
fn every_finding_has_a_person_at_risk_and_none_counts_twice() {
    let samples = Samples::read();
    for detection in Detection::all() {
        let name = &detection.name;
        let risks = detection.get("action.risk.param._risk");
        let risks: Vec<Value> = serde_json::from_str(risks).unwrap();
        let past = samples.past_of(&detection, &samples.of(&detection)["fires"]);
        for row in detection.run(&macros(), &past, samples.now) {
            let objects = risks
                .iter()
                .filter_map(|it| it["risk_object_field"].as_str());
            let mut people: Vec<&String> = objects.filter_map(|it| row.get(it)).flatten().collect();
            let all = people.len();
            people.sort_unstable();
            people.dedup();
            assert!(
                !people.is_empty() && people.len() == all,
                "{name}: {row:#?}"
            );
        }
    }
}

/// The texts that a field is compared with: `="…"`, `!="…"`, ` IN ("…", …)`, or `in(field, "…", …)`.
fn compared_with<'a>(search: &'a str, at: usize, field: &str) -> Vec<&'a str> {
    let (before, rest) = (&search[..at], &search[at + field.len()..]);
    for sign in ["=\"", "!=\""] {
        if let Some(rest) = rest.strip_prefix(sign) {
            return vec![rest.split_once('"').unwrap().0];
        }
    }
    let is_function = before.ends_with("(in(") || before.ends_with(" in(");
    let list = match rest.strip_prefix(" IN (\"") {
        None if is_function => rest.strip_prefix(", \""),
        list => list,
    };
    let Some(list) = list else {
        return vec![];
    };
    let (list, _) = list.split_once("\")").unwrap();
    list.split("\", \"").collect()
}

#[test]
fn every_macro_is_explained_and_every_threshold_is_a_number() {
    let text = read("default/macros.conf");
    for (name, settings) in conf("macros") {
        let (before, _) = text.split_once(&format!("\n[{name}]\n")).unwrap();
        let last = before.lines().last().unwrap();
        assert!(last.starts_with("# "), "[{name}] is not explained");
        if name.ends_with("_threshold") {
            let definition = setting(&settings, "definition").unwrap();
            assert!(
                definition.parse::<u32>().is_ok_and(|number| number > 0),
                "[{name}]"
            );
        }
    }
}
