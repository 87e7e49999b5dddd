//! The ring on real files; the tests do nothing where the kernel refuses io_uring.

use super::*;
use std::io::Write;

fn wait_one(ring: &mut Ring) -> Finished {
    loop {
        if let Some(finished) = ring.next_finished() {
            return finished;
        }
        ring.wait(Duration::from_secs(10)).unwrap();
    }
}

/// `None` where the kernel refuses io_uring.
fn ring_or_skip() -> Option<Ring> {
    Ring::new(2).ok()
}

#[test]
fn bytes_are_written_and_read_back_and_a_short_read_has_its_length() {
    let Some(mut ring) = ring_or_skip() else { return };
    let (arena, mut slots) = Arena::new(2 * 8192, 1, false).unwrap().into_slots(8192);
    // The limit of locked memory may refuse it; the transfers work either way.
    let _ = ring.register(&arena, 8192);
    let path = crate::testing::temporary_path("uring");
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    std::fs::remove_file(&path).unwrap();
    let file = Arc::new(file);
    let mut slot = slots.remove(0);
    slot.bytes_mut().fill(9);
    let transfer = |slot, direction, file_offset| Transfer {
        file: Arc::clone(&file),
        file_offset,
        slot,
        direction,
        token: 5,
    };
    assert!(ring.push(transfer(slot, Direction::Write, 0)).is_ok());
    let written = wait_one(&mut ring);
    written.outcome.unwrap();
    assert_eq!((written.moved_bytes, written.transfer.token), (8192, 5));

    assert!(ring.push(transfer(slots.remove(0), Direction::Read, 0)).is_ok());
    let read = wait_one(&mut ring);
    assert_eq!(read.moved_bytes, 8192);
    assert!(read.transfer.slot.bytes().iter().all(|&byte| byte == 9));

    (&*file).write_all(b"").unwrap();
    assert!(ring.push(transfer(read.transfer.slot, Direction::Read, 5000)).is_ok());
    let short = wait_one(&mut ring);
    short.outcome.unwrap();
    assert_eq!(short.moved_bytes, 8192 - 5000);
}

#[test]
fn a_full_ring_returns_the_transfer_and_errors_have_the_kernels_code() {
    let Some(mut ring) = ring_or_skip() else { return };
    let (_arena, slots) = Arena::new(3 * 4096, 1, false).unwrap().into_slots(4096);
    let read_only = Arc::new(File::open("/dev/null").unwrap());
    let mut refused = 0;
    for (token, slot) in slots.into_iter().enumerate() {
        let file = Arc::clone(&read_only);
        let transfer = Transfer {
            file,
            file_offset: 0,
            slot,
            direction: Direction::Write,
            token,
        };
        refused += usize::from(ring.push(transfer).is_err());
    }
    assert_eq!(refused, 1);
    assert_eq!(
        wait_one(&mut ring).outcome.unwrap_err().raw_os_error(),
        Some(libc::EBADF)
    );
}

#[test]
fn transfers_of_a_registered_file_reach_that_file() {
    let Some(mut ring) = ring_or_skip() else { return };
    let (_arena, mut slots) = Arena::new(2 * 4096, 1, false).unwrap().into_slots(4096);
    let path = crate::testing::temporary_path("registered");
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(true);
    let file = Arc::new(options.open(&path).unwrap());
    std::fs::remove_file(&path).unwrap();
    ring.register_file(&file).unwrap();
    let mut slot = slots.remove(0);
    slot.bytes_mut().fill(3);
    let other = Arc::new(File::open("/dev/zero").unwrap());
    for (file, direction, expected) in [
        (&file, Direction::Write, 3),
        (&file, Direction::Read, 3),
        (&other, Direction::Read, 0),
    ] {
        let transfer = Transfer {
            file: Arc::clone(file),
            file_offset: 4096,
            slot,
            direction,
            token: 0,
        };
        assert!(ring.push(transfer).is_ok());
        let finished = wait_one(&mut ring);
        finished.outcome.unwrap();
        slot = finished.transfer.slot;
        assert!(slot.bytes().iter().all(|&byte| byte == expected));
    }
    assert_eq!(file.metadata().unwrap().len(), 8192);
}
