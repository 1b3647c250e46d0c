//! What the files of settings have, as a hash: it may be secret, and whether it changes is all that is asked.

use sha2::{Digest as _, Sha256};

/// The hash of what files have.
pub(crate) type Digest = [u8; 32];

/// The hash of the contents of files.
pub(crate) fn digest(contents: &[Vec<u8>]) -> Digest {
    let mut hash = Sha256::new();
    for content in contents {
        hash.update(Sha256::digest(content));
    }
    hash.finalize().into()
}
