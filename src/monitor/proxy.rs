//! The proxy for calls to Docusign and to an event collector: that of the stanza, or else that of the environment.
//!
//! The environment is read here and not by the HTTP library, which ignores an address that it cannot read and then
//! calls directly.

use anyhow::{Result, anyhow, bail};
use percent_encoding::percent_decode_str;

use super::configure::Complete;
use super::settings::{PROXY_PASSWORD, PROXY_URL, PROXY_USER};
use crate::base::http::{self, PlainHttp, ProxySettings, UrlProblem};
use crate::base::secret::Secret;

/// The variables that name a proxy, the first that is set counts. Source: the convention of curl.
const VARIABLES: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// A proxy and who has chosen it.
pub(super) enum Chosen {
    /// No proxy.
    Direct,
    /// The administrator of the input.
    Stanza(ProxySettings),
    /// The administrator of the machine, whose `NO_PROXY` applies too.
    Environment(ProxySettings),
}

impl Chosen {
    /// The proxy of a stanza, or else that of the environment.
    ///
    /// # Errors
    /// It has not the form that is accepted, which the error names. Credentials are never quoted.
    pub(super) fn of(stanza: &Complete) -> Result<Self> {
        if let Some(proxy) = of_stanza(stanza)? {
            return Ok(Self::Stanza(proxy));
        }
        let variable = |name| {
            let value = std::env::var_os(name)?;
            Some((name, value.to_string_lossy().into_owned()))
        };
        let Some((name, text)) = VARIABLES.into_iter().find_map(variable) else {
            return Ok(Self::Direct);
        };
        Ok(of_environment(name, &text)?.map_or(Self::Direct, Self::Environment))
    }

    /// The proxy itself.
    pub(super) fn proxy(&self) -> Option<&ProxySettings> {
        match self {
            Self::Direct => None,
            Self::Stanza(proxy) | Self::Environment(proxy) => Some(proxy),
        }
    }
}

fn of_stanza(stanza: &Complete) -> Result<Option<ProxySettings>> {
    let Some(text) = stanza.get(&PROXY_URL) else {
        return Ok(None);
    };
    let param = PROXY_URL.name;
    let user = stanza.get(&PROXY_USER);
    let password = stanza.get(&PROXY_PASSWORD);
    if user.is_none() && password.is_some() {
        bail!(
            "the parameter {} is missing: enter it, or clear {}",
            PROXY_USER.name,
            PROXY_PASSWORD.name
        );
    }
    let url = http::base_url(text, PlainHttp::Anywhere).map_err(|problem| match problem {
        UrlProblem::Form => anyhow!(
            "the parameter {param} must have the form http://host:port or https://host:port"
        ),
        UrlProblem::Credentials => anyhow!(
            "the parameter {param} must not contain credentials: use {} and {}",
            PROXY_USER.name,
            PROXY_PASSWORD.name
        ),
        problem => anyhow!("the parameter {param} {problem}"),
    })?;
    let password = Secret::new(password.unwrap_or_default().to_owned());
    Ok(Some(ProxySettings {
        url,
        credentials: user.map(|user| (user.to_owned(), password)),
    }))
}

/// Reads what people write: with blanks or quotes around it, without a scheme, and with characters in the password that
/// an address would have to escape.
fn of_environment(name: &str, text: &str) -> Result<Option<ProxySettings>> {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    // A password may contain any sign, a host none of these.
    let (credentials, host) = match rest.rsplit_once('@') {
        Some((credentials, host)) => (Some(credentials), host),
        None => (None, rest),
    };
    let host = host.split('/').next().unwrap_or_default();
    let url = http::base_url(&format!("{scheme}://{host}"), PlainHttp::Anywhere);
    let Ok(url) = url else {
        bail!(
            "the environment variable {name} must have the form http://host:port or http://user:password@host:port: correct it, or set the parameter {}",
            PROXY_URL.name
        );
    };
    let credentials = credentials.map(|credentials| {
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        (decode(user), Secret::new(decode(password)))
    });
    Ok(Some(ProxySettings { url, credentials }))
}

/// The text without percent escapes, or as it is where it has none that make sense.
fn decode(text: &str) -> String {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::of_environment;

    fn read(text: &str) -> Option<(String, String)> {
        let proxy = of_environment("HTTPS_PROXY", text).unwrap()?;
        let credentials = proxy
            .credentials
            .map(|(user, password)| format!("{user}:{}", password.expose()));
        Some((proxy.url.to_string(), credentials.unwrap_or_default()))
    }

    #[test]
    fn the_environments_proxy_is_read_as_people_write_it() {
        for (text, url, credentials) in [
            ("http://proxy:3128", "http://proxy:3128/", ""),
            (" http://proxy:3128 \n", "http://proxy:3128/", ""),
            ("\"https://proxy:3128/\"", "https://proxy:3128/", ""),
            ("proxy:3128", "http://proxy:3128/", ""),
            ("http://u:p%40ss@proxy:3128", "http://proxy:3128/", "u:p@ss"),
            (
                "http://u:p@s#s/\u{fc}?@proxy:3128",
                "http://proxy:3128/",
                "u:p@s#s/\u{fc}?",
            ),
            ("http://u:100%@proxy:3128", "http://proxy:3128/", "u:100%"),
            (
                "http://DOMAIN\\u:p@proxy:3128/x",
                "http://proxy:3128/",
                "DOMAIN\\u:p",
            ),
            ("http://[::1]:3128", "http://[::1]:3128/", ""),
        ] {
            assert_eq!(
                read(text),
                Some((url.to_owned(), credentials.to_owned())),
                "{text}"
            );
        }
        assert_eq!(read(" "), None);
    }

    #[test]
    fn what_is_no_proxy_is_named_by_its_variable_and_not_quoted() {
        for text in [
            "socks5://s3cret:1",
            "http://u:s3cret@",
            "http://s3cret host:1",
            "://s3cret",
        ] {
            let error = of_environment("HTTPS_PROXY", text).unwrap_err().to_string();
            assert!(
                error.contains("HTTPS_PROXY") && !error.contains("s3cret"),
                "{error}"
            );
        }
    }
}
