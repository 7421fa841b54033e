//! An ONNX graph as it grows: nodes in memory, weights straight to
//! `model.onnx.data`, so that an export needs the memory of one tensor.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use prost::Message;

use super::ExportError;
use super::proto::{
    Attribute, Dim, Element, Entry, GraphDef, Kind, Model, Node, OperatorSet, Shape, Size, Tensor,
    TensorKind, ValueInfo,
};

/// Name of the file that holds the weights, beside the graph.
pub(crate) const DATA_FILE: &str = "model.onnx.data";
/// Weights begin at a page: ONNX Runtime maps them instead of reading them.
const ALIGNMENT: u64 = 4096;
/// Operators of ONNX Runtime that the standard does not have.
pub(crate) const MICROSOFT: &str = "com.microsoft";

/// Where an initializer's bytes are in the data file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Extent {
    offset: u64,
    length: u64,
}

/// One dimension of an input or output.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Axis<'a> {
    Fixed(usize),
    Named(&'a str),
}

/// A graph under construction.
#[derive(Debug)]
pub(crate) struct Graph {
    def: GraphDef,
    data: BufWriter<File>,
    offset: u64,
}

impl Graph {
    /// Opens the data file in `folder`.
    pub(crate) fn create(folder: &Path, name: &str) -> Result<Self, ExportError> {
        let path = folder.join(DATA_FILE);
        let file = File::create(&path).map_err(|e| ExportError::write(&path, e))?;
        Ok(Self {
            def: GraphDef { name: name.into(), ..GraphDef::default() },
            data: BufWriter::with_capacity(1 << 20, file),
            offset: 0,
        })
    }

    /// Appends `bytes` to the data file.
    pub(crate) fn store(&mut self, bytes: &[u8]) -> Result<Extent, ExportError> {
        let failed = |e| ExportError::write(Path::new(DATA_FILE), e);
        let gap = (ALIGNMENT - self.offset % ALIGNMENT) % ALIGNMENT;
        let zeros = vec![0_u8; usize::try_from(gap).unwrap_or_default()];
        self.data.write_all(&zeros).map_err(failed)?;
        self.data.write_all(bytes).map_err(failed)?;
        let extent = Extent { offset: self.offset + gap, length: bytes.len() as u64 };
        self.offset = extent.offset + extent.length;
        Ok(extent)
    }

    /// Declares an initializer over stored bytes. Several may share an extent
    /// under different shapes: that is how the tied head and the embedding
    /// stay one copy on disk.
    pub(crate) fn initializer(&mut self, name: &str, element: Element, dims: &[usize], at: Extent) {
        let entry = |key: &str, value: String| Entry { key: key.into(), value };
        self.def.initializer.push(Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: element as i32,
            name: name.into(),
            external_data: vec![
                entry("location", DATA_FILE.into()),
                entry("offset", at.offset.to_string()),
                entry("length", at.length.to_string()),
            ],
            data_location: Tensor::EXTERNAL,
            ..Tensor::default()
        });
    }

    /// Stores floats and declares them.
    pub(crate) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Result<(), ExportError> {
        let at = self.store(&float_bytes(values))?;
        self.initializer(name, Element::Float, dims, at);
        Ok(())
    }

    /// Stores floats in 16 bits and declares them.
    pub(crate) fn halves(&mut self, name: &str, dims: &[usize], values: &[f32]) -> Result<(), ExportError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect();
        let at = self.store(&bytes)?;
        self.initializer(name, Element::Float16, dims, at);
        Ok(())
    }

    /// A small constant inside the graph file.
    pub(crate) fn ints(&mut self, name: &str, dims: &[usize], values: &[i64]) {
        self.def.initializer.push(Tensor {
            dims: dims.iter().map(|d| *d as i64).collect(),
            data_type: Element::Int64 as i32,
            name: name.into(),
            raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            ..Tensor::default()
        });
    }

    /// A scalar float inside the graph file.
    pub(crate) fn scalar(&mut self, name: &str, value: f32) {
        self.def.initializer.push(Tensor {
            data_type: Element::Float as i32,
            name: name.into(),
            raw_data: value.to_le_bytes().to_vec(),
            ..Tensor::default()
        });
    }

    /// Adds a standard operator; its outputs are named by the caller.
    pub(crate) fn node(&mut self, op: &str, inputs: &[&str], outputs: &[&str], a: Vec<Attribute>) {
        self.push("", op, inputs, outputs, a);
    }

    /// Adds an operator of ONNX Runtime's own domain.
    pub(crate) fn contrib(&mut self, op: &str, inputs: &[&str], outputs: &[&str], a: Vec<Attribute>) {
        self.push(MICROSOFT, op, inputs, outputs, a);
    }

    fn push(&mut self, domain: &str, op: &str, i: &[&str], o: &[&str], attribute: Vec<Attribute>) {
        let name = o.first().map(|first| format!("{first}/{op}")).unwrap_or_default();
        self.def.node.push(Node {
            input: i.iter().map(|s| (*s).into()).collect(),
            output: o.iter().map(|s| (*s).into()).collect(),
            name,
            op_type: op.into(),
            attribute,
            domain: domain.into(),
        });
    }

    /// Declares an input of the model.
    pub(crate) fn input(&mut self, name: &str, element: Element, axes: &[Axis<'_>]) {
        self.def.input.push(value(name, element, axes));
    }

    /// Declares an input of the model that is empty unless it is given: an
    /// initializer of the same name, in which a named axis has length 0.
    pub(crate) fn empty_input(&mut self, name: &str, axes: [Axis<'_>; 2]) {
        self.input(name, Element::Float, &axes);
        let dims = axes.map(|axis| match axis {
            Axis::Fixed(n) => n as i64,
            Axis::Named(_) => 0,
        });
        self.def.initializer.push(Tensor {
            dims: dims.to_vec(),
            data_type: Element::Float as i32,
            name: name.into(),
            ..Tensor::default()
        });
    }

    /// Declares an output of the model.
    pub(crate) fn output(&mut self, name: &str, element: Element, axes: &[Axis<'_>]) {
        self.def.output.push(value(name, element, axes));
    }

    /// Flushes the weights and writes `model.onnx`.
    pub(crate) fn finish(mut self, folder: &Path) -> Result<(), ExportError> {
        let data = folder.join(DATA_FILE);
        self.data.flush().map_err(|e| ExportError::write(&data, e))?;
        self.data.get_ref().sync_all().map_err(|e| ExportError::write(&data, e))?;
        let opset = |domain: &str, version| OperatorSet { domain: domain.into(), version };
        let model = Model {
            ir_version: 10,
            producer_name: "understudy".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(self.def),
            opset_import: vec![opset("", 21), opset(MICROSOFT, 1)],
        };
        let path = folder.join("model.onnx");
        std::fs::write(&path, model.encode_to_vec()).map_err(|e| ExportError::write(&path, e))
    }
}

/// Little-endian bytes of floats, as ONNX stores them.
pub(crate) fn float_bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn value(name: &str, element: Element, axes: &[Axis<'_>]) -> ValueInfo {
    let dim = axes
        .iter()
        .map(|axis| Dim {
            size: Some(match axis {
                Axis::Fixed(n) => Size::Fixed(*n as i64),
                Axis::Named(n) => Size::Named((*n).into()),
            }),
        })
        .collect();
    let tensor = TensorKind { elem_type: element as i32, shape: Some(Shape { dim }) };
    ValueInfo { name: name.into(), kind: Some(Kind { tensor: Some(tensor) }) }
}
