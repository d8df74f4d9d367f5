//! Scripted stand-ins for the outside worlds, and a runner for the real binaries.
//!
//! [`conf`], [`search_time`] and [`spl`] do what Splunk does with this app's settings and searches, without Splunk.
//! [`docusign`], [`splunkd`] with its [`kv_store`], and [`hec`] answer on loopback through the small server of [`http`], which can also fail in
//! the ways a network does; [`tls`] and [`proxy`] can stand in between. [`input`] starts a binary the way splunkd
//! does and reads back what it wrote. [`splunk_web`] serves the page Set up to a browser, and [`week`] is what happens at
//! Docusign meanwhile. The integration tests, the demo in `examples/` and the benchmark share this crate, so that all
//! three tell the same story about Docusign and Splunk.

#![expect(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::new_without_default,
    clippy::unwrap_used,
    reason = "a test fails by panicking, and so does a stand-in; only tests use what is public here"
)]

pub mod conf;
pub mod docusign;
pub mod hec;
pub mod http;
pub mod input;
pub mod kv_store;
pub mod proxy;
pub mod search_time;
pub mod spl;
pub mod splunk_web;
pub mod splunkd;
pub mod terminal;
pub mod tls;
pub mod week;
