use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::JoinHandle;
use std::time::Duration;

use ds_monitor::splunk::checkpoint::file_stem;
use ds_monitor::splunk::status::Status;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

use crate::ds_monitor;
use support::docusign::{
    Docusign, Door, INTEGRATION_KEY, USER_ID, cursor_at, private_key_path, sample_records,
};
use support::hec::Hec;
use support::http::Reply;
use support::input::{DEADLINE, Input, LogLine, Outcome, Running};

/// A service that is told to stop must be gone by then.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// Inputs that one service must carry.
const MANY: usize = 50;

/// A conf file and a folder for positions.
struct Scene {
    docusign: Docusign,
    folder: TempDir,
    /// Who starts the processes; its stanza does not count.
    starter: Input,
}

impl Scene {
    fn new(records: &[String]) -> Self {
        let folder = tempdir().unwrap();
        fs::create_dir(folder.path().join("positions")).unwrap();
        Self {
            docusign: Docusign::new().records(records.to_vec()).page_size(100),
            starter: Input::ds_monitor("starter"),
            folder,
        }
    }

    fn input(&self, name: &str) -> Input {
        Input::for_docusign(name, &self.docusign, &self.positions())
    }

    fn positions(&self) -> PathBuf {
        self.folder.path().join("positions")
    }

    fn write(&self, inputs: &[Input]) {
        let conf: String = inputs.iter().map(Input::conf).collect();
        fs::write(self.folder.path().join("inputs.conf"), conf).unwrap();
    }

    /// Starts `ds_monitor run --conf … --checkpoint-dir … OPTIONS`.
    fn start(&self, options: &[&str]) -> Running {
        let conf = self.folder.path().join("inputs.conf");
        let positions = self.positions();
        let own = [
            "run",
            "--conf",
            conf.to_str().unwrap(),
            "--checkpoint-dir",
            positions.to_str().unwrap(),
        ];
        let arguments = [&own, options].concat();
        self.starter.start(ds_monitor(), &arguments, String::new())
    }

    fn checkpoint(&self, name: &str) -> Value {
        let stem = file_stem(&format!("ds_monitor://{name}"));
        let path = self.positions().join(format!("{stem}.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }
}

/// Reads what a process writes, as long as it lives.
fn read_on(run: &mut Running) -> JoinHandle<Vec<u8>> {
    let mut stdout = run.stdout.take().unwrap();
    std::thread::spawn(move || {
        let mut read = vec![];
        stdout.read_to_end(&mut read).unwrap();
        read
    })
}

/// How often each line is on the standard output.
fn lines(stdout: &[u8]) -> BTreeMap<String, usize> {
    let text = std::str::from_utf8(stdout).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'), "{text}");
    let mut lines = BTreeMap::new();
    for line in text.lines() {
        *lines.entry(line.to_owned()).or_default() += 1;
    }
    lines
}

fn of_action(run: &Outcome, action: &str) -> Vec<LogLine> {
    let mut lines = run.log_lines();
    lines.retain(|line| line.field("action") == action);
    lines
}

#[test]
fn fifty_inputs_run_side_by_side_and_neither_their_events_nor_their_positions_mix() {
    // Of different lengths, so that lines end anywhere in a write.
    let records: Vec<_> = (0..300)
        .map(|n| {
            format!(
                "{{\"eventId\":\"{n}\",\"filler\":\"{}\"}}",
                "x".repeat(n * 7)
            )
        })
        .collect();
    let scene = Scene::new(&records);
    let name = |n: usize| format!("tenant {n}");
    let mut inputs: Vec<_> = (0..MANY).map(|n| scene.input(&name(n))).collect();
    inputs.push(scene.input("switched off").param("disabled", "1"));
    inputs.push(scene.input("broken").param("limit", "0"));
    scene.write(&inputs);
    let run = scene.start(&["--all"]).finish();
    // The one that cannot run decides how the process ends, and stops no other.
    run.assert_exit(78);
    let lines = lines(&run.stdout);
    assert_eq!(lines.len(), records.len(), "{}", run.report());
    for record in &records {
        assert_eq!(lines.get(record), Some(&MANY), "{record}");
    }
    for n in 0..MANY {
        let checkpoint = scene.checkpoint(&name(n));
        assert_eq!(checkpoint["cursor"], cursor_at(300).as_str());
        assert_eq!(checkpoint["state"], "closed");
        let input = format!("ds_monitor://{}", name(n));
        let pages = of_action(&run, "page_ingested");
        let own = pages.iter().filter(|line| line.field("input") == input);
        assert_eq!(own.count(), 3, "{input}");
    }
    assert_eq!(of_action(&run, "events_ingested").len(), MANY);
    let errors: Vec<_> = run
        .log_lines()
        .into_iter()
        .filter(|line| line.level == "ERROR")
        .collect();
    assert_eq!(errors.len(), 1, "{}", run.report());
    assert_eq!(errors[0].field("input"), "ds_monitor://broken");
    assert!(!run.stderr.contains("switched off"), "{}", run.report());
}

#[test]
fn runs_follow_one_another_with_one_token_until_a_signal() {
    let scene = Scene::new(&sample_records(0..120));
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1s"]);
    let stdout = read_on(&mut run);
    run.wait_for_stderr("n_events=120", DEADLINE);
    scene.docusign.push_records(sample_records(120..130));
    run.wait_for_stderr("n_events=10 pages", DEADLINE);
    run.wait_for_stderr("n_events=0 pages", DEADLINE);
    run.signal("TERM");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    assert_eq!(lines(&stdout.join().unwrap()).len(), 130);
    assert_eq!(scene.checkpoint("prod")["state"], "closed");
    assert_eq!(scene.docusign.token_requests(), 1);
}

#[test]
fn a_signal_ends_a_run_of_a_service_whose_reader_does_not_read() {
    let scene = Scene::new(&sample_records(0..2_000));
    scene.docusign.page_size(2_000);
    scene.write(&[scene.input("a"), scene.input("b")]);
    let mut run = scene.start(&["--all", "--every", "60s"]);
    scene.docusign.wait_for_requests(4, DEADLINE);
    run.signal("TERM");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    let run = run.finish();
    assert_eq!(of_action(&run, "stop").len(), 2, "{}", run.report());
    for name in ["a", "b"] {
        assert_eq!(scene.checkpoint(name)["cursor"], "2021-01-01T00:00:00Z");
    }
}

#[test]
fn a_run_that_fails_is_logged_and_the_next_one_comes() {
    let scene = Scene::new(&sample_records(0..5));
    scene.docusign.consented_scopes(&[]);
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1s"]);
    let stdout = read_on(&mut run);
    run.wait_for_stderr_that(|it| it.matches("consent_required").count() > 1, DEADLINE);
    scene.docusign.consented_scopes(&["impersonation"]);
    run.wait_for_stderr("action=events_ingested", DEADLINE);
    run.signal("INT");
    assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0));
    assert_eq!(lines(&stdout.join().unwrap()).len(), 5);
}

#[test]
fn a_service_ends_with_its_reader_although_nothing_is_to_be_written() {
    let records = sample_records(0..5);
    let bytes: usize = records.iter().map(|record| record.len() + 1).sum();
    let scene = Scene::new(&records);
    scene.write(&[scene.input("prod")]);
    let mut run = scene.start(&["--input", "prod", "--every", "1h"]);
    let mut stdout = run.stdout.take().unwrap();
    let mut piece = [0; 4096];
    let mut read = 0;
    while read < bytes {
        read += stdout.read(&mut piece).unwrap();
    }
    run.wait_for_stderr("action=events_ingested", DEADLINE);
    drop(stdout);
    assert_eq!(run.wait(DEADLINE).code(), Some(1));
    let run = run.finish();
    assert_eq!(of_action(&run, "stop").len(), 1, "{}", run.report());
}

#[test]
fn an_input_that_another_process_collects_is_left_to_it() {
    let scene = Scene::new(&sample_records(0..2_000));
    scene.docusign.page_size(2_000);
    scene.write(&[scene.input("a"), scene.input("b")]);
    let first = scene.start(&["--input", "a"]);
    scene.docusign.wait_for_requests(1, DEADLINE);
    let both = scene
        .start(&["--input", "ds_monitor://b", "--input=a"])
        .finish();
    both.assert_exit(0);
    let skipped = of_action(&both, "skip");
    assert_eq!(skipped.len(), 1, "{}", both.report());
    assert_eq!(skipped[0].field("input"), "ds_monitor://a");
    assert_eq!(lines(&both.stdout).len(), 2_000);
    let first = first.finish();
    assert_eq!(lines(&first.assert_exit(0).stdout).len(), 2_000);
}

#[test]
fn a_server_that_is_busy_is_worth_another_try_later() {
    let scene = Scene::new(&sample_records(0..5));
    scene.write(&[scene.input("prod")]);
    for nth in 1..=6 {
        let busy = Reply::json(503, "{}").header("Retry-After", "0");
        scene.docusign.fault_at(Door::Stream, nth, busy);
    }
    let run = scene.start(&["--input", "prod"]).finish();
    run.assert_exit(75);
}

/// A file of `examples/service/`.
fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/service");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// What follows `start` on its line.
fn rest_of_line<'a>(text: &'a str, start: &str) -> &'a str {
    let mut lines = text.lines().map(str::trim);
    let rest = lines.find_map(|line| line.strip_prefix(start));
    rest.unwrap_or_else(|| panic!("no line {start} in\n{text}"))
}

/// The arguments with which each of the examples starts the program.
fn started_with() -> [(&'static str, Vec<String>); 3] {
    let unit = example("ds_monitor.service");
    let (program, arguments) = rest_of_line(&unit, "ExecStart=").split_once(' ').unwrap();
    let unit = arguments.split(' ').map(str::to_owned).collect();
    let image = example("Dockerfile");
    let entrypoint = rest_of_line(&image, "ENTRYPOINT ");
    assert_eq!(entrypoint, format!("[\"{program}\"]"));
    assert!(image.contains(&format!("\nCOPY ds_monitor {program}\n")));
    let of_json = |text| serde_json::from_str(text).unwrap();
    let image = of_json(rest_of_line(&image, "CMD "));
    let pod = of_json(rest_of_line(&example("kubernetes.yaml"), "args: "));
    [("unit", unit), ("image", image), ("pod", pod)]
}

#[test]
fn the_examples_start_the_program_and_collect_with_the_sample_conf() {
    let conf = example("inputs.conf");
    for (name, arguments) in started_with() {
        let hec = Hec::new();
        let scene = Scene::new(&sample_records(0..7));
        let etc = scene.folder.path().to_str().unwrap();
        // With its mode, which is for its owner alone.
        fs::copy(private_key_path(), scene.folder.path().join("docusign.pem")).unwrap();
        let url = scene.docusign.url();
        let conf = conf
            .replace("/etc/ds_monitor", etc)
            .replace("https://splunk.example.com:8088", &hec.url())
            .replacen(
                "integration_key = 00000000-0000-0000-0000-000000000000\n\
                 user_id = 00000000-0000-0000-0000-000000000000\n\
                 # The first",
                &format!(
                    "integration_key = {INTEGRATION_KEY}\nuser_id = {USER_ID}\n\
                     auth_url = {url}\nmonitor_url = {url}\n# The first"
                ),
                1,
            )
            .replace("start_from = 2026-01-01", "start_from = earliest");
        fs::write(scene.folder.path().join("inputs.conf"), conf).unwrap();
        let arguments: Vec<_> = arguments
            .iter()
            .map(|it| it.replace("/etc/ds_monitor", etc))
            .map(|it| it.replace("/var/lib/ds_monitor", scene.positions().to_str().unwrap()))
            .collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let starter = Input::ds_monitor("x").env("DS_MONITOR_HEC_TOKEN", support::hec::TOKEN);
        let mut run = starter.start(ds_monitor(), &arguments, String::new());
        run.wait_for_stderr("action=events_ingested", DEADLINE);
        run.signal("TERM");
        assert_eq!(run.wait(STOP_DEADLINE).code(), Some(0), "{name}");
        let run = run.finish();
        run.assert_no_secret(&[support::hec::TOKEN]);
        assert!(!run.stderr.contains("WARN"), "{}", run.report());
        // One of its two stanzas is disabled.
        assert_eq!(of_action(&run, "events_ingested").len(), 1);
        assert_eq!(hec.events().len(), 7, "{}", run.report());
        assert_eq!(hec.taken()[0].index.as_deref(), Some("docusign"));
    }
}

#[test]
fn what_the_examples_name_they_also_bring() {
    let [(_, unit), (_, image), (_, pod)] = started_with();
    assert!(unit == image && image == pod, "{unit:?} {image:?} {pod:?}");
    let conf = example("inputs.conf");
    assert_eq!(
        rest_of_line(&conf, "private_key_path = "),
        "/etc/ds_monitor/docusign.pem"
    );
    let pods = example("kubernetes.yaml");
    for mount in ["/etc/ds_monitor", "/var/lib/ds_monitor"] {
        assert!(pods.contains(&format!("mountPath: {mount}\n")));
        assert!(unit.iter().any(|it| it.starts_with(mount)));
    }
    for (file, source) in [("inputs.conf", "configMap"), ("docusign.pem", "secret")] {
        assert!(
            pods.contains(&format!("path: {file}\n")) && pods.contains(&format!("- {source}:\n"))
        );
    }
    assert!(pods.contains("DS_MONITOR_HEC_TOKEN") && pods.contains("replicas: 1\n"));
    let service = example("ds_monitor.service");
    assert_eq!(rest_of_line(&service, "StateDirectory="), "ds_monitor");
    assert_eq!(rest_of_line(&service, "RestartPreventExitStatus="), "2 78");
    // The user of the container is the one whom its volumes are for.
    let user = rest_of_line(&example("Dockerfile"), "USER ").to_owned();
    for key in ["runAsUser: ", "runAsGroup: ", "fsGroup: "] {
        let id = rest_of_line(&pods, key);
        assert!(user.split(':').all(|it| it == id), "{key}{id}");
    }
    // What the page about it says of the files is true of them.
    let page =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/service.md")).unwrap();
    for file in [
        "inputs.conf",
        "ds_monitor.service",
        "Dockerfile",
        "kubernetes.yaml",
    ] {
        example(file);
        assert!(
            page.contains(&format!("../examples/service/{file}")),
            "{file}"
        );
    }
    for status in Status::ALL {
        assert!(
            page.contains(&format!("\n| {} |", status.code())),
            "{status:?}"
        );
    }
}

#[test]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempdir().unwrap();
    let path = folder.path().join("ds_monitor.service");
    // It looks for the program, which is installed nowhere here.
    let unit = example("ds_monitor.service").replace("/usr/local/bin/ds_monitor", "/bin/true");
    fs::write(&path, unit).unwrap();
    let verify = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&path)
        .output();
    // Where there is no systemd, nobody can say.
    let Ok(verify) = verify else { return };
    let said = String::from_utf8_lossy(&verify.stderr);
    let about_it = said.lines().filter(|line| line.contains("ds_monitor"));
    assert_eq!(about_it.count(), 0, "{said}");
}
