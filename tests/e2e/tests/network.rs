//! Networks as a user meets them, on a host of the test's own. One module per subject.

mod network_basic;
