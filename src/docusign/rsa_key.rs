//! The RSA private key of an integration key, read in every form that it survives being pasted in.
//!
//! What cannot be used is named: an encrypted key, another kind of key, one that is too short, a file in another
//! encoding. Nothing of the text is ever quoted. Formats: RFC 7468 (PEM), RFC 8017 (PKCS#1), RFC 5958 (PKCS#8).

use std::fmt;

use aws_lc_rs::rsa::KeyPair;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use jsonwebtoken::{Algorithm, EncodingKey};
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use crate::base::secret::Secret;

/// The shortest key, in bits, with which the TLS library signs. Docusign generates keys of this size.
const MIN_BITS: u32 = 2048;

/// The longest key, in bits, with which the TLS library signs.
const MAX_BITS: u32 = 8192;

/// Bytes at the start of a key in DER that contain the number of its algorithm.
const HEAD_BYTES: usize = 40;

/// The number of RSA in DER (RFC 8017), as PKCS#8 and public keys name it.
const RSA: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x01";

/// The beginning of the numbers of encryption with a password in DER (RFC 8018).
const PASSWORD_BASED: &[u8] = b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x05";

/// The number of PKCS#7 data in DER, with which a PKCS#12 container begins after its version.
const PKCS7_DATA: &[u8] = b"\x02\x01\x03\x30";

/// Kinds of keys that are not RSA, by the numbers of their algorithms in DER.
const OTHER_KINDS: [(&[u8], &str); 7] = [
    (
        b"\x06\x09\x2A\x86\x48\x86\xF7\x0D\x01\x01\x0A",
        "an RSA-PSS key",
    ),
    (b"\x06\x07\x2A\x86\x48\xCE\x3D\x02\x01", ELLIPTIC),
    (b"\x06\x07\x2A\x86\x48\xCE\x38\x04\x01", "a DSA key"),
    (b"\x06\x03\x2B\x65\x6E", "an X25519 key"),
    (b"\x06\x03\x2B\x65\x6F", "an X448 key"),
    (b"\x06\x03\x2B\x65\x70", "an Ed25519 key"),
    (b"\x06\x03\x2B\x65\x71", "an Ed448 key"),
];

const ELLIPTIC: &str = "an elliptic curve (EC) key";

/// Pasted base64 may have lost its padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true),
);

/// An RSA private key that can sign. It has no way to be shown.
#[derive(Clone)]
pub struct PrivateKey {
    key: EncodingKey,
    /// Kept, so that it is known as a secret as long as the key is in use.
    _text: Secret,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("REDACTED")
    }
}

/// Why a text is no key that can be used.
///
/// Displayed as the end of a sentence that begins with the name of what holds the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyProblem {
    /// It needs a passphrase.
    Encrypted,
    /// It is the public half, or a certificate.
    Public,
    /// It is a private key, but not an RSA key.
    OtherKind(&'static str),
    /// It is an RSA key of too few bits.
    TooShort,
    /// It is an RSA key of too many bits.
    TooLong,
    /// It is PEM in UTF-16.
    Utf16,
    /// It is the binary form of a key.
    Der,
    /// It is a PKCS#12 container (`.p12`, `.pfx`).
    Pkcs12,
    /// It is a JSON Web Key.
    Jwk,
    /// It is a key of PuTTY's.
    Putty,
    /// It is not text.
    NotText,
    /// It is none of these.
    Damaged,
}

impl fmt::Display for KeyProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const GENERATE: &str = "Generate an RSA key pair under Apps and Keys in Docusign";
        match self {
            Self::Encrypted => f.write_str(
                "is encrypted with a passphrase. Decrypt it first, for example with: openssl rsa -in key.pem -out plain.pem",
            ),
            Self::Public => f.write_str(
                "is a public key or a certificate. Enter the RSA private key, which Docusign shows once, when the key pair is generated",
            ),
            Self::OtherKind(kind) => write!(f, "is {kind}, not an RSA key. {GENERATE}"),
            Self::TooShort => write!(
                f,
                "is an RSA key of fewer than {MIN_BITS} bits, which is too short. {GENERATE}"
            ),
            Self::TooLong => write!(
                f,
                "is an RSA key of more than {MAX_BITS} bits, which is too long. {GENERATE}"
            ),
            Self::Utf16 => f.write_str("is UTF-16 text. Save it as UTF-8"),
            Self::Der => f.write_str(
                "is in binary (DER) form. Convert it to PEM with: openssl pkey -inform DER -in key.der -out key.pem",
            ),
            Self::Pkcs12 => f.write_str(
                "is a PKCS#12 container. Extract the key with: openssl pkcs12 -in key.p12 -nocerts -nodes -out key.pem",
            ),
            Self::Jwk => f.write_str("is a JSON Web Key (JWK). Enter the RSA private key in PEM form"),
            Self::Putty => f.write_str(
                "is a PuTTY key. Enter the RSA private key that Docusign showed, in PEM form",
            ),
            Self::NotText => f.write_str("is not text. Enter the RSA private key in PEM form"),
            Self::Damaged => f.write_str(
                "is damaged or not an RSA private key. Paste the whole text from -----BEGIN RSA PRIVATE KEY----- to -----END RSA PRIVATE KEY-----",
            ),
        }
    }
}

impl PrivateKey {
    /// Reads the content of a key file, as [`PrivateKey::parse`] reads text.
    ///
    /// # Errors
    /// It is not an RSA private key in PEM that can sign.
    pub fn parse_file(bytes: &[u8]) -> Result<Self, KeyProblem> {
        if let Some(problem) = binary_form(bytes) {
            return Err(problem);
        }
        Self::parse(std::str::from_utf8(bytes).map_err(|_| KeyProblem::NotText)?)
    }

    /// Reads a key in PEM anywhere in the text; also without its line breaks, with `\n` or `%0A` written
    /// out, in quotes, with its dashes replaced, without its first and last line, or as base64 of the whole PEM. It
    /// signs once, so that a key that cannot is found here.
    ///
    /// # Errors
    /// It is not an RSA private key in PEM that can sign.
    pub fn parse(text: &str) -> Result<Self, KeyProblem> {
        let key = match find(text)? {
            Found::Der(der) => signing_key(&der)?,
            Found::Pem(pem) => match find(&pem)? {
                Found::Der(der) => signing_key(&der)?,
                Found::Pem(_) => return Err(KeyProblem::Damaged),
            },
        };
        Ok(Self {
            key,
            _text: Secret::new(text.to_owned()),
        })
    }

    /// Signs a JSON Web Token with RS256.
    ///
    /// # Errors
    /// The claims cannot be written, or the signature fails.
    pub(super) fn sign<T: serde::Serialize>(
        &self,
        claims: &T,
    ) -> jsonwebtoken::errors::Result<String> {
        jsonwebtoken::encode(
            &jsonwebtoken::Header::new(Algorithm::RS256),
            claims,
            &self.key,
        )
    }
}

/// What the base64 of a text contains.
enum Found {
    Der(Zeroizing<Vec<u8>>),
    /// PEM once more: the whole of it was encoded.
    Pem(Zeroizing<String>),
}

/// Finds the key in a text.
fn find(text: &str) -> Result<Found, KeyProblem> {
    let text = straighten(text);
    if text.starts_with("PuTTY-User-Key-File") {
        return Err(KeyProblem::Putty);
    }
    if text.starts_with('{') {
        return Err(match text.contains("\"kty\"") {
            true => KeyProblem::Jwk,
            false => KeyProblem::Damaged,
        });
    }
    let mut problem = None;
    for block in private_key_blocks(&text) {
        match block.read() {
            Ok(found) => return Ok(found),
            Err(found) => problem = problem.or(Some(found)),
        }
    }
    if let Some(problem) = problem {
        return Err(problem);
    }
    if text.contains("BEGIN ")
        && ["PUBLIC KEY", "CERTIFICATE"]
            .iter()
            .any(|it| text.contains(it))
    {
        return Err(KeyProblem::Public);
    }
    // The first line is missing, and perhaps the last one too.
    let body = text.split("-").find(|part| !part.trim().is_empty());
    decode(body.unwrap_or_default())
}

/// The text with line breaks and dashes as PEM has them, whatever a form, a shell or a word processor made of them.
fn straighten(text: &str) -> Zeroizing<String> {
    let text =
        text.trim_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '\u{FEFF}'));
    let decoded = match text.contains("%0A") || text.contains("%0a") {
        true => Zeroizing::new(percent_decode_str(text).decode_utf8_lossy().into_owned()),
        false => Zeroizing::new(text.to_owned()),
    };
    let mut straight = Zeroizing::new(String::with_capacity(decoded.len()));
    let mut rest = decoded.as_str();
    while let Some(c) = rest.chars().next() {
        let escape = [
            "\\r", "\\n", "&#10;", "&#13;", "&#xA;", "&#xD;", "&#xa;", "&#xd;",
        ]
        .into_iter()
        .find(|escape| rest.starts_with(escape));
        match (escape, c) {
            (Some(_), _) => straight.push('\n'),
            (None, '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{FE58}' | '\u{FE63}' | '\u{FF0D}') => {
                straight.push('-');
            }
            (None, '\u{200B}'..='\u{200D}' | '\u{2060}' | '\u{FEFF}' | '\u{AD}') => {}
            (None, c) => straight.push(c),
        }
        rest = rest
            .get(escape.map_or(c.len_utf8(), str::len)..)
            .unwrap_or_default();
    }
    straight
}

/// A block `BEGIN … PRIVATE KEY … END`.
struct Block<'a> {
    label: &'a str,
    body: &'a str,
}

/// The blocks of private keys in a text, without regard to how many dashes are left of its lines.
fn private_key_blocks(text: &str) -> impl Iterator<Item = Block<'_>> {
    const NAME: &str = "PRIVATE KEY";
    text.split("BEGIN ").skip(1).filter_map(|block| {
        let (label, rest) = block.split_once(NAME)?;
        let is_label = label.chars().all(|c| c.is_ascii_uppercase() || c == ' ');
        let body = rest.trim_start_matches('-');
        // Base64 has neither blanks nor dashes, so that both show where the last line begins.
        let end = body.find("END ").or_else(|| body.find("--"));
        let body = body.get(..end.unwrap_or(body.len()))?;
        is_label.then_some(Block {
            label: label.trim(),
            body: body.trim_end_matches('-'),
        })
    })
}

impl Block<'_> {
    fn read(&self) -> Result<Found, KeyProblem> {
        match self.label {
            "ENCRYPTED" => return Err(KeyProblem::Encrypted),
            "EC" => return Err(KeyProblem::OtherKind(ELLIPTIC)),
            "DSA" => return Err(KeyProblem::OtherKind("a DSA key")),
            "OPENSSH" | "SSH2 ENCRYPTED" => return Err(KeyProblem::OtherKind("an OpenSSH key")),
            _ => {}
        }
        // Header lines before the base64: RFC 1421, written by older tools.
        if self.body.contains("ENCRYPTED") {
            return Err(KeyProblem::Encrypted);
        }
        let mut body = Zeroizing::new(String::with_capacity(self.body.len()));
        for line in self.body.lines().filter(|line| !line.contains(':')) {
            body.push_str(line);
        }
        decode(&body)
    }
}

fn decode(base64: &str) -> Result<Found, KeyProblem> {
    let base64 = Zeroizing::new(
        base64
            .chars()
            .filter(|c| !c.is_whitespace())
            .collect::<String>(),
    );
    let bytes = LENIENT
        .decode(base64.as_bytes())
        .map_err(|_| KeyProblem::Damaged)?;
    let bytes = Zeroizing::new(bytes);
    match std::str::from_utf8(&bytes) {
        Ok(text) if text.contains("-----BEGIN") => Ok(Found::Pem(Zeroizing::new(text.to_owned()))),
        _ => Ok(Found::Der(bytes)),
    }
}

/// The form of a file that is not PEM in UTF-8.
fn binary_form(bytes: &[u8]) -> Option<KeyProblem> {
    let is_utf16 = bytes.starts_with(&[0xFF, 0xFE])
        || bytes.starts_with(&[0xFE, 0xFF])
        || bytes.starts_with(b"-\0-\0")
        || bytes.starts_with(b"\0-\0-");
    if is_utf16 {
        return Some(KeyProblem::Utf16);
    }
    // A DER key is one SEQUENCE; a text that begins with this byte begins with the digit 0.
    if !bytes.starts_with(&[0x30]) || std::str::from_utf8(bytes).is_ok() {
        return None;
    }
    if head(bytes)
        .windows(PKCS7_DATA.len())
        .any(|it| it == PKCS7_DATA)
    {
        return Some(KeyProblem::Pkcs12);
    }
    Some(match signing_key(bytes) {
        Ok(_) | Err(KeyProblem::Damaged) => KeyProblem::Der,
        Err(problem) => problem,
    })
}

/// What a key in DER is that is no RSA private key, by the algorithm that it names.
fn classify(der: &[u8]) -> KeyProblem {
    let names = |number: &[u8]| head(der).windows(number.len()).any(|it| it == number);
    if let Some((_, kind)) = OTHER_KINDS.iter().find(|(number, _)| names(number)) {
        return KeyProblem::OtherKind(kind);
    }
    if names(PASSWORD_BASED) {
        return KeyProblem::Encrypted;
    }
    // A private key has its version before the algorithm, a public key has nothing there.
    let is_public = names(RSA) && !names(b"\x02\x01\x00\x30");
    match is_public {
        true => KeyProblem::Public,
        false => KeyProblem::Damaged,
    }
}

fn head(der: &[u8]) -> &[u8] {
    der.get(..HEAD_BYTES).unwrap_or(der)
}

/// The key in DER, once it has proven that it can sign.
fn signing_key(der: &[u8]) -> Result<EncodingKey, KeyProblem> {
    let label = match (KeyPair::from_der(der), KeyPair::from_pkcs8(der)) {
        (Ok(_), _) => "RSA PRIVATE KEY",
        (_, Ok(_)) => "PRIVATE KEY",
        (Err(pkcs1), Err(pkcs8)) => {
            // The library names its reasons by text alone.
            let reasons = [pkcs1.to_string(), pkcs8.to_string()];
            return Err(if reasons.iter().any(|reason| reason == "TooSmall") {
                KeyProblem::TooShort
            } else if reasons.iter().any(|reason| reason == "TooLarge") {
                KeyProblem::TooLong
            } else {
                classify(der)
            });
        }
    };
    let body = Zeroizing::new(STANDARD.encode(der));
    let pem = Zeroizing::new(format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        body.as_str()
    ));
    let key = EncodingKey::from_rsa_pem(pem.as_bytes()).map_err(|_| KeyProblem::Damaged)?;
    jsonwebtoken::crypto::sign(b"trial", &key, Algorithm::RS256)
        .map_err(|_| KeyProblem::Damaged)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{ELLIPTIC, KeyProblem, PrivateKey};

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/fixtures/test_only_", $name))
        };
    }

    const PKCS1: &str = include_str!("../../tests/fixtures/test_only_rsa_pkcs1.pem");
    const PKCS8: &str = include_str!("../../tests/fixtures/test_only_rsa_pkcs8.pem");
    const PUBLIC: &str = include_str!("../../tests/fixtures/test_only_rsa_public.pem");
    const CERTIFICATE: &str = include_str!("../../tests/fixtures/test_only_certificate.pem");
    const ENCRYPTED: &str = include_str!("../../tests/fixtures/test_only_rsa_encrypted.pem");

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
                pem.replace("-----", "").replace('\n', " "),
                pem.replace("-----", "\u{2014}\u{2014}-"),
                pem.replace("--", "\u{2014}"),
                pem.replace('\n', "&#10;"),
                pem.replace('\n', "%0A"),
                pem.replace('+', "%2B").replace('\n', "%0A"),
                pem.replace("KEY-----\n", "KEY-----\nComment: made by hand\n\n"),
                format!("{body}-----END RSA PRIVATE KEY-----"),
                format!("{CERTIFICATE}{pem}"),
                format!("{pem}{CERTIFICATE}"),
                format!("{PUBLIC}{pem}"),
                format!("{ENCRYPTED}{pem}"),
                format!("This is the PRIVATE KEY of our BEGIN project:\n{pem}bye"),
            ] {
                assert!(PrivateKey::parse(&form).is_ok(), "{form}");
            }
        }
    }

    #[test]
    fn what_is_no_key_is_named() {
        let utf16: Vec<u8> = PKCS1.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let with_mark = [&[0xFF, 0xFE], utf16.as_slice()].concat();
        for (bytes, problem) in [
            (&fixture!("rsa_encrypted.pem")[..], KeyProblem::Encrypted),
            (fixture!("rsa_encrypted_pkcs1.pem"), KeyProblem::Encrypted),
            (fixture!("rsa_public.pem"), KeyProblem::Public),
            (fixture!("certificate.pem"), KeyProblem::Public),
            (fixture!("rsa_1024.pem"), KeyProblem::TooShort),
            (fixture!("rsa_2047.pem"), KeyProblem::TooShort),
            (fixture!("rsa_8200.pem"), KeyProblem::TooLong),
            (fixture!("ec_sec1.pem"), KeyProblem::OtherKind(ELLIPTIC)),
            (fixture!("ec_pkcs8.pem"), KeyProblem::OtherKind(ELLIPTIC)),
            (
                fixture!("ed25519.pem"),
                KeyProblem::OtherKind("an Ed25519 key"),
            ),
            (
                fixture!("rsa_pss.pem"),
                KeyProblem::OtherKind("an RSA-PSS key"),
            ),
            (
                b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n-----END OPENSSH PRIVATE KEY-----",
                KeyProblem::OtherKind("an OpenSSH key"),
            ),
            (fixture!("rsa.der"), KeyProblem::Der),
            (fixture!("rsa.p12"), KeyProblem::Pkcs12),
            (&utf16, KeyProblem::Utf16),
            (&with_mark, KeyProblem::Utf16),
            (br#"{"kty":"RSA","n":"secret"}"#, KeyProblem::Jwk),
            (b"PuTTY-User-Key-File-3: ssh-rsa\n", KeyProblem::Putty),
            (b"\xFFsecret", KeyProblem::NotText),
            (&PKCS1.as_bytes()[..PKCS1.len() / 2], KeyProblem::Damaged),
            (
                PKCS1.replacen("MII", "MIJ", 1).as_bytes(),
                KeyProblem::Damaged,
            ),
            (b"secret", KeyProblem::Damaged),
            (b"", KeyProblem::Damaged),
            (
                "\u{fc}n\u{ef}c\u{f6}d\u{e9}-----".as_bytes(),
                KeyProblem::Damaged,
            ),
        ] {
            let text = String::from_utf8_lossy(bytes);
            let found = PrivateKey::parse_file(bytes).err();
            assert_eq!(found, Some(problem), "{text}");
            assert!(!problem.to_string().contains("secret"));
        }
    }

    #[test]
    fn a_key_that_nests_deeply_is_damaged() {
        let mut der = Vec::new();
        while der.len() < 60_000 {
            let length = u16::try_from(der.len()).unwrap().to_be_bytes();
            der = [&[0x30, 0x82], &length[..], &der].concat();
        }
        let problem = PrivateKey::parse(&STANDARD.encode(der)).err();
        assert_eq!(problem, Some(KeyProblem::Damaged));
    }
}
