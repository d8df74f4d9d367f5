//! Introspection: the answer to `--scheme`, and the `inputs.conf.spec` that says the same.
//!
//! An argument is declared once; the XML and the spec file both print that declaration. Code reads the value of an
//! argument by its declaration too, so that a misspelt name does not compile. Format: Splunk's manual "Modular
//! inputs", "Define a scheme for introspection".

use std::fmt::Write as _;

use quick_xml::escape::escape;

/// One argument of an input: a key of its `inputs.conf` stanza and a field of its form in Splunk Web.
#[derive(Debug)]
pub struct Argument {
    /// The key in `inputs.conf`.
    pub name: &'static str,
    /// The label of the field.
    pub title: &'static str,
    /// What to enter, in whole sentences.
    pub description: &'static str,
    /// The type of the value in splunkd's REST answers; splunkd does not check it.
    pub data_type: DataType,
    /// Whether splunkd refuses to create an input without it.
    pub required: bool,
    /// Whether the value moves to Splunk's secure storage and must never be shown.
    pub secret: bool,
    /// What applies when the key is absent or empty, if anything does.
    pub default: Option<&'static str>,
    /// Its group in the form.
    pub group: &'static str,
    /// How it is entered.
    pub field: Field,
}

impl Argument {
    /// An optional text of one line. A declaration spreads it and names only what differs.
    pub const OPTIONAL_TEXT: Self = Self {
        name: "",
        title: "",
        description: "",
        data_type: DataType::String,
        required: false,
        secret: false,
        default: None,
        group: "",
        field: Field::Text,
    };
}

/// The fields that Splunk Web's forms offer.
#[derive(Clone, Copy, Debug)]
pub enum Field {
    /// One line.
    Text,
    /// Several lines, for what has line breaks.
    TextArea,
    /// One line that is not shown.
    Password,
    /// A choice between values with labels.
    Select(&'static [(&'static str, &'static str)]),
    /// A choice between the entries of a collection of splunkd's, by its path.
    SelectFrom(&'static str),
}

/// Splunk's argument types, as far as they are used.
#[derive(Clone, Copy, Debug)]
pub enum DataType {
    /// Any text.
    String,
    /// A number.
    Number,
}

impl DataType {
    fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
        }
    }
}

/// What splunkd learns about a kind of input.
#[derive(Debug)]
pub struct Scheme {
    /// The app that ships the input and owns the secrets of its stanzas.
    pub app: &'static str,
    /// The kind: the file name of the binary and the part of a stanza's name before `://`.
    pub kind: &'static str,
    /// The label under Settings > Data inputs.
    pub title: &'static str,
    /// The line below that label.
    pub description: &'static str,
    /// The arguments, in the order of the form.
    pub arguments: &'static [Argument],
}

impl Scheme {
    /// The full name of an input of this kind: its stanza in `inputs.conf`.
    #[must_use]
    pub fn input(&self, name: &str) -> String {
        format!("{}://{name}", self.kind)
    }

    /// The secret arguments.
    pub fn secrets(&self) -> impl Iterator<Item = &'static Argument> {
        self.arguments.iter().filter(|argument| argument.secret)
    }

    /// The answer to `--scheme`. Both `required_on_*` are always written, because splunkd takes an absent
    /// `required_on_create` for true.
    #[must_use]
    pub fn xml(&self) -> String {
        let mut arguments = String::new();
        for argument in self.arguments {
            let _ = write!(
                arguments,
                "      <arg name=\"{}\">\n        \
                 <title>{}</title>\n        \
                 <description>{}</description>\n        \
                 <data_type>{}</data_type>\n        \
                 <required_on_create>{}</required_on_create>\n        \
                 <required_on_edit>false</required_on_edit>\n      \
                 </arg>\n",
                escape(argument.name),
                escape(argument.title),
                escape(argument.description),
                argument.data_type.name(),
                argument.required,
            );
        }
        format!(
            "<scheme>\n  \
             <title>{}</title>\n  \
             <description>{}</description>\n  \
             <use_external_validation>true</use_external_validation>\n  \
             <use_single_instance>false</use_single_instance>\n  \
             <streaming_mode>xml</streaming_mode>\n  \
             <endpoint>\n    <args>\n{arguments}    </args>\n  </endpoint>\n</scheme>\n",
            escape(self.title),
            escape(self.description),
        )
    }

    /// This kind's part of `README/inputs.conf.spec`. `interval` and `start_by_shell` are Splunk's own, but
    /// listed, because Splunk's packaging tool calls them undefined otherwise.
    #[must_use]
    pub fn spec(&self) -> String {
        let mut spec = format!("[{}://<name>]\n* {}\n", self.kind, self.description);
        for argument in self.arguments {
            let _ = write!(
                spec,
                "\n{} = <{}>\n* {}\n* {}\n* Default: {}\n",
                argument.name,
                argument.data_type.name(),
                argument.title,
                argument.description,
                argument.default.unwrap_or("none"),
            );
        }
        spec.push_str(
            "\ninterval = <string>\n\
             * Seconds between two runs, or a cron schedule; see default/inputs.conf for the default.\n\
             \nstart_by_shell = <boolean>\n\
             * Keep false: a shell in between would catch the signal by which Splunk stops the input.\n",
        );
        spec
    }
}
