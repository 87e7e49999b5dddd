//! One client for small questions to HTTP services. Its limits hold also while bytes flow, and a signal ends a question in
//! whatever state it is. Must never ask twice.

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::time::Duration;

use ureq::config::Config;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, RustlsConnector, Transport,
};
use ureq::{Agent, Error};

use crate::sys::deadline::{Deadline, is_cancelled};
use crate::sys::detached::run_detached;
use crate::sys::stream::Stream;

/// A head may be so long.
pub const HEAD_BYTES_MAX: usize = 64 << 10;
/// A question that is over takes so long at most to say so.
const SLACK: Duration = Duration::from_secs(1);

/// What a config asks for, over streams with limits.
pub fn agent(config: Config) -> Agent {
    let connector = BoundedConnector.chain(RustlsConnector::default());
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// Asks on a thread of its own, because looking up a name cannot be interrupted. `whole` is what the agent was given.
pub fn asked<T: Send + 'static>(whole: Duration, question: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let limits = Deadline::after(whole + SLACK);
    run_detached("question", &limits, question).map_err(|error| match error.kind() {
        _ if is_cancelled(&error) => "the run was ended".to_owned(),
        ErrorKind::TimedOut => format!("timeout: no answer within {} s", whole.as_secs_f64()),
        _ => format!("could not ask: {error}"),
    })
}

#[derive(Debug)]
struct BoundedConnector;

impl Connector for BoundedConnector {
    type Out = BoundedTransport;

    fn connect(&self, details: &ConnectionDetails, _: Option<()>) -> Result<Option<BoundedTransport>, Error> {
        let limits = deadline(details.timeout);
        let addresses = &details.addrs[..];
        let stream = Stream::connect(addresses, limits.left(), limits).map_err(|error| told(error, details.timeout))?;
        let config = details.config;
        let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
        Ok(Some(BoundedTransport { stream, buffers }))
    }
}

struct BoundedTransport {
    stream: Stream<Deadline>,
    buffers: LazyBuffers,
}

/// What is left of the time that ureq gives a step.
fn deadline(timeout: NextTimeout) -> Deadline {
    /// Where it gives none.
    const LONG: Duration = Duration::from_secs(3600);
    Deadline::after((*timeout.after).min(LONG))
}

fn told(error: io::Error, timeout: NextTimeout) -> Error {
    match error.kind() {
        ErrorKind::TimedOut => Error::Timeout(timeout.reason),
        _ => Error::Io(error),
    }
}

impl Transport for BoundedTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.limits = deadline(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| told(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.limits = deadline(timeout);
        let room = self.buffers.input_append_buf();
        if room.is_empty() {
            return Err(Error::BodyStalled);
        }
        let received = self.stream.read_stamped(room).map_err(|error| told(error, timeout))?;
        self.buffers.input_appended(received.bytes);
        Ok(received.bytes > 0)
    }

    /// Every question has a connection of its own.
    fn is_open(&mut self) -> bool {
        false
    }
}

impl fmt::Debug for BoundedTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoundedTransport")
    }
}
