//! Which node of a cluster owns which key: CRC16 slots, the map of CLUSTER SLOTS, and what MOVED and ASK say. Pure but for
//! the lock around the map.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::wire::Reply;
use crate::l2::adapters::service::link::Address;

pub const SLOTS: usize = 16_384;
/// Nodes that are asked for the map, or connected to ahead of time, at most.
pub const NODES_MAX: usize = 16;

/// CRC-16/XMODEM, the one that clusters hash keys with.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// Only what stands between the first `{` and the next `}` counts, unless that is nothing.
pub fn slot_of(key: &[u8]) -> usize {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|open| {
        let len = key[open + 1..].iter().position(|byte| *byte == b'}')?;
        (len > 0).then(|| &key[open + 1..open + 1 + len])
    });
    usize::from(crc16(tag.unwrap_or(key))) % SLOTS
}

/// Where an error reply sends a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Redirection {
    Moved {
        slot: usize,
        to: Arc<Address>,
    },
    /// For this one request, after ASKING.
    Ask {
        to: Arc<Address>,
    },
}

/// Reads `MOVED 866 host:port` and `ASK 866 host:port`. A node that names no host means the one that answered.
pub fn redirection(error: &str, from: &Address) -> Option<Redirection> {
    let mut words = error.split_ascii_whitespace();
    let kind = words.next()?;
    let slot = words.next()?.parse().ok().filter(|slot| *slot < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let to = node(host, port.parse().ok()?, from)?;
    match kind {
        "MOVED" => Some(Redirection::Moved { slot, to }),
        "ASK" => Some(Redirection::Ask { to }),
        _ => None,
    }
}

fn node(host: &str, port: u64, from: &Address) -> Option<Arc<Address>> {
    let host = if host.is_empty() || host == "?" {
        &from.host
    } else {
        host
    };
    Address::new(host, port, "cluster node port").ok().map(Arc::new)
}

/// The map that all workers share.
pub struct Cluster {
    seeds: Vec<Arc<Address>>,
    owners: Mutex<Vec<Option<Arc<Address>>>>,
}

impl Cluster {
    pub fn new(seeds: Vec<Arc<Address>>) -> Cluster {
        Cluster {
            seeds,
            owners: Mutex::new(vec![None; SLOTS]),
        }
    }

    /// A worker that panicked cannot leave half a map behind.
    fn owners(&self) -> std::sync::MutexGuard<'_, Vec<Option<Arc<Address>>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node to ask for a key; any node will redirect when the map has no owner.
    pub fn owner(&self, key: &[u8]) -> Arc<Address> {
        let owner = self.owners()[slot_of(key)].clone();
        owner.unwrap_or_else(|| Arc::clone(&self.seeds[0]))
    }

    pub fn set_owner(&self, slot: usize, node: Arc<Address>) {
        self.owners()[slot] = Some(node);
    }

    /// Primaries, then seeds: whom to connect to, and whom to ask for a new map.
    pub fn primaries(&self) -> Vec<Arc<Address>> {
        let distinct: BTreeSet<Arc<Address>> = self.owners().iter().flatten().cloned().collect();
        distinct.into_iter().take(NODES_MAX).collect()
    }

    pub fn seeds(&self) -> &[Arc<Address>] {
        &self.seeds
    }

    /// Takes over the reply to CLUSTER SLOTS; false when it names no owner at all.
    pub fn learn(&self, reply: &Reply, from: &Address) -> bool {
        let Reply::Array(ranges) = reply else { return false };
        let mut fresh = vec![None; SLOTS];
        let mut any = false;
        for range in ranges {
            let Reply::Array(parts) = range else { continue };
            let [Reply::Integer(first), Reply::Integer(last), Reply::Array(primary), ..] = parts.as_slice() else {
                continue;
            };
            let [host, Reply::Integer(port), ..] = primary.as_slice() else {
                continue;
            };
            let host = match host {
                Reply::Bulk(host) => String::from_utf8_lossy(host).into_owned(),
                _ => String::new(),
            };
            let Some(owner) = u64::try_from(*port).ok().and_then(|port| node(&host, port, from)) else {
                continue;
            };
            let (Ok(first), Ok(last)) = (usize::try_from(*first), usize::try_from(*last)) else {
                continue;
            };
            if let Some(run) = fresh.get_mut(first..last.saturating_add(1)) {
                run.fill(Some(owner));
                any = true;
            }
        }
        if any {
            *self.owners() = fresh;
        }
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(host: &str, port: u64) -> Arc<Address> {
        Arc::new(Address::new(host, port, "port").unwrap())
    }

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31C3);
        assert_eq!(slot_of(b"somekey"), 11_058);
        assert_eq!(slot_of(b"foo{hash_tag}"), slot_of(b"hash_tag"));
        assert_eq!(slot_of(b"foo{}{bar}"), usize::from(crc16(b"foo{}{bar}")) % SLOTS);
        assert_eq!(slot_of(b"foo{{bar}}"), slot_of(b"{bar"));
    }

    #[test]
    fn redirections_are_read_and_nothing_else_is() {
        let from = address("10.0.0.1", 7000);
        let to = address("10.0.0.2", 7001);
        let moved = Redirection::Moved {
            slot: 866,
            to: Arc::clone(&to),
        };
        assert_eq!(redirection("MOVED 866 10.0.0.2:7001", &from), Some(moved));
        assert_eq!(
            redirection("ASK 866 10.0.0.2:7001", &from),
            Some(Redirection::Ask { to })
        );
        let same_host = Redirection::Ask {
            to: address("10.0.0.1", 7001),
        };
        assert_eq!(redirection("ASK 866 :7001", &from), Some(same_host));
        for other in [
            "MOVED 16384 h:1",
            "MOVED 1 h",
            "OOM command not allowed",
            "MOVED",
            "MOVED 1 h:99999",
        ] {
            assert_eq!(redirection(other, &from), None, "{other}");
        }
    }

    #[test]
    fn the_map_is_taken_from_cluster_slots_whole() {
        let from = address("seed", 1);
        let cluster = Cluster::new(vec![Arc::clone(&from)]);
        let node = |host: &str, port| {
            Reply::Array(vec![
                Reply::Bulk(host.into()),
                Reply::Integer(port),
                Reply::Bulk(b"id".to_vec()),
            ])
        };
        let range = |first, last, owner| Reply::Array(vec![Reply::Integer(first), Reply::Integer(last), owner]);
        assert_eq!(cluster.owner(b"somekey"), from);
        let map = Reply::Array(vec![range(0, 11_057, node("a", 1)), range(11_058, 16_383, node("", 2))]);
        assert!(cluster.learn(&map, &from));
        assert_eq!(cluster.owner(b"somekey"), address("seed", 2));
        assert_eq!(cluster.primaries().len(), 2);
        let beyond = Reply::Array(vec![range(0, 16_384, node("a", 1)), range(-1, 4, node("a", 1))]);
        assert!(!cluster.learn(&beyond, &from), "ranges outside the slots are no map");
        assert_eq!(cluster.owner(b"somekey"), address("seed", 2));
    }
}
