use super::super::Config;
use super::*;

fn lookup(pairs: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
    let pairs: Vec<_> =
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    move |name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
}

fn faults(pairs: &[(&str, &str)]) -> Vec<String> {
    let faults = Config::from_lookup(lookup(pairs)).unwrap_err();
    faults.iter().map(ToString::to_string).collect()
}

#[test]
fn each_fault_is_said_once_of_the_setting_that_has_it() {
    for (pairs, names) in [
        (
            &[
                ("API_TOKENS_FILE", "/nowhere/tokens"),
                ("API_TLS_CERT", "/nowhere/chain.pem"),
                ("API_TLS_KEY", "/nowhere/key.pem"),
                ("API_WORKER_TOKENS", ","),
                ("API_HOST", "0.0.0.0"),
            ][..],
            &["API_WORKER_TOKENS: ", "API_TOKENS_FILE: /nowhere/tokens", "API_TLS_CERT: /no"][..],
        ),
        (&[("API_HOST", "0.0.0.0")], &["API_HOST: "]),
        (&[("API_TOKENS", "a"), ("API_READ_TOKENS", " , ")], &["API_READ_TOKENS: "]),
        (&[("API_TLS_KEY", "/nowhere/key.pem")], &["API_TLS_CERT: must be set"]),
        (&[("API_MAX_CONNECTIONS", "512")], &["API_MAX_CONNECTIONS: must be more than"]),
        (&[("API_MAX_CONCURRENT", "5000")], &["API_MAX_CONNECTIONS: must be more than"]),
        // A value that cannot be read is not compared.
        (&[("API_MAX_CONNECTIONS", "1")], &["API_MAX_CONNECTIONS: must be 2 to"]),
        (
            &[("API_MAX_CONCURRENT", "many"), ("API_MAX_CONNECTIONS", "100")],
            &["API_MAX_CONCURRENT: must be 1 to"],
        ),
    ] {
        let faults = faults(pairs);
        assert_eq!(faults.len(), names.len(), "{faults:?}");
        for (fault, name) in faults.iter().zip(names) {
            assert!(fault.starts_with(name), "{faults:?}");
        }
    }
}

#[test]
fn what_a_health_check_asks_depends_on_no_file() {
    let probed = |pairs: &[(&str, &str)]| Probed::from_lookup(lookup(pairs));
    let broken = [("API_TOKENS_FILE", "/nowhere"), ("NATS_USER", "me"), ("API_PORT", "9")];
    let asked = probed(&broken).unwrap().unwrap();
    assert_eq!((asked.port, asked.over_tls), (9, false));
    assert!(probed(&[("API_TLS_CERT", "/nowhere")]).unwrap().unwrap().over_tls);
    assert_eq!(probed(&[("API_PORT", "off")]).unwrap(), None);
    assert!(probed(&[("API_PORT", "x")]).is_err());
}
