//! Files on the BPF file system: they keep the links when the process is gone, and show the maps.
//!
//! ```text
//! <pin_dir>/<interface>   the link that attaches the program there
//! <pin_dir>/maps/<MAP>    the maps of the last program that was loaded
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::Ebpf;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::XdpError;

const MAPS: &str = "maps";

/// A directory on a BPF file system.
#[derive(Clone, Debug)]
pub(super) struct PinDir(PathBuf);

impl PinDir {
    /// Creates the directory if need be; mounts nothing.
    pub(super) fn open(path: &Path) -> Result<Self, XdpError> {
        let existing = path
            .ancestors()
            .find(|ancestor| ancestor.exists())
            .unwrap_or(path);
        let on_bpffs = statfs(existing).is_ok_and(|stat| stat.filesystem_type() == BPF_FS_MAGIC);
        if !on_bpffs {
            return Err(XdpError::NotBpffs {
                path: path.to_owned(),
            });
        }
        fs::create_dir_all(path).map_err(|e| pin_error(path, e))?;
        Ok(Self(path.to_owned()))
    }

    /// The file of an interface's link.
    pub(super) fn link(&self, ifname: &str) -> PathBuf {
        self.0.join(file_name(ifname))
    }

    /// Pins every map, in the place of those of a former program.
    pub(super) fn pin_maps(&self, ebpf: &Ebpf) -> Result<(), XdpError> {
        let dir = self.0.join(MAPS);
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(|e| pin_error(&dir, e))?;
        }
        fs::create_dir(&dir).map_err(|e| pin_error(&dir, e))?;
        // `.rodata` and the like are no names for a bpffs, and nothing to look at.
        for (name, map) in ebpf.maps().filter(|(name, _)| !name.contains('.')) {
            let path = dir.join(name);
            map.pin(&path)
                .map_err(|e| pin_error(&path, io::Error::other(e)))?;
        }
        Ok(())
    }

    /// The interfaces whose links are pinned, with their pins, by name.
    pub(super) fn links(&self) -> Result<Vec<(String, PathBuf)>, XdpError> {
        let mut links = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(|e| pin_error(&self.0, e))? {
            let entry = entry.map_err(|e| pin_error(&self.0, e))?;
            let path = entry.path();
            let kind = entry.file_type().map_err(|e| pin_error(&path, e))?;
            if !kind.is_dir() {
                links.push((interface_name(&entry.file_name().to_string_lossy()), path));
            }
        }
        links.sort();
        Ok(links)
    }

    /// Removes every pin and the directory.
    pub(super) fn clear(&self) -> Result<(), XdpError> {
        fs::remove_dir_all(&self.0).map_err(|e| pin_error(&self.0, e))
    }
}

pub(super) fn pin_error(path: &Path, source: io::Error) -> XdpError {
    XdpError::Pin {
        path: path.to_owned(),
        source,
    }
}

/// A bpffs refuses a dot in a name, and an interface has no colon in its name: `eth0.100` is the file `eth0:100`. An interface
/// called "maps" gets a colon too, out of the way of the directory.
fn file_name(ifname: &str) -> String {
    if ifname == MAPS {
        format!(":{MAPS}")
    } else {
        ifname.replace('.', ":")
    }
}

fn interface_name(file_name: &str) -> String {
    match file_name.strip_prefix(':') {
        Some(MAPS) => MAPS.to_owned(),
        Some(_) | None => file_name.replace(':', "."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_name_leads_back_to_its_interface() {
        for (interface, file) in [
            ("eth0", "eth0"),
            ("eth0.100", "eth0:100"),
            ("maps", ":maps"),
            (".x", ":x"),
        ] {
            assert_eq!(file_name(interface), file);
            assert_eq!(interface_name(file), interface);
        }
    }

    #[test]
    fn a_directory_on_another_file_system_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let result = PinDir::open(&dir.path().join("gateway"));
        assert!(matches!(result, Err(XdpError::NotBpffs { .. })), "{result:?}");
    }
}
