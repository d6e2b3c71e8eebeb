//! `[[defense]]` of a file.

use super::reader::Reader;
use super::{Mistake, id, id_text, text};
use crate::defense::LimitsPatch;
use crate::values;

/// A high defense package.
#[derive(Debug)]
pub struct DeclaredDefense {
    /// Line of its section.
    pub line: usize,
    /// Id.
    pub id: String,
    /// Name; the id where the file has none.
    pub name: String,
    /// Id of the VPN gateway that it protects.
    pub gateway: Option<String>,
    /// What the file says of its limits.
    pub limits: LimitsPatch,
}

pub(super) fn read(mut section: Reader<'_>) -> Result<DeclaredDefense, Mistake> {
    let (line, id) = (section.line(), id(&mut section)?);
    let read = DeclaredDefense {
        line,
        name: section.text("name", text)?.unwrap_or_else(|| id.clone()),
        id,
        gateway: section.text("gateway", id_text)?,
        limits: LimitsPatch {
            ike_rate_per_source: section.number("ike_rate_per_source")?,
            ike_rate: section.number("ike_rate")?,
            unknown_spi_rate_per_source: section.number("unknown_spi_rate_per_source")?,
            rate_per_source: section.number("rate_per_source")?,
            attack_rate: section.number("attack_rate")?,
            block_rate: section.number("block_rate")?,
            allow: ranges(&mut section, "allow")?,
            block: ranges(&mut section, "block")?,
        },
    };
    section.finish()?;
    Ok(read)
}

fn ranges(section: &mut Reader<'_>, key: &'static str) -> Result<Option<Vec<ipnet::Ipv4Net>>, Mistake> {
    if !section.has(key) {
        section.skip(&[key]);
        return Ok(None);
    }
    section.texts(key, values::range).map(Some)
}
