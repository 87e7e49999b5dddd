//! What can go wrong between a request and its reply, in words for people. It must never carry a payload.

use std::fmt;
use std::time::Duration;

use super::msgpack::Malformed;
use super::version::Operation;
use super::zmtp::Fault;
use crate::cuda::CudaError;
use crate::error::Error;
use crate::sys::limits;

/// Why a request brought no result.
#[derive(Debug)]
pub enum RpcError {
    /// No reply in time. `answers` says whether the server still answered a `NOOP` afterwards.
    TimedOut {
        operation: Operation,
        waited: Duration,
        answers: bool,
    },
    /// A later request of the same class was answered first: the server failed this one, and its log says why.
    Refused { operation: Operation },
    /// The connection is gone, and so is whatever the server was asked.
    Disconnected { operation: Operation, cause: String },
    /// The reply is not what the protocol says.
    Malformed { operation: Operation, detail: String },
    /// A signal asked for the end.
    Interrupted,
    /// This client cannot ask for this, because the server could not take it.
    Invalid(String),
    /// What the request needed on this side failed; a whole sentence.
    Local(String),
    /// No server of the protocol is there; a whole sentence.
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
                    "the reply to {} is malformed: {detail}; is it an LMCache server of 0.5.0 to 0.5.6?",
                    operation.name()
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

/// What can end the decoding of a reply that is still arriving.
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
