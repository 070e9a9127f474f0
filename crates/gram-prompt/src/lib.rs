//! What is learned and where it enters: textual, visual and joint prompts, and the prompt file.
