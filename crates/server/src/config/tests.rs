use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("cheling.toml");
    std::fs::write(&path, text).unwrap();
    Config::load(Some(&path))
}

#[test]
fn the_shipped_file_is_the_default() {
    let shipped = include_str!("../../../../config/cheling.toml");
    assert_eq!(load(shipped).unwrap().to_toml(), Config::default().to_toml());
}

#[test]
fn faults_name_their_key() {
    for (text, want) in [
        ("[sip]\nudpp = \"1.2.3.4:5\"", "sip.udpp: unknown field: found `udpp`"),
        ("[web]\nlisten = \"here\"", "web.listen"),
        ("[media]\nfirst_port = 20001", "media.first_port: 20001 is odd"),
        ("[media]\ndscp = 64", "media.dscp: 64 is above 63"),
        (
            "[sip]\nadvertise_to = [{ network = '10.0.0.0/33', address = '10.0.0.1' }]",
            "sip.advertise_to: \"10.0.0.0/33\" is no network",
        ),
        ("[sip]\nmax_calls = 0", "sip.max_calls"),
        ("[database]\nurl = \"mysql://x\"", "database.url"),
        ("[sip]\ntls_key = \"k.pem\"", "sip.tls_certificate: goes with"),
        ("[sip]\ntls_client_ca = \"ca.pem\"", "sip.tls_client_ca: there is no sip.tls"),
        ("[sip]\ntls = \"127.0.0.1:5060\"", "sip.tls: 127.0.0.1:5060 is taken by sip.tcp"),
        (
            "[[trunk]]\nname=\"a\"\naddress=\"10.0.0.1:5061\"\ntls_insecure=true",
            "trunk[0]: tls_… needs transport",
        ),
        (
            "[[trunk]]\nname=\"a\"\naddress=\"10.0.0.1:5060\"\n[[trunk]]\nname=\"a\"\naddress=\"10.0.0.2:5060\"",
            "trunk[1].name",
        ),
        ("[recording]\nopus_kbit = 20", "recording.opus_kbit: 20 is not 16, 24 or 32"),
        (
            "[[recording.disk]]\nname=\"Disk 2\"\ndir=\"/a\"\njournal_dir=\"/b\"",
            "recording.disk[0].name: \"Disk 2\" is not like disk-2",
        ),
        (
            "[recording]\ndir=\"/a\"\n[[recording.disk]]\nname=\"d\"\ndir=\"/a\"\njournal_dir=\"/b\"",
            "recording.disk[0].dir: /a is taken",
        ),
        ("[sip\n", "line 1"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(want), "{text:?} gave {error:?}");
    }
}

#[test]
fn the_database_password_is_not_shown() {
    let config = load("[database]\nurl = \"postgres://me:secret@db/cheling\"").unwrap();
    assert!(!config.to_toml().contains("secret"), "{}", config.to_toml());
    assert!(config.to_toml().contains("postgres://me:***@db/cheling"));
}
