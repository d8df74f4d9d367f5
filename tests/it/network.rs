use std::path::Path;

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{ACCESS_TOKEN_MARK, Docusign, PRIVATE_KEY, sample_records};
use support::http::Request;
use support::input::{Input, LogLine, Outcome};
use support::proxy::{Proxy, basic};
use support::splunkd::{SESSION_KEY, Splunkd};
use support::tls::{CA_FILE, Tls};

const USER: &str = "DOMAIN\\scout";
const PASSWORD: &str = "pass:<wörd> & \"100%41\"";

/// Two pages of 120 records.
fn docusign() -> (Docusign, Vec<String>) {
    let records = sample_records(0..240);
    let docusign = Docusign::new().records(records.clone()).page_size(120);
    (docusign, records)
}

/// An input that finds Docusign at `url`.
fn input(name: &str, url: &str, docusign: &Docusign, folder: &Path) -> Input {
    Input::for_docusign(name, docusign, folder)
        .param("auth_url", url)
        .param("monitor_url", url)
        .param("admin_url", format!("{url}/management"))
}

fn with_credentials(input: Input, user: &str, password: &str) -> Input {
    let input = input.param("proxy_user", user);
    input.param("proxy_password", password)
}

fn assert_no_secret(run: &Outcome) {
    let encoded = basic(USER, PASSWORD);
    let encoded = encoded.trim_start_matches("Basic ");
    run.assert_no_secret(&[PRIVATE_KEY, SESSION_KEY, ACCESS_TOKEN_MARK])
        .assert_no_secret(&[PASSWORD, encoded]);
}

/// How many calls were made again.
fn retries(run: &Outcome) -> usize {
    let mut lines = run.log_lines();
    lines.retain(|line| !line.field("attempt").is_empty());
    lines.len()
}

/// All records came, once each and byte for byte, and no call had to be made again.
#[track_caller]
fn assert_collected(run: &Outcome, records: &[String]) {
    run.assert_exit(0).whole();
    let data: Vec<_> = run.events().into_iter().map(|event| event.data).collect();
    assert!(data == records, "{}", run.report());
    assert_eq!(retries(run), 0, "{}", run.report());
    assert_no_secret(run);
}

/// The one ERROR of a run that must fail.
#[track_caller]
fn failure(run: &Outcome) -> LogLine {
    run.assert_exit(1).whole();
    assert!(run.events().is_empty(), "{}", run.report());
    assert_no_secret(run);
    let mut errors = run.log_lines();
    errors.retain(|line| line.level == "ERROR");
    assert_eq!(errors.len(), 1, "{}", run.report());
    errors.remove(0)
}

/// [`failure`] of a run that must make no call again.
#[track_caller]
fn failure_at_once(run: &Outcome) -> LogLine {
    assert_eq!(retries(run), 0, "{}", run.report());
    failure(run)
}

#[track_caller]
fn assert_says(line: &LogLine, parts: &[&str]) {
    for part in parts {
        assert!(line.sentence.contains(part), "{part}: {}", line.raw);
    }
}

/// What the proxy saw if it saw every one of these requests and nothing else.
fn absolute(requests: &[Request], url: &str) -> Vec<String> {
    let line = |request: &Request| format!("{} {url}{}", request.method, request.target);
    requests.iter().map(line).collect()
}

#[test]
fn every_call_to_docusign_goes_through_the_proxy_and_no_call_to_splunkd_does() {
    let (docusign, records) = docusign();
    let (proxy, splunkd) = (Proxy::start(), Splunkd::start());
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .param("proxy_url", proxy.url())
        // The environment has no say where a proxy is set.
        .env("NO_PROXY", "127.0.0.1")
        .env("HTTP_PROXY", "http://127.0.0.1:1")
        .saved_in(&splunkd)
        .run(ds_monitor());
    assert_collected(&run, &records);
    assert!(run.log_lines().iter().all(|line| line.level == "INFO"));
    assert!(!splunkd.requests().is_empty());
    // A token, two pages, and the question whether there is more.
    assert_eq!(docusign.requests().len(), 1 + 2 + 1);
    assert_eq!(
        proxy.seen(),
        absolute(&docusign.requests(), &docusign.url())
    );
}

#[test]
fn calls_to_an_https_address_go_through_tunnels_which_the_proxy_cannot_look_into() {
    let (docusign, records) = docusign();
    let (tls, proxy) = (Tls::in_front_of(&docusign.url()), Proxy::start());
    let folder = tempdir().unwrap();
    let run = input("prod", &tls.url(), &docusign, folder.path())
        .param("ca_file", CA_FILE)
        .param("proxy_url", proxy.url())
        .run(ds_monitor());
    assert_collected(&run, &records);
    let tunnel = tls.url().replace("https://", "CONNECT ");
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|line| *line == tunnel));
}

#[test]
fn the_proxy_itself_can_be_reached_through_tls() {
    let (docusign, records) = docusign();
    let (tls, proxy) = (Tls::in_front_of(&docusign.url()), Proxy::start());
    let tls_proxy = Tls::in_front_of(&proxy.url());
    let folder = tempdir().unwrap();
    for (name, url) in [("plain", docusign.url()), ("encrypted", tls.url())] {
        let input = input(name, &url, &docusign, folder.path());
        let input = input.param("proxy_url", tls_proxy.url());
        let before = proxy.seen().len();
        let error = failure_at_once(&input.run(ds_monitor()));
        assert_says(&error, &["certificate", "ca_file"]);
        assert_eq!(proxy.seen().len(), before);

        let run = input.param("ca_file", CA_FILE).run(ds_monitor());
        assert_collected(&run, &records);
        assert!(proxy.seen().len() > before);
    }
}

#[test]
fn the_proxy_gets_its_credentials_given_or_stored_and_nobody_behind_it_does() {
    let (docusign, records) = docusign();
    let (tls, splunkd) = (Tls::in_front_of(&docusign.url()), Splunkd::start());
    let folder = tempdir().unwrap();
    for (name, url) in [("plain", docusign.url()), ("encrypted", tls.url())] {
        let proxy = Proxy::with_credentials(USER, PASSWORD);
        let input = input(name, &url, &docusign, folder.path())
            .param("ca_file", CA_FILE)
            .param("proxy_url", proxy.url());
        let input = with_credentials(input, USER, PASSWORD).saved_in(&splunkd);
        assert_collected(&input.run(ds_monitor()), &records);
        let before = proxy.seen().len();

        // Now a mask is all that splunkd hands over.
        let input = input.read_from(&splunkd);
        assert!(!input.input_xml().contains("pass:"));
        assert_collected(&input.run(ds_monitor()), &[]);
        assert!(0 < before && before < proxy.seen().len());
        let user = format!(" as {USER}");
        assert!(proxy.seen().iter().all(|line| line.ends_with(&user)));
    }
    for request in docusign.requests() {
        assert_eq!(request.header("proxy-authorization"), None);
    }
}

#[test]
fn credentials_that_the_proxy_does_not_accept_are_one_error_that_names_it() {
    let docusign = Docusign::new();
    let tls = Tls::in_front_of(&docusign.url());
    let folder = tempdir().unwrap();
    for (name, url) in [("plain", docusign.url()), ("encrypted", tls.url())] {
        let proxy = Proxy::with_credentials("other", "other");
        let without = input(name, &url, &docusign, folder.path())
            .param("ca_file", CA_FILE)
            .param("proxy_url", proxy.url());
        let wrong = with_credentials(without.clone(), USER, PASSWORD);
        for input in [without, wrong] {
            let error = failure_at_once(&input.run(ds_monitor()));
            assert_says(&error, &[&proxy.url(), "proxy_user", "proxy_password"]);
        }
        let seen = proxy.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen[1].ends_with(&format!(" as {USER} refused")));
    }
    assert!(docusign.requests().is_empty());
}

#[test]
fn a_certificate_that_only_ca_file_vouches_for_needs_ca_file() {
    let (docusign, records) = docusign();
    let tls = Tls::in_front_of(&docusign.url());
    let proxy = Proxy::start();
    let folder = tempdir().unwrap();
    for (name, proxy_url) in [("directly", String::new()), ("through", proxy.url())] {
        let input = input(name, &tls.url(), &docusign, folder.path());
        let input = input.param("proxy_url", proxy_url);
        let before = docusign.requests().len();
        let error = failure_at_once(&input.run(ds_monitor()));
        assert_says(&error, &["certificate", "ca_file"]);
        // Not even the head of a request, which would hold a token, has left.
        assert_eq!(docusign.requests().len(), before);

        let run = input.param("ca_file", CA_FILE).run(ds_monitor());
        assert_collected(&run, &records);
    }
}

/// With addresses on loopback alone the environment's proxy is not looked at, so the Admin API, which this input
/// never calls, is left where it is in the world.
#[test]
fn without_proxy_url_the_environments_proxy_is_used_but_not_for_hosts_that_it_excepts() {
    let (docusign, records) = docusign();
    let (tls, proxy) = (Tls::in_front_of(&docusign.url()), Proxy::start());
    let folder = tempdir().unwrap();
    let run = |name| {
        input(name, &tls.url(), &docusign, folder.path())
            .without("admin_url")
            .param("ca_file", CA_FILE)
            .env("HTTPS_PROXY", proxy.url())
    };
    let excepted = run("excepted").env("NO_PROXY", "localhost,127.0.0.1");
    assert_collected(&excepted.run(ds_monitor()), &records);
    assert!(proxy.seen().is_empty(), "{:?}", proxy.seen());

    assert_collected(&run("used").run(ds_monitor()), &records);
    let tunnel = tls.url().replace("https://", "CONNECT ");
    let seen = proxy.seen();
    assert!(!seen.is_empty() && seen.iter().all(|line| *line == tunnel));
}

/// Both at once, since both go on trying for a while.
#[test]
fn a_proxy_that_is_not_there_or_opens_no_tunnel_is_named() {
    // Nothing listens on port 1.
    let absent = "http://127.0.0.1:1".to_owned();
    // The stand-in leads to loopback only, and so not to the host that is Docusign's without auth_url.
    let unwilling = Proxy::start();
    std::thread::scope(|scope| {
        for proxy_url in [absent, unwilling.url()] {
            scope.spawn(move || {
                let docusign = Docusign::new();
                let folder = tempdir().unwrap();
                let input = Input::for_docusign("prod", &docusign, folder.path())
                    .without("auth_url")
                    .param("proxy_url", &proxy_url);
                let run = with_credentials(input, USER, PASSWORD).run(ds_monitor());
                let error = failure(&run);
                assert_says(&error, &[".docusign.com", "proxy", &proxy_url]);
                assert!(docusign.requests().is_empty());
            });
        }
    });
    let refused = format!("CONNECT account.docusign.com:443 as {USER} refused");
    assert!(unwilling.seen().iter().all(|line| *line == refused));
}

#[test]
fn certificates_that_splunk_hands_down_from_its_own_folder_are_not_trusted() {
    let (docusign, records) = docusign();
    let tls = Tls::in_front_of(&docusign.url());
    let folder = tempdir().unwrap();
    let home = Path::new(CA_FILE).parent().unwrap().to_str().unwrap();
    let input = input("prod", &tls.url(), &docusign, folder.path()).env("SSL_CERT_FILE", CA_FILE);
    let error = failure_at_once(&input.clone().env("SPLUNK_HOME", home).run(ds_monitor()));
    assert_says(&error, &["certificate", "ca_file"]);
    assert!(docusign.requests().is_empty());
    // From elsewhere it is the administrator's own choice.
    let input = input.env("SPLUNK_HOME", "/opt/splunk");
    assert_collected(&input.run(ds_monitor()), &records);
}
