//! What an attempt holds while its command is sent, and gives back then.

use std::sync::{Mutex, PoisonError};

use super::urgency::Urgent;

/// A permit that is given back before the work is over for which it was given.
pub(crate) struct Lent<P>(Mutex<Option<P>>);

impl<P> Lent<P> {
    pub(crate) fn new(permit: P) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    pub(crate) fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What an attempt takes from others while its command is sent.
pub(crate) struct Sending<'a, P> {
    urgent: Option<Urgent>,
    permit: Option<&'a Lent<P>>,
}

impl<'a, P> Sending<'a, P> {
    /// Of one attempt under a permit of its own, which it gives back once its command is sent if that `may` be. A permit
    /// to ask is for as long as that takes, with all that follows.
    pub(crate) fn alone(permit: &'a Lent<P>, may: bool, urgent: Option<Urgent>) -> Self {
        let permit = Some(permit).filter(|_| may);
        Self { urgent, permit }
    }

    /// Of one of several under the same permit.
    pub(crate) fn with_others() -> Self {
        Self { urgent: None, permit: None }
    }

    /// The command has been sent, or never will be: nothing of it is urgent any more.
    pub(crate) fn is_over(&mut self) {
        self.urgent = None;
    }

    /// What is left to be done waits for others, and has bounds of its own.
    pub(crate) fn gives_way(&self) {
        if let Some(permit) = self.permit {
            permit.give_back();
        }
    }
}
