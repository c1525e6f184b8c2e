//! Who may see the dashboard.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use actix_web::http::header::{HOST, HeaderMap, HeaderName, HeaderValue, LOCATION, ORIGIN, SET_COOKIE};
use actix_web::web::Payload;
use actix_web::{HttpRequest, HttpResponse};

use super::page;
use super::sessions::{LASTS, Sessions};
use crate::config::{Digest, is_loopback};
use crate::server::app::Worker;
use crate::server::auth::{Inbound, Keys};
use crate::server::reply::Refusal;
use crate::wire::anthropic::{ApiError, ErrorKind};

/// Longest form, in bytes.
const MAX_FORM: usize = 4096;
/// Longest that a form may take to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// Browsers say with it which site a request comes from (Fetch Metadata, W3C).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// The protocol that a client spoke to the proxy before this one.
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Somebody who was let in.
pub(super) struct Guest {
    /// The key that let them in; none: none is asked for.
    key: Option<Digest>,
    /// Their session, if they came by one.
    session: Option<String>,
}

impl Guest {
    /// They can sign out.
    pub(super) fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Who they are among these keys; none: they would not come in any more.
    pub(super) fn among<'k>(&self, keys: &'k Keys, sessions: &Sessions) -> Option<&'k Inbound> {
        let Some(key) = &self.key else { return keys.anybody() };
        let lasts = |token: &String| sessions.find(token, Instant::now()).as_ref() == Some(key);
        keys.known(key).filter(|_| self.session.as_ref().is_none_or(lasts))
    }
}

/// Who asks; none: the key is missing.
///
/// # Errors
/// 403: without a key, for a name that may be anybody's.
pub(super) fn check(worker: &Worker, request: &HttpRequest) -> Result<Option<Guest>, Refusal> {
    let keys = &worker.keys;
    if keys.anybody().is_some() {
        let own = is_own_name(worker, request);
        return if own { Ok(Some(Guest { key: None, session: None })) } else { Err(foreign()) };
    }
    if let Ok(inbound) = keys.check(request.headers()) {
        return Ok(Some(Guest { key: inbound.digest, session: None }));
    }
    let sessions = &worker.desk.sessions;
    let mut guests = tokens(request.headers(), &sessions.cookie).filter_map(|token| {
        let key = sessions.find(token, Instant::now()).filter(|key| keys.known(key).is_some())?;
        Some(Guest { key: Some(key), session: Some(token.to_owned()) })
    });
    Ok(guests.next())
}

/// As [`check`], where no form can be shown.
///
/// # Errors
/// 401, 403.
pub(super) fn admit(worker: &Worker, request: &HttpRequest) -> Result<Guest, Refusal> {
    if let Some(guest) = check(worker, request)? {
        return Ok(guest);
    }
    worker.failures.note(request.peer_addr());
    Err(ApiError::new(401, ErrorKind::Authentication, "sign in at /dashboard, or send the key of this proxy")
        .into())
}

/// Opens a session for the key in the form.
///
/// # Errors
/// 403: another site has sent the form. 413, 408: it is no form of ours.
pub(super) async fn sign_in(
    worker: &Worker,
    request: &HttpRequest,
    payload: Payload,
) -> Result<HttpResponse, Refusal> {
    if !is_same_site(request) {
        return Err(other_site().closing());
    }
    let form = tokio::time::timeout(PATIENCE, payload.to_bytes_limited(MAX_FORM)).await;
    let form = match form {
        Ok(Ok(Ok(form))) => form,
        Ok(Ok(Err(_))) => return Err(bad_form(400, "the form did not come whole")),
        Ok(Err(_)) => return Err(bad_form(413, "the form is too large")),
        Err(_) => return Err(bad_form(408, "the form did not come in time")),
    };
    if worker.keys.anybody().is_some() {
        return Ok(to_page(None));
    }
    let given = url::form_urlencoded::parse(&form).find(|(name, _)| name == "key");
    // As the header would be: spaces around it are a copy's.
    let given = given.as_ref().map(|(_, value)| value.trim().as_bytes());
    let Some(key) = worker.keys.find(given.into_iter()).and_then(|inbound| inbound.digest) else {
        worker.failures.note(request.peer_addr());
        return Ok(page::sign_in(true));
    };
    let sessions = &worker.desk.sessions;
    let Some(token) = sessions.open(key, Instant::now()) else {
        return Err(ApiError::new(500, ErrorKind::Api, "the system gives no random numbers").into());
    };
    Ok(to_page(Some(cookie(worker, request, &token, LASTS))))
}

/// Ends the session.
///
/// # Errors
/// 403: another site wants it.
pub(super) fn sign_out(worker: &Worker, request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    if !is_same_site(request) {
        return Err(other_site().closing());
    }
    let sessions = &worker.desk.sessions;
    for token in tokens(request.headers(), &sessions.cookie) {
        sessions.close(token);
    }
    Ok(to_page(Some(cookie(worker, request, "", Duration::ZERO))))
}

fn to_page(cookie: Option<String>) -> HttpResponse {
    let mut answer = HttpResponse::SeeOther();
    answer.insert_header((LOCATION, "/dashboard"));
    if let Some(cookie) = cookie.and_then(|cookie| HeaderValue::from_str(&cookie).ok()) {
        answer.insert_header((SET_COOKIE, cookie));
    }
    answer.finish()
}

fn cookie(worker: &Worker, request: &HttpRequest, token: &str, lasts: Duration) -> String {
    let name = &worker.desk.sessions.cookie;
    let secure = if is_encrypted(worker, request) { "; Secure" } else { "" };
    let lasts = lasts.as_secs();
    format!("{name}={token}; Path=/dashboard; Max-Age={lasts}; HttpOnly; SameSite=Strict{secure}")
}

/// The values of the cookies of this name.
fn tokens<'h>(headers: &'h HeaderMap, name: &'h str) -> impl Iterator<Item = &'h str> {
    let lines = headers.get_all("cookie").filter_map(|line| line.to_str().ok());
    let pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(move |(n, _)| *n == name).map(|(_, value)| value).take(8)
}

fn bad_form(status: u16, message: &str) -> Refusal {
    Refusal::from(ApiError::new(status, ErrorKind::InvalidRequest, message)).closing()
}

fn other_site() -> Refusal {
    ApiError::new(403, ErrorKind::Permission, "this form was sent by another site").into()
}

fn foreign() -> Refusal {
    let message = "without `ak` the dashboard answers only to this machine's addresses and to the names of `host` \
                   and `tls`: another name may be a web site's that wants to read along. Ask by the address, or set `ak`";
    ApiError::new(403, ErrorKind::Permission, message).into()
}

/// The host and port that were asked for.
fn authority(request: &HttpRequest) -> Option<&str> {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    host.or_else(|| request.uri().authority().map(actix_web::http::uri::Authority::as_str))
}

/// The host of an authority, without brackets.
fn host_of(authority: &str) -> &str {
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    authority.split(':').next().unwrap_or_default()
}

/// The name that was asked for is an address, or one of ours. Any other may have been made to
/// lead here by a page that wants to read what we tell (DNS rebinding).
fn is_own_name(worker: &Worker, request: &HttpRequest) -> bool {
    let Some(host) = authority(request).map(host_of) else { return false };
    let config = &worker.config;
    host.parse::<IpAddr>().is_ok()
        || is_loopback(host)
        || host.eq_ignore_ascii_case(&config.host)
        || config.tls.as_ref().is_some_and(|tls| tls.is_for(host))
}

/// No other site has made the browser send this.
fn is_same_site(request: &HttpRequest) -> bool {
    let headers = request.headers();
    if let Some(site) = headers.get(FETCH_SITE)
        && !matches!(site.as_bytes(), b"same-origin" | b"none")
    {
        return false;
    }
    // What is no browser sends none.
    let Some(origin) = headers.get(ORIGIN) else { return true };
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    origin.is_some_and(|(_, origin)| authority(request).is_some_and(|own| own.eq_ignore_ascii_case(origin)))
}

/// The browser speaks TLS, with us or with a proxy before us.
fn is_encrypted(worker: &Worker, request: &HttpRequest) -> bool {
    worker.certificate.is_some() || request.headers().get(FORWARDED_PROTO).is_some_and(|p| p == "https")
}

/// The address by which the page was asked for; none: it is not one to repeat.
pub(super) fn origin(worker: &Worker, request: &HttpRequest) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    let authority = authority(request).filter(|a| !a.is_empty() && a.len() < 256 && a.chars().all(plain))?;
    let scheme = if is_encrypted(worker, request) { "https" } else { "http" };
    Some(format!("{scheme}://{authority}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_come_out_of_authorities() {
        for (authority, host) in [
            ("localhost:8888", "localhost"),
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]:8888", "::1"),
            ("[::1]", "::1"),
            ("evil.example:80", "evil.example"),
            ("", ""),
            ("[", ""),
        ] {
            assert_eq!(host_of(authority), host, "{authority}");
        }
    }

    #[test]
    fn cookies_are_found_among_others() {
        let mut headers = HeaderMap::new();
        let cookie = HeaderName::from_static("cookie");
        headers.append(cookie.clone(), HeaderValue::from_static("a=1; own=x;b=2;  own=y"));
        headers.append(cookie, HeaderValue::from_static("own=z; ownx=no; =; own"));
        assert_eq!(tokens(&headers, "own").collect::<Vec<_>>(), ["x", "y", "z"]);
    }
}
