//! Pictures of hosts: a disk `sdz` (8:16) of a mebibyte with one partition `sdz1` (8:17), and what else each test says.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const DISK: (u32, u32) = (8, 16);
const PARTITION: (u32, u32) = (8, 17);

/// Makes a picture, and removes it at the end.
struct Picture(Host);

impl Picture {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("bulkhead-flash-{}-{number}", std::process::id());
        let picture = Self(Host {
            root: std::env::temp_dir().join(name),
        });
        // As the kernel does: a partition lies in its disk's folder, and beside it.
        for (file, text) in [
            ("sdz/dev", "8:16\n"),
            ("sdz/size", "2048\n"),
            ("sdz/ro", "0\n"),
            ("sdz/sdz1/partition", "1\n"),
            ("sdz1/partition", "1\n"),
            ("sdz1/dev", "8:17\n"),
            ("sdy/dev", "8:0\n"),
            ("sdy/size", "2048\n"),
        ] {
            picture.put(&format!("sys/class/block/{file}"), text);
        }
        fs::create_dir_all(picture.0.block("sdz/holders")).unwrap();
        picture.put(
            "proc/self/mountinfo",
            "29 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n30 29 8:161 / /x rw shared:1 - vfat /dev/sdz11 rw\n",
        );
        picture.put(
            "proc/swaps",
            "Filename\tType\tSize\n/dev/sda2 partition 1 0 -2\n",
        );
        picture
    }

    fn put(&self, path: &str, text: &str) {
        let file = self.0.root.join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    fn says(&self, (major, minor): (u32, u32), bytes: u64) -> Option<String> {
        self.0
            .disk_refusal(rustix::fs::makedev(major, minor), bytes)
    }
}

impl Drop for Picture {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0.root);
    }
}

/// Returns what is said of the disk after a change.
#[track_caller]
fn refused(path: &str, text: &str) -> String {
    let picture = Picture::new();
    picture.put(path, text);
    picture.says(DISK, 512).expect("it is refused")
}

#[test]
fn a_disk_that_nobody_uses_may_be_overwritten_to_its_end() {
    assert_eq!(Picture::new().says(DISK, 1 << 20), None);
}

#[test]
fn mounts_are_found_by_name_and_by_number_on_the_disk_and_its_partitions() {
    let says = |line: &str| refused("proc/self/mountinfo", line);
    let by_name = says("30 29 0:44 /sub /media/card rw - btrfs /dev/sdz1 rw\n");
    assert_eq!(
        by_name,
        "is in use: /dev/sdz1 is mounted at /media/card. If it is not the system's: umount /media/card"
    );
    // In a container the name is the host's.
    let by_number = says(
        "30 29 8:17 / /a rw shared:1 - ext4 /dev/root rw\n30 29 8:16 / /b rw - ext4 none rw\n",
    );
    assert!(by_number.contains("umount /a /b"), "{by_number}");
}

#[test]
fn the_disk_of_the_running_system_is_never_offered_to_be_unmounted() {
    let says = refused(
        "proc/self/mountinfo",
        "40 29 8:16 / /boot rw - vfat /dev/sdz rw\n29 1 8:17 / / rw,relatime - ext4 /dev/root rw\n",
    );
    assert_eq!(
        says,
        "holds the system that runs here (/dev/sdz1 is mounted at /): name another disk, `lsblk` lists them"
    );
}

#[test]
fn swap_and_holders_are_refused_with_what_ends_them() {
    let swap = refused("proc/swaps", "Filename Type\n/dev/sdz1 partition 1 0 -2\n");
    assert!(swap.ends_with("swapoff /dev/sdz1"), "{swap}");
    for part in ["sdz", "sdz1"] {
        let held = refused(&format!("sys/class/block/{part}/holders/dm-0"), "");
        let names = format!("/dev/{part} is part of /dev/dm-0");
        assert!(held.contains(&names), "{held}");
        assert!(held.contains("cryptsetup close"), "{held}");
    }
}

#[test]
fn what_cannot_hold_the_system_is_refused() {
    let locked = refused("sys/class/block/sdz/ro", "1\n");
    assert!(locked.contains("read-only"), "{locked}");
    let empty = refused("sys/class/block/sdz/size", "0\n");
    assert!(empty.contains("put the card in"), "{empty}");
    let small = Picture::new().says(DISK, (1 << 20) + 1).unwrap();
    assert_eq!(
        small,
        "holds 1048576 bytes, and the system needs 1048577: take a larger one"
    );
}

#[test]
fn a_partition_names_its_disk_and_a_stranger_where_to_look() {
    let picture = Picture::new();
    let partition = picture.says(PARTITION, 0).unwrap();
    assert_eq!(partition, "is a partition: name the whole disk, /dev/sdz");
    let stranger = picture.says((8, 99), 0).unwrap();
    assert!(stranger.contains("`lsblk` lists disks"), "{stranger}");
}

#[test]
fn a_file_is_refused_while_it_is_a_disk_and_when_it_is_too_small() {
    let picture = Picture::new();
    picture.put("card.img", "0123456789");
    let file = picture.0.root.join("card.img");
    assert_eq!(picture.0.file_refusal(&file, 10), None);
    let small = picture.0.file_refusal(&file, 11).unwrap();
    assert!(small.contains("truncate -s 11 "), "{small}");
    picture.put(
        "sys/class/block/sdy/loop/backing_file",
        &format!("{}\n", file.display()),
    );
    let attached = picture.0.file_refusal(&file, 10).unwrap();
    assert!(attached.ends_with("losetup -d /dev/sdy"), "{attached}");
}
