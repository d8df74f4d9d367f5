//! A text that must not be shown: it has no `Display`, and its `Debug` says REDACTED.
//!
//! Every place that lets a secret out can be found by searching for `expose`.

use std::fmt;

/// A secret text: a key, a password, a token, a session key.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// Lets the text out, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn debug_does_not_show_the_text() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "REDACTED");
        assert_eq!(secret.expose(), "hunter2");
    }
}
