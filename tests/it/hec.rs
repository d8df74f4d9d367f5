use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ds_monitor::splunk::checkpoint::file_stem;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::delivery::{eventually, long, pass_time, position, short};
use crate::ds_monitor;
use crate::properties::{Random, with_random};
use support::docusign::{
    ACCESS_TOKEN_MARK, Docusign, PRIVATE_KEY, cursor_at, sample_record, sample_records,
};
use support::hec::{self, Fault, Hec, Taken, refusal};
use support::http::Reply;
use support::input::{DEADLINE, Input, LogLine, Outcome, Running};
use support::proxy::Proxy;
use support::splunkd::{SESSION_KEY, Splunkd};
use support::tls::{CA_FILE, Tls};

/// A run that is told to stop must be gone by then.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Most pages that are sent and not saved.
const PAGES_UNDER_WAY: usize = 16;

const BEGINNING: &str = "2021-01-01T00:00:00Z";

const SECRETS: [&str; 4] = [hec::TOKEN, PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK];

/// Mostly short records, among them long ones with all kinds of timestamps and characters.
fn mixed(n: usize) -> (String, String) {
    if n.is_multiple_of(10) {
        long(n)
    } else {
        short(n)
    }
}

/// A stream, a collector, and the input between them.
struct Scene {
    docusign: Docusign,
    hec: Hec,
    input: Input,
    folder: TempDir,
    records: Vec<(String, String)>,
    page: usize,
}

impl Scene {
    fn new(make: fn(usize) -> (String, String), count: usize, page: usize) -> Self {
        let records: Vec<_> = (0..count).map(make).collect();
        let docusign = Docusign::new().page_size(page);
        docusign.records(records.iter().map(|(record, _)| record));
        let (hec, folder) = (Hec::new(), tempdir().unwrap());
        Self {
            input: Input::for_docusign("prod", &docusign, folder.path()).delivers_to(&hec),
            docusign,
            hec,
            folder,
            records,
            page,
        }
    }

    /// Three pages of 100 records.
    fn small() -> Self {
        Self::new(short, 300, 100)
    }

    /// Two pages of two batches each, which is more than may be on its way together with anything else.
    fn large() -> Self {
        Self::new(long, 1_800, 900)
    }

    fn spawn(&self) -> Running {
        self.input.spawn(ds_monitor())
    }

    /// A run whose output is what it must be for any run of this kind.
    #[track_caller]
    fn run(&self) -> Outcome {
        in_order(self.input.run(ds_monitor()))
    }

    fn checkpoint_path(&self) -> PathBuf {
        let name = format!("{}.json", file_stem("ds_monitor://prod"));
        self.folder.path().join(name)
    }

    fn checkpoint(&self) -> Value {
        serde_json::from_slice(&fs::read(self.checkpoint_path()).unwrap()).unwrap()
    }

    /// The records that the checkpoint counts as delivered.
    fn saved(&self) -> usize {
        position(&self.checkpoint()["cursor"])
    }

    /// By number of the record, the batches in which it was taken; panics if it is not what Docusign sent.
    #[track_caller]
    fn account(&self) -> Vec<Vec<usize>> {
        let records = self.records.iter().enumerate();
        // A tree, because without optimization it takes long to hash long events.
        let numbers: BTreeMap<&str, usize> = records.map(|(n, it)| (it.0.as_str(), n)).collect();
        let mut account = vec![vec![]; self.records.len()];
        for taken in self.hec.taken() {
            let number = numbers.get(taken.event.as_str());
            let number = *number.unwrap_or_else(|| panic!("a foreign event: {taken:?}"));
            let is_right = taken.time.as_deref() == Some(&self.records[number].1)
                && taken.source == "ds_monitor://prod"
                && taken.sourcetype == "ds_monitor"
                && (&taken.host, &taken.index) == (&None, &None);
            assert!(
                is_right,
                "{taken:?}, expected at {}",
                self.records[number].1
            );
            account[number].push(taken.batch);
        }
        account
    }

    /// Every record was taken, and none again after it had been confirmed.
    #[track_caller]
    fn assert_delivered_once(&self) {
        let batches = self.hec.batches();
        for (number, in_batches) in self.account().iter().enumerate() {
            let (last, before) = in_batches
                .split_last()
                .unwrap_or_else(|| panic!("record {number} is missing"));
            assert!(batches[*last].confirmed, "{number} in {in_batches:?}");
            assert!(
                before.iter().all(|batch| !batches[*batch].confirmed),
                "record {number} again in {in_batches:?}"
            );
        }
    }

    /// Every record was taken, how often is of no importance.
    #[track_caller]
    fn assert_complete(&self) {
        let account = self.account();
        let missing = account.iter().position(Vec::is_empty);
        assert_eq!(missing, None, "a record is missing");
    }

    /// The run went to the end of the stream in good order.
    #[track_caller]
    fn assert_caught_up(&self, run: &Outcome) {
        run.assert_exit(0);
        let end = self.records.len();
        assert_eq!(self.checkpoint()["cursor"], cursor_at(end).as_str());
        assert_eq!(self.checkpoint()["state"], "closed");
        let line = one(run, "INFO", "events_ingested");
        assert_eq!(line.field("caught_up"), "true");
    }

    /// The lines about pages lead from the beginning of the stream to its end.
    #[track_caller]
    fn assert_unbroken_chain(&self, run: &Outcome) {
        let lines = with_action(run, "INFO", "page_ingested");
        let mut cursor = BEGINNING.to_owned();
        let mut events = 0;
        for line in &lines {
            assert_eq!(line.field("cursor_from"), cursor, "{}", run.report());
            line.field("cursor_to").clone_into(&mut cursor);
            events += line.field("n_events").parse::<usize>().unwrap();
            assert!(!line.sentence.contains("Splunk has read"), "{}", line.raw);
        }
        assert_eq!(cursor, cursor_at(self.records.len()));
        assert_eq!(events, self.records.len());
        assert_eq!(lines.len(), self.records.len().div_ceil(self.page));
    }

    /// A run that goes on delivers the rest.
    #[track_caller]
    fn assert_next_run_completes(&self) {
        self.assert_caught_up(&self.run());
        self.assert_complete();
    }
}

/// What holds for every run with an event collector.
#[track_caller]
fn in_order(run: Outcome) -> Outcome {
    assert_eq!(run.stdout, b"", "{}", run.report());
    run.assert_no_secret(&SECRETS);
    run
}

#[track_caller]
fn with_action(run: &Outcome, level: &str, action: &str) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.level == level && line.field("action") == action);
    lines
}

#[track_caller]
fn one(run: &Outcome, level: &str, action: &str) -> LogLine {
    let mut lines = with_action(run, level, action);
    assert_eq!(lines.len(), 1, "{level} {action}: {}", run.report());
    lines.remove(0)
}

/// Lines of one level, but for the one about the token that no splunkd keeps.
fn at_level(run: &Outcome, level: &str) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.level == level && line.field("action") != "secure_secrets");
    lines
}

/// The one ERROR of a run that must fail, and nothing else was odd.
#[track_caller]
fn failure(run: &Outcome) -> LogLine {
    run.assert_exit(1);
    let mut errors = at_level(run, "ERROR");
    assert_eq!(errors.len(), 1, "{}", run.report());
    errors.remove(0)
}

#[track_caller]
fn assert_says(line: &LogLine, parts: &[&str]) {
    for part in parts {
        assert!(line.sentence.contains(part), "{part}: {}", line.raw);
    }
}

#[test]
fn every_record_arrives_with_its_own_bytes_and_exact_time_and_is_saved_when_it_was_accepted() {
    let scene = Scene::new(mixed, 500, 100);
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    scene.assert_delivered_once();
    assert_eq!(scene.account().concat().len(), 500);
    let line = one(&run, "INFO", "hec_delivery");
    assert_eq!(line.field("acknowledged"), "false");
    assert!(at_level(&run, "WARN").is_empty(), "{}", run.report());
    assert_eq!(scene.hec.polls(), 0);

    // A run without news sends nothing.
    let posts = scene.hec.posts();
    scene.assert_caught_up(&scene.run());
    assert_eq!(scene.hec.posts(), posts);
}

#[test]
fn with_acknowledgements_a_page_is_saved_when_it_was_acknowledged() {
    let scene = Scene::new(mixed, 500, 100);
    scene.hec.acknowledge(true);
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    scene.assert_delivered_once();
    let line = one(&run, "INFO", "hec_delivery");
    assert_eq!(line.field("acknowledged"), "true");
    assert!(at_level(&run, "WARN").is_empty(), "{}", run.report());
    assert_eq!(channels(&scene.hec.batches()).len(), 1);
}

fn channels(batches: &[hec::Batch]) -> HashSet<&str> {
    batches.iter().map(|it| it.channel.as_str()).collect()
}

#[test]
fn batches_are_filled_but_not_beyond_what_splunk_cloud_takes() {
    let scene = Scene::new(long, 2_000, 2_000);
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    let batches = scene.hec.batches();
    let total: usize = batches.iter().map(|batch| batch.bytes).sum();
    let pages = 1;
    assert!(batches.len() <= total.div_ceil(hec::MAX_BATCH) + pages);
    assert!(batches.iter().any(|batch| batch.bytes > 800_000));
}

#[test]
fn whatever_goes_wrong_on_the_way_20_000_records_arrive_and_only_unconfirmed_ones_twice() {
    type Prepare = fn(&Hec, &mut Random);
    let troubles: [(&str, Prepare); 4] = [
        ("busy", |hec, _| {
            (1..200).step_by(3).for_each(|nth| {
                hec.fault(nth, Fault::busy());
            });
        }),
        ("dropped", |hec, _| {
            let faults = [
                Fault::HangUp,
                Fault::Instead(Reply::reset()),
                Fault::lost_reply(),
                Fault::Cut(7),
            ];
            for (nth, fault) in (3..).step_by(11).zip(faults) {
                hec.fault(nth, fault);
            }
        }),
        ("late", |hec, _| {
            hec.acknowledge(true).polls_before_ack(2);
        }),
        ("all", |hec, random| {
            hec.acknowledge(true).polls_before_ack(1);
            let html = Reply::text(502, "text/html", "<html>bad gateway</html>");
            let faults = [
                Fault::busy(),
                Fault::busy(),
                Fault::Instead(refusal(8, None).header("Retry-After", 0)),
                Fault::Instead(Reply::json(429, "{}").header("Retry-After", 0)),
                Fault::Instead(Reply::text(408, "text/plain", "").header("Retry-After", 0)),
                Fault::Instead(html.header("Retry-After", 0)),
                Fault::After(Reply::text(504, "text/html", "").header("Retry-After", 0)),
            ];
            let mut nth = 1;
            while nth < 200 {
                // Never more in a row than a run has patience for.
                let in_a_row = 1 + random.below(3);
                for nth in nth..nth + in_a_row {
                    hec.fault(nth, random.pick(&faults).clone());
                    hec.fault_on_ack(nth, Fault::busy());
                }
                nth += in_a_row + 1 + random.below(4);
            }
            for (nth, fault) in [(200, Fault::lost_reply()), (201, Fault::HangUp)] {
                hec.fault(nth / 10, fault);
            }
            hec.fault_on_ack(9, Fault::HangUp);
        }),
    ];
    with_random(|random| {
        let scenes = troubles.map(|(name, prepare)| {
            let scene = Scene::new(mixed, 20_000, 500);
            prepare(&scene.hec, random);
            (name, scene)
        });
        std::thread::scope(|scope| {
            for (name, scene) in &scenes {
                scope.spawn(move || {
                    let run = scene.run();
                    scene.assert_caught_up(&run);
                    scene.assert_unbroken_chain(&run);
                    scene.assert_delivered_once();
                    let taken = scene.hec.taken().len();
                    let warnings = at_level(&run, "WARN");
                    // Every third of 60 requests; four, of which two took a page before they broke off.
                    let (taken, warnings) = (taken - 20_000, warnings.len());
                    match *name {
                        "busy" => assert_eq!((taken, warnings), (0, 20)),
                        "dropped" => assert_eq!((taken, warnings), (1_000, 4)),
                        "late" => assert_eq!((taken, warnings), (0, 0)),
                        _ => assert!(taken > 500 && warnings > 20, "{taken} {warnings}"),
                    }
                });
            }
        });
    });
}

#[test]
fn a_call_that_may_succeed_later_is_made_again_and_costs_one_warning() {
    let text = |status| Reply::text(status, "text/html", "<html>x</html>").header("Retry-After", 0);
    let faults = [
        ("503", "9", Fault::busy()),
        (
            "500",
            "8",
            Fault::Instead(refusal(8, None).header("Retry-After", 0)),
        ),
        ("429", "", Fault::Instead(text(429))),
        ("408", "", Fault::Instead(text(408))),
        ("502", "", Fault::Instead(text(502))),
        ("200", "", Fault::Instead(text(200))),
        ("200", "", Fault::Instead(Reply::json(200, "[]"))),
        ("200", "", Fault::Instead(Reply::json(200, "{}"))),
        (
            "200",
            "",
            Fault::Instead(Reply::text(200, "application/json", "")),
        ),
        ("", "", Fault::HangUp),
        ("", "", Fault::Instead(Reply::reset())),
        ("", "", Fault::lost_reply()),
        ("", "", Fault::Cut(5)),
    ];
    std::thread::scope(|scope| {
        for (status, code, fault) in faults {
            scope.spawn(move || {
                let scene = Scene::small();
                let name = format!("{fault:?}");
                scene.hec.fault(2, fault);
                let run = scene.run();
                scene.assert_caught_up(&run);
                scene.assert_unbroken_chain(&run);
                scene.assert_delivered_once();
                let warnings = at_level(&run, "WARN");
                assert_eq!(warnings.len(), 1, "{name}: {}", run.report());
                let line = one(&run, "WARN", "send");
                assert_eq!(line.field("attempt"), "1", "{name}: {}", line.raw);
                // An answer that broke off may have had a status.
                if !name.starts_with("Cut") {
                    assert_eq!(line.field("status"), status, "{name}: {}", line.raw);
                }
                assert_eq!(line.field("code"), code, "{name}: {}", line.raw);
                assert!(
                    !line.field("retry_in_ms").is_empty(),
                    "{name}: {}",
                    line.raw
                );
                assert_eq!(scene.hec.posts(), 4, "{name}");
            });
        }
    });
}

#[test]
fn what_goes_on_failing_ends_the_run_after_what_was_confirmed_is_saved() {
    for fault in [
        Fault::busy(),
        Fault::Instead(Reply::json(429, "{}").header("Retry-After", 0)),
    ] {
        let scene = Scene::small();
        for nth in 2..14 {
            scene.hec.fault(nth, fault.clone());
        }
        let run = scene.run();
        let line = failure(&run);
        assert_says(&line, &["event collector", "127.0.0.1"]);
        assert_eq!(
            with_action(&run, "WARN", "send").len(),
            11,
            "{}",
            run.report()
        );
        assert_eq!(scene.hec.posts(), 1 + 12);
        assert_eq!(
            (scene.saved(), &scene.checkpoint()["state"]),
            (100, &"closed".into())
        );
        scene.assert_next_run_completes();
        // What is confirmed is safe, so that not even the last page comes again.
        assert_eq!(scene.hec.taken().len(), 300);
    }
}

#[test]
fn a_long_wait_that_the_collector_asks_for_is_not_waited_out_beyond_all_patience() {
    let scene = Scene::small();
    for nth in 1..4 {
        let reply = refusal(9, None).header("Retry-After", 100_000);
        scene.hec.fault(nth, Fault::Instead(reply));
    }
    let mut run = scene.spawn();
    let stderr = run.wait_for_stderr("action=send", DEADLINE);
    let wait = stderr.split("retry_in_ms=").nth(1).unwrap();
    let wait: u64 = wait.split(' ').next().unwrap().parse().unwrap();
    assert!((1_000..=120_000).contains(&wait), "{stderr}");
    run.terminate();
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
}

/// What a person can do about it, in words of the one line there is.
#[test]
fn what_only_a_person_can_mend_ends_the_run_at_once_with_what_to_do() {
    let text = |status: u16| Fault::Instead(Reply::text(status, "text/html", "<html>x</html>"));
    let code = |code| Fault::Instead(refusal(code, None));
    let redirect = Reply::text(302, "text/html", "").header("Location", "https://example.com/");
    let cases: [(&str, &str, Fault, &[&str]); 13] = [
        ("403", "1", code(1), &["disabled", "token"]),
        ("401", "2", code(2), &["token", "Authorization"]),
        (
            "401",
            "3",
            code(3),
            &[
                "token is wrong, or did not arrive",
                "hec_token",
                "Authorization",
            ],
        ),
        ("403", "4", code(4), &["hec_token"]),
        ("400", "7", code(7), &["index"]),
        ("400", "10", code(10), &["channel"]),
        ("400", "11", code(11), &["channel"]),
        ("400", "16", code(16), &["token"]),
        ("404", "", text(404), &["hec_url"]),
        (
            "302",
            "",
            Fault::Instead(redirect),
            &["redirect", "hec_url"],
        ),
        ("405", "", text(405), &["hec_url"]),
        ("403", "", text(403), &["hec_url"]),
        ("400", "", text(400), &["hec_url"]),
    ];
    std::thread::scope(|scope| {
        for (status, code, fault, expected) in cases {
            scope.spawn(move || {
                let scene = Scene::small();
                scene.hec.fault(2, fault);
                let run = scene.run();
                let line = failure(&run);
                assert_eq!(line.field("status"), status, "{}", line.raw);
                assert_eq!(line.field("code"), code, "{}", line.raw);
                assert_eq!(line.field("input"), "ds_monitor://prod");
                assert!(line.sentence.contains("127.0.0.1"), "{}", line.raw);
                assert_says(&line, expected);
                assert!(at_level(&run, "WARN").is_empty(), "{}", run.report());
                assert_eq!(scene.hec.posts(), 2, "{}", run.report());
                assert_eq!(scene.saved(), 100);
                scene.assert_next_run_completes();
            });
        }
    });
}

#[test]
fn a_wrong_token_is_one_error_that_does_not_show_it() {
    let scene = Scene::small();
    let wrong = "0badc0de-0000-4000-8000-00000badc0de";
    let run = in_order(
        scene
            .input
            .clone()
            .param("hec_token", wrong)
            .run(ds_monitor()),
    );
    run.assert_no_secret(&[wrong]);
    let line = failure(&run);
    assert_eq!(line.field("code"), "4");
    assert_says(&line, &["hec_token"]);
    assert_eq!(scene.hec.posts(), 1);
    assert_eq!(scene.checkpoint()["cursor"], BEGINNING);
    scene.assert_next_run_completes();
}

#[test]
fn an_index_that_the_token_may_not_write_to_is_named_and_no_event_is_left_out() {
    let scene = Scene::small();
    scene.hec.indexes(&["security"]);
    let input = scene.input.clone().param("index", "secrurity");
    let run = in_order(input.run(ds_monitor()));
    let line = failure(&run);
    assert_eq!(line.field("code"), "7");
    assert_says(&line, &["secrurity"]);
    assert_eq!((scene.hec.posts(), scene.hec.taken().len()), (1, 0));

    let input = scene.input.clone().param("index", "security");
    in_order(input.run(ds_monitor())).assert_exit(0);
    let taken = scene.hec.taken();
    assert_eq!(taken.len(), 300);
    let is_right = |it: &Taken| it.index.as_deref() == Some("security") && it.host.is_none();
    assert!(taken.iter().all(is_right));
}

#[test]
fn host_and_index_are_those_of_the_stanza_where_it_has_any() {
    for (host, index, expected) in [
        ("$decideOnStartup", "default", (None, None)),
        ("", "", (None, None)),
        (
            "fwd \"1\" \\ ä",
            "security",
            (Some("fwd \"1\" \\ ä"), Some("security")),
        ),
    ] {
        let scene = Scene::new(short, 3, 100);
        let input = scene
            .input
            .clone()
            .param("host", host)
            .param("index", index);
        in_order(input.run(ds_monitor())).assert_exit(0);
        let taken = scene.hec.taken();
        assert_eq!(taken.len(), 3);
        for it in taken {
            assert_eq!((it.host.as_deref(), it.index.as_deref()), expected);
        }
    }
}

#[test]
fn the_name_of_an_input_may_need_quoting() {
    let scene = Scene::new(short, 3, 100);
    let name = "a \"b\" \\ ü/<c>";
    let run = Input::for_docusign(name, &scene.docusign, scene.folder.path())
        .delivers_to(&scene.hec)
        .run(ds_monitor());
    in_order(run).assert_exit(0);
    let taken = scene.hec.taken();
    assert_eq!(taken.len(), 3);
    let source = format!("ds_monitor://{name}");
    assert!(taken.iter().all(|it| it.source == source));
}

/// The eventId of [`short`].
fn id(n: usize) -> String {
    format!("e-{n:09}")
}

/// Only these records were left out, each with a line of its own.
#[track_caller]
fn assert_left_out(scene: &Scene, run: &Outcome, left_out: &[usize]) {
    scene.assert_caught_up(run);
    scene.assert_unbroken_chain(run);
    let lines = with_action(run, "ERROR", "refuse_event");
    let ids = lines.iter().map(|it| it.field("event_id").to_owned());
    let mut ids: Vec<_> = ids.collect();
    ids.sort();
    let expected: Vec<_> = left_out.iter().map(|n| id(*n)).collect();
    assert_eq!(ids, expected, "{}", run.report());
    assert_eq!(
        at_level(run, "ERROR").len(),
        left_out.len(),
        "{}",
        run.report()
    );
    for (number, batches) in scene.account().iter().enumerate() {
        let is_left_out = left_out.contains(&number);
        assert_eq!(batches.is_empty(), is_left_out, "record {number}");
    }
}

#[test]
fn an_event_that_is_refused_is_left_out_and_named_and_all_others_arrive() {
    for (code, acknowledges) in [(6, false), (12, false), (13, true), (15, true), (6, true)] {
        let scene = Scene::small();
        let left_out = [0, 7, 8, 99, 150, 299];
        scene.hec.acknowledge(acknowledges);
        for n in left_out {
            scene.hec.poison(&id(n), code, true);
        }
        let run = scene.run();
        assert_left_out(&scene, &run, &left_out);
        let line = &with_action(&run, "ERROR", "refuse_event")[0];
        assert_says(line, &[&format!("code {code}")]);
        // The time is all there is of an event whose id is not known elsewhere.
        assert_eq!(line.field("time"), scene.records[left_out[0]].1);
        // What stands before a refused event in its page comes once more, because nothing says that it was taken.
        let twice = scene.hec.taken().len() - (300 - left_out.len());
        let stands_before = |n: &usize| left_out.iter().any(|bad| bad / 100 == n / 100 && bad > n);
        let good = (0..300).filter(|n| !left_out.contains(n));
        assert_eq!(twice, good.filter(stands_before).count());
    }
}

#[test]
fn whatever_a_refusal_says_only_the_events_that_are_refused_alone_are_left_out() {
    for (takes_none, numbers_from) in [(true, 0), (false, 1), (true, 1), (false, 1_000)] {
        for acknowledges in [false, true] {
            let scene = Scene::small();
            let left_out = [3, 7, 120, 299];
            scene
                .hec
                .acknowledge(acknowledges)
                .numbers_from(numbers_from);
            if takes_none {
                scene.hec.takes_none_before_a_refusal();
            }
            for n in left_out {
                scene.hec.poison(&id(n), 6, true);
            }
            let run = scene.run();
            assert_left_out(&scene, &run, &left_out);
            let line = one(&run, "INFO", "events_ingested");
            assert_eq!(line.field("n_events"), "296", "{}", line.raw);
            assert_eq!(line.field("n_refused"), "4", "{}", line.raw);
            let pages = with_action(&run, "INFO", "page_ingested");
            let refused = pages.iter().filter_map(|line| line.fields.get("n_refused"));
            let refused: usize = refused.map(|n| n.parse::<usize>().unwrap()).sum();
            assert_eq!(refused, 4, "{}", run.report());
        }
    }
}

#[test]
fn bodies_that_get_lost_on_the_way_are_sent_again_and_never_left_out() {
    let scene = Scene::small();
    scene.hec.fault(2, Fault::Instead(refusal(5, None)));
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    assert_eq!(
        with_action(&run, "WARN", "send").len(),
        1,
        "{}",
        run.report()
    );

    let scene = Scene::small();
    for nth in 2..14 {
        let reply = refusal(5, None).header("Retry-After", 0);
        scene.hec.fault(nth, Fault::Instead(reply));
    }
    let line = failure(&scene.run());
    assert_says(&line, &["code 5", "proxy or gateway"]);
    assert_eq!(scene.saved(), 100);
    scene.assert_next_run_completes();
}

#[test]
fn an_event_that_is_refused_without_saying_which_is_found() {
    for acknowledges in [false, true] {
        let scene = Scene::small();
        let left_out = [0, 42, 43, 199, 299];
        scene.hec.acknowledge(acknowledges);
        for n in left_out {
            scene.hec.poison(&id(n), 6, false);
        }
        let run = scene.run();
        assert_left_out(&scene, &run, &left_out);
        // Halving 100 takes 7 steps with two halves each.
        assert!(
            scene.hec.posts() < 3 + left_out.len() * 2 * 9,
            "{}",
            scene.hec.posts()
        );
    }
}

#[test]
fn a_batch_that_is_too_large_is_halved_and_an_event_that_is_too_large_is_left_out() {
    for acknowledges in [false, true] {
        let scene = Scene::new(
            |n| {
                let (record, time) = short(n);
                let blank = " ".repeat(if n == 142 { 40_000 } else { 0 });
                (record.replacen('{', &format!("{{{blank}"), 1), time)
            },
            300,
            100,
        );
        scene.hec.acknowledge(acknowledges).max_content(10_000);
        let run = scene.run();
        assert_left_out(&scene, &run, &[142]);
        scene
            .hec
            .batches()
            .iter()
            .for_each(|it| assert!(it.confirmed));
        assert_eq!(scene.hec.taken().len(), 299);
    }
}

#[test]
fn a_collector_that_refuses_every_event_ends_the_run_and_none_is_given_up() {
    for code in [Some(6), None] {
        let scene = Scene::small();
        match code {
            Some(code) => scene.hec.poison("e-", code, false),
            None => scene.hec.max_content(10),
        };
        let run = scene.run();
        run.assert_exit(1);
        let last = at_level(&run, "ERROR").pop().unwrap();
        assert_says(&last, &["gateway"]);
        assert_eq!(scene.checkpoint()["cursor"], BEGINNING);
        assert_eq!(scene.hec.taken().len(), 0);
        assert!(scene.hec.posts() < 100, "{}", scene.hec.posts());
    }
}

#[test]
fn a_collector_that_refuses_good_events_while_it_is_overloaded_loses_none() {
    // A batch of 100 is cut down to single events within eight requests.
    std::thread::scope(|scope| {
        for (acknowledges, first, count) in (0..24).map(|n| (n % 2 == 0, 1 + n % 3, 5 + n)) {
            scope.spawn(move || {
                let scene = Scene::small();
                scene.hec.acknowledge(acknowledges);
                scene.hec.overloaded(first..first + count);
                let run = scene.run();
                let name = format!("{count} from {first}: {}", run.report());
                let refused = with_action(&run, "ERROR", "refuse_event");
                assert!(refused.is_empty(), "{name}");
                if run.status.code() == Some(0) {
                    scene.assert_complete();
                } else {
                    failure(&run);
                    scene.hec.overloaded(0..0);
                    scene.assert_next_run_completes();
                }
            });
        }
    });
}

#[test]
fn where_a_good_event_was_refused_no_other_is_left_out() {
    let scene = Scene::small();
    scene.hec.poison(&id(7), 6, true).poison(&id(250), 6, true);
    // The second of them is not to blame: it is accepted when it is sent again.
    scene.hec.pardon_after(&id(250), 1);
    let run = scene.run();
    let line = failure(&run);
    assert_says(&line, &["accepts at other times", "none is left out"]);
    assert_eq!(scene.saved(), 0);
    assert!(scene.account()[250].len() == 1 && scene.account()[7].is_empty());
}

#[test]
fn an_answer_that_no_event_collector_gives_costs_at_most_one_more_copy_and_is_shown() {
    let answers = [
        (200, "OK", "OK"),
        (200, "", "no text"),
        (200, "{}", "{}"),
        (200, r#"{"text":"Success"}"#, "Success"),
        (200, r#"{"code":0,"ackId":18446744073709551616}"#, "ackId"),
        (200, r#"{"code":0,"ackId":-1}"#, "ackId"),
        (201, "", "201"),
        (202, "accepted", "accepted"),
        (204, "", "204"),
        (206, "[]", "206"),
    ];
    std::thread::scope(|scope| {
        for (status, body, shown) in answers {
            scope.spawn(move || {
                let scene = Scene::small();
                for nth in 2..20 {
                    let reply = Reply::text(status, "text/plain", body).header("Retry-After", 0);
                    scene.hec.fault(nth, Fault::After(reply));
                }
                let run = scene.run();
                let line = failure(&run);
                assert_says(&line, &[shown, "hec_url"]);
                assert_eq!(line.field("status"), status.to_string());
                assert_eq!((scene.hec.taken().len(), scene.saved()), (300, 100));
            });
        }
    });
}

#[test]
fn success_may_have_another_status_of_success() {
    let scene = Scene::small();
    for (nth, status) in [(1, 201), (2, 202)] {
        let reply = Reply::json(status, r#"{"text":"Success","code":0}"#);
        scene.hec.fault(nth, Fault::After(reply));
    }
    let run = scene.run();
    scene.assert_caught_up(&run);
    assert_eq!(scene.hec.taken().len(), 300);
}

#[test]
fn an_answer_that_is_longer_than_any_event_collectors_is_not_read_to_its_end() {
    const MOST: usize = 64 * 1024;
    for (length, code) in [(MOST, 0), (MOST + 1, 1)] {
        let scene = Scene::small();
        let (head, tail) = (r#"{"code":0,"text":""#, r#""}"#);
        let text = "x".repeat(length - head.len() - tail.len());
        let reply = Reply::json(200, format!("{head}{text}{tail}"));
        scene.hec.fault(1, Fault::After(reply));
        let run = scene.run();
        run.assert_exit(code);
        assert_eq!(scene.hec.posts(), if code == 0 { 3 } else { 1 });
    }
}

#[test]
fn a_batch_that_gets_no_answer_is_halved_and_later_ones_are_not_sent_so_large() {
    for acknowledges in [false, true] {
        let scene = Scene::new(long, 3_600, 900);
        scene.hec.acknowledge(acknowledges).hangs_up_beyond(400_000);
        let run = scene.run();
        scene.assert_caught_up(&run);
        scene.assert_delivered_once();
        assert_eq!(scene.hec.taken().len(), 3_600);
        // The first batch three times, then its halves, at most.
        let warnings = with_action(&run, "WARN", "send").len();
        assert!((2..=5).contains(&warnings), "{}", run.report());
    }
}

#[test]
fn a_token_that_the_collector_sends_back_is_not_shown() {
    let json = serde_json::json!({"text": format!("no token {} here", hec::TOKEN), "code": 4});
    let part = format!("<p>Splunk {}", &hec::TOKEN[..30]);
    let escaped = hec::TOKEN.replace('-', "%2D");
    let replies = [
        Reply::json(403, json.to_string()),
        Reply::json(503, json.to_string()).header("Retry-After", 0),
        Reply::json(400, json.to_string().replace(":4", ":6")),
        Reply::text(200, "text/html", part),
        Reply::text(200, "text/plain", escaped),
        Reply::text(400, "text/plain", format!("error: {}", hec::TOKEN)),
    ];
    for reply in replies {
        let scene = Scene::small();
        for nth in 1..60 {
            scene.hec.fault(nth, Fault::Instead(reply.clone()));
        }
        let check = scene
            .input
            .start(ds_monitor(), &["check"], scene.input.input_xml())
            .finish();
        let run = in_order(scene.input.run(ds_monitor()));
        for outcome in [check, scene.input.validate(ds_monitor()), run] {
            let shown = String::from_utf8_lossy(&outcome.stdout).into_owned() + &outcome.stderr;
            for part in [hec::TOKEN, &hec::TOKEN[..30], "4d2e%2D8a3f"] {
                assert!(!shown.contains(part), "{part}: {shown}");
            }
        }
        // The same towards a question about acknowledgements.
        let scene = Scene::small();
        scene.hec.acknowledge(true);
        for nth in 1..5 {
            scene.hec.fault_on_ack(nth, Fault::Instead(reply.clone()));
        }
        in_order(scene.input.run(ds_monitor()));
    }
}

#[test]
fn many_pages_wait_for_their_acknowledgements_and_a_kill_loses_none_of_them() {
    for (saved, from) in [(0, 0), (3, 3)] {
        let scene = Scene::new(short, 4_000, 100);
        scene.hec.acknowledge(true).withhold_acks(from);
        killed_at(&scene, saved * 100, |run| {
            scene.hec.wait_for_posts(saved + PAGES_UNDER_WAY, DEADLINE);
            if saved > 0 {
                run.wait_for_stderr(&cursor_at(saved * 100), DEADLINE);
            }
            scene.hec.wait_for_polls(scene.hec.polls() + 3, DEADLINE);
            let under_way = scene.hec.posts() - saved;
            assert_eq!(under_way, PAGES_UNDER_WAY);
        });
        assert!(scene.hec.taken().len() > 4_000);
    }
}

#[test]
fn acknowledgements_are_asked_for_together_and_not_more_than_three_times_a_batch() {
    let scene = Scene::new(short, 3_000, 100);
    let after = Duration::from_secs(1);
    scene.hec.acknowledge(true).ack_after(after);
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    scene.assert_delivered_once();
    let (batches, polls) = (scene.hec.batches(), scene.hec.polls());
    assert_eq!(batches.len(), 30);
    assert!(polls <= 3 * 30, "{polls} questions");
    let requests = scene.hec.requests();
    let questions = requests.iter().filter(|it| it.path.ends_with("/ack"));
    let asked = questions.map(|it| {
        let question: Value = serde_json::from_slice(&it.body).unwrap();
        question["acks"].as_array().unwrap().len()
    });
    let asked: Vec<_> = asked.collect();
    assert!(asked.iter().sum::<usize>() <= 4 * 30, "{asked:?}");
    assert!(asked.iter().any(|together| *together > 1), "{asked:?}");
    assert!(channels(&batches).len() <= 3);
}

#[test]
fn a_lost_reply_makes_what_waits_on_its_channel_doubtful_and_nothing_else() {
    let scene = Scene::small();
    scene.hec.acknowledge(true).withhold_acks(0);
    scene.hec.fault(3, Fault::lost_reply());
    let run = scene.spawn();
    // Three pages, the third of them twice, and again those that waited on its channel.
    scene.hec.wait_for_posts(6, DEADLINE);
    scene.hec.withhold_acks(None);
    let run = in_order(run.finish());
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    let batches = scene.hec.batches();
    let (before, after) = batches.split_at(3);
    assert!(channels(before).is_disjoint(&channels(after)));
}

#[test]
fn events_without_a_time_never_follow_one_with_a_time_in_a_batch() {
    // The stand-in looks at every batch.
    let scene = Scene::small();
    let records = (0..100).map(|n| match n % 3 {
        0 => short(n).0,
        _ => format!(r#"{{"n":{n}}}"#),
    });
    let records: Vec<_> = records.collect();
    scene.docusign.records(records.clone());
    scene.run().assert_exit(0);
    let taken = scene.hec.taken();
    let sent: HashSet<_> = records.iter().collect();
    assert!(taken.len() == 100 && taken.iter().all(|it| sent.contains(&it.event)));
    assert_eq!(scene.hec.batches().len(), 2);
    let timed = taken.iter().filter(|it| it.time.is_some());
    assert_eq!(timed.count(), 34);
}

#[test]
fn an_older_fluent_bit_that_objects_to_an_empty_request_may_be_saved_and_checked() {
    let scene = Scene::small();
    let reply = Reply::text(400, "text/plain", "error: no payload found\n");
    scene.hec.fault(1, Fault::Instead(reply.clone()));
    scene.input.validate(ds_monitor()).assert_exit(0);
    scene.hec.fault(2, Fault::Instead(reply));
    let check = scene
        .input
        .start(ds_monitor(), &["check"], scene.input.input_xml())
        .finish();
    let text = String::from_utf8(check.stdout.clone()).unwrap();
    let step = text.lines().find(|line| line.starts_with("Collector"));
    let step = step.unwrap();
    for part in ["OK", "did not refuse the token", "no payload found"] {
        assert!(step.contains(part), "{text}");
    }
    assert!(!step.contains("accepts"), "{text}");
    for code in [1, 2, 3, 4, 7, 10] {
        scene.hec.refuse(code);
        refusal_on_saving(&scene.input);
    }
}

#[test]
fn a_quiet_stream_whose_every_event_is_refused_is_not_given_up_either() {
    // The few records of a minute, with nothing to compare them with.
    let scene = Scene::new(short, 3, 100);
    scene.hec.poison("e-", 6, false);
    let run = scene.run();
    run.assert_exit(1);
    assert_eq!(scene.checkpoint()["cursor"], BEGINNING, "{}", run.report());
}

#[test]
fn many_refused_events_among_good_ones_are_left_out() {
    // Where no number is told, the event in the middle of a batch is kept back; that of the last page is a good one.
    for (acknowledges, tells_number, first) in
        [(false, true, 1), (true, true, 1), (false, false, 0)]
    {
        let scene = Scene::small();
        let left_out: Vec<_> = (first..300).step_by(3).collect();
        scene.hec.acknowledge(acknowledges);
        for n in &left_out {
            scene.hec.poison(&id(*n), 6, tells_number);
        }
        assert_left_out(&scene, &scene.run(), &left_out);
    }
}

#[test]
fn a_refused_event_without_an_id_is_named_all_the_same() {
    let scene = Scene::small();
    let docusign = &scene.docusign;
    docusign.records(["null", r#"{"timestamp":"2026-01-05T08:00:00Z"}"#, "\"\""]);
    let run = scene.run();
    run.assert_exit(0);
    let lines = with_action(&run, "ERROR", "refuse_event");
    assert_eq!(lines.len(), 2, "{}", run.report());
    let only = scene.hec.events().into_iter().collect::<HashSet<_>>();
    assert_eq!(only.len(), 1);
    assert_eq!(scene.saved(), 3);
}

#[test]
fn nothing_is_saved_before_it_is_acknowledged() {
    let scene = Scene::large();
    // The first page has two batches.
    scene.hec.acknowledge(true).withhold_acks(1);
    let mut run = scene.spawn();
    for polls in 1..5 {
        scene.hec.wait_for_polls(polls, DEADLINE);
        let stderr = run.wait_for_stderr("hec_delivery", DEADLINE);
        assert!(!stderr.contains("page_ingested"), "{stderr}");
        let saved = scene.checkpoint();
        assert_eq!(
            (&saved["cursor"], &saved["state"]),
            (&BEGINNING.into(), &"closed".into())
        );
    }
    assert!(scene.hec.batches()[0].confirmed && !scene.hec.batches()[1].confirmed);
    scene.hec.withhold_acks(None);
    let run = in_order(run.finish());
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    scene.assert_delivered_once();
    assert_eq!(scene.hec.taken().len(), scene.records.len());
}

/// Kills when `is_time`, checks what was saved, and lets another run complete it when the collector is in order.
#[track_caller]
fn killed_at(scene: &Scene, saved: usize, is_time: impl FnOnce(&mut Running)) {
    let mut run = scene.spawn();
    is_time(&mut run);
    run.kill();
    run.wait(DEADLINE);
    let state = scene.checkpoint()["state"].clone();
    assert_eq!((scene.saved(), state), (saved, "closed".into()));
    scene.hec.withhold_acks(None);
    let run = scene.run();
    scene.assert_caught_up(&run);
    let resumed = with_action(&run, "INFO", "resume_after_cut_off");
    assert!(resumed.is_empty(), "{}", run.report());
    scene.assert_complete();
    let twice = scene.hec.taken().len() - scene.records.len();
    assert!(twice <= PAGES_UNDER_WAY * scene.page, "{twice} twice");
}

#[test]
fn a_run_that_was_cut_off_towards_splunkd_is_repeated_by_its_last_page_and_then_closed() {
    let scene = Scene::small();
    in_order(scene.run());
    let mut saved = scene.checkpoint();
    saved["state"] = "open".into();
    fs::write(scene.checkpoint_path(), saved.to_string()).unwrap();
    let run = in_order(scene.run());
    one(&run, "INFO", "resume_after_cut_off");
    assert_eq!(scene.hec.taken().len(), 300 + 100);
    assert_eq!(scene.checkpoint()["state"], "closed");
}

#[test]
fn a_run_that_is_killed_after_a_batch_was_taken_and_before_the_reply_sends_it_again() {
    for (nth, saved) in [(1, 0), (2, 0), (3, 900)] {
        let scene = Scene::large();
        scene.hec.fault(nth, Fault::silence());
        killed_at(&scene, saved, |_| scene.hec.wait_for_posts(nth, DEADLINE));
    }
}

#[test]
fn a_run_that_is_killed_while_acknowledgements_are_withheld_sends_again_what_was_not_acknowledged()
{
    for (from, saved) in [(0, 0), (1, 0), (2, 900)] {
        let scene = Scene::large();
        scene.hec.acknowledge(true).withhold_acks(from);
        killed_at(&scene, saved, |_| {
            let batches = 2 * (from / 2 + 1);
            scene.hec.wait_for_posts(batches, DEADLINE);
            scene.hec.wait_for_polls(scene.hec.polls() + 2, DEADLINE);
        });
    }
}

#[test]
fn a_run_that_is_killed_again_and_again_loses_nothing_and_saves_nothing_that_is_not_confirmed() {
    type Make = fn(usize) -> (String, String);
    let cases: [(Make, usize, usize, usize); 2] = [(short, 10_000, 250, 30), (long, 3_600, 900, 8)];
    with_random(|random| {
        let mut kills = 0;
        for (make, count, page, posts) in cases {
            for (acknowledges, after) in [(false, 0), (true, 0), (true, 60)] {
                let scene = Scene::new(make, count, page);
                let after = Duration::from_millis(after);
                scene.hec.acknowledge(acknowledges).ack_after(after);
                let on_their_way = PAGES_UNDER_WAY * page;
                kills += killed_again_and_again(&scene, on_their_way, posts, random);
                scene.assert_complete();
                assert_eq!(scene.saved(), count);
            }
        }
        assert!(kills > 5, "only {kills} kills");
    });
}

/// Kills one run after the other until one comes to its end, and says how many.
fn killed_again_and_again(
    scene: &Scene,
    most_twice: usize,
    most_posts: usize,
    random: &mut Random,
) -> usize {
    for kills in 0.. {
        let posts = scene.hec.posts();
        if random.chance(30) {
            let fault = [Fault::busy(), Fault::lost_reply()][random.below(2)].clone();
            scene.hec.fault(posts + 1 + random.below(6), fault);
        }
        let before = scene.hec.batches().len();
        let mut run = scene.spawn();
        // The first runs end early, so that there are some.
        let enough = posts + random.below(if kills < 2 { 3 } else { most_posts });
        let ended = eventually("batch or end", || {
            let ended = run.child.try_wait().unwrap().is_some();
            (ended || scene.hec.posts() > enough).then_some(ended)
        });
        if !ended {
            pass_time(random);
            run.kill();
        }
        let status = run.wait(DEADLINE);
        let account = scene.account();
        let batches = scene.hec.batches();
        let is_safe = |it: &&Vec<usize>| it.iter().any(|batch| batches[*batch].confirmed);
        let safe = account.iter().take_while(is_safe).count();
        if scene.checkpoint_path().exists() {
            let saved = scene.saved();
            assert!(saved <= safe, "{saved} saved, {safe} safe");
        }
        let is_again = |it: &&Vec<usize>| it.first() < Some(&before) && it.last() >= Some(&before);
        let again = account.iter().filter(is_again).count();
        assert!(again <= most_twice, "{again} again");
        if ended {
            assert_eq!(status.code(), Some(0));
            return kills;
        }
    }
    unreachable!()
}

#[test]
fn a_signal_ends_a_run_within_two_seconds_whatever_the_collector_does_not_do() {
    type Wait = fn(&Scene, &mut Running);
    let answered = |scene: &Scene, _: &mut Running| scene.hec.wait_for_posts(1, DEADLINE);
    let warned = |_: &Scene, run: &mut Running| {
        run.wait_for_stderr("retry_in_ms=", DEADLINE);
    };
    let long_wait = Fault::Instead(refusal(9, None).header("Retry-After", 50));
    let cases: [(&str, Fault, Wait); 3] = [
        ("silent", Fault::silence(), answered),
        (
            "half an answer",
            Fault::After(Reply::json(200, "{\"text\":\"Success\"}").stall_after(5)),
            answered,
        ),
        ("a long wait", long_wait, warned),
    ];
    for (name, fault, wait) in cases {
        for signal in ["TERM", "INT"] {
            let scene = Scene::small();
            scene.hec.fault(1, fault.clone());
            let mut run = scene.spawn();
            wait(&scene, &mut run);
            run.signal(signal);
            assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1), "{name}");
            let saved = scene.checkpoint();
            assert_eq!(
                (&saved["cursor"], &saved["state"]),
                (&BEGINNING.into(), &"closed".into())
            );
            let run = in_order(run.finish());
            one(&run, "WARN", "stop");
            assert!(at_level(&run, "ERROR").is_empty(), "{}", run.report());
            scene.assert_next_run_completes();
        }
    }
}

#[test]
fn a_signal_ends_a_run_that_waits_for_acknowledgements() {
    let scene = Scene::small();
    scene.hec.acknowledge(true).withhold_acks(0);
    for (fault, polls) in [(None, 1), (None, 4), (Some(Fault::silence()), 1)] {
        let before = scene.hec.polls();
        if let Some(fault) = fault {
            scene.hec.fault_on_ack(before + 1, fault);
        }
        let mut run = scene.spawn();
        scene.hec.wait_for_polls(before + polls, DEADLINE);
        run.terminate();
        assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
        assert_eq!(scene.checkpoint()["cursor"], BEGINNING);
        one(&in_order(run.finish()), "WARN", "stop");
    }
    scene.hec.withhold_acks(None);
    scene.assert_next_run_completes();
}

#[test]
fn where_acknowledgements_are_off_what_was_accepted_is_safe() {
    // A token whose setting is changed while a run goes on.
    let scene = Scene::small();
    scene.hec.acknowledge(true).refuse_acks(14);
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    assert_eq!(scene.hec.taken().len(), 300);
    let lines = with_action(&run, "INFO", "hec_delivery");
    let acknowledged: Vec<_> = lines
        .iter()
        .map(|line| line.field("acknowledged"))
        .collect();
    assert_eq!(acknowledged, ["true", "false"], "{}", run.report());
    assert!(at_level(&run, "ERROR").is_empty(), "{}", run.report());
}

#[test]
fn a_token_that_is_disabled_while_acknowledgements_are_awaited_ends_the_run() {
    for code in [1, 4] {
        let scene = Scene::small();
        scene.hec.acknowledge(true).refuse_acks(code);
        let run = scene.run();
        let line = failure(&run);
        assert_eq!(line.field("code"), code.to_string(), "{}", line.raw);
        assert_says(&line, &["token"]);
        assert_eq!(scene.hec.polls(), 1);
        assert_eq!(scene.saved(), 0);
        scene.hec.refuse_acks(None);
        scene.assert_next_run_completes();
    }
}

#[test]
fn a_question_for_acknowledgements_that_fails_is_asked_again() {
    let scene = Scene::small();
    scene.hec.acknowledge(true);
    let html = Reply::text(200, "text/html", "<html>x</html>").header("Retry-After", 0);
    for (nth, fault) in [
        (1, Fault::busy()),
        (3, Fault::Instead(html)),
        (5, Fault::HangUp),
        (7, Fault::Instead(Reply::reset())),
    ] {
        scene.hec.fault_on_ack(nth, fault);
    }
    let run = scene.run();
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    assert_eq!(scene.hec.taken().len(), 300);
}

#[test]
fn cookies_keep_a_run_at_the_indexer_that_knows_its_channel() {
    let scene = Scene::small();
    scene
        .hec
        .acknowledge(true)
        .polls_before_ack(1)
        .indexers(&[0, 1, 2], true);
    let run = scene.run();
    scene.assert_caught_up(&run);
    assert_eq!(scene.hec.taken().len(), 300);
    assert!(at_level(&run, "WARN").is_empty(), "{}", run.report());
    let requests = scene.hec.requests();
    assert!(requests[0].header("cookie").is_none());
    for request in &requests[1..] {
        assert_eq!(request.header("cookie"), Some("stand-in-balancer=0"));
    }
}

#[test]
fn without_stickiness_nothing_is_saved_that_is_not_safe() {
    with_random(|random| {
        let mut all_turns = vec![vec![0, 1], vec![0, 1, 2], vec![0, 0, 1], vec![0, 1, 1, 0]];
        all_turns.extend((0..20).map(|n| (0..31).map(|_| random.below(2 + n % 4)).collect()));
        let outcomes: Vec<_> = std::thread::scope(|scope| {
            let runs = all_turns.iter().map(|turns| {
                scope.spawn(move || {
                    let scene = Scene::new(short, 600, 100);
                    scene.hec.acknowledge(true).indexers(turns, false);
                    let run = scene.run();
                    let batches = scene.hec.batches();
                    let account = scene.account();
                    let is_safe = |it: &&Vec<usize>| it.iter().any(|it| batches[*it].confirmed);
                    let safe = account.iter().take_while(is_safe).count();
                    let saved = scene.saved();
                    assert!(saved <= safe, "{turns:?}: {saved} saved, {safe} safe");
                    let is_complete = run.status.code() == Some(0);
                    if is_complete {
                        scene.assert_complete();
                        assert_eq!(safe, 600);
                    } else {
                        let line = failure(&run);
                        assert_says(&line, &["confirms no events"]);
                    }
                    is_complete
                })
            });
            let runs: Vec<_> = runs.collect();
            runs.into_iter().map(|run| run.join().unwrap()).collect()
        });
        assert!(outcomes.contains(&false), "{outcomes:?}");
    });
}

#[test]
fn a_balancer_that_is_not_sticky_is_named_as_the_likely_reason() {
    // The one batch goes to one indexer, the question about it to the other.
    let scene = Scene::new(short, 100, 100);
    scene.hec.acknowledge(true).indexers(&[0, 1], false);
    let line = failure(&scene.run());
    assert_says(&line, &["confirms no events", "sticky"]);
    assert_eq!(scene.checkpoint()["cursor"], BEGINNING);
}

/// After a restart numbers begin at 0 again. Whose an acknowledgement is then, nobody knows.
#[test]
fn a_number_that_comes_twice_confirms_neither_batch_and_both_are_sent_again() {
    let scene = Scene::new(short, 200, 100);
    let again = Reply::json(200, r#"{"text":"Success","code":0,"ackId":0}"#.to_owned());
    scene.hec.acknowledge(true).withhold_acks(0);
    scene.hec.fault(2, Fault::Instead(again));
    let run = scene.spawn();
    scene.hec.wait_for_posts(4, DEADLINE);
    scene.hec.withhold_acks(None);
    let run = run.finish();
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    let warnings = with_action(&run, "WARN", "resend");
    assert_eq!(warnings.len(), 1, "{}", run.report());
    assert_says(
        &warnings[0],
        &["numbers acknowledgements anew", "sticky", "sent again"],
    );
    assert_eq!(warnings[0].field("batches"), "2");
}

#[test]
fn an_indexer_that_restarts_gets_everything_again_that_it_has_not_acknowledged() {
    let scene = Scene::small();
    scene.hec.acknowledge(true).withhold_acks(0);
    let run = scene.spawn();
    // A batch that comes after the restart would tell of it by its number, before a question does.
    scene.hec.wait_for_posts(3, DEADLINE);
    scene.hec.restart().withhold_acks(None);
    let run = in_order(run.finish());
    scene.assert_caught_up(&run);
    scene.assert_unbroken_chain(&run);
    scene.assert_delivered_once();
    assert_eq!(
        with_action(&run, "WARN", "resend").len(),
        1,
        "{}",
        run.report()
    );
    // What is sent again goes over a new channel.
    let batches = scene.hec.batches();
    let again = batches.iter().rposition(|it| !it.confirmed).unwrap() + 1;
    let (before, after) = batches.split_at(again);
    assert!(channels(before).is_disjoint(&channels(after)));
}

#[test]
fn an_indexer_that_forgets_the_channel_again_and_again_ends_the_run_with_an_error() {
    let scene = Scene::small();
    scene.hec.acknowledge(true).refuse_acks(11);
    let run = scene.run();
    let line = failure(&run);
    assert_says(&line, &["confirms no events"]);
    assert_eq!(
        with_action(&run, "WARN", "resend").len(),
        3,
        "{}",
        run.report()
    );
    assert_eq!(scene.saved(), 0);
    scene.hec.refuse_acks(None);
    scene.assert_next_run_completes();
}

#[test]
fn the_collector_is_reached_through_tls_if_its_certificate_is_trusted() {
    let scene = Scene::small();
    let tls = Tls::in_front_of(&scene.hec.url());
    let input = scene.input.clone().param("hec_url", tls.url());
    let run = in_order(input.run(ds_monitor()));
    let line = failure(&run);
    assert_says(&line, &["certificate", "ca_file"]);
    assert!(at_level(&run, "WARN").is_empty(), "{}", run.report());
    assert!(scene.hec.requests().is_empty());

    scene.hec.acknowledge(true);
    let run = in_order(input.param("ca_file", CA_FILE).run(ds_monitor()));
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
}

#[test]
fn a_collector_that_is_not_there_is_named_and_nothing_is_saved() {
    let scene = Scene::small();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    // Nobody waits for all attempts here.
    let mut run = scene
        .input
        .clone()
        .param("hec_url", &address)
        .spawn(ds_monitor());
    let stderr = run.wait_for_stderr("action=send", DEADLINE);
    assert!(stderr.contains("WARN"), "{stderr}");
    assert!(stderr.contains("cannot be reached"), "{stderr}");
    run.terminate();
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
    assert_eq!(scene.checkpoint()["cursor"], BEGINNING);
}

#[test]
fn an_address_or_a_token_that_cannot_be_right_is_refused_before_anything_is_asked() {
    let scene = Scene::small();
    let secret = "s3cret-in-the-wrong-place";
    let with_user = format!("https://user:{secret}@splunk.example.com:8088");
    for (param, value, expected) in [
        ("hec_token", "", "hec_token"),
        ("hec_url", "", "hec_url"),
        ("hec_url", "http://splunk.example.com:8088", "https"),
        ("hec_url", "ftp://127.0.0.1", "hec_url"),
        ("hec_url", "splunk.example.com:8088", "hec_url"),
        ("hec_url", "127.0.0.1:8088", "hec_url"),
        ("hec_url", &with_user, "hec_url"),
        (
            "hec_url",
            "https://splunk.example.com:8088/services/collector/event",
            "/services/collector",
        ),
    ] {
        let input = scene.input.clone().param(param, value);
        let run = in_order(input.run(ds_monitor()));
        run.assert_no_secret(&[secret]);
        let line = failure(&run);
        assert_says(&line, &[expected]);
        assert!(!line.raw.contains("wrong-place"), "{}", line.raw);
        let refused = input.validate(ds_monitor());
        refused
            .assert_exit(1)
            .assert_no_secret(&[hec::TOKEN, secret]);
        let message = String::from_utf8(refused.stdout.clone()).unwrap();
        assert!(message.contains(expected), "{param}={value}: {message}");
        assert!(scene.docusign.requests().is_empty(), "{param}={value}");
        assert!(scene.hec.requests().is_empty(), "{param}={value}");
    }
}

#[test]
fn a_token_that_no_request_can_carry_is_refused_before_anything_is_asked() {
    let scene = Scene::small();
    let input = scene.input.clone().param("hec_token", "tok\nen");
    let check = input.start(ds_monitor(), &["check"], input.input_xml());
    for (run, code) in [(input.run(ds_monitor()), 1), (check.finish(), 78)] {
        run.assert_exit(code)
            .assert_no_secret(&["tok\nen", "tok en"]);
        let text = String::from_utf8(run.stdout.clone()).unwrap() + &run.stderr;
        assert!(text.contains("hec_token"), "{text}");
        assert!(scene.docusign.requests().is_empty(), "{text}");
    }
}

#[test]
fn an_address_may_end_in_a_slash_or_have_a_path() {
    let scene = Scene::new(short, 3, 100);
    for (end, code) in [("/", 0), ("/gateway", 1)] {
        let url = scene.hec.url() + end;
        let run = in_order(scene.input.clone().param("hec_url", url).run(ds_monitor()));
        run.assert_exit(code);
        scene.docusign.push_records(["{}"]);
        if code == 1 {
            let path = scene.hec.requests().pop().unwrap().path;
            assert_eq!(path, "/gateway/services/collector/event");
        }
    }
}

#[test]
fn the_proxy_applies_to_the_collector_but_not_on_this_machine_or_where_no_proxy_says_so() {
    // The proxy leads to loopback whoever is asked for; so the collector gets a name that is not loopback's.
    let scene = Scene::small();
    let proxy = Proxy::start();
    let input = scene.input.clone().param("proxy_url", proxy.url());
    let run = in_order(input.run(ds_monitor()));
    scene.assert_caught_up(&run);
    scene.assert_delivered_once();
    let seen = proxy.seen();
    assert!(!seen.is_empty());
    let to_collector = |line: &&String| line.contains("/services/collector");
    assert_eq!(seen.iter().find(to_collector), None);

    scene.docusign.push_records(["{}"]);
    let elsewhere = input.param("hec_url", "https://splunk.example.com:8088");
    let mut run = elsewhere.spawn(ds_monitor());
    run.wait_for_stderr("action=send", DEADLINE);
    run.terminate();
    run.wait(STOP_DEADLINE);
    let tunnel = "CONNECT splunk.example.com:8088 refused".to_owned();
    assert!(proxy.seen().contains(&tunnel), "{:?}", proxy.seen());

    let before = proxy.seen().len();
    let direct = elsewhere
        .env("NO_PROXY", "splunk.example.com")
        .param("hec_url", "https://splunk.example.com:8088");
    let mut run = direct.spawn(ds_monitor());
    run.wait_for_stderr("action=send", DEADLINE);
    run.terminate();
    run.wait(STOP_DEADLINE);
    let seen = proxy.seen();
    assert!(!seen[before..].contains(&tunnel), "{:?}", &seen[before..]);
}

#[test]
fn the_token_moves_to_secure_storage_and_leaves_a_mask() {
    let scene = Scene::small();
    let splunkd = Splunkd::start();
    let input = scene.input.clone().saved_in(&splunkd);
    in_order(input.run(ds_monitor())).assert_exit(0);
    let saved = splunkd.input("ds_monitor", "prod").unwrap();
    assert_eq!(saved["hec_token"], "******");
    assert_eq!(saved["hec_url"], scene.hec.url());
    let secrets = splunkd.secrets();
    assert_eq!(secrets.len(), 1);
    let stored: Value = serde_json::from_str(&secrets[0].2).unwrap();
    assert_eq!(stored["hec_token"], hec::TOKEN);

    // Now the token exists in storage only.
    scene.docusign.push_records(["{}"]);
    let masked = input.read_from(&splunkd);
    in_order(masked.run(ds_monitor())).assert_exit(0);
    assert_eq!(scene.hec.taken().len(), 301);

    // A new one takes its place.
    scene.hec.refuse(4);
    scene.docusign.push_records(["{}"]);
    failure(&in_order(masked.run(ds_monitor())));
    scene.hec.refuse(None);
    for (realm, user, _) in splunkd.secrets() {
        splunkd.set_secret(&realm, &user, None);
    }
    let line = failure(&in_order(masked.run(ds_monitor())));
    assert_says(&line, &["again", "prod"]);
}

/// The message in `<error><message>`, for a validation that must fail.
#[track_caller]
fn refusal_on_saving(input: &Input) -> String {
    let outcome = input.validate(ds_monitor());
    outcome.assert_exit(1).assert_no_secret(&SECRETS);
    let stdout = String::from_utf8(outcome.stdout.clone()).unwrap();
    assert!(
        stdout.starts_with("<error><message>"),
        "{}",
        outcome.report()
    );
    stdout
}

#[test]
fn saving_tests_the_token_without_sending_an_event() {
    let scene = Scene::small();
    for acknowledges in [false, true] {
        scene.hec.acknowledge(acknowledges);
        let before = scene.hec.requests().len();
        let outcome = scene.input.validate(ds_monitor());
        outcome.assert_exit(0).assert_no_secret(&SECRETS);
        assert!(
            outcome.stdout.is_empty() && outcome.stderr.is_empty(),
            "{}",
            outcome.report()
        );
        assert_eq!(scene.hec.requests().len(), before + 1);
    }
    for (code, expected) in [(1, "disabled"), (4, "hec_token"), (2, "Authorization")] {
        scene.hec.refuse(code);
        let message = refusal_on_saving(&scene.input);
        assert!(message.contains(expected), "{message}");
    }
    scene.hec.refuse(None);
    let wrong = scene
        .input
        .clone()
        .param("hec_token", "wrong-token-0123456789");
    let message = refusal_on_saving(&wrong);
    assert!(message.contains("hec_token"), "{message}");
    assert!(!message.contains("wrong-token"), "{message}");
    let nowhere = scene.input.clone().param("hec_url", "http://127.0.0.1:1");
    let message = refusal_on_saving(&nowhere);
    assert!(message.contains("cannot be reached"), "{message}");
    assert!(scene.hec.taken().is_empty());
}

#[test]
fn check_has_a_step_for_the_collector_where_there_is_one() {
    let scene = Scene::small();
    let check = |input: &Input| {
        let run = input
            .start(ds_monitor(), &["check"], input.input_xml())
            .finish();
        run.assert_no_secret(&SECRETS);
        let text = String::from_utf8(run.stdout.clone()).unwrap();
        let step = text.lines().find_map(|line| line.strip_prefix("Collector"));
        (
            run.status.code(),
            step.map(|step| step.trim().to_owned()),
            text,
        )
    };
    let (code, step, text) = check(&scene.input);
    assert_eq!(code, Some(0), "{text}");
    assert!(step.unwrap().starts_with("OK"), "{text}");
    scene.hec.refuse(1);
    let (code, step, text) = check(&scene.input);
    assert_eq!(code, Some(78), "{text}");
    let step = step.unwrap();
    assert!(
        step.starts_with("TO DO") && step.contains("disabled"),
        "{text}"
    );
    let (code, step, text) = check(&scene.input.clone().without("hec_url").without("hec_token"));
    assert_eq!((code, step), (Some(0), None), "{text}");
    assert!(scene.hec.taken().is_empty());
}

#[test]
fn odd_records_keep_their_bytes() {
    let deep = format!("{}1{}", "[".repeat(400), "]".repeat(400));
    let long = format!(
        r#"{{"timestamp":"2026-01-05T08:00:00.5Z","text":"{}"}}"#,
        "ä".repeat(1_500_000)
    );
    let odd = [
        "{\"a\":\"\u{fffe}\u{ffff}\u{7f}\u{2028}\"}".to_owned(),
        "{\r\n\t\"a\" :\n1\n,\"b\":[\n]\r}".to_owned(),
        r#"{"a":1.000e+5,"a":-0,"b":0.10,"\u0061":"\ud83d\ude00\/"}"#.to_owned(),
        long,
        r#"{"timestamp":"yesterday","eventId":"x"}"#.to_owned(),
        "5".to_owned(),
        "-1.50E3".to_owned(),
        "true".to_owned(),
        r#""only a string""#.to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        format!(r#"{{"deep":{deep}}}"#),
        r#"{"timestamp":"2026-01-05T08:00:00.123456789+02:00"}"#.to_owned(),
        r#"{"event":"x","time":5,"fields":{"a":"b"},"index":"other"}"#.to_owned(),
    ];
    for acknowledges in [false, true] {
        let scene = Scene::small();
        scene.docusign.records(odd.clone());
        scene.hec.acknowledge(acknowledges);
        let run = scene.run();
        run.assert_exit(0);
        assert!(at_level(&run, "ERROR").is_empty(), "{}", run.report());
        let taken = scene.hec.taken();
        // Those without a time go first, in batches of their own.
        let (timed, untimed): (Vec<_>, Vec<_>) =
            taken.iter().partition(|it: &&Taken| it.time.is_some());
        let is_timed = |record: &&String| record.contains("2026-01-05");
        let (odd_timed, odd_untimed): (Vec<_>, Vec<_>) = odd.iter().partition(is_timed);
        assert!(untimed.iter().map(|it| &it.event).eq(odd_untimed));
        assert!(timed.iter().map(|it| &it.event).eq(odd_timed));
        let times: Vec<_> = taken.iter().filter_map(|it| it.time.as_deref()).collect();
        assert_eq!(times, ["1767600000.5", "1767592800.123456789"]);
        let line = one(&run, "WARN", "deliver_without_time");
        assert_eq!(line.field("n_events"), (odd.len() - 2).to_string());
    }
}

#[test]
fn a_long_event_goes_alone_and_its_neighbours_together() {
    let scene = Scene::small();
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(2_000_000));
    let records = [
        "{\"n\":1}",
        "{\"n\":2}",
        &long,
        "{\"n\":3}",
        &long,
        &long,
        "{\"n\":4}",
    ];
    scene.docusign.records(records);
    scene.run().assert_exit(0);
    assert!(scene.hec.events().iter().eq(&records));
    let sizes: Vec<_> = scene.hec.batches().iter().map(|batch| batch.sent).collect();
    assert_eq!(sizes, [2, 1, 1, 1, 1, 1]);
}

#[test]
fn without_a_collector_in_the_stanza_events_go_to_the_standard_output() {
    let scene = Scene::small();
    let input = scene.input.clone().without("hec_url").without("hec_token");
    let run = input.run(ds_monitor());
    assert_eq!(run.assert_exit(0).whole().events().len(), 300);
    assert!(scene.hec.requests().is_empty());
    // The position is the same for both ways.
    scene.docusign.push_records([sample_record(7)]);
    scene.run().assert_exit(0);
    assert_eq!(scene.hec.events(), sample_records(7..8));
}
