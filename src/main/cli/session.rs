//! What a command works with: the service, who asks, and where answers go.

use std::env;
use std::time::Duration;

use async_nats::{Event, ServerError};
use nats_scheduler::client::Client;
use nats_scheduler::config::nats::{NATS_URL, NatsConfig};
use nats_scheduler::jetstream::connect;
use tokio::sync::watch;
use uuid::Uuid;

use super::context;
use super::failure::{Exit, Failure};
use super::options::Options;

/// Name of the connection, as the server shows it.
const NAME: &str = "nats-scheduler command line";

/// Beginning of the server's error when a user may not subscribe to a subject.
const UNHEARD: &str = "Permissions Violation for Subscription";

/// A connection to the service on behalf of a user.
pub struct Session {
    /// Requests of the actor.
    pub client: Client,
    /// The connection itself.
    pub nats: async_nats::Client,
    /// Whose names are meant.
    pub creator: Option<String>,
    timeout: Duration,
    /// What the server said when it refused that we listen somewhere.
    unheard: watch::Receiver<Option<String>>,
}

impl Session {
    /// Connects, once.
    ///
    /// # Errors
    /// `Usage` for settings and contexts; `Unavailable` if there is no NATS, or it refuses us.
    pub async fn open(options: &Options) -> Result<Self, Failure> {
        let config = config(options)?;
        let (refuses, unheard) = watch::channel(None);
        let connecting = async {
            let options = connect::options(&config, NAME)
                .await
                .map_err(|error| Failure::usage(error.to_string()))?;
            let options = options.event_callback(move |event| {
                if let Event::ServerError(ServerError::Other(text)) = event
                    && text.starts_with(UNHEARD)
                {
                    refuses.send_replace(Some(text));
                }
                async {}
            });
            let connected = options.connect(config.servers.as_slice()).await;
            connected.map_err(|error| out_of_reach(&config, &error.to_string()))
        };
        let nats = tokio::time::timeout(options.timeout, connecting)
            .await
            .map_err(|_| out_of_reach(&config, &format!("no answer in {:?}", options.timeout)))??;
        let actor = options.actor();
        let mut client = Client::new(nats.clone()).timeout(options.timeout);
        if let Some(actor) = &actor {
            client = client.actor(actor.as_str());
        }
        let creator = Some(options.whose());
        Ok(Self { client, nats, creator, timeout: options.timeout, unheard })
    }

    /// Waits until the server refuses that we listen somewhere, which it says later and to nobody in particular: whoever
    /// listens would hear nothing, and go on.
    pub async fn unheard(&self) -> Failure {
        let mut unheard = self.unheard.clone();
        let said = unheard.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        let Some(said) = said else { std::future::pending().await };
        let hint = "docs/nats-permissions.md says what each command needs";
        Failure::new(Exit::Refused, format!("NATS refuses it: {said}")).hint(hint)
    }

    /// How long to wait for an answer.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// A client that waits so long at least, for what takes the service long.
    pub fn patient(&self, at_least: Duration) -> Client {
        self.client.clone().timeout(self.timeout.max(at_least))
    }

    /// The schedule that an argument names.
    pub fn which(&self, text: &str) -> Which {
        Which::new(text, self.creator.as_deref())
    }

    /// The schedule that an optional argument names; none if there is no argument.
    pub fn which_if(&self, text: Option<&str>) -> Which {
        text.map(|text| self.which(text)).unwrap_or_default()
    }
}

/// The settings of the connection: those of a context if one is asked for, or else of the environment.
fn config(options: &Options) -> Result<NatsConfig, Failure> {
    let context = options.context()?;
    let context = context.map(context::settings).transpose()?;
    let lookup = |name: &str| match (&options.server, &context) {
        (Some(server), _) if name == NATS_URL.name() => Some(server.clone()),
        (_, Some(context)) => context.get(name).cloned(),
        _ => env::var(name).ok(),
    };
    NatsConfig::from_lookup(lookup).map_err(Failure::settings)
}

fn out_of_reach(config: &NatsConfig, reason: &str) -> Failure {
    let servers: Vec<_> = config
        .servers
        .iter()
        .map(|server| format!("{}:{}", server.host(), server.port()))
        .collect();
    let message = format!("cannot connect to NATS at {}: {reason}", servers.join(", "));
    Failure::new(Exit::Unavailable, message)
        .hint("NATS_URL, --server and --context say which NATS is meant")
}

/// The id of an execution.
///
/// # Errors
/// What it must be.
pub fn execution_id(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text).map_err(|_| "must be the id of an execution".to_owned())
}

/// The id of a rerun.
///
/// # Errors
/// What it must be.
pub fn rerun_id(text: &str) -> Result<Uuid, String> {
    Uuid::parse_str(text).map_err(|_| "must be the id of a rerun".to_owned())
}

/// The id that an argument is. Other forms of an id are taken for names.
pub fn as_id(text: &str) -> Option<Uuid> {
    (text.len() == 36).then(|| Uuid::parse_str(text).ok()).flatten()
}

/// A schedule: its id, or its name and creator.
#[derive(Clone, Debug, Default)]
pub struct Which {
    pub id: Option<Uuid>,
    pub name: Option<String>,
    pub creator: Option<String>,
}

impl Which {
    /// The one that a creator has under a name.
    pub fn named(name: String, creator: String) -> Self {
        Self { id: None, name: Some(name), creator: Some(creator) }
    }

    fn new(text: &str, creator: Option<&str>) -> Self {
        let id = as_id(text);
        match id {
            Some(_) => Self { id, ..Self::default() },
            None => Self { id, name: Some(text.to_owned()), creator: creator.map(str::to_owned) },
        }
    }
}

/// A request about a schedule, with further fields.
macro_rules! about {
    ($request:ident { $($field:ident: $value:expr),* $(,)? }, $which:expr) => {{
        let which: $crate::cli::session::Which = $which;
        let mut request = $request::default();
        request.schedule_id = which.id;
        request.schedule_name = which.name;
        request.creator = which.creator;
        $(request.$field = $value;)*
        request
    }};
}
pub(super) use about;
