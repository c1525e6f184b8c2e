//! The files of one exchange.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::blot::Blot;
use super::meta::{
    CLIENT_REQUEST, CLIENT_RESPONSE, META, Meta, UPSTREAM_REQUEST, UPSTREAM_RESPONSE, UPSTREAM_TIMES,
};
use super::{Part, millis};

/// Bytes of a file that are kept in memory; a file is not open between two writes, or a
/// thousand streams would need thousands of handles.
const BUFFER: usize = 8 * 1024;

/// An exchange that goes on.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) dir: PathBuf,
    client_request: Body,
    upstream_request: Body,
    upstream_response: Body,
    client_response: Body,
    times: Vec<u8>,
    /// Bytes on disk.
    pub(super) written: u64,
}

/// One body on its way to disk.
#[derive(Debug)]
struct Body {
    name: &'static str,
    /// The end of its file's name, once its first bytes have told.
    kind: &'static str,
    /// What may be the beginning of a key.
    held: Vec<u8>,
    ready: Vec<u8>,
}

impl Body {
    fn new(name: &'static str) -> Self {
        Self { name, kind: "", held: Vec::new(), ready: Vec::new() }
    }

    /// `.json`, `.sse` or `.txt`, by the first bytes; nothing where the name has one.
    fn tell(&mut self, bytes: &[u8]) {
        if !self.kind.is_empty() || self.name.contains('.') {
            return;
        }
        let head = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes).trim_ascii_start();
        let fields: [&[u8]; 5] = [b":", b"data:", b"event:", b"id:", b"retry:"];
        self.kind = match head.first() {
            Some(b'{' | b'[') => ".json",
            _ if fields.iter().any(|f| head.starts_with(f)) => ".sse",
            _ => ".txt",
        };
    }
}

impl Files {
    /// Makes the exchange's folder, for its owner only.
    pub(super) fn new(dir: PathBuf) -> io::Result<Self> {
        make_dir(&dir)?;
        Ok(Self {
            dir,
            client_request: Body::new(CLIENT_REQUEST),
            upstream_request: Body::new(UPSTREAM_REQUEST),
            upstream_response: Body::new(UPSTREAM_RESPONSE),
            client_response: Body::new(CLIENT_RESPONSE),
            times: Vec::new(),
            written: 0,
        })
    }

    fn body(&mut self, part: Part) -> &mut Body {
        match part {
            Part::ClientRequest => &mut self.client_request,
            Part::UpstreamRequest => &mut self.upstream_request,
            Part::UpstreamResponse => &mut self.upstream_response,
            Part::ClientResponse => &mut self.client_response,
        }
    }

    /// Takes the next bytes of a body.
    pub(super) fn take(&mut self, part: Part, at: Duration, bytes: &[u8], blot: &Blot) -> io::Result<()> {
        let body = self.body(part);
        body.tell(bytes);
        let before = body.ready.len();
        body.held.extend_from_slice(bytes);
        let mut held = std::mem::take(&mut body.held);
        blot.pass(&mut held, false, &mut body.ready);
        body.held = held;
        let added = body.ready.len() - before;
        let full = body.ready.len() >= BUFFER;
        if part == Part::UpstreamResponse {
            let _ = writeln!(self.times, "{{\"ms\":{},\"bytes\":{added}}}", millis(at));
        }
        if full || self.times.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    /// Lets go what there is of the upstream, on disk too.
    pub(super) fn forget_upstream(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for body in [&mut self.upstream_request, &mut self.upstream_response] {
            let path = self.dir.join(format!("{}{}", body.name, body.kind));
            result = remove(&path, &mut self.written).and(result);
            *body = Body::new(body.name);
        }
        self.times.clear();
        remove(&self.dir.join(UPSTREAM_TIMES), &mut self.written).and(result)
    }

    /// Writes what is ready; what cannot be written is let go.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let Self {
            dir,
            client_request,
            upstream_request,
            upstream_response,
            client_response,
            times,
            written,
        } = self;
        let mut result = append(dir, UPSTREAM_TIMES, times, written);
        for body in [client_request, upstream_request, upstream_response, client_response] {
            let name = format!("{}{}", body.name, body.kind);
            result = append(dir, &name, &mut body.ready, written).and(result);
        }
        result
    }

    /// Writes the rest, and then what the exchange was.
    pub(super) fn close(mut self, meta: &Meta, blot: &Blot) -> io::Result<u64> {
        let mut late = 0;
        for part in [Part::ClientRequest, Part::UpstreamRequest, Part::UpstreamResponse, Part::ClientResponse]
        {
            let body = self.body(part);
            let before = body.ready.len();
            blot.pass(&mut body.held, true, &mut body.ready);
            if part == Part::UpstreamResponse {
                late = body.ready.len() - before;
            }
        }
        if late > 0 {
            let _ = writeln!(self.times, "{{\"ms\":{},\"bytes\":{late}}}", meta.duration_ms);
        }
        self.flush()?;
        let mut json = serde_json::to_vec_pretty(meta)?;
        json.push(b'\n');
        let mut clean = Vec::with_capacity(json.len());
        blot.pass(&mut json, true, &mut clean);
        // Whoever sees the file sees all of it: it is the sign that the exchange is over.
        append(&self.dir, UNFINISHED, &mut clean, &mut self.written)?;
        std::fs::rename(self.dir.join(UNFINISHED), self.dir.join(META))?;
        Ok(self.written)
    }
}

/// What [`META`] is called while it is written.
const UNFINISHED: &str = "meta.json.new";

/// Makes a directory and its parents; only its owner may look into it.
pub(super) fn make_dir(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Removes a file, if it is there; `written` counts the bytes on disk.
fn remove(path: &Path, written: &mut u64) -> io::Result<()> {
    let size = match std::fs::metadata(path) {
        Ok(data) => data.len(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(e),
    };
    std::fs::remove_file(path)?;
    *written = written.saturating_sub(size);
    Ok(())
}

fn append(dir: &Path, name: &str, bytes: &mut Vec<u8>, written: &mut u64) -> io::Result<()> {
    if bytes.is_empty() {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let result = options.open(dir.join(name)).and_then(|mut file: File| file.write_all(bytes));
    if result.is_ok() {
        *written += bytes.len() as u64;
    }
    // Also what could not be written: a full disk must not fill the memory.
    bytes.clear();
    if bytes.capacity() > 4 * BUFFER {
        bytes.shrink_to(BUFFER);
    }
    result
}
