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
        for Form { text: form, .. } in forms(secret) {
            if form.len() < MIN_SECRET_CHARS {
                continue;
            }
            let length = part_length(form.as_bytes());
            self.lengths.insert(length);
            let parts = form.as_bytes().windows(length).enumerate();
            // The first one is that of the whole secret, which is recognised whatever it consists of.
            let parts = parts.filter(|(place, part)| *place == 0 || is_telling(part));
            self.parts.extend(parts.map(|(_, part)| hash(part)));
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
/// and XML do, also in two of these ways.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let (readings, secrets) = {
        let existing = existing();
        let secrets = existing.secrets.iter().filter_map(Weak::upgrade);
        let secrets: Vec<_> = secrets.collect();
        if secrets.is_empty() {
            return Cow::Borrowed(text);
        }
        let readings = readings(text).into_iter().filter_map(|reading| {
            let places = existing.places(&reading.bytes);
            (!places.is_empty()).then_some((reading, places))
        });
        (readings.collect::<Vec<_>>(), secrets)
    };
    if readings.is_empty() {
        return Cow::Borrowed(text);
    }
    let forms: Vec<_> = secrets.iter().flat_map(|secret| forms(secret)).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for (reading, places) in readings {
        // Without blanks only what may have lost them is sought: the blank after it would go with any other.
        for form in forms
            .iter()
            .filter(|it| it.is_spaceless == reading.is_spaceless)
        {
            reading.find(&form.text, &places, &mut found);
        }
    }
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|part| part.start);
    let mut redacted = String::with_capacity(text.len());
    let mut shown = 0;
    for part in found {
        // A part may begin or end inside a character.
        let start = text.floor_char_boundary(part.start);
        if start >= shown {
            redacted.push_str(text.get(shown..start).unwrap_or_default());
            redacted.push_str(REDACTED);
        }
        shown = shown.max(text.ceil_char_boundary(part.end));
    }
    redacted.push_str(text.get(shown..).unwrap_or_default());
    Cow::Owned(redacted)
}

/// What of a secret is secret: of a key not the first and last line of PEM, which every remedy may show.
fn pieces(secret: &str) -> Vec<&str> {
    if !secret.contains("-----BEGIN ") {
        return vec![secret];
    }
    secret
        .split("-----")
        .map(str::trim)
        .filter(|piece| !piece.starts_with("BEGIN ") && !piece.starts_with("END "))
        .collect()
}

/// A piece of a secret as it may stand in a text.
struct Form {
    text: Zeroizing<String>,
    /// Whether its blanks are left out.
    is_spaceless: bool,
}

/// The pieces of a secret, as they are and, of several lines, without blanks: line breaks become blanks in a line of the
/// log, and are lost in many a form.
fn forms(secret: &str) -> impl Iterator<Item = Form> {
    pieces(secret).into_iter().flat_map(|piece| {
        let spaceless = piece.contains(['\n', '\r', '\t']).then(|| {
            let letters = piece.chars().filter(|c| !c.is_ascii_whitespace());
            Form {
                text: Zeroizing::new(letters.collect()),
                is_spaceless: true,
            }
        });
        let whole = Form {
            text: Zeroizing::new(piece.to_owned()),
            is_spaceless: false,
        };
        [Some(whole), spaceless].into_iter().flatten()
    })
}

/// A text as somebody reads it who knows some escapes: its bytes, and where in the text each of them begins.
#[derive(PartialEq, Eq)]
struct Reading {
    bytes: Zeroizing<Vec<u8>>,
    /// One more than bytes: the last is the end of the text.
    places: Vec<usize>,
    /// Whether its blanks are left out.
    is_spaceless: bool,
}

/// What an escape at the beginning of some bytes means, and its own length.
type Escape = fn(&[u8]) -> Option<(Vec<u8>, usize)>;

/// The escapes by which servers, and our own log, repeat what they were given.
const ESCAPES: [Escape; 4] = [percent_escape, form_escape, json_escape, xml_escape];

/// So many ways of escaping are undone, one after the other.
const MAX_NESTING: usize = 2;

/// The text as it is, without its escapes, if it has any, and all of these without blanks.
fn readings(text: &str) -> Vec<Reading> {
    let mut readings = vec![Reading {
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
        places: (0..=text.len()).collect(),
        is_spaceless: false,
    }];
    let mut read = 0;
    for _ in 0..MAX_NESTING {
        let outer = read..readings.len();
        read = readings.len();
        for (outer, escape) in outer.flat_map(|outer| ESCAPES.map(|escape| (outer, escape))) {
            let inner = readings.get(outer).and_then(|outer| outer.without(escape));
            readings.extend(inner.filter(|inner| !readings.contains(inner)));
        }
    }
    let spaceless: Vec<_> = readings.iter().map(Reading::without_space).collect();
    readings.extend(spaceless);
    readings
}

impl Reading {
    /// What is read by who knows this escape too; `None` if it does not occur.
    fn without(&self, escape: Escape) -> Option<Self> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.bytes.len()));
        let mut places = Vec::with_capacity(self.places.len());
        let mut rest = self.bytes.as_slice();
        while let [first, following @ ..] = rest {
            let place = self.places.get(self.bytes.len() - rest.len()).copied()?;
            if let Some((meaning, length)) = escape(rest) {
                places.extend(meaning.iter().map(|_| place));
                bytes.extend(meaning);
                rest = rest.get(length..)?;
            } else {
                places.push(place);
                bytes.push(*first);
                rest = following;
            }
        }
        places.extend(self.places.last());
        (bytes != self.bytes).then_some(Self {
            bytes,
            places,
            is_spaceless: false,
        })
    }

    /// The same without blanks and line breaks.
    fn without_space(&self) -> Self {
        let bytes = self.bytes.iter().copied();
        let kept = bytes.zip(self.places.iter().copied());
        let kept = kept.filter(|(byte, _)| !byte.is_ascii_whitespace());
        let (bytes, mut places): (Vec<_>, Vec<_>) = kept.unzip();
        places.extend(self.places.last());
        Self {
            bytes: Zeroizing::new(bytes),
            places,
            is_spaceless: true,
        }
    }

    /// Adds where the text contains all of `secret`, or a long part of it, of the `places` where that may begin here.
    fn find(&self, secret: &str, places: &[usize], found: &mut Vec<Range<usize>>) {
        let parts = parts(&self.bytes, places, secret.as_bytes());
        found.extend(parts.filter_map(|part| {
            let start = self.places.get(part.start)?;
            Some(*start..*self.places.get(part.end)?)
        }));
    }
}

/// `%41`, as in an address.
fn percent_escape(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let [b'%', digits @ ..] = bytes else {
        return None;
    };
    let byte = u8::try_from(hex(digits.get(..2)?)?).ok()?;
    Some((vec![byte], 3))
}

/// `%41` and a plus sign for a blank, as in a form.
fn form_escape(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    match bytes {
        [b'+', ..] => Some((vec![b' '], 1)),
        _ => percent_escape(bytes),
    }
}

/// `\n`, `\"` or `\u0041`, as in JSON, and `\u{41}`, as in our own log.
fn json_escape(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let unit = |at: usize| match bytes.get(at..at + 6)? {
        [b'\\', b'u', digits @ ..] => u16::try_from(hex(digits)?).ok(),
        _ => None,
    };
    let simple = |meaning| Some((vec![meaning], 2));
    match bytes {
        [b'\\', b'u', b'{', digits @ ..] => {
            let length = digits.iter().position(|byte| *byte == b'}')?;
            let c = char::from_u32(hex(digits.get(..length)?)?)?;
            Some((c.to_string().into_bytes(), length + 4))
        }
        [b'\\', b'u', ..] => {
            let first = unit(0)?;
            let (units, length) = match unit(6) {
                Some(second) if (0xD800..0xDC00).contains(&first) => (vec![first, second], 12),
                _ => (vec![first], 6),
            };
            Some((String::from_utf16_lossy(&units).into_bytes(), length))
        }
        [b'\\', b'n', ..] => simple(b'\n'),
        [b'\\', b'r', ..] => simple(b'\r'),
        [b'\\', b't', ..] => simple(b'\t'),
        [b'\\', b'b', ..] => simple(8),
        [b'\\', b'f', ..] => simple(12),
        [b'\\', sign @ (b'"' | b'\\' | b'/' | b'\''), ..] => simple(*sign),
        _ => None,
    }
}

/// `&amp;`, `&#65;` or `&#x41;`, as in XML and HTML.
fn xml_escape(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    /// Longer than any reference to a character.
    const MAX_NAME_BYTES: usize = 10;
    let [b'&', rest @ ..] = bytes else {
        return None;
    };
    let length = rest
        .iter()
        .take(MAX_NAME_BYTES)
        .position(|byte| *byte == b';')?;
    let meaning = match rest.get(..length)? {
        b"amp" => '&',
        b"lt" => '<',
        b"gt" => '>',
        b"quot" => '"',
        b"apos" => '\'',
        [b'#', b'x' | b'X', digits @ ..] => char::from_u32(hex(digits)?)?,
        [b'#', digits @ ..] => char::from_u32(std::str::from_utf8(digits).ok()?.parse().ok()?)?,
        _ => return None,
    };
    Some((meaning.to_string().into_bytes(), length + 2))
}

/// The number that these hexadecimal digits are.
fn hex(digits: &[u8]) -> Option<u32> {
    let digits = std::str::from_utf8(digits).ok()?;
    u32::from_str_radix(digits, 16)
        .ok()
        .filter(|_| !digits.starts_with('+'))
}

/// Where `text` contains all of `secret`, or a long part of it, of the `places` where that may begin.
fn parts<'a>(
    text: &'a [u8],
    places: &'a [usize],
    secret: &'a [u8],
) -> impl Iterator<Item = Range<usize>> + 'a {
    let window = part_length(secret);
    let is_secret = secret.len() >= MIN_SECRET_CHARS;
    let mut end = 0;
    places.iter().filter_map(move |&start| {
        if !is_secret || start < end {
            return None;
        }
        let rest = text.get(start..)?;
        if rest.starts_with(secret) {
            end = start + secret.len();
            return Some(start..end);
        }
        let part = rest.get(..window).filter(|part| is_telling(part))?;
        let place = memchr::memmem::find(secret, part)?;
        let same = secret.iter().skip(place).zip(rest);
        end = start + same.take_while(|(one, other)| one == other).count();
        Some(start..end)
    })
}

/// Whether a part of a secret is unlike any part of another text.
fn is_telling(part: &[u8]) -> bool {
    let is_first = |(n, byte): &(usize, &u8)| !part.iter().take(*n).any(|other| other == *byte);
    let mut different = part.iter().enumerate().filter(is_first);
    different.nth(MIN_DIFFERENT_CHARS - 1).is_some()
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
    fn a_secret_is_hidden_in_every_escape_and_in_two_of_them() {
        let secret = Secret::new("P\u{e4}ss <\u{1F511}> & \\\"+\u{ad}/'".to_owned());
        for spelling in [
            r#"P\u00e4ss <\uD83D\udd11> & \\\"+\u00AD/'"#,
            "P\u{e4}ss \\u003c\u{1F511}\\u003E & \\\\\\\"\\u002b\u{ad}\\/'",
            "P%C3%A4ss+%3c%F0%9f%94%91%3E+%26+%5C%22%2B%C2%AD%2F%27",
            "P&#228;ss &lt;&#x1F511;&gt; &amp; \\&quot;+&#xad;/&apos;",
            "P%5Cu00e4ss%20%3C%F0%9F%94%91%3E%20%26%20%5C%5C%5C%22%2B%5Cu00ad/'",
            "P\u{e4}ss &amp;lt;\u{1F511}&amp;gt; &amp;amp; \\&amp;quot;+\u{ad}/&amp;#39;",
            // As a line of our own log shows it.
            "P\u{e4}ss <\u{1F511}> & \\\\\\\"+\\u{ad}/'",
        ] {
            assert_eq!(redact(&format!("a {spelling} b")), "a ****** b");
        }
        drop(secret);
    }

    #[test]
    fn a_password_that_looks_like_a_part_of_a_key_or_of_many_texts_is_hidden_all_the_same() {
        for password in [
            "abc-----def",
            "BEGIN the show",
            "END 0f it",
            "0000000000000000",
            "  x y ",
        ] {
            let secret = Secret::new(password.to_owned());
            assert_eq!(redact(&format!("a{password}b")), "a******b");
            drop(secret);
        }
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
}
