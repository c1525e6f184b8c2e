//! OpenAI's Chat Completions: chunks, whole completions, usage.
