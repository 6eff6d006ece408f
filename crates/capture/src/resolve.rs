//! Where a trunk is that is known by its name: NAPTR, SRV, A and AAAA as RFC 3263 §4 says.
//!
//! One task a name asks DNS, hands the addresses to the SIP task, sleeps until they run out, and
//! asks again. Nothing waits for it: calls use what was found last. When DNS is down that stays,
//! however old.
//!
//! Belongs here: names to addresses, priorities and weights. Does not: which address a call takes
//! and what happens when it fails (`call`).

use crate::handle::Handle;
use cheling_model::directory::{LongRequests, TrunkAddress, TrunkTransport};
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolverConfig,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::rdata::{NAPTR, SRV};
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{Resolver, TokioResolver};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What DNS said is believed at least this long: a TTL of 0 must not become a loop.
const SHORTEST: Duration = Duration::from_secs(1);
/// And at most this long.
const LONGEST: Duration = Duration::from_secs(3600);
/// How soon DNS is asked again after it failed; doubled up to [`SLOWEST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(2);
/// See [`FIRST_RETRY`].
const SLOWEST_RETRY: Duration = Duration::from_secs(60);
/// Addresses of one trunk at most; those of the lowest priority are left out.
const MAX_ADDRESSES: usize = 16;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The trunk's name in the config.
    pub trunk: String,
    /// Its host name.
    pub host: String,
    /// Its port; with one, neither NAPTR nor SRV is asked for (RFC 3263 §4.2).
    pub port: Option<u16>,
    /// The transport; `None` if DNS decides (RFC 3263 §4.1).
    pub transport: Option<TrunkTransport>,
    /// Whether TCP is wanted beside UDP.
    pub long_requests: LongRequests,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Never empty.
    pub addresses: Vec<TrunkAddress>,
    /// How long that is good.
    pub good_for: Duration,
}

/// Why nothing was found.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The system's own settings cannot be read.
    #[error("the system's DNS settings cannot be read ({0}); set sip.dns_servers")]
    Settings(String),
    /// DNS answered that there is no such thing.
    #[error("DNS knows no address of {0}")]
    Nothing(String),
    /// DNS did not answer.
    #[error("DNS: {0}")]
    Failed(String),
}

/// Which kinds of addresses are of use: those that we listen on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Families {
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
    /// Both.
    Both,
}

impl Families {
    /// The families of these listeners.
    pub fn of(listeners: &[SocketAddr]) -> Self {
        let (v4, v6) =
            (listeners.iter().any(|it| it.is_ipv4()), listeners.iter().any(|it| it.is_ipv6()));
        match (v4, v6) {
            (true, true) => Self::Both,
            (false, true) => Self::V6,
            (_, false) => Self::V4,
        }
    }

    fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
            Self::Both => true,
        }
    }
}

/// Asks DNS.
pub struct Names {
    resolver: TokioResolver,
    families: Families,
}

impl Names {
    /// Asks `servers`, or those of the system if there are none.
    ///
    /// # Errors
    /// [`ResolveError::Settings`].
    pub fn new(servers: &[SocketAddr], families: Families) -> Result<Self, ResolveError> {
        let settings = |err: NetError| ResolveError::Settings(err.to_string());
        let mut builder = if servers.is_empty() {
            Resolver::builder_tokio().map_err(settings)?
        } else {
            let servers = servers.iter().map(name_server).collect();
            let config = ResolverConfig::from_name_servers(servers);
            Resolver::builder_with_config(config, TokioRuntimeProvider::default())
        };
        builder.options_mut().ip_strategy = match families {
            Families::V4 => LookupIpStrategy::Ipv4Only,
            Families::V6 => LookupIpStrategy::Ipv6Only,
            Families::Both => LookupIpStrategy::Ipv4AndIpv6,
        };
        Ok(Self { resolver: builder.build().map_err(settings)?, families })
    }

    /// Finds where a trunk is.
    ///
    /// # Errors
    /// [`ResolveError`]; what was known before should be kept.
    pub async fn resolve(&self, wanted: &Wanted) -> Result<Found, ResolveError> {
        let mut search = Search { names: self, good_until: Instant::now() + LONGEST };
        let mut addresses = search.run(wanted).await?;
        if wanted.long_requests == LongRequests::Tcp {
            for place in addresses.iter_mut().filter(|it| it.transport == TrunkTransport::Udp) {
                place.stream.get_or_insert(place.address);
            }
        }
        addresses.sort_by_key(|it| it.priority);
        addresses.truncate(MAX_ADDRESSES);
        if addresses.is_empty() {
            return Err(ResolveError::Nothing(wanted.host.clone()));
        }
        let good_for = search.good_until.saturating_duration_since(Instant::now());
        Ok(Found { addresses, good_for: good_for.clamp(SHORTEST, LONGEST) })
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    server.connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// One search through NAPTR, SRV and addresses, and how long all of it is good.
struct Search<'a> {
    names: &'a Names,
    good_until: Instant,
}

impl Search<'_> {
    async fn run(&mut self, wanted: &Wanted) -> Result<Vec<TrunkAddress>, ResolveError> {
        let host = absolute(&wanted.host);
        if let Some(port) = wanted.port {
            let transport = wanted.transport.unwrap_or(TrunkTransport::Udp);
            return self.hosts(&host, port, transport, (0, 0)).await;
        }
        let services = match wanted.transport {
            Some(transport) => vec![(transport, service(transport, &host))],
            None => self.services(&host).await?,
        };
        for (transport, name) in &services {
            let mut found = self.service(*transport, name).await?;
            if *transport == TrunkTransport::Udp && wanted.long_requests != LongRequests::Udp {
                self.streams(&services, &mut found).await;
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        // Neither NAPTR nor SRV: the host itself, at the usual port (RFC 3263 §4.2).
        let transport = wanted.transport.unwrap_or(TrunkTransport::Udp);
        self.hosts(&host, usual_port(transport), transport, (0, 0)).await
    }

    /// Where the machines that take UDP take TCP as well, as far as DNS names it.
    async fn streams(
        &mut self,
        services: &[(TrunkTransport, String)],
        datagrams: &mut [TrunkAddress],
    ) {
        let service = services.iter().find(|(transport, _)| *transport == TrunkTransport::Tcp);
        let Some((transport, name)) = service.filter(|_| !datagrams.is_empty()) else { return };
        // Calls go by UDP, whatever becomes of this.
        let streams = self.service(*transport, name).await.unwrap_or_default();
        for place in datagrams {
            let same = streams.iter().find(|it| it.address.ip() == place.address.ip());
            place.stream = same.map(|it| it.address);
        }
    }

    /// The services in the order in which the domain wants them used (RFC 3263 §4.1). Without
    /// NAPTR: UDP, then TCP, by their usual names.
    async fn services(
        &mut self,
        host: &str,
    ) -> Result<Vec<(TrunkTransport, String)>, ResolveError> {
        let mut rules: Vec<NAPTR> = Vec::new();
        for data in self.lookup(host, RecordType::NAPTR).await? {
            if let RData::NAPTR(rule) = data {
                rules.push(rule);
            }
        }
        rules.sort_by_key(|rule| (rule.order, rule.preference));
        let mut services: Vec<_> = rules
            .iter()
            .filter(|rule| rule.flags.eq_ignore_ascii_case(b"s"))
            .filter_map(|rule| {
                let transport = match rule.services.to_ascii_uppercase().as_slice() {
                    b"SIP+D2U" => TrunkTransport::Udp,
                    b"SIP+D2T" => TrunkTransport::Tcp,
                    b"SIPS+D2T" => TrunkTransport::Tls,
                    _ => return None,
                };
                Some((transport, rule.replacement.to_utf8()))
            })
            .collect();
        if services.is_empty() {
            for transport in [TrunkTransport::Udp, TrunkTransport::Tcp] {
                services.push((transport, service(transport, host)));
            }
        }
        Ok(services)
    }

    /// All servers of one service (RFC 2782).
    async fn service(
        &mut self,
        transport: TrunkTransport,
        name: &str,
    ) -> Result<Vec<TrunkAddress>, ResolveError> {
        let mut servers: Vec<SRV> = Vec::new();
        for data in self.lookup(name, RecordType::SRV).await? {
            if let RData::SRV(server) = data {
                servers.push(server);
            }
        }
        servers.sort_by_key(|server| server.priority);
        let mut addresses = Vec::new();
        for server in servers.iter().take(MAX_ADDRESSES) {
            // A target of "." says that there is no such service.
            if server.target.is_root() {
                continue;
            }
            let (target, rank) = (server.target.to_utf8(), (server.priority, server.weight));
            match self.hosts(&target, server.port, transport, rank).await {
                Ok(found) => addresses.extend(found),
                // One name that cannot be resolved must not cost the others.
                Err(err) => tracing::warn!(%target, %err, "a server of SRV has no address now"),
            }
        }
        Ok(addresses)
    }

    async fn hosts(
        &mut self,
        host: &str,
        port: u16,
        transport: TrunkTransport,
        (priority, weight): (u16, u16),
    ) -> Result<Vec<TrunkAddress>, ResolveError> {
        let found = match self.names.resolver.lookup_ip(host).await {
            Ok(found) => found,
            Err(err) if err.is_no_records_found() => return Ok(Vec::new()),
            Err(err) => return Err(ResolveError::Failed(err.to_string())),
        };
        self.good_until = self.good_until.min(found.valid_until());
        let ips = found.iter().filter(|ip| self.names.families.has(*ip));
        let place = |ip| TrunkAddress {
            priority,
            weight,
            ..TrunkAddress::only(transport, SocketAddr::new(ip, port))
        };
        Ok(ips.map(place).collect())
    }

    async fn lookup(&mut self, name: &str, what: RecordType) -> Result<Vec<RData>, ResolveError> {
        match self.names.resolver.lookup(name, what).await {
            Ok(found) => {
                self.good_until = self.good_until.min(found.valid_until());
                Ok(found.answers().iter().map(|record| record.data.clone()).collect())
            }
            Err(err) if err.is_no_records_found() => Ok(Vec::new()),
            Err(err) => Err(ResolveError::Failed(err.to_string())),
        }
    }
}

/// A name that no search list is put behind.
fn absolute(host: &str) -> String {
    if host.ends_with('.') { host.to_owned() } else { format!("{host}.") }
}

fn service(transport: TrunkTransport, host: &str) -> String {
    match transport {
        TrunkTransport::Udp => format!("_sip._udp.{host}"),
        TrunkTransport::Tcp => format!("_sip._tcp.{host}"),
        TrunkTransport::Tls => format!("_sips._tcp.{host}"),
    }
}

fn usual_port(transport: TrunkTransport) -> u16 {
    match transport {
        TrunkTransport::Udp | TrunkTransport::Tcp => 5060,
        TrunkTransport::Tls => 5061,
    }
}

/// Keeps the SIP task told where these trunks are, until stopped.
pub async fn keep(names: Names, wanted: Vec<Wanted>, handle: Handle, stop: CancellationToken) {
    let watches = wanted.iter().map(|wanted| watch(&names, wanted, &handle));
    tokio::select! {
        () = stop.cancelled() => {}
        _ = futures_util::future::join_all(watches) => {}
    }
}

async fn watch(names: &Names, wanted: &Wanted, handle: &Handle) {
    let mut known: Option<Vec<TrunkAddress>> = None;
    let mut retry = FIRST_RETRY;
    loop {
        let pause = match names.resolve(wanted).await {
            Ok(found) => {
                retry = FIRST_RETRY;
                if known.as_ref() != Some(&found.addresses) {
                    let Wanted { trunk, host, .. } = wanted;
                    let places: Vec<_> = found.addresses.iter().map(|it| it.address).collect();
                    tracing::info!(%trunk, %host, ?places, "resolved");
                    let sent = handle.move_trunk(trunk.clone(), found.addresses.clone()).await;
                    if sent.is_err() {
                        return;
                    }
                    known = Some(found.addresses);
                }
                found.good_for
            }
            Err(err) => {
                let Wanted { trunk, host, .. } = wanted;
                let kept = known.as_ref().map_or(0, Vec::len);
                tracing::warn!(%trunk, %host, %err, kept, "not resolved; what was known is kept");
                let pause = retry;
                retry = (retry * 2).min(SLOWEST_RETRY);
                pause
            }
        };
        tokio::time::sleep(pause).await;
    }
}
