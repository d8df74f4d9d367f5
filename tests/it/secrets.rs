use std::collections::BTreeMap;
use std::fs;

use tempfile::tempdir;

use crate::ds_monitor;
use support::docusign::{
    ACCESS_TOKEN_MARK, Docusign, OTHER_PRIVATE_KEY, PRIVATE_KEY, sample_records,
};
use support::input::{Input, leak};
use support::splunkd::{SESSION_KEY, Splunkd};
use support::tls::Tls;

const ALL: [&str; 4] = [
    PRIVATE_KEY,
    SESSION_KEY,
    ACCESS_TOKEN_MARK,
    "pr0xy-passw0rd",
];

fn stored(splunkd: &Splunkd) -> BTreeMap<String, String> {
    let secrets = splunkd.secrets();
    assert_eq!(secrets.len(), 1);
    serde_json::from_str(&secrets[0].2).unwrap()
}

/// What these tests rest on.
#[test]
fn a_piece_of_a_secret_is_found_wherever_it_lies_and_a_shorter_one_is_not() {
    let secret = b"abcdefghijklmnop";
    for length in 2..=12 {
        for (piece, at) in secret
            .windows(length)
            .flat_map(|piece| (0..=40).map(move |at| (piece, at)))
        {
            let around =
                |piece: &[u8]| [&[b'.'].repeat(at), piece, &[b'.'].repeat(40 - at)].concat();
            assert_eq!(leak(&around(piece), secret, length), Some(piece), "{at}");
            assert_eq!(leak(&around(&piece[1..]), secret, length), None, "{at}");
        }
    }
}

#[test]
fn a_pasted_key_moves_to_secure_storage_and_leaves_a_mask() {
    let docusign = Docusign::new().records(sample_records(0..120));
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path())
        .pasted_key(PRIVATE_KEY)
        .param("limit", "500")
        .param("ca_file", "")
        .saved_in(&splunkd);
    let before = splunkd.input("ds_monitor", "prod").unwrap();

    let first = input.run(ds_monitor());
    first.assert_exit(0).assert_no_secret(&ALL);
    assert_eq!(first.events().len(), 120);
    assert_eq!(stored(&splunkd).keys().collect::<Vec<_>>(), ["private_key"]);
    // Splunk's own parameters are splunkd's to keep; of ours none is lost, and only the key has changed.
    let after = splunkd.input("ds_monitor", "prod").unwrap();
    assert_eq!(after["private_key"], "******");
    for param in [
        "integration_key",
        "user_id",
        "limit",
        "auth_url",
        "monitor_url",
        "admin_url",
    ] {
        assert_eq!(after[param], before[param]);
    }
    assert!(!after.contains_key("ca_file"));

    // The key exists only in storage now.
    docusign.push_records(sample_records(120..150));
    let edits = splunkd
        .requests()
        .iter()
        .filter(|r| r.method == "POST")
        .count();
    let second = input.read_from(&splunkd).run(ds_monitor());
    second.assert_exit(0).assert_no_secret(&ALL);
    assert_eq!(second.events().len(), 30);
    let posts = splunkd
        .requests()
        .iter()
        .filter(|r| r.method == "POST")
        .count();
    assert_eq!(posts, edits, "a run with a masked key edits nothing");
}

#[test]
fn the_key_is_stored_and_masked_before_docusign_is_asked_anything() {
    let docusign = Docusign::new().consented_scopes(&[]);
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .pasted_key(PRIVATE_KEY)
        .saved_in(&splunkd)
        .run(ds_monitor());
    run.assert_exit(1).assert_no_secret(&ALL);
    assert_eq!(
        splunkd.input("ds_monitor", "prod").unwrap()["private_key"],
        "******"
    );
    assert_eq!(stored(&splunkd).len(), 1);
}

#[test]
fn a_new_key_takes_the_place_of_the_old_one_in_the_same_entry() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path())
        .pasted_key(OTHER_PRIVATE_KEY)
        .param("proxy_password", "pr0xy-passw0rd")
        .saved_in(&splunkd);
    input
        .run(ds_monitor())
        .assert_exit(1)
        .assert_no_secret(&ALL);
    let old = stored(&splunkd);
    assert_eq!(old["proxy_password"], "pr0xy-passw0rd");

    let rotated = input
        .read_from(&splunkd)
        .param("private_key", PRIVATE_KEY)
        .saved_in(&splunkd);
    rotated
        .run(ds_monitor())
        .assert_exit(0)
        .assert_no_secret(&ALL);
    let new = stored(&splunkd);
    assert_ne!(new["private_key"], old["private_key"]);
    assert_eq!(new["proxy_password"], "pr0xy-passw0rd");
    rotated.read_from(&splunkd).run(ds_monitor()).assert_exit(0);
}

#[test]
fn a_key_file_takes_the_place_of_a_key_that_was_stored_before() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path());
    let pasted = input
        .clone()
        .pasted_key(OTHER_PRIVATE_KEY)
        .saved_in(&splunkd);
    pasted.run(ds_monitor()).assert_exit(1);
    let by_file = input.param("private_key", "******").saved_in(&splunkd);
    by_file.validate(ds_monitor()).assert_exit(0);
    by_file.run(ds_monitor()).assert_exit(0);
}

#[test]
fn two_inputs_have_entries_of_their_own() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    for name in ["a/b", "a:b"] {
        let input = Input::for_docusign(name, &docusign, folder.path())
            .pasted_key(PRIVATE_KEY)
            .saved_in(&splunkd);
        input.run(ds_monitor()).assert_exit(0);
        assert_eq!(
            splunkd.input("ds_monitor", name).unwrap()["private_key"],
            "******"
        );
        input.read_from(&splunkd).run(ds_monitor()).assert_exit(0);
    }
    assert_eq!(splunkd.secrets().len(), 2);
}

#[test]
fn splunkd_is_reached_on_loopback_whoever_signed_its_certificate() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let tls = Tls::in_front_of(&splunkd.url());
    let folder = tempdir().unwrap();
    let run = Input::for_docusign("prod", &docusign, folder.path())
        .pasted_key(PRIVATE_KEY)
        .saved_in(&splunkd)
        .server_uri(tls.url())
        .run(ds_monitor());
    run.assert_exit(0).assert_no_secret(&ALL);
    assert_eq!(stored(&splunkd).len(), 1, "{}", run.report());
    let masked = splunkd.input("ds_monitor", "prod").unwrap();
    assert_eq!(masked["private_key"], "******");
}

/// Whoever listens at splunkd's address while that is down must not get the session key.
#[test]
fn only_the_certificate_in_splunks_own_folder_gets_the_session_key() {
    let splunkds = include_str!("../fixtures/test_only_server.pem");
    let another = include_str!("../fixtures/test_only_ca.pem");
    let named = "[sslConfig]\nserverCert = $SPLUNK_HOME/etc/mine/our.pem\n";
    for (name, files, is_known) in [
        ("default", vec![("etc/auth/server.pem", splunkds)], true),
        (
            "named in the system's folder",
            vec![
                ("etc/auth/server.pem", another),
                ("etc/system/local/server.conf", named),
                ("etc/mine/our.pem", splunkds),
            ],
            true,
        ),
        (
            "named in an app",
            vec![
                ("etc/auth/server.pem", another),
                ("etc/apps/certificates/default/server.conf", named),
                ("etc/mine/our.pem", splunkds),
            ],
            true,
        ),
        ("another", vec![("etc/auth/server.pem", another)], false),
        (
            "as the authority only",
            vec![("etc/auth/server.pem", &format!("{another}{splunkds}"))],
            false,
        ),
    ] {
        let docusign = Docusign::new();
        let splunkd = Splunkd::start();
        let tls = Tls::in_front_of(&splunkd.url());
        let (folder, home) = (tempdir().unwrap(), tempdir().unwrap());
        for (path, content) in files {
            let path = home.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let run = Input::for_docusign("prod", &docusign, folder.path())
            .pasted_key(PRIVATE_KEY)
            .param("position_store", "file")
            .saved_in(&splunkd)
            .server_uri(tls.url())
            .env("SPLUNK_HOME", home.path().to_str().unwrap())
            .run(ds_monitor());
        run.assert_exit(0).assert_no_secret(&ALL);
        assert_eq!(splunkd.secrets().len(), usize::from(is_known), "{name}");
        assert_eq!(splunkd.requests().is_empty(), !is_known, "{name}");
        let lines = run.log_lines();
        let warning = lines.iter().find(|line| line.level == "WARN");
        let warning = warning.map(|line| line.sentence.as_str());
        assert_eq!(
            warning.is_some_and(|text| text.contains("etc/auth/server.pem")),
            !is_known,
            "{name}: {}",
            run.report()
        );
    }
}

#[test]
fn without_a_way_to_splunkd_collecting_goes_on_with_the_pasted_key_and_a_warning() {
    let docusign = Docusign::new().records(sample_records(0..120));
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path()).pasted_key(PRIVATE_KEY);
    let run = input.run(ds_monitor());
    run.assert_exit(0).assert_no_secret(&ALL);
    assert_eq!(run.events().len(), 120);
    let lines = run.log_lines();
    let warnings: Vec<_> = lines.iter().filter(|line| line.level == "WARN").collect();
    assert_eq!(warnings.len(), 1, "{}", run.report());
    assert!(warnings[0].sentence.contains("private_key_path"));
}

#[test]
fn a_key_that_cannot_be_stored_or_masked_stays_in_use_and_is_tried_again() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path())
        .pasted_key(PRIVATE_KEY)
        .saved_in(&splunkd);
    for (refused, stored) in [("storage", 0), ("data/inputs", 1)] {
        splunkd.refuse(refused, 403);
        let run = input.run(ds_monitor());
        run.assert_exit(0).assert_no_secret(&ALL);
        assert!(
            run.stderr.contains("still in clear text"),
            "{}",
            run.report()
        );
        assert_eq!(splunkd.secrets().len(), stored);
        assert!(splunkd.input("ds_monitor", "prod").unwrap()["private_key"].contains("BEGIN"));
        splunkd.refuse(refused, 200);
    }
    input.run(ds_monitor()).assert_exit(0);
    assert_eq!(
        splunkd.input("ds_monitor", "prod").unwrap()["private_key"],
        "******"
    );
}

#[test]
fn a_mask_without_a_stored_key_asks_for_the_key_again() {
    let docusign = Docusign::new();
    let splunkd = Splunkd::start();
    let folder = tempdir().unwrap();
    let input = Input::for_docusign("prod", &docusign, folder.path()).pasted_key("******");
    for (input, expected) in [
        (
            input.clone().saved_in(&splunkd),
            "paste the key again for the input prod",
        ),
        (input, "cannot be read"),
    ] {
        let run = input.run(ds_monitor());
        run.assert_exit(1);
        let lines = run.log_lines();
        assert_eq!(lines.len(), 1, "{}", run.report());
        assert!(lines[0].sentence.contains(expected), "{}", run.report());
    }
    assert!(docusign.requests().is_empty());
}
