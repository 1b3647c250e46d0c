//! The guide to deployment names what is there.

use super::*;

const GUIDE: &str = "docs/deployment.md";

#[test]
fn every_setting_that_it_names_is_one() {
    assert_names_settings(GUIDE);
}

#[test]
fn every_file_that_it_links_to_is_there() {
    let text = read(GUIDE);
    for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let path = link.split('#').next().unwrap();
        if !path.is_empty() && !link.contains("://") {
            assert!(root().join("docs").join(path).exists(), "{GUIDE}: {link}");
        }
    }
}
