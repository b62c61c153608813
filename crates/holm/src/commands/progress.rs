//! How far a transfer is: bars on a terminal, a line for each finished item elsewhere, both on standard error.

use std::collections::HashMap;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use holm_image::progress::Progress;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::error::printable;
use crate::terminal;

/// Shows the progress of a transfer. Starts no thread.
pub struct Bars {
    form: Form,
}

enum Form {
    Silent,
    Lines(Mutex<HashMap<String, String>>),
    Bars { all: MultiProgress, each: Mutex<HashMap<String, ProgressBar>> },
}

impl Bars {
    /// Bars on a terminal, lines elsewhere, nothing where `quiet`.
    pub fn new(quiet: bool) -> Self {
        let form = match (quiet, terminal::is_terminal(rustix::stdio::stderr())) {
            (true, _) => Form::Silent,
            (false, false) => Form::Lines(Mutex::default()),
            (false, true) => {
                let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
                Form::Bars { all, each: Mutex::default() }
            }
        };
        Self { form }
    }

    /// Leaves the terminal in order. *Order*: after the transfer.
    pub fn finish(&self) {
        if let Form::Bars { each, .. } = &self.form {
            for bar in each.lock().unwrap_or_else(PoisonError::into_inner).values().filter(|bar| !bar.is_finished()) {
                bar.abandon();
            }
        }
    }
}

fn style(known: bool) -> ProgressStyle {
    let template = if known {
        "{prefix:<20} {msg:<14} [{bar:24}] {bytes}/{total_bytes}"
    } else {
        "{prefix:<20} {msg:<14} {bytes}"
    };
    ProgressStyle::with_template(template)
        .map_or_else(|_| ProgressStyle::default_bar(), |style| style.progress_chars("=> "))
}

impl Progress for Bars {
    fn start(&self, id: &str, label: &str, total_bytes: Option<u64>) {
        match &self.form {
            Form::Silent => {}
            Form::Lines(labels) => {
                let mut labels = labels.lock().unwrap_or_else(PoisonError::into_inner);
                labels.insert(id.to_owned(), printable(label));
            }
            Form::Bars { all, each } => {
                let bar = all.add(total_bytes.map_or_else(ProgressBar::no_length, ProgressBar::new));
                bar.set_style(style(total_bytes.is_some()));
                bar.set_prefix(printable(label));
                each.lock().unwrap_or_else(PoisonError::into_inner).insert(id.to_owned(), bar);
            }
        }
    }

    fn advance(&self, id: &str, bytes: u64) {
        if let Form::Bars { each, .. } = &self.form
            && let Some(bar) = each.lock().unwrap_or_else(PoisonError::into_inner).get(id)
        {
            bar.inc(bytes);
        }
    }

    fn done(&self, id: &str, status: &str) {
        match &self.form {
            Form::Silent => {}
            Form::Lines(labels) => {
                let label = labels.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
                let label = label.unwrap_or_else(|| printable(id));
                // Nobody is left to tell when standard error is gone.
                let _ = writeln!(std::io::stderr(), "{label}: {}", printable(status));
            }
            Form::Bars { each, .. } => {
                if let Some(bar) = each.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
                    bar.finish_with_message(printable(status));
                }
            }
        }
    }
}
