//! The page itself, and the one that asks for the key.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::door::Guest;

const PAGE: &str = include_str!("page.html");
const SIGN_IN: &str = include_str!("sign_in.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
/// Where style and script go.
const STYLE_HERE: &str = "/*STYLE*/";
const SCRIPT_HERE: &str = "/*SCRIPT*/";

/// On every answer of the dashboard. `same-origin`, since with `no-referrer` browsers do not say
/// which site a form comes from.
pub(super) const HEADERS: [(HeaderName, &str); 5] = [
    (HeaderName::from_static("x-content-type-options"), "nosniff"),
    (HeaderName::from_static("x-frame-options"), "DENY"),
    (HeaderName::from_static("referrer-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// The page. It holds nothing of what it shows: that comes by the events.
pub(super) fn page(guest: &Guest) -> HttpResponse {
    // Who has a session can end it.
    let page = PAGE.replace("{session}", if guest.has_session() { "" } else { " hidden" });
    html(StatusCode::OK, &page, Some(SCRIPT))
}

/// The form for the key. `refused`: the one that was sent is wrong.
pub(super) fn sign_in(refused: bool) -> HttpResponse {
    html(StatusCode::UNAUTHORIZED, &SIGN_IN.replace("{refused}", if refused { "" } else { " hidden" }), None)
}

fn html(status: StatusCode, page: &str, script: Option<&str>) -> HttpResponse {
    let page = page.replace(STYLE_HERE, STYLE).replace(SCRIPT_HERE, script.unwrap_or_default());
    let hash = |text: &str| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text.as_bytes())));
    let scripts = script.map_or_else(|| "'none'".to_owned(), hash);
    let policy = format!(
        "default-src 'none'; script-src {scripts}; style-src {}; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
        hash(STYLE)
    );
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, "text/html; charset=utf-8"))
        .insert_header((CONTENT_SECURITY_POLICY, policy))
        .body(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_takes_nothing_from_elsewhere() {
        let all = [PAGE, SIGN_IN, STYLE, SCRIPT];
        assert!(all.iter().map(|text| text.len()).sum::<usize>() < 40_000);
        for text in all {
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for word in [
                "http:",
                "https:",
                "//cdn",
                "@import",
                "url(",
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "eval(",
            ] {
                assert!(!text.contains(word), "{word}");
            }
        }
        assert_eq!((PAGE.matches(STYLE_HERE).count(), PAGE.matches(SCRIPT_HERE).count()), (1, 1));
        assert_eq!((SIGN_IN.matches(STYLE_HERE).count(), SIGN_IN.matches("<script").count()), (1, 0));
        // No attribute that the policy would refuse.
        assert!(!PAGE.contains(" style=") && !PAGE.contains(" on") && !SIGN_IN.contains(" style="));
    }
}
