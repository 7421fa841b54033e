//! Makes understudies and asks them.
