//! What differs between the releases of the cache server. Releases with the same protocol are a generation; each generation is one
//! file here, which names what changed since the one before, and one row in `ALL`.

use std::fmt;
use std::ops::{Deref, RangeInclusive};

mod operation;
mod v0_5_0;
mod v0_5_3;
mod v0_5_5;
mod v0_5_6;
mod v0_5_7;

pub use operation::Operation;

use super::messages::Request;

/// How the tokens of a key are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokens {
    /// `token_ids`, an array of numbers.
    Array,
    /// `token_bytes`, a byte string with four bytes for each token, most significant byte first.
    Bytes,
}

/// How chunks travel inside of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inline {
    /// A pickled list of tensors.
    Pickle,
    /// A MessagePack map with a list of tensors.
    Envelope,
}

/// A request that no earlier generation answers and that changes nothing at any server, also not at those that cannot read it.
#[derive(Debug)]
pub struct Proof {
    /// For messages, as in `FREE_LOOKUP_LOCKS with three parameters`.
    pub question: &'static str,
    pub request: fn(Generation) -> Request,
}

/// What a client and an imitation of the server need to know about a generation.
#[derive(Debug)]
pub struct Facts {
    /// The releases, for reports.
    pub label: &'static str,
    /// The last numbers of its releases, all of which begin with 0.5.
    pub patches: RangeInclusive<u32>,
    /// The number of each operation.
    pub numbers: &'static [(Operation, u8)],
    /// Operations whose number differs from `numbers`, or that are gone.
    pub changed_numbers: &'static [(Operation, Option<u8>)],
    /// The largest number in the server's table. Before 0.5.6 a larger one ends its request thread.
    pub number_max: u64,
    /// Whether the server also takes operations by name. Numbers do until then, and this program sends nothing else.
    pub takes_names: bool,
    /// Whether an operation that the server cannot decode ends its request thread.
    pub dies_of_bad_operations: bool,
    /// How this generation is told from all earlier ones, where the older questions of `probe` do not do it.
    pub proof: Option<Proof>,
    /// The experimental features that a server has on by default.
    pub experimental: &'static [&'static str],
    /// Whether asking for the chunk size ends its negotiation for the life of the server, so that engines with other blocks are
    /// refused afterwards.
    pub asking_fixes_chunk_size: bool,
    /// What the bench of these releases calls the share of sequences that passed.
    pub pass_rate_label: &'static str,

    pub tokens: Tokens,
    /// Whether a key has the number of readers, and `request_configs`. Earlier servers use `tp_size`.
    pub key_counts_readers: bool,
    /// Whether `LOOKUP` stops at the key's `end`. Earlier servers look up all tokens of the key.
    pub lookup_honours_end: bool,
    /// Whether `LOOKUP` takes the chunks before the key's `start` for hits without looking at them.
    pub lookup_honours_start: bool,
    /// Whether a lookup of several ranks may lock the first chunk that is no hit for the ranks that have it.
    pub locks_partial_chunks: bool,
    /// Whether `FREE_LOOKUP_LOCKS` has a list of further ranges.
    pub frees_extra_ranges: bool,
    /// Whether `CLEAR` has the parameter `force`. Earlier servers always remove locked entries too.
    pub clear_takes_force: bool,

    /// Whether descriptors of KV memory are pickled objects.
    pub pickles_descriptors: bool,
    /// Whether a pickled descriptor of device memory has an offset.
    pub pickles_device_offsets: bool,
    /// Whether a layer group has a tag and says whether its state is recurrent.
    pub tags_layer_groups: bool,
    /// Whether a server without an accelerator takes the third dimension of a KV tensor for heads and the fourth for tokens,
    /// whatever the layout hint says.
    pub reads_kv_heads_first: bool,
    /// Whether `STORE` leaves out a chunk all of whose blocks are block 0. 0.5.3 does not, but a client cannot distinguish it
    /// from 0.5.4.
    pub skips_null_blocks: bool,
    /// Whether the server answers a transfer for an instance that is not registered.
    pub answers_unknown_instances: bool,

    /// Whether the registration of an engine-driven worker has the number of slots in a chunk.
    pub counts_physical_slots: bool,
    /// Whether that registration may have several layer groups, and its reply the id of the null block.
    pub groups_engine_layouts: bool,
    /// Whether `PREPARE_STORE` has a list of chunks that are left out.
    pub prepares_with_skipped_chunks: bool,
    pub inline: Inline,
}

/// Releases with the same protocol.
#[derive(Clone, Copy)]
pub struct Generation(&'static Facts);

impl Generation {
    pub const V0_5_0: Generation = Generation(&v0_5_0::FACTS);
    pub const V0_5_3: Generation = Generation(&v0_5_3::FACTS);
    pub const V0_5_5: Generation = Generation(&v0_5_5::FACTS);
    pub const V0_5_6: Generation = Generation(&v0_5_6::FACTS);
    pub const V0_5_7: Generation = Generation(&v0_5_7::FACTS);

    /// All of them, oldest first.
    pub const ALL: [Generation; 5] = [
        Generation::V0_5_0,
        Generation::V0_5_3,
        Generation::V0_5_5,
        Generation::V0_5_6,
        Generation::V0_5_7,
    ];
    pub const NEWEST: Generation = Generation::ALL[Generation::ALL.len() - 1];

    /// The generation of a release such as `0.5.4`, also with a suffix as in `0.5.6-g3e11e108` or `0.5.7rc2`.
    pub fn of_release(release: &str) -> Option<Generation> {
        let (minor, patch) = numbers_of(release)?;
        let has = |generation: &Generation| minor == 5 && generation.patches.contains(&patch);
        Generation::ALL.into_iter().find(has)
    }

    /// Whether a release is later than all that are known here.
    pub fn is_newer(release: &str) -> bool {
        let major = release.split('.').next().and_then(|major| major.parse::<u32>().ok());
        match (major, numbers_of(release)) {
            (Some(1..), _) => true,
            (_, Some(numbers)) => numbers > (5, *Generation::NEWEST.patches.end()),
            _ => false,
        }
    }

    /// The operation's number, or `None` if the generation does not have it, or only by name.
    pub fn id(self, operation: Operation) -> Option<u8> {
        if let Some((_, changed)) = self.changed_numbers.iter().find(|(known, _)| *known == operation) {
            return *changed;
        }
        let row = self.numbers.iter().find(|(known, _)| *known == operation);
        row.map(|(_, number)| *number)
    }

    /// The operation with this number.
    pub fn operation(self, number: u64) -> Option<Operation> {
        let mut operations = self.numbers.iter().map(|(operation, _)| *operation);
        operations.find(|operation| self.id(*operation).map(u64::from) == Some(number))
    }
}

/// The second and third number of a release that begins with 0.
fn numbers_of(release: &str) -> Option<(u32, u32)> {
    let (minor, patch) = release.strip_prefix("0.")?.split_once('.')?;
    let end = patch.find(|c: char| !c.is_ascii_digit()).unwrap_or(patch.len());
    Some((minor.parse().ok()?, patch[..end].parse().ok()?))
}

impl Deref for Generation {
    type Target = Facts;

    fn deref(&self) -> &Facts {
        self.0
    }
}

impl PartialEq for Generation {
    fn eq(&self, other: &Generation) -> bool {
        self.label == other.label
    }
}

impl Eq for Generation {}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_map_to_operations_and_back() {
        for generation in Generation::ALL {
            for (operation, _) in generation.numbers {
                let Some(number) = generation.id(*operation) else {
                    continue;
                };
                assert_eq!(
                    generation.operation(u64::from(number)),
                    Some(*operation),
                    "{generation:?} {number}"
                );
                assert!(u64::from(number) <= generation.number_max);
            }
        }
        assert_eq!(Generation::V0_5_0.id(Operation::Store), Some(3));
        assert_eq!(Generation::V0_5_6.id(Operation::Store), Some(6));
        assert_eq!(Generation::V0_5_0.id(Operation::GetExperimental), None);
        assert_eq!(Generation::V0_5_3.id(Operation::GetExperimental), Some(40));
        assert_eq!(Generation::V0_5_5.id(Operation::QueryPrefetchLookupHits), Some(11));
        assert_eq!(Generation::V0_5_6.id(Operation::QueryPrefetchLookupHits), None);
        assert_eq!(Generation::V0_5_7.id(Operation::NegotiateChunkSize), None);
    }

    #[test]
    fn releases_map_to_generations() {
        assert_eq!(Generation::of_release("0.5.2"), Some(Generation::V0_5_0));
        assert_eq!(Generation::of_release("0.5.6-g3e11e108"), Some(Generation::V0_5_6));
        assert_eq!(Generation::of_release("0.5.7rc2"), Some(Generation::V0_5_7));
        for other in ["0.5.8", "0.4.9", "0.5.", "", "0.6.0", "0.6.7"] {
            assert_eq!(Generation::of_release(other), None, "{other}");
        }
    }

    #[test]
    fn later_releases_are_known_as_such() {
        for (release, newer) in [
            ("0.5.8", true),
            ("0.5.10rc1", true),
            ("0.6.0", true),
            ("1.0.0", true),
            ("0.5.7-gbf85b41f", false),
            ("0.4.9", false),
            ("main", false),
            ("", false),
        ] {
            assert_eq!(Generation::is_newer(release), newer, "{release}");
        }
    }

    #[test]
    fn releases_of_generations_follow_one_another() {
        let mut next = 0;
        for generation in Generation::ALL {
            assert_eq!(*generation.patches.start(), next, "{generation:?}");
            next = generation.patches.end() + 1;
        }
    }
}
