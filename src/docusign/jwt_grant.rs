//! JWT Grant: a signed assertion is exchanged for an access token, on behalf of a user who has consented. Format:
//! Docusign's "JWT Grant" pages.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::BaseUrl;
use super::client::{ApiError, CallError, Client, Refusal, Suspect};
use super::rsa_key::PrivateKey;
use crate::base::secret::Secret;

/// The scope of a token for the Monitor API.
pub const SCOPE_IMPERSONATION: &str = "impersonation";

/// How long an assertion is valid; Docusign's documented maximum.
const ASSERTION_SECONDS: i64 = 3600;

/// Lifetime of a token whose answer does not say, by Docusign's documentation.
const DEFAULT_TOKEN_SECONDS: u64 = 3600;

/// Longest lifetime of a token that is believed; Docusign's live for one to eight hours.
const MAX_TOKEN_SECONDS: f64 = 86_400.0;

/// Longest answer to the request for a token: a token and a few numbers.
const MAX_ANSWER_BYTES: u64 = 64 * 1024;

/// Longest access token: it must fit into a header. Docusign's have about 1000 characters.
const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token is renewed this long before its end, or a tenth of its lifetime if that is shorter.
const RENEWAL_MARGIN: Duration = Duration::from_secs(300);

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const ACTION_AUTHENTICATE: &str = "authenticate";

/// Docusign's code for a scope that the user has not granted.
pub const CONSENT_REQUIRED: &str = "consent_required";

/// The parties to a token: the app, the user it acts for, and the scopes.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// Base address of the account server; its host is the assertion's audience.
    pub auth_url: BaseUrl,
    /// The app's client id, a GUID.
    pub integration_key: String,
    /// The impersonated user, a GUID.
    pub user_id: String,
    /// Scopes of the token, separated by spaces.
    pub scope: String,
    /// Scopes to request consent for when one is missing: all that are needed, so that one consent is enough.
    pub consent_scope: String,
    /// The redirect URI that the administrator is told to register for the integration key, so that the consent page
    /// has somewhere to return to. Nothing needs to listen there.
    pub consent_redirect: &'static str,
}

impl Applicant {
    /// The same parties with another scope, one of those to request consent for.
    #[must_use]
    pub fn with_scopes(&self, scope: &str, consent_scope: &str) -> Self {
        Self {
            scope: scope.to_owned(),
            consent_scope: consent_scope.to_owned(),
            ..self.clone()
        }
    }

    /// The page on which the user grants the scopes.
    #[must_use]
    pub fn consent_url(&self) -> String {
        let mut url = self.auth_url.join("/oauth/auth");
        // Spaces as %20: some mail clients break addresses at a plus sign.
        let query = format!(
            "response_type=code&scope={}&client_id={}&redirect_uri={}",
            self.consent_scope.replace(' ', "%20"),
            self.integration_key,
            self.consent_redirect,
        );
        url.set_query(Some(&query));
        url.into()
    }
}

/// Gets tokens and keeps the newest until shortly before its end. Clones share it.
#[derive(Clone)]
pub struct JwtGrant {
    client: Client,
    identity: Applicant,
    key: PrivateKey,
    token: Arc<Mutex<Option<Token>>>,
    /// Whether a new token was refused like the one before, so that 401 is not about tokens.
    renewal_is_futile: bool,
}

struct Token {
    text: Secret,
    /// On [`crate::base::clock::Clock::elapsed`]'s scale.
    renew_at: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    scope: &'a str,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: serde_json::Value,
}

impl TokenAnswer {
    fn parse(body: &[u8]) -> Result<Self, String> {
        let answer: Self = serde_json::from_slice(body)
            .map_err(|_| "the body is not JSON with an access_token".to_owned())?;
        let token = &answer.access_token;
        let fits = (1..=MAX_TOKEN_BYTES).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("its access_token cannot be sent in a header".to_owned());
        }
        Ok(answer)
    }

    /// How long the token lives; a number that makes no sense counts as none.
    fn lifetime(&self) -> Duration {
        let seconds = match &self.expires_in {
            serde_json::Value::String(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        seconds
            .filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
            .map_or(Duration::from_secs(DEFAULT_TOKEN_SECONDS), |seconds| {
                Duration::from_secs_f64(seconds.min(MAX_TOKEN_SECONDS))
            })
    }
}

impl JwtGrant {
    /// A grant for `identity`; no request is made yet.
    #[must_use]
    pub fn new(client: Client, identity: Applicant, key: PrivateKey) -> Self {
        Self {
            client,
            identity,
            key,
            token: Arc::default(),
            renewal_is_futile: false,
        }
    }

    /// A token that is good for the next request.
    ///
    /// # Errors
    /// Docusign issues none; the error says what to do.
    pub fn token(&mut self) -> Result<Secret, ApiError> {
        let now = self.client.clock().elapsed();
        let token = self.kept().as_ref().and_then(|token| {
            let is_good = now < token.renew_at;
            is_good.then(|| token.text.clone())
        });
        token.map_or_else(|| self.renew(), Ok)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Token>> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new token, whatever the old one's age.
    fn renew(&mut self) -> Result<Secret, ApiError> {
        *self.kept() = None;
        let url = self.identity.auth_url.join("/oauth/token");
        let asked_at = self.client.clock().elapsed();
        let answer = self
            .assertion()
            .map_err(CallError::Malformed)
            .and_then(|assertion| {
                let form = [
                    ("grant_type", GRANT_TYPE),
                    ("assertion", assertion.expose()),
                ];
                self.client.call(
                    ACTION_AUTHENTICATE,
                    MAX_ANSWER_BYTES,
                    || self.client.request(Method::POST, url.clone()).form(&form),
                    |body| Ok(TokenAnswer::parse(&body)?),
                )
            })
            .map_err(|error| {
                ApiError::new(
                    ACTION_AUTHENTICATE,
                    self.identity.auth_url.host(),
                    error,
                    |refusal| explain(&self.client, &self.identity, refusal),
                )
            })?;
        let lifetime = answer.lifetime();
        let margin = RENEWAL_MARGIN.min(lifetime / 10);
        let text = Secret::new(answer.access_token);
        *self.kept() = Some(Token {
            text: text.clone(),
            renew_at: asked_at + lifetime - margin,
        });
        Ok(text)
    }

    /// Makes a call with a token. If Docusign does not accept the token, the call is made once more with a new one.
    ///
    /// # Errors
    /// There is no token, or the call fails.
    pub fn with_token<T>(
        &mut self,
        call: impl Fn(&Secret) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let token = self.token()?;
        match call(&token) {
            Err(error) if error.status == Some(401) && !self.renewal_is_futile => {
                let again = call(&self.renew()?);
                let refused = again.as_ref().err().and_then(|error| error.status);
                self.renewal_is_futile = refused == Some(401);
                again
            }
            other => other,
        }
    }

    fn assertion(&self) -> Result<Secret, String> {
        let iat = self.client.clock().now().timestamp();
        let claims = Claims {
            iss: &self.identity.integration_key,
            sub: &self.identity.user_id,
            aud: self.identity.auth_url.host(),
            iat,
            exp: iat + ASSERTION_SECONDS,
            scope: &self.identity.scope,
        };
        self.key
            .sign(&claims)
            .map(Secret::new)
            .map_err(|_| "the assertion could not be signed with the private key".to_owned())
    }
}

/// Puts a refusal into words.
fn explain(client: &Client, identity: &Applicant, refusal: &Refusal) -> String {
    let Applicant {
        auth_url,
        integration_key,
        user_id,
        scope,
        consent_redirect,
        ..
    } = identity;
    let host = auth_url.host();
    let skew = refusal.skew.map(|skew| {
        format!(
            " This machine's clock differs from Docusign's by {} seconds, which alone is reason enough: set it right.",
            skew.num_seconds().abs()
        )
    });
    let skew = skew.unwrap_or_default();
    let description = refusal.description.as_deref().unwrap_or_default();
    match (refusal.code.as_deref().unwrap_or_default(), description) {
        (CONSENT_REQUIRED, _) => format!(
            "Consent is missing: the user {user_id} has not granted the integration key {integration_key} the scope \"{scope}\". Log in to Docusign as that user, open {} and accept. If another redirect URI is registered for the integration key, put it in place of {consent_redirect}",
            identity.consent_url()
        ),
        (_, "user_not_found") => format!(
            "Docusign ({host}) does not know the user {user_id}. Enter the User ID (API Username) of an active user, not an account ID or an e-mail address, from the same environment, production or demo"
        ),
        (_, "issuer_not_found") => format!(
            "Docusign ({host}) does not know the integration key {integration_key}. Check the key and the environment: a key works in production only after Docusign's Go-Live"
        ),
        (_, "no_valid_keys_or_signatures") => format!(
            "The private key does not belong to the integration key {integration_key} at {host}. Generate an RSA key pair for that integration key in Docusign's Apps and Keys and enter its private key.{skew}"
        ),
        ("invalid_scope", _) => format!(
            "Docusign ({host}) does not grant the integration key {integration_key} the scope \"{scope}\" ({refusal})"
        ),
        _ if (300..400).contains(&refusal.status) => format!(
            "Docusign ({host}) answered with a redirect ({refusal}), which is not followed because it would take the assertion along. {}",
            client.remedy(Suspect::WayToAccountServer)
        ),
        _ => format!(
            "Docusign ({host}) issues no token: {refusal}. {}.{skew}",
            client.remedy(Suspect::Credentials)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::{Applicant, MAX_TOKEN_BYTES, SCOPE_IMPERSONATION, TokenAnswer};
    use crate::docusign::BaseUrl;

    /// 2^64-1 seconds overflow a duration, and a text ended the run as "proxy or gateway".
    #[test]
    fn a_lifetime_is_read_leniently_and_believed_for_a_day() {
        for (expires_in, expected) in [
            ("28800", 28_800.0),
            ("\"28800\"", 28_800.0),
            ("3599.5", 3599.5),
            ("86400", 86_400.0),
            ("86401", 86_400.0),
            ("18446744073709551615", 86_400.0),
            ("1e300", 86_400.0),
            ("-1", 3600.0),
            ("\"soon\"", 3600.0),
            ("null", 3600.0),
            ("[]", 3600.0),
        ] {
            let body = format!(r#"{{"access_token":"t","expires_in":{expires_in}}}"#);
            let answer = TokenAnswer::parse(body.as_bytes()).unwrap();
            assert_eq!(answer.lifetime().as_secs_f64(), expected, "{expires_in}");
        }
    }

    #[test]
    fn a_token_that_no_header_can_hold_is_refused() {
        let parse = |token: &str| {
            TokenAnswer::parse(format!(r#"{{"access_token":"{token}"}}"#).as_bytes()).is_ok()
        };
        assert!(parse(&"t".repeat(MAX_TOKEN_BYTES)));
        assert!(!parse(&"t".repeat(MAX_TOKEN_BYTES + 1)));
        assert!(!parse(""));
        assert!(!parse("a\\nb"));
    }

    #[test]
    fn the_consent_url_has_all_that_the_page_asks_for() {
        let identity = Applicant {
            auth_url: BaseUrl::parse("https://account-d.docusign.com").unwrap(),
            integration_key: "11111111-2222-3333-4444-555555555555".to_owned(),
            user_id: "x".to_owned(),
            scope: SCOPE_IMPERSONATION.to_owned(),
            consent_scope: format!("signature {SCOPE_IMPERSONATION}"),
            consent_redirect: "https://localhost/back",
        };
        assert_eq!(
            identity.consent_url(),
            "https://account-d.docusign.com/oauth/auth?response_type=code&scope=signature%20impersonation&client_id=11111111-2222-3333-4444-555555555555&redirect_uri=https://localhost/back"
        );
    }
}
