//! Carries bytes between the network and the call machines.
