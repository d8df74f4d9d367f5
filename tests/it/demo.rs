//! The demo keeps to one screen, however wide that is. `--serve` stays until a signal, and then leaves nothing behind.

#![expect(
    clippy::disallowed_methods,
    reason = "the demo is waited for by the machine's own clock, and the stand-in's answers are short"
)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use reqwest::blocking::Client;
use serde_json::Value;
use tempfile::TempDir;

use support::input::DEADLINE;

/// Lines that every terminal has room for.
const SCREEN: usize = 40;

/// How long anything of `--serve` may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn demo(width: usize, arguments: &[&str]) -> Output {
    command(width, arguments).output().unwrap()
}

/// Cargo gives its process to the demo, so that a signal reaches the demo alone.
fn command(width: usize, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command
        .args(["run", "--quiet", "--locked", "--example", "demo", "--"])
        .args(arguments)
        .env("COLUMNS", width.to_string());
    command
}

/// An address or a path has no place to break at.
fn fits(line: &str, width: usize) -> bool {
    let mut words = line.split(' ');
    line.chars().count() <= width || words.any(|word| word.contains("://") || word.starts_with('/'))
}

#[test]
fn the_demo_fits_on_one_screen_of_any_usual_width() {
    for width in [60, 80, 120, 200] {
        let run = demo(width, &[]);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(run.status.success(), "{text}");
        assert!(text.lines().count() <= SCREEN, "{width}: {text}");
        for line in text.lines() {
            assert!(fits(line, width), "{width}: {line}");
        }
        for part in [
            "0 lost",
            "leaves 25 of 25",
            "Consent is missing",
            "checks held",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn the_demo_explains_itself_and_refuses_what_it_does_not_know() {
    let help = demo(80, &["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8(help.stdout).unwrap().contains("--full"));
    for arguments in [
        &["--fulll"][..],
        &["--full", "x"],
        &["--serve", "x"],
        &["x"],
    ] {
        let refused = demo(80, arguments);
        assert_eq!(refused.status.code(), Some(2), "{arguments:?}");
        assert!(refused.stdout.is_empty() && !refused.stderr.is_empty());
    }
}

/// A demo that serves, with temporary files in a folder of its own.
struct Serving {
    demo: Child,
    files: TempDir,
    lines: Receiver<String>,
    /// What it has written so far.
    said: Vec<String>,
}

impl Serving {
    fn start(width: usize) -> Self {
        let files = TempDir::new().unwrap();
        let mut demo = command(width, &["--serve", "0"])
            .env("TMPDIR", files.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (write, lines) = channel();
        let stdout = BufReader::new(demo.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines() {
                let _ = write.send(line.unwrap());
            }
        });
        Self {
            demo,
            files,
            lines,
            said: vec![],
        }
    }

    /// The rest of the next line that has this in it.
    fn after(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("no {text}: {:#?}", self.said));
            self.said.push(line.clone());
            if let Some((_, rest)) = line.split_once(text) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The processes that have its temporary files.
    fn inputs(&self) -> Vec<String> {
        let home = format!("SPLUNK_HOME={}", self.files.path().display());
        let is_input = |path: &Path| {
            let environment = fs::read(path.join("environ")).unwrap_or_default();
            String::from_utf8_lossy(&environment).contains(&home)
        };
        let processes = fs::read_dir("/proc").unwrap();
        let processes = processes.map(|process| process.unwrap().path());
        let inputs = processes.filter(|path| is_input(path));
        inputs.map(|path| path.display().to_string()).collect()
    }

    /// Ends it by a signal, in the middle of a run.
    fn end(mut self, signal: &str) {
        let id = self.demo.id().to_string();
        let sent = Command::new("kill").args([signal, &id]).status().unwrap();
        assert!(sent.success());
        let asked = Instant::now();
        assert!(self.demo.wait().unwrap().success(), "{signal}");
        // By itself the run would last for longer.
        assert!(asked.elapsed() < DEADLINE / 2, "{signal} ended no run");
        assert_eq!(self.inputs(), [""; 0], "{signal}");
        let left: Vec<_> = fs::read_dir(self.files.path()).unwrap().collect();
        assert!(left.is_empty(), "{signal}: {left:?}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.demo.kill();
        let _ = self.demo.wait();
    }
}

/// A browser that has logged in.
struct Browser {
    client: Client,
    base: String,
    form_key: String,
}

impl Browser {
    fn open(page: &str) -> Self {
        let (base, _) = page.split_once("/en-US/").unwrap();
        let client = Client::builder()
            .cookie_store(true)
            .redirect(reqwest::redirect::Policy::none());
        let client = client.build().unwrap();
        let login = client.get(format!("{base}/en-US/account/login"));
        let cookies = login.send().unwrap();
        let mut cookies = cookies.cookies();
        let form_key = cookies
            .find(|cookie| cookie.name().contains("csrf"))
            .unwrap();
        Self {
            form_key: form_key.value().to_owned(),
            base: base.to_owned(),
            client,
        }
    }

    fn post(&self, path: &str, form: &[(&str, &str)]) -> Value {
        let request = self.client.post(format!("{}/{path}", self.base)).form(form);
        let reply = request
            .header("X-Splunk-Form-Key", &self.form_key)
            .send()
            .unwrap();
        let (status, text) = (reply.status(), reply.text().unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}

const INPUTS: &str = "en-US/splunkd/__raw/servicesNS/nobody/ds_monitor/data/inputs/ds_monitor";

#[test]
fn serve_shows_what_inputs_bring_and_a_signal_leaves_nothing_behind() {
    for (width, signal) in [(60, "-INT"), (200, "-TERM")] {
        let mut serving = Serving::start(width);
        let page = serving.after("The page Set up:");
        let key = serving.after("Private key");
        assert!(
            Path::new(&key).is_absolute() && !key.contains(".."),
            "{key}"
        );
        let consent = serving.after("  http");
        // As a person would copy it: every line is a parameter.
        let mut parameters = vec![("name".to_owned(), "prod".to_owned())];
        serving.after("[ds_monitor://demo]");
        while parameters.last().unwrap().0 != "start_from" {
            let line = serving.after("  ");
            let (name, value) = line.split_once(" = ").unwrap();
            parameters.push((name.to_owned(), value.to_owned()));
        }
        let parameters: Vec<_> = parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let names: Vec<_> = parameters.iter().map(|(name, _)| *name).collect();
        let wanted = [
            "name",
            "auth_url",
            "monitor_url",
            "admin_url",
            "integration_key",
            "user_id",
            "private_key_path",
            "start_from",
        ];
        assert_eq!(names, wanted);

        let browser = Browser::open(&page);
        browser.client.get(format!("http{consent}")).send().unwrap();
        browser.post(INPUTS, &parameters);
        serving.after("ds_monitor://prod: ");
        serving.after("failure");
        serving.after("Anna B");
        serving.after("60 × ");
        let end = serving.after("Connect");
        assert!(end.ends_with("success"), "{end}");
        for line in &serving.said {
            assert!(fits(line, width), "{width}: {line}");
        }

        // Docusign says nothing, so that the next run lives until it is ended.
        browser.post("stand-in/next-stream", &[]);
        browser.post(&format!("{INPUTS}/prod/enable"), &[]);
        let until = Instant::now() + PATIENCE;
        while serving.inputs().is_empty() {
            assert!(Instant::now() < until, "no run began");
        }
        serving.end(signal);
    }
}

#[test]
fn serve_says_that_its_port_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = demo(80, &["--serve", &port]);
    assert_eq!(refused.status.code(), Some(1));
    let problem = String::from_utf8(refused.stderr).unwrap();
    assert!(
        problem.contains(&format!("port {port} of this machine cannot be used")),
        "{problem}"
    );
    assert!(
        problem.contains("name another one: --serve PORT"),
        "{problem}"
    );
}
