//! Leaders told in the answers of Produce and Fetch to clients that ask the wrong broker (KIP-951), so that they need not ask for
//! metadata first.

use crate::context::{Node, Request};
use crate::log::{Leader, Partition};

/// The leaders named in one answer.
pub(crate) struct LeaderHints<'r> {
    request: &'r Request,
    named: Vec<Node>,
}

impl<'r> LeaderHints<'r> {
    pub(crate) fn new(request: &'r Request) -> Self {
        Self {
            request,
            named: Vec::new(),
        }
    }

    /// The leader of a partition that this broker does not serve, if it lives.
    pub(crate) fn leader(&mut self, partition: &Partition) -> Option<Leader> {
        let leader = partition.leader();
        if self.named.iter().all(|node| node.node_id != leader.node_id) {
            let request = self.request;
            let node = request.context().node(&request.session, leader.node_id)?;
            self.named.push(node);
        }
        Some(leader)
    }

    /// Where the leaders listen that were named.
    pub(crate) fn nodes(self) -> Vec<Node> {
        self.named
    }
}
