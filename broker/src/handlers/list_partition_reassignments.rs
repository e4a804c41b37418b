//! ListPartitionReassignments (key 46), v0-v0: a move of a partition is over when it is answered, so that none is ever under way.

use protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::context::Request;

pub(crate) async fn handle<'a>(
    _request: &Request,
    _body: ListPartitionReassignmentsRequest<'a>,
) -> ListPartitionReassignmentsResponse<'a> {
    ListPartitionReassignmentsResponse::default()
}
