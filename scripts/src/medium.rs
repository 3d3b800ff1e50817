//! What a board boots from: files for its boot loader, and a card with them.

pub mod card;
pub mod fit;
pub mod script;

use std::path::{Path, PathBuf};

use bulkhead::addr::BLOCK_2M_BYTES;
use bulkhead_platforms::BootMedium;

use crate::failure::Outcome;
use crate::system::Built;
use crate::workspace::{read, shown, write};

/// EL2 with its payload, by the name that boot loaders are told.
const IMAGE: &str = "bulkhead.img";
/// The same in a flattened image tree, with its sum.
const FIT: &str = "bulkhead.itb";
/// The same, by the name that the Raspberry Pi's firmware looks for.
const KERNEL8: &str = "kernel8.img";
/// The card.
pub const CARD: &str = "card.img";

/// Files for a boot medium, and what to do with them.
#[derive(Debug)]
pub struct Medium {
    /// Name and content of each file on it.
    pub files: Vec<(String, Vec<u8>)>,
    /// What to type, line by line.
    pub steps: Vec<String>,
}

/// Makes the files for a built system.
///
/// # Errors
/// The image cannot be read.
pub fn of(built: &Built) -> Outcome<Medium> {
    let image = read(&built.image)?;
    Ok(match built.selection.platform.medium {
        BootMedium::UBoot => u_boot(image, built.system.image_address()),
        BootMedium::RaspberryPi => raspberry_pi(image, built.system.image_address()),
    })
}

/// For U-Boot: a script that it finds by itself, and what the script loads. The image is started at the address that the table
/// was checked for; U-Boot reads it behind that, and moves it.
fn u_boot(image: Vec<u8>, start: u64) -> Medium {
    let behind = (start + image.len() as u64).next_multiple_of(BLOCK_2M_BYTES);
    let from = format!("{behind:#x}");
    // Named, because a U-Boot that looks for the best match wants a device tree in it.
    let only = fit::CONFIGURATION;
    let text = format!(
        "echo Starting Bulkhead\n\
         setenv bulkhead_tree ${{fdtcontroladdr}}\n\
         if test -e ${{devtype}} ${{devnum}}:${{distro_bootpart}} board.dtb; then\n\
         load ${{devtype}} ${{devnum}}:${{distro_bootpart}} ${{fdt_addr_r}} board.dtb\n\
         setenv bulkhead_tree ${{fdt_addr_r}}\n\
         fi\n\
         load ${{devtype}} ${{devnum}}:${{distro_bootpart}} {from} {FIT}\n\
         bootm {from}#{only} - ${{bulkhead_tree}}\n\
         echo Bulkhead is not started: see above\n"
    );
    let steps = [
        "U-Boot boots the card by itself: it looks for boot.scr. Stopped at its prompt, by hand:"
            .to_owned(),
        format!("  load mmc 0:1 {from} {FIT}"),
        format!("  bootm {from}#{only} - ${{fdtcontroladdr}}"),
        format!(
            "Over the network: setenv serverip ADDRESS; dhcp; tftpboot {from} {FIT}; then bootm as above"
        ),
        format!("A U-Boot without FIT: {IMAGE} to ${{kernel_addr_r}}, and booti."),
        "The tree is U-Boot's own unless the card has a board.dtb.".to_owned(),
    ];
    Medium {
        files: vec![
            (FIT.to_owned(), fit::image(&image, start)),
            (IMAGE.to_owned(), image),
            (
                "boot.scr".to_owned(),
                script::image("Bulkhead", text.as_bytes()),
            ),
            ("boot.cmd".to_owned(), text.into_bytes()),
        ],
        steps: steps.to_vec(),
    }
}

/// For the Raspberry Pi's firmware, which wants files of its own beside these, and is told where the image goes: it would
/// put it where no 2 MiB boundary is.
fn raspberry_pi(image: Vec<u8>, address: u64) -> Medium {
    let config = format!(
        "arm_64bit=1\nkernel={KERNEL8}\nkernel_address={address:#x}\nenable_uart=1\nenable_gic=1\n"
    );
    let steps = [
        "The Raspberry Pi's firmware (start4.elf, fixup4.dat, bcm2711-rpi-4-b.dtb) has to lie on the card too: copy".to_owned(),
        format!("these files over those of a card that boots the board, or add the firmware to {CARD}."),
    ];
    Medium {
        files: vec![
            (KERNEL8.to_owned(), image),
            ("config.txt".to_owned(), config.into_bytes()),
        ],
        steps: steps.to_vec(),
    }
}

/// Writes the files, and a card with all of them, into a folder. Returns where the card is.
///
/// # Errors
/// The folder cannot be written.
pub fn store(medium: &Medium, folder: &Path) -> Outcome<PathBuf> {
    for (name, bytes) in &medium.files {
        write(&folder.join(name), bytes)?;
    }
    let card = folder.join(CARD);
    write(&card, &card::image(&medium.files)?)?;
    Ok(card)
}

/// Says what was written and what to type.
pub fn tell(medium: &Medium, folder: &Path) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (name, bytes) in &medium.files {
        lines.push(format!(
            "{}  {} bytes",
            shown(&folder.join(name)),
            bytes.len()
        ));
    }
    let card = shown(&folder.join(CARD));
    lines.push(format!(
        "{card}  an SD card: one FAT partition with these files"
    ));
    lines.push(String::new());
    lines
        .push("To a card: cargo xtask flash --to /dev/DEVICE with the same options, or".to_owned());
    lines.push(format!("  dd if={card} of=/dev/DEVICE bs=1M conv=fsync"));
    lines.extend(medium.steps.iter().cloned());
    lines.join("\n")
}
