//! The Ogg Opus copy of a recording that is kept as WAV, made while it is downloaded.
//!
//! A thread encodes as fast as the client reads, a few chunks ahead; nothing touches the disk. Who
//! goes away, or reads nothing for long, ends it, and so does the end of the server.

use crate::app::App;
use crate::error::ApiError;
use bytes::Bytes;
use cheling_media::ogg_opus::OpusSettings;
use cheling_model::recording::Recording;
use cheling_store::files::RecordingFiles;
use cheling_store::transcode::{TranscodeError, download_opus};
use std::io::{self, ErrorKind, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio_util::sync::CancellationToken;

/// Handed to the connection at once: some five seconds of sound.
const CHUNK_BYTES: usize = 16 * 1024;
/// Chunks encoded ahead of the client.
const CHUNKS_AHEAD: usize = 4;
/// A client that takes no chunk for so long loses its turn.
const CLIENT_PATIENCE: Duration = Duration::from_secs(30);
/// When whoever finds all turns taken should come again.
const RETRY_AFTER_S: u64 = 10;

/// What the encoder tells the connection.
type Told = io::Result<Step>;

enum Step {
    Chunk(Bytes),
    /// All is there. Without it, the answer must not look whole.
    End,
}

/// The bytes of the copy, as they are made.
pub struct OpusCopy {
    first: Option<Step>,
    told: Receiver<Told>,
    has_ended: bool,
}

/// Takes a turn, begins to encode and waits for the first bytes.
///
/// # Errors
/// [`ApiError::Busy`] if no turn is free, [`ApiError::NotFound`] if the file is gone.
pub async fn begin(app: &App, recording: Recording) -> Result<OpusCopy, ApiError> {
    let turn = Arc::clone(&app.conversions).try_acquire_owned().map_err(|_| ApiError::Busy {
        what: "other recordings are being converted",
        retry_after_s: RETRY_AFTER_S,
    })?;
    let (tell, mut told) = channel(CHUNKS_AHEAD);
    let (files, stop, runtime) = (app.files.clone(), app.stop.clone(), Handle::current());
    let settings = app.settings.opus;
    app.sockets.spawn_blocking(move || {
        let pending = Vec::with_capacity(CHUNK_BYTES);
        let out = Chunks { pending, tell, stop, runtime, _turn: turn };
        encode(&files, &recording, settings, out);
    });
    match told.recv().await {
        Some(Ok(step)) => Ok(OpusCopy { first: Some(step), told, has_ended: false }),
        Some(Err(error)) if error.kind() == ErrorKind::NotFound => Err(ApiError::NotFound("audio")),
        Some(Err(error)) => Err(ApiError::internal("encode a recording", error)),
        None => Err(ApiError::internal("encode a recording", "the encoder ended early")),
    }
}

fn encode(files: &RecordingFiles, recording: &Recording, settings: OpusSettings, out: Chunks) {
    let tell = out.tell.clone();
    let done = download_opus(files, recording, out, settings);
    let error = match done.map_err(io_error).and_then(Chunks::finish) {
        Ok(()) => return,
        Err(error) => error,
    };
    if error.kind() == ErrorKind::BrokenPipe {
        tracing::debug!(call_id = %recording.call_id, %error, "a download was not taken to its end");
    } else {
        tracing::error!(call_id = %recording.call_id, %error, "a recording could not be encoded");
    }
    // Told if there is room; else the missing end says it.
    let _ = tell.try_send(Err(error));
}

fn io_error(error: TranscodeError) -> io::Error {
    match error {
        TranscodeError::File(error) => error,
        error => io::Error::new(ErrorKind::InvalidData, error),
    }
}

/// The encoder's end.
struct Chunks {
    pending: Vec<u8>,
    tell: Sender<Told>,
    stop: CancellationToken,
    runtime: Handle,
    /// Given back before a failure is told.
    _turn: OwnedSemaphorePermit,
}

impl Chunks {
    fn send(&self, step: Step) -> io::Result<()> {
        self.runtime.block_on(async {
            tokio::select! {
                () = self.stop.cancelled() => Err("the server stops"),
                sent = tokio::time::timeout(CLIENT_PATIENCE, self.tell.send(Ok(step))) => match sent {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(_)) => Err("the client went away"),
                    Err(_) => Err("the client does not read"),
                },
            }
            .map_err(|why| io::Error::new(ErrorKind::BrokenPipe, why))
        })
    }

    fn hand_over(&mut self) -> io::Result<()> {
        let chunk = std::mem::replace(&mut self.pending, Vec::with_capacity(CHUNK_BYTES));
        self.send(Step::Chunk(chunk.into()))
    }

    fn finish(mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.hand_over()?;
        }
        self.send(Step::End)
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: a chunk goes when it is full.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl futures_util::Stream for OpusCopy {
    type Item = io::Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let told = match self.first.take() {
            Some(step) => Some(Ok(step)),
            None => match self.told.poll_recv(context) {
                Poll::Ready(told) => told,
                Poll::Pending => return Poll::Pending,
            },
        };
        self.has_ended = !matches!(told, Some(Ok(Step::Chunk(_))));
        Poll::Ready(match told {
            Some(Ok(Step::Chunk(chunk))) => Some(Ok(chunk)),
            Some(Ok(Step::End)) => None,
            Some(Err(error)) => Some(Err(error)),
            None => Some(Err(ErrorKind::UnexpectedEof.into())),
        })
    }
}
