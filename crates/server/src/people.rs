//! `cheling user …`: people who sign in.

use crate::cli::{Output, User};
use crate::config::Config;
use crate::facts::{self, Facts, now};
use anyhow::{Context as _, bail};
use cheling_model::follow_up::Role;
use cheling_records::{insert, mint, switchboard, user};
use cheling_web::auth::password;

/// Carries out one command.
pub async fn user(command: User, config: &Config) -> anyhow::Result<()> {
    let facts = facts::open(config).await?;
    match command {
        User::Add { username, name, role, extension, password_stdin } => {
            let role = Role::from_word(&role).with_context(|| {
                let words: Vec<_> = Role::ALL.iter().map(|role| role.as_str()).collect();
                format!("role {role:?} is none of {}", words.join(", "))
            })?;
            add(&facts, username, name, role, extension, password_stdin).await
        }
        User::Passwd { username, password_stdin } => {
            passwd(&facts, &username, password_stdin).await
        }
        User::List(output) => list(&facts, output).await,
    }
}

async fn add(
    facts: &Facts,
    username: String,
    name: Option<String>,
    role: Role,
    extension: Option<String>,
    password_stdin: bool,
) -> anyhow::Result<()> {
    let Facts { database, dealership } = facts;
    let dealership_id = dealership.dealership_id;
    let username = username.trim().to_lowercase();
    if username.is_empty() {
        bail!("the user name is empty");
    }
    // Looked up first, so that a wrong extension leaves no user behind.
    let phone = match &extension {
        None => None,
        Some(number) => Some(switchboard::phone(database, number).await?.with_context(|| {
            format!("there is no extension {number}; make it with: cheling extension add {number}")
        })?),
    };
    let secret = Secret::read(password_stdin)?;
    let row = user::User {
        user_id: mint(),
        dealership_id,
        display_name: name.unwrap_or_else(|| username.clone()),
        sign_in_name: username,
        role,
        team: String::new(),
        password_hash: password::hash_now(&secret.password)?,
        disabled: false,
        created_at: now(),
        updated_at: now(),
    };
    insert(database, &row).await.map_err(|error| match error {
        cheling_records::Error::Conflict { .. } => {
            anyhow::anyhow!("there is a user {} already", row.sign_in_name)
        }
        error => error.into(),
    })?;
    if let Some(phone) = phone {
        switchboard::assign(database, dealership_id, phone.extension_id, Some(row.user_id), now())
            .await?;
    }
    println!("user {} ({}) added", row.sign_in_name, role.as_str());
    secret.print();
    Ok(())
}

async fn passwd(facts: &Facts, username: &str, password_stdin: bool) -> anyhow::Result<()> {
    let row = user::by_sign_in_name(&facts.database, username)
        .await?
        .with_context(|| format!("there is no user {username}"))?;
    let secret = Secret::read(password_stdin)?;
    let hash = password::hash_now(&secret.password)?;
    user::set_password(&facts.database, row.user_id, &hash, now()).await?;
    cheling_records::session::end_all_of(&facts.database, row.user_id).await?;
    println!("user {} has a new password; open sessions are ended", row.sign_in_name);
    secret.print();
    Ok(())
}

async fn list(facts: &Facts, output: Output) -> anyhow::Result<()> {
    let users = user::list(&facts.database, facts.dealership.dealership_id).await?;
    if output.json {
        let rows: Vec<_> = users
            .iter()
            .map(|user| {
                serde_json::json!({
                    "user_id": user.user_id, "username": user.sign_in_name,
                    "name": user.display_name, "role": user.role, "disabled": user.disabled,
                })
            })
            .collect();
        println!("{}", serde_json::Value::from(rows));
        return Ok(());
    }
    if users.is_empty() {
        println!("nobody yet; begin with: cheling user add NAME --role admin");
    }
    for user in users {
        let state = if user.disabled { "  disabled" } else { "" };
        println!(
            "{:<16} {:<10} {}{state}",
            user.sign_in_name,
            user.role.as_str(),
            user.display_name
        );
    }
    Ok(())
}

/// A password: given, or made here and then printed once.
pub struct Secret {
    /// The password.
    pub password: String,
    generated: bool,
}

impl Secret {
    /// Reads the first line of standard input, or generates one.
    pub fn read(from_stdin: bool) -> anyhow::Result<Self> {
        if !from_stdin {
            return Ok(Self { password: password::generate(16), generated: true });
        }
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).context("cannot read the password")?;
        let password = line.trim_end_matches(['\r', '\n']).to_owned();
        if password.is_empty() {
            bail!("standard input's first line is empty: no password");
        }
        Ok(Self { password, generated: false })
    }

    /// Prints it, if it was made here.
    pub fn print(&self) {
        if self.generated {
            println!("password: {}   (shown only now)", self.password);
        }
    }
}
