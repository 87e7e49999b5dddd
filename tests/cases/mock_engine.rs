//! `mock engine` as a peer on a loopback port.
