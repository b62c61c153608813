//! Measuring: contenders take turns, so that what the machine does meanwhile hits them all. Owns the statistics.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// One of those compared.
pub struct Contender<'a> {
    /// Its name in the table.
    pub name: String,
    /// Runs it once.
    pub once: Box<dyn FnMut() -> Duration + 'a>,
    /// It takes part in each round whose number this divides: slow ones in fewer.
    pub every: usize,
}

impl<'a> Contender<'a> {
    /// One that takes part in every round.
    pub fn new(name: &str, once: impl FnMut() -> Duration + 'a) -> Self {
        Self { name: name.to_owned(), once: Box::new(once), every: 1 }
    }

    /// Lets it take part in one round out of so many.
    pub fn every(mut self, every: usize) -> Self {
        self.every = every;
        self
    }
}

/// What was measured of one contender.
#[derive(Clone)]
pub struct Sample {
    /// Its name.
    pub name: String,
    /// The values, sorted.
    pub values: Vec<f64>,
}

impl Sample {
    /// A sample of these values.
    pub fn new(name: &str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { name: name.to_owned(), values }
    }

    /// The value at this share of the way from the least to the greatest.
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.values.len().saturating_sub(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index into a short list")]
        let at = (last as f64 * share).round() as usize;
        self.values.get(at).copied().unwrap_or(f64::NAN)
    }

    /// The median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }
}

/// Runs all contenders in turn, `rounds` times after one unmeasured round; values are milliseconds. Each round has an order of
/// its own, the same in every run, so that no one always runs while the same neighbour's leavings are still being cleared
/// away: each comes after each of the others about as often.
pub fn in_turns(rounds: usize, mut contenders: Vec<Contender<'_>>) -> Vec<Sample> {
    let mut values: Vec<Vec<f64>> = contenders.iter().map(|_| Vec::new()).collect();
    for contender in &mut contenders {
        (contender.once)();
    }
    let mut order: Vec<usize> = (0..contenders.len()).collect();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for round in 0..rounds {
        dice.shuffle(&mut order);
        for at in order.iter().copied() {
            if round % contenders[at].every == 0 {
                values[at].push((contenders[at].once)().as_secs_f64() * 1000.0);
            }
        }
    }
    contenders.iter().zip(values).map(|(contender, values)| Sample::new(&contender.name, values)).collect()
}

/// Numbers that are the same in every run. *Source*: G. Marsaglia, "Xorshift RNGs", Journal of Statistical Software 8 (2003).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Puts a list into another order, each as likely as any.
    fn shuffle(&mut self, list: &mut [usize]) {
        for end in (1..list.len()).rev() {
            let other = usize::try_from(self.next() % (end as u64 + 1)).expect("an index");
            list.swap(end, other);
        }
    }
}

/// Time from the start of a command to its end.
///
/// # Panics
/// If it fails: a benchmark of failures is none.
pub fn time(command: &mut Command) -> Duration {
    static ERRORS: OnceLock<File> = OnceLock::new();
    // A file, not a pipe: what a command leaves running may hold it open.
    let mut errors = ERRORS.get_or_init(|| tempfile::tempfile().expect("make a file"));
    let side = errors.try_clone().expect("copy a descriptor");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(side);
    let start = Instant::now();
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let elapsed = start.elapsed();
    if !status.success() {
        let mut text = String::new();
        let _ = errors.rewind();
        let _ = errors.read_to_string(&mut text);
        panic!("{command:?}: {status}\n{text}");
    }
    elapsed
}

/// Starts all commands at once and waits for all; the whole time.
///
/// # Panics
/// If one fails.
pub fn time_at_once(commands: Vec<Command>) -> Duration {
    let start = Instant::now();
    let children: Vec<_> = commands
        .into_iter()
        .map(|mut command| {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            command.spawn().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"))
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().expect("wait for a child");
        assert!(output.status.success(), "{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    start.elapsed()
}
