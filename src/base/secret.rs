//! A text that must not be shown: it has no `Display`, its `Debug` says REDACTED, and it is wiped from memory with its
//! last copy.
//!
//! Every place that lets a secret out can be found by searching for `expose`. A server may still send back what it was
//! sent, so every text that leaves the process for a log, a form or a screen goes through [`redact`], which knows all
//! secrets that exist.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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
static EXISTING: Mutex<Vec<Weak<Zeroizing<String>>>> = Mutex::new(Vec::new());

/// A secret text: a key, a password, a token, a session key. Clones share it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    /// Takes the text in.
    #[must_use]
    pub fn new(text: String) -> Self {
        let secret = Arc::new(Zeroizing::new(text));
        let mut existing = EXISTING.lock().unwrap_or_else(PoisonError::into_inner);
        existing.retain(|secret| secret.strong_count() > 0);
        existing.push(Arc::downgrade(&secret));
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
    let secrets: Vec<_> = {
        let existing = EXISTING.lock().unwrap_or_else(PoisonError::into_inner);
        existing.iter().filter_map(Weak::upgrade).collect()
    };
    if secrets.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut found: Vec<Range<usize>> = Vec::new();
    for reading in readings(text) {
        for piece in secrets.iter().flat_map(|secret| pieces(secret)) {
            reading.find(piece, &mut found);
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

/// A text as somebody reads it who knows some escapes: its bytes, and where in the text each of them begins.
#[derive(PartialEq, Eq)]
struct Reading {
    bytes: Zeroizing<Vec<u8>>,
    /// One more than bytes: the last is the end of the text.
    places: Vec<usize>,
}

/// What an escape at the beginning of some bytes means, and its own length.
type Escape = fn(&[u8]) -> Option<(Vec<u8>, usize)>;

/// The escapes by which servers, and our own log, repeat what they were given.
const ESCAPES: [Escape; 4] = [percent_escape, form_escape, json_escape, xml_escape];

/// So many ways of escaping are undone, one after the other.
const MAX_NESTING: usize = 2;

/// The text as it is, and without its escapes, if it has any.
fn readings(text: &str) -> Vec<Reading> {
    let mut readings = vec![Reading {
        bytes: Zeroizing::new(text.as_bytes().to_vec()),
        places: (0..=text.len()).collect(),
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
        (bytes != self.bytes).then_some(Self { bytes, places })
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
        }
    }

    /// Adds the places of the text where it contains all of `secret`, or a long part of it.
    fn find(&self, secret: &str, found: &mut Vec<Range<usize>>) {
        let mut find = |reading: &Self, secret: &str| {
            let places = parts(&reading.bytes, secret.as_bytes());
            found.extend(places.filter_map(|part| {
                let start = reading.places.get(part.start)?;
                Some(*start..*reading.places.get(part.end)?)
            }));
        };
        find(self, secret);
        // Line breaks become blanks in a line of the log, and are lost in many a form.
        if secret.contains(['\n', '\r', '\t']) {
            let letters = secret.chars().filter(|c| !c.is_whitespace());
            find(
                &self.without_space(),
                &Zeroizing::new(letters.collect::<String>()),
            );
        }
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

/// The places where `text` contains all of `secret`, or a long part of it.
fn parts<'a>(text: &'a [u8], secret: &'a [u8]) -> impl Iterator<Item = Range<usize>> + 'a {
    let window = secret.len().min(MIN_PART_CHARS);
    let is_secret = secret.len() >= MIN_SECRET_CHARS;
    let mut at = 0;
    std::iter::from_fn(move || {
        while is_secret && at + window <= text.len() {
            let start = at;
            at += 1;
            let rest = text.get(start..)?;
            if rest.starts_with(secret) {
                at = start + secret.len();
                return Some(start..at);
            }
            let part = rest.get(..window)?;
            if !is_telling(part) {
                continue;
            }
            let Some(place) = memchr::memmem::find(secret, part) else {
                continue;
            };
            let same = secret.iter().skip(place).zip(rest);
            let length = same.take_while(|(one, other)| one == other).count();
            at = start + length;
            return Some(start..at);
        }
        None
    })
}

/// Whether a part of a secret is unlike any part of another text.
fn is_telling(part: &[u8]) -> bool {
    let is_new = |(n, byte): (usize, &u8)| !part.iter().take(n).any(|before| before == byte);
    let different = part
        .iter()
        .enumerate()
        .filter(|(n, byte)| is_new((*n, byte)));
    different.take(MIN_DIFFERENT_CHARS).count() == MIN_DIFFERENT_CHARS
}

#[cfg(test)]
mod tests {
    use super::{Secret, redact};

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
}
