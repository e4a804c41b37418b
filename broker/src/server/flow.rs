//! The requests of one connection that are worked on, and their answers in order. No socket.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::stream::{FuturesOrdered, StreamExt};

use super::{Answer, Reserved, Work};

/// What the reader and the writer of a connection share. Both are futures of one task, so nobody is woken here.
#[derive(Debug)]
pub(super) struct Flow {
    state: Mutex<State>,
    in_flight_max: usize,
}

#[derive(Debug)]
struct State {
    requests: InOrder,
    /// Requests that are begun and not yet answered on the wire.
    in_flight: usize,
    /// Whether requests may follow.
    is_open: bool,
    /// Whether the reader may go on where it could not before.
    has_room_again: bool,
}

/// An answer, and what its request held.
type Done = (Answer, Reserved);

impl Flow {
    pub(super) fn new(in_flight_max: usize) -> Self {
        Self {
            state: Mutex::new(State {
                requests: InOrder::default(),
                in_flight: 0,
                is_open: true,
                has_room_again: false,
            }),
            in_flight_max,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether no further request may be begun.
    pub(super) fn is_full(&self) -> bool {
        self.state().in_flight >= self.in_flight_max
    }

    /// Whether no request is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.state().in_flight == 0
    }

    /// Ready when another request may be begun. Wakes nobody, see [`Self::has_room_again`].
    pub(super) fn poll_room(&self) -> Poll<()> {
        match self.is_full() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        }
    }

    /// Whether there was no room for another request, and now there is. Says so once.
    pub(super) fn has_room_again(&self) -> bool {
        std::mem::take(&mut self.state().has_room_again)
    }

    /// The next request.
    pub(super) fn push(&self, begun: Begun) {
        let mut state = self.state();
        state.in_flight += 1;
        state.requests.push(begun);
    }

    /// No further request comes.
    pub(super) fn close(&self) {
        self.state().is_open = false;
    }

    /// The next answer; none when all are given and no request follows.
    pub(super) fn poll_answer(&self, context: &mut Context<'_>) -> Poll<Option<Done>> {
        let mut state = self.state();
        match state.requests.poll_next(context) {
            Poll::Ready(None) if state.is_open => Poll::Pending,
            other => other,
        }
    }

    /// So many answers have been written.
    pub(super) fn answered(&self, count: usize) {
        let mut state = self.state();
        state.has_room_again |= state.in_flight >= self.in_flight_max;
        state.in_flight -= count;
    }
}

/// A request whose first step has run.
#[derive(Debug)]
pub(super) struct Begun {
    step: Step,
    reserved: Reserved,
}

enum Step {
    Done(Answer),
    Working(Work),
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Done(_) => "Done",
            Self::Working(_) => "Working",
        })
    }
}

impl Begun {
    /// `reserved` is what the request holds until its answer is written.
    pub(super) fn done(answer: Answer, reserved: Reserved) -> Self {
        let step = Step::Done(answer);
        Self { step, reserved }
    }

    pub(super) fn working(work: Work, reserved: Reserved) -> Self {
        let step = Step::Working(work);
        Self { step, reserved }
    }
}

impl Future for Begun {
    type Output = Done;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Done> {
        let done = std::mem::replace(&mut self.step, Step::Done(Answer::Nothing));
        let answer = match done {
            Step::Done(answer) => answer,
            Step::Working(mut work) => match work.as_mut().poll(context) {
                Poll::Ready(answer) => answer,
                Poll::Pending => {
                    self.step = Step::Working(work);
                    return Poll::Pending;
                }
            },
        };
        let reserved = std::mem::replace(&mut self.reserved, Reserved::none());
        Poll::Ready((answer, reserved))
    }
}

/// Requests that are worked on at the same time. A single one, as most clients have, is polled without a detour.
#[derive(Debug, Default)]
struct InOrder {
    first: Option<Begun>,
    /// Answers after that of `first`.
    done: VecDeque<Done>,
    /// What comes after those.
    others: FuturesOrdered<Begun>,
}

impl InOrder {
    fn push(&mut self, begun: Begun) {
        if self.first.is_none() && self.done.is_empty() && self.others.is_empty() {
            self.first = Some(begun);
        } else {
            self.others.push_back(begun);
        }
    }

    /// None when there is no request.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Done>> {
        if let Some(first) = &mut self.first {
            if let Poll::Ready(done) = Pin::new(first).poll(context) {
                self.first = None;
                return Poll::Ready(Some(done));
            }
            while let Poll::Ready(Some(done)) = self.others.poll_next_unpin(context) {
                self.done.push_back(done);
            }
            return Poll::Pending;
        }
        match self.done.pop_front() {
            Some(done) => Poll::Ready(Some(done)),
            None => self.others.poll_next_unpin(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::sync::oneshot;

    use super::*;

    /// A request that ends when it is told with which failure, and what tells it.
    fn request() -> (oneshot::Sender<&'static str>, Begun) {
        let (sender, told) = oneshot::channel();
        let work: Work = Box::pin(async move {
            let text = told.await.unwrap_or("dropped");
            Answer::Close(super::super::ConnectionError::Malformed(text.to_owned()))
        });
        (sender, Begun::working(work, Reserved::none()))
    }

    fn next(flow: &Flow) -> Poll<Option<String>> {
        let mut context = Context::from_waker(Waker::noop());
        let answer = flow.poll_answer(&mut context);
        answer.map(|done| done.map(|(answer, _)| format!("{answer:?}")))
    }

    #[test]
    fn answers_wait_for_those_before_them_whichever_are_ready_first() {
        let flow = Flow::new(10);
        assert_eq!(next(&flow), Poll::Pending);
        let mut tellers = Vec::new();
        for _ in 0..4 {
            let (teller, begun) = request();
            flow.push(begun);
            tellers.push(teller);
        }
        let told = |index: usize, tellers: &mut Vec<oneshot::Sender<&'static str>>| {
            tellers
                .remove(index)
                .send(["a", "b", "c", "d"][index])
                .unwrap();
        };
        told(3, &mut tellers);
        told(1, &mut tellers);
        assert_eq!(next(&flow), Poll::Pending);
        told(0, &mut tellers);
        let named = |answer: Poll<Option<String>>, name: &str| match answer {
            Poll::Ready(Some(text)) => assert!(text.contains(name), "{text}"),
            other => panic!("{other:?} instead of {name}"),
        };
        named(next(&flow), "\"a\"");
        named(next(&flow), "\"b\"");
        // behind one that waits
        flow.push(Begun::done(Answer::Nothing, Reserved::none()));
        assert_eq!(next(&flow), Poll::Pending);
        tellers.remove(0).send("e").unwrap();
        named(next(&flow), "\"e\"");
        named(next(&flow), "\"d\"");
        named(next(&flow), "Nothing");
        assert_eq!(next(&flow), Poll::Pending);
        flow.close();
        assert_eq!(next(&flow), Poll::Ready(None));
    }

    #[test]
    fn there_is_room_again_when_an_answer_of_a_full_connection_is_written() {
        let flow = Flow::new(2);
        for _ in 0..2 {
            assert!(!flow.is_full() && flow.poll_room().is_ready());
            flow.push(Begun::done(Answer::Nothing, Reserved::none()));
        }
        assert!(flow.is_full() && flow.poll_room().is_pending());
        assert!(!flow.has_room_again());
        flow.answered(1);
        assert!(flow.has_room_again() && !flow.has_room_again());
        assert!(!flow.is_full() && !flow.is_empty());
        flow.answered(1);
        assert!(!flow.has_room_again() && flow.is_empty());
    }
}
