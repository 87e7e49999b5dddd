//! The mapped devices and their slots: which device takes the next object, and where.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::config::DaxDevice;
use crate::sys::file_map::{FileMap, Piece};
use crate::sys::limits;
use crate::url::literal_path_advice;

struct Device {
    mapping: FileMap,
    max_slots: u64,
    used_slots: u64,
}

pub struct Devices {
    devices: Vec<Device>,
    slot_bytes: usize,
}

/// Identifies a device or file under any name.
#[derive(PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(metadata: &Metadata) -> Identity {
        let kind = metadata.file_type();
        if kind.is_char_device() || kind.is_block_device() {
            Identity(u64::MAX, metadata.rdev())
        } else {
            Identity(metadata.dev(), metadata.ino())
        }
    }
}

impl Devices {
    pub fn open(configured: &[DaxDevice], slot_bytes: u64) -> Result<Devices, String> {
        let mut seen = Vec::new();
        let mut devices = Vec::new();
        for device in configured {
            let path = &device.path;
            let refused =
                |error: io::Error| format!("Failed to open dax device {path}: {error}{}", advice(path, &error));
            let metadata = fs::metadata(path).map_err(refused)?;
            let identity = Identity::of(&metadata);
            if seen.contains(&identity) {
                return Err(format!("device {path} is already mapped; name each device once"));
            }
            seen.push(identity);
            let file = File::options().read(true).write(true).open(path).map_err(refused)?;
            devices.push(map(device, &file, &metadata, slot_bytes)?);
        }
        Ok(Devices {
            devices,
            slot_bytes: usize::try_from(slot_bytes).map_err(|_| "slot_bytes is larger than the address space")?,
        })
    }

    /// A slot of the device that is least full.
    pub fn take(&mut self) -> Option<Piece> {
        let free = self
            .devices
            .iter_mut()
            .filter(|device| device.used_slots < device.max_slots);
        let ratio = |device: &Device| device.used_slots as f64 / device.max_slots as f64;
        let device = free.min_by(|a, b| ratio(a).total_cmp(&ratio(b)))?;
        let piece = device.mapping.cut(self.slot_bytes)?;
        device.used_slots += 1;
        Some(piece)
    }

    /// At most `count` slots from the ends of the devices, with their pages present. A run that fits does not reach them.
    pub fn take_last(&mut self, count: usize) -> Vec<Piece> {
        let slot_bytes = self.slot_bytes;
        let mut pieces = Vec::with_capacity(count);
        for device in &mut self.devices {
            let end = device.mapping.rest().end;
            while pieces.len() < count && device.used_slots < device.max_slots {
                let Some(piece) = device.mapping.cut_last(slot_bytes) else {
                    break;
                };
                pieces.push(piece);
                device.max_slots -= 1;
            }
            // Where the kernel cannot do that, the first copy makes them present.
            let _ = device.mapping.populate(device.mapping.rest().end..end);
        }
        pieces
    }

    /// Makes the pages of the next `objects` objects present. False where the kernel cannot do that.
    pub fn populate(&self, objects: u64) -> bool {
        let total: u64 = self.devices.iter().map(|device| device.max_slots).sum();
        self.devices.iter().all(|device| {
            let share = u128::from(objects) * u128::from(device.max_slots) / u128::from(total.max(1)) + 1;
            let slots = usize::try_from(share.min(u128::from(device.max_slots))).unwrap_or(usize::MAX);
            device
                .mapping
                .populate(0..slots.saturating_mul(self.slot_bytes))
                .is_ok()
        })
    }
}

fn advice(path: &str, error: &io::Error) -> String {
    let literal = literal_path_advice(Path::new(path));
    let advice = limits::advice(error).or(literal.as_deref());
    let advice = advice.unwrap_or_else(|| match error.kind() {
        io::ErrorKind::NotFound => "name a device, or make a file with `truncate -s 8G`",
        io::ErrorKind::PermissionDenied => "you must be allowed to read and write it",
        _ => "name a device-dax device, or a file",
    });
    format!("; {advice}")
}

fn map(device: &DaxDevice, file: &File, metadata: &Metadata, slot_bytes: u64) -> Result<Device, String> {
    let (path, mapped, size) = (&device.path, device.mapped_bytes, metadata.len());
    if size > 0 && mapped > size {
        return Err(format!(
            "max_dax_size_bytes ({mapped} bytes) exceeds device capacity ({size} bytes): lower max_dax_size_gb of {path}"
        ));
    }
    if size == 0 && metadata.is_file() {
        return Err(format!(
            "dax device {path} is an empty file and touching its mapping would end the process; make it as large as \
             max_dax_size_gb"
        ));
    }
    let mapped_bytes =
        usize::try_from(mapped).map_err(|_| format!("max_dax_size_gb of {path} is beyond the address space"))?;
    let mapping = FileMap::new(file, mapped_bytes)
        .map_err(|error| {
            format!(
                "Failed to mmap dax arena ({mapped} bytes) from {path}: {error}; lower max_dax_size_gb, make it a multiple of \
                 the device's alignment, or name another device"
            )
        })?;
    Ok(Device {
        mapping,
        max_slots: mapped / slot_bytes,
        used_slots: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str, bytes: u64) -> DaxDevice {
        let path = crate::testing::temporary_path(&format!("dax-{name}"));
        File::create(&path).unwrap().set_len(bytes).unwrap();
        DaxDevice {
            path: path.to_str().unwrap().to_owned(),
            mapped_bytes: bytes,
        }
    }

    #[test]
    fn the_emptier_device_takes_the_object() {
        let both = [device("a", 4 * 4096), device("b", 2 * 4096)];
        let mut devices = Devices::open(&both, 4096).unwrap();
        let mut pieces = Vec::new();
        let mut filled = Vec::new();
        while let Some(piece) = devices.take() {
            pieces.push(piece);
            filled.push((devices.devices[0].used_slots, devices.devices[1].used_slots));
        }
        assert_eq!(filled, [(1, 0), (1, 1), (2, 1), (3, 1), (3, 2), (4, 2)]);
        let mut twice = both.to_vec();
        twice.push(both[0].clone());
        let error = Devices::open(&twice, 4096).err().unwrap();
        assert!(error.contains("is already mapped"), "{error}");
        for device in both {
            fs::remove_file(device.path).unwrap();
        }
    }

    #[test]
    fn a_file_smaller_than_its_mapping_is_refused() {
        let mut short = device("short", 8192);
        short.mapped_bytes = 8193;
        let error = Devices::open(&[short.clone()], 4096).err().unwrap();
        assert!(
            error.starts_with("max_dax_size_bytes (8193 bytes) exceeds device capacity (8192 bytes)"),
            "{error}"
        );
        File::create(&short.path).unwrap();
        let error = Devices::open(&[short.clone()], 4096).err().unwrap();
        assert!(error.contains("is an empty file"), "{error}");
        fs::remove_file(short.path).unwrap();
    }
}
