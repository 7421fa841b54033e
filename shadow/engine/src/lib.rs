//! The model behind an OpenAI-compatible endpoint, in a process of its own.
