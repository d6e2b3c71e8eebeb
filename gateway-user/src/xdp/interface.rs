//! What the kernel says about the XDP program of an interface.

use std::io;

use rtnetlink::{
    packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::{
        RouteNetlinkMessage,
        link::{LinkAttribute, LinkMessage, LinkXdp, XdpAttached},
    },
    sys::{Socket, protocols::NETLINK_ROUTE},
};

use super::AttachedMode;

/// The program of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attachment {
    pub(super) mode: AttachedMode,
    pub(super) program_id: u32,
}

/// Asks rtnetlink; `None` when there is no program, or one in the network card.
///
/// # Errors
///
/// ENODEV when there is no such interface.
pub(super) fn attachment(ifindex: u32) -> io::Result<Option<Attachment>> {
    let link = link(ifindex)?;
    let xdp = link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    let (mut mode, mut program_id) = (None, None);
    for attribute in xdp.into_iter().flatten() {
        match attribute {
            LinkXdp::Attached(XdpAttached::Driver) => mode = Some(AttachedMode::Native),
            LinkXdp::Attached(XdpAttached::SocketBuffer) => mode = Some(AttachedMode::Generic),
            LinkXdp::ProgId(id) => program_id = Some(*id),
            _ => {}
        }
    }
    Ok(mode
        .zip(program_id)
        .map(|(mode, program_id)| Attachment { mode, program_id }))
}

fn link(ifindex: u32) -> io::Result<LinkMessage> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut query = LinkMessage::default();
    query.header.index = ifindex;
    let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(query));
    request.header.flags = NLM_F_REQUEST;
    request.finalize();
    let mut octets = vec![0; request.buffer_len()];
    request.serialize(&mut octets);
    socket.send(&octets, 0)?;
    let (reply, _) = socket.recv_from_full()?;
    let reply = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&reply).map_err(io::Error::other)?;
    match reply.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(error) => Err(error.to_io()),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel answered with something else",
        )),
    }
}
