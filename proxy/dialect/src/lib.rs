//! Provider bytes to the nouns of a call and back, streams included.
