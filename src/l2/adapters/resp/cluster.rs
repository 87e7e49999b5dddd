//! Which node of a cluster owns which key: CRC16 slots, the map of CLUSTER SLOTS, and the redirections MOVED and ASK.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use super::wire::Reply;
use crate::l2::adapters::service::link::Address;
use crate::units::decimal;

pub const SLOTS: usize = 16_384;
/// Nodes that are asked for the map, or connected to in advance, at most.
pub const NODES_MAX: usize = 16;
/// Nodes that a map may name, and that redirections may lead to: the specification of clusters recommends no more.
const KNOWN_NODES_MAX: usize = 1000;

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

/// Only the text between the first `{` and the next `}` is hashed, unless it is empty.
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
fn redirection(error: &str, from: &Address) -> Option<Redirection> {
    let mut words = error.split_ascii_whitespace();
    let kind = words.next()?;
    let slot = decimal(words.next()?).filter(|slot| *slot < SLOTS)?;
    let (host, port) = words.next()?.rsplit_once(':')?;
    let to = node(host, decimal(port)?, from)?;
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
    /// The owner of each slot; empty while none is known.
    owners: Mutex<Vec<Option<Arc<Address>>>>,
    /// Every node that a redirection has led to: each session keeps a connection to it.
    led_to: Mutex<BTreeSet<Arc<Address>>>,
}

impl Cluster {
    pub fn new(seeds: Vec<Arc<Address>>) -> Cluster {
        Cluster {
            seeds,
            owners: Mutex::default(),
            led_to: Mutex::default(),
        }
    }

    /// A worker that panicked cannot leave half a map behind.
    fn owners(&self) -> std::sync::MutexGuard<'_, Vec<Option<Arc<Address>>>> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node to ask for a key; any node will redirect when the map has no owner.
    pub fn owner(&self, key: &[u8]) -> Arc<Address> {
        let owner = self.owners().get(slot_of(key)).cloned().flatten();
        owner.unwrap_or_else(|| Arc::clone(&self.seeds[0]))
    }

    /// Where an error reply of `from` sends a request, unless the cluster has led to too many nodes already.
    pub fn redirection(&self, error: &str, from: &Address) -> Option<Redirection> {
        let found = redirection(error, from)?;
        let (Redirection::Moved { to, .. } | Redirection::Ask { to }) = &found;
        let mut led_to = self.led_to.lock().unwrap_or_else(PoisonError::into_inner);
        if !led_to.contains(to) {
            if led_to.len() == KNOWN_NODES_MAX {
                return None;
            }
            led_to.insert(Arc::clone(to));
        }
        Some(found)
    }

    pub fn set_owner(&self, slot: usize, node: Arc<Address>) {
        let mut owners = self.owners();
        owners.resize(SLOTS, None);
        owners[slot] = Some(node);
    }

    /// Primaries, then seeds: the nodes to connect to and to ask for a new map.
    pub fn primaries(&self) -> Vec<Arc<Address>> {
        // Neighbouring slots mostly share one `Arc`: names are compared only where they do not.
        let mut seen = HashSet::new();
        let owners = self.owners();
        let mut owners: Vec<_> = owners
            .iter()
            .flatten()
            .filter(|owner| seen.insert(Arc::as_ptr(owner)))
            .collect();
        owners.sort_unstable();
        owners.dedup();
        owners.into_iter().take(NODES_MAX).cloned().collect()
    }

    pub fn seeds(&self) -> &[Arc<Address>] {
        &self.seeds
    }

    /// Sets the map from the reply to CLUSTER SLOTS; false when it is invalid: no owner at all, too many nodes, or ranges
    /// that are out of bounds or overlap.
    pub fn learn(&self, reply: &Reply, from: &Address) -> bool {
        let fresh = map_of(reply, from);
        let any = fresh.is_some();
        if let Some(fresh) = fresh {
            *self.owners() = fresh;
        }
        any
    }
}

fn map_of(reply: &Reply, from: &Address) -> Option<Vec<Option<Arc<Address>>>> {
    let Reply::Array(ranges) = reply else { return None };
    let mut fresh = Vec::new();
    let mut nodes: HashMap<(&[u8], i64), Option<Arc<Address>>> = HashMap::new();
    let mut any = false;
    for range in ranges {
        let Reply::Array(parts) = range else { continue };
        let [Reply::Integer(first), Reply::Integer(last), Reply::Array(primary), ..] = parts.as_slice() else {
            continue;
        };
        let [host, Reply::Integer(port), ..] = primary.as_slice() else {
            continue;
        };
        let host: &[u8] = if let Reply::Bulk(host) = host { host } else { b"" };
        let owner = nodes.entry((host, *port)).or_insert_with(|| {
            let host = String::from_utf8_lossy(host);
            u64::try_from(*port).ok().and_then(|port| node(&host, port, from))
        });
        let owner = owner.clone();
        if nodes.len() > KNOWN_NODES_MAX {
            return None;
        }
        let (first, last) = (usize::try_from(*first).ok()?, usize::try_from(*last).ok()?);
        fresh.resize(SLOTS, None);
        let run = fresh.get_mut(first..=last).filter(|_| first <= last && last < SLOTS)?;
        if run.iter().any(Option::is_some) {
            return None;
        }
        any |= owner.is_some();
        run.fill(owner);
    }
    any.then_some(fresh)
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
    fn range(first: i64, last: i64, host: &str, port: i64) -> Reply {
        let node = Reply::Array(vec![Reply::Bulk(host.into()), Reply::Integer(port)]);
        Reply::Array(vec![Reply::Integer(first), Reply::Integer(last), node])
    }

    #[test]
    fn a_map_of_single_slots_is_learned() {
        let from = address("seed", 1);
        let cluster = Cluster::new(vec![Arc::clone(&from)]);
        let slots = |nodes: i64| {
            (0..16_384)
                .map(|slot| range(slot, slot, "h", 1 + slot % nodes))
                .collect()
        };
        assert!(cluster.learn(&Reply::Array(slots(1000)), &from));
        assert_eq!(cluster.primaries().len(), NODES_MAX);
        assert_eq!(cluster.owner(b"somekey"), address("h", 1 + 11_058 % 1000));
        assert!(!cluster.learn(&Reply::Array(slots(1001)), &from), "too many nodes");
    }

    #[test]
    fn a_map_that_leaves_the_slots_or_overlaps_is_none() {
        let from = address("seed", 1);
        let cluster = Cluster::new(vec![Arc::clone(&from)]);
        for (first, last) in [(1, 16_384), (5, 4), (-1, 5), (3, i64::MAX), (i64::MIN, 3), (0, 0)] {
            let map = Reply::Array(vec![range(0, 0, "a", 1), range(first, last, "b", 2)]);
            assert!(!cluster.learn(&map, &from), "{first} {last}");
        }
        let whole: Vec<Reply> = (0..16_384).map(|_| range(0, 16_383, "a", 1)).collect();
        assert!(!cluster.learn(&Reply::Array(whole), &from));
        assert!(cluster.primaries().is_empty());
    }

    #[test]
    fn redirections_lead_to_so_many_nodes_and_no_more() {
        let from = address("seed", 1);
        let cluster = Cluster::new(vec![Arc::clone(&from)]);
        for round in 0..2 {
            for port in 1..=KNOWN_NODES_MAX + 1 {
                let found = cluster.redirection(&format!("MOVED 1 h:{port}"), &from);
                assert_eq!(found.is_some(), port <= KNOWN_NODES_MAX, "{round} {port}");
            }
        }
        assert!(cluster.redirection("MOVED +1 h:1", &from).is_none());
        assert!(cluster.redirection("MOVED 1 h:+1", &from).is_none());
    }
}
