//! R24: TLS is verified. Wrong host, expired and self-signed certificates are refused with a
//! sentence that helps; `ca_file` works.

use crate::grammar::End;
use crate::support::tls::{Authority, self_signed};
use crate::support::upstream::ok;
use crate::support::{
    DONE, Proxy, Upstream, completion, config, eventually, finish, message, post, text, trusting, usage,
};

#[test]
fn a_provider_with_an_authority_of_its_own() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), |mut conn| {
        while let Some(seen) = conn.request() {
            if seen.json()["stream"] == true {
                conn.stream(&[&text("Hi"), &finish("stop"), &usage(), DONE]);
            } else {
                conn.write(ok(&completion("Hi")));
            }
        }
    });
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    for stream in [false, true, true, false] {
        let answer = post(proxy.addr, &message("Hello", stream));
        assert_eq!(answer.status, 200, "{answer:?}");
        if stream {
            assert_eq!(answer.text(), "Hi");
        } else {
            assert_eq!(answer.json()["content"][0]["text"], "Hi");
        }
    }
    assert_eq!((upstream.connections(), upstream.seen().len()), (1, 4), "pooled");
}

#[test]
fn nobody_that_is_trusted_signed_it() {
    let upstream = Upstream::start_tls(self_signed(&["127.0.0.1"]).server, |_| {});
    let proxy = Proxy::start(config(&upstream.base()));
    let (kind, message) = post(proxy.addr, &message("Hello", false)).error();
    assert_eq!(kind, "api_error");
    assert!(message.contains("not signed by an authority that this system trusts"), "{message}");
    eventually("the handshake ends", || !upstream.refused().is_empty());
    assert_eq!(upstream.seen().len(), 0);
}

/// An end that anybody could have made is the end of no answer.
#[test]
fn a_stream_that_is_cut_without_close_notify() {
    let authority = Authority::new("Test CA");
    let upstream = Upstream::start_tls(authority.server(&["127.0.0.1"]), |mut conn| {
        conn.request();
        conn.stream_head();
        conn.chunk(text("Hi"));
        conn.cut();
    });
    let proxy = Proxy::start(trusting(&upstream.base(), &authority));
    let answer = post(proxy.addr, &message("Hello", true));
    assert_eq!(answer.text(), "Hi");
    let (_, end) = answer.events();
    assert!(matches!(end, End::Error), "{end:?}");
}
