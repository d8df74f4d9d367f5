use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use ds_monitor::base::clock::{Clock, SystemClock};
use ds_monitor::monitor::position_store::COLLECTION;
use ds_monitor::splunk::checkpoint::file_stem;
use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::properties::Random;
use crate::{ds_lookups, ds_monitor};
use support::conf::{conf, macros, setting};
use support::docusign::{Docusign, PRIVATE_KEY, USER_ID, cursor_at, sample_records};
use support::hec::Hec;
use support::input::{DEADLINE, Input, LogLine, Outcome, Running};
use support::kv_store::{KvStore, Outage};
use support::spl::{Row, Search, World};
use support::splunkd::Splunkd;

/// The GUIDs of members.
const MEMBERS: [&str; 3] = [
    "A0000000-0000-4000-8000-00000000000A",
    "B0000000-0000-4000-8000-00000000000B",
    "C0000000-0000-4000-8000-00000000000C",
];

/// A run that nobody here has made.
const OTHER_RUN: &str = "0b8a5f0e-1111-4222-8333-444455556666";

/// A search head cluster: members with a KV store in common, and the input `prod` on each of them.
struct Cluster {
    kv_store: KvStore,
    members: Vec<Member>,
}

struct Member {
    splunkd: Splunkd,
    folder: TempDir,
    input: Input,
}

impl Cluster {
    fn of(members: usize, docusign: &Docusign) -> Self {
        let kv_store = KvStore::default();
        let members = MEMBERS[..members].iter();
        let members = members.map(|guid| Member::new(Splunkd::member(guid, &kv_store), docusign));
        Self {
            members: members.collect(),
            kv_store,
        }
    }

    /// A run of a member from start to end.
    fn run(&self, member: usize) -> Outcome {
        self.members[member].run()
    }

    fn newest(&self) -> Value {
        self.kv_store.newest().unwrap()
    }

    /// Another member's document comes next, with these changes.
    fn append(&self, changes: Value) {
        let mut document = self.newest();
        let (_, number) = document["_key"].as_str().unwrap().split_once('#').unwrap();
        document["_key"] = key(number.parse::<u64>().unwrap() + 1).into();
        document["run"] = OTHER_RUN.into();
        document["member"] = MEMBERS[2].into();
        for (name, value) in changes.as_object().unwrap() {
            document[name] = value.clone();
        }
        self.kv_store.put(document);
    }

    /// The lease of the newest document ends, so many seconds ago.
    fn end_lease(&self, seconds_ago: i64) {
        let until = in_seconds(-seconds_ago);
        self.kv_store.change_newest(|document| {
            document.insert("until".to_owned(), until.into());
        });
    }
}

impl Member {
    fn new(splunkd: Splunkd, docusign: &Docusign) -> Self {
        let folder = tempdir().unwrap();
        let input = Input::for_docusign("prod", docusign, folder.path()).splunkd(&splunkd);
        Self {
            splunkd,
            folder,
            input,
        }
    }

    fn run(&self) -> Outcome {
        self.input.run(ds_monitor())
    }

    fn command(&self, arguments: &[&str]) -> (Outcome, String) {
        command(&self.input, arguments)
    }

    /// What its own file says.
    fn file(&self) -> Value {
        let path = self.folder.path().join(format!("{}.json", stem()));
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }
}

fn command(input: &Input, arguments: &[&str]) -> (Outcome, String) {
    let outcome = input
        .start(ds_monitor(), arguments, input.input_xml())
        .finish();
    let stdout = String::from_utf8(outcome.stdout.clone()).unwrap();
    outcome.assert_no_secret(&[PRIVATE_KEY]);
    (outcome, stdout)
}

fn stem() -> String {
    file_stem("ds_monitor://prod")
}

fn key(number: u64) -> String {
    format!("{}#{number:010}", stem())
}

fn in_seconds(seconds: i64) -> i64 {
    SystemClock::new().now().timestamp() + seconds
}

fn data(outcome: &Outcome) -> Vec<String> {
    let events = outcome.events().into_iter();
    events.map(|event| event.data).collect()
}

#[track_caller]
fn line(outcome: &Outcome, level: &str, action: &str) -> LogLine {
    let lines = outcome.log_lines().into_iter();
    let mut found = lines.filter(|line| line.level == level && line.field("action") == action);
    let line = found.next();
    line.unwrap_or_else(|| panic!("no {level} action={action}\n{}", outcome.report()))
}

#[track_caller]
fn assert_leaves(outcome: &Outcome) {
    outcome.assert_exit(0);
    line(outcome, "INFO", "skip");
    assert_eq!(outcome.log_lines().len(), 1, "{}", outcome.report());
    assert!(outcome.events().is_empty());
}

/// Reads from a run until this many events have come.
fn read_events(run: &mut Running, count: usize) {
    let mut read = Vec::new();
    let stdout = run.stdout.as_mut().unwrap();
    while support::input::Event::parse_all(&read).0.len() < count {
        let mut chunk = [0; 4096];
        let n = stdout.read(&mut chunk).unwrap();
        assert!(n > 0);
        read.extend_from_slice(&chunk[..n]);
    }
}

#[test]
fn a_new_instance_with_an_empty_disk_continues_where_the_old_one_was() {
    let records = sample_records(0..350);
    let docusign = Docusign::new().records(records[..200].to_vec());
    let cluster = Cluster::of(2, &docusign);
    let first = cluster.run(0);
    assert_eq!(data(first.assert_exit(0)), records[..200]);
    let last = line(&first, "INFO", "events_ingested");
    assert_eq!(last.field("member"), MEMBERS[0]);

    let documents = cluster.kv_store.documents();
    let states = documents.iter().map(|document| &document["state"]);
    assert_eq!(states.collect::<Vec<_>>(), ["open", "closed"]);
    let newest = cluster.newest();
    assert_eq!(newest["_key"], key(2));
    assert_eq!(newest["cursor"], cursor_at(200).as_str());
    assert_eq!(newest["member"], MEMBERS[0]);
    assert_eq!(newest["run"], documents[0]["run"]);
    assert!(documents[0]["until"].as_i64().unwrap() > in_seconds(30));
    assert!(newest["until"].as_i64().unwrap() <= in_seconds(0));
    // The copy on the disk.
    assert_eq!(cluster.members[0].file()["cursor"], newest["cursor"]);

    docusign.push_records(records[200..].to_vec());
    let second = cluster.run(1);
    assert_eq!(data(second.assert_exit(0)), records[200..]);
    assert_eq!(cluster.newest()["member"], MEMBERS[1]);
    let third = cluster.run(0);
    assert_eq!(data(third.assert_exit(0)), [""; 0]);
    assert_eq!(docusign.stream_cursors().last(), Some(&cursor_at(350)));
}

#[test]
fn the_store_follows_the_instance_and_the_parameter() {
    let docusign = Docusign::new().records(sample_records(0..10));
    let in_kv_store = |splunkd: Splunkd, choice: &str| {
        let member = Member::new(splunkd, &docusign);
        let input = member.input.clone().param("position_store", choice);
        input.run(ds_monitor()).assert_exit(0);
        !member.splunkd.kv_store().documents().is_empty()
    };
    let captain = || {
        let splunkd = Splunkd::start();
        splunkd.server_roles(&["search_head", "shc_captain", "kv_store"]);
        splunkd
    };
    assert!(in_kv_store(captain(), ""));
    assert!(in_kv_store(captain(), "auto"));
    assert!(!in_kv_store(captain(), "file"));
    assert!(in_kv_store(Splunkd::start().in_cloud(), "auto"));
    assert!(!in_kv_store(Splunkd::start(), "auto"));
    assert!(in_kv_store(Splunkd::start(), "kvstore"));
}

#[test]
fn the_collection_is_the_apps_and_administrators_alone_may_use_it() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| std::fs::read_to_string(root.join(path)).unwrap();
    let stanza = format!("[{COLLECTION}]\nreplicate = false\n");
    assert!(read("default/collections.conf").contains(&stanza));
    let access = format!(
        "[collections/{COLLECTION}]\naccess = read : [ admin, sc_admin ], write : [ admin, sc_admin ]\n"
    );
    assert!(read("metadata/default.meta").contains(&access));
}

#[test]
fn a_lease_is_left_alone_until_it_has_ended_for_some_seconds() {
    let records = sample_records(0..20);
    let docusign = Docusign::new().records(records.clone()).page_size(10);
    let cluster = Cluster::of(2, &docusign);
    cluster.run(0).assert_exit(0);
    cluster.append(json!({"state": "open", "until": in_seconds(50)}));
    let asked = docusign.requests().len();
    let documents = cluster.kv_store.documents();
    for left in [50, 1, -5, -12] {
        cluster.end_lease(-left);
        let run = cluster.run(1);
        assert_leaves(&run);
        let skip = line(&run, "INFO", "skip");
        assert_eq!(skip.field("member"), MEMBERS[2]);
    }
    assert_eq!(docusign.requests().len(), asked);
    assert_eq!(cluster.kv_store.documents().len(), documents.len());

    cluster.end_lease(16);
    let run = cluster.run(1);
    run.assert_exit(0);
    let taken = line(&run, "INFO", "take_over");
    assert_eq!(taken.field("member_from"), MEMBERS[2]);
    // Before the last page with records, as after any cut-off.
    line(&run, "INFO", "resume_after_cut_off");
    assert_eq!(data(&run), records[10..]);
    assert_eq!(cluster.newest()["state"], "closed");
}

#[test]
fn clocks_may_differ_by_ten_seconds() {
    let docusign = Docusign::new().records(sample_records(0..20));
    for ahead in [-10, 10] {
        let cluster = Cluster::of(2, &docusign);
        cluster.run(0).assert_exit(0);
        cluster.append(json!({"state": "open", "until": in_seconds(0)}));
        cluster.members[1].splunkd.clock_ahead(ahead);
        // Neither clock may see its end before the lease has ended by the holder's.
        assert_leaves(&cluster.run(1));
        cluster.end_lease(26);
        line(&cluster.run(1), "INFO", "take_over");
    }
}

/// Two members and 900 records, of which the first member has saved 300 and is sending the next ones.
fn on_the_second_page() -> (Docusign, Cluster, Vec<String>, Running) {
    let records = sample_records(0..900);
    let docusign = Docusign::new().records(records.clone()).page_size(300);
    let cluster = Cluster::of(2, &docusign);
    let mut run = cluster.members[0].input.spawn(ds_monitor());
    read_events(&mut run, 320);
    run.wait_for_stderr("action=page_ingested", DEADLINE);
    (docusign, cluster, records, run)
}

#[test]
fn a_member_takes_its_own_open_lease_at_once() {
    let (_docusign, cluster, records, mut run) = on_the_second_page();
    run.kill();
    run.wait(DEADLINE);
    assert_eq!(cluster.newest()["state"], "open");
    assert_leaves(&cluster.run(1));

    let rest = cluster.run(0);
    assert_eq!(data(rest.assert_exit(0)), records);
}

#[test]
fn a_frozen_run_whose_lease_was_taken_saves_nothing_when_it_wakes_up() {
    let (_docusign, cluster, records, frozen) = on_the_second_page();
    frozen.signal("STOP");
    let run_id = cluster.newest()["run"].clone();
    let saved_by_it = || {
        let inserted = cluster.kv_store.inserted().into_iter();
        inserted.filter(|it| it["run"] == run_id).count()
    };
    let saved_before = saved_by_it();

    cluster.end_lease(16);
    let other = cluster.run(1);
    assert_eq!(data(other.assert_exit(0)), records);
    let after = cluster.kv_store.documents();

    frozen.signal("CONT");
    let frozen = frozen.finish();
    frozen.assert_exit(0);
    let lost = line(&frozen, "WARN", "lose_lease");
    assert!(lost.sentence.contains(MEMBERS[1]), "{}", lost.raw);
    assert_eq!(cluster.kv_store.documents(), after);
    assert_eq!(saved_by_it(), saved_before);
    assert!(!frozen.stderr.contains("events_ingested"));
    // And what it would have left behind costs nobody anything.
    assert_eq!(data(cluster.run(0).assert_exit(0)), [""; 0]);
}

#[test]
fn a_run_that_is_told_to_stop_gives_up_its_lease() {
    let (_docusign, cluster, records, mut run) = on_the_second_page();
    run.terminate();
    assert_eq!(run.wait(Duration::from_secs(2)).code(), Some(1));
    let newest = cluster.newest();
    assert_eq!(newest["state"], "open");
    assert_eq!(newest["cursor"], cursor_at(300).as_str());
    assert!(newest["until"].as_i64().unwrap() <= in_seconds(0));
    cluster.end_lease(16);
    assert_eq!(data(cluster.run(1).assert_exit(0)), records);
}

#[test]
fn a_signal_ends_a_run_whose_kv_store_is_silent() {
    let docusign = Docusign::new()
        .records(sample_records(0..900))
        .page_size(300);
    let cluster = Cluster::of(1, &docusign);
    let mut run = cluster.members[0].input.spawn(ds_monitor());
    read_events(&mut run, 320);
    cluster.kv_store.fail(Outage::Silent);
    run.terminate();
    assert_eq!(run.wait(Duration::from_secs(2)).code(), Some(1));
}

#[test]
fn a_run_that_fails_lets_the_next_member_begin() {
    let refusal = || support::http::Reply::json(400, r#"{"error":"consent_required"}"#);
    let docusign = Docusign::new()
        .records(sample_records(0..5))
        .fault_on_token(1, refusal());
    let cluster = Cluster::of(2, &docusign);
    cluster.run(0).assert_exit(1);
    let newest = cluster.newest();
    assert_eq!(newest["cursor"], "2021-01-01T00:00:00Z");
    assert!(newest["until"].as_i64().unwrap() <= in_seconds(0));
    cluster.end_lease(16);
    assert_eq!(cluster.run(1).assert_exit(0).events().len(), 5);
}

#[test]
fn an_empty_collection_adopts_the_position_of_the_file() {
    let records = sample_records(0..120);
    let docusign = Docusign::new().records(records[..100].to_vec());
    let cluster = Cluster::of(2, &docusign);
    let member = &cluster.members[0];
    let on_its_own = member.input.clone().param("position_store", "file");
    on_its_own.run(ds_monitor()).assert_exit(0);
    assert!(cluster.kv_store.documents().is_empty());

    docusign.push_records(records[100..].to_vec());
    let run = cluster.run(0);
    line(&run, "INFO", "adopt_position");
    assert_eq!(data(run.assert_exit(0)), records[100..]);
    let again = cluster.run(0);
    assert!(!again.stderr.contains("adopt_position"));
}

#[test]
fn a_copy_of_the_kv_stores_position_is_never_taken_for_the_position() {
    let records = sample_records(0..120);
    let docusign = Docusign::new().records(records[..100].to_vec());
    let cluster = Cluster::of(2, &docusign);
    cluster.run(0).assert_exit(0);
    docusign.push_records(records[100..].to_vec());
    cluster.run(1).assert_exit(0);

    let member = &cluster.members[0];
    let back = member.input.clone().param("position_store", "file");
    let asked = docusign.requests().len();
    let run = back.run(ds_monitor());
    run.assert_exit(1);
    let error = line(&run, "ERROR", "load_checkpoint");
    assert!(
        error.sentence.contains("reset --to kvstore"),
        "{}",
        error.raw
    );
    assert_eq!(docusign.requests().len(), asked);
    let (_, shown) = command(&back, &["show"]);
    assert!(shown.contains("reset --to kvstore"), "{shown}");

    // The one command, with which nothing is collected twice.
    let (reset, text) = command(&back, &["reset", "--to", "kvstore"]);
    reset.assert_exit(0);
    assert!(text.contains(&cursor_at(120)), "{text}");
    assert_eq!(data(back.run(ds_monitor()).assert_exit(0)), [""; 0]);
    let before = cluster.kv_store.documents();
    back.run(ds_monitor()).assert_exit(0);
    assert_eq!(cluster.kv_store.documents(), before);

    let (refused, _) = member.command(&["reset", "--to", "kvstore"]);
    refused.assert_exit(1);
    assert!(refused.stderr.contains("position_store"), "{refused:?}");
}

/// What has to be done to make the KV store fail.
type Failing<'a> = (&'a str, Box<dyn Fn(&Cluster) + 'a>);

#[test]
fn without_the_kv_store_nothing_is_collected_and_nothing_is_lost() {
    let records = sample_records(0..30);
    let docusign = Docusign::new().records(records.clone());
    let failing: [Failing<'_>; 6] = [
        (
            "kvstore-status",
            Box::new(|it| it.kv_store.fail(Outage::Down)),
        ),
        (
            "kvstore-status",
            Box::new(|it| it.kv_store.fail(Outage::Silent)),
        ),
        (
            "install the app",
            Box::new(|it| it.members[0].splunkd.refuse("collections", 404)),
        ),
        (
            "permissions",
            Box::new(|it| it.members[0].splunkd.refuse("collections", 403)),
        ),
        (
            "splunkd",
            Box::new(|it| it.members[0].splunkd.refuse("server/info", 503)),
        ),
        (
            "splunkd",
            Box::new(|it| it.members[0].splunkd.cut_off(true)),
        ),
    ];
    for (n, (expected, fail)) in failing.into_iter().enumerate() {
        let cluster = Cluster::of(1, &docusign);
        // With a copy on the disk and without.
        if n % 2 == 0 {
            cluster.run(0).assert_exit(0);
        }
        let (asked, before) = (docusign.requests().len(), cluster.kv_store.documents());
        fail(&cluster);
        let run = cluster.run(0);
        run.assert_exit(1);
        let lines = run.log_lines();
        assert_eq!(lines.len(), 1, "{}", run.report());
        assert_eq!(lines[0].level, "ERROR");
        assert!(lines[0].sentence.contains(expected), "{}", lines[0].raw);
        assert_eq!(docusign.requests().len(), asked, "{}", run.report());
        assert_eq!(cluster.kv_store.documents(), before);
        cluster.kv_store.fail(Outage::None);
        let splunkd = &cluster.members[0].splunkd;
        splunkd.cut_off(false);
        splunkd.refuse("collections", 200);
        splunkd.refuse("server/info", 200);
        let run = cluster.run(0);
        let expected = if n % 2 == 0 { &[][..] } else { &records };
        assert_eq!(data(run.assert_exit(0)), expected);
    }
}

#[test]
fn an_answer_that_gets_lost_is_asked_for_and_not_taken_for_another_members() {
    let records = sample_records(0..30);
    let docusign = Docusign::new().records(records.clone());
    let cluster = Cluster::of(1, &docusign);
    let mut run = cluster.members[0].input.spawn(ds_monitor());
    read_events(&mut run, 1);
    cluster.kv_store.lose_answers(1);
    let run = run.finish();
    run.assert_exit(0);
    let newest = cluster.newest();
    assert_eq!(newest["state"], "closed");
    assert_eq!(newest["cursor"], cursor_at(30).as_str());
    assert!(!run.stderr.contains("lose_lease"), "{}", run.report());
}

#[test]
fn an_outage_that_ends_in_time_is_not_noticed() {
    let docusign = Docusign::new()
        .records(sample_records(0..900))
        .page_size(300);
    let cluster = Cluster::of(1, &docusign);
    let mut run = cluster.members[0].input.spawn(ds_monitor());
    read_events(&mut run, 1);
    cluster.kv_store.fail(Outage::Down);
    let splunkd = &cluster.members[0].splunkd;
    let asked = splunkd.requests().len();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The last document has been refused twice.
            splunkd.wait_for_requests(asked + 2, DEADLINE);
            cluster.kv_store.fail(Outage::None);
        });
        let run = run.finish();
        run.assert_exit(0);
        line(&run, "INFO", "events_ingested");
    });
    assert_eq!(cluster.newest()["cursor"], cursor_at(900).as_str());
    assert_eq!(cluster.newest()["state"], "closed");
}

#[test]
fn a_read_that_is_behind_begins_nothing() {
    let docusign = Docusign::new().records(sample_records(0..30));
    let cluster = Cluster::of(2, &docusign);
    cluster.run(0).assert_exit(0);
    cluster.run(1).assert_exit(0);
    let (asked, before) = (docusign.requests().len(), cluster.kv_store.documents());
    for behind in 1..=before.len() {
        cluster.kv_store.read_behind(behind);
        let run = cluster.run(0);
        run.assert_exit(0);
        line(&run, "INFO", "skip");
        assert!(run.events().is_empty());
    }
    assert_eq!(
        docusign.stream_cursors().len(),
        asked - docusign.token_requests()
    );
    assert_eq!(cluster.kv_store.documents(), before);
}

#[test]
fn old_documents_are_deleted_but_never_the_newest_three() {
    let docusign = Docusign::new().records(sample_records(0..30));
    let cluster = Cluster::of(1, &docusign);
    for _ in 0..3 {
        cluster.run(0).assert_exit(0);
    }
    for mut document in cluster.kv_store.documents() {
        document["until"] = in_seconds(-3700).into();
        cluster.kv_store.put(document);
    }
    // Another input's, which is none of ours.
    let other = format!("{}#0000000001", file_stem("ds_monitor://other"));
    cluster
        .kv_store
        .put(json!({"_key": other, "until": in_seconds(-99_999)}));
    cluster.run(0).assert_exit(0);
    let keys: Vec<_> = cluster.kv_store.documents();
    let keys: Vec<_> = keys.iter().map(|it| it["_key"].as_str().unwrap()).collect();
    let mut expected = vec![other, key(6), key(7), key(8)];
    expected.sort();
    assert_eq!(keys, expected);
}

#[test]
fn a_document_that_cannot_be_understood_is_an_error_that_a_reset_mends() {
    let records = sample_records(0..30);
    let docusign = Docusign::new().records(records.clone());
    let cluster = Cluster::of(1, &docusign);
    cluster.run(0).assert_exit(0);
    for (name, value, expected) in [
        ("cursor", Value::Null, "cannot be understood"),
        ("identity", json!("elsewhere"), "cannot be understood"),
        ("version", json!(7), "version 7"),
    ] {
        let before = cluster.newest();
        cluster.append(json!({ name: value }));
        let asked = docusign.requests().len();
        let run = cluster.run(0);
        run.assert_exit(1);
        let error = line(&run, "ERROR", "load_checkpoint");
        assert!(error.sentence.contains(expected), "{}", error.raw);
        assert_eq!(docusign.requests().len(), asked);
        if name == "version" {
            cluster.append(before);
            continue;
        }
        let (reset, _) = cluster.members[0].command(&["reset", "--to", &cursor_at(10)]);
        reset.assert_exit(0);
        assert_eq!(data(cluster.run(0).assert_exit(0)), records[10..]);
    }
}

#[test]
fn show_says_where_the_position_is_and_who_holds_the_lease() {
    let docusign = Docusign::new().records(sample_records(0..30));
    let cluster = Cluster::of(2, &docusign);
    let show = |member: usize| {
        let (outcome, text) = cluster.members[member].command(&["show"]);
        outcome.assert_exit(0);
        text
    };
    let said = |text: &str, label: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix(label).map(str::to_owned));
        line.unwrap_or_else(|| panic!("no {label} in\n{text}"))
    };
    assert!(said(&show(0), "Position").contains("none yet"));
    cluster.run(0).assert_exit(0);
    let text = show(0);
    assert!(said(&text, "Store").contains(COLLECTION));
    assert!(
        said(&text, "Lease").contains("free; this instance"),
        "{text}"
    );
    assert!(said(&text, "Position").contains(&cursor_at(30)), "{text}");
    let text = show(1);
    assert!(said(&text, "Lease").contains(MEMBERS[0]), "{text}");
    cluster.append(json!({"state": "open", "until": in_seconds(40)}));
    let text = show(1);
    let held = format!("held by member {} until", MEMBERS[2]);
    assert!(said(&text, "Lease").contains(&held), "{text}");
    cluster.end_lease(5);
    assert!(said(&show(1), "Lease").contains("cut off"));
}

#[test]
fn reset_appends_and_spares_a_run_that_is_at_work() {
    let records = sample_records(0..30);
    let docusign = Docusign::new().records(records.clone());
    let cluster = Cluster::of(2, &docusign);
    cluster.run(0).assert_exit(0);
    let (reset, text) = cluster.members[1].command(&["reset", "--to", &cursor_at(10)]);
    reset.assert_exit(0);
    assert!(text.contains("Backup"), "{text}");
    let newest = cluster.newest();
    assert_eq!(newest["_key"], key(3));
    assert_eq!(newest["state"], "closed");
    let backup = text.lines().find_map(|line| line.strip_prefix("Backup"));
    let backup = std::fs::read_to_string(backup.unwrap().trim()).unwrap();
    assert!(backup.contains(&cursor_at(30)), "{backup}");
    assert_eq!(data(cluster.run(0).assert_exit(0)), records[10..]);

    cluster.append(json!({"state": "open", "until": in_seconds(40)}));
    let before = cluster.kv_store.documents();
    let (reset, _) = cluster.members[1].command(&["reset", "--to", "earliest"]);
    reset.assert_exit(1);
    assert!(reset.stderr.contains(MEMBERS[2]), "{reset:?}");
    assert_eq!(cluster.kv_store.documents(), before);
}

#[test]
fn check_tries_what_a_run_needs_of_the_kv_store() {
    let docusign = Docusign::new().records(sample_records(0..3));
    let cluster = Cluster::of(1, &docusign);
    let member = &cluster.members[0];
    let step = |text: &str| {
        let mut lines = text.lines();
        let line = lines.find_map(|line| line.strip_prefix("Position"));
        line.unwrap_or_else(|| panic!("{text}")).trim().to_owned()
    };
    let (outcome, text) = member.command(&["check"]);
    outcome.assert_exit(0);
    assert!(step(&text).starts_with("OK"), "{text}");
    assert!(step(&text).contains("KV store"), "{text}");
    assert!(cluster.kv_store.documents().is_empty());
    cluster.kv_store.fail(Outage::Down);
    let (outcome, text) = member.command(&["check"]);
    outcome.assert_exit(75);
    assert!(step(&text).starts_with("TO DO"), "{text}");
    assert!(step(&text).contains("kvstore-status"), "{text}");
    let on_its_own = member.input.clone().param("position_store", "file");
    let (outcome, text) = command(&on_its_own, &["check"]);
    outcome.assert_exit(0);
    assert!(step(&text).contains("file"), "{text}");
}

#[test]
fn what_an_event_collector_has_confirmed_before_a_takeover_is_not_repeated_by_it() {
    let records = sample_records(0..30);
    let docusign = Docusign::new().records(records.clone()).page_size(10);
    let hec = Hec::new();
    let cluster = Cluster::of(2, &docusign);
    let members = cluster.members.iter();
    let inputs: Vec<_> = members
        .map(|member| member.input.clone().delivers_to(&hec))
        .collect();
    inputs[0].run(ds_monitor()).assert_exit(0);
    // A run that has appended this, and was killed then.
    cluster.append(json!({
        "state": "open",
        "cursor_before_last_records": cursor_at(30),
        "until": in_seconds(-16),
    }));
    docusign.push_records(sample_records(30..35));
    let run = inputs[1].run(ds_monitor());
    run.assert_exit(0);
    assert_eq!(line(&run, "INFO", "events_ingested").field("n_events"), "5");
    let leased = cluster.kv_store.inserted();
    for document in leased.iter().filter(|it| it["state"] == "open") {
        assert_eq!(document["cursor"], document["cursor_before_last_records"]);
    }
}

/// `[ds_lookups://daily]` on a member, which sends its rows to an index.
fn lookups(member: &Member, folder: &TempDir) -> Input {
    Input::ds_lookups("daily")
        .param("monitor_input", "prod")
        .param("output", "index")
        .checkpoint_dir(folder.path())
        .splunkd(&member.splunkd)
}

#[test]
fn one_member_refreshes_the_lookups() {
    let docusign = Docusign::new();
    let cluster = Cluster::of(2, &docusign);
    let folder = tempdir().unwrap();
    let inputs: Vec<_> = cluster
        .members
        .iter()
        .map(|member| {
            member.input.clone().saved_in(&member.splunkd);
            lookups(member, &folder)
        })
        .collect();
    let refreshed = inputs[0].run(ds_lookups());
    line(refreshed.assert_exit(0), "INFO", "lookups_refreshed");
    assert_eq!(cluster.newest()["state"], "closed");
    let asked = docusign.requests().len();
    let left = inputs[1].run(ds_lookups());
    assert_leaves(&left);
    assert_eq!(line(&left, "INFO", "skip").field("member"), MEMBERS[0]);
    assert_eq!(docusign.requests().len(), asked);
    // The member itself may refresh again, and the other one a day later.
    line(&inputs[0].run(ds_lookups()), "INFO", "lookups_refreshed");
    cluster.kv_store.change_newest(|document| {
        document.insert("saved_at".to_owned(), "2026-01-01T00:00:00Z".into());
    });
    line(&inputs[1].run(ds_lookups()), "INFO", "lookups_refreshed");

    // While one is at work, and where one has failed.
    cluster.kv_store.change_newest(|document| {
        document.insert("state".to_owned(), "open".into());
        document.insert("until".to_owned(), in_seconds(40).into());
    });
    assert_leaves(&inputs[0].run(ds_lookups()));
    cluster.end_lease(16);
    docusign.service_users(&[]);
    inputs[0].run(ds_lookups()).assert_exit(1);
    assert_eq!(cluster.newest()["state"], "open");
    docusign.service_users(&[USER_ID]);
    cluster.end_lease(16);
    line(&inputs[1].run(ds_lookups()), "INFO", "lookups_refreshed");
}

#[test]
fn without_the_kv_store_no_lookup_is_refreshed() {
    let docusign = Docusign::new();
    let cluster = Cluster::of(1, &docusign);
    let member = &cluster.members[0];
    member.input.clone().saved_in(&member.splunkd);
    let folder = tempdir().unwrap();
    cluster.kv_store.fail(Outage::Down);
    let run = lookups(member, &folder).run(ds_lookups());
    run.assert_exit(1);
    assert!(run.stderr.contains("kvstore-status"), "{}", run.report());
    assert!(docusign.requests().is_empty());
}

/// What a member of the long test has read, until `end`.
fn live(member: &Member, kv_store: &KvStore, seed: u64, end: DateTime<Utc>) -> Vec<String> {
    let clock = SystemClock::new();
    let mut random = Random::new(seed);
    let (mut cut_until, mut read) = (clock.now(), Vec::new());
    let mut outage_until = None;
    while clock.now() < end {
        let mut run = member.input.spawn(ds_monitor());
        let mut stdout = run.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            stdout.read_to_end(&mut bytes).unwrap();
            bytes
        });
        while run.child.try_wait().unwrap().is_none() {
            clock.sleep(Duration::from_millis(100));
            member.splunkd.cut_off(clock.now() < cut_until);
            if outage_until.is_some_and(|until| clock.now() > until) {
                kv_store.fail(Outage::None);
                outage_until = None;
            }
            let seconds = |random: &mut Random, most| {
                TimeDelta::seconds(i64::try_from(random.below(most)).unwrap())
            };
            match random.below(400) {
                _ if clock.now() >= end => run.kill(),
                0 | 1 => run.kill(),
                2 => {
                    run.signal("STOP");
                    let pause = seconds(&mut random, 100);
                    clock.sleep(pause.to_std().unwrap());
                    run.signal("CONT");
                }
                3 => cut_until = clock.now() + seconds(&mut random, 90),
                4 => run.terminate(),
                5 => {
                    kv_store.fail(*random.pick(&[Outage::Down, Outage::Silent]));
                    outage_until = Some(clock.now() + seconds(&mut random, 8));
                }
                6 => kv_store.lose_answers(1),
                7 => kv_store.read_behind(random.below(3)),
                8..20 => kv_store.read_behind(0),
                _ => {}
            }
        }
        let bytes = reader.join().unwrap();
        let events = support::input::Event::parse_all(&bytes).0;
        read.extend(events.into_iter().map(|event| event.data));
        clock.sleep(Duration::from_secs(1));
    }
    member.splunkd.cut_off(false);
    read
}

#[test]
#[ignore = "three members with real binaries take four minutes"]
fn three_members_that_are_killed_frozen_and_cut_off_miss_no_record() {
    let records = sample_records(0..1000);
    // A page a second, so that runs last.
    let docusign = Docusign::new().records(records.clone()).page_size(5);
    let cluster = Cluster::of(3, &docusign);
    let clock = SystemClock::new();
    let end = clock.now() + TimeDelta::seconds(200);
    for (member, ahead) in cluster.members.iter().zip([0, 5, 10]) {
        member.splunkd.clock_ahead(ahead);
    }
    let mut read: Vec<String> = std::thread::scope(|scope| {
        let members = cluster.members.iter().zip(1..);
        let kv_store = &cluster.kv_store;
        let lives: Vec<_> = members
            .map(|(member, seed)| scope.spawn(move || live(member, kv_store, seed, end)))
            .collect();
        let reads = lives.into_iter().flat_map(|life| life.join().unwrap());
        reads.collect()
    });
    cluster.kv_store.fail(Outage::None);
    cluster.kv_store.read_behind(0);
    cluster.kv_store.lose_answers(0);

    // One goes on alone.
    docusign.page_size(2000);
    let died = clock.now();
    loop {
        let run = cluster.run(0);
        read.extend(data(run.assert_exit(0)));
        if run.stderr.contains("events_ingested") {
            break;
        }
        assert!(clock.now() - died < TimeDelta::seconds(90), "no takeover");
        clock.sleep(Duration::from_secs(1));
    }
    let indexed: BTreeSet<_> = read.iter().collect();
    let missing: Vec<_> = records.iter().filter(|it| !indexed.contains(it)).collect();
    assert!(missing.is_empty(), "{} records are missing", missing.len());

    // What a run has inserted stands together: no other has saved between.
    let inserted = cluster.kv_store.inserted();
    let mut runs: Vec<_> = inserted.iter().map(|it| it["run"].to_string()).collect();
    runs.dedup();
    let distinct: BTreeSet<_> = runs.iter().collect();
    assert_eq!(distinct.len(), runs.len(), "two runs saved at once");
    assert!(runs.len() > 5, "{} runs", runs.len());
}

/// A line `page_ingested` as the search finds it: the minute, the host, the cursors and the number of events.
fn page(minute: i64, host: &str, from: &str, to: &str, n_events: usize) -> Row {
    let time = 1_790_000_000 + minute * 60;
    let n_events = n_events.to_string();
    [
        ("_time", time.to_string().as_str()),
        ("index", "_internal"),
        ("sourcetype", "splunkd"),
        ("_raw", "ExecProcessor ds_monitor action=page_ingested"),
        ("host", host),
        ("input", "ds_monitor://prod"),
        ("action", "page_ingested"),
        ("cursor_from", from),
        ("cursor_to", to),
        ("n_events", &n_events),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), vec![value.to_owned()]))
    .collect()
}

#[test]
fn a_search_finds_two_members_that_collect_at_once_and_no_takeover() {
    let name = "Docusign Monitor - Two members collect";
    let settings = &conf("savedsearches").into_iter().find(|it| it.0 == name);
    let search = setting(&settings.as_ref().unwrap().1, "search").unwrap();
    // The reader of searches computes no texts of times.
    let search = search.replace("| convert ctime(last_time)", "");
    let search = Search::parse(&search, &macros()).unwrap();
    let find = |events: Vec<Row>| {
        let world = World {
            now: 1_790_000_000 + 3600,
            events,
            lookups: BTreeMap::new(),
            earliest: "-4h".to_owned(),
            latest: "now".to_owned(),
            ..World::default()
        };
        search.run(&world).unwrap()
    };
    // One position, and three members that take turns; the second takes over and steps back.
    let taking_turns = vec![
        page(0, "a", "c0", "c1", 5),
        page(1, "a", "c1", "c2", 5),
        page(2, "b", "c1", "c2", 5),
        page(3, "a", "c2", "c3", 5),
        page(4, "c", "c3", "c4", 0),
        page(5, "b", "c4", "c5", 5),
        page(6, "a", "c5", "c6", 5),
        page(7, "a", "c6", "c7", 5),
    ];
    assert_eq!(find(taking_turns), Vec::<Row>::new());
    // A position each.
    let alone = (0..5).flat_map(|n| {
        let (from, to) = (format!("c{n}"), format!("c{}", n + 1));
        [
            page(2 * n, "a", &from, &to, 5),
            page(2 * n + 1, "b", &format!("d{n}"), &format!("d{}", n + 1), 5),
        ]
    });
    let found = find(alone.collect());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0]["input"], ["ds_monitor://prod"]);
    assert_eq!(found[0]["members"], ["a", "b"]);
}
