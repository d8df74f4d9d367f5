use crate::properties::with_random;

#[path = "../../fuzz/targets.rs"]
mod targets;

/// Damaged copies of every seed; the whole takes about a second.
const COPIES: usize = 300;

#[test]
fn every_target_holds_for_its_seeds_and_for_damaged_copies_of_them() {
    with_random(|random| {
        for (name, target) in targets::TARGETS {
            let seeds = targets::seeds(name);
            assert!(!seeds.is_empty(), "{name} has no seeds");
            for seed in &seeds {
                target(seed);
                for _ in 0..COPIES {
                    target(&random.damaged(
                        seed,
                        &["\n", "\r", "\u{2028}", "\"", "<", "&", "{", "0", "é"],
                    ));
                }
            }
        }
    });
}
