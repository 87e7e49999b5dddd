//! `mock server` as a peer on a loopback port.
