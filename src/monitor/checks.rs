//! The steps of a check that both inputs share.

use anyhow::Result;

use super::configure::NotConfigured;
use crate::docusign::BaseUrl;
use crate::docusign::client::ApiError;
use crate::docusign::directory_api::DirectoryApi;
use crate::docusign::jwt_grant::{Applicant, CONSENT_REQUIRED, JwtGrant};
use crate::splunk::screen::{Finding, Screen};
use crate::splunk::status::Status;

/// The step at which an input cannot be used, and what kind of problem that is.
pub(crate) fn step_of(reason: &NotConfigured) -> (&'static str, Status) {
    match reason {
        NotConfigured::Argument(_) => ("Configuration", Status::Configuration),
        NotConfigured::NoSecret(_) => ("Secrets", Status::Configuration),
        NotConfigured::Storage(_) => ("Secrets", Status::TryAgain),
        NotConfigured::Key(_) => ("Private key", Status::Configuration),
    }
}

/// Asks for a token; true if there is one.
pub(crate) fn token(
    grant: &mut JwtGrant,
    identity: &Applicant,
    screen: &mut Screen,
) -> Result<bool> {
    let host = identity.auth_url.host();
    let (token, consent) = match grant.token() {
        Ok(_) => (
            Finding::Ok(format!("{host} issued a token")),
            Some(Finding::Ok(format!("given for {}", identity.scope))),
        ),
        Err(error) if error.code.as_deref() == Some(CONSENT_REQUIRED) => (
            Finding::Ok(format!("{host} knows the key and the user")),
            Some(problem(error)),
        ),
        Err(error) => (problem(error), None),
    };
    let has_token = matches!(consent, Some(Finding::Ok(_)));
    screen.step("Token", &token)?;
    if let Some(consent) = consent {
        screen.step("Consent", &consent)?;
    }
    Ok(has_token)
}

/// A failed call as a finding.
pub(super) fn problem(error: ApiError) -> Finding {
    Finding::Problem(status(error.definite), error.sentence)
}

pub(super) fn status(is_definite: bool) -> Status {
    match is_definite {
        true => Status::Configuration,
        false => Status::TryAgain,
    }
}

/// Whether the users of accounts can be listed.
pub(crate) fn users(directory: &mut DirectoryApi) -> Finding {
    let mut list = || -> Result<usize, ApiError> {
        let accounts = directory.userinfo()?.accounts;
        let mut readable = 0;
        for account in &accounts {
            if let Ok(base_uri) = BaseUrl::parse(&account.base_uri) {
                directory.users(&base_uri, &account.account_id, 0)?;
                readable += 1;
            }
        }
        Ok(readable)
    };
    match list() {
        Ok(0) => Finding::Problem(
            Status::Configuration,
            "The service user is a member of no account, so no users can be listed".to_owned(),
        ),
        Ok(readable) => Finding::Ok(format!(
            "users of {} can be listed",
            count(readable, "account")
        )),
        Err(error) => problem(error),
    }
}

/// Whether organizations can be read.
pub(crate) fn organizations(directory: &mut DirectoryApi) -> Finding {
    match directory.organizations() {
        Ok(organizations) if organizations.is_empty() => Finding::Problem(
            Status::Configuration,
            "The service user can read no organization: make it an administrator of one in Docusign Admin".to_owned(),
        ),
        Ok(organizations) => {
            let names: Vec<_> = organizations.into_iter().map(|found| found.name).collect();
            Finding::Ok(format!(
                "{} can be read: {}",
                count(names.len(), "organization"),
                names.join(", ")
            ))
        }
        Err(error) => problem(error),
    }
}

/// Whether the permission profiles and groups of the organizations' accounts can be listed.
pub(crate) fn profiles(directory: &mut DirectoryApi) -> Finding {
    let mut list = || -> Result<usize, ApiError> {
        let organizations = directory.organizations()?;
        let mut readable = 0;
        for organization in &organizations {
            for account in &organization.accounts {
                directory.permission_profiles(&organization.id, &account.id)?;
                directory.groups(&organization.id, &account.id, 0)?;
                readable += 1;
            }
        }
        Ok(readable)
    };
    match list() {
        Ok(readable) => Finding::Ok(format!(
            "permission profiles and groups of {} can be listed",
            count(readable, "account")
        )),
        Err(error) => problem(error),
    }
}

fn count(number: usize, thing: &str) -> String {
    match number {
        1 => format!("1 {thing}"),
        _ => format!("{number} {thing}s"),
    }
}
