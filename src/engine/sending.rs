//! What an attempt holds while its command is being sent, and gives back afterwards.

use std::sync::{Mutex, PoisonError};

use super::urgency::Urgent;

/// A permit that can be given back before the work that holds it is over.
pub(crate) struct Lent<P>(Mutex<Option<P>>);

impl<P> Lent<P> {
    pub(crate) fn new(permit: P) -> Self {
        Self(Mutex::new(Some(permit)))
    }

    pub(crate) fn give_back(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

/// What an attempt occupies while its command is being sent.
pub(crate) struct Sending<'a, P> {
    urgent: Option<Urgent>,
    permit: Option<&'a Lent<P>>,
}

impl<'a, P> Sending<'a, P> {
    /// For an attempt with a permit of its own. If it `may`, it gives the permit back once its command is sent. A
    /// permit for a request is held until the reply and all that follows from it.
    pub(crate) fn alone(permit: &'a Lent<P>, may: bool, urgent: Option<Urgent>) -> Self {
        let permit = Some(permit).filter(|_| may);
        Self { urgent, permit }
    }

    /// For one of several attempts under the same permit.
    pub(crate) fn with_others() -> Self {
        Self { urgent: None, permit: None }
    }

    /// Ends the urgent part: the command has been sent, or never will be.
    pub(crate) fn is_over(&mut self) {
        self.urgent = None;
    }

    /// Gives the permit back: what is left to do waits for others, and has bounds of its own.
    pub(crate) fn gives_way(&self) {
        if let Some(permit) = self.permit {
            permit.give_back();
        }
    }
}
