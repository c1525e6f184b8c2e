//! TLS that does not come about, in sentences that help.

/// Why there is no TLS.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// What answers is not TLS, plain HTTP most likely.
    #[error("it does not speak TLS there; should base_url begin with http://?")]
    NotTls,
    /// The connection was closed instead of an answer.
    #[error("it closed the connection; does it speak TLS there?")]
    Closed,
    /// It wants a version or cipher that is not safe any more.
    #[error("it offers nothing as new as TLS 1.2 with a cipher that is still safe")]
    TooOld,
    /// A certificate of nobody whom this system trusts.
    #[error("its certificate is not signed by an authority that {}", trusted(*ca_file))]
    UnknownIssuer {
        /// The provider has roots of its own.
        ca_file: bool,
    },
    /// The certificate is too old: since when.
    #[error("its certificate has expired{}: it has to be renewed, unless this machine's clock is wrong", bracketed(.0.as_deref()))]
    Expired(Option<String>),
    /// The certificate is too new: it begins when.
    #[error("its certificate is not valid yet{}: is this machine's clock right?", bracketed(.0.as_deref()))]
    NotValidYet(Option<String>),
    /// The certificate is somebody else's: the names that it has.
    #[error("its certificate is for another host name{}", whose(.0))]
    WrongName(Vec<String>),
    /// A self-signed certificate that says it is an authority's.
    #[error(
        "its certificate is an authority's own (CA:TRUE), which no server may use: sign another one with it, or make one with CA:FALSE"
    )]
    AuthorityItself,
    /// It wants to see a certificate of ours.
    #[error(
        "it asks for a certificate of its clients, which is not supported: a TLS proxy in between can have one"
    )]
    ClientCertificate,
    /// The certificate was taken back.
    #[error("its certificate was revoked")]
    Revoked,
    /// Something else, in rustls's words.
    #[error("{0}")]
    Other(String),
}

/// The end of "an authority that ..".
fn trusted(ca_file: bool) -> &'static str {
    if ca_file {
        "this system trusts, nor by one of the provider's `ca_file`"
    } else {
        "this system trusts: put the authority's certificate (your own, or that of a proxy which looks into TLS) into a file and name it in the provider's `ca_file`"
    }
}

/// ` (text)`.
fn bracketed(text: Option<&str>) -> String {
    text.map(|text| format!(" ({text})")).unwrap_or_default()
}

/// The names in a certificate, a few of them.
fn whose(names: &[String]) -> String {
    const SHOWN: usize = 5;
    if names.is_empty() {
        return String::new();
    }
    let shown: Vec<&str> = names.iter().take(SHOWN).map(String::as_str).collect();
    let more = names.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!(": it has {}{more}", shown.join(", "))
}
