//! Config files and dialogues against recorded ones. The reference's sentences about a setting are not ours, so dialogues
//! are compared without them.
