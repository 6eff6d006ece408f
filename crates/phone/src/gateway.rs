//! A trunk gateway: the public telephone network as Cheling sees it.
//!
//! It registers nowhere. It calls DIDs with an outside caller's number, and answers what Cheling
//! sends out, differently for different numbers.

use std::net::SocketAddr;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attendant::{AnswerPlan, attend};
use crate::call::Call;
use crate::config::{Account, Dial, PhoneConfig};
use crate::phone::{Phone, PhoneError};
use crate::sound::Sound;
use crate::speech::{self, Role};

/// A running gateway.
pub struct Gateway {
    phone: Phone,
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Gateway {
    /// Opens the gateway at `local`; outbound calls of `server` are answered by `plan`.
    ///
    /// # Errors
    /// [`PhoneError::Io`] if the address is taken.
    pub async fn start(
        local: SocketAddr,
        server: SocketAddr,
        plan: impl FnMut(&Call) -> AnswerPlan + Send + 'static,
    ) -> Result<Self, PhoneError> {
        let config = PhoneConfig {
            bind: local.ip(),
            port: local.port(),
            max_calls: 1000,
            ..PhoneConfig::registered(server, Account::new("gateway", ""))
        };
        Self::start_with(config, plan).await
    }

    /// As [`Gateway::start`], with every setting in the caller's hand.
    ///
    /// # Errors
    /// [`PhoneError::Io`] if the address is taken.
    pub async fn start_with(
        config: PhoneConfig,
        plan: impl FnMut(&Call) -> AnswerPlan + Send + 'static,
    ) -> Result<Self, PhoneError> {
        let (phone, incoming) = Phone::start(config).await?;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        tasks.spawn(attend(incoming, plan, stop.clone()));
        tasks.close();
        Ok(Self { phone, tasks, stop })
    }

    /// The gateway's SIP address, which is the trunk's address in Cheling's configuration.
    pub fn local(&self) -> SocketAddr {
        self.phone.local()
    }

    /// An outside caller dials `did`; the number shows in From and P-Asserted-Identity.
    ///
    /// # Errors
    /// As [`Phone::call`].
    pub async fn call_in(&self, caller: &str, did: &str, sound: Sound) -> Result<Call, PhoneError> {
        self.call(Dial::number(did).from_caller(caller).asserting(caller), sound).await
    }

    /// Any call, for callers that withhold their number or carry odd headers.
    ///
    /// # Errors
    /// As [`Phone::call`].
    pub async fn call(&self, dial: Dial, sound: Sound) -> Result<Call, PhoneError> {
        self.phone.call(dial, sound).await
    }

    /// Ends all calls and closes the gateway.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
        self.phone.stop().await;
    }
}

/// How the public network treats a dialled number: ending in 00 it is busy, in 99 nobody is
/// there, in 44 it does not exist; everybody else answers after `after` and talks.
pub fn public_network_plan(number: &str, after: Duration) -> AnswerPlan {
    match number.get(number.len().saturating_sub(2)..) {
        Some("00") => AnswerPlan::Refuse { after: Duration::from_millis(500), status: 486 },
        Some("44") => AnswerPlan::Refuse { after: Duration::ZERO, status: 404 },
        Some("99") => AnswerPlan::Ignore,
        _ => {
            let sound = speech::conversation(Role::Customer, speech::topic_of(number));
            AnswerPlan::Answer { after, sound, talk: None }
        }
    }
}
