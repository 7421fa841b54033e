//! Seals exchanges into the journal and reads them back.
