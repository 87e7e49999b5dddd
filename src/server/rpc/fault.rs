//! The errors of requests, and their texts for users.

use std::fmt;
use std::time::Duration;

use super::generation::{Generation, Operation};
use super::msgpack::Malformed;
use super::wire::Fault;
use crate::cuda::CudaError;
use crate::error::Error;
use crate::sys::limits;

/// Why a request has no result.
#[derive(Debug)]
pub enum RpcError {
    /// No reply in time. `answers`: whether the server answered a `NOOP` afterwards.
    TimedOut {
        operation: Operation,
        waited: Duration,
        answers: bool,
    },
    /// A later request of the same class was answered first, so the server failed this one. The reason is in its log.
    Refused { operation: Operation },
    /// The connection was lost, and with it the reply.
    Disconnected { operation: Operation, cause: String },
    /// The reply does not follow the protocol.
    Malformed { operation: Operation, detail: String },
    /// A signal ended the wait.
    Interrupted,
    /// The request was not sent, because a server could not handle it.
    Invalid(String),
    /// A step on this side failed, such as a copy of device memory; a whole sentence.
    Local(String),
    /// No cache server at the address; a whole sentence.
    Unreachable(String),
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RpcError::TimedOut {
                operation,
                waited,
                answers: true,
            } => write!(
                f,
                "{} was not answered within {:.1} s though the server answers others: it failed or is still at work; \
                 look into the server's log",
                operation.name(),
                waited.as_secs_f64()
            ),
            RpcError::TimedOut { operation, waited, .. } => write!(
                f,
                "{} was not answered within {:.1} s and the server answers nothing any more: restart it",
                operation.name(),
                waited.as_secs_f64()
            ),
            RpcError::Refused { operation } => write!(
                f,
                "the server could not do {} and says so only in its log; look there",
                operation.name()
            ),
            RpcError::Disconnected { operation, cause } => {
                let question = match limits::has_advice(cause) {
                    true => "",
                    false => "; is the server still running?",
                };
                write!(f, "{} lost its connection: {cause}{question}", operation.name())
            }
            RpcError::Malformed { operation, detail } => {
                write!(
                    f,
                    "the reply to {} is malformed: {detail}; is it an LMCache server of 0.5.0 to {}?",
                    operation.name(),
                    Generation::NEWEST.label
                )
            }
            RpcError::Interrupted => f.write_str("a signal asked for the end"),
            RpcError::Invalid(text) | RpcError::Local(text) | RpcError::Unreachable(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for RpcError {}

impl From<CudaError> for RpcError {
    fn from(error: CudaError) -> RpcError {
        RpcError::Local(error.to_string())
    }
}

impl From<RpcError> for Error {
    fn from(error: RpcError) -> Error {
        Error::Environment(error.to_string())
    }
}

/// Why decoding a reply failed. Replies are decoded while they arrive, so the connection can fail as well.
#[derive(Debug)]
pub enum ReplyFault {
    Connection(Fault),
    Malformed(Malformed),
}

impl From<Malformed> for ReplyFault {
    fn from(malformed: Malformed) -> ReplyFault {
        ReplyFault::Malformed(malformed)
    }
}
