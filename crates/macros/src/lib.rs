//! silken macros.
