//! Source of all randomness of an instance. Everything random is drawn here, so that a simulated run is the
//! same for the same seed.

use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use uuid::Uuid;

/// A source of random numbers that all parts of an instance share.
#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// A source that cannot be predicted.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_rng(&mut rand::rng()))))
    }

    /// A source that yields the same numbers each time.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A random number.
    pub fn number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// Sixteen random bytes.
    pub fn bytes(&self) -> [u8; 16] {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }

    /// A random UUIDv4.
    pub fn id(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

impl Default for Chance {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let (one, other) = (Chance::seeded(7), Chance::seeded(7));
        assert_eq!((one.number(), one.id()), (other.number(), other.id()));
        assert_ne!(one.id(), one.id());
        assert_ne!(Chance::new().id(), Chance::new().id());
        assert_eq!(one.id().get_version_num(), 4);
    }
}
