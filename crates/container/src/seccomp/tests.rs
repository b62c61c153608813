//! Tests of system call filters.
