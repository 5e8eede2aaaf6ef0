//! warifu-common
