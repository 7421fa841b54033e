//! The rows as the trainer reads them: the part alone, as JSON lines. The first
//! line is a header, `{"task", "data_sha256", "calls", "curation"}`, where `calls`
//! is how tool calls are written ([`CallText`]); then one a row, `{"id", "conversation", "split", "messages": [{"role", "content"}], "reply"}`,
//! `"defers": true` where the reply is left to the provider ([`Row::defers`]),
//! and `"tokens": [{"token", "top": [[text, log-probability], …]}]` where the provider told them.
//! Held rows are in no file and in no hash: a trainer gets them after the others
//! ([`write_with_held`]).

use std::io::{self, Write};

use serde::{Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use understudy_call::{CallText, ConversationKey, ExchangeId, Message, Role};
use understudy_cast::specialised::CALLS;

use crate::{Curated, Report, Row, Split, Told};

#[derive(Serialize)]
struct Header<'a> {
    task: &'a str,
    data_sha256: &'a str,
    calls: CallText,
    curation: &'a Report,
}

#[derive(Serialize)]
struct Line<'a> {
    id: ExchangeId,
    conversation: ConversationKey,
    split: Split,
    #[serde(serialize_with = "turns")]
    messages: &'a [Message],
    reply: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    defers: bool,
    #[serde(skip_serializing_if = "<[Told]>::is_empty")]
    tokens: &'a [Told],
}

#[derive(Serialize)]
struct Turn {
    role: Role,
    content: String,
}

fn turns<S: Serializer>(messages: &&[Message], s: S) -> Result<S::Ok, S::Error> {
    s.collect_seq(messages.iter().map(|m| Turn { role: m.role, content: m.text() }))
}

/// A row as a line, its end included.
///
/// # Errors
/// Whatever the sink says.
pub fn write_row(row: &Row, sink: &mut impl Write) -> io::Result<()> {
    let line = Line {
        id: row.exchange,
        conversation: row.conversation,
        split: row.split,
        messages: &row.messages,
        reply: &row.reply,
        defers: row.defers,
        tokens: &row.tokens,
    };
    serde_json::to_writer(&mut *sink, &line)?;
    sink.write_all(b"\n")
}

/// A row's messages as a JSON array of `{"role", "content"}`.
#[must_use]
pub fn messages_json(row: &Row) -> String {
    let turns: Vec<Turn> = row.messages.iter().map(|m| Turn { role: m.role, content: m.text() }).collect();
    serde_json::to_string(&turns).unwrap_or_default()
}

/// The SHA-256 over the rows' lines in order, held ones aside, in hexadecimal.
///
/// # Errors
/// None that a hash could have.
pub fn data_sha256(curated: &Curated) -> io::Result<String> {
    let mut sum = Sha256::new();
    let mut line = Vec::new();
    for row in open(curated) {
        line.clear();
        write_row(row, &mut line)?;
        sum.update(&line);
    }
    Ok(hex::encode(sum.finalize()))
}

/// The header, with [`data_sha256`] of the rows, and the rows.
///
/// # Errors
/// Whatever the sink says.
pub fn write(curated: &Curated, data_sha256: &str, sink: &mut impl Write) -> io::Result<()> {
    let header = Header { task: &curated.report.name, data_sha256, calls: CALLS, curation: &curated.report };
    serde_json::to_writer(&mut *sink, &header)?;
    sink.write_all(b"\n")?;
    open(curated).try_for_each(|row| write_row(row, sink))
}

/// What [`fn@write`] writes, and after it the held rows: for a trainer that measures what
/// it has made on them once nothing is left to choose. For no file.
///
/// # Errors
/// Whatever the sink says.
pub fn write_with_held(curated: &Curated, data_sha256: &str, sink: &mut impl Write) -> io::Result<()> {
    write(curated, data_sha256, sink)?;
    curated.of(Split::Held).try_for_each(|row| write_row(row, sink))
}

/// The rows that may be looked at.
pub fn open(curated: &Curated) -> impl Iterator<Item = &Row> {
    curated.rows.iter().filter(|r| r.split != Split::Held)
}
