//! The wait for one of a limited number of servers: a function of the arrivals, in virtual time. Nothing here waits.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// At most so many requests are in service at a time; the others wait in the order in which they came.
#[derive(Debug)]
pub struct Servers {
    /// When each server is free again; empty where their number is not limited.
    free_ns: BinaryHeap<Reverse<u64>>,
}

impl Servers {
    /// `count` servers, all of them free; 0 is no limit.
    pub fn new(count: u64) -> Servers {
        Servers {
            free_ns: (0..count).map(|_| Reverse(0)).collect(),
        }
    }

    /// When the service of a request that arrived at `arrival_ns` begins, not before the earliest server is free.
    pub fn begins_ns(&self, arrival_ns: u64) -> u64 {
        let earliest = self.free_ns.peek().map_or(0, |Reverse(free_ns)| *free_ns);
        arrival_ns.max(earliest)
    }

    /// Keeps the server that is free first busy until `end_ns`.
    pub fn occupy(&mut self, end_ns: u64) {
        if self.free_ns.pop().is_some() {
            self.free_ns.push(Reverse(end_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When each of these requests begins; every service takes `service`.
    fn begins(count: u64, arrivals: &[u64], service: u64) -> Vec<u64> {
        let mut servers = Servers::new(count);
        let one = |arrival_ns: &u64| {
            let begin_ns = servers.begins_ns(*arrival_ns);
            servers.occupy(begin_ns + service);
            begin_ns
        };
        arrivals.iter().map(one).collect()
    }

    #[test]
    fn requests_wait_in_order_for_the_server_that_is_free_first() {
        assert_eq!(begins(2, &[0, 1, 2, 3, 50], 10), [0, 1, 10, 11, 50]);
        assert_eq!(begins(1, &[5, 5, 5], 10), [5, 15, 25]);
    }

    #[test]
    fn without_a_limit_every_service_begins_at_its_arrival() {
        assert_eq!(begins(0, &[7, 7, 7, 8], 1000), [7, 7, 7, 8]);
    }

    #[test]
    fn a_queue_that_never_empties_serves_at_its_capacity() {
        // Three servers of 10 serve 0.3 a unit of time; one request arrives in each.
        let arrivals: Vec<u64> = (0..3000).collect();
        assert_eq!(begins(3, &arrivals, 10).last(), Some(&9992));
    }

    #[test]
    fn a_server_is_busy_until_the_longest_answer_of_its_own() {
        let mut servers = Servers::new(2);
        for end_ns in [100, 10] {
            assert_eq!(servers.begins_ns(0), 0);
            servers.occupy(end_ns);
        }
        assert_eq!(servers.begins_ns(0), 10);
        servers.occupy(20);
        assert_eq!(servers.begins_ns(30), 30);
        assert_eq!(servers.begins_ns(0), 20);
    }
}
