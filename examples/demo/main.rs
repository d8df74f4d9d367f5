//! A demonstration without Splunk and without Docusign: `cargo run --example demo`.
//!
//! Stand-ins on loopback play the two outside worlds, and the real programs run between them, started as splunkd
//! starts them. Without arguments one screen says what came of it, `--full` shows every step. Every figure and every
//! sentence with a tick has been checked before it was printed; the first that does not hold ends the demo with exit
//! code 1, so that it is a smoke test as well.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail, ensure};

mod records;
mod screen;
mod serve;
mod stage;
mod story;
mod summary;
mod tables;

use screen::{Detail, Screen};

const HELP: &str = "\
cargo run --example demo                        one screen: what the real programs do
cargo run --example demo -- --full              every step
cargo run --example demo -- --serve [PORT]      stand-ins and the page Set up, for a browser or a Splunk

PORT is that of the page, 8010 without it; 0 takes any free one.
";

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let (problem, hint) = match arguments.as_slice() {
        [] => return show(Detail::Brief),
        ["--full"] => return show(Detail::Full),
        ["--help" | "-h"] => {
            let written = io::stdout().write_all(HELP.as_bytes());
            return written.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS);
        }
        ["--serve"] => return stand_up(serve::PORT),
        ["--serve", port] => match port.parse() {
            Ok(port) => return stand_up(port),
            Err(_) => ("--serve takes a port, a number up to 65535", ""),
        },
        _ => ("the arguments are not known", HELP),
    };
    let _ = write!(io::stderr(), "demo: {problem}.\n{hint}");
    ExitCode::from(2)
}

/// `--serve [PORT]`: the stand-ins, for a person.
fn stand_up(port: u16) -> ExitCode {
    let served =
        build().and_then(|programs| serve::serve(Screen::new(Detail::Brief), &programs, port));
    served.map_or_else(|error| stop(&format!("{error:#}")), |()| ExitCode::SUCCESS)
}

fn show(detail: Detail) -> ExitCode {
    let mut screen = Screen::new(detail);
    // The stand-ins belong to the tests and fail as tests do, by a panic that has told its reason already.
    let told = catch_unwind(AssertUnwindSafe(|| {
        let programs = build()?;
        story::tell(&mut screen, programs)
    }));
    let problem = match told {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(error)) => format!("{error:#}"),
        Err(_) => "a stand-in or a run failed, as told above".to_owned(),
    };
    stop(&problem)
}

fn stop(problem: &str) -> ExitCode {
    let problem = problem.trim_end();
    let _ = writeln!(io::stderr(), "\nThe demo stops here: {problem}.");
    ExitCode::FAILURE
}

/// Builds the programs, which `cargo run --example` does not, and tells where they lie: beside the folder of the
/// examples, because they are built with the same profile into the same target directory.
fn build() -> Result<PathBuf> {
    let example = std::env::current_exe().context("the demo does not know where it lies")?;
    let mut folders = example.ancestors().skip(2);
    let (Some(profile_dir), Some(target_dir)) = (folders.next(), folders.next()) else {
        bail!("the demo does not lie in a target directory");
    };
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(profile) => profile,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(&cargo)
        .args("build --quiet --bins --profile".split(' '))
        .arg(profile)
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .with_context(|| format!("could not start {}", cargo.display()))?;
    let errors = String::from_utf8_lossy(&built.stderr);
    ensure!(
        built.status.success(),
        "the programs do not build:\n{errors}"
    );
    Ok(profile_dir.to_owned())
}

fn program(folder: &Path, name: &str) -> PathBuf {
    let program = folder.join(name);
    program.with_extension(std::env::consts::EXE_EXTENSION)
}
