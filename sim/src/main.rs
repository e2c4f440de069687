//! Runs schedules by hand: `exo-sim FIRST [COUNT] [HOSTS]`.

#![allow(clippy::print_stdout, reason = "a program that reports to its user")]

use exo_sim::{Plan, run};

fn main() -> std::process::ExitCode {
    exo_sim::name_seeds_of_panics();
    let mut numbers = std::env::args().skip(1).map(|word| word.parse::<u64>());
    let mut next = |default| numbers.next().and_then(Result::ok).unwrap_or(default);
    let (first, count) = (next(1), next(1));
    let hosts = match next(0) {
        0 => None,
        hosts => usize::try_from(hosts).ok(),
    };
    let mut failures = 0;
    let mut total = exo_sim::Outcome::default();
    for seed in first..first + count {
        let plan = Plan::new(seed, hosts);
        match run(&plan) {
            Ok(outcome) => total.add(&outcome),
            Err(failure) => {
                failures += 1;
                println!("seed {seed}: {failure}");
                if count == 1 {
                    println!("{plan:#?}");
                }
            }
        }
    }
    println!("{failures} failures in {count} schedules\n{total:#?}");
    std::process::ExitCode::from(u8::from(failures > 0))
}
