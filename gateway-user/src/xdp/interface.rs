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
    let program = |attribute: &LinkAttribute| {
        if let LinkAttribute::Xdp(xdp) = attribute {
            Some(xdp.clone())
        } else {
            None
        }
    };
    let (mut mode, mut program_id) = (None, None);
    for attribute in link.attributes.iter().find_map(program).into_iter().flatten() {
        if let LinkXdp::ProgId(id) = attribute {
            program_id = Some(id);
        } else if attribute == LinkXdp::Attached(XdpAttached::Driver) {
            mode = Some(AttachedMode::Native);
        } else if attribute == LinkXdp::Attached(XdpAttached::SocketBuffer) {
            mode = Some(AttachedMode::Generic);
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
    if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = reply.payload {
        return Ok(link);
    }
    if let NetlinkPayload::Error(error) = reply.payload {
        return Err(error.to_io());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidData,
        "the kernel answered with something else",
    ))
}
