//! What splunkd writes on the standard input: the configuration of a run, or the arguments to validate.
//!
//! Elements may come in any order, unknown ones are ignored, and reading stops at the root's end tag, because
//! splunkd does not always close the pipe. Formats: Splunk's manual "Modular inputs", `<input>` for a run and
//! `<items>` for external validation.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::{BytesStart, Event};
use zeroize::Zeroizing;

use super::rest::Rest;
use super::scheme::{Argument, Scheme};
use crate::base::secret::Secret;

/// More than any configuration needs; a key is under 10 kB.
const MAX_DOCUMENT_BYTES: u64 = 8 * 1024 * 1024;

/// Splunk's documents have five levels.
const MAX_DEPTH: usize = 64;

/// The longest name that a message repeats.
const MAX_NAME_CHARS: usize = 64;

/// What a stanza contains instead of a secret that is in secure storage.
pub const MASK: &str = "******";

/// What splunkd writes instead of a host when an input leaves the choice to it.
const HOST_ON_STARTUP: &str = "$decideOnStartup";

/// What splunkd writes instead of an index when an input names none.
const DEFAULT_INDEX: &str = "default";

/// The document of a run or of a validation. It has no `Debug`: parameters hold secrets.
#[derive(Clone)]
pub struct InputDefinition {
    /// The splunkd that started this process.
    pub splunkd: Rest,
    /// Folder for this kind's checkpoints, shared by all inputs of the kind.
    pub checkpoint_dir: PathBuf,
    /// The input.
    pub stanza: Stanza,
}

/// One input of `inputs.conf`: text, not checked yet. It has no `Debug`: parameters hold secrets.
#[derive(Clone)]
pub struct Stanza {
    /// The bare name, without `<kind>://`.
    pub name: String,
    /// The app whose `inputs.conf` holds the stanza; older Splunk does not say.
    pub app: Option<String>,
    params: BTreeMap<String, Zeroizing<String>>,
}

impl Stanza {
    /// A stanza made of names and values.
    #[must_use]
    pub fn new(name: String, app: Option<String>, params: BTreeMap<String, String>) -> Self {
        let params = params
            .into_iter()
            .map(|(param, value)| (param, Zeroizing::new(value)))
            .collect();
        Self { name, app, params }
    }

    /// The value of an argument without the white space around it; absent and empty are the same.
    #[must_use]
    pub fn get(&self, argument: &Argument) -> Option<&str> {
        self.value(argument.name)
    }

    /// The value of an argument, or else its declared default, or else an empty text.
    #[must_use]
    pub fn get_or_default(&self, argument: &Argument) -> &str {
        self.get(argument).or(argument.default).unwrap_or_default()
    }

    /// Replaces the value of an argument.
    pub fn set(&mut self, argument: &Argument, value: &str) {
        self.params
            .insert(argument.name.to_owned(), Zeroizing::new(value.to_owned()));
    }

    /// The secret arguments whose value is the mask.
    #[must_use]
    pub fn masked(&self, scheme: &Scheme) -> Vec<&'static Argument> {
        scheme
            .secrets()
            .filter(|argument| self.get(argument) == Some(MASK))
            .collect()
    }

    /// The host that the stanza sets for its events, unless it leaves the choice to splunkd.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.value("host").filter(|host| *host != HOST_ON_STARTUP)
    }

    /// The index that the stanza sets for its events, unless it leaves the choice to splunkd.
    #[must_use]
    pub fn index(&self) -> Option<&str> {
        self.value("index").filter(|index| *index != DEFAULT_INDEX)
    }

    fn value(&self, param: &str) -> Option<&str> {
        self.params
            .get(param)
            .map(|value| value.trim())
            .filter(|value| !value.is_empty())
    }
}

impl InputDefinition {
    /// Reads the document of a run: exactly one stanza of `kind`, because the scheme requests one process per stanza.
    ///
    /// # Errors
    /// Anything that is not such a document; the message never shows a parameter's value.
    pub fn read_run(kind: &str, from: impl Read) -> Result<Self> {
        let root = read_document(from).context("could not read Splunk's XML configuration")?;
        if root.name != "input" {
            bail!(
                "expected Splunk's XML configuration with the root <input>, got <{}>",
                shown(&root.name)
            );
        }
        let stanzas: Vec<_> = root
            .children
            .iter()
            .filter(|child| child.name == "configuration")
            .flat_map(|configuration| &configuration.children)
            .filter(|child| child.name == "stanza")
            .collect();
        let [stanza] = stanzas.as_slice() else {
            bail!(
                "expected one <stanza> in Splunk's XML configuration, got {}",
                stanzas.len()
            );
        };
        let full_name = stanza
            .attribute("name")
            .context("a <stanza> in Splunk's XML configuration has no name")?;
        let prefix = format!("{kind}://");
        let name = full_name.strip_prefix(&prefix).with_context(|| {
            let full_name = shown(full_name);
            format!("expected a stanza named {prefix}<name>, got \"{full_name}\"")
        })?;
        Self::new(&root, name, stanza)
    }

    /// Reads the document of an external validation: exactly one `<item>`.
    ///
    /// # Errors
    /// Anything that is not such a document; the message never shows a parameter's value.
    pub fn read_validation(from: impl Read) -> Result<Self> {
        let root = read_document(from).context("could not read Splunk's XML arguments")?;
        if root.name != "items" {
            bail!(
                "expected Splunk's XML arguments with the root <items>, got <{}>",
                shown(&root.name)
            );
        }
        let items: Vec<_> = root
            .children
            .iter()
            .filter(|child| child.name == "item")
            .collect();
        let [item] = items.as_slice() else {
            bail!(
                "expected one <item> in Splunk's XML arguments, got {}",
                items.len()
            );
        };
        let name = item
            .attribute("name")
            .context("the <item> in Splunk's XML arguments has no name")?;
        Self::new(&root, name, item)
    }

    fn new(root: &Element, name: &str, stanza: &Element) -> Result<Self> {
        let text = |name: &str| {
            root.children
                .iter()
                .find(|child| child.name == name)
                .map(|child| child.text.trim().to_owned())
                .unwrap_or_default()
        };
        // In an address of splunkd's they would lead to another place.
        if matches!(name, "." | "..") {
            bail!("an input cannot be named \"{name}\": choose another name");
        }
        Ok(Self {
            splunkd: Rest::new(&text("server_uri"), Secret::new(text("session_key"))),
            checkpoint_dir: PathBuf::from(text("checkpoint_dir")),
            stanza: Stanza::new(
                name.to_owned(),
                stanza.attribute("app").map(str::to_owned),
                stanza.params(),
            ),
        })
    }
}

/// An XML element with all that belongs to it.
#[derive(Default)]
struct Element {
    name: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
    text: Zeroizing<String>,
}

impl Element {
    fn start(tag: &BytesStart<'_>) -> Result<Self> {
        let mut element = Self {
            name: tag.name().as_ref().to_owned(),
            ..Self::default()
        };
        for attribute in tag.attributes() {
            let attribute = attribute.context("an attribute is malformed")?;
            let value = attribute
                .normalized_value(quick_xml::XmlVersion::Implicit1_0)
                .context("an attribute's value is malformed")?;
            element
                .attributes
                .push((attribute.key.as_ref().to_owned(), value.into_owned()));
        }
        Ok(element)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// `<param>` and `<param_list>`; the values of a list are joined with commas, as in a conf file.
    fn params(&self) -> BTreeMap<String, String> {
        let mut params = BTreeMap::new();
        for child in &self.children {
            let Some(name) = child.attribute("name") else {
                continue;
            };
            let value = match child.name.as_str() {
                "param" => child.text.to_string(),
                "param_list" => {
                    let values: Vec<_> = child
                        .children
                        .iter()
                        .map(|value| value.text.trim())
                        .collect();
                    values.join(",")
                }
                _ => continue,
            };
            params.insert(name.to_owned(), value);
        }
        params
    }
}

/// A name as a message repeats it: where a quotation mark is missing, it may hold what follows, values and all.
fn shown(name: &str) -> &str {
    let is_name = name.chars().count() <= MAX_NAME_CHARS && !name.contains(['<', '>', '"']);
    if is_name { name } else { "\u{2026}" }
}

/// Reads one XML document, to the end tag of its root and no byte further than the reader's buffer.
fn read_document(from: impl Read) -> Result<Element> {
    let mut reader = Reader::from_reader(BufReader::new(from.take(MAX_DOCUMENT_BYTES)));
    let mut open: Vec<Element> = Vec::new();
    let mut buffer = Zeroizing::new(Vec::new());
    loop {
        buffer.clear();
        let event = next_event(&mut reader, &mut buffer);
        let is_all = reader.get_ref().get_ref().limit() == 0;
        if is_all && !event.as_ref().is_ok_and(|event| *event != Event::Eof) {
            bail!("it is longer than {MAX_DOCUMENT_BYTES} bytes");
        }
        let closed = match event? {
            Event::Start(tag) => {
                if open.len() == MAX_DEPTH {
                    bail!("it is nested too deeply");
                }
                open.push(Element::start(&tag)?);
                None
            }
            Event::Empty(tag) => Some(Element::start(&tag)?),
            Event::End(_) => open.pop(),
            Event::Text(text) => {
                append(&mut open, &text.xml10_content());
                None
            }
            Event::CData(text) => {
                append(&mut open, &text.xml10_content());
                None
            }
            Event::GeneralRef(reference) => {
                let character = reference
                    .resolve_char_ref()
                    .context("a character reference is malformed")?;
                match character {
                    Some(character) => append(&mut open, character.encode_utf8(&mut [0; 4])),
                    None => append(
                        &mut open,
                        resolve_predefined_entity(&reference).context("an entity is unknown")?,
                    ),
                }
                None
            }
            Event::Eof => bail!("it ended before the end tag of its root"),
            Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => None,
        };
        if let Some(element) = closed {
            match open.last_mut() {
                Some(parent) => parent.children.push(element),
                None => return Ok(element),
            }
        }
    }
}

/// The parser's own messages can quote the document, and with it a secret, so the error names the place only.
fn next_event<'b, R: BufRead>(
    reader: &mut Reader<R>,
    buffer: &'b mut Vec<u8>,
) -> Result<Event<'b>> {
    let position = reader.buffer_position();
    reader
        .read_event_into(buffer)
        .map_err(|_| anyhow::anyhow!("it is not well-formed XML after byte {position}"))
}

fn append(open: &mut [Element], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::{InputDefinition, Stanza};

    const RUN: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<input>
  <configuration>
    <unknown><stanza name="no"/></unknown>
    <stanza app="search" name="ds_monitor://prod &amp; demo">
      <param name="interval">60</param>
      <param_list name="kinds"><value>users</value><value>accounts</value></param_list>
      <param name="private_key">a &lt;&#x20;&amp;
b</param>
      <param name="empty"></param>
      <param name="proxy_url"/>
      <param name="cdata"><![CDATA[<x>]]></param>
    </stanza>
  </configuration>
  <session_key>s3cret</session_key>
  <server_uri>https://127.0.0.1:8089</server_uri>
  <checkpoint_dir>/tmp/x</checkpoint_dir>
  <server_host>hf01</server_host>
</input>"#;

    #[test]
    fn elements_come_in_any_order_and_entities_are_resolved() {
        let definition = InputDefinition::read_run("ds_monitor", RUN.as_bytes()).unwrap();
        let stanza = &definition.stanza;
        assert_eq!(stanza.name, "prod & demo");
        assert_eq!(stanza.app.as_deref(), Some("search"));
        assert_eq!(stanza.value("interval"), Some("60"));
        assert_eq!(stanza.value("kinds"), Some("users,accounts"));
        assert_eq!(stanza.value("private_key"), Some("a < &\nb"));
        assert_eq!(stanza.value("empty"), None);
        assert_eq!(stanza.value("proxy_url"), None);
        assert_eq!(stanza.value("cdata"), Some("<x>"));
        assert_eq!(definition.checkpoint_dir.to_str(), Some("/tmp/x"));
    }

    #[test]
    fn what_splunkd_decides_itself_is_no_host_and_no_index() {
        let stanza = |host: &str, index: &str| {
            let params = [("host", host), ("index", index)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()));
            Stanza::new("prod".to_owned(), None, params.into())
        };
        let open = stanza("$decideOnStartup", "default");
        assert_eq!((open.host(), open.index()), (None, None));
        let set = stanza("hf01", "docusign");
        assert_eq!((set.host(), set.index()), (Some("hf01"), Some("docusign")));
    }

    #[test]
    fn reading_stops_at_the_end_of_the_root() {
        /// A pipe that splunkd keeps open: reading on would wait for ever, so it fails here instead.
        struct OpenPipe<'a>(&'a [u8]);
        impl Read for OpenPipe<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                assert!(!self.0.is_empty(), "read past the end of the document");
                self.0.read(buffer)
            }
        }
        assert!(InputDefinition::read_run("ds_monitor", OpenPipe(RUN.as_bytes())).is_ok());
    }

    #[test]
    fn the_item_of_a_validation_has_a_bare_name() {
        let items =
            "<items><item name=\"prod\"><param name=\"limit\">5</param></item></items>".as_bytes();
        let definition = InputDefinition::read_validation(items).unwrap();
        assert_eq!(definition.stanza.name, "prod");
        assert_eq!(definition.stanza.value("limit"), Some("5"));
    }

    #[test]
    fn other_documents_are_refused_without_quoting_them() {
        for (document, expected) in [
            ("", "ended before"),
            ("<input>", "ended before"),
            ("<items/>", "root <input>"),
            ("<input><configuration/></input>", "got 0"),
            (
                "<input><configuration><stanza name=\"ds_monitor://a\"/><stanza name=\"ds_monitor://b\"/></configuration></input>",
                "got 2",
            ),
            (
                "<input><configuration><stanza name=\"other://a\"/></configuration></input>",
                "ds_monitor://<name>",
            ),
            (
                "<input><configuration><stanza name=\"ds_monitor://a\"><param name=\"private_key\">s3cret</parm>",
                "not well-formed",
            ),
            ("<input>&s3cret;</input>", "entity"),
        ] {
            let error = InputDefinition::read_run("ds_monitor", document.as_bytes())
                .err()
                .unwrap();
            let message = format!("{error:#}");
            assert!(message.contains(expected), "{document}: {message}");
            assert!(!message.contains("s3cret"), "{message}");
        }
    }

    #[test]
    fn a_name_that_swallowed_a_value_is_not_shown() {
        let secret = "<param name=\"private_key\">s3cret</param>";
        for document in [
            format!("<input'{}/>", secret.replace(['"', ' '], "'")),
            format!("<input><configuration><stanza name='{secret}'/></configuration></input>"),
            format!("<{}/>", "x".repeat(65)),
        ] {
            let error = InputDefinition::read_run("ds_monitor", document.as_bytes());
            let error = format!("{:#}", error.err().unwrap());
            assert!(
                !error.contains("s3cret") && !error.contains("xxx"),
                "{error}"
            );
        }
    }
}
