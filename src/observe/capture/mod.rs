//! Exchanges on disk, for `convert` and for bug reports.

pub mod meta;
