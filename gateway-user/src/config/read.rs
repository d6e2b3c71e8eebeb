//! Reads the document section by section.
//!
//! Defaults stand here, next to the ranges of the values.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use ipnet::Ipv4Net;

use super::algorithms::{Role, Start, XdpMode};
use super::mistake::{At, Log, MistakeKind, Rule};
use super::model::{
    AgentConfig, CustomerGatewayConfig, DataplaneConfig, GatewayConfig, InterfaceConfig, IpsecConfig,
    SpdRule, TunnelConfig, VpcConfig,
};
use super::negotiation::{self, IkeDraft};
use super::probe::{self, ProbeDraft};
use super::psk::{KeyFileError, PresharedKey, read_key_file};
use super::rules::Quotas;
use super::section::{NumberOrWord, Section};
use super::values::{self, Bandwidth, Id};

/// Objects of one kind by id. An object with mistakes is listed as `None`, so that a reference to it is not called dangling.
#[derive(Debug)]
pub(super) struct Directory<T> {
    kind: &'static str,
    objects: BTreeMap<Id, Option<Arc<T>>>,
}

impl<T> Directory<T> {
    pub(super) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            objects: BTreeMap::new(),
        }
    }

    pub(super) fn insert(&mut self, log: &Log, id: Option<&At<Id>>, object: Option<Arc<T>>) {
        let Some(id) = id else { return };
        if self.objects.insert(id.value.clone(), object).is_some() {
            log.mistake(&id.place, format!("another {} has this id", self.kind));
        }
    }

    /// Objects that were read before, from another document.
    pub(super) fn known(kind: &'static str, objects: impl IntoIterator<Item = (Id, Arc<T>)>) -> Self {
        Self {
            kind,
            objects: objects
                .into_iter()
                .map(|(id, object)| (id, Some(object)))
                .collect(),
        }
    }

    pub(super) fn get(&self, id: &Id) -> Option<&Arc<T>> {
        self.objects.get(id)?.as_ref()
    }

    pub(super) fn resolve(&self, log: &Log, id: At<Id>) -> Option<At<Arc<T>>> {
        match self.objects.get(&id.value) {
            Some(object) => object.clone().map(|value| At {
                value,
                place: id.place,
            }),
            None => {
                log.mistake(&id.place, format!("no {} has this id", self.kind));
                None
            }
        }
    }
}

/// One rule of a tunnel's SPD with its places.
#[derive(Debug)]
pub(super) struct RuleDraft {
    pub(super) local: Option<At<Ipv4Net>>,
    pub(super) peers: Vec<At<Ipv4Net>>,
}

/// A tunnel with the places that the rules between values need.
#[derive(Debug)]
pub(super) struct TunnelDraft {
    pub(super) id: Option<At<Id>>,
    pub(super) name: Option<String>,
    pub(super) gateway: Option<At<Arc<GatewayConfig>>>,
    pub(super) customer_gateway: Option<At<Arc<CustomerGatewayConfig>>>,
    pub(super) place: super::mistake::Place,
    start: Start,
    psk: Option<PresharedKey>,
    pub(super) spd: Vec<RuleDraft>,
    /// Destinations of routes; `None`: the tunnel follows its rules.
    pub(super) routes: Option<Vec<At<Ipv4Net>>>,
    ike: IkeDraft,
    ipsec: IpsecConfig,
    pub(super) probe: Option<ProbeDraft>,
}

impl TunnelDraft {
    /// The tunnel; `None` when a mistake was recorded for one of its required fields.
    pub(super) fn build(self) -> Option<Arc<TunnelConfig>> {
        let (id, gateway) = (self.id?.value, self.gateway?.value);
        let customer_gateway = self.customer_gateway?.value;
        let spd = self.spd.into_iter().map(|rule| {
            let peers = rule.peers.into_iter().map(|peer| peer.value).collect();
            Some(SpdRule {
                local: rule.local?.value,
                peers,
            })
        });
        let ike = self.ike.build(gateway.address, customer_gateway.address);
        Some(Arc::new(TunnelConfig {
            name: self.name.unwrap_or_else(|| id.to_string()),
            probe: self.probe.map(|probe| probe.build(&id)),
            id,
            gateway,
            customer_gateway,
            start: self.start,
            psk: self.psk?,
            spd: spd.collect::<Option<_>>()?,
            routes: self
                .routes
                .map(|routes| routes.into_iter().map(|route| route.value).collect()),
            ike,
            ipsec: self.ipsec,
        }))
    }
}

pub(super) fn agent(mut section: Section<'_>) -> AgentConfig {
    let listen = |text: &str| match text {
        "" => Ok(None),
        _ => text.parse().map(Some).map_err(|_not_a_socket| {
            Rule::Borrowed("is an address and port such as 127.0.0.1:9273, or \"\"")
        }),
    };
    let filter = |text: &str| match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Rule::Borrowed(
            "is error, warn, info, debug, trace or a tracing filter",
        )),
    };
    let read = AgentConfig {
        metrics_listen: value_or(section.text("metrics_listen", listen), || {
            Some(([127, 0, 0, 1], 9273).into())
        }),
        control_socket: value_or(section.text("control_socket", values::absolute_path), || {
            super::DEFAULT_SOCKET.into()
        }),
        pin_dir: value_or(section.text("pin_dir", values::absolute_path), || {
            super::DEFAULT_PIN_DIR.into()
        }),
        log: value_or(section.text("log", filter), || "info".to_owned()),
    };
    section.finish();
    read
}

pub(super) fn dataplane(mut section: Section<'_>) -> DataplaneConfig {
    let frame_size = section.number_or_word("frame_size", |input| match input {
        NumberOrWord::Number(2048) => Ok(2048),
        NumberOrWord::Number(4096) => Ok(4096),
        NumberOrWord::Number(_) | NumberOrWord::Word(_) | NumberOrWord::Neither => {
            Err("is 2048 or 4096".into())
        }
    });
    let umem_frames = section.number_or_word("umem_frames", |input| match input {
        NumberOrWord::Number(frames @ 512..=1_048_576) if frames.is_power_of_two() => {
            u32::try_from(frames).map_err(|_excluded| Rule::Borrowed("is too large"))
        }
        NumberOrWord::Number(_) | NumberOrWord::Word(_) | NumberOrWord::Neither => {
            Err("is a power of two from 512 to 1048576".into())
        }
    });
    let read = DataplaneConfig {
        xdp_mode: value_or(section.text("xdp_mode", XdpMode::parse), || XdpMode::Auto),
        umem_frames: value_or(umem_frames, || 8192),
        frame_size: value_or(frame_size, || 2048),
        default_deny: value_or(section.flag("default_deny"), || false),
        ike_rate_per_source: value_or(section.number("ike_rate_per_source", 1..=1_000_000), || 50),
    };
    section.finish();
    read
}

pub(super) fn quotas(mut section: Section<'_>) -> Quotas {
    let mut quota = |key, default| value_or(section.number(key, 1..=1_000_000), || default);
    let read = Quotas {
        gateways_per_vpc: quota("gateways_per_vpc", 10),
        customer_gateways: quota("customer_gateways", 20),
        tunnels_per_customer_gateway: quota("tunnels_per_customer_gateway", 10),
        tunnels_per_gateway: quota("tunnels_per_gateway", 20),
        rules_per_tunnel: quota("rules_per_tunnel", 10),
        peer_ranges_per_rule: quota("peer_ranges_per_rule", 50),
        routes_per_gateway: quota("routes_per_gateway", 100),
    };
    section.finish();
    read
}

pub(super) fn interface(mut section: Section<'_>) -> Option<(At<String>, InterfaceConfig)> {
    let name = section.required_text("name", values::interface_name);
    let role = section.required_text("role", Role::parse);
    section.finish();
    let name = name?;
    let config = InterfaceConfig {
        name: name.value.clone(),
        role: role?.value,
    };
    Some((name, config))
}

/// A VPC with the places of its range and interface.
pub(super) struct VpcDraft {
    pub(super) id: Option<At<Id>>,
    pub(super) cidr: Option<At<Ipv4Net>>,
    pub(super) interface: Option<At<String>>,
}

impl VpcDraft {
    pub(super) fn build(&self) -> Option<Arc<VpcConfig>> {
        Some(Arc::new(VpcConfig {
            id: self.id.as_ref()?.value.clone(),
            cidr: self.cidr.as_ref()?.value,
            interface: self.interface.as_ref()?.value.clone(),
        }))
    }
}

pub(super) fn vpc(mut section: Section<'_>) -> VpcDraft {
    let read = VpcDraft {
        id: section.required_text("id", Id::parse),
        cidr: section.required_text("cidr", values::range),
        interface: section.required_text("interface", values::interface_name),
    };
    section.finish();
    read
}

/// A gateway with the places of its references.
pub(super) struct GatewayDraft {
    pub(super) id: Option<At<Id>>,
    pub(super) name: Option<String>,
    pub(super) vpc: Option<At<Arc<VpcConfig>>>,
    pub(super) address: Option<At<std::net::Ipv4Addr>>,
    pub(super) bandwidth: Option<At<Bandwidth>>,
}

impl GatewayDraft {
    pub(super) fn build(&self) -> Option<Arc<GatewayConfig>> {
        let id = self.id.as_ref()?.value.clone();
        Some(Arc::new(GatewayConfig {
            name: self.name.clone().unwrap_or_else(|| id.to_string()),
            id,
            vpc: Arc::clone(&self.vpc.as_ref()?.value),
            address: self.address.as_ref()?.value,
            bandwidth: self.bandwidth.as_ref()?.value,
        }))
    }
}

pub(super) fn gateway(log: &Log, mut section: Section<'_>, vpcs: &Directory<VpcConfig>) -> GatewayDraft {
    section.require("bandwidth_mbps");
    let read = GatewayDraft {
        id: section.required_text("id", Id::parse),
        name: section.text("name", values::display_name).map(|name| name.value),
        vpc: section
            .required_text("vpc", Id::parse)
            .and_then(|id| vpcs.resolve(log, id)),
        address: section.required_text("address", values::own_address),
        bandwidth: section.number_or_word("bandwidth_mbps", Bandwidth::parse),
    };
    section.finish();
    read
}

/// A customer gateway with the place of its id.
pub(super) struct CustomerGatewayDraft {
    pub(super) id: Option<At<Id>>,
    pub(super) config: Option<Arc<CustomerGatewayConfig>>,
}

pub(super) fn customer_gateway(mut section: Section<'_>) -> CustomerGatewayDraft {
    let id = section.required_text("id", Id::parse);
    let name = section.text("name", values::display_name).map(|name| name.value);
    let address = section.required_text("address", values::customer_address);
    section.finish();
    let config = id.as_ref().zip(address).map(|(id, address)| {
        let id = id.value.clone();
        let name = name.unwrap_or_else(|| id.to_string());
        Arc::new(CustomerGatewayConfig {
            id,
            name,
            address: address.value,
        })
    });
    CustomerGatewayDraft { id, config }
}

pub(super) fn tunnel(
    log: &Log,
    mut section: Section<'_>,
    gateways: &Directory<GatewayConfig>,
    customer_gateways: &Directory<CustomerGatewayConfig>,
    directory: &Path,
) -> TunnelDraft {
    let gateway = section
        .required_text("gateway", Id::parse)
        .and_then(|id| gateways.resolve(log, id));
    let customer_gateway = section
        .required_text("customer_gateway", Id::parse)
        .and_then(|id| customer_gateways.resolve(log, id));
    section.require("spd");
    let (ike, ipsec) = negotiation::read(log, section.table("ike"), section.table("ipsec"));
    let probe = section
        .has("probe")
        .then(|| probe::read(log, section.table("probe")));
    let read = TunnelDraft {
        id: section.required_text("id", Id::parse),
        name: section.text("name", values::display_name).map(|name| name.value),
        gateway,
        customer_gateway,
        place: section.place().clone(),
        start: value_or(section.text("start", Start::parse), || Start::Traffic),
        psk: psk(log, &mut section, directory),
        spd: section.tables("spd").into_iter().map(rule).collect(),
        routes: section.texts_or_none("routes", values::range),
        ike,
        ipsec,
        probe,
    };
    section.finish();
    if let Some(psk) = &read.psk {
        read.ike.check_psk(log, psk);
    }
    read
}

fn psk(log: &Log, section: &mut Section<'_>, directory: &Path) -> Option<PresharedKey> {
    let inline = section.secret("psk", PresharedKey::parse);
    let has_inline = section.has("psk");
    let file = section.text("psk_file", |text| match text {
        "" => Err("is the path of a file".into()),
        _ => Ok(directory.join(text)),
    });
    match (has_inline, section.has("psk_file")) {
        (true, true) | (false, false) => {
            log.mistake(section.place(), "has either psk or psk_file");
            None
        }
        (true, false) => inline.map(|inline| inline.value),
        (false, true) => {
            let At { value: path, place } = file?;
            let refuse = |error| match error {
                error @ KeyFileError::Mode(_) => {
                    log.record(&place, error.into_rule(), MistakeKind::KeyFileMode);
                }
                KeyFileError::Rule(rule) => log.mistake(&place, rule),
            };
            read_key_file(&path).map_err(refuse).ok()
        }
    }
}

fn rule(mut section: Section<'_>) -> RuleDraft {
    let read = RuleDraft {
        local: section.required_text("local", values::range),
        peers: section.required_texts("peer", values::range),
    };
    section.finish();
    read
}

pub(super) fn value_or<T>(at: Option<At<T>>, default: impl FnOnce() -> T) -> T {
    at.map_or_else(default, |at| at.value)
}
