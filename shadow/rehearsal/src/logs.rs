//! Recorded calls out of log files: a verdict before anything is installed.
//!
//! A [`LogFormat`] says whether it knows a line, and turns one JSON line into calls. A
//! file is of the format that knows one first: a log may begin with calls that failed.
//! Formats that are known:
//!
//! | name | a line | where it comes from |
//! | --- | --- | --- |
//! | `pair` | `{"request": …, "response": …}`, bodies as JSON or as text | any proxy's or application's log |
//! | `batch` | `{"custom_id", "body"}` and `{"custom_id", "response"}` | OpenAI's Batch API: its input and its output file together, one batch after the other |
//! | `messages` | `{"messages": […, assistant]}` or `{"messages", "choices"}` | fine-tuning files, exports of stored completions |
//! | `agent` | `{"messages", "reply"}` or a whole trajectory, beside `NAME.agent.json` | recorded agents |
//! | `journal` | `{"seq", "exchange"}` | `understudy journal export` |
//!
//! Lines that cannot be read are counted with their place and reason, halves of
//! calls without the other half by their number, and the rest is read on.

mod agent;
mod batch;
mod foreign;
mod journal;
mod messages;
mod pair;
mod times;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use understudy_call::{Dialect, Reply, Request, StandIns};
use understudy_dialect::{parse_reply, parse_request};

pub use agent::beside;
use times::time_of;

/// Lines of JSON that no format knows at the beginning of a file, after which it is taken
/// for something else: a provider that is down fails some hundreds of calls in a row.
const STRANGE: usize = 1_000;

/// One call out of a log.
#[derive(Debug, Clone)]
pub struct LoggedCall {
    /// What was asked.
    pub request: Request,
    /// What was answered.
    pub reply: Reply,
    /// Unix milliseconds, where the log says so.
    pub at_ms: Option<i64>,
    /// How long the provider took, where the log says so.
    pub took: Option<Duration>,
    /// The conversation's id, where the log has one.
    pub conversation: Option<String>,
    /// HTTP status; 200 where the log does not say.
    pub status: u16,
    /// The call's id in the log, for whoever wants to find it again.
    pub id: Option<String>,
    /// What the reply's redacted values are to the request, where the log is of a journal.
    pub stand_ins: StandIns,
    /// Marks of the line (`split`, `novel`, `solved`, …): scalars beside the call.
    pub marks: BTreeMap<String, String>,
}

/// Turns one line of a log into calls.
pub trait LogFormat {
    /// Its name.
    fn name(&self) -> &'static str;
    /// Whether this line, at the beginning of a file, is of the format.
    fn knows(&self, first: &Value) -> bool;
    /// Called once for each file, before its lines.
    ///
    /// # Errors
    /// What stands beside the file is missing or unreadable.
    fn open(&mut self, _path: &Path) -> Result<(), LogError> {
        Ok(())
    }
    /// The calls of a line; none where the line completes nothing yet.
    ///
    /// # Errors
    /// The line is not what the format promises.
    fn calls(&mut self, line: Value) -> Result<Vec<LoggedCall>, LineError>;
    /// What no line has completed, asked when all files were read.
    fn halves(&self) -> Halves {
        Halves::default()
    }
}

/// Calls of which the files hold one half only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Halves {
    /// Requests whose response is in none of them.
    pub unanswered: usize,
    /// Responses whose request is in none of them.
    pub unasked: usize,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LineError(pub String);

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The file cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// No format knows the file.
    #[error(
        "{path} is not a log that understudy can read: line {line} is neither a request with its response, an \
         OpenAI batch line, a message list, an agent's call nor an exported one{hint}; see 'understudy rehearse --help'"
    )]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The first line that is JSON, from 1.
        line: usize,
        /// What it seems to be instead, and what to do; empty where nobody can tell.
        hint: &'static str,
    },
    /// There is no JSON line in the file.
    #[error("{path} holds no line of JSON: {why}")]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is wrong with the first line that says something, and what to do.
        why: String,
    },
    /// It is no text of lines at all.
    #[error("{path} cannot be read as a log: {what}")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is, and what to do.
        what: &'static str,
    },
    /// What must stand beside the file is missing.
    #[error("{path} needs {beside} beside it, with the agent's system prompt and tools: {problem}")]
    Beside {
        /// The file.
        path: PathBuf,
        /// The missing one.
        beside: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// A line that was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokenLine {
    /// The file.
    pub path: PathBuf,
    /// From 1.
    pub line: usize,
    /// Why.
    pub why: String,
}

/// Everything that was read out of some files.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// The calls, in time order; without timestamps in line order.
    pub calls: Vec<LoggedCall>,
    /// Lines that were not read.
    pub broken: Vec<BrokenLine>,
    /// Calls that are not among them because half of each is missing.
    pub halves: Halves,
    /// Whether any call says when it was made.
    pub has_times: bool,
    /// Whether any call says how long it took.
    pub has_durations: bool,
}

/// The longest line. Some programs begin a file with a mark of its encoding.
const LONGEST_LINE: usize = 32 << 20;
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Chooses calls by their marks.
type Choice<'a> = dyn Fn(&BTreeMap<String, String>) -> bool + 'a;

/// Reads the files, one after the other. `keep` chooses by a line's marks.
///
/// # Errors
/// A file cannot be read at all; single broken lines are no error.
pub fn read(paths: &[PathBuf], keep: &Choice<'_>) -> Result<Log, LogError> {
    read_apart(paths, keep, &|_| false).map(|(log, _)| log)
}

/// The same, with those of the calls that `apart` chooses in a log of their own, the
/// second one; the first says what was not read. Each file is read once: a pipe says
/// nothing a second time.
///
/// # Errors
/// As [`read`].
pub fn read_apart(paths: &[PathBuf], keep: &Choice<'_>, apart: &Choice<'_>) -> Result<(Log, Log), LogError> {
    let mut log = Log::default();
    // One batch format for all files: input and output are two of them.
    let mut formats: [Box<dyn LogFormat>; 5] = [
        Box::new(journal::Journal),
        Box::new(pair::Pair),
        Box::new(batch::Batch::default()),
        Box::new(agent::Agent::default()),
        Box::new(messages::Messages),
    ];
    for path in paths {
        read_file(path, &mut formats, keep, &mut log)?;
    }
    for halves in formats.iter().map(|f| f.halves()) {
        log.halves.unanswered += halves.unanswered;
        log.halves.unasked += halves.unasked;
    }
    let (others, calls) = log.calls.drain(..).partition(|c| apart(&c.marks));
    log.calls = calls;
    let mut others = Log { calls: others, ..Log::default() };
    log.in_time_order();
    others.in_time_order();
    Ok((log, others))
}

impl Log {
    fn in_time_order(&mut self) {
        self.has_times = self.calls.iter().any(|c| c.at_ms.is_some());
        self.has_durations = self.calls.iter().any(|c| c.took.is_some());
        if !self.has_times {
            return;
        }
        // Stable: calls without a time keep their place after the one before.
        let mut last = i64::MIN;
        let mut keyed: Vec<(i64, LoggedCall)> = self
            .calls
            .drain(..)
            .map(|c| {
                last = c.at_ms.unwrap_or(last);
                (last, c)
            })
            .collect();
        keyed.sort_by_key(|(at, _)| *at);
        self.calls = keyed.into_iter().map(|(_, c)| c).collect();
    }
}

fn read_file(
    path: &Path,
    formats: &mut [Box<dyn LogFormat>],
    keep: &Choice<'_>,
    log: &mut Log,
) -> Result<(), LogError> {
    let unreadable = |source| LogError::Read { path: path.to_owned(), source };
    let refused = |what| LogError::Foreign { path: path.to_owned(), what };
    if let Some(what) = foreign::misnamed(path) {
        return Err(refused(what));
    }
    let mut file = BufReader::new(File::open(path).map_err(unreadable)?);
    let head = file.fill_buf().map_err(unreadable)?;
    if let Some(what) = foreign::no_lines(head) {
        return Err(refused(what));
    }
    let begins = foreign::Begins::of(head);
    let earlier = log.broken.len();
    let mut format: Option<&mut Box<dyn LogFormat>> = None;
    let mut formats = Some(formats);
    // The lines that no format knows: the first of them, and how many.
    let (mut strange, mut met) = (None, 0);
    for (number, line) in file.split(b'\n').enumerate() {
        let mut line = line.map_err(unreadable)?;
        if number == 0 && line.starts_with(BYTE_ORDER_MARK) {
            line.drain(..BYTE_ORDER_MARK.len());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let mut broken =
            |why: String| log.broken.push(BrokenLine { path: path.to_owned(), line: number + 1, why });
        if line.len() > LONGEST_LINE {
            broken(format!("it has {} bytes, and at most {LONGEST_LINE} are read", line.len()));
            continue;
        }
        let value: Value = match serde_json::from_slice(&line) {
            Ok(value) => value,
            Err(e) => {
                broken(format!("{}: {e}", foreign::NOT_JSON));
                continue;
            }
        };
        let known = match &mut format {
            Some(known) => known,
            None => {
                let at = formats.as_ref().and_then(|all| all.iter().position(|f| f.knows(&value)));
                let found = at.and_then(|at| formats.take().and_then(|all| all.get_mut(at)));
                let Some(found) = found else {
                    let line = *strange.get_or_insert(number + 1);
                    met += 1;
                    if met == STRANGE {
                        let hint = begins.hint(log.broken.get(earlier));
                        return Err(LogError::Unknown { path: path.to_owned(), line, hint });
                    }
                    broken("it is no call with its reply, nor anything else that is known".to_owned());
                    continue;
                };
                found.open(path)?;
                format.insert(found)
            }
        };
        match known.calls(value) {
            Ok(calls) => log.calls.extend(calls.into_iter().filter(|c| keep(&c.marks))),
            Err(LineError(why)) => broken(why),
        }
    }
    let first = log.broken.get(earlier);
    let (path, hint) = (path.to_owned(), begins.hint(first));
    match (format, strange) {
        (Some(_), _) => Ok(()),
        (None, Some(line)) => Err(LogError::Unknown { path, line, hint }),
        (None, None) => Err(LogError::Empty { path, why: foreign::nothing(first, hint) }),
    }
}

/// A body as it was on the wire: a log may have it as JSON or as the text that it was.
fn wire(body: &Value) -> Cow<'_, str> {
    body.as_str().map_or_else(|| Cow::Owned(body.to_string()), Cow::Borrowed)
}

/// A request out of JSON, by the very code that reads it off the wire.
fn request(body: &Value) -> Result<Request, LineError> {
    parse_request(Dialect::OpenaiChat, wire(body).as_bytes()).map_err(|e| LineError(format!("request: {e}")))
}

/// A reply out of JSON, likewise; out of text it may be a stream, too, as its first
/// words tell.
fn reply(status: u16, body: &Value) -> Result<Reply, LineError> {
    if let Some(what) = foreign::of_another_api(body) {
        return Err(LineError(format!(
            "response: it is {what}, and only OpenAI Chat Completions is read so far"
        )));
    }
    let content_type = if body.is_string() { "" } else { "application/json" };
    parse_reply(Dialect::OpenaiChat, status, content_type, wire(body).as_bytes())
        .map_err(|e| LineError(format!("response: {e}")))
}

/// A reply out of a bare assistant message, as if it had ended of its own accord.
fn reply_of_message(message: &Value, model: &Value) -> Result<Reply, LineError> {
    let calls = message.get("tool_calls").and_then(Value::as_array).is_some_and(|c| !c.is_empty());
    let mut message = message.clone();
    name_calls(&mut message);
    let body = serde_json::json!({
        "id": "chatcmpl-log", "object": "chat.completion", "created": 0, "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null,
            "finish_reason": if calls { "tool_calls" } else { "stop" }}],
    });
    reply(200, &body)
}

/// Gives a message's tool calls the ids and the type that logs often drop and the
/// wire format has.
fn name_calls(message: &mut Value) {
    if let Some(calls) = message.get_mut("tool_calls").and_then(Value::as_array_mut) {
        for (i, call) in calls.iter_mut().enumerate() {
            if let Some(call) = call.as_object_mut() {
                call.entry("id").or_insert_with(|| Value::String(format!("call_{i}")));
                call.entry("type").or_insert_with(|| Value::String("function".to_owned()));
            }
        }
    }
}

/// The scalars beside a call, by name.
fn marks(line: &Value, not: &[&str]) -> BTreeMap<String, String> {
    let Some(map) = line.as_object() else {
        return BTreeMap::new();
    };
    map.iter()
        .filter(|(k, _)| !not.contains(&k.as_str()))
        .filter_map(|(k, v)| match v {
            Value::String(s) => Some((k.clone(), s.clone())),
            Value::Bool(_) | Value::Number(_) => Some((k.clone(), v.to_string())),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests;
