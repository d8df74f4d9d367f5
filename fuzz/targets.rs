//! What must hold for any input from outside: one function a target, which panics where it does not hold.

use std::fs;
use std::io::Write;
use std::sync::{Arc, Mutex};

use ds_monitor::base::clock::Timestamp;
use ds_monitor::base::secret::{Secret, redact};
use ds_monitor::docusign::BaseUrl;
use ds_monitor::docusign::monitor_api::Page;
use ds_monitor::docusign::rsa_key::PrivateKey;
use ds_monitor::splunk::input_definition::InputDefinition;
use ds_monitor::splunk::log::{Fields, Level, Log};

/// A property of bytes from outside.
pub(crate) type Target = fn(&[u8]);

/// Every target by the name of its corpus.
pub(crate) const TARGETS: [(&str, Target); 6] = [
    ("configuration", configuration),
    ("key", key),
    ("log_line", log_line),
    ("page", page),
    ("timestamp", timestamp),
    ("url", url),
];

const SECRET: &str = "s3cret-Token-0123456789";

/// Reading Splunk's XML ends, with a definition or an error.
pub(crate) fn configuration(bytes: &[u8]) {
    let _ = InputDefinition::read_run("ds_monitor", bytes);
    let _ = InputDefinition::read_validation(bytes);
}

/// Reading a key ends, with a key or a problem.
pub(crate) fn key(bytes: &[u8]) {
    let _ = PrivateKey::parse_file(bytes);
}

/// A line in the log is one line without the secret, whatever the text.
pub(crate) fn log_line(bytes: &[u8]) {
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);
    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let _secret = Secret::new(SECRET.to_owned());
    let text = format!("{}{SECRET}", String::from_utf8_lossy(bytes));
    assert!(!redact(&text).contains(SECRET));
    let sink = Sink::default();
    let fields = Fields::new().with("key", &text);
    Log::new(Box::new(sink.clone())).write(Level::Info, &fields, &text);
    let written = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    assert!(written.starts_with("INFO ") && written.ends_with('\n'));
    assert_eq!(written.lines().count(), 1);
    assert!(!written.contains(SECRET));
}

/// A page that is accepted has records that are JSON and stand in the body in their order.
pub(crate) fn page(bytes: &[u8]) {
    let Ok(page) = Page::parse(bytes.to_vec(), "c") else {
        return;
    };
    let mut rest = std::str::from_utf8(bytes).unwrap();
    for record in page.records() {
        let at = rest.find(record.json).unwrap();
        rest = &rest[at + record.json.len()..];
        serde_json::from_str::<&serde_json::value::RawValue>(record.json).unwrap();
        let _ = (record.timestamp(), record.event_id());
    }
}

/// A timestamp is shown as decimal seconds.
pub(crate) fn timestamp(bytes: &[u8]) {
    let Some(time) = Timestamp::parse(&String::from_utf8_lossy(bytes)) else {
        return;
    };
    let mut appended = Vec::new();
    time.append_to(&mut appended);
    assert_eq!(time.to_string().as_bytes(), appended);
    assert!(
        appended
            .iter()
            .all(|byte| byte.is_ascii_digit() || *byte == b'.')
    );
}

/// A base address that is accepted is encrypted or stays on this machine.
pub(crate) fn url(bytes: &[u8]) {
    if let Ok(url) = BaseUrl::parse(&String::from_utf8_lossy(bytes)) {
        assert!(url.is_https() || url.is_loopback());
        assert_eq!(url.join("/x").host_str(), Some(url.host()));
    }
}

/// The committed seeds of a target.
pub(crate) fn seeds(target: &str) -> Vec<Vec<u8>> {
    let folder = format!("{}/fuzz/corpus/{target}", env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}
