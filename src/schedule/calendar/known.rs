//! The calendars as an instance has seen them, and what they leave of a trigger.

mod open;

use std::collections::HashMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::Calendar;
use crate::schedule::keyed::Known;
use crate::trigger::Spans;

/// Most sets of calendars whose times are kept ready.
const MAX_READY: usize = 1000;

/// All calendars, by their keys.
#[derive(Clone, Debug, Default)]
pub struct Calendars {
    all: Known<Calendar>,
    ready: Arc<Mutex<HashMap<Together, Arc<Spans>>>>,
}

impl PartialEq for Calendars {
    fn eq(&self, other: &Self) -> bool {
        self.all == other.all
    }
}

/// Versions of calendars that a schedule leaves out and keeps to, in a zone. Versions say all: none has two contents.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Together {
    zone: chrono_tz::Tz,
    excluded: Vec<Uuid>,
    only: Vec<Uuid>,
}

impl Deref for Calendars {
    type Target = Known<Calendar>;

    fn deref(&self) -> &Known<Calendar> {
        &self.all
    }
}

impl DerefMut for Calendars {
    fn deref_mut(&mut self) -> &mut Known<Calendar> {
        &mut self.all
    }
}
