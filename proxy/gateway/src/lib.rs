//! Carries each call through pingora's phases.
