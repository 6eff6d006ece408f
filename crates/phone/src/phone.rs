//! The handle of a phone: start it, register, call, stop.

use std::io;
use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::agent::{Agent, Command};
use crate::call::{Call, Ending};
use crate::config::{Dial, PhoneConfig};
use crate::sound::Sound;

/// What a phone reports without being asked.
pub enum Event {
    /// Someone calls.
    Incoming(Call),
    /// A renewal of the registration failed; the status, or `None` for no answer.
    RegistrationLost(Option<u16>),
}

/// Why something asked of a phone did not happen.
#[derive(Debug, thiserror::Error)]
pub enum PhoneError {
    /// A socket could not be opened.
    #[error("socket: {0}")]
    Io(#[from] io::Error),
    /// The server refused.
    #[error("refused with {0}")]
    Refused(u16),
    /// No answer within 32 s (RFC 3261 §17.1).
    #[error("no answer")]
    TimedOut,
    /// The phone has been stopped.
    #[error("the phone has stopped")]
    Stopped,
    /// What was dialled cannot be put into a request.
    #[error("cannot dial: {0}")]
    BadTarget(String),
    /// The call is over.
    #[error("the call ended: {0:?}")]
    Ended(Ending),
}

/// A running phone. When it and all its calls are dropped the phone ends without a word;
/// [`Phone::stop`] says goodbye first.
pub struct Phone {
    commands: mpsc::Sender<Command>,
    local: SocketAddr,
    task: JoinHandle<()>,
}

impl Phone {
    /// Opens the phone's sockets. Events are dropped when 64 of them wait unread; an incoming call
    /// that cannot be reported is refused with 480.
    ///
    /// # Errors
    /// [`PhoneError::Io`] if the address cannot be bound.
    pub async fn start(config: PhoneConfig) -> Result<(Self, mpsc::Receiver<Event>), PhoneError> {
        let (events, incoming) = mpsc::channel(64);
        let (commands, queue) = mpsc::channel(64);
        let agent = Agent::open(config, events, commands.downgrade()).await?;
        let local = agent.local();
        let task = tokio::spawn(agent.run(queue));
        Ok((Self { commands, local, task }, incoming))
    }

    /// The local SIP address.
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Registers, answering a challenge, and keeps the registration alive from then on.
    ///
    /// # Errors
    /// [`PhoneError::Refused`] with the status, or [`PhoneError::TimedOut`].
    pub async fn register(&self) -> Result<(), PhoneError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Register(reply)).await?;
        answer.await.map_err(|_| PhoneError::Stopped)?
    }

    /// Takes the registration back.
    ///
    /// # Errors
    /// As [`Phone::register`].
    pub async fn unregister(&self) -> Result<(), PhoneError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Unregister(reply)).await?;
        answer.await.map_err(|_| PhoneError::Stopped)?
    }

    /// Sends an INVITE; how it goes on is seen in the call.
    ///
    /// # Errors
    /// [`PhoneError::BadTarget`] if it cannot be dialled, [`PhoneError::Io`] without a free port.
    pub async fn call(&self, dial: Dial, sound: Sound) -> Result<Call, PhoneError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Dial(dial, reply)).await?;
        let call = answer.await.map_err(|_| PhoneError::Stopped)??;
        call.play(sound);
        Ok(call)
    }

    /// Hangs up every call, unregisters, and returns when the sockets are closed; after at most
    /// three seconds, whoever does not answer.
    pub async fn stop(self) {
        let _ = self.commands.send(Command::Stop).await;
        let _ = self.task.await;
    }

    async fn send(&self, command: Command) -> Result<(), PhoneError> {
        self.commands.send(command).await.map_err(|_| PhoneError::Stopped)
    }
}
