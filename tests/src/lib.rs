//! Nothing: this package is its tests.
//!
//! `tests/system` runs the real binaries as a user does, and judges by what they leave behind: exit statuses, words on
//! stdout and stderr, files, database rows. The simulation of the scheduler has a package of its own, `simulation/`.
