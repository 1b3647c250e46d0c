//! Hashes of the files that settings name: the content may be secret, and only whether it changes matters.

use sha2::{Digest as _, Sha256};

/// Hash of the content of files.
pub(crate) type Digest = [u8; 32];

/// Hashes the contents of files.
pub(crate) fn digest(contents: &[Vec<u8>]) -> Digest {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(Sha256::digest(content));
    }
    hash.finalize().into()
}

/// Hashes one content.
pub(crate) fn digest_of(content: &[u8]) -> Digest {
    Sha256::digest(content).into()
}
