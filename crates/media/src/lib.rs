//! RTP in, samples and audio files out.
