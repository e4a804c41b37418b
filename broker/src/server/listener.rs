//! Accepting connections, within the limits, until the broker is told to stop.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Budget, Open, connection};
use crate::config::{Config, Endpoint};

/// Connections the system holds for us until they are accepted.
const BACKLOG: i32 = 1024;

/// Accepting goes on after this when the system has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why no connections can be accepted.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The host of `listeners` has no address.
    #[error("listeners: `{0}` has no address")]
    NoAddress(String),
    /// The address cannot be used.
    #[error("listeners: cannot listen on {0}: {1}")]
    Unusable(SocketAddr, io::Error),
    /// The name cannot be looked up.
    #[error("listeners: cannot look up `{0}`: {1}")]
    Lookup(String, io::Error),
}

/// Listens on every address of `endpoint`: both that `localhost` has, or all of IPv4 and IPv6 for an empty host. Addresses of a
/// family that the machine does not have are passed over.
pub async fn bind(endpoint: &Endpoint) -> Result<Vec<TcpListener>, BindError> {
    let addresses = addresses(endpoint).await?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut port = endpoint.port;
    let mut failure = None;
    for mut address in addresses {
        address.set_port(port);
        match listen(address) {
            Ok(listener) => {
                if let Ok(local) = listener.local_addr() {
                    port = local.port();
                }
                listeners.push(listener);
            }
            Err(error) if is_missing_family(&error) => failure = Some((address, error)),
            Err(error) => return Err(BindError::Unusable(address, error)),
        }
    }
    match (listeners.is_empty(), failure) {
        (true, Some((address, error))) => Err(BindError::Unusable(address, error)),
        (true, None) => Err(BindError::NoAddress(endpoint.host.clone())),
        (false, _) => Ok(listeners),
    }
}

async fn addresses(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, BindError> {
    if endpoint.host.is_empty() {
        let wildcards: [IpAddr; 2] = [
            std::net::Ipv4Addr::UNSPECIFIED.into(),
            std::net::Ipv6Addr::UNSPECIFIED.into(),
        ];
        return Ok(wildcards
            .map(|address| SocketAddr::new(address, endpoint.port))
            .to_vec());
    }
    let found = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(|error| BindError::Lookup(endpoint.host.clone(), error))?;
    let mut addresses: Vec<SocketAddr> = found.collect();
    addresses.sort_by_key(SocketAddr::is_ipv6);
    addresses.dedup();
    Ok(addresses)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn is_missing_family(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.kind() == io::ErrorKind::AddrNotAvailable
        || error.kind() == io::ErrorKind::Unsupported
        || error.raw_os_error() == Some(EAFNOSUPPORT)
}

/// How many connections there may be; may change while connections are accepted, which closes none of them.
#[derive(Debug)]
pub(crate) struct ConnectionLimits {
    all: AtomicUsize,
    per_ip: AtomicUsize,
    open: AtomicUsize,
}

impl ConnectionLimits {
    fn new(config: &Config) -> Self {
        Self {
            all: AtomicUsize::new(config.max_connections),
            per_ip: AtomicUsize::new(config.max_connections_per_ip),
            open: AtomicUsize::new(0),
        }
    }

    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Those of the settings, for connections from now on.
    pub(crate) fn change(&self, config: &Config) {
        self.all.store(config.max_connections, Ordering::Relaxed);
        self.per_ip
            .store(config.max_connections_per_ip, Ordering::Relaxed);
    }
}

/// What connections may take, and what they share.
#[derive(Debug)]
pub struct Limits {
    pub(super) connections: Arc<ConnectionLimits>,
    pub(super) idle: Duration,
    pub(super) request_bytes_max: usize,
    pub(super) in_flight_max: usize,
    pub(super) shutdown_timeout: Duration,
    pub(super) requests: Budget,
}

impl Limits {
    /// Those of the settings.
    pub fn new(config: &Config) -> Self {
        Self {
            connections: Arc::new(ConnectionLimits::new(config)),
            idle: Duration::from_millis(config.connections_max_idle_ms),
            request_bytes_max: config.socket_request_max_bytes,
            in_flight_max: config.max_in_flight_requests_per_connection,
            shutdown_timeout: Duration::from_millis(config.shutdown_timeout_ms),
            requests: Budget::new(config.queued_max_request_bytes),
        }
    }

    /// How many connections there may be, to be changed.
    pub(crate) fn connections(&self) -> &Arc<ConnectionLimits> {
        &self.connections
    }

    /// The memory for requests of all connections.
    pub fn requests(&self) -> &Budget {
        &self.requests
    }
}

/// Everything that accepts and serves connections.
pub(crate) struct Server {
    open: Open,
    limits: Arc<Limits>,
    connections: Mutex<Connections>,
    tasks: TaskTracker,
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Connections {
    count: usize,
    per_ip: HashMap<IpAddr, usize>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("limits", &self.limits)
            .field("connections", &self.connections)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(crate) fn new(open: Open, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            open,
            limits: Arc::new(limits),
            connections: Mutex::default(),
            tasks: TaskTracker::new(),
        })
    }

    /// Accepts from all of `listeners` until `shutdown`, then waits for the connections to answer what they have begun,
    /// at most `shutdown.timeout.ms` and a second.
    pub(crate) async fn run(
        self: &Arc<Self>,
        listeners: Vec<TcpListener>,
        shutdown: &CancellationToken,
    ) {
        let accepting: Vec<_> = listeners
            .into_iter()
            .map(|listener| tokio::spawn(self.clone().accept(listener, shutdown.clone())))
            .collect();
        shutdown.cancelled().await;
        for task in accepting {
            if let Err(error) = task.await {
                tracing::error!(%error, "a listener ended by a fault in this program");
            }
        }
        self.tasks.close();
        let patience = self.limits.shutdown_timeout + Duration::from_secs(1);
        if tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.tasks.len(),
                "connections still had requests in flight when the time for stopping was over"
            );
        }
    }

    async fn accept(self: Arc<Self>, listener: TcpListener, shutdown: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = shutdown.cancelled() => return,
            };
            match accepted {
                Ok((stream, peer)) => self.admit(stream, peer, &shutdown),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, shutdown: &CancellationToken) {
        let permit = match self.permit(peer.ip()) {
            Ok(permit) => permit,
            Err(limit) => {
                tracing::warn!(%peer, limit, "a connection is one too many and was closed");
                return;
            }
        };
        let Ok(local) = stream.local_addr() else {
            return;
        };
        let begin = (self.open)(peer, local);
        let (limits, shutdown) = (self.limits.clone(), shutdown.clone());
        self.tasks.spawn(async move {
            tracing::debug!(%peer, "connected");
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%peer, %error, "answers may be delayed");
            }
            let (read_half, write_half) = stream.into_split();
            match connection::serve(read_half, write_half, begin, limits, shutdown).await {
                Ok(()) => tracing::debug!(%peer, "closed"),
                Err(error) if error.is_ordinary() => {
                    tracing::debug!(%peer, %error, "connection lost");
                }
                Err(error) => tracing::warn!(%peer, %error, "connection closed"),
            }
            drop(permit);
        });
    }

    /// Counts a connection; the name of the limit it would pass is the error.
    fn permit(self: &Arc<Self>, ip: IpAddr) -> Result<Permit, &'static str> {
        let mut open = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let limits = &self.limits.connections;
        if open.count >= limits.all.load(Ordering::Relaxed) {
            return Err("max.connections");
        }
        let from_ip = open.per_ip.entry(ip).or_default();
        if *from_ip >= limits.per_ip.load(Ordering::Relaxed) {
            return Err("max.connections.per.ip");
        }
        *from_ip += 1;
        open.count += 1;
        limits.open.store(open.count, Ordering::Relaxed);
        Ok(Permit {
            server: self.clone(),
            ip,
        })
    }
}

/// One counted connection; uncounted when dropped, by a panic too.
#[derive(Debug)]
struct Permit {
    server: Arc<Server>,
    ip: IpAddr,
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self
            .server
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.count = open.count.saturating_sub(1);
        let limits = &self.server.limits.connections;
        limits.open.store(open.count, Ordering::Relaxed);
        if let Some(count) = open.per_ip.get_mut(&self.ip) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.per_ip.remove(&self.ip);
            }
        }
    }
}
