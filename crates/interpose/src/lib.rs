//! Exported libc symbols over a hook table.
