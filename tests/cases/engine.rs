//! `engine` against the mock engine and recorded streams.
