//! The form of an input in Splunk Web: `default/data/ui/manager/<kind>.xml`, instead of the one that Splunk generates.
//!
//! Another printing of the declaration in [`super::scheme`]. Such a form shows only what it lists, so it lists
//! Splunk's own settings of an input too. Format: Splunk's manual "Modular inputs", "Create a custom user
//! interface"; element types are those of Splunk's own pages.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::scheme::{Argument, Field, Scheme};

impl Scheme {
    /// The form: groups, help under each field, and Splunk's own settings at the end.
    #[must_use]
    pub fn manager_xml(&self) -> String {
        let mut groups: Vec<&str> = Vec::new();
        for argument in self.arguments {
            if !groups.contains(&argument.group) {
                groups.push(argument.group);
            }
        }
        let mut fieldsets = String::new();
        for group in groups {
            let fields: String = self
                .arguments
                .iter()
                .filter(|argument| argument.group == group)
                .map(Argument::element)
                .collect();
            let name = match fieldsets.is_empty() {
                true => NAME_ELEMENT,
                false => "",
            };
            let _ = write!(fieldsets, "{}", fieldset(group, &format!("{name}{fields}")));
        }
        let _ = write!(
            fieldsets,
            "{}",
            fieldset("Schedule and index", SCHEDULE_ELEMENTS)
        );
        format!(
            "<endpoint name=\"data/inputs/{kind}\">\n  \
             <header>{title}</header>\n  \
             <breadcrumb>\n    \
             <parent hidecurrent=\"False\">datainputstats</parent>\n    \
             <name>{title}</name>\n  \
             </breadcrumb>\n  \
             <elements>\n{fieldsets}{APP_ELEMENT}  </elements>\n</endpoint>\n",
            kind = self.kind,
            title = escape(self.title),
        )
    }
}

impl Argument {
    /// The field of the form.
    fn element(&self) -> String {
        let (kind, inner) = match self.field {
            Field::Text => ("textfield", String::new()),
            Field::TextArea => ("textarea", String::new()),
            Field::Password => ("simplepassword", String::new()),
            Field::SelectFrom(path) => ("select", dynamic_options(path)),
            Field::Select(options) => {
                let options: String = options
                    .iter()
                    .map(|(value, label)| {
                        format!(
                            "            <opt value=\"{}\" label=\"{}\"/>\n",
                            escape(*value),
                            escape(*label)
                        )
                    })
                    .collect();
                (
                    "select",
                    format!("          <options>\n{options}          </options>\n"),
                )
            }
        };
        let required = if self.required {
            " required=\"true\""
        } else {
            ""
        };
        format!(
            "        <element name=\"{name}\" type=\"{kind}\" label=\"{title}\"{required}>\n          \
             <view name=\"edit\"/><view name=\"create\"/>\n          \
             <key name=\"exampleText\">{description}{default}</key>\n\
             {inner}        </element>\n",
            name = self.name,
            title = escape(self.title),
            description = escape(self.description),
            default = self
                .default
                .map(|default| format!(" Default: {}.", escape(default)))
                .unwrap_or_default(),
        )
    }
}

fn fieldset(legend: &str, elements: &str) -> String {
    let name: String = legend
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .collect();
    format!(
        "    <element name=\"{name}\" type=\"fieldset\">\n      \
         <view name=\"list\"/><view name=\"edit\"/><view name=\"create\"/>\n      \
         <key name=\"legend\">{}</key>\n      \
         <elements>\n{elements}      </elements>\n    </element>\n",
        escape(legend)
    )
}

/// The name of the input, which can be chosen only once.
const NAME_ELEMENT: &str = "        \
<element name=\"name\" type=\"textfield\" label=\"Name\" required=\"true\">
          <view name=\"list\"/><view name=\"create\"/>
          <key name=\"exampleText\">A short name of your choice; it appears as the source of the events.</key>
        </element>
";

/// Splunk's own settings of an input. The list of indexes is requested as in Splunk's own forms.
const SCHEDULE_ELEMENTS: &str = "        \
<element name=\"interval\" type=\"textfield\" label=\"Interval\">
          <view name=\"list\"/><view name=\"edit\"/><view name=\"create\"/>
          <key name=\"exampleText\">Seconds between two runs: 60 to 300 for events, 86400 for lookups. Or a cron schedule of five fields.</key>
        </element>
        <element name=\"index\" type=\"select\" label=\"Index\">
          <view name=\"list\"/><view name=\"edit\"/><view name=\"create\"/>
          <key name=\"exampleText\">Where the events go.</key>
          <key name=\"dynamicOptions\" type=\"dict\">
            <key name=\"keyName\">title</key>
            <key name=\"keyValue\">title</key>
            <key name=\"splunkSource\">/data/indexes</key>
            <key name=\"splunkSourceParams\" type=\"dict\">
              <key name=\"count\">-1</key>
              <key name=\"search\">isInternal=0 disabled=0 isVirtual=0</key>
              <key name=\"datatype\">all</key>
            </key>
            <key name=\"prefixOptions\" type=\"list\">
              <item type=\"list\"><item>default</item><item>Default</item></item>
            </key>
          </key>
        </element>
        <element name=\"host\" type=\"textfield\" label=\"Host\">
          <view name=\"edit\"/><view name=\"create\"/>
          <key name=\"exampleText\">The host of the events; leave it as it is for this machine's name.</key>
        </element>
";

/// The last column of the list of inputs, as Splunk's own lists have it.
const APP_ELEMENT: &str = "    \
<element name=\"eai:acl.app\" label=\"App\">
      <view name=\"list\"/>
      <key name=\"processValueList\">entity['eai:acl']['app'] or \"\"</key>
    </element>
";

/// A choice between the entries of a collection of splunkd's, as Splunk's own forms ask for one.
fn dynamic_options(path: &str) -> String {
    format!(
        "          <key name=\"dynamicOptions\" type=\"dict\">\n            \
         <key name=\"keyName\">title</key>\n            \
         <key name=\"keyValue\">title</key>\n            \
         <key name=\"splunkSource\">{path}</key>\n            \
         <key name=\"splunkSourceParams\" type=\"dict\">\n              \
         <key name=\"count\">-1</key>\n            \
         </key>\n          \
         </key>\n"
    )
}
