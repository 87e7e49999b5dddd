//! Why a request failed: a class that is counted and a sentence for people. Texts of HTTP errors are those of the
//! reference, so that files of both tools compare. No text holds a key.

use std::fmt;

/// What kind of end it was; every failed request has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureClass {
    /// No connection: refused, unreachable, TLS.
    Connect,
    /// One of the four limits passed: connect, first token, stall, total.
    Timeout,
    /// The engine answered with a status other than 200.
    HttpStatus,
    /// The answer ended early, or the engine sent an error event inside it.
    StreamBroken,
    /// What came is not the protocol: not HTTP, not events, not JSON, or an answer without a token.
    Protocol,
}

impl FailureClass {
    pub const ALL: [FailureClass; 5] = [
        FailureClass::Connect,
        FailureClass::Timeout,
        FailureClass::HttpStatus,
        FailureClass::StreamBroken,
        FailureClass::Protocol,
    ];

    /// As in JSON.
    pub fn key(self) -> &'static str {
        match self {
            FailureClass::Connect => "connect",
            FailureClass::Timeout => "timeout",
            FailureClass::HttpStatus => "http_status",
            FailureClass::StreamBroken => "stream_broken",
            FailureClass::Protocol => "protocol",
        }
    }

    /// As in the terminal report.
    pub fn label(self) -> &'static str {
        match self {
            FailureClass::Connect => "Failed: connect",
            FailureClass::Timeout => "Failed: timeout",
            FailureClass::HttpStatus => "Failed: HTTP status",
            FailureClass::StreamBroken => "Failed: stream broken",
            FailureClass::Protocol => "Failed: protocol",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub class: FailureClass,
    pub text: String,
}

impl Failure {
    pub fn new(class: FailureClass, text: impl Into<String>) -> Failure {
        Failure {
            class,
            text: text.into(),
        }
    }

    pub fn protocol(text: impl Into<String>) -> Failure {
        Failure::new(FailureClass::Protocol, text)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
