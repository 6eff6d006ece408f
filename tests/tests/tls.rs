//! SIP over TLS of the running binary, as others see it: openssl checks the certificate and shows one
//! of its own, baresip registers and takes a call, a trunk known by name is asked for by name.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use cheling_capture::transport::{
    Arrived, CertificateFiles, TlsFiles, TransportConfig, Transports,
};
use cheling_sip::{Message, Method, Name, Response, Transport};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tokio::sync::mpsc;

use cheling_phone::{Sound, render};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, DID, secret};
use cheling_tests::dns::Dns;
use cheling_tests::recording::Recording;
use cheling_tests::wire::Wire;
use tokio::process::Command;

/// A running Cheling that speaks TLS with a certificate of its own making.
async fn start() -> (Cheling, SocketAddr, PathBuf) {
    let mut cheling = Cheling::start().await;
    cheling.stop().await;
    let tls = SocketAddr::new(cheling.sip().ip(), cheling.ports.port(8));
    cheling.environment.push(("CHELING_SIP__TLS", tls.to_string()));
    cheling.run().await;
    let certificate = cheling.folder().join("data/tls/certificate.pem");
    (cheling, tls, certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openssl_finds_the_own_certificate_good_for_its_address_alone() {
    let (_cheling, tls, certificate) = start().await;
    let certificate = certificate.to_str().unwrap();
    for (version, ip, is_good) in [
        ("-tls1_3", "127.0.0.1", true),
        ("-tls1_2", "127.0.0.1", true),
        ("-tls1_3", "10.0.0.1", false),
    ] {
        let output = Command::new("openssl")
            .args(["s_client", version, "-connect", &tls.to_string(), "-CAfile", certificate])
            .args(["-verify_ip", ip, "-verify_return_error", "-brief"])
            .stdin(Stdio::null())
            .output()
            .await
            .expect("openssl; scripts/bootstrap test installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_good, "{version} {ip}: {said}");
        assert_eq!(said.contains("Verification: OK"), is_good, "{version} {ip}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn baresip_registers_over_tls_and_its_call_is_recorded() {
    let (cheling, tls, _) = start().await;
    let gateway = cheling.quiet_gateway().await;
    let mut desk = cheling.desk("agent8001").await;
    let mut pcm = vec![0; 30 * 8000];
    render(&Sound::tone(600.0), &mut pcm);
    let says = cheling.folder().join("says.wav");
    cheling_tests::recording::write_wav(&says, &pcm);
    let secret = secret("8001");
    let mut baresip = Baresip::start(
        &BaresipConfig {
            transport: "tls",
            ..BaresipConfig::softphone(
                (cheling.ports.port(10), cheling.ports.port(12)),
                tls,
                ("8001", &secret),
                &says,
            )
        },
        cheling.folder(),
    );
    baresip.registered().await;
    let call = gateway.call_in("13812345678", DID, Sound::tone(500.0)).await.unwrap();
    cheling_tests::within("the answer", call.answered()).await.unwrap();
    let length = std::time::Duration::from_secs(3);
    cheling_tests::within("talk", call.hears(length)).await.unwrap();
    // baresip hangs up: its BYE goes to our Contact, by TLS.
    baresip.quit().await;
    cheling_tests::within("the end", call.ended()).await;
    let ended = desk.next_of("call.ended").await;
    let row = cheling.recording_of(&desk, ended.call_id()).await;
    assert_eq!(row["verdict"], "ok", "{row}");
    let path = format!("/recordings/{}/audio", row["recording_id"].as_str().unwrap());
    let recording = Recording::read(&desk.get(&path).await.body);
    recording.assert_tones(500.0, 600.0, recording.seconds());
    cheling.check().await;
}

/// An authority of the test's own, and what it signed, in a folder.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let folder = folder.join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Otherwise named as what it signs, which openssl would take for its own signature.
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    fn sign(&self, file: &str, name: &str) -> CertificateFiles {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        let certificate = self.folder.join(format!("{file}.pem"));
        let key_file = self.folder.join(format!("{file}.key"));
        std::fs::write(&certificate, signed.pem()).unwrap();
        std::fs::write(&key_file, key.serialize_pem()).unwrap();
        CertificateFiles { certificate, key: key_file }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_phones_with_a_certificate_of_the_right_authority_are_let_in() {
    let mut cheling = Cheling::idle_with("").await;
    let tls = SocketAddr::new(cheling.sip().ip(), cheling.ports.port(8));
    let authority = Authority::new(cheling.folder(), "own");
    let elsewhere = Authority::new(cheling.folder(), "elsewhere");
    let (server, phone) = (authority.sign("server", "127.0.0.1"), authority.sign("phone", "p"));
    let stranger = elsewhere.sign("phone", "p");
    for (key, value) in [
        ("CHELING_SIP__TLS", tls.to_string()),
        ("CHELING_SIP__TLS_CERTIFICATE", text(&server.certificate).to_owned()),
        ("CHELING_SIP__TLS_KEY", text(&server.key).to_owned()),
        ("CHELING_SIP__TLS_CLIENT_CA", text(&authority.file()).to_owned()),
    ] {
        cheling.environment.push((key, value));
    }
    cheling.run().await;
    for (ip, version, shown, complaint) in [
        ("127.0.0.9", "-tls1_3", None, "it showed no certificate"),
        ("127.0.0.10", "-tls1_2", None, "it showed no certificate"),
        ("127.0.0.11", "-tls1_3", Some(&stranger), "not of an authority in sip.tls_client_ca"),
        ("127.0.0.12", "-tls1_2", Some(&stranger), "not of an authority in sip.tls_client_ca"),
    ] {
        let from = format!("{ip}:0");
        let mut more = vec![version, "-bind", &from];
        if let Some(files) = shown {
            more.extend(["-cert", text(&files.certificate), "-key", text(&files.key)]);
        }
        let mut wire = Wire::tls_with(tls, &authority.file(), &more).await;
        wire.ends().await;
        let process = cheling.process();
        process.says(complaint).await;
        let said = process.said();
        let line = said.lines().find(|line| line.contains(ip)).unwrap();
        assert!(line.contains("WARN") && line.contains(complaint), "{line}");
    }
    for version in ["-tls1_3", "-tls1_2"] {
        let more = [version, "-cert", text(&phone.certificate), "-key", text(&phone.key)];
        let mut wire = Wire::tls_with(tls, &authority.file(), &more).await;
        assert_eq!(wire.register("8001", "", &[]).await.status, 200, "{version}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_name_is_shown_its_own_certificate() {
    let mut cheling = Cheling::idle_with("").await;
    let tls = SocketAddr::new(cheling.sip().ip(), cheling.ports.port(8));
    let authority = Authority::new(cheling.folder(), "own");
    let first = authority.sign("first", "one.example.test");
    let second = authority.sign("second", "*.two.example.test");
    let named = format!("[{{certificate={:?}, key={:?}}}]", second.certificate, second.key);
    for (key, value) in [
        ("CHELING_SIP__TLS", tls.to_string()),
        ("CHELING_SIP__TLS_CERTIFICATE", text(&first.certificate).to_owned()),
        ("CHELING_SIP__TLS_KEY", text(&first.key).to_owned()),
        ("CHELING_SIP__TLS_NAMED", named),
    ] {
        cheling.environment.push((key, value));
    }
    cheling.run().await;
    for (asked, name, is_good) in [
        (Some("one.example.test"), "one.example.test", true),
        (Some("sip.two.example.test"), "sip.two.example.test", true),
        // The first, for whoever asks for none or for another.
        (None, "one.example.test", true),
        (Some("three.example.test"), "one.example.test", true),
        (Some("three.example.test"), "three.example.test", false),
    ] {
        let asking = match asked {
            Some(asked) => vec!["-servername", asked],
            None => vec!["-noservername"],
        };
        let output = Command::new("openssl")
            .args(["s_client", "-connect", &tls.to_string(), "-CAfile", text(&authority.file())])
            .args(["-verify_hostname", name, "-verify_return_error", "-brief"])
            .args(asking)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("openssl; scripts/bootstrap test installs it");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.success(), is_good, "{asked:?} {name}: {said}");
    }
}

/// Answers the first request that comes by TLS; none if nobody gets so far.
async fn answer_ping(arrivals: &mut mpsc::Receiver<Arrived>, transports: &mut Transports) {
    loop {
        let arrived = cheling_tests::within("a ping over TLS", arrivals.recv()).await.unwrap();
        transports.note(&arrived);
        let Arrived::Message { flow, bytes } = arrived else { continue };
        let Ok(Message::Request(request)) = Message::parse(&bytes) else { continue };
        assert_eq!(request.method, Method::Options);
        assert_eq!(request.uri.host(), Some("sip.provider.test"));
        assert_eq!(flow.transport, Transport::Tls);
        let mut response = Response::to(&request, 200, "", Some("t"));
        response.headers.push(Name::Server, "gateway");
        transports.send(&flow, response.to_bytes().to_vec()).unwrap();
        return;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trunk_known_by_name_is_asked_for_by_that_name_and_shown_our_certificate() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "own");
    // Whoever asks for no name is shown the first, which is not the trunk's.
    let other = authority.sign("other", "other.provider.test");
    let theirs = authority.sign("theirs", "sip.provider.test");
    let ours = authority.sign("ours", "cheling");
    let at: IpAddr = Ipv4Addr::new(127, 0, 0, 3).into();
    let mut config = TransportConfig::at((at, 0).into());
    config.tls = vec![(at, 0).into()];
    let certificates = vec![other, theirs];
    config.tls_files = Some(TlsFiles { certificates, client_ca: Some(authority.file()) });
    let (sender, mut arrivals) = mpsc::channel(64);
    let runtime = tokio::runtime::Handle::current();
    let mut transports = Transports::bind(config, sender, &runtime).await.unwrap();
    let address = transports.addresses(Transport::Tls)[0];

    let dns = Dns::start().await;
    dns.host("sip.provider.test", Ipv4Addr::new(127, 0, 0, 3));
    let keys = format!(
        "ping_seconds = 0\n[[trunk]]\nname = \"provider\"\ntransport = \"tls\"\n\
         address = \"sip.provider.test:{}\"\nping_seconds = 1\ntls_ca = {:?}\n\
         tls_certificate = {:?}\ntls_key = {:?}\n",
        address.port(),
        authority.file(),
        ours.certificate,
        ours.key,
    );
    let mut cheling = Cheling::idle_with(&keys).await;
    cheling.environment.push(("CHELING_SIP__DNS_SERVERS", format!("[\"{}\"]", dns.address())));
    cheling.run().await;
    answer_ping(&mut arrivals, &mut transports).await;
    cheling_tests::eventually("the trunk", || async {
        let listed = cheling.must(&["trunk", "list", "--json"], "").await;
        let trunks: serde_json::Value = serde_json::from_str(&listed).unwrap();
        let trunks = trunks.as_array().unwrap();
        trunks.iter().any(|it| it["name"] == "provider" && it["state"] == "up").then_some(())
    })
    .await;
}
