//! Between the vocabularies: the configuration's and the IKE engine's, the engine's and the data plane's.

use std::net::Ipv4Addr;

use gateway_common::Spi;
use gateway_common::abi::{SaKey, SaValue, v4_mapped};
use gateway_esp::{
    Cipher, Encapsulation, InboundSa, Integrity, KeyError, Keys, NonceSpace, OutboundSa, Selector, Transform,
    TransformError, TunnelEndpoints, UdpPorts,
};
use gateway_ike::config::{
    ChildLifetime, ConnectionConfig, ConnectionId, EspCipher, EspIntegrity, Psk, SelectorPair,
};
use gateway_ike::event::{ChildSa, EspSa, Served};

use crate::config::{self, Start, TunnelConfig};

/// The tunnel as the engine takes it, with its selector pairs in the order that the engine shall use.
pub(super) fn connection(
    number: u32,
    tunnel: &TunnelConfig,
    selectors: Vec<SelectorPair>,
) -> ConnectionConfig {
    let (ike, ipsec) = (&tunnel.ike, &tunnel.ipsec);
    ConnectionConfig {
        id: ConnectionId(number),
        local: tunnel.gateway.address,
        peer: tunnel.customer_gateway.address,
        local_id: ike.local_id.clone(),
        peer_id: ike.peer_id.clone(),
        psk: Psk::new(tunnel.psk.expose().to_vec()),
        version: ike.version,
        mode: ike.mode,
        ike_proposals: ike.proposals.clone(),
        ike_lifetime: ike.lifetime,
        ike_kilobytes: ike.lifetime_kilobytes,
        esp_proposals: ipsec.proposals.clone(),
        pfs: ipsec.pfs,
        child_lifetime: ChildLifetime {
            time: ipsec.lifetime,
            kilobytes: ipsec.lifetime_kilobytes,
        },
        selectors,
        may_initiate: tunnel.start != Start::Answer,
        keep_up: tunnel.start == Start::Always,
        force_udp_encapsulation: ipsec.encapsulation == config::Encapsulation::Udp,
        dpd: ike.dpd,
        esn: ipsec.esn,
        reauthentication: ike.reauthentication,
        fragmentation: ike.fragmentation,
    }
}

/// Why a negotiated Child SA cannot be installed: the engine and ESP disagree about what was negotiated.
#[derive(Debug, thiserror::Error)]
pub(super) enum InstallError {
    #[error(transparent)]
    Transform(#[from] TransformError),
    #[error(transparent)]
    Keys(#[from] KeyError),
}

/// Both directions of a Child SA, ready for the data plane, and what the XDP program knows about them.
pub(super) struct EspPair {
    pub(super) inbound: Box<InboundSa>,
    pub(super) outbound: Box<OutboundSa>,
    pub(super) key: SaKey,
    /// Octets that ESP and the outer headers add on average.
    pub(super) overhead: u32,
}

/// Makes the two ESP SAs of a Child SA.
pub(super) fn esp_pair(child: &ChildSa, replay_window: u32) -> Result<EspPair, InstallError> {
    let cipher = match child.proposal.cipher {
        EspCipher::Des => Cipher::Des,
        EspCipher::TripleDes => Cipher::TripleDes,
        EspCipher::Aes128Cbc => Cipher::Aes128Cbc,
        EspCipher::Aes192Cbc => Cipher::Aes192Cbc,
        EspCipher::Aes256Cbc => Cipher::Aes256Cbc,
        EspCipher::Aes128Gcm16 => Cipher::Aes128Gcm,
        EspCipher::Aes192Gcm16 => Cipher::Aes192Gcm,
        EspCipher::Aes256Gcm16 => Cipher::Aes256Gcm,
        EspCipher::ChaCha20Poly1305 => Cipher::ChaCha20Poly1305,
    };
    let integrity = child.proposal.integrity.map(|integrity| match integrity {
        EspIntegrity::HmacMd5 => Integrity::HmacMd5_96,
        EspIntegrity::HmacSha1 => Integrity::HmacSha1_96,
        EspIntegrity::HmacSha2_256 => Integrity::HmacSha2_256_128,
        EspIntegrity::HmacSha2_384 => Integrity::HmacSha2_384_192,
        EspIntegrity::HmacSha2_512 => Integrity::HmacSha2_512_256,
    });
    let transform = Transform::new(cipher, integrity)?.with_esn(child.esn);
    let udp = child.encapsulation.map(|ports| UdpPorts {
        local: ports.local_port,
        peer: ports.peer_port,
    });
    let encapsulation = if udp.is_some() {
        Encapsulation::Udp
    } else {
        Encapsulation::Esp
    };
    let selectors = child
        .serves
        .iter()
        .map(|Served { selectors, .. }| Selector {
            local: (selectors.local.network(), selectors.local.prefix_len()),
            peer: (selectors.peer.network(), selectors.peer.prefix_len()),
        })
        .collect();
    let endpoints = TunnelEndpoints {
        local: child.local,
        peer: child.peer,
        udp,
    };
    let inbound = InboundSa::new(
        child.inbound.spi,
        transform,
        &keys(&child.inbound),
        selectors,
        replay_window,
    )?;
    // The keys are fresh and only this node has them, so the nonce space may start from its beginning.
    let nonces = NonceSpace::default();
    let outbound = OutboundSa::new(
        child.outbound.spi,
        transform,
        &keys(&child.outbound),
        endpoints,
        nonces,
    )?;
    Ok(EspPair {
        inbound: Box::new(inbound),
        outbound: Box::new(outbound),
        key: sa_key(child.local, child.inbound.spi),
        overhead: u32::try_from(transform.overhead(encapsulation)).unwrap_or_default(),
    })
}

/// Where the XDP program looks an inbound SA up.
pub(super) fn sa_key(local: Ipv4Addr, spi: Spi) -> SaKey {
    SaKey {
        addr: v4_mapped(local.octets()),
        spi: spi.to_be_bytes(),
    }
}

/// What the XDP program does with packets of an inbound SA.
pub(super) fn sa_value(sa: super::slots::Slot, tunnel: u32, gateway_limiter: u32, overhead: u32) -> SaValue {
    SaValue {
        sa: sa.index,
        generation: sa.generation,
        tunnel,
        gateway_limiter,
        tunnel_limiter: 0,
        overhead,
    }
}

fn keys(sa: &EspSa) -> Keys {
    Keys::new(
        sa.encryption_key.expose().to_vec(),
        sa.integrity_key.expose().to_vec(),
    )
}
