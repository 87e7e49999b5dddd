//! `server` against the mock server.
