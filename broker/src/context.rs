//! What handlers work with: the broker's parts, shared by all, and what is known about the connection of a request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use storage::Store;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::cluster::Cluster;
use crate::config::{Config, Endpoint};
use crate::fetch_session::FetchSessions;
use crate::groups::Groups;
use crate::metrics::Metrics;
use crate::server::Budget;
use crate::settings::Settings;
use crate::transactions::Transactions;

/// One broker.
#[derive(Debug)]
pub(crate) struct Context {
    /// As it was given at the start; what may have been changed since is told by `settings`.
    pub(crate) config: Config,
    pub(crate) settings: Arc<Settings>,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) store: Store,
    pub(crate) groups: Arc<Groups>,
    pub(crate) transactions: Arc<Transactions>,
    /// Memory of answers to consumers.
    pub(crate) fetches: Budget,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) metrics: Metrics,
    /// Cancelled when the broker stops: who waits for something answers with what there is.
    pub(crate) stopping: CancellationToken,
    /// The port that connections are really accepted on.
    pub(crate) port: u16,
}

impl Context {
    /// The address that a client on this connection is told to use.
    pub(crate) fn advertised(&self, session: &Session) -> Endpoint {
        self.config.advertised(self.port, Some(session.local))
    }

    /// The brokers that a client on this connection is told of, by node id.
    pub(crate) fn nodes(&self, session: &Session) -> Vec<Node> {
        let view = self.cluster.view();
        let nodes = view.brokers.iter().map(|broker| {
            let mut node = Node {
                node_id: broker.node_id,
                host: broker.host.clone(),
                port: broker.port,
                rack: broker.rack.clone(),
            };
            if broker.node_id == self.config.node_id {
                let own = self.advertised(session);
                (node.host, node.port) = (own.host, i32::from(own.port));
            }
            node
        });
        nodes.collect()
    }

    /// One of [`Self::nodes`].
    pub(crate) fn node(&self, session: &Session, node_id: i32) -> Option<Node> {
        let mut nodes = self.nodes(session).into_iter();
        nodes.find(|node| node.node_id == node_id)
    }
}

/// A broker as a client is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) node_id: i32,
    pub(crate) host: String,
    pub(crate) port: i32,
    pub(crate) rack: Option<String>,
}

/// One connection, as far as handlers care.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) context: Arc<Context>,
    pub(crate) peer: SocketAddr,
    /// The address the client reached us by.
    pub(crate) local: SocketAddr,
    client_software: Mutex<Option<ClientSoftware>>,
}

/// What a client says about itself in ApiVersions (KIP-511).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClientSoftware {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Session {
    pub(crate) fn new(context: Arc<Context>, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            context,
            peer,
            local,
            client_software: Mutex::new(None),
        }
    }

    /// Remembers the client's software; true if that is news.
    pub(crate) fn set_client_software(&self, software: ClientSoftware) -> bool {
        let mut known = self
            .client_software
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.as_ref() == Some(&software) {
            return false;
        }
        *known = Some(software);
        true
    }
}

/// One request besides its body.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) session: Arc<Session>,
    pub(crate) version: i16,
    pub(crate) correlation_id: i32,
    pub(crate) client_id: Option<String>,
    /// The whole request, which the body borrows from: records are shared with the log, not copied.
    pub(crate) frame: Bytes,
}

impl Request {
    pub(crate) fn context(&self) -> &Context {
        &self.session.context
    }

    /// `part` of the request, shared.
    pub(crate) fn share(&self, part: &[u8]) -> Bytes {
        let frame = self.frame.as_ptr_range();
        let part_range = part.as_ptr_range();
        if frame.start <= part_range.start && part_range.end <= frame.end {
            self.frame.slice_ref(part)
        } else {
            Bytes::copy_from_slice(part)
        }
    }
}
