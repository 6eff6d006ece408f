//! Keeps audio: journal, rendering, files, check.
