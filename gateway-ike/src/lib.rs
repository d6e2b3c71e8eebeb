//! Placeholder, replaced by the first real commit.
