//! An ext_proc server as a Rust engineer would write it: tonic, prost, tokio.
//!
//! It knows one rollout from its command line and decides as docs/assignment.md says. One thread, as
//! in the floor: no work is handed from one to another, and one Envoy worker needs no more.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use fastmurmur3::murmur3_x64_128;
use pb::external_processor_server::{ExternalProcessor, ExternalProcessorServer};
use prost_types::{value::Kind, Struct, Value};
use tokio::net::UnixListener;
use tokio::signal::unix::{signal, SignalKind};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

mod pb {
    tonic::include_proto!("envoy.service.ext_proc.v3");
}

// Far above what a request needs, so that no window is ever updated for one.
const WINDOW: u32 = 16 << 20;

/// The one rollout.
#[derive(Parser)]
struct Task {
    #[arg(long)]
    socket: PathBuf,
    #[arg(long)]
    rollout: String,
    #[arg(long)]
    salt: String,
    /// The request header that names the unit.
    #[arg(long)]
    header: String,
    #[arg(long)]
    baseline: String,
    #[arg(long)]
    candidate: String,
    /// The candidate's share.
    #[arg(long)]
    percent: u8,
}

impl Task {
    /// The first non-empty value of the unit's header; empty if there is none.
    fn unit<'a>(&self, request: &'a pb::ProcessingRequest) -> &'a [u8] {
        let map = request.request_headers.as_ref().and_then(|sent| sent.headers.as_ref());
        map.into_iter()
            .flat_map(|map| &map.headers)
            .find(|header| header.key == self.header && !header.raw_value.is_empty())
            .map_or(&[], |header| &header.raw_value)
    }

    /// The variant of a unit and, unless the unit is empty, its pseudonym.
    fn decide(&self, unit: &[u8]) -> (&str, Option<String>) {
        if unit.is_empty() {
            return (&self.baseline, None);
        }
        let hash = murmur3_x64_128(&[self.salt.as_bytes(), b"\0", unit].concat(), 0);
        let (position, second) = (u128::from(hash as u64), (hash >> 64) as u64);
        let inside = position < (u128::from(self.percent) << 64) / 100;
        let variant = if inside { &self.candidate } else { &self.baseline };
        (variant, Some(format!("{second:016x}")))
    }

    fn answer(&self, request: &pb::ProcessingRequest) -> pb::ProcessingResponse {
        let (variant, unit) = self.decide(self.unit(request));
        let reason = if unit.is_some() { "weight" } else { "no_unit" };
        let mut decision = vec![
            ("variant", text(variant)),
            ("version", text("1")),
            ("reason", text(reason)),
        ];
        decision.extend(unit.map(|unit| ("unit", text(unit))));
        let option = pb::HeaderValueOption {
            header: Some(pb::HeaderValue {
                key: format!("x-canary-{}", self.rollout),
                raw_value: variant.as_bytes().to_vec(),
            }),
            append_action: pb::header_value_option::HeaderAppendAction::OverwriteIfExistsOrAdd.into(),
        };
        let common = pb::CommonResponse {
            header_mutation: Some(pb::HeaderMutation {
                set_headers: vec![option],
            }),
            clear_route_cache: true,
        };
        pb::ProcessingResponse {
            request_headers: Some(pb::HeadersResponse { response: Some(common) }),
            dynamic_metadata: Some(fields([(
                "canary",
                tree(fields([(self.rollout.as_str(), tree(fields(decision)))])),
            )])),
        }
    }
}

fn fields<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Struct {
    let fields: BTreeMap<_, _> = pairs
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    Struct { fields }
}

fn tree(inner: Struct) -> Value {
    Value {
        kind: Some(Kind::StructValue(inner)),
    }
}

fn text(value: impl Into<String>) -> Value {
    Value {
        kind: Some(Kind::StringValue(value.into())),
    }
}

struct Processor(Arc<Task>);

#[tonic::async_trait]
impl ExternalProcessor for Processor {
    type ProcessStream = std::pin::Pin<Box<dyn Stream<Item = Result<pb::ProcessingResponse, Status>> + Send>>;

    async fn process(
        &self,
        requests: Request<Streaming<pb::ProcessingRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let task = Arc::clone(&self.0);
        let answers = requests
            .into_inner()
            .map(move |request| request.map(|request| task.answer(&request)));
        Ok(Response::new(Box::pin(answers)))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let task = Arc::new(Task::parse());
    let listener = UnixListenerStream::new(UnixListener::bind(&task.socket)?);
    let mut terminated = signal(SignalKind::terminate())?;
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .add_service(ExternalProcessorServer::new(Processor(task)))
        .serve_with_incoming_shutdown(listener, async move {
            terminated.recv().await;
        })
        .await?;
    Ok(())
}
