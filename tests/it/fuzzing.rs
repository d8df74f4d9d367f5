use std::time::Duration;

use ds_monitor::base::clock::{Clock, SystemClock};

use crate::properties::with_random;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Damaged copies of every seed; the whole takes about a second.
const COPIES: usize = 300;

/// Names the seconds that every target runs for instead.
const SECONDS: &str = "DS_MONITOR_FUZZ_SECONDS";

/// What damage inserts.
const PIECES: [&str; 9] = ["\n", "\r", "\u{2028}", "\"", "<", "&", "{", "0", "é"];

#[test]
fn every_target_holds_for_its_seeds_and_for_damaged_copies_of_them() {
    let seconds = std::env::var(SECONDS).ok();
    let seconds = seconds.map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    with_random(|random| {
        for (name, target) in targets::TARGETS {
            let seeds = targets::seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            seeds.iter().for_each(|seed| target(seed));
            let clock = SystemClock::new();
            let mut copies = 0;
            while seconds.map_or(copies < COPIES * seeds.len(), |limit| {
                clock.elapsed() < limit
            }) {
                let seed = random.pick(&seeds).clone();
                target(&random.damaged(&seed, &PIECES));
                copies += 1;
            }
        }
    });
}
