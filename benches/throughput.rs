//! How fast the collector is, beside a collector by hand and a floor.
//!
//! `cargo bench` serves the same pages on loopback to `ds_monitor`, to `benches/peer.py` (the recipe of Docusign's
//! article on Splunk's Python SDK) and to `curl`, which only fetches them, in turns, and prints the best run of each
//! side by side: wall time, CPU time, peak memory, events a second. `to HEC` and `to HEC, ack` deliver the same records
//! to an event collector that does nothing but count them, without and with acknowledgements. Then it shows that memory
//! does not grow with the number of pages, that latency is all that is waited for, and that acknowledgements which take
//! their time hold up nothing but the end, and what a service with many inputs costs that have nothing new. `PYTHON`
//! names a Python that has the peer's modules.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark prints, measures time, and fails by panicking"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wait4::Wait4;

use support::docusign::{Docusign, cursor_at, sample_records};
use support::hec::Hec;
use support::input::Input;
use support::tls::{self, Tls};

const RECORDS: usize = 60_000;
const PAGE: usize = 2_000;
const ROUNDS: usize = 5;
const LATENCY: Duration = Duration::from_millis(200);

/// A long way to Docusign and busy indexers: what is delivered, how long they take, and what must come of it.
const LATE_RECORDS: usize = 100_000;
const ACKNOWLEDGEMENT: Duration = Duration::from_secs(2);
const LEAST_RATIO: f64 = 0.6;
const MOST_MIB: f64 = 48.0;

/// A service of many inputs that have nothing new, and what a minute of it may cost.
const IDLE_INPUTS: usize = 200;
const BEAT: Duration = Duration::from_secs(60);
const MOST_IDLE_CPU: Duration = Duration::from_secs(2);

/// Said beforehand, on the standard error: the standard output has only the table.
const DURATION: &str = "This takes about two minutes, and one more with peer.py.";

fn main() {
    let docusign = Docusign::new()
        .records(sample_records(0..RECORDS))
        .prerender(PAGE);
    let mut contenders = vec![
        Contender::new("ds_monitor", |folder| ds_monitor(&docusign, folder)),
        Contender::new("to HEC", |folder| to_hec(&docusign, folder, Hec::new())),
        Contender::new("to HEC, ack", |folder| {
            to_hec(&docusign, folder, Hec::new().acknowledge(true))
        }),
        Contender::new("curl", |_| curl(&docusign)),
    ];
    match python() {
        Some(python) => {
            let docusign = &docusign;
            contenders.insert(
                3,
                Contender::new("peer.py", move |folder| peer(&python, docusign, folder)),
            );
        }
        None => eprintln!(
            "peer.py is skipped: pip install splunk-sdk pyjwt cryptography requests python-dateutil, \
             and name that Python in PYTHON."
        ),
    }
    eprintln!("{DURATION}");
    for _ in 0..ROUNDS {
        for contender in &mut contenders {
            contender.run();
        }
    }
    print_table(&contenders);

    let many = Docusign::new()
        .records(sample_records(0..10 * RECORDS))
        .prerender(PAGE);
    let folder = TempDir::new().unwrap();
    let run = measure(&mut ds_monitor(&many, folder.path()));
    println!();
    also(
        "ds_monitor, ten times the pages",
        &format!("{:.1} MiB at most", run.peak_mib()),
    );
    drop(many);

    docusign.latency(LATENCY);
    let folder = TempDir::new().unwrap();
    let run = measure(&mut ds_monitor(&docusign, folder.path()));
    // The pages, and the question whether there is more.
    let waited = LATENCY * u32::try_from(RECORDS / PAGE + 1).unwrap();
    also(
        &format!("ds_monitor, {} ms of latency per page", LATENCY.as_millis()),
        &format!(
            "{:.2} s, {:.1} % over the latency alone",
            run.wall.as_secs_f64(),
            100.0 * (run.wall.as_secs_f64() / waited.as_secs_f64() - 1.0)
        ),
    );

    late_acknowledgements();
    idle_inputs();

    let mut scheme = Command::new(env!("CARGO_BIN_EXE_ds_monitor"));
    scheme.arg("--scheme");
    let best = (0..20)
        .map(|_| measure(&mut Job::of(&mut scheme, "")).wall)
        .min();
    also(
        "--scheme",
        &format!("{:.1} ms", best.unwrap().as_secs_f64() * 1e3),
    );
}

/// A row below the table.
fn also(what: &str, figures: &str) {
    println!("{what:<52}{figures}");
}

/// The same records to an event collector that acknowledges nothing, and to one that takes its time to.
fn late_acknowledgements() {
    let docusign = Docusign::new()
        .records(sample_records(0..LATE_RECORDS))
        .prerender(PAGE);
    docusign.latency(LATENCY);
    let run = |name: &str, hec: Hec| {
        let folder = TempDir::new().unwrap();
        let mut job = to_hec(&docusign, folder.path(), hec);
        let run = measure(&mut job);
        assert_eq!(job.hec.unwrap().count(), LATE_RECORDS, "{name}");
        let rate = LATE_RECORDS as f64 / run.wall.as_secs_f64();
        also(
            name,
            &format!(
                "{:.2} s, {rate:.0} events/s, {:.1} MiB at most",
                run.wall.as_secs_f64(),
                run.peak_mib()
            ),
        );
        assert!(run.peak_mib() <= MOST_MIB, "{name} takes too much memory");
        rate
    };
    let without = run("to HEC, the same latency", Hec::new());
    let late = Hec::new().acknowledge(true).ack_after(ACKNOWLEDGEMENT);
    let with = run("to HEC, the same latency, ack after 2 s", late);
    let ratio = with / without;
    also(
        "to HEC, throughput that late ack leaves",
        &format!("{:.0} %", 100.0 * ratio),
    );
    assert!(ratio >= LEAST_RATIO, "acknowledgements hold up the rest");
}

/// A service, by TLS on both sides, from the end of its first runs for as long as a beat, in which each input runs once.
fn idle_inputs() {
    let docusign = Docusign::new().records(sample_records(0..1));
    let (hec, folder) = (Hec::new(), TempDir::new().unwrap());
    let (docusign_tls, hec_tls) = (
        Tls::in_front_of(&docusign.url()),
        Tls::in_front_of(&hec.url()),
    );
    let conf: String = (0..IDLE_INPUTS)
        .map(|n| {
            let input = Input::for_docusign(&format!("tenant{n}"), &docusign, folder.path());
            let input = ["auth_url", "monitor_url", "admin_url"]
                .iter()
                .fold(input, |input, name| input.param(name, docusign_tls.url()));
            let input = input.delivers_to(&hec).param("hec_url", hec_tls.url());
            input.param("ca_file", tls::CA_FILE).conf()
        })
        .collect();
    let path = folder.path().join("inputs.conf");
    fs::write(&path, conf).unwrap();
    let mut service = Command::new(env!("CARGO_BIN_EXE_ds_monitor"))
        .args(["run", "--all", "--conf", path.to_str().unwrap()])
        .args(["--checkpoint-dir", folder.path().to_str().unwrap()])
        .args(["--every", &format!("{}s", BEAT.as_secs())])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(service.stderr.take().unwrap()).lines();
    let mut all_have_run = || {
        let complete = |line: &String| line.contains("action=events_ingested");
        let lines = log.by_ref().map(|line| line.unwrap()).filter(complete);
        assert_eq!(lines.take(IDLE_INPUTS).count(), IDLE_INPUTS);
    };
    all_have_run();
    let first = cpu(service.id());
    all_have_run();
    let cpu = cpu(service.id()) - first;
    let status = fs::read_to_string(format!("/proc/{}/status", service.id())).unwrap();
    let figure = |name: &str| -> f64 {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    also(
        &format!(
            "{IDLE_INPUTS} inputs with nothing new, every {} s",
            BEAT.as_secs()
        ),
        &format!(
            "{:.2} s of CPU per minute, {:.1} MiB, {} threads",
            cpu.as_secs_f64(),
            figure("VmRSS:") / 1024.0,
            figure("Threads:")
        ),
    );
    service.kill().unwrap();
    service.wait().unwrap();
    assert!(cpu < MOST_IDLE_CPU, "inputs with nothing new cost too much");
}

/// CPU time of a process so far. Its clock ticks a hundred times per second on every Linux.
fn cpu(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(10 * ticks)
}

/// A command, what goes to its standard input, and where its events go if that is not the standard output.
struct Job {
    command: Command,
    stdin: String,
    hec: Option<Hec>,
}

impl Job {
    fn of(command: &mut Command, stdin: &str) -> Self {
        let mut copy = Command::new(command.get_program());
        copy.args(command.get_args());
        Self {
            command: copy,
            stdin: stdin.to_owned(),
            hec: None,
        }
    }
}

fn input(docusign: &Docusign, folder: &Path) -> Input {
    let input = Input::for_docusign("bench", docusign, folder);
    input.param("limit", PAGE.to_string())
}

fn ds_monitor(docusign: &Docusign, folder: &Path) -> Job {
    let stdin = input(docusign, folder).input_xml();
    Job::of(&mut Command::new(env!("CARGO_BIN_EXE_ds_monitor")), &stdin)
}

fn to_hec(docusign: &Docusign, folder: &Path, hec: Hec) -> Job {
    let hec = hec.only_count();
    let stdin = input(docusign, folder).delivers_to(&hec).input_xml();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ds_monitor"));
    Job {
        hec: Some(hec),
        ..Job::of(&mut command, &stdin)
    }
}

fn peer(python: &str, docusign: &Docusign, folder: &Path) -> Job {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peer.py");
    let stdin = input(docusign, folder).input_xml();
    Job::of(Command::new(python).arg(script), &stdin)
}

/// Fetches the pages one after the other over one connection and does nothing with them.
fn curl(docusign: &Docusign) -> Job {
    let token = docusign.issue_token();
    let mut command = Command::new("curl");
    command.args(["-s", "-H", &format!("Authorization: Bearer {token}")]);
    for position in (0..=RECORDS).step_by(PAGE) {
        command.arg(format!(
            "{}/api/v2.0/datasets/monitor/stream?cursor={}&limit={PAGE}",
            docusign.url(),
            cursor_at(position)
        ));
    }
    Job::of(&mut command, "")
}

/// A Python that has the modules of the peer.
fn python() -> Option<String> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let modules = "import splunklib.modularinput, jwt, cryptography, requests, dateutil";
    let found = Command::new(&python)
        .args(["-c", modules])
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success()).then_some(python)
}

/// One run, by the operating system's own account of it.
#[derive(Clone, Copy)]
struct Run {
    wall: Duration,
    cpu: Duration,
    peak_bytes: u64,
    stdout_bytes: usize,
}

impl Run {
    fn peak_mib(&self) -> f64 {
        self.peak_bytes as f64 / f64::from(1 << 20)
    }
}

/// Runs to the end, reading the standard output as splunkd would.
fn measure(job: &mut Job) -> Run {
    let start = Instant::now();
    let mut child = job
        .command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(job.stdin.as_bytes());
    let peak = watch_memory(child.id());
    let mut stdout = child.stdout.take().unwrap();
    let mut buffer = vec![0; 256 * 1024];
    let mut stdout_bytes = 0;
    loop {
        match stdout.read(&mut buffer).unwrap() {
            0 => break,
            n => stdout_bytes += n,
        }
    }
    let end = child.wait4().unwrap();
    let wall = start.elapsed();
    assert!(end.status.success(), "{:?} failed", job.command);
    Run {
        wall,
        cpu: end.rusage.utime + end.rusage.stime,
        peak_bytes: peak.join().unwrap(),
        stdout_bytes,
    }
}

/// The peak resident memory of a process in bytes, by looking until it ends. The account that comes with the exit
/// status is of no use here: it begins with the memory of the process that started it, this one.
fn watch_memory(id: u32) -> JoinHandle<u64> {
    thread::spawn(move || {
        let mut peak = 0;
        while let Ok(status) = fs::read_to_string(format!("/proc/{id}/status")) {
            let Some(line) = status.lines().find(|line| line.starts_with("VmHWM:")) else {
                break;
            };
            let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
            peak = kib * 1024;
            thread::sleep(Duration::from_millis(1));
        }
        peak
    })
}

/// One row of the table.
struct Contender<'a> {
    name: &'static str,
    job: Box<dyn Fn(&Path) -> Job + 'a>,
    best: Option<Run>,
}

impl<'a> Contender<'a> {
    fn new(name: &'static str, job: impl Fn(&Path) -> Job + 'a) -> Self {
        Self {
            name,
            job: Box::new(job),
            best: None,
        }
    }

    fn run(&mut self) {
        let folder = TempDir::new().unwrap();
        let mut job = (self.job)(folder.path());
        let run = measure(&mut job);
        let is_all = match job.hec {
            Some(hec) => hec.count() == RECORDS,
            None => run.stdout_bytes > RECORDS * 500,
        };
        assert!(is_all, "{} delivered too little", self.name);
        // Each figure's best, so that what else the machine did counts least.
        self.best = Some(match self.best {
            None => run,
            Some(best) => Run {
                wall: best.wall.min(run.wall),
                cpu: best.cpu.min(run.cpu),
                peak_bytes: best.peak_bytes.min(run.peak_bytes),
                ..run
            },
        });
    }
}

fn print_table(contenders: &[Contender<'_>]) {
    let ours = contenders.first().and_then(|ours| ours.best).unwrap();
    println!(
        "{:<12}{:>10}{:>10}{:>12}{:>14}{:>12}{:>12}",
        "", "wall s", "CPU s", "peak MiB", "events/s", "wall ratio", "CPU ratio"
    );
    for contender in contenders {
        let run = contender.best.unwrap();
        println!(
            "{:<12}{:>10.3}{:>10.3}{:>12.1}{:>14.0}{:>12.2}{:>12.2}",
            contender.name,
            run.wall.as_secs_f64(),
            run.cpu.as_secs_f64(),
            run.peak_mib(),
            RECORDS as f64 / run.wall.as_secs_f64(),
            run.wall.as_secs_f64() / ours.wall.as_secs_f64(),
            run.cpu.as_secs_f64() / ours.cpu.as_secs_f64(),
        );
    }
}
