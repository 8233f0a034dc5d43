//! Stands in for `silken_side` while the feature of that name is off: silken takes part in no figure.

use crate::figure::Subject;

/// Silken's contestant for a figure: none.
pub fn subject(_figure: &str) -> Option<Subject> {
    None
}
