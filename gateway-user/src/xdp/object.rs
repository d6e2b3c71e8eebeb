//! The compiled program inside this binary.

use gateway_common::abi::ABI_VERSION;
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::XdpError;

/// Global of the object that carries the version.
const SYMBOL: &str = "ABI_VERSION";

/// The program that was built with this binary, an ELF object.
pub fn embedded_object() -> &'static [u8] {
    aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway-xdp"))
}

/// Refuses an object whose maps do not mean what this binary writes into them.
pub(super) fn require_abi(object: &[u8]) -> Result<(), XdpError> {
    let file = object::File::parse(object).map_err(XdpError::NotAnObject)?;
    let found = version(&file).ok_or(XdpError::IncompleteObject(SYMBOL))?;
    if found == ABI_VERSION {
        Ok(())
    } else {
        Err(XdpError::AbiMismatch {
            expected: ABI_VERSION,
            found,
        })
    }
}

fn version(file: &object::File<'_>) -> Option<u32> {
    let symbol = file.symbols().find(|symbol| symbol.name() == Ok(SYMBOL))?;
    let section = file.section_by_index(symbol.section_index()?).ok()?;
    let start = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
    section
        .data()
        .ok()?
        .get(start..)?
        .first_chunk()
        .copied()
        .map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xdp::{LoadOptions, XdpProgram};

    #[test]
    fn the_embedded_object_has_this_version() {
        assert!(require_abi(embedded_object()).is_ok());
    }

    #[test]
    fn an_object_of_another_version_is_refused() {
        let object = with_version(ABI_VERSION + 1);
        let Err(XdpError::AbiMismatch { expected, found }) =
            XdpProgram::load_object(&object, &LoadOptions::default())
        else {
            panic!("not refused");
        };
        assert_eq!((expected, found), (ABI_VERSION, ABI_VERSION + 1));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        assert!(matches!(
            require_abi(b"not an object"),
            Err(XdpError::NotAnObject(_))
        ));
    }

    fn with_version(version: u32) -> Vec<u8> {
        let mut object = embedded_object().to_vec();
        let file = object::File::parse(embedded_object()).unwrap();
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(SYMBOL)).unwrap();
        let section = file.section_by_index(symbol.section_index().unwrap()).unwrap();
        let (start, _) = section.file_range().unwrap();
        let at = usize::try_from(start + symbol.address()).unwrap();
        object[at..at + 4].copy_from_slice(&version.to_le_bytes());
        object
    }
}
