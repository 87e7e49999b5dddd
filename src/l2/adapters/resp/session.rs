//! One worker's session with a RESP service: a connection to each node that it needs, requests, redirections, and one retry
//! when a connection was lost. A key counts as stored only after its `+OK`.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use super::answer;
use super::cluster::{Cluster, Redirection};
use super::exchange::{Attempt, exchange, receive, send_all};
use super::wire::{self, Connection, Reply};
use crate::l2::adapter::{Item, Operation, Outcome};
use crate::l2::adapters::field::secret::Secret;
use crate::l2::adapters::service::link::{Address, ConnectOptions, advice, is_loss};
use crate::l2::adapters::service::session::Session;
use crate::l2::adapters::service::tally::Tally;
use crate::l2::adapters::step_timer::StepTimer;

/// Attempts of one request, redirections and retries included.
const ATTEMPTS_MAX: usize = 8;
/// While a slot migrates, a node asks to try again.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// What all sessions of one adapter share.
pub struct Setup {
    pub connect: ConnectOptions,
    pub username: String,
    pub password: Secret,
    pub database: Option<i64>,
    /// In front of every key, with its separator.
    pub key_prefix: String,
    pub ttl_seconds: Option<u64>,
    /// The only node, unless there is a cluster.
    pub home: Arc<Address>,
    pub cluster: Option<Cluster>,
    pub tally: Arc<Tally>,
}

pub struct RespSession {
    setup: Arc<Setup>,
    connections: HashMap<Arc<Address>, Connection>,
}

impl RespSession {
    /// Connects to where requests will go, and in a cluster learns where that is.
    pub fn open(setup: &Arc<Setup>) -> Result<RespSession, String> {
        let mut session = RespSession {
            setup: Arc::clone(setup),
            connections: HashMap::new(),
        };
        match &setup.cluster {
            None => {
                session.connection(&setup.home)?;
            }
            Some(cluster) => {
                if cluster.primaries().is_empty() {
                    session.learn_map()?;
                }
                for node in cluster.primaries() {
                    session.connection(&node)?;
                }
            }
        }
        Ok(session)
    }

    fn connection(&mut self, node: &Arc<Address>) -> Result<&mut Connection, String> {
        if !self.connections.contains_key(node) {
            let connection = connect(&self.setup, node)?;
            self.connections.insert(Arc::clone(node), connection);
        }
        Ok(self.connections.get_mut(node).expect("inserted above"))
    }

    /// Asks one node after the other for the slot map.
    fn learn_map(&mut self) -> Result<(), String> {
        let setup = Arc::clone(&self.setup);
        let Some(cluster) = &setup.cluster else { return Ok(()) };
        let mut last = String::new();
        for node in cluster.primaries().iter().chain(cluster.seeds()) {
            let reply = self.connection(node).and_then(|connection| {
                let reply = connection.ask(&[b"CLUSTER", b"SLOTS"]);
                reply.map_err(|error| format!("could not ask {node} for its slots: {error}{}", advice(&error)))
            });
            match reply {
                Ok(Reply::Error(text)) => last = answer::sentence("ask for the slots of", node, &text),
                Ok(reply) if cluster.learn(&reply, node) => return Ok(()),
                Ok(Reply::Array(_)) => last = format!("the cluster at {node} has no slots; finish setting it up"),
                Ok(other) => {
                    let error = wire::unexpected("CLUSTER SLOTS", "an array", &other.shown());
                    last = format!("could not ask for the slots of {node}: {error}");
                }
                Err(sentence) => {
                    self.connections.remove(node);
                    last = sentence;
                }
            }
        }
        Err(last)
    }

    fn node_of(&self, key: &[u8]) -> Arc<Address> {
        match &self.setup.cluster {
            None => Arc::clone(&self.setup.home),
            Some(cluster) => cluster.owner(key),
        }
    }

    fn key_of(&self, item: &Item) -> Vec<u8> {
        let mut key = self.setup.key_prefix.clone();
        key.push_str(&item.key.wire_name());
        key.into_bytes()
    }

    /// One key, wherever the cluster sends it.
    fn perform(&mut self, operation: Operation, item: &mut Item, timer: &mut StepTimer) -> Outcome {
        let setup = Arc::clone(&self.setup);
        let key = self.key_of(item);
        let mut node = self.node_of(&key);
        let (mut asking, mut repeated) = (false, false);
        for _ in 0..ATTEMPTS_MAX {
            match self.attempt(operation, &key, &node, asking, item, timer) {
                Attempt::Done(outcome) => return outcome,
                Attempt::Refused(text) => {
                    let cluster = setup.cluster.as_ref();
                    asking = false;
                    match cluster.and_then(|cluster| cluster.redirection(&text, &node)) {
                        Some(Redirection::Moved { slot, to }) => {
                            if let Some(cluster) = cluster {
                                cluster.set_owner(slot, Arc::clone(&to));
                            }
                            node = to;
                        }
                        Some(Redirection::Ask { to }) => {
                            asking = true;
                            node = to;
                        }
                        None if cluster.is_some() && text.starts_with("TRYAGAIN") => thread::sleep(TRY_AGAIN),
                        None => return Outcome::Failed(answer::failed(operation, &node, &text)),
                    }
                    setup.tally.redirect();
                }
                Attempt::Broken { error, stale } => {
                    let sentence = format!(
                        "could not {}: {error}{}",
                        answer::action(operation, &node),
                        advice(&error)
                    );
                    if repeated || !stale {
                        return Outcome::Failed(sentence);
                    }
                    (repeated, asking) = (true, false);
                    setup.tally.repeat(|| format!("{node}: {error}"));
                    node = self.after_loss(&key);
                }
                Attempt::Unreachable(sentence) => {
                    if repeated || setup.cluster.is_none() {
                        return Outcome::Failed(sentence);
                    }
                    (repeated, asking) = (true, false);
                    setup.tally.repeat(|| sentence);
                    node = self.after_loss(&key);
                }
            }
        }
        Outcome::Failed(format!(
            "could not {}: redirected {ATTEMPTS_MAX} times; look at CLUSTER INFO",
            answer::action(operation, &node)
        ))
    }

    /// The node to use after one was lost: another may have taken over its slots.
    fn after_loss(&mut self, key: &[u8]) -> Arc<Address> {
        // Without a map the next attempt fails with the cause.
        let _ = self.learn_map();
        self.node_of(key)
    }

    fn attempt(
        &mut self,
        operation: Operation,
        key: &[u8],
        node: &Arc<Address>,
        asking: bool,
        item: &mut Item,
        timer: &mut StepTimer,
    ) -> Attempt {
        let ttl_seconds = self.setup.ttl_seconds;
        let connection = match self.connection(node) {
            Ok(connection) => connection,
            Err(sentence) => {
                timer.times.open_ns += timer.step_ns();
                return Attempt::Unreachable(sentence);
            }
        };
        let stale = connection.proven;
        timer.times.open_ns += timer.step_ns();
        let result = exchange(connection, operation, key, ttl_seconds, asking, item, timer);
        match result {
            Ok(Attempt::Done(Outcome::Failed(sentence))) => {
                // A value was left unread, so the next reply would be misread.
                self.connections.remove(node);
                Attempt::Done(Outcome::Failed(format!(
                    "could not {}: {sentence}",
                    answer::action(operation, node)
                )))
            }
            Ok(attempt) => attempt,
            Err(error) => {
                self.connections.remove(node);
                let stale = stale && is_loss(&error);
                Attempt::Broken { error, stale }
            }
        }
    }

    /// Sends all commands before it waits for the first reply. Commands without a reply are retried one by one, unless the
    /// reply timed out.
    fn pipelined(&mut self, operation: Operation, items: &mut [Item], created: Instant) {
        let home = Arc::clone(&self.setup.home);
        let ttl_seconds = self.setup.ttl_seconds;
        let keys: Vec<Vec<u8>> = items.iter().map(|item| self.key_of(item)).collect();
        let mut timers: Vec<StepTimer> = items.iter().map(|_| StepTimer::start(created)).collect();
        let mut answered = 0;
        let lost = match self.connection(&home) {
            Err(sentence) => Some(io::Error::other(sentence)),
            Ok(connection) => {
                let mut lost = send_all(connection, operation, &keys, ttl_seconds, items).err();
                for (item, timer) in items.iter_mut().zip(&mut timers) {
                    if lost.is_some() {
                        break;
                    }
                    timer.times.open_ns = timer.step_ns();
                    connection.begin_request();
                    match receive(connection, operation, item) {
                        Ok(Attempt::Done(outcome)) => item.outcome = outcome,
                        Ok(Attempt::Refused(text)) => {
                            item.outcome = Outcome::Failed(answer::failed(operation, &home, &text));
                        }
                        Ok(_) => unreachable!("receive() only says done or refused"),
                        Err(error) => {
                            lost = Some(error);
                            continue;
                        }
                    }
                    timer.times.transfer_ns = timer.step_ns();
                    answered += 1;
                    if matches!(&item.outcome, Outcome::Failed(text) if text.starts_with(answer::LONGER)) {
                        lost = Some(io::Error::other("a longer value than asked for"));
                    }
                }
                lost
            }
        };
        let Some(error) = lost else {
            answered = items.len();
            finish(items, timers, answered);
            return;
        };
        self.connections.remove(&home);
        let rest = &mut items[answered..];
        if error.kind() == ErrorKind::TimedOut {
            let action = answer::action(operation, &home);
            let sentence = format!("could not {action}: {error}{}", advice(&error));
            rest.iter_mut()
                .for_each(|item| item.outcome = Outcome::Failed(sentence.clone()));
            answered = items.len();
        } else {
            for item in rest {
                self.setup.tally.repeat(|| error.to_string());
                self.alone(operation, item, created);
            }
        }
        finish(items, timers, answered);
    }

    fn alone(&mut self, operation: Operation, item: &mut Item, created: Instant) {
        let mut timer = StepTimer::start(created);
        item.outcome = self.perform(operation, item, &mut timer);
        item.times = timer.finish();
    }
}

impl Session for RespSession {
    fn run(&mut self, operation: Operation, items: &mut [Item], created: Instant) {
        match items {
            [item] => self.alone(operation, item, created),
            _ => self.pipelined(operation, items, created),
        }
    }
}

/// Sets the times of the first `count` keys; the others have theirs.
fn finish(items: &mut [Item], timers: Vec<StepTimer>, count: usize) {
    for (item, timer) in items.iter_mut().zip(timers).take(count) {
        item.times = timer.finish();
    }
}

fn connect(setup: &Setup, node: &Arc<Address>) -> Result<Connection, String> {
    let refused = |error: io::Error| format!("could not connect to {node}: {error}{}", advice(&error));
    let mut connection = Connection::open(node, &setup.connect).map_err(refused)?;
    let (username, password) = (setup.username.as_bytes(), setup.password.expose().as_bytes());
    let database = setup.database.map(|database| database.to_string());
    // As in LMCache: no login without a password, even with a user name.
    if !password.is_empty() {
        let reply = if username.is_empty() {
            connection.ask(&[b"AUTH", password])
        } else {
            connection.ask(&[b"AUTH", username, password])
        };
        expect_ok(reply, "log in to", node)?;
    }
    if let Some(database) = database {
        expect_ok(
            connection.ask(&[b"SELECT", database.as_bytes()]),
            "select database_id of",
            node,
        )?;
    }
    connection.proven = false;
    Ok(connection)
}

fn expect_ok(reply: io::Result<Reply>, action: &str, node: &Address) -> Result<(), String> {
    match reply {
        Ok(Reply::Simple(text)) if text == "OK" => Ok(()),
        Ok(Reply::Error(text)) => Err(answer::sentence(action, node, &text)),
        Ok(other) => {
            let error = wire::unexpected("the command", "+OK", &other.shown());
            Err(format!("could not {action} {node}: {error}"))
        }
        Err(error) => Err(format!("could not {action} {node}: {error}{}", advice(&error))),
    }
}
