//! One client's share of a run: its sequence numbers, and what it has in common with the other clients.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::config::RunConfig;
use crate::sys::counters;

/// What all clients of a run have in common.
pub struct Common {
    clients: u32,
    /// The start of the passes.
    pub begun: Instant,
    /// The first error that ends the run, and the client that met it.
    error: OnceLock<(u32, String)>,
}

/// The part of one client.
#[derive(Clone, Copy)]
pub struct Share<'a> {
    pub common: &'a Common,
    /// Counted from 0.
    client: u32,
}

impl Common {
    /// The passes begin now.
    pub fn new(clients: u32) -> Common {
        Common {
            clients,
            begun: Instant::now(),
            error: OnceLock::new(),
        }
    }

    pub fn share(&self, client: u32) -> Share<'_> {
        Share { common: self, client }
    }

    /// The client that ends the run early and why, if one does.
    pub fn error(&self) -> Option<&(u32, String)> {
        self.error.get()
    }

    pub fn clients(&self) -> u32 {
        self.clients
    }
}

impl Share<'_> {
    /// Makes all clients stop. The first sentence is the run's error; later ones are only consequences.
    pub fn stop(&self, sentence: String) {
        let _ = self.common.error.set((self.client, sentence));
    }

    /// This client's sequence numbers: sequences are dealt round robin.
    pub fn sequences(&self, config: &RunConfig) -> impl Iterator<Item = u64> + use<> {
        let end = config.end.unwrap_or(1 << 32);
        let first = config.start + u64::from(self.client);
        (first..end).step_by(self.common.clients.max(1) as usize)
    }

    /// A clock of CPU time. That of the process would count what the other clients do meanwhile.
    pub fn cpu(&self) -> Duration {
        match self.common.clients {
            1 => counters::process_cpu(),
            _ => counters::thread_cpu(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::config::Machine;
    use crate::server::flags::{Mode, ServerArgs, TABLE};

    fn dealt(clients: u32, start: i64, end: Option<i64>) -> Vec<Vec<u64>> {
        let args = ServerArgs {
            mode: Mode::Cpu,
            start,
            end,
            ..TABLE.presets()
        };
        let config = RunConfig::resolve(&args, Machine::default()).unwrap();
        let common = Common::new(clients);
        let of = |client| common.share(client).sequences(&config).take(3).collect();
        (0..clients).map(of).collect()
    }

    #[test]
    fn sequences_are_dealt_round_robin() {
        assert_eq!(dealt(1, 5, None), [[5, 6, 7]]);
        assert_eq!(dealt(3, 5, None), [[5, 8, 11], [6, 9, 12], [7, 10, 13]]);
        assert_eq!(dealt(2, 5, Some(8)), [vec![5, 7], vec![6]]);
        assert_eq!(dealt(3, 5, Some(6)), [vec![5], vec![], vec![]]);
        let last = (1 << 32) - 1;
        assert_eq!(dealt(2, last, None), [vec![last as u64], vec![]]);
    }

    #[test]
    fn the_first_error_is_the_runs() {
        let common = Common::new(2);
        assert_eq!(common.error(), None);
        common.share(1).stop("first".into());
        common.share(0).stop("second".into());
        assert_eq!(common.error(), Some(&(1, "first".to_owned())));
    }
}
