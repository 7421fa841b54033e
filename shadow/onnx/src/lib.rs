//! Generation and embeddings on ONNX Runtime.
