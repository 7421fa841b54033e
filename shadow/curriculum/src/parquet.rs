//! The rows as a Parquet file, for whoever works with tables: one row group a
//! ten thousand rows, no compression. Columns: `exchange`, `conversation`, `seq`,
//! `split`, `class`, `stands_for`, `messages` (JSON of `{"role", "content"}`),
//! `reply`, `defers`. The file's metadata has `task`, `data_sha256` (as in
//! [`crate::parts`]) and `curation`, the report. Held rows are never written.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::{Curated, Row, parts};

const SCHEMA: &str = "message row {
    required binary exchange (UTF8);
    required binary conversation (UTF8);
    required int64 seq;
    required binary split (UTF8);
    required binary class (UTF8);
    required int64 stands_for;
    required binary messages (UTF8);
    required binary reply (UTF8);
    required boolean defers;
}";

/// Rows of a row group: some tens of megabytes at the longest.
const GROUP: usize = 10_000;

/// Writes the rows for which `wanted` holds.
///
/// # Errors
/// Whatever the sink says.
pub fn write(curated: &Curated, sink: impl Write + Send, wanted: impl Fn(&Row) -> bool) -> io::Result<()> {
    let curation = serde_json::to_string(&curated.report)?;
    let properties = WriterProperties::builder()
        .set_created_by(format!("understudy {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(vec![
            KeyValue::new("task".to_owned(), curated.report.name.clone()),
            KeyValue::new("data_sha256".to_owned(), parts::data_sha256(curated)?),
            KeyValue::new("curation".to_owned(), curation),
        ]))
        .build();
    let rows: Vec<&Row> = parts::open(curated).filter(|r| wanted(r)).collect();
    let write = || -> Result<(), ParquetError> {
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut file = SerializedFileWriter::new(sink, schema, Arc::new(properties))?;
        for rows in rows.chunks(GROUP) {
            let mut group = file.next_row_group()?;
            write_group(&mut group, rows)?;
            group.close()?;
        }
        file.close().map(|_| ())
    };
    write().map_err(io::Error::other)
}

fn write_group<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[&Row],
) -> Result<(), ParquetError> {
    texts(group, rows, |r| r.exchange.to_string())?;
    texts(group, rows, |r| r.conversation.to_string())?;
    numbers(group, rows, |r| r.seq)?;
    texts(group, rows, |r| r.split.label().to_owned())?;
    texts(group, rows, |r| r.class.clone())?;
    numbers(group, rows, |r| r.stands_for)?;
    texts(group, rows, parts::messages_json)?;
    texts(group, rows, |r| r.reply.clone())?;
    let defers: Vec<bool> = rows.iter().map(|r| r.defers).collect();
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::EOF("no such column".to_owned()))?;
    column.typed::<BoolType>().write_batch(&defers, None, None)?;
    column.close()
}

fn texts<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[&Row],
    of: impl Fn(&Row) -> String,
) -> Result<(), ParquetError> {
    let values: Vec<ByteArray> = rows.iter().map(|r| ByteArray::from(of(r).into_bytes())).collect();
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::EOF("no such column".to_owned()))?;
    column.typed::<ByteArrayType>().write_batch(&values, None, None)?;
    column.close()
}

fn numbers<W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    rows: &[&Row],
    of: impl Fn(&Row) -> u64,
) -> Result<(), ParquetError> {
    let values: Vec<i64> = rows.iter().map(|r| i64::try_from(of(r)).unwrap_or(i64::MAX)).collect();
    let mut column = group.next_column()?.ok_or_else(|| ParquetError::EOF("no such column".to_owned()))?;
    column.typed::<Int64Type>().write_batch(&values, None, None)?;
    column.close()
}
