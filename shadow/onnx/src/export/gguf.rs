//! Reads GGUF, the file of llama.cpp: a header of typed keys, a table of
//! tensors, then their blocks. Format version 2 and 3, little endian
//! (ggml's `docs/gguf.md`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::ExportError;
use super::blocks::Blocks;

/// A header value; integers of every width become `Int`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// A row of the tensor table.
#[derive(Clone, Debug)]
pub(crate) struct TensorRow {
    /// Outermost first: `[rows, columns]`, the reverse of GGUF's order.
    pub(crate) shape: Vec<usize>,
    pub(crate) blocks: Blocks,
    offset: u64,
}

/// An open GGUF file.
#[derive(Debug)]
pub(crate) struct Gguf {
    path: PathBuf,
    file: File,
    keys: BTreeMap<String, Value>,
    tensors: BTreeMap<String, TensorRow>,
    data_start: u64,
}

/// A header with more entries or longer strings than this is not a model.
const MOST: u64 = 1 << 24;

impl Gguf {
    /// Reads header and tensor table; weights are read when asked for.
    pub(crate) fn open(path: &Path) -> Result<Self, ExportError> {
        let file = File::open(path).map_err(|e| ExportError::read(path, e))?;
        let handle = file.try_clone().map_err(|e| ExportError::read(path, e))?;
        let mut source = Source { path, inner: BufReader::with_capacity(1 << 16, handle) };
        if &source.bytes::<4>()? != b"GGUF" {
            return Err(source.bad("it does not begin with GGUF"));
        }
        let version = u32::from_le_bytes(source.bytes()?);
        if !(2..=3).contains(&version) {
            return Err(source.bad(&format!("GGUF version {version} is not 2 or 3")));
        }
        let tensor_count = source.count()?;
        let key_count = source.count()?;
        let mut keys = BTreeMap::new();
        for _ in 0..key_count {
            let key = source.text()?;
            let kind = u32::from_le_bytes(source.bytes()?);
            let value = source.value(kind, 0)?;
            keys.insert(key, value);
        }
        let mut tensors = BTreeMap::new();
        for _ in 0..tensor_count {
            let name = source.text()?;
            let rank = u32::from_le_bytes(source.bytes()?);
            if rank > 4 {
                return Err(source.bad(&format!("tensor {name} has {rank} dimensions")));
            }
            let mut shape = Vec::new();
            for _ in 0..rank {
                let size = u64::from_le_bytes(source.bytes()?);
                shape.push(usize::try_from(size).map_err(|_| source.bad("a size overflows"))?);
            }
            shape.reverse();
            let kind = u32::from_le_bytes(source.bytes()?);
            let offset = u64::from_le_bytes(source.bytes()?);
            let blocks = Blocks::from_ggml(kind)
                .ok_or_else(|| ExportError::UnknownBlocks { tensor: name.clone(), kind })?;
            tensors.insert(name, TensorRow { shape, blocks, offset });
        }
        let alignment = match keys.get("general.alignment") {
            Some(Value::Int(n)) if *n > 0 => *n as u64,
            _ => 32,
        };
        let at = source.inner.stream_position().map_err(|e| ExportError::read(path, e))?;
        let data_start = at.div_ceil(alignment) * alignment;
        Ok(Self { path: path.into(), file, keys, tensors, data_start })
    }

    pub(crate) fn text(&self, key: &str) -> Result<&str, ExportError> {
        match self.keys.get(key) {
            Some(Value::Text(text)) => Ok(text),
            _ => Err(self.missing(key)),
        }
    }

    pub(crate) fn maybe_text(&self, key: &str) -> Option<&str> {
        self.text(key).ok()
    }

    pub(crate) fn size(&self, key: &str) -> Result<usize, ExportError> {
        match self.keys.get(key) {
            Some(Value::Int(n)) => usize::try_from(*n).map_err(|_| self.missing(key)),
            _ => Err(self.missing(key)),
        }
    }

    pub(crate) fn float(&self, key: &str) -> Result<f32, ExportError> {
        match self.keys.get(key) {
            Some(Value::Float(n)) => Ok(*n as f32),
            _ => Err(self.missing(key)),
        }
    }

    pub(crate) fn flag(&self, key: &str) -> Option<bool> {
        match self.keys.get(key) {
            Some(Value::Bool(b)) => Some(*b),
            _ => None,
        }
    }

    pub(crate) fn list(&self, key: &str) -> Result<&[Value], ExportError> {
        match self.keys.get(key) {
            Some(Value::List(list)) => Ok(list),
            _ => Err(self.missing(key)),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<&str>, ExportError> {
        let list = self.list(key)?.iter();
        list.map(|value| match value {
            Value::Text(text) => Ok(text.as_str()),
            _ => Err(self.missing(key)),
        })
        .collect()
    }

    pub(crate) fn row(&self, tensor: &str) -> Result<&TensorRow, ExportError> {
        self.tensors
            .get(tensor)
            .ok_or_else(|| ExportError::MissingTensor { tensor: tensor.into(), path: self.path.clone() })
    }

    pub(crate) fn has(&self, tensor: &str) -> bool {
        self.tensors.contains_key(tensor)
    }

    /// How many weights there are in all.
    pub(crate) fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.shape.iter().map(|d| *d as u64).product::<u64>()).sum()
    }

    /// The tensor's blocks as they are in the file.
    pub(crate) fn raw(&self, tensor: &str) -> Result<Vec<u8>, ExportError> {
        let row = self.row(tensor)?;
        let weights: usize = row.shape.iter().product();
        let length = row.blocks.byte_len(weights).ok_or_else(|| ExportError::BadFile {
            path: self.path.clone(),
            why: format!("{tensor} is not made of whole blocks"),
        })?;
        let mut bytes = vec![0; length];
        self.file
            .read_exact_at(&mut bytes, self.data_start + row.offset)
            .map_err(|e| ExportError::read(&self.path, e))?;
        Ok(bytes)
    }

    /// The tensor as floats, row by row.
    pub(crate) fn floats(&self, tensor: &str) -> Result<Vec<f32>, ExportError> {
        Ok(self.row(tensor)?.blocks.to_floats(&self.raw(tensor)?))
    }

    fn missing(&self, key: &str) -> ExportError {
        ExportError::MissingKey { key: key.into(), path: self.path.clone() }
    }
}

struct Source<'a> {
    path: &'a Path,
    inner: BufReader<File>,
}

impl Source<'_> {
    fn bad(&self, why: &str) -> ExportError {
        ExportError::BadFile { path: self.path.into(), why: why.into() }
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ExportError> {
        let mut bytes = [0; N];
        self.inner.read_exact(&mut bytes).map_err(|e| ExportError::read(self.path, e))?;
        Ok(bytes)
    }

    fn count(&mut self) -> Result<u64, ExportError> {
        let n = u64::from_le_bytes(self.bytes()?);
        if n > MOST { Err(self.bad(&format!("a count of {n} is not believable"))) } else { Ok(n) }
    }

    fn text(&mut self) -> Result<String, ExportError> {
        let length = self.count()?;
        let mut bytes = Vec::new();
        let read = (&mut self.inner)
            .take(length)
            .read_to_end(&mut bytes)
            .map_err(|e| ExportError::read(self.path, e))?;
        if read as u64 != length {
            return Err(self.bad("it ends inside its header"));
        }
        String::from_utf8(bytes).map_err(|_| self.bad("a string is not UTF-8"))
    }

    fn value(&mut self, kind: u32, depth: u8) -> Result<Value, ExportError> {
        Ok(match kind {
            0 => Value::Int(u8::from_le_bytes(self.bytes()?).into()),
            1 => Value::Int(i8::from_le_bytes(self.bytes()?).into()),
            2 => Value::Int(u16::from_le_bytes(self.bytes()?).into()),
            3 => Value::Int(i16::from_le_bytes(self.bytes()?).into()),
            4 => Value::Int(u32::from_le_bytes(self.bytes()?).into()),
            5 => Value::Int(i32::from_le_bytes(self.bytes()?).into()),
            6 => Value::Float(f32::from_le_bytes(self.bytes()?).into()),
            7 => Value::Bool(self.bytes::<1>()? != [0]),
            8 => Value::Text(self.text()?),
            9 if depth < 4 => {
                let element = u32::from_le_bytes(self.bytes()?);
                let count = self.count()?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(self.value(element, depth + 1)?);
                }
                Value::List(list)
            }
            10 => Value::Int(u64::from_le_bytes(self.bytes()?).cast_signed()),
            11 => Value::Int(i64::from_le_bytes(self.bytes()?)),
            12 => Value::Float(f64::from_le_bytes(self.bytes()?)),
            _ => return Err(self.bad(&format!("a key has the unknown type {kind}"))),
        })
    }
}
