//! The layout of a raw_block device: two checkpoint containers, then slots of one size.

use super::checkpoint::HEADER_BYTES as CHECKPOINT_HEADER_BYTES;
use crate::l2::adapters::raw_block::config::RawBlockConfig;

/// A slot header is this long before its padding.
pub const HEADER_FIELDS_BYTES: i64 = 24;
const SLOT_MAGIC: [u8; 8] = *b"LMCBLK01";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// As configured; checkpoints name it.
    pub device_path: String,
    pub block_align: u64,
    pub header_bytes: u64,
    pub slot_bytes: u64,
    pub meta_total_bytes: u64,
    pub container_bytes: u64,
    /// How much of the device is used.
    pub capacity_bytes: u64,
    pub max_slots: u64,
    pub magic: [u8; 8],
    pub version: u32,
    pub direct: bool,
}

impl Geometry {
    /// LMCache's checks at creation, in its order, first those that do not need the device.
    pub fn new(
        config: &RawBlockConfig,
        device_bytes: impl FnOnce() -> Result<u64, String>,
    ) -> Result<Geometry, String> {
        if config.header_bytes < HEADER_FIELDS_BYTES {
            return Err(format!("header_bytes must be >= {HEADER_FIELDS_BYTES}"));
        }
        // LMCache writes such checkpoints and cannot read them.
        if config.block_align < CHECKPOINT_HEADER_BYTES as i64 {
            return Err(format!(
                "block_align must be >= {CHECKPOINT_HEADER_BYTES}, which is how long the header of a checkpoint is"
            ));
        }
        if config.meta_total_bytes <= config.block_align {
            return Err("meta_total_bytes must provide room for metadata header".to_owned());
        }
        let magic = config.meta_magic.as_bytes();
        let magic: [u8; 8] = match magic.try_into() {
            Ok(magic) if config.meta_magic.is_ascii() => magic,
            _ if !config.meta_magic.is_ascii() => return Err("meta_magic must be ASCII bytes".to_owned()),
            _ => return Err("meta_magic must be exactly 8 bytes".to_owned()),
        };
        if config.meta_version <= 0 {
            return Err("meta_version must be > 0".to_owned());
        }
        let version = u32::try_from(config.meta_version);
        let version = version.map_err(|_| "meta_version does not fit the 32 bits it has on the device".to_owned())?;
        let unsigned = |bytes: i64| bytes.unsigned_abs();
        let (block_align, meta_total_bytes) = (unsigned(config.block_align), unsigned(config.meta_total_bytes));
        let container_bytes = meta_total_bytes / 2 / block_align * block_align;
        if container_bytes <= block_align {
            return Err("meta_total_bytes must provide room for at least two metadata copies".to_owned());
        }
        let device_bytes = device_bytes()?;
        let configured = u64::try_from(config.capacity_bytes).unwrap_or(0);
        let capacity_bytes = if configured > 0 {
            configured.min(device_bytes)
        } else {
            device_bytes
        };
        let slot_bytes = unsigned(config.slot_bytes);
        let path = &config.device_path;
        if meta_total_bytes >= capacity_bytes {
            return Err(format!(
                "metadata region exceeds usable device capacity: meta_total_bytes is {meta_total_bytes} and {path} has \
                 {capacity_bytes} usable bytes; lower meta_total_bytes or name a larger device"
            ));
        }
        let max_slots = (capacity_bytes - meta_total_bytes) / slot_bytes;
        if max_slots == 0 {
            return Err(format!(
                "raw block capacity too small for slot size after metadata: {} bytes are left of {path} and slot_bytes \
                 is {slot_bytes}; name a larger device",
                capacity_bytes - meta_total_bytes
            ));
        }
        Ok(Geometry {
            device_path: path.clone(),
            block_align,
            header_bytes: unsigned(config.header_bytes),
            slot_bytes,
            meta_total_bytes,
            container_bytes,
            capacity_bytes,
            max_slots,
            magic,
            version,
            direct: config.use_odirect,
        })
    }

    pub fn slot_offset(&self, slot: u64) -> u64 {
        self.meta_total_bytes + slot * self.slot_bytes
    }

    /// The slot that begins at this byte of the device.
    pub fn slot_at(&self, offset: u64) -> Option<u64> {
        let below = offset.checked_sub(self.meta_total_bytes)?;
        let slot = below / self.slot_bytes;
        (below % self.slot_bytes == 0 && slot < self.max_slots).then_some(slot)
    }

    /// The longest object of a slot.
    pub fn object_bytes_max(&self) -> u64 {
        self.slot_bytes - self.header_bytes
    }

    /// Offsets of the two checkpoint containers.
    pub fn containers(&self) -> [u64; 2] {
        [0, self.container_bytes]
    }

    /// The longest checkpoint text of a container.
    pub fn checkpoint_bytes_max(&self) -> u64 {
        self.container_bytes - self.block_align
    }

    /// `bytes`, rounded up to whole blocks where O_DIRECT needs that.
    pub fn transfer_bytes(&self, bytes: u64) -> u64 {
        if self.direct {
            bytes.next_multiple_of(self.block_align)
        } else {
            bytes
        }
    }
}

/// Fills the beginning of a slot header; the rest of `header` must be zero.
pub fn write_slot_header(header: &mut [u8], identity: [u8; 8], object_bytes: u64) {
    header[..8].copy_from_slice(&SLOT_MAGIC);
    header[8..16].copy_from_slice(&identity);
    header[16..24].copy_from_slice(&object_bytes.to_le_bytes());
}

/// Whether a slot header names this object.
pub fn slot_header_matches(header: &[u8], identity: [u8; 8], object_bytes: u64) -> bool {
    header.len() >= 24
        && header[..8] == SLOT_MAGIC
        && header[8..16] == identity
        && header[16..24] == object_bytes.to_le_bytes()
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn config() -> RawBlockConfig {
        let spec =
            r#"{"type": "raw_block", "device_path": "/dev/x", "slot_bytes": 270336, "meta_total_bytes": 1048576}"#;
        crate::l2::spec::tests::config::<RawBlockConfig>(spec).0
    }

    #[test]
    fn slots_follow_the_containers() {
        let geometry = Geometry::new(&config(), || Ok(64 << 20)).unwrap();
        assert_eq!(geometry.containers(), [0, 512 << 10]);
        assert_eq!((geometry.max_slots, geometry.capacity_bytes), (244, 64 << 20));
        assert_eq!(geometry.slot_at(geometry.slot_offset(243)), Some(243));
        for offset in [0, 4096, geometry.slot_offset(1) + 4096, geometry.slot_offset(244)] {
            assert_eq!(geometry.slot_at(offset), None, "{offset}");
        }
        // An odd number of blocks leaves one unused.
        let mut odd = config();
        odd.meta_total_bytes = 5 * 4096;
        assert_eq!(Geometry::new(&odd, || Ok(64 << 20)).unwrap().containers(), [0, 8192]);
    }

    #[test]
    fn a_header_is_lmcaches_to_the_byte() {
        let mut header = [0; 24];
        let identity = crate::l2::blake2b::digest8(b"bench-model@0x00000000@0@00000000000000000000000000000000");
        write_slot_header(&mut header, identity, 262_144);
        let golden = b"LMCBLK01\xd8\x7b\x0d\x38\xbf\xb9\x33\xf4\x00\x00\x04\x00\x00\x00\x00\x00";
        assert_eq!(&header, golden);
        assert!(slot_header_matches(&header, identity, 262_144));
        assert!(!slot_header_matches(&header, identity, 262_143));
        assert!(!slot_header_matches(&[0; 24], [0; 8], 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_with_lmcaches_words() {
        type Change = fn(&mut RawBlockConfig);
        let cases: [(&str, Change); 10] = [
            ("header_bytes must be >= 24", |config| config.header_bytes = 0),
            ("block_align must be >= 32", |config| config.block_align = 16),
            ("meta_total_bytes must provide room for metadata header", |config| {
                config.meta_total_bytes = 4096;
            }),
            ("meta_magic must be exactly 8 bytes", |config| {
                config.meta_magic.push('x')
            }),
            ("meta_magic must be ASCII bytes", |config| {
                config.meta_magic = "äöüß".to_owned()
            }),
            ("meta_version must be > 0", |config| config.meta_version = 0),
            ("meta_total_bytes must provide room for at least two", |config| {
                config.meta_total_bytes = 3 * 4096;
            }),
            ("metadata region exceeds usable device capacity", |config| {
                config.meta_total_bytes = 64 << 20;
            }),
            ("metadata region exceeds usable device capacity", |config| {
                config.capacity_bytes = 4096;
            }),
            ("raw block capacity too small for slot size after metadata", |config| {
                config.slot_bytes = 64 << 20;
            }),
        ];
        for (expected, change) in cases {
            let mut config = config();
            change(&mut config);
            let error = Geometry::new(&config, || Ok(64 << 20)).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
