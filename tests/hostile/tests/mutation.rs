//! Mutated seeds through every parser, by fixed seeds: what `fuzz/` does for hours, for a few seconds.

use holm_kit::{Numbers, mutate};

#[test]
fn mutated_seeds_break_no_parser() {
    const ROUNDS: usize = 20_000;
    for (name, target, seeds) in holm_hostile::TARGETS {
        let rounds = if name == "layer" { ROUNDS / 10 } else { ROUNDS };
        let mut numbers = Numbers(0x0123_4567_89ab_cdef);
        let seeds = seeds();
        for seed in &seeds {
            target(seed);
        }
        for round in 0..rounds {
            let bytes = mutate(&seeds[round % seeds.len()], &mut numbers);
            let outcome = std::panic::catch_unwind(|| target(&bytes));
            assert!(outcome.is_ok(), "{name}, round {round}: {}", String::from_utf8_lossy(&bytes));
        }
    }
}
