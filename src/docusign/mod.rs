//! Docusign's side: its APIs in its own words. Nothing here knows where the records go.
//!
//! Formats: developers.docusign.com (JWT Grant, Monitor API) and Docusign's published OpenAPI descriptions.

pub mod budget;
pub mod client;
mod damaged;
pub mod directory_api;
pub mod jwt_grant;
pub mod monitor_api;
pub mod rsa_key;

use std::fmt;

use reqwest::Url;

use crate::base::http::{PlainHttp, UrlProblem, base_url, is_loopback};

/// Docusign's two worlds; an account, a key and a consent belong to one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Environment {
    /// Real agreements.
    Production,
    /// Developer accounts.
    Demo,
}

impl Environment {
    /// The environment with this name, `production` or `demo`.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "production" => Some(Self::Production),
            "demo" => Some(Self::Demo),
            _ => None,
        }
    }

    /// Its name in configuration and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Production => "production",
            Self::Demo => "demo",
        }
    }

    /// Base address of the account server.
    #[must_use]
    pub fn auth_url(self) -> &'static str {
        match self {
            Self::Production => "https://account.docusign.com",
            Self::Demo => "https://account-d.docusign.com",
        }
    }

    /// Base address of the Monitor API, which depends on its generation.
    #[must_use]
    pub fn monitor_url(self, generation: Generation) -> &'static str {
        match (generation, self) {
            (Generation::Dataset, Self::Production) => "https://lens.docusign.net",
            (Generation::Dataset, Self::Demo) => "https://lens-d.docusign.net",
            (Generation::Organization, Self::Production) => "https://api.docusign.com",
            (Generation::Organization, Self::Demo) => "https://api-d.docusign.com",
        }
    }

    /// Base address of the Admin API.
    #[must_use]
    pub fn admin_url(self) -> &'static str {
        match self {
            Self::Production => "https://api.docusign.net/management",
            Self::Demo => "https://api-d.docusign.net/management",
        }
    }
}

/// The two Monitor endpoints that exist side by side. Their cursors are not known to be interchangeable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Generation {
    /// `/api/v2.0/datasets/monitor/stream`, the stream of the key's own organization.
    Dataset,
    /// `/v1/organizations/{id}/stream`, the stream of a named organization.
    Organization,
}

impl Generation {
    /// Its name in checkpoints and messages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "v2.0",
            Self::Organization => "v1",
        }
    }
}

/// A base address that is Docusign's own, or loopback: a token must go nowhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl(Url);

impl BaseUrl {
    /// Accepts `https://*.docusign.com` and `https://*.docusign.net`, and http or https on loopback.
    ///
    /// # Errors
    /// The reason, as the end of a sentence that begins with the name of what holds the address.
    pub fn parse(text: &str) -> Result<Self, AddressProblem> {
        let url = base_url(text, PlainHttp::OnLoopback).map_err(AddressProblem::Url)?;
        let host = url.host_str().unwrap_or_default();
        let is_docusign = host.ends_with(".docusign.com") || host.ends_with(".docusign.net");
        if !is_docusign && !is_loopback(&url) {
            return Err(AddressProblem::Host);
        }
        Ok(Self(url))
    }

    /// The host alone, without scheme, port and path.
    #[must_use]
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether the host is this machine.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.0)
    }

    /// Whether it has a path.
    #[must_use]
    pub fn has_path(&self) -> bool {
        !matches!(self.0.path(), "" | "/")
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address of `path`, which begins with a slash, below this base.
    #[must_use]
    pub fn join(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let path = format!("{}{path}", self.0.path().trim_end_matches('/'));
        url.set_path(&path);
        url
    }
}

/// Why a text is not a [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressProblem {
    /// It is no base address at all.
    Url(UrlProblem),
    /// Its host is neither Docusign's nor this machine.
    Host,
}

impl fmt::Display for AddressProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(problem) => problem.fmt(f),
            Self::Host => f.write_str(
                "must lead to a host of Docusign's, *.docusign.com or *.docusign.net, because a token is sent there",
            ),
        }
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Whether `text` is a GUID in the form that Docusign prints: 8-4-4-4-12 hexadecimal digits.
#[must_use]
pub fn is_guid(text: &str) -> bool {
    let groups: Vec<_> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups
            .iter()
            .all(|group| group.bytes().all(|b| b.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use super::{BaseUrl, is_guid};

    #[test]
    fn only_docusign_and_loopback_are_base_addresses() {
        for text in [
            "https://account.docusign.com",
            "https://na3.docusign.net/",
            "https://API.docusign.net/management",
            "http://127.0.0.1:8080",
            "http://localhost:1",
            "http://[::1]:1/x/",
            "https://127.9.9.9",
        ] {
            assert!(BaseUrl::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "account.docusign.com",
            "http://account.docusign.com",
            "http://example.com",
            "https://example.com",
            "https://docusign.com.example.com",
            "https://evildocusign.com",
            "https://127.0.0.1.example.com",
            "https://user:pass@account.docusign.com",
            "https://account.docusign.com?x=1",
            "https://account.docusign.com@example.com",
            "ftp://127.0.0.1",
            "file:///etc/passwd",
            "https://localhost.example.com",
            "http://10.0.0.1",
            "https://account.docusign.com\\@example.com/",
        ] {
            let parsed = BaseUrl::parse(text);
            let on_docusign = parsed
                .as_ref()
                .is_ok_and(|base| base.host() == "account.docusign.com");
            assert!(parsed.is_err() || on_docusign, "{text}");
        }
    }

    #[test]
    fn paths_are_joined_below_the_base() {
        let base = BaseUrl::parse("https://api.docusign.net/management/").unwrap();
        assert_eq!(
            base.join("/v2/organizations").as_str(),
            "https://api.docusign.net/management/v2/organizations"
        );
        assert_eq!(base.to_string(), "https://api.docusign.net/management");
        let base = BaseUrl::parse("http://127.0.0.1:81").unwrap();
        assert_eq!(
            base.join("/oauth/token").as_str(),
            "http://127.0.0.1:81/oauth/token"
        );
        assert_eq!(base.to_string(), "http://127.0.0.1:81");
    }

    #[test]
    fn a_guid_has_five_groups_of_hexadecimal_digits() {
        assert!(is_guid("1b2c3d4e-0000-4ABC-8def-0123456789ab"));
        for text in [
            "",
            "1b2c3d4e00004abc8def0123456789ab",
            "1b2c3d4e-0000-4abc-8def-0123456789a",
            "1b2c3d4g-0000-4abc-8def-0123456789ab",
            "{1b2c3d4e-0000-4abc-8def-0123456789ab}",
        ] {
            assert!(!is_guid(text), "{text}");
        }
    }
}
