//! Passwords of people: argon2id hashes, made and checked off the async threads.
//!
//! 19 MiB and two passes (the least that OWASP recommends): about 20 ms on an office server. No more
//! than [`AT_ONCE`] run together, so that a burst of sign-ins costs neither the memory nor the cores
//! that calls need; the rest wait.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use rand::RngExt as _;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Hashes computed at the same time.
const AT_ONCE: usize = 2;
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;

/// Shortest password that a person may choose, in characters.
pub const MIN_CHARS: usize = 10;
/// Longest, in bytes: more only costs time to hash.
pub const MAX_BYTES: usize = 256;

/// A password could not be hashed or a hash not be read.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    /// Shorter than [`MIN_CHARS`] characters.
    #[error("a password has at least {MIN_CHARS} characters")]
    TooShort,
    /// Longer than [`MAX_BYTES`] bytes.
    #[error("a password has at most {MAX_BYTES} bytes")]
    TooLong,
    /// The hash function failed.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
}

/// Hashes and checks passwords.
#[derive(Clone, Debug)]
pub struct Passwords {
    turn: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Passwords {
    /// Hashes a new password to PHC text.
    ///
    /// # Errors
    /// [`PasswordError::TooShort`], [`PasswordError::TooLong`].
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        check(&password)?;
        let _turn = self.turn.acquire().await;
        match tokio::task::spawn_blocking(move || hash_now(&password)).await {
            Ok(hash) => hash,
            Err(error) => Err(PasswordError::Hash(error.to_string())),
        }
    }

    /// Whether the password has this hash. Takes as long for an empty or broken hash, so that
    /// nobody learns from the time which names exist.
    pub async fn is_right(&self, password: String, hash: String) -> bool {
        if password.len() > MAX_BYTES {
            return false;
        }
        let _turn = self.turn.acquire().await;
        tokio::task::spawn_blocking(move || verify_now(&password, &hash)).await.unwrap_or(false)
    }
}

/// Whether a person may choose this password.
///
/// # Errors
/// [`PasswordError::TooShort`], [`PasswordError::TooLong`].
pub fn check(password: &str) -> Result<(), PasswordError> {
    if password.chars().count() < MIN_CHARS {
        return Err(PasswordError::TooShort);
    }
    if password.len() > MAX_BYTES {
        return Err(PasswordError::TooLong);
    }
    Ok(())
}

/// Hashes a password on this thread, for the command line.
///
/// # Errors
/// As [`Passwords::hash`].
pub fn hash_now(password: &str) -> Result<String, PasswordError> {
    check(password)?;
    let failed = |error: argon2::password_hash::Error| PasswordError::Hash(error.to_string());
    let hash: PasswordHash = hasher()?.hash_password(password.as_bytes()).map_err(failed)?;
    Ok(hash.to_string())
}

fn verify_now(password: &str, hash: &str) -> bool {
    let Ok(hasher) = hasher() else { return false };
    let Ok(parsed) = PasswordHash::new(hash) else {
        let same_work: Result<PasswordHash, _> = hasher.hash_password(password.as_bytes());
        drop(same_work);
        return false;
    };
    hasher.verify_password(password.as_bytes(), &parsed).is_ok()
}

fn hasher() -> Result<Argon2<'static>, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None)
        .map_err(|error| PasswordError::Hash(error.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

/// A password to be typed into a phone or told to a person: `length` letters and digits without
/// those that look alike. Each adds 5.7 bits.
pub fn generate(length: usize) -> String {
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    let mut rng = rand::rng();
    (0..length).map(|_| char::from(LETTERS[rng.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_right_only_for_its_own_hash() {
        let passwords = Passwords::default();
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(passwords.is_right("correct horse".into(), hash.clone()).await);
        assert!(!passwords.is_right("correct house".into(), hash.clone()).await);
        assert!(!passwords.is_right("correct horse".into(), String::new()).await);
        assert_ne!(passwords.hash("correct horse".into()).await.unwrap(), hash, "salted");
    }

    #[test]
    fn short_and_endless_passwords_are_refused() {
        assert!(matches!(check("短短短短短短短短短"), Err(PasswordError::TooShort)));
        assert!(check("十个汉字也可以当密码用").is_ok());
        assert!(matches!(check(&"x".repeat(300)), Err(PasswordError::TooLong)));
        assert_eq!(generate(16).len(), 16);
        assert_ne!(generate(16), generate(16));
    }
}
