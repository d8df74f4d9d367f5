//! Regular expressions as far as this app needs them: literal text with `^`, `$`, `.`, `*`, `+`, `?`, `\d`, `\s`,
//! `\w`, escaped signs, also as `\x60`, simple classes such as `[a-z_]`, `|` outside of groups, and `(?s)` at the
//! beginning, with which `.` takes line breaks. Groups, counts and everything else is refused.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::cursor::Result;

enum Piece {
    /// Any sign, and whether a line break is one.
    Any(bool),
    Sign(char),
    /// Ranges, and whether they are excluded.
    Class(Vec<(char, char)>, bool),
}

struct Repeated {
    piece: Piece,
    least: usize,
    most: usize,
}

struct Pattern {
    from_start: bool,
    to_end: bool,
    pieces: Vec<Repeated>,
}

fn class(escaped: char) -> Option<Vec<(char, char)>> {
    Some(match escaped {
        'd' => vec![('0', '9')],
        'w' => vec![('0', '9'), ('a', 'z'), ('A', 'Z'), ('_', '_')],
        's' => vec![(' ', ' '), ('\t', '\r')],
        _ => return None,
    })
}

/// The pattern, read once: a search asks it of every row.
fn compiled(text: &str) -> Result<Rc<[Pattern]>> {
    thread_local! {
        static KNOWN: RefCell<BTreeMap<String, Rc<[Pattern]>>> = RefCell::default();
    }
    if let Some(patterns) = KNOWN.with_borrow(|known| known.get(text).cloned()) {
        return Ok(patterns);
    }
    let patterns: Rc<[Pattern]> = compile(text)?.into();
    KNOWN.with_borrow_mut(|known| known.insert(text.to_owned(), Rc::clone(&patterns)));
    Ok(patterns)
}

fn compile(text: &str) -> Result<Vec<Pattern>> {
    let unknown = |what: &str| format!("the tests do not know {what} in the pattern {text}");
    let mut patterns = vec![];
    let mut pattern = Pattern {
        from_start: false,
        to_end: false,
        pieces: vec![],
    };
    let (with_breaks, rest) = text
        .strip_prefix("(?s)")
        .map_or((false, text), |rest| (true, rest));
    let mut signs = rest.chars().peekable();
    while let Some(sign) = signs.next() {
        if pattern.to_end && sign != '|' {
            return Err(unknown("a $ that is not the end"));
        }
        let piece = match sign {
            '^' if pattern.pieces.is_empty() => {
                pattern.from_start = true;
                continue;
            }
            '$' => {
                pattern.to_end = true;
                continue;
            }
            '|' => {
                let next = Pattern {
                    from_start: false,
                    to_end: false,
                    pieces: vec![],
                };
                patterns.push(std::mem::replace(&mut pattern, next));
                continue;
            }
            '*' | '+' | '?' => {
                let last = pattern
                    .pieces
                    .last_mut()
                    .ok_or_else(|| unknown("a repetition of nothing"))?;
                if last.least != 1 || last.most != 1 {
                    return Err(unknown("a repeated repetition"));
                }
                last.least = usize::from(sign == '+');
                last.most = if sign == '?' { 1 } else { usize::MAX };
                continue;
            }
            '.' => Piece::Any(with_breaks),
            '\\' => {
                let escaped = signs.next().ok_or_else(|| unknown("a last backslash"))?;
                match class(escaped) {
                    Some(ranges) => Piece::Class(ranges, false),
                    None if escaped == 'x' => {
                        let digits: String = signs.by_ref().take(2).collect();
                        let sign = u8::from_str_radix(&digits, 16);
                        Piece::Sign(sign.map_err(|_| unknown("such a sign"))?.into())
                    }
                    None if escaped.is_ascii_alphanumeric() => return Err(unknown("such a class")),
                    None => Piece::Sign(escaped),
                }
            }
            '[' => {
                let excluded = signs.next_if_eq(&'^').is_some();
                let mut ranges = vec![];
                loop {
                    let first = match signs.next().ok_or_else(|| unknown("an open class"))? {
                        ']' => break,
                        '[' => return Err(unknown("a class in a class")),
                        '\\' => {
                            let escaped = signs.next().ok_or_else(|| unknown("an open class"))?;
                            if let Some(more) = class(escaped) {
                                ranges.extend(more);
                                continue;
                            }
                            escaped
                        }
                        first => first,
                    };
                    let last = match signs.next_if_eq(&'-') {
                        None => first,
                        Some(_) if signs.peek() == Some(&']') => {
                            ranges.push(('-', '-'));
                            first
                        }
                        Some(_) => signs.next().ok_or_else(|| unknown("an open class"))?,
                    };
                    ranges.push((first, last));
                }
                Piece::Class(ranges, excluded)
            }
            '(' | ')' | '{' | '}' | ']' | '^' => return Err(unknown(&format!("`{sign}`"))),
            other => Piece::Sign(other),
        };
        pattern.pieces.push(Repeated {
            piece,
            least: 1,
            most: 1,
        });
    }
    patterns.push(pattern);
    Ok(patterns)
}

impl Piece {
    fn takes(&self, sign: char) -> bool {
        match self {
            Self::Any(with_breaks) => *with_breaks || sign != '\n',
            Self::Sign(own) => *own == sign,
            Self::Class(ranges, excluded) => {
                let inside = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&sign));
                inside != *excluded
            }
        }
    }
}

impl Pattern {
    /// The end of the match that begins here, if there is one; longer ones first.
    fn end(&self, pieces: &[Repeated], signs: &[char], at: usize) -> Option<usize> {
        let Some((first, rest)) = pieces.split_first() else {
            return (!self.to_end || at == signs.len()).then_some(at);
        };
        let run = signs[at..].iter().take(first.most);
        let longest = run.take_while(|sign| first.piece.takes(**sign)).count();
        (first.least..=longest)
            .rev()
            .find_map(|length| self.end(rest, signs, at + length))
    }
}

fn find(patterns: &[Pattern], signs: &[char], from: usize) -> Option<(usize, usize)> {
    (from..=signs.len()).find_map(|start| {
        patterns.iter().find_map(|pattern| {
            let allowed = !pattern.from_start || start == 0;
            let end = allowed.then(|| pattern.end(&pattern.pieces, signs, start));
            end.flatten().map(|end| (start, end))
        })
    })
}

pub(super) fn is_match(pattern: &str, text: &str) -> Result<bool> {
    let signs: Vec<char> = text.chars().collect();
    Ok(find(&compiled(pattern)?, &signs, 0).is_some())
}

/// Every match replaced by a plain text.
pub(super) fn replace(pattern: &str, text: &str, by: &str) -> Result<String> {
    if by.contains('\\') {
        return Err(format!("the tests do not know references to groups: {by}"));
    }
    let patterns = compiled(pattern)?;
    let signs: Vec<char> = text.chars().collect();
    let (mut replaced, mut at) = (String::new(), 0);
    while let Some((start, end)) = find(&patterns, &signs, at) {
        if start == end {
            return Err(format!("the pattern {pattern} takes nothing"));
        }
        replaced.extend(&signs[at..start]);
        replaced.push_str(by);
        at = end;
    }
    replaced.extend(&signs[at..]);
    Ok(replaced)
}
