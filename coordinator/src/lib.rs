//! warifu-coordinator
