//! A text that must not be shown: it has no `Display`, its `Debug` says REDACTED, and it is wiped from memory with its
//! last copy.
//!
//! Every place that lets a secret out can be found by searching for `expose`. A server may still send back what it was
//! sent, so every text that leaves the process for a log, a form or a screen goes through [`redact`], which knows all
//! secrets that exist.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::ops::Range;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

/// What is shown instead of a secret.
const REDACTED: &str = "******";

/// So many characters of a secret in a row are taken for a part of it: a text may have been cut anywhere.
const MIN_PART_CHARS: usize = 12;

/// So many of them must differ: a run of zeros is part of many texts.
const MIN_DIFFERENT_CHARS: usize = 6;

/// A shorter text, which only a password can be, would be found in innocent words.
const MIN_SECRET_CHARS: usize = 4;

/// All secrets that exist. A list of the process's own, because a text knows nothing of the secrets that a server may
/// have put into it.
static EXISTING: LazyLock<Mutex<Existing>> = LazyLock::new(Mutex::default);

/// So many secrets may be gone before their parts are forgotten, besides as many as there are.
const FORGOTTEN_LATER: usize = 16;

/// The secrets that exist, and where to look for them: a process with hundreds of keys and tokens cannot compare each
/// of them with each line that it logs.
#[derive(Default)]
struct Existing {
    secrets: Vec<Weak<Zeroizing<String>>>,
    /// Hashes of all parts by which a secret is recognised. A few too many only cost time.
    parts: HashSet<u32>,
    /// How long these parts are.
    lengths: BTreeSet<usize>,
    /// Secrets that are gone, but whose parts are still there.
    gone: usize,
}

impl Existing {
    fn add(&mut self, secret: &Arc<Zeroizing<String>>) {
        let before = self.secrets.len();
        self.secrets.retain(|secret| secret.strong_count() > 0);
        self.gone += before - self.secrets.len();
        let live: Vec<_> = self.secrets.iter().filter_map(Weak::upgrade).collect();
        if self.gone > live.len() + FORGOTTEN_LATER {
            self.gone = 0;
            self.parts.clear();
            for secret in &live {
                self.learn(secret);
            }
        }
        if !live.contains(secret) {
            self.learn(secret);
        }
        self.secrets.push(Arc::downgrade(secret));
    }

    fn learn(&mut self, secret: &str) {
        for spelling in without_pem_lines(secret).flat_map(spellings) {
            let spelling = spelling.as_bytes();
            let length = part_length(spelling);
            if spelling.len() < MIN_SECRET_CHARS {
                continue;
            }
            self.lengths.insert(length);
            let parts = spelling.windows(length);
            let parts = parts.filter(|part| length == spelling.len() || is_telling(part));
            self.parts.extend(parts.map(hash));
        }
    }

    /// The places in `text` where a part of a secret may begin, in order.
    fn places(&self, text: &[u8]) -> Vec<usize> {
        let mut places: Vec<_> = self
            .lengths
            .iter()
            .flat_map(|length| text.windows(*length).enumerate())
            .filter(|(_, part)| self.parts.contains(&hash(part)))
            .map(|(place, _)| place)
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }
}

/// The length of the parts by which a secret is recognised.
fn part_length(secret: &[u8]) -> usize {
    secret.len().min(MIN_PART_CHARS)
}

fn hash(part: &[u8]) -> u32 {
    let mut hasher = DefaultHasher::new();
    hasher.write(part);
    let [a, b, c, d, ..] = hasher.finish().to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}

fn existing() -> MutexGuard<'static, Existing> {
    EXISTING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A secret text: a key, a password, a token, a session key. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: String) -> Self {
        let secret = Arc::new(Zeroizing::new(text));
        existing().add(&secret);
        Self(secret)
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

/// The text with `******` instead of every secret that exists, whole, cut, or escaped as addresses, forms, JSON
/// and XML do.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let (places, secrets) = {
        let existing = existing();
        let places = existing.places(text.as_bytes());
        if places.is_empty() {
            return Cow::Borrowed(text);
        }
        let secrets = existing.secrets.iter().filter_map(Weak::upgrade);
        (places, secrets.collect::<Vec<_>>())
    };
    let mut found: Vec<Range<usize>> = Vec::new();
    for secret in &secrets {
        for piece in without_pem_lines(secret) {
            for spelling in spellings(piece) {
                found.extend(parts(text, &places, &spelling));
            }
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|part| part.start);
    let mut redacted = String::with_capacity(text.len());
    let mut shown = 0;
    for part in found {
        if part.start >= shown {
            redacted.push_str(text.get(shown..part.start).unwrap_or_default());
            redacted.push_str(REDACTED);
        }
        shown = shown.max(part.end);
    }
    redacted.push_str(text.get(shown..).unwrap_or_default());
    Cow::Owned(redacted)
}

/// The secret without the first and last line of PEM, which every remedy may show.
fn without_pem_lines(secret: &str) -> impl Iterator<Item = &str> {
    secret
        .split("-----")
        .map(str::trim)
        .filter(|piece| !piece.starts_with("BEGIN ") && !piece.starts_with("END "))
}

/// A secret as servers repeat it. Those of letters and digits alone have one spelling.
fn spellings(secret: &str) -> Vec<Zeroizing<String>> {
    let mut spellings = vec![Zeroizing::new(secret.to_owned())];
    let mut add = |spelling: String| {
        let spelling = Zeroizing::new(spelling);
        if !spellings.contains(&spelling) {
            spellings.push(spelling);
        }
    };
    let encoded = utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string();
    let form = encoded.replace("%20", "+");
    // Encoders differ in which of these signs they leave alone.
    let lenient = encoded
        .replace("%2D", "-")
        .replace("%2E", ".")
        .replace("%5F", "_")
        .replace("%7E", "~");
    add(lenient.to_ascii_lowercase());
    add(lenient);
    add(form);
    add(encoded);
    let json = secret
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace('\t', "\\t");
    add(json.replace('/', "\\/"));
    add(json);
    add(secret
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;"));
    // A log line has blanks where a text had line breaks.
    add(secret.replace(['\n', '\r', '\t'], " "));
    add(secret.replace(['\n', '\r', '\t', ' '], ""));
    spellings
}

/// Where `text` contains all of `secret`, or a long part of it, of the `places` where that may begin.
fn parts<'a>(
    text: &'a str,
    places: &'a [usize],
    secret: &'a str,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let (text, secret) = (text.as_bytes(), secret.as_bytes());
    let window = part_length(secret);
    let is_secret = secret.len() >= MIN_SECRET_CHARS;
    let mut end = 0;
    places.iter().filter_map(move |&start| {
        if !is_secret || start < end {
            return None;
        }
        let part = text.get(start..start + window)?;
        if window < secret.len() && !is_telling(part) {
            return None;
        }
        let place = memchr::memmem::find(secret, part)?;
        let same = secret.iter().skip(place).zip(text.iter().skip(start));
        let length = same.take_while(|(one, other)| one == other).count();
        end = start + length;
        Some(start..end)
    })
}

/// Whether a part of a secret is unlike any part of another text.
fn is_telling(part: &[u8]) -> bool {
    let is_first = |(n, byte): &(usize, &u8)| !part.iter().take(*n).any(|other| other == *byte);
    part.iter().enumerate().filter(is_first).count() >= MIN_DIFFERENT_CHARS
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zeroize::Zeroizing;

    use super::{Existing, Secret, redact};

    #[test]
    fn debug_does_not_show_the_text() {
        let secret = Secret::new("hunter2".to_owned());
        assert_eq!(format!("{secret:?}"), "REDACTED");
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_secret_is_hidden_whole_cut_and_escaped() {
        let token = "eyJ0eXAiOiJNVCJ9.q1-w2_e3R4t5Y6u7I8o9P0.zZ/xX+cC==";
        let secret = Secret::new(token.to_owned());
        for (text, expected) in [
            (format!("token {token} refused"), "token ****** refused"),
            (format!("{}\u{2026}", &token[..20]), "******\u{2026}"),
            (format!("end {}", &token[10..30]), "end ******"),
            (
                format!(
                    "url={}",
                    token
                        .replace('/', "%2F")
                        .replace('+', "%2B")
                        .replace('=', "%3D")
                ),
                "url=******",
            ),
            (
                format!("{{\"a\":\"{}\"}}", token.replace('/', "\\/")),
                "{\"a\":\"******\"}",
            ),
            (format!("{token} and {token}"), "****** and ******"),
            ("nothing to hide".to_owned(), "nothing to hide"),
        ] {
            assert_eq!(redact(&text), expected);
        }
        drop(secret);
    }

    #[test]
    fn a_password_is_hidden_but_no_part_of_a_word() {
        let secret = Secret::new("p\u{e4}ss \"w\"".to_owned());
        let short = Secret::new("abc".to_owned());
        assert_eq!(
            redact("with p\u{e4}ss \"w\", p\u{e4}ss"),
            "with ******, p\u{e4}ss"
        );
        assert_eq!(redact("{\"p\u{e4}ss \\\"w\\\"\"}"), "{\"******\"}");
        assert_eq!(redact("abc"), "abc");
        let zeros = Secret::new("key-000000000000000000-end".to_owned());
        let id = "b1d3a5c7-0000-4000-8000-000000000000";
        assert_eq!(redact(id), id);
        drop((secret, short, zeros));
    }

    #[test]
    fn the_parts_of_a_secret_are_known_as_long_as_it_exists_and_forgotten_later() {
        let secret =
            |n: usize| Arc::new(Zeroizing::new(format!("the secret called {n:04} of many")));
        let mut existing = Existing::default();
        let mut secrets: Vec<_> = (0..100).map(secret).collect();
        secrets.push(secret(7));
        for secret in &secrets {
            existing.add(secret);
        }
        let is_known = |existing: &Existing, n| !existing.places(secret(n).as_bytes()).is_empty();
        assert!(is_known(&existing, 42));
        // The seventh has a twin, which stays.
        secrets.drain(5..100);
        let last = Arc::new(Zeroizing::new("another one".to_owned()));
        existing.add(&last);
        assert!(is_known(&existing, 4) && is_known(&existing, 7));
        assert!(!existing.places(last.as_bytes()).is_empty());
        assert!(existing.places(b"called 0042 of m").is_empty());
    }

    #[test]
    fn a_key_is_hidden_whatever_became_of_its_line_breaks() {
        let key = "-----BEGIN X-----\nMIIEpAIBAAKCAQEA1\nabcdefghijklmnop\n-----END X-----";
        let secret = Secret::new(key.to_owned());
        for text in [
            key.replace('\n', " "),
            key.replace('\n', "\\n"),
            key.replace('\n', ""),
        ] {
            let shown = redact(&text).into_owned();
            assert!(
                !shown.contains("MIIE") && !shown.contains("ijkl"),
                "{shown}"
            );
        }
        let remedy = "Paste the text from -----BEGIN X----- on";
        assert_eq!(redact(remedy), remedy);
        drop(secret);
    }
}
