//! The peers, and everything end to end.
