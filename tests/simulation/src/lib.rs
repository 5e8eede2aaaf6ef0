//! warifu-simulation
