//! warifu-cli
