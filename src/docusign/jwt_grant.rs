//! JWT Grant: a signed assertion is exchanged for an access token, on behalf of a user who has consented.
//!
//! Also reads the RSA private key in every form that it survives being pasted in. Format: Docusign's
//! "JWT Grant" pages; keys are PEM, PKCS#1 as Docusign issues them or PKCS#8.

use std::fmt;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::BaseUrl;
use super::client::{ApiError, CallError, Client, Refusal, Suspect};
use crate::secret::Secret;

/// What a token is asked for.
pub const SCOPE_IMPERSONATION: &str = "impersonation";

/// How long an assertion is valid; Docusign's documented maximum.
const ASSERTION_SECONDS: i64 = 3600;

/// Lifetime of a token whose answer does not say, by Docusign's documentation.
const DEFAULT_TOKEN_SECONDS: u64 = 3600;

/// A token is renewed this long before its end, or a tenth of its lifetime if that is shorter.
const RENEWAL_MARGIN: Duration = Duration::from_secs(300);

const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

const ACTION_AUTHENTICATE: &str = "authenticate";

/// Docusign's code for a scope that the user has not granted.
pub const CONSENT_REQUIRED: &str = "consent_required";

/// Who asks for a token, for whom, and for what.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Base address of the account server; its host is the assertion's audience.
    pub auth_url: BaseUrl,
    /// The app's client id, a GUID.
    pub integration_key: String,
    /// The impersonated user, a GUID.
    pub user_id: String,
    /// Scopes of the token, separated by spaces.
    pub scope: String,
    /// Scopes that consent is asked for when one is missing: all that are needed, so that one consent is enough.
    pub consent_scope: String,
    /// The redirect URI that the administrator is told to register for the integration key, so that the consent page
    /// has somewhere to return to. Nothing needs to listen there.
    pub consent_redirect: &'static str,
}

impl Identity {
    /// The same, asking for another scope, as a part of all that consent is asked for.
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

/// Gets tokens and keeps the newest until shortly before its end.
pub struct JwtGrant {
    client: Client,
    identity: Identity,
    key: PrivateKey,
    token: Option<Token>,
    /// Whether a new token was refused like the one before, so that 401 is not about tokens.
    renewal_is_futile: bool,
}

struct Token {
    text: Secret,
    /// On [`crate::clock::Clock::elapsed`]'s scale.
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
    expires_in: Option<u64>,
}

impl JwtGrant {
    /// A grant for `identity`; nothing is asked for yet.
    #[must_use]
    pub fn new(client: Client, identity: Identity, key: PrivateKey) -> Self {
        Self {
            client,
            identity,
            key,
            token: None,
            renewal_is_futile: false,
        }
    }

    /// A token that is good for the next request.
    ///
    /// # Errors
    /// Docusign issues none; the error says what to do.
    pub fn token(&mut self) -> Result<Secret, ApiError> {
        let now = self.client.clock().elapsed();
        match &self.token {
            Some(token) if now < token.renew_at => Ok(token.text.clone()),
            _ => self.renew(),
        }
    }

    /// A new token, whatever the old one's age.
    fn renew(&mut self) -> Result<Secret, ApiError> {
        self.token = None;
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
                    || self.client.request(Method::POST, url.clone()).form(&form),
                    |body| {
                        serde_json::from_slice::<TokenAnswer>(&body)
                            .map_err(|_| "the body is not JSON with an access_token".to_owned())
                    },
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
        let lifetime = Duration::from_secs(answer.expires_in.unwrap_or(DEFAULT_TOKEN_SECONDS));
        let margin = RENEWAL_MARGIN.min(lifetime / 10);
        let text = Secret::new(answer.access_token);
        self.token = Some(Token {
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
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key.0)
            .map(Secret::new)
            .map_err(|_| "the assertion could not be signed with the private key".to_owned())
    }
}

/// Puts a refusal into words.
fn explain(client: &Client, identity: &Identity, refusal: &Refusal) -> String {
    let Identity {
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

/// An RSA private key that can sign. It has no way to be shown.
#[derive(Clone)]
pub struct PrivateKey(EncodingKey);

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// Pasted base64 may have lost its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl PrivateKey {
    /// Reads a key in PEM, also without its line breaks, with `\n` written out, in quotes, without its first and
    /// last line, or as base64 of the whole PEM. It signs once, so that a key that cannot is found here.
    ///
    /// # Errors
    /// The reason, as the end of a sentence that begins with the name of what holds the key. It never quotes the key.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        match Self::read(text)? {
            Form::Key(key) => Ok(key),
            Form::Wrapped(pem) => match Self::read(&pem)? {
                Form::Key(key) => Ok(key),
                Form::Wrapped(_) => Err(DAMAGED),
            },
        }
    }

    fn read(text: &str) -> Result<Form, &'static str> {
        let text = text.trim().trim_matches(['"', '\'']);
        let text = text.replace("\\r", "\n").replace("\\n", "\n");
        if text.contains("ENCRYPTED") {
            return Err(
                "is encrypted with a passphrase. Decrypt it first, for example with: openssl rsa -in key.pem -out plain.pem",
            );
        }
        if text.contains("PUBLIC KEY") || text.contains("BEGIN CERTIFICATE") {
            return Err(
                "is a public key or a certificate. Enter the RSA private key, which Docusign shows once, when the key pair is generated",
            );
        }
        if text.contains("EC PRIVATE KEY") || text.contains("OPENSSH PRIVATE KEY") {
            return Err(
                "is not an RSA key in PEM form. Docusign's Apps and Keys page generates one",
            );
        }
        let body = match text.split_once("PRIVATE KEY") {
            Some((_, rest)) => rest.trim_start_matches('-').split('-').next(),
            None => Some(text.trim_matches('-')),
        };
        let body: String = body
            .unwrap_or_default()
            .chars()
            .filter(|c| !c.is_whitespace() && !matches!(c, '\u{FEFF}' | '\u{200B}'))
            .collect();
        let der = LENIENT.decode(&body).map_err(|_| DAMAGED)?;
        if der.starts_with(b"-----BEGIN") {
            return String::from_utf8(der)
                .map(Form::Wrapped)
                .map_err(|_| DAMAGED);
        }
        // The first line may be missing or wrong, so what it would say is found by trying.
        ["RSA PRIVATE KEY", "PRIVATE KEY"]
            .iter()
            .find_map(|label| signing_key(label, &der))
            .map(|key| Form::Key(Self(key)))
            .ok_or(DAMAGED)
    }
}

const DAMAGED: &str = "is damaged or not an RSA private key. Paste the whole text from -----BEGIN RSA PRIVATE KEY----- to -----END RSA PRIVATE KEY-----";

enum Form {
    Key(PrivateKey),
    Wrapped(String),
}

fn signing_key(label: &str, der: &[u8]) -> Option<EncodingKey> {
    let body = STANDARD.encode(der);
    let pem = format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).ok()?;
    jsonwebtoken::crypto::sign(b"trial", &key, Algorithm::RS256).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{Identity, PrivateKey, SCOPE_IMPERSONATION};
    use crate::docusign::BaseUrl;

    const PKCS1: &str = include_str!("../../tests/fixtures/test_only_rsa_pkcs1.pem");
    const PKCS8: &str = include_str!("../../tests/fixtures/test_only_rsa_pkcs8.pem");

    #[test]
    fn a_key_is_read_in_every_form_it_is_pasted_in() {
        for pem in [PKCS1, PKCS8] {
            let lines: Vec<_> = pem.lines().collect();
            let body = lines[1..lines.len() - 1].concat();
            for form in [
                pem.to_owned(),
                pem.replace('\n', "\r\n"),
                pem.replace('\n', " "),
                pem.replace('\n', ""),
                pem.replace('\n', "\\n"),
                pem.replace('\n', "\\r\\n"),
                pem.replace('\n', "\u{a0}"),
                format!("  \"{}\" \n", pem.replace('\n', "\\n")),
                format!("'{}'", pem.trim()),
                body.clone(),
                format!(" {} ", body.trim_end_matches('=')),
                STANDARD.encode(pem),
                pem.replace("-----", "").replace("END", "-----END"),
            ] {
                assert!(PrivateKey::parse(&form).is_ok(), "{form}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_its_own_words_and_never_quoted() {
        for (text, expected) in [
            (
                include_str!("../../tests/fixtures/test_only_rsa_encrypted.pem"),
                "encrypted",
            ),
            (
                include_str!("../../tests/fixtures/test_only_rsa_public.pem"),
                "public key",
            ),
            (
                "-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----",
                "not an RSA key",
            ),
            (&PKCS1[..PKCS1.len() / 2], "damaged"),
            (&PKCS1.replacen("MII", "MIJ", 1), "damaged"),
            ("secret", "damaged"),
            ("", "damaged"),
            ("ünïcödé-----", "damaged"),
        ] {
            let error = PrivateKey::parse(text).unwrap_err();
            assert!(error.contains(expected), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn the_consent_url_has_all_that_the_page_asks_for() {
        let identity = Identity {
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
