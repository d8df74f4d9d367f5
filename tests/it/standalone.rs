use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ds_monitor::splunk::checkpoint::file_stem;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::delivery::short;
use crate::ds_monitor;
use support::docusign::{ACCESS_TOKEN_MARK, Docusign, PRIVATE_KEY, cursor_at, sample_records};
use support::hec::{self, Hec};
use support::input::{DEADLINE, Input, LogLine, Outcome, Running};
use support::proxy::Proxy;

/// A run that is told to stop must be gone by then.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

const SECRETS: [&str; 3] = [PRIVATE_KEY, ACCESS_TOKEN_MARK, hec::TOKEN];

/// A conf file, a folder for positions, and what they are about.
struct Scene {
    docusign: Docusign,
    input: Input,
    folder: TempDir,
    records: Vec<String>,
}

impl Scene {
    /// Three pages of 100 records, and a file with the one stanza of their input.
    fn new() -> Self {
        let records: Vec<_> = (0..300).map(|n| short(n).0).collect();
        let docusign = Docusign::new().records(records.clone()).page_size(100);
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("positions")).unwrap();
        let positions = folder.path().join("positions");
        let input = Input::for_docusign("prod", &docusign, &positions);
        let scene = Self {
            docusign,
            input,
            folder,
            records,
        };
        scene.write(&scene.input.conf());
        scene
    }

    fn conf(&self) -> PathBuf {
        self.folder.path().join("inputs.conf")
    }

    fn positions(&self) -> PathBuf {
        self.folder.path().join("positions")
    }

    /// Writes the conf file, for nobody else to read.
    fn write(&self, conf: &str) {
        fs::write(self.conf(), conf).unwrap();
        fs::set_permissions(self.conf(), PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// Starts `ds_monitor COMMAND --conf … --input … --checkpoint-dir …`.
    fn start(&self, command: &[&str], name: &str) -> Running {
        self.start_as(&self.input, command, name)
    }

    fn start_as(&self, input: &Input, command: &[&str], name: &str) -> Running {
        let options = self.options(name);
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let arguments = [&command[..1], &options, &command[1..]].concat();
        input.start(ds_monitor(), &arguments, String::new())
    }

    /// `--conf … --input … --checkpoint-dir …`
    fn options(&self, name: &str) -> [String; 6] {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let [conf, input, positions] = ["--conf", "--input", "--checkpoint-dir"].map(str::to_owned);
        [
            conf,
            path(self.conf()),
            input,
            name.to_owned(),
            positions,
            path(self.positions()),
        ]
    }

    #[track_caller]
    fn run(&self) -> Outcome {
        let run = self.start(&["run"], "prod").finish();
        run.assert_no_secret(&SECRETS);
        run
    }

    /// A run with other arguments altogether.
    fn call(&self, arguments: &[&str]) -> Outcome {
        let run = self.input.start(ds_monitor(), arguments, String::new());
        run.finish()
    }

    fn checkpoint(&self) -> Value {
        let name = format!("{}.json", file_stem("ds_monitor://prod"));
        serde_json::from_slice(&fs::read(self.positions().join(name)).unwrap()).unwrap()
    }
}

/// The lines on the standard output.
#[track_caller]
fn lines(run: &Outcome) -> Vec<String> {
    let text = String::from_utf8(run.stdout.clone()).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{}", run.report());
    text.lines().map(str::to_owned).collect()
}

/// Exit codes: wrong arguments, and a configuration that cannot be used.
const USAGE: i32 = 2;
const CONFIGURATION: i32 = 78;

/// The one line of a run that must fail before it does anything.
#[track_caller]
fn refused(run: &Outcome, code: i32) -> LogLine {
    run.assert_exit(code);
    assert_eq!(run.stdout, b"", "{}", run.report());
    let mut lines = run.log_lines();
    assert_eq!(lines.len(), 1, "{}", run.report());
    assert_eq!(lines[0].level, "ERROR", "{}", run.report());
    lines.remove(0)
}

#[track_caller]
fn with_action(run: &Outcome, level: &str, action: &str) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.level == level && line.field("action") == action);
    lines
}

fn warnings(run: &Outcome) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.level != "INFO");
    lines
}

#[test]
fn each_record_is_a_line_and_the_next_run_goes_on() {
    let scene = Scene::new();
    let run = scene.run();
    assert_eq!(lines(run.assert_exit(0)), scene.records);
    assert!(warnings(&run).is_empty(), "{}", run.report());
    assert_eq!(with_action(&run, "INFO", "page_ingested").len(), 3);
    let line = with_action(&run, "INFO", "events_ingested").remove(0);
    assert_eq!(line.field("modular_input_name"), "ds_monitor://prod");
    assert_eq!(line.field("n_events"), "300");
    assert!(!run.stderr.contains("Splunk has read"), "{}", run.report());
    assert_eq!(scene.checkpoint()["cursor"], cursor_at(300).as_str());
    assert_eq!(scene.checkpoint()["state"], "closed");

    let news = sample_records(300..340);
    scene.docusign.push_records(news.clone());
    assert_eq!(lines(scene.run().assert_exit(0)), news);
    assert_eq!(lines(scene.run().assert_exit(0)), [""; 0]);
}

#[test]
fn line_breaks_between_tokens_become_spaces_and_nothing_else_changes() {
    let scene = Scene::new();
    let odd = [
        "{\n\t\"a\":\r\n1,\"b\":\"\u{fffe} \u{2028}<&>\\n\"\n}",
        "null",
        "-0",
        "\"text\"",
        "[ ]",
        "{\"n\":1.00}",
    ];
    scene.docusign.records(odd);
    let run = scene.run();
    let expected: Vec<_> = odd.iter().map(|it| it.replace(['\r', '\n'], " ")).collect();
    let text = String::from_utf8(run.assert_exit(0).stdout.clone()).unwrap();
    let found: Vec<_> = text.split_terminator('\n').collect();
    assert_eq!(found, expected);
}

#[test]
fn the_input_is_named_with_or_without_its_kind_and_has_one_position() {
    let scene = Scene::new();
    let full = scene.start(&["run"], "ds_monitor://prod").finish();
    assert_eq!(lines(full.assert_exit(0)).len(), 300);
    assert_eq!(lines(scene.run().assert_exit(0)).len(), 0);
}

#[test]
fn what_splunk_began_is_gone_on_with_and_the_other_way_round() {
    let scene = Scene::new();
    scene.input.run(ds_monitor()).assert_exit(0);
    scene.docusign.push_records(sample_records(300..320));
    assert_eq!(lines(scene.run().assert_exit(0)).len(), 20);
    scene.docusign.push_records(sample_records(320..350));
    let run = scene.input.run(ds_monitor());
    assert_eq!(run.assert_exit(0).events().len(), 30);
}

#[test]
fn a_run_that_is_killed_goes_on_before_its_last_page() {
    let scene = Scene::new();
    let mut run = scene.start(&["run"], "prod");
    let mut read = vec![];
    let stdout = run.stdout.as_mut().unwrap();
    while read.iter().filter(|byte| **byte == b'\n').count() < 250 {
        let mut piece = [0; 4096];
        let n = std::io::Read::read(stdout, &mut piece).unwrap();
        assert!(n > 0);
        read.extend_from_slice(&piece[..n]);
    }
    run.wait_for_stderr_that(|it| it.matches("page_ingested").count() == 2, DEADLINE);
    run.kill();
    run.wait(DEADLINE);
    drop(run);
    assert_eq!(scene.checkpoint()["cursor"], cursor_at(200).as_str());
    let rest = scene.run();
    assert_eq!(lines(rest.assert_exit(0)), scene.records[100..]);
    assert_eq!(with_action(&rest, "INFO", "resume_after_cut_off").len(), 1);
}

#[test]
fn a_reader_that_closes_early_and_a_signal_end_the_run_within_two_seconds() {
    let scene = Scene::new();
    scene
        .docusign
        .records(sample_records(0..2_000))
        .page_size(2_000);
    let mut run = scene.start(&["run"], "prod");
    let mut some = [0; 1000];
    std::io::Read::read_exact(run.stdout.as_mut().unwrap(), &mut some).unwrap();
    drop(run.stdout.take());
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
    run.wait_for_stderr("action=stop", DEADLINE);
    assert_eq!(scene.checkpoint()["cursor"], "2021-01-01T00:00:00Z");
    assert_eq!(scene.checkpoint()["state"], "open");

    for signal in ["TERM", "INT"] {
        let asked = scene.docusign.requests().len();
        let mut run = scene.start(&["run"], "prod");
        scene.docusign.wait_for_requests(asked + 3, DEADLINE);
        run.signal(signal);
        assert_eq!(run.wait(STOP_DEADLINE).code(), Some(1));
    }
    let rest = scene.start(&["run"], "prod").finish();
    assert_eq!(lines(rest.assert_exit(0)).len(), 2_000);
}

#[test]
fn a_second_process_for_the_same_input_leaves_it_the_work() {
    let scene = Scene::new();
    scene
        .docusign
        .records(sample_records(0..2_000))
        .page_size(2_000);
    let first = scene.start(&["run"], "prod");
    scene.docusign.wait_for_requests(1, DEADLINE);
    let second = scene.run();
    second.assert_exit(0);
    assert_eq!(
        with_action(&second, "WARN", "skip").len(),
        1,
        "{}",
        second.report()
    );
    assert_eq!(second.stdout, b"");
    // Nor does splunkd's process come in between.
    let third = scene.input.run(ds_monitor());
    assert_eq!(
        with_action(&third, "WARN", "skip").len(),
        1,
        "{}",
        third.report()
    );
    assert_eq!(lines(first.finish().assert_exit(0)).len(), 2_000);
}

#[test]
fn the_collector_gets_the_records_where_the_stanza_names_one() {
    let scene = Scene::new();
    let hec = Hec::new().acknowledge(true);
    let input = scene
        .input
        .clone()
        .delivers_to(&hec)
        .param("index", "security");
    scene.write(&input.param("host", "here").conf());
    let run = scene.run();
    assert_eq!(run.assert_exit(0).stdout, b"");
    assert!(warnings(&run).is_empty(), "{}", run.report());
    assert!(hec.events() == scene.records);
    let event = hec.taken().remove(0);
    assert_eq!(event.source, "ds_monitor://prod");
    assert_eq!(
        (event.index.as_deref(), event.host.as_deref()),
        (Some("security"), Some("here"))
    );
    assert_eq!(scene.checkpoint()["cursor"], cursor_at(300).as_str());
}

#[test]
fn default_and_kind_stanzas_apply_below_the_inputs_own() {
    let scene = Scene::new();
    let url = scene.docusign.url();
    let conf = format!(
        "# A comment.\n\
         host = before any stanza\n\
         \n\
         [default]\n\
         environment = demo\n\
         limit = 120\n\
         auth_url = http://127.0.0.1:1\n\
         start_from = 2026-01-01\n\
         [ds_lookups://prod]\n\
         limit = 0\n\
         [ds_monitor]\n\
         \x20 auth_url={url}\n\
         monitor_url   =   {url}  \n\
         \t# another comment\n\
         integration_key = {}\n\
         limit = 130\n\
         #limit = 190\n\
         [ds_monitor://other]\n\
         limit = 140\n\
         [ds_monitor://prod]\n\
         user_id = {}\n\
         private_key_path = {}\n\
         limit = 150\n\
         start_from = earl\\\niest\n\
         unknown_setting = 1\n",
        support::docusign::INTEGRATION_KEY,
        support::docusign::USER_ID,
        support::docusign::private_key_path(),
    );
    // Splunk's own editor and Windows' leave such files.
    for conf in [
        conf.clone(),
        conf.replace('\n', "\r\n"),
        format!("\u{feff}{conf}"),
    ] {
        let scene = Scene {
            folder: tempdir().unwrap(),
            ..Scene::new()
        };
        fs::create_dir(scene.positions()).unwrap();
        let conf = conf
            .replace("earl\\\niest", "earliest")
            .replace("earl\\\r\niest", "earliest");
        scene.write(&conf);
        let run = scene.run();
        assert_eq!(lines(run.assert_exit(0)).len(), 300);
    }
    let requests = scene.docusign.requests();
    let limits: Vec<_> = requests.iter().filter_map(|it| it.query("limit")).collect();
    assert!(
        !limits.is_empty() && limits.iter().all(|limit| *limit == "150"),
        "{limits:?}"
    );
    assert_eq!(scene.docusign.stream_cursors()[0], "2021-01-01T00:00:00Z");
}

#[test]
fn a_value_may_go_on_on_the_next_lines() {
    let scene = Scene::new();
    let input = scene.input.clone().pasted_key(PRIVATE_KEY);
    scene.write(&input.conf());
    let run = scene.run();
    assert_eq!(lines(run.assert_exit(0)).len(), 300);
    assert!(warnings(&run).is_empty(), "{}", run.report());
    // Nothing is moved, there is nowhere to.
    assert_eq!(fs::read_to_string(scene.conf()).unwrap(), input.conf());
}

#[test]
fn one_file_holds_several_inputs() {
    let scene = Scene::new();
    let other = Docusign::new().records(sample_records(0..5));
    let second = Input::for_docusign("b \"2\"/ä", &other, &scene.positions());
    scene.write(&format!("{}\n{}", scene.input.conf(), second.conf()));
    assert_eq!(lines(scene.run().assert_exit(0)).len(), 300);
    let run = scene.start(&["run"], "b \"2\"/ä").finish();
    assert_eq!(lines(run.assert_exit(0)).len(), 5);
    assert_eq!(lines(scene.run().assert_exit(0)).len(), 0);
    // Two positions, with copies and locks.
    let stems = [
        file_stem("ds_monitor://prod"),
        file_stem("ds_monitor://b \"2\"/ä"),
    ];
    for stem in stems {
        assert!(scene.positions().join(format!("{stem}.json")).exists());
    }

    // The last of two stanzas of one name counts, setting by setting.
    let again = "[ds_monitor://prod]\nlimit = 5\n";
    scene.write(&format!("{}{again}", scene.input.conf()));
    scene.docusign.push_records(sample_records(300..303));
    assert_eq!(lines(scene.run().assert_exit(0)).len(), 3);
    let last = scene.docusign.requests().pop().unwrap();
    assert_eq!(last.query("limit"), Some("5"));
}

#[test]
fn a_file_that_cannot_be_understood_is_refused_with_the_line() {
    let scene = Scene::new();
    let good = scene.input.conf();
    let count = good.lines().count();
    for (conf, line) in [
        (format!("{good}nonsense\n"), count + 1),
        (format!("{good}[ds_monitor://x\n"), count + 1),
        (format!("\n\n[\n{good}"), 3),
    ] {
        scene.write(&conf);
        let line_refused = refused(&scene.run(), CONFIGURATION);
        let path = scene.conf();
        assert!(
            line_refused.sentence.contains(path.to_str().unwrap()),
            "{}",
            line_refused.raw
        );
        let word = format!("line {line}");
        assert!(
            line_refused.sentence.contains(&word),
            "{word}: {}",
            line_refused.raw
        );
    }
    assert!(scene.docusign.requests().is_empty());
}

#[test]
fn what_stands_in_a_line_that_is_wrong_is_not_shown() {
    let scene = Scene::new();
    // A key that was pasted without the marks that it goes on.
    let conf = format!("[ds_monitor://prod]\nprivate_key = {PRIVATE_KEY}");
    scene.write(&conf);
    let line = refused(&scene.run(), CONFIGURATION);
    assert!(line.sentence.contains("line 3"), "{}", line.raw);
    scene.write(&format!("[ds_monitor://prod]\nhec_token {}\n", hec::TOKEN));
    let line = refused(&scene.run(), CONFIGURATION);
    assert!(line.sentence.contains("line 2"), "{}", line.raw);
}

#[test]
fn a_missing_file_or_stanza_is_named_together_with_what_there_is() {
    let scene = Scene::new();
    let second = Input::for_docusign("test", &scene.docusign, &scene.positions());
    scene.write(&format!(
        "[default]\n{}{}",
        scene.input.conf(),
        second.conf()
    ));
    let line = refused(&scene.start(&["run"], "prud").finish(), CONFIGURATION);
    for part in ["prud", "prod", "test"] {
        assert!(line.sentence.contains(part), "{part}: {}", line.raw);
    }
    scene.write("[ds_lookups://prod]\nmonitor_input = prod\n");
    let line = refused(&scene.run(), CONFIGURATION);
    assert!(line.sentence.contains("ds_monitor://prod"), "{}", line.raw);
    scene.write("");
    refused(&scene.run(), CONFIGURATION);

    fs::remove_file(scene.conf()).unwrap();
    let line = refused(&scene.run(), CONFIGURATION);
    assert!(
        line.sentence.contains(scene.conf().to_str().unwrap()),
        "{}",
        line.raw
    );
    assert!(line.sentence.contains("does not exist"), "{}", line.raw);
}

#[test]
fn options_are_all_needed_and_all_known() {
    let scene = Scene::new();
    let all = scene.options("prod");
    let all = all.each_ref().map(String::as_str);
    let run = |options: &[&'static str]| [&["run"], &all[..], options].concat();
    let cases = [
        (vec!["run"], "--conf"),
        (vec!["run", "--input", "prod"], "--conf"),
        ([&["run"], &all[2..]].concat(), "--conf"),
        ([&["run"], &all[..2], &all[4..]].concat(), "--input"),
        ([&["run"], &all[..4]].concat(), "--checkpoint-dir"),
        ([&["run"], &all[..3]].concat(), "--input"),
        (run(&["--input", "prod"]), "--input"),
        (run(&["--all"]), "--all"),
        (run(&["--conf", "x"]), "--conf"),
        (run(&["--every", "soon"]), "--every"),
        (run(&["--every", "0s"]), "--every"),
        (run(&["--every=25h"]), "--every"),
        (run(&["--all=yes"]), "--all"),
        // What is not known is not shown: it may be a secret.
        (run(&["--limit", "5"]), "--help"),
        (run(&["more"]), "--help"),
        ([&["show"], &all[..4]].concat(), "--checkpoint-dir"),
        ([&["reset"], &all[..]].concat(), "--to"),
    ];
    for (arguments, expected) in cases {
        let line = refused(&scene.call(&arguments), USAGE);
        assert!(
            line.sentence.contains(expected),
            "{arguments:?}: {}",
            line.raw
        );
    }
    assert!(scene.docusign.requests().is_empty());
}

#[test]
fn a_secret_is_no_option_and_is_not_shown_again() {
    let scene = Scene::new();
    let options = scene.options("prod");
    let options = options.each_ref().map(String::as_str);
    let base = [&["run"], &options[..]].concat();
    for option in [
        "--private-key",
        "--private_key",
        "--hec-token",
        "--hec_token",
        "--proxy-password",
    ] {
        let with_equals = format!("{option}=s3cret-on-the-line");
        for secret in [&[option, "s3cret-on-the-line"][..], &[&with_equals]] {
            for arguments in [
                [&base[..], secret].concat(),
                [&base[..1], secret, &base[1..]].concat(),
                secret.to_vec(),
            ] {
                let run = scene.call(&arguments);
                refused(&run, USAGE);
                run.assert_no_secret(&["s3cret-on-the-line"]);
            }
        }
    }
    // What stands alone on the line may be one too.
    let key = "-----BEGIN RSA PRIVATE KEY-----s3cret-on-the-line";
    for arguments in [
        [&base[..], &["s3cret-on-the-line"]].concat(),
        [&base[..], &[key]].concat(),
        vec!["run", "s3cret-on-the-line"],
        vec!["s3cret-on-the-line"],
        vec![key],
    ] {
        let run = scene.call(&arguments);
        refused(&run, USAGE);
        run.assert_no_secret(&["s3cret-on-the-line"]);
    }
}

#[test]
fn secrets_of_the_environment_win() {
    let scene = Scene::new();
    let hec = Hec::new();
    let proxy = Proxy::with_credentials("scout", "pr0xy-passw0rd");
    let key = |input: Input| input.env("DS_MONITOR_PRIVATE_KEY", PRIVATE_KEY);
    let token = |input: Input| input.env("DS_MONITOR_HEC_TOKEN", hec::TOKEN);
    let password = |input: Input| input.env("DS_MONITOR_PROXY_PASSWORD", "pr0xy-passw0rd");
    let with_proxy = scene
        .input
        .clone()
        .param("proxy_url", proxy.url())
        .param("proxy_user", "scout");
    let no_file = with_proxy
        .without("private_key_path")
        .param("hec_url", hec.url());
    let masked = |input: Input, mask: &str| {
        let input = input.param("private_key", mask).param("hec_token", mask);
        input.param("proxy_password", mask)
    };
    for input in [
        no_file.clone(),
        masked(no_file.clone(), "******"),
        masked(no_file.clone(), ""),
        masked(no_file.clone(), "something else"),
    ] {
        scene.write(&input.conf());
        let run = scene.start_as(&key(token(password(scene.input.clone()))), &["run"], "prod");
        let run = run.finish();
        run.assert_no_secret(&SECRETS)
            .assert_no_secret(&["pr0xy-passw0rd"]);
        assert_eq!(run.assert_exit(0).stdout, b"");
    }
    assert!(hec.events() == scene.records);
}

#[test]
fn a_mask_without_the_secret_in_the_environment_says_where_it_is_expected() {
    let scene = Scene::new();
    let hec = Hec::new();
    for (input, expected) in [
        (
            scene.input.clone().pasted_key("******"),
            "DS_MONITOR_PRIVATE_KEY",
        ),
        (
            scene
                .input
                .clone()
                .delivers_to(&hec)
                .param("hec_token", "******"),
            "DS_MONITOR_HEC_TOKEN",
        ),
        (
            scene
                .input
                .clone()
                .param("proxy_url", "http://127.0.0.1:1")
                .param("proxy_user", "scout")
                .param("proxy_password", "******"),
            "DS_MONITOR_PROXY_PASSWORD",
        ),
    ] {
        scene.write(&input.conf());
        let line = refused(&scene.run(), CONFIGURATION);
        assert!(line.sentence.contains(expected), "{}", line.raw);
    }
    assert!(scene.docusign.requests().is_empty());
}

#[test]
fn a_secret_in_a_file_that_others_can_read_is_warned_of() {
    let scene = Scene::new();
    let with_secret = scene.input.clone().pasted_key(PRIVATE_KEY).conf();
    let cases = [
        (with_secret.clone(), 0o600, 0),
        (with_secret.clone(), 0o400, 0),
        (with_secret.clone(), 0o640, 1),
        (with_secret, 0o604, 1),
        // Only the path of a key.
        (scene.input.conf(), 0o644, 0),
    ];
    for (conf, mode, expected) in cases {
        scene.write(&conf);
        fs::set_permissions(scene.conf(), PermissionsExt::from_mode(mode)).unwrap();
        let run = scene.run();
        run.assert_exit(0);
        let warnings = warnings(&run);
        assert_eq!(warnings.len(), expected, "{mode:o}: {}", run.report());
        for line in warnings {
            assert_eq!(line.level, "WARN");
            assert!(
                line.sentence.contains(scene.conf().to_str().unwrap()),
                "{}",
                line.raw
            );
        }
        // The file is replaced, because nobody may write to it under 0400.
        fs::remove_file(scene.conf()).unwrap();
    }
}

#[test]
fn a_folder_that_is_not_there_is_not_made_because_the_position_may_be_elsewhere() {
    let scene = Scene::new();
    fs::remove_dir(scene.positions()).unwrap();
    let line = refused(&scene.run(), CONFIGURATION);
    assert!(line.sentence.contains("--checkpoint-dir"), "{}", line.raw);
    assert!(!scene.positions().exists());
}

#[test]
fn check_show_and_reset_take_the_same_options() {
    let scene = Scene::new();
    let path = scene.conf();
    let conf = path.to_str().unwrap();
    let text = |run: &Outcome| String::from_utf8(run.stdout.clone()).unwrap();
    let missing = scene.call(&["check", "--conf", conf, "--input", "prod"]);
    missing.assert_exit(USAGE);
    assert!(
        missing.stderr.contains("--checkpoint-dir is missing"),
        "{}",
        missing.report()
    );
    let check = scene.start(&["check"], "ds_monitor://prod").finish();
    check.assert_exit(0).assert_no_secret(&SECRETS);
    assert!(text(&check).contains("Monitor"), "{}", check.report());

    let show = scene.start(&["show"], "prod").finish();
    assert!(
        text(show.assert_exit(0)).contains("none yet"),
        "{}",
        show.report()
    );
    scene.run().assert_exit(0);
    let show = scene.start(&["show"], "prod").finish();
    assert!(
        text(show.assert_exit(0)).contains(&cursor_at(300)),
        "{}",
        show.report()
    );
    let reset = scene
        .start(&["reset", "--to", &cursor_at(290)], "prod")
        .finish();
    assert!(
        text(reset.assert_exit(0)).contains("Backup"),
        "{}",
        reset.report()
    );
    assert_eq!(lines(scene.run().assert_exit(0)), scene.records[290..]);

    for command in [&["check"][..], &["show"], &["reset", "--to", "start"]] {
        let run = scene.start(command, "prud").finish();
        run.assert_exit(CONFIGURATION);
        assert!(run.stderr.contains("prud"), "{}", run.report());
    }
}

#[test]
fn a_stanza_that_cannot_be_used_is_refused_as_in_splunk() {
    let scene = Scene::new();
    for (param, value, expected) in [
        ("limit", "5000", "1 to 2000"),
        ("integration_key", "", "integration_key"),
        ("hec_url", "https://splunk.example.com:8088", "hec_token"),
        ("hec_token", "x", "hec_url"),
    ] {
        scene.write(&scene.input.clone().param(param, value).conf());
        let line = refused(&scene.run(), CONFIGURATION);
        assert!(line.sentence.contains(expected), "{}", line.raw);
        assert_eq!(line.field("input"), "ds_monitor://prod", "{}", line.raw);
    }
}

#[test]
fn no_splunkd_is_asked_and_nothing_is_read_from_the_standard_input() {
    let scene = Scene::new();
    let input = scene.input.clone().keep_stdin_open();
    let run = scene.start_as(&input, &["run"], "prod").finish();
    assert_eq!(lines(run.assert_exit(0)).len(), 300);
    assert!(warnings(&run).is_empty(), "{}", run.report());
    let folder: &Path = scene.folder.path();
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2);
}

#[test]
fn help_tells_how_to_run_without_splunk() {
    let scene = Scene::new();
    let help = scene.call(&["--help"]);
    let text = String::from_utf8(help.assert_exit(0).stdout.clone()).unwrap();
    for part in [
        "run --conf",
        "--input",
        "--checkpoint-dir",
        "DS_MONITOR_PRIVATE_KEY",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
}
