//! warifu-tests
