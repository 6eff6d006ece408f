//! A dealership's telephone traffic without people: agents' phones that answer, customers who
//! call in through the gateway, both speaking. `cheling demo` runs it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attendant::{AnswerPlan, attend};
use crate::call::{Call, CallState};
use crate::config::{Account, Dial, PhoneConfig};
use crate::gateway::{Gateway, public_network_plan};
use crate::phone::{Phone, PhoneError};
use crate::speech::{self, Role};

/// A SIP account of the server.
#[derive(Clone, Debug)]
pub struct Extension {
    /// The number that registers.
    pub user: String,
    /// Its digest password.
    pub password: String,
}

/// Who is who, and how busy it is.
#[derive(Clone, Debug)]
pub struct SimulationConfig {
    /// Where phones register and the gateway sends its calls.
    pub server: SocketAddr,
    /// Where the gateway listens: the trunk's address in the server's configuration.
    pub gateway: SocketAddr,
    /// Where the phones are: not at the gateway's address, for a server knows its trunks by it.
    pub phones: IpAddr,
    /// The phones to play; none plays the gateway alone.
    pub extensions: Vec<Extension>,
    /// The numbers that customers dial.
    pub dids: Vec<String>,
    /// The numbers of known customers.
    pub customers: Vec<String>,
    /// Time between two incoming calls, on average.
    pub call_every: Duration,
    /// No new call while this many are up.
    pub max_calls: usize,
    /// The same seed gives the same callers in the same order.
    pub seed: u64,
}

/// What happened, when it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimulationReport {
    /// Calls placed by customers.
    pub placed: u64,
    /// Of these, answered by an agent.
    pub answered: u64,
    /// Of these, given up by the customer while it rang.
    pub abandoned: u64,
    /// Of these, refused by the server.
    pub refused: u64,
}

#[derive(Default)]
struct Counts {
    placed: AtomicU64,
    answered: AtomicU64,
    abandoned: AtomicU64,
    refused: AtomicU64,
}

/// A running simulation.
pub struct Simulation {
    config: SimulationConfig,
    gateway: Gateway,
    phones: Vec<Phone>,
    attendants: TaskTracker,
    stop: CancellationToken,
}

/// One customer's call as decided before it is made.
struct Plan {
    dial: Dial,
    topic: usize,
    /// Hangs up while it rings, after this long.
    gives_up_after: Option<Duration>,
    /// Talks at most this long.
    talks: Duration,
}

impl Simulation {
    /// Opens the gateway and registers every phone.
    ///
    /// # Errors
    /// [`PhoneError`] of the first phone that cannot register, or of the gateway's address.
    pub async fn start(config: SimulationConfig) -> Result<Self, PhoneError> {
        let stop = CancellationToken::new();
        let attendants = TaskTracker::new();
        let mut dice = StdRng::seed_from_u64(config.seed ^ 0x6761_7465);
        let plan =
            move |call: &Call| public_network_plan(call.dialled(), seconds(&mut dice, 2.0, 5.0));
        let gateway = PhoneConfig {
            bind: config.gateway.ip(),
            port: config.gateway.port(),
            max_calls: 1000,
            heard_samples: 0,
            ..PhoneConfig::registered(config.server, Account::new("gateway", ""))
        };
        let gateway = Gateway::start_with(gateway, plan).await?;
        let mut simulation = Self { config, gateway, phones: Vec::new(), attendants, stop };
        for index in 0..simulation.config.extensions.len() {
            simulation.add_phone(index).await?;
        }
        simulation.attendants.close();
        Ok(simulation)
    }

    async fn add_phone(&mut self, index: usize) -> Result<(), PhoneError> {
        let Extension { user, password } = self.config.extensions[index].clone();
        let config = PhoneConfig {
            bind: self.config.phones,
            heard_samples: 0,
            max_calls: 1,
            ..PhoneConfig::registered(self.config.server, Account::new(user, password))
        };
        let (phone, incoming) = Phone::start(config).await?;
        phone.register().await?;
        let mut dice = StdRng::seed_from_u64(self.config.seed.wrapping_add(index as u64 + 1));
        let plan = move |call: &Call| AnswerPlan::Answer {
            after: seconds(&mut dice, 2.0, 6.0),
            sound: speech::conversation(Role::Agent, speech::topic_of(&call.caller().user)),
            talk: Some(seconds(&mut dice, 12.0, 30.0)),
        };
        self.attendants.spawn(attend(incoming, plan, self.stop.clone()));
        self.phones.push(phone);
        Ok(())
    }

    /// Lets customers call until `stop` is cancelled, then ends every call and unregisters.
    pub async fn run(self, stop: CancellationToken) -> SimulationReport {
        let mut dice = StdRng::seed_from_u64(self.config.seed);
        let counts = Arc::new(Counts::default());
        let calls = TaskTracker::new();
        while !self.config.dids.is_empty() {
            let pause = self.config.call_every.mul_f64(dice.random_range(0.6..1.4));
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(pause) => {}
            }
            if calls.len() >= self.config.max_calls {
                continue;
            }
            let plan = self.config.plan(&mut dice);
            let sound = speech::conversation(Role::Customer, plan.topic);
            match self.gateway.call(plan.dial.clone(), sound).await {
                Ok(call) => {
                    counts.placed.fetch_add(1, Ordering::Relaxed);
                    calls.spawn(customer(call, plan, counts.clone(), stop.clone()));
                }
                Err(error) => tracing::warn!(%error, "a simulated customer could not call"),
            }
        }
        stop.cancelled().await;
        calls.close();
        calls.wait().await;
        self.stop.cancel();
        self.attendants.wait().await;
        for phone in self.phones {
            phone.stop().await;
        }
        self.gateway.stop().await;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        SimulationReport {
            placed: read(&counts.placed),
            answered: read(&counts.answered),
            abandoned: read(&counts.abandoned),
            refused: read(&counts.refused),
        }
    }
}

impl SimulationConfig {
    fn plan(&self, dice: &mut StdRng) -> Plan {
        let did = self.dids[dice.random_range(0..self.dids.len())].clone();
        let kind = dice.random_range(0..100);
        let unknown =
            format!("1{}{:09}", dice.random_range(3..=9), dice.random_range(0..1_000_000_000));
        let number = match self.customers.len() {
            0 => unknown,
            _ if kind < 10 => unknown,
            count => self.customers[dice.random_range(0..count)].clone(),
        };
        let dial = match kind {
            95.. => Dial::number(did).withheld(),
            _ => Dial::number(did).from_caller(&number).asserting(&number),
        };
        let caller = dial.caller.clone().unwrap_or_default();
        Plan {
            dial,
            topic: speech::topic_of(&caller),
            gives_up_after: dice.random_bool(0.12).then(|| seconds(dice, 1.2, 2.5)),
            talks: seconds(dice, 8.0, 25.0),
        }
    }
}

async fn customer(call: Call, plan: Plan, counts: Arc<Counts>, stop: CancellationToken) {
    let patience = plan.gives_up_after.unwrap_or(Duration::from_secs(45));
    let answered = tokio::select! {
        result = call.answered() => Some(result.is_ok()),
        () = tokio::time::sleep(patience) => None,
        () = stop.cancelled() => None,
    };
    match answered {
        Some(true) => {
            counts.answered.fetch_add(1, Ordering::Relaxed);
            tokio::select! {
                _ = call.ended() => {}
                () = tokio::time::sleep(plan.talks) => {}
                () = stop.cancelled() => {}
            }
        }
        Some(false) => {
            counts.refused.fetch_add(1, Ordering::Relaxed);
            if let CallState::Ended(ending) = call.state() {
                tracing::debug!(call_id = call.call_id(), ?ending, "a simulated call was refused");
            }
        }
        None => {
            counts.abandoned.fetch_add(1, Ordering::Relaxed);
        }
    }
    call.hang_up().await;
    call.ended().await;
}

fn seconds(dice: &mut StdRng, from: f64, to: f64) -> Duration {
    Duration::from_secs_f64(dice.random_range(from..to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_who_calls() {
        let config = SimulationConfig {
            server: "127.0.0.1:5060".parse().unwrap(),
            gateway: "127.0.0.2:5070".parse().unwrap(),
            phones: "127.0.0.1".parse().unwrap(),
            extensions: vec![],
            dids: vec!["02161234567".into()],
            customers: (0..50).map(|n| format!("138000000{n:02}")).collect(),
            call_every: Duration::from_secs(8),
            max_calls: 4,
            seed: 7,
        };
        let callers = |seed| {
            let mut dice = StdRng::seed_from_u64(seed);
            (0..400).map(|_| config.plan(&mut dice).dial.caller.unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(callers(7), callers(7));
        assert_ne!(callers(7), callers(8));
        let all = callers(7);
        let withheld = all.iter().filter(|c| *c == "anonymous").count();
        let known = all.iter().filter(|c| config.customers.contains(c)).count();
        assert!((8..40).contains(&withheld), "{withheld}");
        assert!((300..380).contains(&known), "{known}");
        assert!(all.iter().all(|c| c == "anonymous" || c.len() == 11));
    }
}
