//! What fills the machine: crashes at many points, a thousand cycles, a hundred containers at once. One test at a time.

mod churn;
mod crash;
mod network_load;

use std::sync::{Mutex, MutexGuard};

/// One of these tests at a time, whatever the number of test threads.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
