//! SIP over TLS of the running binary, as others see it: openssl checks the certificate, baresip
//! registers and takes a call.
#![allow(clippy::unwrap_used, missing_docs)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;

use cheling_phone::{Sound, render};
use cheling_tests::baresip::{Baresip, BaresipConfig};
use cheling_tests::cheling::{Cheling, DID, secret};
use cheling_tests::recording::Recording;
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
