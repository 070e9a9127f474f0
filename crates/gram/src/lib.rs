//! The command line of gram, and the front door of its libraries.
