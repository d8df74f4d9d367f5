use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::time::Duration;

use ds_monitor::base::clock::{Clock, SystemClock};

use crate::properties::with_random;

#[path = "../../fuzz/targets.rs"]
#[expect(unreachable_pub, reason = "the package in fuzz/ calls each target")]
mod targets;

/// Damaged copies per target; the whole takes some seconds.
const COPIES: usize = 600;

/// Names the seconds that every target runs for instead.
const SECONDS: &str = "DS_MONITOR_FUZZ_SECONDS";

/// What damage inserts.
const PIECES: [&str; 14] = [
    "\n",
    "\r",
    "\u{2028}",
    "\"",
    "\\",
    "<",
    "&",
    "{",
    "[",
    "=",
    "%",
    "0",
    "é",
    "\u{1F511}",
];

#[test]
fn every_target_holds_for_its_seeds_and_for_damaged_copies_of_them() {
    let seconds = std::env::var(SECONDS).ok();
    let seconds = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    with_random(|random| {
        for (name, target) in targets::TARGETS {
            let hold = |bytes: &[u8]| {
                let outcome = catch_unwind(|| target(bytes));
                let text = String::from_utf8_lossy(bytes);
                assert!(outcome.is_ok(), "{name} does not hold for {text:?}");
            };
            let seeds = seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            seeds.iter().for_each(|seed| hold(seed));
            let clock = SystemClock::new();
            let mut copies = 0;
            while seconds.map_or(copies < COPIES, |limit| clock.elapsed() < limit) {
                let seed = random.pick(&seeds).clone();
                hold(&random.damaged(&seed, &PIECES));
                copies += 1;
            }
        }
    });
}

/// The committed seeds of a target.
fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let paths: BTreeSet<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn every_target_has_a_program_that_runs_for_hours() {
    let fuzz = format!("{}/fuzz", env!("CARGO_MANIFEST_DIR"));
    let manifest = fs::read_to_string(format!("{fuzz}/Cargo.toml")).unwrap();
    let programs: BTreeSet<_> = fs::read_dir(format!("{fuzz}/fuzz_targets"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = targets::TARGETS.map(|(name, _)| format!("{name}.rs"));
    assert_eq!(programs, BTreeSet::from(expected));
    for (name, _) in targets::TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "{name}");
        let program = fs::read_to_string(format!("{fuzz}/fuzz_targets/{name}.rs")).unwrap();
        assert!(program.contains(&format!("targets::{name}(")), "{name}");
    }
}
