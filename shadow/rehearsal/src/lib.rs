//! Replays captured calls, scores agreement, writes trials.
