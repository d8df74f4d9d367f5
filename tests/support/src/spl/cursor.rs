//! A place in the text of a search, and the words that begin there.

/// What went wrong, in words for whoever wrote the search.
pub type Result<T> = std::result::Result<T, String>;

pub(super) struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// The text ahead, short enough for a message.
    pub(super) fn ahead(&self) -> String {
        let ahead: String = self.rest().trim_start().chars().take(40).collect();
        if ahead.is_empty() {
            "the end".to_owned()
        } else {
            format!("`{ahead}`")
        }
    }

    pub(super) fn blanks(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.blanks();
        self.rest().is_empty()
    }

    /// The next sign that is no blank.
    pub(super) fn peek(&mut self) -> Option<char> {
        self.blanks();
        self.rest().chars().next()
    }

    /// Whether the next sign follows without a blank.
    pub(super) fn touches(&self, sign: char) -> bool {
        self.rest().starts_with(sign)
    }

    pub(super) fn take(&mut self, sign: &str) -> bool {
        self.blanks();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    pub(super) fn expect(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) {
            return Ok(());
        }
        Err(format!("`{sign}` is missing before {}", self.ahead()))
    }

    pub(super) fn skip(&mut self, length: usize) {
        self.at += length;
    }

    /// The longest run of signs that fit, perhaps empty.
    pub(super) fn run(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let length = rest.find(|sign| !fits(sign)).unwrap_or(rest.len());
        self.at += length;
        &rest[..length]
    }

    /// The word ahead if it is this one and ends there.
    pub(super) fn keyword(&mut self, word: &str) -> bool {
        self.blanks();
        let Some(after) = self.rest().strip_prefix(word) else {
            return false;
        };
        let ends = !after.starts_with(is_of_name);
        if ends {
            self.at += word.len();
        }
        ends
    }

    /// A keyword in the wrong case is a field to Splunk in some places and a keyword in others.
    pub(super) fn refuse_small(&mut self, words: &[&str]) -> Result<()> {
        let from = self.at;
        for word in words {
            if self.keyword(&word.to_lowercase()) {
                self.at = from;
                return Err(format!("`{}` is written {word}", word.to_lowercase()));
            }
        }
        Ok(())
    }

    /// A text in double quotes. A backslash keeps only a quote and another backslash from their meaning.
    pub(super) fn quoted(&mut self) -> Result<String> {
        self.expect("\"")?;
        let mut text = String::new();
        let mut signs = self.rest().char_indices().peekable();
        while let Some((at, sign)) = signs.next() {
            match sign {
                '"' => {
                    self.at += at + 1;
                    return Ok(text);
                }
                '\\' if signs.peek().is_some_and(|(_, next)| "\"\\".contains(*next)) => {
                    text.extend(signs.next().map(|(_, next)| next));
                }
                other => text.push(other),
            }
        }
        Err("a quotation mark is not closed".to_owned())
    }

    /// A field's name as the commands other than eval and where take it: a bare word, or one in double quotes.
    pub(super) fn field(&mut self) -> Result<String> {
        let name = if self.peek() == Some('"') {
            self.quoted()?
        } else {
            self.run(|sign| is_of_name(sign) || ".{}*:-".contains(sign))
                .to_owned()
        };
        if name.is_empty() {
            return Err(format!("a field is missing before {}", self.ahead()));
        }
        if ["by", "as"].contains(&name.as_str()) {
            return Err(format!("`{name}` is written {}", name.to_uppercase()));
        }
        if ["BY", "AS", "OVER", "OUTPUT", "OUTPUTNEW"].contains(&name.as_str()) {
            return Err(format!("{name} stands where a field is expected"));
        }
        if name.contains('*') {
            return Err(format!("the wildcard {name}: write the fields out"));
        }
        if name.starts_with('-') {
            return Err(format!("{name} is no field"));
        }
        Ok(name)
    }

    /// Fields, with or without commas between them, as long as they last.
    pub(super) fn fields(&mut self) -> Result<Vec<String>> {
        let mut fields = vec![];
        while self
            .peek()
            .is_some_and(|sign| is_of_name(sign) || sign == '"')
            && !self.is_at_option()
        {
            let field = self.field()?;
            if fields.contains(&field) {
                return Err(format!("{field} is named twice"));
            }
            fields.push(field);
            if self.take(",") && self.is_at_end() {
                return Err("ends with a comma".to_owned());
            }
        }
        if fields.is_empty() {
            return Err(format!("a field is missing before {}", self.ahead()));
        }
        Ok(fields)
    }

    fn is_at_option(&self) -> bool {
        self.rest().trim_start_matches(is_of_name).starts_with('=')
    }

    /// `name=value`, if that is what is ahead and the name is one of these.
    pub(super) fn option(&mut self, names: &[&str]) -> Result<Option<(String, String)>> {
        self.blanks();
        let from = self.at;
        let name = self
            .run(|sign| sign.is_ascii_alphanumeric() || sign == '_')
            .to_owned();
        if name.is_empty() || !self.take("=") || self.touches('=') {
            self.at = from;
            return Ok(None);
        }
        if !names.contains(&name.as_str()) {
            return Err(format!("the option {name} is not known"));
        }
        if self.peek() == Some('"') {
            return Ok(Some((name, self.quoted()?)));
        }
        let value = self.run(|sign| !sign.is_whitespace() && !",()|[]\"".contains(sign));
        if value.is_empty() {
            return Err(format!("the option {name} has no value"));
        }
        Ok(Some((name, value.to_owned())))
    }

    /// What stands between this bracket and the one that closes it, without them.
    pub(super) fn bracketed(&mut self) -> Result<&'a str> {
        self.expect("[")?;
        let rest = self.rest();
        let length = length_until(rest, |sign, depth| sign == ']' && depth == 0)?
            .ok_or("a bracket is not closed")?;
        self.at += length + 1;
        Ok(&rest[..length])
    }

    pub(super) fn end(&mut self) -> Result<()> {
        if self.is_at_end() {
            return Ok(());
        }
        Err(format!("{} is not understood", self.ahead()))
    }
}

pub(super) fn is_of_name(sign: char) -> bool {
    sign.is_alphanumeric() || sign == '_'
}

/// How far it is to the first sign outside of quotes that fits; the sign is given with the depth of square brackets
/// before it.
pub(super) fn length_until(
    text: &str,
    fits: impl Fn(char, usize) -> bool,
) -> Result<Option<usize>> {
    let (mut in_quotes, mut escaped) = (false, false);
    let (mut brackets, mut parentheses) = (0_usize, 0_usize);
    for (at, sign) in text.char_indices() {
        if in_quotes {
            match sign {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => in_quotes = false,
                _ => {}
            }
            continue;
        }
        if fits(sign, brackets) {
            if parentheses > 0 {
                return Err("a parenthesis is not closed".to_owned());
            }
            return Ok(Some(at));
        }
        match sign {
            '"' => in_quotes = true,
            '[' => brackets += 1,
            ']' => brackets = brackets.checked_sub(1).ok_or("a `]` too many")?,
            '(' => parentheses += 1,
            ')' => parentheses = parentheses.checked_sub(1).ok_or("a `)` too many")?,
            _ => {}
        }
    }
    if in_quotes {
        return Err("a quotation mark is not closed".to_owned());
    }
    if parentheses > 0 {
        return Err("a parenthesis is not closed".to_owned());
    }
    if brackets > 0 {
        return Err("a bracket is not closed".to_owned());
    }
    Ok(None)
}
