//! A request that was read and waits for its turn.

use super::http::{Head, Refusal};
use super::service::Arrival;

/// A whole request with its body, or why there is none.
#[derive(Debug)]
pub struct Arrived {
    /// Of its connection.
    pub slot: usize,
    pub number: u64,
    pub arrival: Arrival,
    pub request: Result<(Head, Vec<u8>), Refusal>,
}

impl Arrived {
    /// Puts requests in the order of their stamps; equal ones stay as they were. It is the wall clock's stamp that is compared,
    /// because the other was computed from it with an error of its own for each request.
    pub fn sort(requests: &mut [Arrived]) {
        requests.sort_by_key(|request| request.arrival.wall_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_decide_and_the_order_of_reading_only_where_they_are_equal() {
        let request = |slot: usize, wall_ns: u64, ns: u64| Arrived {
            slot,
            number: 0,
            arrival: Arrival {
                ns,
                wall_ns,
                source: "kernel",
                read_ns: 0,
            },
            request: Err(Refusal(400, String::new())),
        };
        let mut requests = [request(0, 7, 1), request(1, 5, 2), request(2, 7, 0), request(3, 5, 9)];
        Arrived::sort(&mut requests);
        assert_eq!(requests.map(|request| request.slot), [1, 3, 0, 2]);
    }
}
