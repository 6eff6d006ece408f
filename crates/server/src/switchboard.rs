//! `cheling extension …` and `cheling line …`: phones, and the numbers that ring them.

use crate::cli::{Extension, Line, Output};
use crate::config::Config;
use crate::facts::{self, Facts, now};
use crate::people::Secret;
use anyhow::{Context as _, bail};
use cheling_model::directory::Destination;
use cheling_model::reach::{self, Reach};
use cheling_records::{insert, mint, switchboard};
use cheling_sip::digest::{Algorithm, ha1};
use uuid::Uuid;

/// The words for how far a phone may dial.
const REACHES: &str = "internal, local, national, international";

/// Carries out one `extension` command.
pub async fn extension(command: Extension, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open(config).await?;
    match command {
        Extension::Add { number, display_name, reach, password_stdin } => {
            let reach = Reach::from_word(&reach)
                .with_context(|| format!("--reach: {reach:?} is none of {REACHES}"))?;
            let secret = Secret::read(password_stdin)?;
            let realm = &config.sip.realm;
            let mut row = account(&facts, realm, &number, &display_name, &secret.password)?;
            row.reach = reach;
            insert(&facts.database, &row).await.map_err(|error| match error {
                cheling_records::Error::Conflict { .. } => {
                    anyhow::anyhow!("there is an extension {number} already")
                }
                error => error.into(),
            })?;
            println!(
                "extension {number} added; point the phone at {}",
                registrar(config, config.sip.udp.port())
            );
            secret.print();
        }
        Extension::List(output) => list_extensions(&facts, output).await?,
    }
    Ok(())
}

/// What to type into a phone as registrar.
pub fn registrar(config: &Config, port: u16) -> String {
    std::net::SocketAddr::from((config.sip.advertised(), port)).to_string()
}

/// The row of a new SIP account. The password itself is not kept.
pub fn account(
    facts: &Facts,
    realm: &str,
    number: &str,
    display_name: &str,
    password: &str,
) -> anyhow::Result<switchboard::Extension> {
    if !(2..=8).contains(&number.len()) || !number.bytes().all(|digit| digit.is_ascii_digit()) {
        bail!("an extension is 2 to 8 digits, not {number:?}");
    }
    if reach::is_emergency(number) {
        bail!("{number} is an emergency number: phones must reach that one");
    }
    Ok(switchboard::Extension {
        extension_id: mint(),
        dealership_id: facts.dealership.dealership_id,
        number: number.to_owned(),
        display_name: display_name.to_owned(),
        ha1_md5: ha1(Algorithm::Md5, number, realm, password),
        ha1_sha256: ha1(Algorithm::Sha256, number, realm, password),
        reach: Reach::National,
        disabled: false,
        created_at: now(),
    })
}

async fn list_extensions(facts: &Facts, output: Output) -> anyhow::Result<()> {
    let phones = switchboard::phones(&facts.database, Some(facts.dealership.dealership_id)).await?;
    if output.json {
        let rows: Vec<_> = phones
            .iter()
            .map(|phone| {
                serde_json::json!({
                    "number": phone.number, "display_name": phone.display_name,
                    "reach": phone.reach.as_str(),
                    "user_name": phone.user_name, "disabled": phone.disabled,
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(());
    }
    if phones.is_empty() {
        println!("none yet; begin with: cheling extension add 8001");
    }
    for phone in phones {
        let user = phone.user_name.as_deref().unwrap_or("-");
        let reach = phone.reach.as_str();
        println!("{:<8} {:<16} {reach:<14} {user}", phone.number, phone.display_name);
    }
    Ok(())
}

/// Carries out one `line` command.
pub async fn line(command: Line, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open(config).await?;
    match command {
        Line::Add { did, name, ring, ring_seconds } => {
            add_line(&facts, did, name, &ring, ring_seconds).await
        }
        Line::List(output) => list_lines(&facts, output).await,
    }
}

async fn add_line(
    facts: &Facts,
    did: String,
    name: String,
    ring: &[String],
    ring_seconds: u32,
) -> anyhow::Result<()> {
    let Facts { database, dealership } = facts;
    let dealership_id = dealership.dealership_id;
    let mut members: Vec<Uuid> = Vec::with_capacity(ring.len());
    for number in ring {
        let phone = switchboard::phone(database, number)
            .await?
            .filter(|phone| phone.dealership_id == dealership_id)
            .with_context(|| format!("there is no extension {number}"))?;
        members.push(phone.extension_id);
    }
    if switchboard::lines(database, None).await?.iter().any(|line| line.did == did) {
        bail!("there is a line {did} already");
    }
    let group = switchboard::RingGroup::ring_all(mint(), dealership_id, &name, ring_seconds.into());
    let line = switchboard::Line {
        line_id: mint(),
        dealership_id,
        did,
        name,
        group_id: group.group_id,
        schedule_id: None,
        closed: Destination::Unavailable,
    };
    insert(database, &group).await?;
    switchboard::set_members(database, group.group_id, &members).await?;
    insert(database, &line).await?;
    println!("line {} ({}) rings {}", line.did, line.name, ring.join(", "));
    Ok(())
}

async fn list_lines(facts: &Facts, output: Output) -> anyhow::Result<()> {
    let Facts { database, dealership } = facts;
    let scope = Some(dealership.dealership_id);
    let lines = switchboard::lines(database, scope).await?;
    let members = switchboard::members(database, scope).await?;
    let ring = |line: &switchboard::Line| -> Vec<&str> {
        let of_group = members.iter().filter(|member| member.group_id == line.group_id);
        of_group.map(|member| member.number.as_str()).collect()
    };
    if output.json {
        let rows: Vec<_> = lines
            .iter()
            .map(|line| {
                serde_json::json!({ "did": line.did, "name": line.name, "ring": ring(line) })
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(());
    }
    if lines.is_empty() {
        println!(
            "none yet; begin with: cheling line add 58998000 --name 售后热线 --ring 8001,8002"
        );
    }
    for line in &lines {
        println!("{:<14} {:<12} rings {}", line.did, line.name, ring(line).join(", "));
    }
    Ok(())
}
